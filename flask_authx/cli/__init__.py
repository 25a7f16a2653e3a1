"""``flask authx``: keys, guarded routes, revocations, sessions and a check-up.

Flask finds the group through the entry point ``flask.commands``; nothing imports this package.
"""

from . import checkup, keys, revocations, sessions, store
from .group import authx

__all__ = ["authx", "checkup", "keys", "revocations", "sessions", "store"]
