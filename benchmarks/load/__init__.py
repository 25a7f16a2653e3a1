"""What guards bear under load, next to the peer's: ``python -m benchmarks.load``."""
