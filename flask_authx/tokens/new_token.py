"""Creates tokens: the claims of a new token."""

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
from flask_authx.stores.base import MICROSECONDS

from . import claims
from .codec import Codec
from .scopes import scope_list
from .token import CreatedToken, Epoch, Token

#: The id of a user. In a token it is a string (RFC 7519 section 4.1.2).
Uid: TypeAlias = str | int | UUID
#: A lifetime in seconds or as a ``timedelta``, or the time of expiry as an aware ``datetime``.
Expiry: TypeAlias = timedelta | int | datetime

#: Header parameters that affect how a token is verified. An app can't set them.
_RESERVED_PARAMETERS = frozenset(
    {"alg", "kid", "typ", "crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c"}
)


def new_id() -> str:
    """128 random bits (ASVS 7.2.3), in the characters of a ``jti``."""
    new = secrets.token_urlsafe(16)
    # A leading "-" would make it an option on a command line.
    return new_id() if new.startswith("-") else new


@dataclass(slots=True, kw_only=True)
class SessionClaims:
    """The claims that all tokens of one session share."""

    uid: Uid
    sid: str
    #: When the session began, in microseconds since 1970-01-01 UTC.
    began: int
    #: What it notes of the store in which it is opened, if there is one.
    epoch: Epoch | None = None
    #: The ``gen`` of a refresh token, if the session is stored.
    generation: int | None = None


@dataclass(slots=True, kw_only=True)
class TokenOptions:
    """What an app can add to one token, or set differently for it."""

    fresh: bool = False
    headers: Mapping[str, Any] | None = None
    expiry: Expiry | None = None
    data: Mapping[str, Any] | None = None
    audience: str | Iterable[str] | None = None
    scopes: Iterable[str] | None = None
    #: The latest expiry in seconds since 1970-01-01 UTC, whatever the lifetime.
    until: int | None = None


class TokenCreator:
    """Creates tokens.

    :param clock: returns seconds since 1970-01-01 UTC.
    :param ids: returns a new id at each call.
    """

    def __init__(
        self, settings: Settings, codec: Codec, clock: Callable[[], float], ids: Callable[[], str]
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._clock = clock
        self._ids = ids

    def session(
        self,
        uid: Uid,
        continued: Token | None = None,
        began: int | None = None,
        epoch: Epoch | None = None,
    ) -> SessionClaims:
        """A new session, or that of a verified token.

        :param continued: the verified token, which has not expired.
        :param began: when a new session began, in microseconds since 1970-01-01 UTC, by the clock
            of the store of revocations; by default at this moment, by the machine's clock.
        :param epoch: what it notes of that store.
        :raises ValueError: if the token belongs to another user.
        """
        if continued is None:
            began = int(self._clock() * MICROSECONDS) if began is None else began
            return SessionClaims(uid=uid, sid=self._new_id(), began=began, epoch=epoch)
        if continued.sub != subject(uid):
            raise ValueError("the session belongs to another user")
        parsed = continued.parsed
        return SessionClaims(uid=uid, sid=parsed.sid, began=parsed.began, epoch=parsed.epoch)

    def create(
        self,
        type: TokenType,
        session: SessionClaims,
        options: TokenOptions,
        additional: Mapping[str, Any],
        *,
        for_cookies: bool,
    ) -> CreatedToken:
        """A new token.

        :param additional: claims of the app. Those in ``options.data`` override them.
        :param for_cookies: whether it may be sent as a cookie, so that it needs a CSRF value.
        :raises TypeError: if the uid, a claim or an expiry has the wrong type.
        :raises ValueError: if a value is out of range or a name is reserved.
        """
        check_fresh(options.fresh)
        now = int(self._clock())
        profile = self._settings.profiles[type]
        own = {**additional, **(options.data or {})}
        headers = dict(options.headers or {})
        if own or headers:
            _check_names(own, RESERVED_CLAIMS | {self._settings.identity_claim}, "claim")
            _check_names(headers, _RESERVED_PARAMETERS, "header parameter")
        life = self._lifetime(profile, options.expiry, now)
        if options.until is not None:
            life = max(1, min(life, options.until - now))
        payload = {
            **own,
            **self._registered(session, options, now),
            "exp": now + life,
            "type": profile.type,
            "fresh": options.fresh,
        }
        if session.generation is not None and type is TokenType.REFRESH:
            payload["gen"] = session.generation
        csrf = companion = None
        if for_cookies:
            companion = _companion(self._secret(), session.sid)
            csrf = payload["csrf"] = csrf_value(companion, type)
        token = self._codec.encode(
            payload, {"typ": profile.typ, **headers}, foreign=bool(own or headers)
        )
        return CreatedToken(token, type, life, csrf, companion)

    def _registered(
        self, session: SessionClaims, options: TokenOptions, now: int
    ) -> dict[str, Any]:
        settings = self._settings
        payload: dict[str, Any] = {
            settings.identity_claim: subject(session.uid),
            "iat": now,
            "jti": self._new_id(),
            "sid": session.sid,
            "auth_time": session.began // MICROSECONDS,
            "auth_us": session.began % MICROSECONDS,
        }
        if session.epoch is not None:
            payload["auth_epoch"] = f"{session.epoch.scope}.{session.epoch.until}"
        if settings.encode_nbf:
            payload["nbf"] = now
        if settings.encode_issuer is not None:
            payload["iss"] = settings.encode_issuer
        audience: Any = settings.encode_audience if options.audience is None else options.audience
        if audience is not None:
            named: list[Any] = [audience] if isinstance(audience, str) else [*audience]
            if not named or not all(isinstance(one, str) and one.strip() for one in named):
                raise ValueError("the audience must be a text that is not blank, or a list of such")
            # Raises for a lone surrogate.
            "".join(named).encode("utf-8")
            payload["aud"] = audience if isinstance(audience, str) else named
        if options.scopes is not None:
            payload["scope"] = " ".join(scope_list(options.scopes))
        return payload

    def _new_id(self) -> str:
        new = self._ids()
        if not claims.ID.fullmatch(new):
            raise ValueError("the id generator must return 1 to 255 characters of A-Za-z0-9._~:-")
        return new

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
                "the expiry must lie at least one second in the future and at most "
                f"{self._settings.prefix}MAX_TOKEN_LIFETIME ({self._settings.max_token_lifetime} s)"
            )
        return math.floor(seconds)

    def with_csrf(self, token: Token) -> CreatedToken:
        """A verified token, signed again with the CSRF value that it needs in a cookie.

        All else is the same, the ``jti`` too: whatever revokes one of the two revokes both.
        """
        companion = _companion(self._secret(), token.sid)
        csrf = csrf_value(companion, token.type)
        # Those that the codec sets.
        headers = {
            name: value for name, value in token.header.items() if name not in ("alg", "kid")
        }
        text = self._codec.encode({**token.claims, "csrf": csrf}, headers, foreign=True)
        return CreatedToken(text, token.type, token.exp - token.iat, csrf, companion)

    def companion_of(self, token: Token) -> str | None:
        """The value of the companion of a refresh cookie: a MAC of the token's ``sid``.

        ``None`` if this app does not hold the secret with which the token's CSRF value was derived.
        """
        expected = (token.csrf or "").encode()
        for key in self._codec.keys.by_kid.values():
            if key.derived is not None:
                value = _companion(key.derived, token.sid)
                if hmac.compare_digest(csrf_value(value, token.type).encode(), expected):
                    return value
        return None

    def csrf_values(self, token: Token) -> list[str]:
        """The CSRF values of a token's session, one for each type; empty as for the companion."""
        value = self.companion_of(token)
        return [] if value is None else [csrf_value(value, type) for type in TokenType]

    def _secret(self) -> bytes:
        secret = self._codec.keys.current.derived
        if secret is None:
            raise self._codec.cannot_sign()
        return secret


def csrf_value(companion: str, type: TokenType) -> str:
    """The CSRF value of the tokens of a type, in the session that a companion is of.

    A token carries it as a signed claim. So the token itself says which companion is the right one,
    whichever key has signed it, and the companion can't be computed from it.
    """
    return base64url(hmac.digest(companion.encode(), type.encode(), "sha256")[:16])


def _companion(secret: bytes, sid: str) -> str:
    # Derived and not random: it and the CSRF values stay the same for the session, so that forms in
    # other tabs remain valid.
    return base64url(hmac.digest(secret, f"session:{sid}".encode(), "sha256")[:16])


def subject(uid: object) -> str:
    """The uid as the ``sub`` of a token.

    :raises TypeError: if it is no ``str``, ``int`` or ``UUID``.
    :raises ValueError: if it is blank, longer than 255 characters, or contains NUL or a lone
        surrogate.
    """
    if isinstance(uid, bool) or not isinstance(uid, (str, int, UUID)):
        raise TypeError(
            f"the uid must be a str, an int or a UUID, not {type(uid).__name__}: give its id, or "
            "register @authx.set_callback_identity, which returns the uid of other objects"
        )
    try:
        text = claims.subject(str(uid))
        text.encode("utf-8")
    except (JWTDecodeError, UnicodeEncodeError):
        raise ValueError(
            "the uid must not be empty, contain NUL or a lone surrogate, "
            f"or be longer than {claims.MAX_SUBJECT_LENGTH} characters"
        ) from None
    return text


def check_fresh(value: object) -> None:
    """Refuse a duration, which similar libraries take.

    :raises TypeError: if it is neither ``True`` nor ``False``, with how to limit the age.
    """
    if type(value) is not bool:
        raise TypeError(
            f"fresh= must be True or False, not {type(value).__name__}: the view says how old a "
            "fresh token may be, with max_age= as in @authx.fresh_token_required(max_age=300)"
        )


def _check_names(given: Mapping[Any, Any], reserved: frozenset[str], kind: str) -> None:
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"the name of a {kind} must be text, not {type(name).__name__}")
    taken = sorted(reserved.intersection(given))
    if taken:
        raise ValueError(f"the {kind} {taken[0]} is reserved and can't be set")
