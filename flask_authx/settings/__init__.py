"""The settings, read from ``app.config`` once and frozen: a field each, checked together."""
