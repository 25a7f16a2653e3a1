"""``flask authx``: keys, settings, guarded routes, tokens, revocations, sessions and a check-up.

Flask finds the group through the entry point ``flask.commands``; nothing imports this package.
"""

from . import checkup, configuration, keys, revocations, sessions, store, tokens
from .group import authx

__all__ = [
    "authx",
    "checkup",
    "configuration",
    "keys",
    "revocations",
    "sessions",
    "store",
    "tokens",
]
