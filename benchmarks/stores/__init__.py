"""What a store of revocations costs, next to the peer's: ``python -m benchmarks.stores``."""
