"""What is put into the stores: logins as life brings them, ten of each user."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from flask_authx import Session
from flask_authx.stores.lookup_keys import LookupKeys

#: Logins of each user.
EACH = 10
_DAY = 86400
IDLE, LIFETIME = 20 * _DAY, 90 * _DAY
_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0"


@dataclass(frozen=True)
class Row:
    """A login, and the keys under which the stores have it."""

    key: bytes
    subject: bytes
    session: Session


class Logins:
    """So many logins, the same ones each time but for the moments; keys come in random order.

    :param index: makes the keys of the app that is to find them.
    """

    def __init__(self, size: int, index: LookupKeys) -> None:
        self.size = size
        #: How many users they are of: ``user0`` and so on.
        self.users = size // EACH
        self._index = index
        self.now = int(time.time())

    def __iter__(self) -> Iterator[Row]:
        # The logins of a user are not beside each other, since they weren't opened in a row.
        return (self._row(number) for number in range(self.users * EACH))

    def of(self, user: int) -> list[Session]:
        """Those of a user."""
        return [self._row(user + self.users * turn).session for turn in range(EACH)]

    def _row(self, number: int) -> Row:
        chance = random.Random(number)
        sub = f"user{number % self.users}"
        sid = base64.urlsafe_b64encode(chance.randbytes(16)).rstrip(b"=").decode()
        last_seen = self.now - chance.randrange(10 * _DAY)
        created = last_seen - chance.randrange(50 * _DAY)
        session = Session(
            sid=sid,
            sub=sub,
            began=created * 10**6 + chance.randrange(10**6),
            generation=1 + chance.randrange(1000),
            rotated_at=last_seen,
            last_seen=last_seen,
            expires=min(last_seen + IDLE, created + LIFETIME),
            ends=created + LIFETIME,
            now=self.now,
            user_agent=_AGENT.format(chance.randrange(100, 200)),
            address=f"192.0.2.{chance.randrange(256)}",
        )
        return Row(self._index.session(sid), self._index.subject(sub), session)
