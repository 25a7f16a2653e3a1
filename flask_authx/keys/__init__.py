"""Keys: loaded and checked once, then found by their ``kid``. Each key has one algorithm."""
