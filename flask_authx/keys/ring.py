"""The keys of one app, by ``kid``. A key has one algorithm, and nothing is tried in turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask_authx.enums import Algorithm

if TYPE_CHECKING:
    from .asymmetric import PrivateKey, PublicKey


@dataclass(frozen=True, slots=True)
class Key:
    """A key, its one algorithm and its name. The ``repr`` shows no key material."""

    kid: str
    algorithm: Algorithm
    #: What PyJWT verifies with.
    verifying: PublicKey | bytes = field(repr=False)
    #: What PyJWT signs with; ``None`` for a key that only verifies.
    signing: PrivateKey | bytes | None = field(repr=False)
    #: A secret that only holders of the signing key can derive.
    derived: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class KeyRing:
    """The keys of one instance. Compared by identity: another set is another set."""

    current: Key
    by_kid: dict[str, Key]
    #: The one key for tokens without a ``kid``, which can't be ours.
    unnamed: Key | None

    def find(self, kid: str | None) -> Key | None:
        """The key of that name, and of no other; or the one for tokens without a ``kid``."""
        return self.unnamed if kid is None else self.by_kid.get(kid)
