"""For those who still import from here: see :mod:`tests.support.failing`."""

from __future__ import annotations

from tests.support.failing import Site, port_of, private, site

__all__ = ["Site", "port_of", "private", "site"]
