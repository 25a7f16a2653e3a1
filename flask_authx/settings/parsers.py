"""One parser for each kind of setting: it returns the checked value or raises ``ValueError``.

Every parser also accepts the strings that ``app.config.from_prefixed_env`` leaves where a variable
holds no JSON. Each message completes the sentence "``JWT_X``: ...".
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeGuard, TypeVar, cast

from flask_authx.enums import Location

E = TypeVar("E", bound=StrEnum)

#: The names of headers, cookies and methods: a token of RFC 9110 section 5.6.2.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: The content of a quoted string in a challenge (RFC 6750 section 3).
_QUOTABLE = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")
_DURATION = re.compile(r"(\d+)([smhdw])")
_PATH = re.compile(r"/[\x21-\x3A\x3C-\x7E]*")
_DOMAIN = re.compile(r"\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
#: ``from_prefixed_env`` turns digits into a number.
_NO_TEXT = "set it to some text; digits in an environment variable need quotes to be text"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def boolean(value: object) -> bool:
    """A bool, or one of the words true, yes, on, false, no, off in any case."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError("set it to True or False")


def count(value: object) -> int:
    """A whole number, 0 or more."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("set it to a whole number, 0 or more")


def positive_count(value: object) -> int:
    """A whole number, 1 or more."""
    with contextlib.suppress(ValueError):
        if (result := count(value)) >= 1:
            return result
    raise ValueError("set it to a whole number, 1 or more")


def seconds(value: object) -> int:
    """A duration in whole seconds: a ``timedelta``, a number, or text such as ``1h30m``."""
    if isinstance(value, str):
        value = _seconds_from_text(value.strip())
    elif isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # NaN and the infinities fail the comparison or the conversion.
        if 0 <= value < 1e10 and int(value) == value:
            return int(value)
        raise ValueError("set it to a whole number of seconds, 0 or more")
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
    result = seconds(value)
    if result < 1:
        raise ValueError("set it to one second or more")
    return result


def store_url(value: object) -> str:
    """The URL of a store. It is checked in full when the store is opened."""
    if isinstance(value, str) and "://" in value:
        return value
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
        return value
    raise ValueError(_NO_TEXT)


def any_text(value: object) -> str:
    """Text, which may be empty."""
    if isinstance(value, str):
        return value
    raise ValueError(_NO_TEXT)


def quotable(value: object) -> str:
    """Text that fits a quoted string in a response header (RFC 6750 section 3)."""
    if isinstance(value, str) and _QUOTABLE.fullmatch(value):
        return value
    raise ValueError('use printable ASCII without " and \\')


def name(value: object) -> str:
    """The name of a header, a cookie or a method (RFC 9110 section 5.6.2)."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise ValueError("use ASCII letters, digits and - _ . only, without spaces or colons")


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
            return items
    raise ValueError("set it to some text or a list of texts, none of them empty")


def _is_iterable(value: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(value, Iterable)


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
        'set it to a path such as "/auth": it starts with / and contains no ; or space'
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
    raise ValueError('set it to a domain without scheme and port, such as "example.org"')


def origins(value: object) -> frozenset[str]:
    """A set of origins, serialized as browsers do (RFC 6454 section 6.2)."""
    found = frozenset[str]() if is_empty(value) else frozenset(texts(value))
    if not all(_ORIGIN.fullmatch(one) for one in found):
        raise ValueError(
            "set it to origins in lower case (scheme, host, optional port), "
            'such as "https://a.example"'
        )
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
