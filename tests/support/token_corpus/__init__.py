"""Tokens that every app must refuse, each with its row of SECURITY.md."""

from __future__ import annotations

from .algorithms import algorithms
from .claims import stated
from .encodings import encodings
from .headers import headers
from .making import AUDIENCE, ISSUER, LOCATIONS, InvalidToken, config, valid

ALL = [*algorithms(), *headers(), *encodings(), *stated()]

__all__ = ["ALL", "AUDIENCE", "ISSUER", "LOCATIONS", "InvalidToken", "config", "valid"]
