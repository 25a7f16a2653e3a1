"""The keys under which a store finds the entries and rows of a token, a session or a subject."""

from __future__ import annotations

import hashlib

from .blocklist import Kind

#: Changes with every change to how keys are made, so that old and new keys never collide.
_VERSION = b"1"


class LookupKeys:
    """Makes keys of 16 bytes: hashes of a jti, sid or sub together with its kind and its issuer.

    The same jti of another issuer has another key. A key is an index and not a secret.

    :param issuer: the issuer of the tokens, if they name one.
    :param name: the name of the ``AuthX`` object, which takes the issuer's place without one.
    """

    def __init__(self, issuer: str | None, name: str) -> None:
        scope = [b"name", name.encode()] if issuer is None else [b"issuer", issuer.encode()]
        #: The start of the hash input for each kind.
        self._token, self._session, self._subject = (
            _length_prefixed(_VERSION, kind.encode(), *scope) for kind in Kind
        )

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
    return hashlib.blake2b(
        prefix + len(encoded).to_bytes(4, "big") + encoded, digest_size=16
    ).digest()
