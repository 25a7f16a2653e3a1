"""The only file that knows PyJWT: tokens in, statements out, and the reverse.

PyJWT signs and verifies; before it stands a check of form that bounds the work, after it a strict
reading of the claims. Every failure leaves here as one of our own errors.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import jwt
from jwt.algorithms import HMACAlgorithm

from flask_authx.enums import TokenType
from flask_authx.errors import (
    BadConfigurationError,
    JWTDecodeError,
    TokenExpiredError,
    TokenInvalidAudienceError,
    TokenInvalidIssuerError,
    TokenInvalidSignatureError,
)
from flask_authx.keys.ring import Key, KeyRing
from flask_authx.settings.options import Settings

from . import claims
from .cache import TokenCache
from .token import TokenClaims

#: JWS compact serialisation, whole (RFC 7515 section 3.1, RFC 8725bis section 3.14).
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
#: Characters of the header segment; ours have about 100.
_MAX_HEADER_LENGTH = 2048
#: ``crit`` and ``b64`` change what is signed, ``zip`` and ``enc`` belong to JWE.
_REFUSED_PARAMETERS = frozenset({"crit", "b64", "zip", "enc"})
_ACCESS, _REFRESH = TokenType.ACCESS, TokenType.REFRESH
#: RFC 7515 section 4.1.9: compared without case, and ``application/`` may be left out.
_TYPES = {"at+jwt": _ACCESS, "rt+jwt": _REFRESH}


_DIGESTS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
#: Claims as text that is as short as JSON can be, without ``NaN``.
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class _PreparedHMAC(HMACAlgorithm):
    """HMAC with a secret that was examined when it was loaded.

    PyJWT looks for keys in disguise in the secret at every token, which costs more than the HMAC.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        return key if isinstance(key, bytes) else key.encode()


def _examine(keys: KeyRing) -> None:
    """Let PyJWT look at each secret, once, beside our own look at it."""
    for key in keys.by_kid.values():
        if isinstance(key.verifying, bytes):
            try:
                HMACAlgorithm(_DIGESTS[key.algorithm]).prepare_key(key.verifying)
            except jwt.InvalidKeyError as error:
                raise BadConfigurationError(f"the secret with the kid {key.kid}: {error}") from None


class Codec:
    """Signs claims and verifies tokens with one key set.

    :param keys: the keys; :meth:`use` replaces them.
    """

    def __init__(self, settings: Settings, keys: KeyRing) -> None:
        self._settings = settings
        self._keys = keys
        self._cache = TokenCache(settings.cache_size) if settings.cache_size else None
        self._jws = jwt.PyJWS()
        for algorithm, digest in _DIGESTS.items():
            self._jws.unregister_algorithm(algorithm)
            self._jws.register_algorithm(algorithm, _PreparedHMAC(digest))
        _examine(keys)
        self._max_length = settings.max_token_length
        self._leeway = settings.decode_leeway
        self._issuer = settings.issuer
        self._audiences = settings.audiences

    @property
    def keys(self) -> KeyRing:
        """The keys in use."""
        return self._keys

    def use(self, keys: KeyRing) -> None:
        """Sign and verify with these keys from now on; what others have verified is forgotten."""
        _examine(keys)
        self._keys = keys
        if self._cache is not None:
            self._cache.clear()

    def cannot_sign(self) -> BadConfigurationError:
        """What is wrong when a token shall be minted and there is no key for it."""
        return BadConfigurationError(
            "this app has only a public key and can't mint tokens: "
            f"set {self._settings.prefix}PRIVATE_KEY."
        )

    def encode(self, payload: dict[str, Any], headers: dict[str, Any], *, foreign: bool) -> str:
        """Sign the claims with the current key.

        :param foreign: whether the app has put in something of its own, which may be anything.
        :raises TypeError: if a claim is nothing that JSON can say.
        :raises ValueError: if the token would not be accepted: too long, or claims that JSON
            should not say (``NaN``, two names that become one).
        """
        key = self._keys.current
        if key.signing is None:
            raise self.cannot_sign()
        try:
            data = _to_json(payload).encode("ascii")
            token = self._jws.encode(data, key.signing, key.algorithm, {"kid": key.kid, **headers})
        except RecursionError:
            raise ValueError("the claims are nested too deeply") from None
        if foreign:
            claims.strict_object(data)
            if _header(token) is None:
                raise ValueError("the header parameters are too long, or nothing that JSON can say")
        if len(token) > self._max_length:
            raise ValueError(
                f"the token would be {len(token)} characters long, and "
                f"{self._settings.prefix}MAX_TOKEN_LENGTH is {self._max_length}: put less into it"
            )
        return token

    def decode(self, token: str, now: float, *, expired: bool = False) -> TokenClaims:
        """What a token says, if its signature, form, times, issuer and audience are good.

        :param now: seconds since 1970-01-01 UTC.
        :param expired: whether one that has expired is good enough.
        :raises JWTDecodeError: or one of its subclasses, and nothing else, whatever the token is.
        """
        keys = self._keys
        parsed = self._cache.get(token, keys) if self._cache is not None else None
        if parsed is None:
            parsed = self._verify(token, keys)
            if self._cache is not None:
                self._cache.put(token, keys, parsed)
        # From here on: all that depends on the moment or on the settings.
        if self._issuer is not None and parsed.iss != self._issuer:
            raise TokenInvalidIssuerError
        # Without an audience of our own, a token that names one is somebody else's.
        if parsed.aud.isdisjoint(self._audiences) if self._audiences else parsed.aud:
            raise TokenInvalidAudienceError
        if now + self._leeway < parsed.not_before:
            raise JWTDecodeError("the token is not valid yet")
        if now >= parsed.exp + self._leeway and not expired:
            raise TokenExpiredError
        return parsed

    def _verify(self, token: str, keys: KeyRing) -> TokenClaims:
        # The length comes first: nothing below copies or splits a token of any size.
        if len(token) > self._max_length or not _COMPACT.fullmatch(token):
            raise JWTDecodeError("it does not have the form of a token")
        header = _header(token)
        if header is None or not _REFUSED_PARAMETERS.isdisjoint(header):
            raise JWTDecodeError("the header is not one of ours")
        typ = self._typ(header.get("typ"))
        key = _key_for(header, keys)
        payload = self._payload(token, key)
        members = _object(payload)
        if members is None:
            raise JWTDecodeError("the claims are not a JSON object")
        return claims.read_claims(*members, typ, self._settings)

    def _typ(self, typ: object) -> TokenType | None:
        name = typ.lower().removeprefix("application/") if isinstance(typ, str) else ""
        if name == "jwt" and self._settings.accept_untyped:
            return None
        if name not in _TYPES:
            raise JWTDecodeError("it is a token of another kind")
        return _TYPES[name]

    def _payload(self, token: str, key: Key) -> bytes:
        """The signed bytes, by PyJWT."""
        try:
            payload = self._jws.decode(token, key.verifying, algorithms=[key.algorithm.value])
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError):
            # Beyond its own tree PyJWT lets out what cryptography and the standard library raise.
            payload = None
        # Raised out here so that nothing of the token hangs on the error as its context.
        if not isinstance(payload, bytes):
            raise TokenInvalidSignatureError("the signature is not good")
        return payload


def _header(token: str) -> dict[str, Any] | None:
    """The members of the header, or ``None`` if it is not well-formed."""
    segment = token[: token.index(".")]
    if len(segment) > _MAX_HEADER_LENGTH or len(segment) % 4 == 1:
        return None
    members = _object(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return None if members is None else members[0]


def _object(data: bytes) -> tuple[dict[str, Any], str] | None:
    """The JSON object and its text; ``None`` instead of an error that would quote them."""
    try:
        return claims.strict_object(data)
    except (ValueError, RecursionError):
        return None


def _key_for(header: dict[str, Any], keys: KeyRing) -> Key:
    kid = header.get("kid")
    key = keys.find(kid) if isinstance(kid, str) or "kid" not in header else None
    # The algorithm is the key's; what the header says can only agree (RFC 8725 section 3.1).
    if key is None or header.get("alg") != key.algorithm:
        raise TokenInvalidSignatureError("no key of that name and algorithm")
    return key
