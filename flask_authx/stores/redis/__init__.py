"""Stores in Redis: one server, a master found by Sentinels, or a Cluster."""
