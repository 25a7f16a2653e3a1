"""From signed bytes to a :class:`TokenClaims`: strict JSON, strict types, nothing guessed.

PyJWT takes the last of two members of one name, UTF-16, ``NaN`` and ``"exp": "9_999"``; a token
that says things in such a way was not made by an honest issuer, signature or not.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn, TypeGuard

from flask_authx.enums import TokenType
from flask_authx.errors import JWTDecodeError
from flask_authx.settings.options import Settings

from .scopes import SCOPE
from .token import TokenClaims

#: 9999-12-31T23:59:59Z, the last second that ``datetime`` knows.
_LAST_SECOND = 253402300799
_MAX_DEPTH = 32
#: So that every store and every reader of JSON can hold it.
_LAST_GENERATION = 2**53
#: What a ``jti`` and a ``sid`` are made of, so that any store can hold them.
ID = re.compile(r"[A-Za-z0-9._~:-]{1,255}")


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

    :raises ValueError: for anything else, for a name that occurs twice, for numbers beyond
        IEEE 754, for lone surrogates and for nesting deeper than 32.
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
        # Only an escape can bring in a surrogate; databases and logs choke on it later.
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
        level = [one for one in inner if type(one) in (dict, list)]
    return depth


def read_claims(
    claims: dict[str, Any], text: str, typ: TokenType | None, settings: Settings
) -> TokenClaims:
    """What the claims say, all of it well-formed.

    :param typ: the type that the header says, or ``None`` for a token of another library.
    :raises JWTDecodeError: if a claim is missing, of the wrong type or out of bounds.
    """
    iat, exp = _time(claims, "iat"), _time(claims, "exp")
    nbf = _time(claims, "nbf") if "nbf" in claims else None
    if not iat < exp <= iat + settings.max_token_lifetime or (nbf is not None and nbf > exp):
        raise JWTDecodeError("the times don't fit together")
    if "cnf" in claims:
        # RFC 9449 section 7.2: a token bound to a key is not a bearer token.
        raise JWTDecodeError("the token is bound to a key")
    jti = _string(claims, "jti", ID)
    own = typ is not None
    return TokenClaims(
        sub=subject(claims.get(settings.identity_claim)),
        jti=jti,
        # Another library's token is a login of its own, which began when it was minted.
        sid=_string(claims, "sid", ID) if own or "sid" in claims else jti,
        iat=iat,
        exp=exp,
        nbf=nbf,
        not_before=iat if nbf is None else max(iat, nbf),
        auth_time=_time(claims, "auth_time") if own or "auth_time" in claims else iat,
        type=_type(claims.get("type"), typ),
        fresh=_boolean(claims.get("fresh", False)),
        scopes=_scopes(claims),
        csrf=_csrf(claims.get("csrf")),
        iss=_issuer(claims.get("iss")),
        aud=_audience(claims["aud"]) if "aud" in claims else frozenset(),
        gen=_generation(claims["gen"]) if "gen" in claims else None,
        text=text,
    )


def subject(value: object) -> str:
    """A subject: text with something in it, not too long, and without NUL, which SQL cuts at."""
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
    # A bool is an int to Python. Fractions are allowed (RFC 7519 section 2) and cut off.
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 <= value <= _LAST_SECOND
    ):
        return int(value)
    raise JWTDecodeError(f"the claim {name} is missing or not a time")


def _string(claims: dict[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = claims.get(name)
    if isinstance(value, str) and form.fullmatch(value):
        return value
    raise JWTDecodeError(f"the claim {name} is missing or not well-formed")


def _type(value: object, typ: TokenType | None) -> TokenType:
    for one in TokenType:
        if value == one and typ in (None, one):
            return one
    raise JWTDecodeError("the type is missing, unknown or not what the header says")


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise JWTDecodeError("the claim fresh is not true or false")


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    if "scope" in claims and "scopes" in claims:
        raise JWTDecodeError("the scopes are given twice")
    value: Any = claims.get("scope", claims.get("scopes", []))
    # RFC 9068 section 2.2.3 has one text with spaces in it; AuthX has a list.
    listed: Any = value.split(" ") if type(value) is str and value else value
    if listed is None or listed == "":
        return frozenset()
    if _is_list(listed) and all(type(one) is str and SCOPE.fullmatch(one) for one in listed):
        return frozenset(listed)
    raise JWTDecodeError("the scopes are not well-formed")


def _csrf(value: object) -> str | None:
    # Whatever isn't a value can't be matched; that is the CSRF check's to say, not ours.
    return value if isinstance(value, str) and value else None


def _issuer(value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise JWTDecodeError("the issuer is not well-formed")


def _generation(value: object) -> int:
    if type(value) is int and 0 <= value <= _LAST_GENERATION:
        return value
    raise JWTDecodeError("the generation is not a whole number")


def _audience(value: Any) -> frozenset[str]:
    several: Any = [value] if type(value) is str else value
    if _is_list(several) and several and all(type(one) is str and one for one in several):
        return frozenset(several)
    raise JWTDecodeError("the audience is not well-formed")
