"""What logins that are kept in a store cost, few and many: ``python -m benchmarks.sessions``."""
