"""Reads signed bytes into :class:`TokenClaims`, with strict JSON and strict types.

PyJWT accepts duplicate names, UTF-16, ``NaN`` and ``"exp": "9_999"``. No honest issuer creates such
a token, so it is refused in spite of a valid signature.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn, TypeGuard

from flask_authx.enums import TokenType
from flask_authx.errors import JWTDecodeError
from flask_authx.settings.options import Settings
from flask_authx.stores.base import MICROSECONDS

from .scopes import SCOPE
from .token import Epoch, TokenClaims

#: 9999-12-31T23:59:59Z, the last second that ``datetime`` supports.
_LAST_SECOND = 253402300799
_MAX_DEPTH = 32
#: The largest integer that every store and every JSON parser supports.
_LAST_GENERATION = 2**53
#: The syntax of a ``jti`` and a ``sid``, which every store can hold.
ID = re.compile(r"[A-Za-z0-9._~:-]{1,255}")
#: The scope of an epoch, and its cut-off, which may lie before 1970.
_EPOCH = re.compile(r"[0-9a-f]{6}\.-?[0-9]{1,16}")
#: The longest subject, in characters (OpenID Connect Core section 2).
MAX_SUBJECT_LENGTH = 255


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
)


def strict_object(data: bytes) -> tuple[dict[str, Any], str]:
    """The JSON object in UTF-8 bytes, and its text (RFC 8259, RFC 8725 section 3.7).

    :raises ValueError: if the bytes are no JSON object in UTF-8, or contain a duplicate name, a
        number beyond IEEE 754, a lone surrogate or nesting deeper than 32.
    """
    text = data.decode("utf-8")
    try:
        value: Any = _decoder.decode(text)
    except RecursionError:
        raise ValueError("the nesting is too deep") from None
    if not _is_object(value):
        raise ValueError("it is not an object")
    if text.count("{") + text.count("[") > _MAX_DEPTH and _depth(value) > _MAX_DEPTH:
        raise ValueError("the nesting is too deep")
    if "\\u" in text:
        # Only an escape can produce a lone surrogate, which databases and logs fail on.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value, text


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return type(value) is dict


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return type(value) is list


def _depth(value: Any) -> int:
    depth = 0
    level: list[Any] = [value]
    while level:
        depth += 1
        inner: list[Any] = []
        for container in level:
            inner += container.values() if _is_object(container) else container
        level = [item for item in inner if type(item) in (dict, list)]
    return depth


def read_claims(
    claims: dict[str, Any], text: str, typ: TokenType | None, header: str, settings: Settings
) -> TokenClaims:
    """The claims as an object, after a check of each.

    A claim that is there has its type: ``null`` does not count as absent.

    :param text: the claims as JSON.
    :param typ: the token type in the header, or ``None`` for a token of another library.
    :param header: the first segment of the token.
    :raises JWTDecodeError: if a claim is missing, of the wrong type or out of range.
    """
    iat, exp = _time(claims, "iat"), _time(claims, "exp")
    nbf = _time(claims, "nbf") if "nbf" in claims else None
    if not iat < exp <= iat + settings.max_token_lifetime or (nbf is not None and nbf > exp):
        raise JWTDecodeError(
            "the times of the claims contradict each other or the maximum lifetime"
        )
    if settings.identity_claim != "sub" and not isinstance(claims.get("sub", ""), str):
        # Another claim holds the subject, but this one is registered (RFC 7519 section 4.1.2).
        raise JWTDecodeError("the claim sub is not text")
    if "cnf" in claims:
        # A token that is bound to a key is no bearer token (RFC 9449 section 7.2).
        raise JWTDecodeError("the token is bound to a key")
    jti = _string(claims, "jti", ID)
    own = typ is not None
    # A token of another library is a session by itself, which began when it was issued.
    auth_time = _time(claims, "auth_time") if own or "auth_time" in claims else iat
    return TokenClaims(
        sub=subject(claims.get(settings.identity_claim)),
        jti=jti,
        sid=_string(claims, "sid", ID) if own or "sid" in claims else jti,
        iat=iat,
        exp=exp,
        nbf=nbf,
        not_before=iat if nbf is None else max(iat, nbf),
        auth_time=auth_time,
        # Another library may let its users choose such claims.
        epoch=_epoch(claims["auth_epoch"]) if own and "auth_epoch" in claims else None,
        began=auth_time * MICROSECONDS + (_fraction(claims.get("auth_us", 0)) if own else 0),
        type=_type(claims.get("type"), typ),
        fresh=_boolean(claims.get("fresh", False)),
        scopes=_scopes(claims),
        csrf=_csrf(claims["csrf"]) if "csrf" in claims else None,
        iss=_issuer(claims["iss"]) if "iss" in claims else None,
        aud=_audience(claims["aud"]) if "aud" in claims else frozenset(),
        gen=_generation(claims["gen"]) if "gen" in claims else None,
        text=text,
        header=header,
    )


def subject(value: object) -> str:
    """A subject: text that is not blank, not too long, and without NUL, where SQL truncates it."""
    if (
        isinstance(value, str)
        and len(value) <= MAX_SUBJECT_LENGTH
        and "\0" not in value
        and not value.isspace()
        and value
    ):
        return value
    raise JWTDecodeError("the subject is not well-formed")


def _time(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    # In Python a bool is an int. Fractions are allowed (RFC 7519 section 2) and truncated.
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 <= value <= _LAST_SECOND
    ):
        return int(value)
    raise JWTDecodeError(f"the claim {name} is missing or not a time")


def _epoch(value: object) -> Epoch:
    if isinstance(value, str) and _EPOCH.fullmatch(value):
        scope, _, until = value.partition(".")
        return Epoch(scope, int(until))
    raise JWTDecodeError("the claim auth_epoch is not well-formed")


def _fraction(value: object) -> int:
    """The microseconds of a second."""
    if type(value) is int and 0 <= value < MICROSECONDS:
        return value
    raise JWTDecodeError("the claim auth_us is not a number of microseconds below a second")


def _string(claims: dict[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = claims.get(name)
    if isinstance(value, str) and form.fullmatch(value):
        return value
    raise JWTDecodeError(f"the claim {name} is missing or not well-formed")


def _type(value: object, typ: TokenType | None) -> TokenType:
    for token_type in TokenType:
        if value == token_type and typ in (None, token_type):
            return token_type
    raise JWTDecodeError("the type is missing, unknown or not that of the header")


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise JWTDecodeError("the claim fresh is not true or false")


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    if "scope" in claims and "scopes" in claims:
        raise JWTDecodeError("the token has both scope and scopes")
    value: Any = claims.get("scope", claims.get("scopes", ""))
    if value == "":
        return frozenset()
    # RFC 9068 section 2.2.3: one text, separated by spaces. AuthX writes a list.
    listed: Any = value.split(" ") if type(value) is str else value
    if _is_list(listed) and all(type(one) is str and SCOPE.fullmatch(one) for one in listed):
        return frozenset(listed)
    raise JWTDecodeError("the scopes are not well-formed")


def _csrf(value: object) -> str | None:
    if isinstance(value, str):
        # AuthX writes an empty one, which counts as none: the CSRF check refuses the request then.
        return value or None
    raise JWTDecodeError("the claim csrf is not text")


def _issuer(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise JWTDecodeError("the issuer is not well-formed")


def _generation(value: object) -> int:
    if type(value) is int and 0 <= value <= _LAST_GENERATION:
        return value
    raise JWTDecodeError("the generation is not a whole number")


def _audience(value: Any) -> frozenset[str]:
    listed: Any = [value] if type(value) is str else value
    if _is_list(listed) and listed and all(type(one) is str and one for one in listed):
        return frozenset(listed)
    raise JWTDecodeError("the audience is not well-formed")
