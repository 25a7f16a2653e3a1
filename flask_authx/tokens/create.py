"""Minting: which claims a new token carries."""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from flask_authx.enums import TokenType
from flask_authx.errors import JWTDecodeError
from flask_authx.keys.asymmetric import base64url
from flask_authx.settings.options import RESERVED_CLAIMS, Settings
from flask_authx.settings.profiles import TokenProfile

from . import claims
from .codec import Codec
from .scopes import scope_list
from .token import CreatedToken, Token

#: What may identify a user; it is minted as a string (RFC 7519 section 4.1.2).
Uid: TypeAlias = str | int | UUID
#: A lifetime, in seconds or as a ``timedelta``, or the moment of expiry, with its time zone.
Expiry: TypeAlias = timedelta | int | datetime

#: Header parameters that decide how a token is read.
_RESERVED_PARAMETERS = frozenset(
    {"alg", "kid", "typ", "crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c"}
)


def new_id() -> str:
    """128 random bits (ASVS 7.2.3), in the characters of a ``jti``."""
    made = secrets.token_urlsafe(16)
    # On a command line it would be taken for an option.
    return new_id() if made.startswith("-") else made


@dataclass(slots=True, kw_only=True)
class SessionClaims:
    """What the tokens of one login share."""

    uid: Uid
    sid: str
    auth_time: int
    #: What a refresh token of it says as ``gen``, if the login is kept in a row.
    generation: int | None = None


@dataclass(slots=True, kw_only=True)
class TokenOptions:
    """What an app may add to a token, or set differently for once."""

    fresh: bool = False
    headers: Mapping[str, Any] | None = None
    expiry: Expiry | None = None
    data: Mapping[str, Any] | None = None
    audience: str | Iterable[str] | None = None
    scopes: Iterable[str] | None = None
    #: The second after which the token is of no use, whatever its lifetime would be.
    until: int | None = None


class TokenCreator:
    """Mints tokens.

    :param clock: seconds since 1970-01-01 UTC.
    :param ids: makes a new id each time it is called.
    """

    def __init__(
        self, settings: Settings, codec: Codec, clock: Callable[[], float], ids: Callable[[], str]
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._clock = clock
        self._ids = ids

    def session(self, uid: Uid, continued: Token | None = None, earliest: int = 0) -> SessionClaims:
        """A new login, or the one that a verified token belongs to.

        :param earliest: the first second to which a new one may be dated, even if that is ahead.
        :raises ValueError: if that token is another user's.
        """
        if continued is None:
            return SessionClaims(
                uid=uid, sid=self._id(), auth_time=max(int(self._clock()), earliest)
            )
        if continued.sub != subject(uid):
            raise ValueError("the login belongs to another user")
        return SessionClaims(uid=uid, sid=continued.sid, auth_time=continued.auth_time)

    def create(
        self,
        type: TokenType,
        login: SessionClaims,
        options: TokenOptions,
        additional: Mapping[str, Any],
    ) -> CreatedToken:
        """A new token.

        :param additional: claims of the app; those in ``options.data`` go before them.
        :raises TypeError: if the uid, a claim or an expiry is of a type that doesn't fit.
        :raises ValueError: if a value is out of bounds or a name is reserved.
        """
        now = int(self._clock())
        profile = self._settings.profiles[type]
        own = {**additional, **(options.data or {})}
        headers = dict(options.headers or {})
        if own or headers:
            _refuse(own, RESERVED_CLAIMS | {self._settings.identity_claim}, "claim")
            _refuse(headers, _RESERVED_PARAMETERS, "header parameter")
        life = self._lifetime(profile, options.expiry, now)
        if options.until is not None:
            life = max(1, min(life, options.until - now))
        payload = {
            **own,
            **self._registered(login, options, now),
            "exp": now + life,
            "type": profile.type,
            "fresh": options.fresh,
        }
        if login.generation is not None and type is TokenType.REFRESH:
            payload["gen"] = login.generation
        csrf = self._csrf(login.sid, profile) if self._settings.uses_cookies else None
        if csrf is not None:
            payload["csrf"] = csrf
        token = self._codec.encode(
            payload, {"typ": profile.typ, **headers}, foreign=bool(own or headers)
        )
        return CreatedToken(token, type, life, csrf)

    def _registered(self, login: SessionClaims, options: TokenOptions, now: int) -> dict[str, Any]:
        settings = self._settings
        payload: dict[str, Any] = {
            settings.identity_claim: subject(login.uid),
            "iat": now,
            "jti": self._id(),
            "sid": login.sid,
            "auth_time": login.auth_time,
        }
        if settings.encode_nbf:
            payload["nbf"] = now
        if settings.encode_issuer is not None:
            payload["iss"] = settings.encode_issuer
        audience: Any = settings.encode_audience if options.audience is None else options.audience
        if audience is not None:
            payload["aud"] = audience if isinstance(audience, str) else [*audience]
            if not audience or not all(isinstance(one, str) and one for one in payload["aud"]):
                raise ValueError("the audience must be some text, or a list of texts")
            "".join(payload["aud"]).encode("utf-8")
        if options.scopes is not None:
            payload["scope"] = " ".join(scope_list(options.scopes))
        return payload

    def _id(self) -> str:
        made = self._ids()
        if not claims.ID.fullmatch(made):
            raise ValueError("the id generator must make 1 to 255 of the characters A-Za-z0-9._~:-")
        return made

    def _lifetime(self, profile: TokenProfile, expiry: Expiry | None, now: int) -> int:
        if expiry is None:
            return profile.lifetime
        if isinstance(expiry, datetime):
            if expiry.tzinfo is None:
                raise ValueError("the expiry has no time zone: use datetime.now(UTC) + ...")
            seconds = expiry.timestamp() - now
        elif isinstance(expiry, timedelta):
            seconds = expiry.total_seconds()
        elif type(expiry) is int:
            seconds = expiry
        else:
            raise TypeError("the expiry must be a timedelta, seconds as an int, or a datetime")
        if not 1 <= seconds <= self._settings.max_token_lifetime:
            raise ValueError(
                "the expiry must lie at least a second ahead and at most "
                f"{self._settings.prefix}MAX_TOKEN_LIFETIME ({self._settings.max_token_lifetime} s)"
            )
        return math.floor(seconds)

    def csrf_values(self, sid: str) -> list[str]:
        """The CSRF values of a login's tokens of each type, where this app mints them."""
        if self._codec.keys.current.derived is None:
            return []
        return [self._csrf(sid, profile) for profile in self._settings.profiles.values()]

    def _csrf(self, sid: str, profile: TokenProfile) -> str:
        # Derived, not random: the same for the whole login, so a form in another tab stays good.
        secret = self._codec.keys.current.derived
        if secret is None:
            raise self._codec.cannot_sign()
        return base64url(hmac.digest(secret, f"{profile.type}:{sid}".encode(), "sha256")[:16])


def subject(uid: object) -> str:
    """The uid as the ``sub`` of a token.

    :raises TypeError: if it is neither text, a whole number nor a UUID.
    :raises ValueError: if it is empty, longer than 255 characters or holds NUL.
    """
    if isinstance(uid, bool) or not isinstance(uid, (str, int, UUID)):
        raise TypeError(f"the uid must be a str, an int or a UUID, not {type(uid).__name__}")
    try:
        text = claims.subject(str(uid))
        text.encode("utf-8")
    except (JWTDecodeError, UnicodeEncodeError):
        raise ValueError(
            "the uid must not be empty, hold NUL or a lone surrogate, "
            f"or be longer than {claims.MAX_SUBJECT_LENGTH} characters"
        ) from None
    return text


def _refuse(given: Mapping[Any, Any], reserved: frozenset[str], kind: str) -> None:
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"the name of a {kind} must be text, not {type(name).__name__}")
    taken = sorted(reserved.intersection(given))
    if taken:
        raise ValueError(f"the {kind} {taken[0]} has a meaning of its own and can't be set")
