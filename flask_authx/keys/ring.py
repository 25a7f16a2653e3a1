"""The keys of one ``AuthX`` object, by ``kid``. Keys are never tried one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask_authx.enums import Algorithm

if TYPE_CHECKING:
    from .asymmetric import PrivateKey, PublicKey


@dataclass(frozen=True, slots=True)
class Key:
    """A key with its ``kid`` and its algorithm. The ``repr`` shows no key material."""

    kid: str
    algorithm: Algorithm
    #: The public key or secret that PyJWT verifies with.
    verifying: PublicKey | bytes = field(repr=False)
    #: The private key or secret that PyJWT signs with; ``None`` for a key that only verifies.
    signing: PrivateKey | bytes | None = field(repr=False)
    #: The secret of the companions and CSRF values of sessions; ``None`` for a public key.
    derived: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class WeakPrevious:
    """That the previous secret is weak, and verifies for some days all the same.

    :param warning: what is logged each day.
    :param since: when it was loaded, in seconds since 1970-01-01 UTC.
    :param until: from when on it is refused, likewise.
    """

    warning: str
    since: float
    until: float


@dataclass(frozen=True, slots=True, eq=False)
class KeyRing:
    """The keys of one ``AuthX`` object. Two rings are equal only if they are the same object."""

    current: Key
    by_kid: dict[str, Key]
    #: The key for tokens without a ``kid``, which another library created; ``None`` refuses them.
    unnamed: Key | None
    #: Set if the previous secret is weak.
    weak: WeakPrevious | None = None

    def find(self, kid: str | None) -> Key | None:
        """The key with this ``kid``, or for ``None`` the key for tokens without a ``kid``."""
        return self.unnamed if kid is None else self.by_kid.get(kid)

    def without_previous(self) -> KeyRing:
        """The ring with the current key alone."""
        unnamed = self.current if self.unnamed is self.current else None
        return KeyRing(self.current, {self.current.kid: self.current}, unnamed)
