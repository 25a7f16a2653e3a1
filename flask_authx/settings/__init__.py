"""The settings: parsed from ``app.config`` once, checked against each other, and frozen."""
