"""One parser for each kind of setting: it returns the checked value or raises ``ValueError``.

Every parser also accepts the strings that ``app.config.from_prefixed_env`` leaves where a variable
holds no JSON. Each message completes the sentence "``JWT_X``: ...".
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple, TypeGuard, TypeVar, cast

from flask_authx.enums import Location

E = TypeVar("E", bound=StrEnum)

#: The names of cookies and methods: a token of RFC 9110 section 5.6.2.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: The names of headers that reach the app: gunicorn, nginx, Apache and Werkzeug's server drop
#: others, since the environ has the same key for X_Token and X-Token.
_HEADER = re.compile(r"-*[0-9A-Za-z][0-9A-Za-z-]*")
#: Headers that browsers do not let scripts set (Fetch section 2.2.2), those that a proxy keeps for
#: itself (RFC 9110 sections 7.6.1 and 11.7), and those of the body, which the environ has under
#: other keys (PEP 3333). Other names that start with Proxy- or Sec- reach the app from clients that
#: are no browsers, and a WebSocket of a browser sets Sec-WebSocket-Protocol.
_HEADERS_OF_OTHERS = re.compile(
    r"(Accept-(Charset|Encoding)|Access-Control-Request-(Headers|Method|Private-Network)|Connection"
    r"|Content-(Length|Type)|Cookie2?|Date|DNT|Expect|Host|Keep-Alive|Origin"
    r"|Proxy-(Authorization|Connection)|Referer|Sec-Fetch-.*|Set-Cookie|TE|Trailer"
    r"|Transfer-Encoding|Upgrade|Via)",
    re.IGNORECASE,
)
#: The content of a quoted string in a challenge (RFC 6750 section 3).
_QUOTABLE = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")
_DURATION = re.compile(r"([0-9]+)([smhdw])")
#: Without ``;``, which ends the attribute, and without ``?`` and ``#``, which end a URL's path.
#: Browsers ignore an attribute of more than 1024 octets (RFC 6265bis section 5.6).
_PATH = re.compile(r"/[\x21\x22\x24-\x3A\x3C-\x3E\x40-\x7E]{0,1023}")
_DOMAIN = re.compile(r"(?=.{1,254}\Z)\.?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
#: ``from_prefixed_env`` turns digits into a number.
_NO_TEXT = "set it to some text; digits in an environment variable need quotes to be text"
#: What an environment variable in another encoding is read as.
_NO_UNICODE = "set it to text in UTF-8: a part of it is in another encoding"
#: More seconds than any date has, and a count that every store and JSON parser can hold.
_MAX_SECONDS, _MAX_COUNT = 10**10 - 1, 10**12
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def boolean(value: object) -> bool:
    """A bool, or one of the words true, yes, on, false, no, off in any case."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError("set it to True or False")


def count(value: object, least: int = 0) -> int:
    """A whole number, ``least`` or more."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return _at_most(value, _MAX_COUNT)
    raise ValueError(f"set it to a whole number, {least} or more")


def _at_most(value: int, limit: int) -> int:
    if value > limit:
        raise ValueError(f"set it to {limit} or less")
    return value


def positive_count(value: object) -> int:
    """A whole number, 1 or more."""
    return count(value, 1)


def token_length(value: object) -> int:
    """A number of characters that is enough for a token."""
    return count(value, 256)


def seconds(value: object, least: int = 0) -> int:
    """A duration in whole seconds: a ``timedelta``, a number, or text such as ``1h30m``."""
    if isinstance(value, str):
        value = _seconds_from_text(value.strip())
    elif isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # NaN fails the comparison.
        if least <= value < inf and int(value) == value:
            return _at_most(int(value), _MAX_SECONDS)
        raise ValueError(f"set it to a whole number of seconds, {least} or more")
    raise ValueError('set it to a timedelta, a number of seconds, or text such as "15m"')


def _seconds_from_text(text: str) -> object:
    if text.isdecimal():
        return int(text)
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(int(number) * _SECONDS[unit] for number, unit in parts) if parts else None


def timeout(value: object) -> float:
    """Seconds with fractions, from 0.01 to 60."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    # NaN fails the comparison.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0.01 <= value <= 60:
        return float(value)
    raise ValueError("set it to a timedelta or a number of seconds, from 0.01 to 60")


def positive_duration(value: object) -> int:
    """A duration of at least one second, in the same forms as :func:`seconds`."""
    return seconds(value, 1)


def iso_date(value: object) -> date:
    """A ``date``, or its text (RFC 3339, full-date)."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = date.fromisoformat(value.strip())
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError('set it to a date such as "2030-12-31"')


def store_url(value: object) -> str:
    """The URL of a store. It is checked in full when the store is opened."""
    if isinstance(value, str) and "://" in value:
        return _unicode(value)
    raise ValueError('set it to a URL, such as "sqlalchemy://" or "redis://host/0"')


def lifetime(value: object) -> int:
    """A positive duration. Similar extensions take ``None`` or ``False`` for "never expires"."""
    if value is None or value is False:
        raise ValueError(
            "a token must expire, or its revocation would be stored forever; set a lifetime, "
            "e.g. timedelta(days=1)"
        )
    return positive_duration(value)


def text(value: object) -> str:
    """Text that isn't empty."""
    if isinstance(value, str) and value.strip():
        return _unicode(value)
    raise ValueError(_NO_TEXT)


def _unicode(value: str) -> str:
    """The same text, if it can be sent, signed and stored."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(_NO_UNICODE) from None
    return value


def any_text(value: object) -> str:
    """Text, which may be empty."""
    if isinstance(value, str):
        return _unicode(value)
    raise ValueError(_NO_TEXT)


def quotable(value: object) -> str:
    """Text that fits a quoted string in a response header (RFC 6750 section 3)."""
    if isinstance(value, str) and _QUOTABLE.fullmatch(value):
        return value
    raise ValueError('use printable ASCII without " and \\')


def name(value: object) -> str:
    """The name of a cookie, a scheme or a method (RFC 9110 section 5.6.2)."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise ValueError("use ASCII letters, digits and - _ . only, without spaces or colons")


def header(value: object) -> str:
    """The name of a request header that reaches the app behind every server."""
    if not isinstance(value, str) or not _HEADER.fullmatch(value):
        raise ValueError(
            'use ASCII letters, digits and hyphens, as in "X-Token": servers and proxies '
            "drop a header whose name has an underscore or another character"
        )
    if _HEADERS_OF_OTHERS.fullmatch(value):
        raise ValueError(
            'choose another name, such as "X-Token": browsers or servers use this header, and the '
            "app would not get what a client puts there"
        )
    return value


def scheme(value: object) -> str:
    """An authentication scheme, or ``""`` for a header that holds the token alone."""
    if value is None:
        raise ValueError('set it to a scheme such as "Bearer", or to "" for a token without scheme')
    return "" if value == "" else name(value)


def texts(value: object) -> tuple[str, ...]:
    """A list of texts. A string is split at its commas."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if _is_iterable(value):
        items = tuple(value)
        if items and all(isinstance(item, str) and item.strip() for item in items):
            return tuple(map(_unicode, items))
    raise ValueError("set it to some text or a list of texts, none of them empty")


def _is_iterable(value: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(value, Iterable)


def audience(value: object) -> str | tuple[str, ...]:
    """One audience, which stays a text, or a list of them."""
    listed = texts(value)
    return listed[0] if isinstance(value, str) and len(listed) == 1 else listed


def audiences(value: object) -> frozenset[str]:
    """One audience or several."""
    return frozenset(texts(value))


def locations(value: object) -> frozenset[Location]:
    """A set of :class:`Location`, from their names."""
    return frozenset(member(Location)(item) for item in texts(value))


def methods(value: object) -> frozenset[str]:
    """A set of HTTP methods, converted to upper case."""
    return frozenset(name(item).upper() for item in texts(value))


def any_methods(value: object) -> frozenset[str]:
    """A set of HTTP methods, which may be empty."""
    return frozenset() if is_empty(value) else methods(value)


def path(value: object) -> str:
    """The ``Path`` attribute of a cookie (RFC 6265 section 4.1.1)."""
    if isinstance(value, str) and _PATH.fullmatch(value):
        return value
    raise ValueError(
        'set it to a path such as "/auth": it starts with /, is at most 1024 characters long, and '
        "contains no space, no ; ? or # and nothing beyond ASCII"
    )


def paths(value: object) -> frozenset[str]:
    """A set of paths or URL rules, which may be empty."""
    found = frozenset[str]() if is_empty(value) else frozenset(texts(value))
    if not all(one.startswith("/") for one in found):
        raise ValueError('set it to paths or URL rules that start with /, such as "/feed"')
    return found


def domain(value: object) -> str:
    """The ``Domain`` attribute of a cookie (RFC 6265 section 4.1.1)."""
    if isinstance(value, str) and _DOMAIN.fullmatch(value):
        return value
    raise ValueError(
        'set it to a domain without scheme and port, such as "example.org", in ASCII (xn--...)'
    )


class FormerPlace(NamedTuple):
    """Where cookies were before. ``None``: at their own path, or their own host and domain."""

    path: str | None
    domain: str | None


def former_places(value: object) -> tuple[FormerPlace, ...]:
    """A list of mappings with a path, a domain or both, which may be empty."""
    if isinstance(value, (list, tuple)):
        return tuple(_former_place(one) for one in cast("Iterable[object]", value))
    raise ValueError(_NO_PLACES)


_NO_PLACES = (
    'set it to a list of mappings with a path, a domain or both, such as [{"path": "/"}, '
    '{"domain": "example.org"}]'
)


def _former_place(value: object) -> FormerPlace:
    given = cast("Mapping[str, object]", value if isinstance(value, Mapping) else {})
    if not given or not {"path", "domain"}.issuperset(given):
        raise ValueError(_NO_PLACES)
    found: dict[str, str | None] = {}
    for key, parse in (("path", path), ("domain", domain)):
        try:
            found[key] = parse(given[key]) if key in given else None
        except ValueError as error:
            raise ValueError(f"{key} in {given!r}: {error}") from None
    return FormerPlace(**found)


def origins(value: object) -> frozenset[str]:
    """A set of origins, serialized as browsers do (RFC 6454 section 6.2)."""
    found = frozenset[str]() if is_empty(value) else frozenset(texts(value))
    if not all(_ORIGIN.fullmatch(one) for one in found):
        raise ValueError(
            "set it to origins in lower case (scheme, host, optional port), "
            'such as "https://a.example"'
        )
    if any(re.fullmatch(r"https:.*:443|http:.*:80", one) for one in found):
        raise ValueError("set it to origins as browsers send them: without the standard port")
    return found


def members(kind: type[E]) -> Callable[[object], frozenset[E]]:
    """The parser of a set of members of an enum, which may be empty."""
    parse = member(kind)
    return lambda value: frozenset() if is_empty(value) else frozenset(map(parse, texts(value)))


def is_empty(value: object) -> bool:
    """Whether this is an empty text, list or other collection."""
    return isinstance(value, (str, Collection)) and not value


def member(kind: type[E]) -> Callable[[object], E]:
    """The parser of the members of an enum."""

    def parse(value: object) -> E:
        try:
            return kind(cast(str, value))
        except ValueError:
            choices = ", ".join(kind)
            raise ValueError(f"choose from {choices}") from None

    return parse


def unchecked(value: object) -> object:
    """A key. It is checked when it is loaded."""
    return value
