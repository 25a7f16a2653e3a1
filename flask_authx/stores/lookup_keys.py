"""Under which keys a store finds what it holds about a token, a login or a subject."""

from __future__ import annotations

import hashlib

from .blocklist import Kind

#: Changes whenever anything about the keys does, so that old and new ones are never confused.
_VERSION = b"1"


class LookupKeys:
    """Makes keys of 16 bytes: hashes over what is named, whose it is, and what kind it is of.

    The same jti of another issuer has another key. A key is an index and not a secret.

    :param issuer: whose tokens they are, if they say so.
    :param name: of the ``AuthX`` object: whose tokens they are, where no issuer says so.
    """

    def __init__(self, issuer: str | None, name: str) -> None:
        scope = [b"name", name.encode()] if issuer is None else [b"issuer", issuer.encode()]
        #: What the keys of a kind begin with.
        self._token, self._session, self._subject = (
            _packed(_VERSION, kind.encode(), *scope) for kind in Kind
        )

    def token(self, jti: str) -> bytes:
        """The key of a token."""
        return _key(self._token, jti)

    def session(self, sid: str) -> bytes:
        """The key of a login."""
        return _key(self._session, sid)

    def subject(self, sub: str) -> bytes:
        """The key of a subject."""
        return _key(self._subject, sub)


def _packed(*parts: bytes) -> bytes:
    """The parts, each after its length, so that no two lists of parts look the same."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _key(prefix: bytes, value: str) -> bytes:
    encoded = value.encode()
    return hashlib.blake2b(
        prefix + len(encoded).to_bytes(4, "big") + encoded, digest_size=16
    ).digest()
