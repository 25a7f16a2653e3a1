"""The cookies that a response sets and unsets. Those of a request are read in ``locations``.

A cookie is identified by its name, domain and path together, and a header that unsets it must have
all three (RFC 6265 section 5.3). So setting and unsetting use the same attributes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from werkzeug.http import dump_cookie
from werkzeug.wrappers import Response

from flask_authx.settings.options import Settings
from flask_authx.settings.profiles import TokenProfile
from flask_authx.tokens.token import CreatedToken

#: Octets of a name and a value together that browsers keep (RFC 6265bis section 5.7).
MAX_COOKIE = 4096


def set_cookies(  # noqa: PLR0913 - a response, a token, and where and how long it is kept
    response: Response,
    settings: Settings,
    profile: TokenProfile,
    created: CreatedToken,
    *,
    path: str,
    max_age: int | None,
) -> None:
    """Set a token's cookie, and the one with its CSRF value if the settings ask for it.

    :param path: of the token's cookie.
    :param max_age: for how many seconds they are kept; ``None``: until the browser is closed.
    :raises ValueError: if the token is too long for browsers. Then nothing is set.
    """
    check_size(profile, created.token)
    values = {profile.cookie_name: created.token, profile.csrf_cookie_name: created.csrf}
    for cookie in _cookies(settings, profile, path):
        value = values[cookie.name]
        if value is not None:
            _set(response, settings, cookie, value, max_age)


def check_size(profile: TokenProfile, token: str) -> None:
    """Refuse a token that browsers would drop as a cookie.

    :raises ValueError: if the cookie would be too large.
    """
    size = len(profile.cookie_name) + len(token)
    if size > MAX_COOKIE:
        raise ValueError(
            f"the cookie {profile.cookie_name} would take {size} bytes, and browsers drop cookies "
            f"above {MAX_COOKIE}: put less into the token's claims and scopes"
        )


def unset_cookies(
    response: Response, settings: Settings, profile: TokenProfile, *, path: str
) -> None:
    """Make browsers delete a token's cookies.

    :param path: of the token's cookie, as it was set.
    """
    for cookie in _cookies(settings, profile, path):
        _set(response, settings, cookie, "", 0)


def has_set_cookie(response: Response, name: str) -> bool:
    """Whether a response sets or unsets a cookie of that name."""
    return any(_cookie_name(header) == name for header in response.headers.getlist("Set-Cookie"))


def unsupported_settings(settings: Settings) -> Iterator[str]:
    """The problems with settings that the installed Werkzeug does not support."""
    if (
        settings.cookie_partitioned
        and "partitioned" not in inspect.signature(dump_cookie).parameters
    ):
        yield f"{settings.prefix}COOKIE_PARTITIONED needs Werkzeug 3.1 or later: upgrade it."


@dataclass(frozen=True, slots=True)
class _Cookie:
    """What identifies a cookie within the app, and whether scripts may read it."""

    name: str
    path: str
    httponly: bool


def _cookies(settings: Settings, profile: TokenProfile, path: str) -> Iterator[_Cookie]:
    """The cookies of a token: its own, and the one with its CSRF value."""
    yield _Cookie(profile.cookie_name, path, httponly=True)
    if settings.csrf_in_cookies and settings.cookie_csrf_protect:
        yield _Cookie(profile.csrf_cookie_name, profile.csrf_cookie_path, httponly=False)


def _set(
    response: Response, settings: Settings, cookie: _Cookie, value: str, max_age: int | None
) -> None:
    attributes: dict[str, Any] = {
        "path": cookie.path,
        "domain": settings.cookie_domain,
        "secure": settings.cookie_secure,
        "httponly": cookie.httponly,
        "samesite": settings.cookie_samesite.value,
    }
    if settings.cookie_partitioned:
        # Werkzeug before 3.1 does not have this parameter.
        attributes["partitioned"] = True
    # If a response sets a cookie twice, it depends on the browser which one it keeps (RFC 6265bis
    # section 4.1.1).
    headers = response.headers.getlist("Set-Cookie")
    others = [header for header in headers if _cookie_name(header) != cookie.name]
    response.headers.setlist("Set-Cookie", others)
    # For clients that do not support Max-Age.
    expires = 0 if max_age == 0 else None
    response.set_cookie(cookie.name, value, max_age=max_age, expires=expires, **attributes)


def _cookie_name(header: str) -> str:
    """The name in a ``Set-Cookie`` header."""
    return header.partition("=")[0].strip()
