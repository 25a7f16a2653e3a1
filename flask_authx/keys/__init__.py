"""Keys: loaded and examined once, then found by their ``kid``. One key has one algorithm."""
