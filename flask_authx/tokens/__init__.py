"""Tokens: what they say, how they are signed and verified, and what a new one carries."""
