"""Tokens that every app must refuse: SECURITY.md A.1 to A.5."""

from __future__ import annotations

from .algorithms import algorithms
from .claims import stated
from .encodings import encodings
from .headers import headers
from .making import AUDIENCE, ISSUER, LOCATIONS, InvalidToken, config, valid

ALL = [*algorithms(), *headers(), *encodings(), *stated()]

__all__ = ["ALL", "AUDIENCE", "ISSUER", "LOCATIONS", "InvalidToken", "config", "valid"]
