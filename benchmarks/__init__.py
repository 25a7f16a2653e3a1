"""What a guarded request and a minted token cost, next to the peers: ``python -m benchmarks``."""
