"""Tokens: their claims, signing and verification, and the creation of new ones."""
