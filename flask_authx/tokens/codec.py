"""Signs claims and verifies tokens. Only this module imports PyJWT.

A check of length and form before PyJWT limits the work, and a strict parser after it reads the
claims. Every failure is raised as an error of this package.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections.abc import Callable
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
from flask_authx.keys.ring import Key, KeyRing, WeakPrevious
from flask_authx.settings.options import Settings

from . import claims
from .cache import TokenCache
from .token import TokenClaims

_log = logging.getLogger("flask_authx")

_DAY = 86_400
#: The JWS compact serialization (RFC 7515 section 3.1, RFC 8725bis section 3.14).
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
#: The longest encoded header, in characters. Those of this package have about 100.
_MAX_HEADER_LENGTH = 2048
#: ``crit`` and ``b64`` change the signed content; ``zip`` and ``enc`` belong to JWE.
_REFUSED_PARAMETERS = frozenset({"crit", "b64", "zip", "enc"})
_ACCESS, _REFRESH = TokenType.ACCESS, TokenType.REFRESH
#: ``typ`` is compared without case and without ``application/`` (RFC 7515 section 4.1.9).
_TYPES = {"at+jwt": _ACCESS, "rt+jwt": _REFRESH}
_DIGESTS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


class _PreparedHMAC(HMACAlgorithm):
    """HMAC with a secret that was checked when it was loaded.

    PyJWT searches the secret for encoded keys at every token, which takes longer than the HMAC.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        return key if isinstance(key, bytes) else key.encode()

    def check_key_length(self, key: bytes) -> str | None:
        # A previous secret may be short for some days.
        return None


def _check_secrets(keys: KeyRing) -> None:
    """Run PyJWT's own check of each secret once, in addition to that of ``keys``."""
    for key in keys.by_kid.values():
        if isinstance(key.verifying, bytes):
            try:
                HMACAlgorithm(_DIGESTS[key.algorithm]).prepare_key(key.verifying)
            except jwt.InvalidKeyError as error:
                raise BadConfigurationError(f"the secret with the kid {key.kid}: {error}") from None


class Codec:
    """Signs claims and verifies tokens with one key ring.

    :param keys: the keys. :meth:`use` replaces them.
    :param plain: returns a value that JSON has, for one in the claims that JSON doesn't have.
    """

    def __init__(
        self, settings: Settings, keys: KeyRing, plain: Callable[[Any], Any] | None = None
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._cache = TokenCache(settings.cache_size) if settings.cache_size else None
        self._jws = jwt.PyJWS()
        #: Encodes claims as compact JSON, and refuses ``NaN``.
        encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=plain)
        self._to_json = encoder.encode
        for algorithm, digest in _DIGESTS.items():
            self._jws.unregister_algorithm(algorithm)
            self._jws.register_algorithm(algorithm, _PreparedHMAC(digest))
        _check_secrets(keys)
        self._max_length = settings.max_token_length
        self._leeway = settings.decode_leeway
        self._issuer = settings.issuer
        self._audiences = settings.audiences
        #: By the day since the keys were loaded: who has warned of a weak one. The first day's
        #: warning was logged then.
        self._warned: dict[int, object] = {0: None}

    @property
    def keys(self) -> KeyRing:
        """The keys in use."""
        return self._keys

    def use(self, keys: KeyRing) -> None:
        """Sign and verify with these keys from now on, and clear the cache."""
        _check_secrets(keys)
        self._keys = keys
        if self._cache is not None:
            self._cache.clear()

    def cannot_sign(self) -> BadConfigurationError:
        """The error for a new token without a key that signs it."""
        return BadConfigurationError(
            "this app has only a public key and can't create tokens: "
            f"set {self._settings.prefix}PRIVATE_KEY."
        )

    def encode(self, payload: dict[str, Any], headers: dict[str, Any], *, foreign: bool) -> str:
        """Sign the claims with the current key.

        :param foreign: whether the app has added claims or header parameters, which are checked.
        :raises TypeError: if a claim can't be encoded as JSON.
        :raises ValueError: if the token would be refused: too long, nested too deeply, or with
            claims that are no strict JSON (``NaN``, duplicate names).
        """
        key = self._keys.current
        if key.signing is None:
            raise self.cannot_sign()
        try:
            data = self._to_json(payload).encode("ascii")
            token = self._jws.encode(data, key.signing, key.algorithm, {"kid": key.kid, **headers})
        except RecursionError:
            raise ValueError("the claims are nested too deeply") from None
        if foreign:
            claims.strict_object(data)
            if _header(token) is None:
                raise ValueError("the header parameters are too long, or can't be encoded as JSON")
        if len(token) > self._max_length:
            raise ValueError(
                f"the token would be {len(token)} characters long, and "
                f"{self._settings.prefix}MAX_TOKEN_LENGTH is {self._max_length}: shorten its claims"
            )
        return token

    def decode(self, token: str, now: float, *, expired: bool = False) -> TokenClaims:
        """The claims of a token whose signature, form, times, issuer and audience are valid.

        :param now: seconds since 1970-01-01 UTC.
        :param expired: whether an expired token is accepted.
        :raises JWTDecodeError: or one of its subclasses. No token makes it raise anything else.
        """
        keys = self._keys
        if keys.weak is not None:
            keys = self._limit(keys, keys.weak, now)
        parsed = self._cache.get(token, keys) if self._cache is not None else None
        if parsed is None:
            parsed = self._verify(token, keys)
            if self._cache is not None:
                self._cache.put(token, keys, parsed)
        # The checks below depend on the time or the settings, so they are not cached.
        if self._issuer is not None and parsed.iss != self._issuer:
            raise TokenInvalidIssuerError("the issuer (iss) is not the one that is expected")
        # An app without an audience refuses every token that names one (RFC 7519 section 4.1.3).
        if (parsed.aud or self._audiences) and parsed.aud.isdisjoint(self._audiences):
            raise TokenInvalidAudienceError("the audience (aud) is not that of this app")
        if now + self._leeway < parsed.not_before:
            raise JWTDecodeError("the token is not valid yet")
        if now >= parsed.exp + self._leeway and not expired:
            raise TokenExpiredError("it has expired: exp and the leeway have passed")
        return parsed

    def _limit(self, keys: KeyRing, weak: WeakPrevious, now: float) -> KeyRing:
        """Warn of a weak previous secret once a day, and give it up on its last day."""
        if now >= weak.until:
            keys = keys.without_previous()
            self.use(keys)
            _log.warning("a weak previous secret has expired: its tokens are refused from now on")
            return keys
        mine = object()
        if self._warned.setdefault(int((now - weak.since) // _DAY), mine) is mine:
            _log.warning(weak.warning)
        return keys

    def _verify(self, token: str, keys: KeyRing) -> TokenClaims:
        # The length is checked first, so that nothing below copies or splits a token of any size.
        if len(token) > self._max_length or not _COMPACT.fullmatch(token):
            raise JWTDecodeError("it is too long, or does not have the form of a token")
        header = _header(token)
        if header is None or not _REFUSED_PARAMETERS.isdisjoint(header):
            raise JWTDecodeError(
                "the header is malformed, or has a parameter that is not supported"
            )
        typ = self._typ(header.get("typ"))
        key = _key_for(header, keys)
        payload = self._payload(token, key)
        members = _object(payload)
        if members is None:
            raise JWTDecodeError("the claims are not a JSON object")
        return claims.read_claims(*members, typ, token[: token.index(".")], self._settings)

    def _typ(self, typ: object) -> TokenType | None:
        name = typ.lower().removeprefix("application/") if isinstance(typ, str) else ""
        if name == "jwt" and self._settings.accept_untyped:
            return None
        if name not in _TYPES:
            raise JWTDecodeError("the typ in the header is missing or unknown")
        return _TYPES[name]

    def _payload(self, token: str, key: Key) -> bytes:
        """The signed bytes, verified by PyJWT."""
        try:
            payload = self._jws.decode(token, key.verifying, algorithms=[key.algorithm.value])
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError):
            # PyJWT also lets errors of cryptography and the standard library through.
            payload = None
        # Raised outside of the except block, so that its context holds nothing of the token.
        if not isinstance(payload, bytes):
            raise TokenInvalidSignatureError("the signature is invalid")
        return payload


def _header(token: str) -> dict[str, Any] | None:
    """The parameters of the header, or ``None`` if it is malformed."""
    segment = token[: token.index(".")]
    if len(segment) > _MAX_HEADER_LENGTH or len(segment) % 4 == 1:
        return None
    members = _object(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return None if members is None else members[0]


def _object(data: bytes) -> tuple[dict[str, Any], str] | None:
    """The JSON object and its text. ``None`` for invalid JSON, since an error would quote it."""
    try:
        return claims.strict_object(data)
    except (ValueError, RecursionError):
        return None


def _key_for(header: dict[str, Any], keys: KeyRing) -> Key:
    kid = header.get("kid")
    key = keys.find(kid) if isinstance(kid, str) or "kid" not in header else None
    # The key decides the algorithm, and the header must have the same one (RFC 8725 section 3.1).
    if key is None or header.get("alg") != key.algorithm:
        raise TokenInvalidSignatureError("no key has this kid and algorithm")
    return key
