"""The keys under which a store finds the entries and rows of a token, a session or a subject."""

from __future__ import annotations

import hashlib

from .blocklist import Kind

#: Changes with every change to how keys are made, so that old and new keys never collide.
_VERSION = b"2"


class LookupKeys:
    """Makes keys of 16 bytes: hashes of a jti, sid or sub together with its kind and its scope.

    The same jti in another scope has another key. A key is an index and not a secret; the hash,
    SHA-256, is one that FIPS 180-4 approves.

    :param issuer: the issuer of the tokens, if they name one. It is a part of the scope.
    :param scope: the name of the scope, such as that of the ``AuthX`` object.
    """

    def __init__(self, issuer: str | None, scope: str) -> None:
        of_issuer = [] if issuer is None else [issuer.encode()]
        parts = [scope.encode(), *of_issuer]
        #: The start of the hash input for each kind.
        self._token, self._session, self._subject, in_scope = (
            _length_prefixed(_VERSION, kind.encode(), *parts) for kind in Kind
        )
        #: The key of the scope itself.
        self.scope: bytes = _key(in_scope, "")
        #: The beginning of that, by which a token names the scope of its session.
        self.scope_name: str = self.scope.hex()[:6]

    def token(self, jti: str) -> bytes:
        """The key of a token."""
        return _key(self._token, jti)

    def session(self, sid: str) -> bytes:
        """The key of a session."""
        return _key(self._session, sid)

    def subject(self, sub: str) -> bytes:
        """The key of a subject."""
        return _key(self._subject, sub)


def _length_prefixed(*parts: bytes) -> bytes:
    """The parts, each after its length, so that different lists of parts never look the same."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _key(prefix: bytes, value: str) -> bytes:
    encoded = value.encode()
    hashed = hashlib.sha256(prefix + len(encoded).to_bytes(4, "big") + encoded)
    return hashed.digest()[:16]
