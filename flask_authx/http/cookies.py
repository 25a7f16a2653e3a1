"""The cookies that a response sets and unsets. Those of a request are read in ``locations``.

A cookie is identified by its name, domain and path together, and a header that unsets it must have
all three (RFC 6265 section 5.3). So setting and unsetting use the same attributes, and a cookie
that lies elsewhere, since the app's settings have changed, is another cookie. Browsers send both:
each call here unsets the former one as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from werkzeug.http import dump_cookie
from werkzeug.wrappers import Response

from flask_authx.settings.options import Settings
from flask_authx.settings.profiles import TokenProfile
from flask_authx.tokens.token import CreatedToken

#: Octets of a name and a value together that browsers keep (RFC 6265bis section 5.7).
MAX_COOKIE = 4096
#: Werkzeug before 3.1 can't set partitioned cookies.
HAS_PARTITIONED = "partitioned" in inspect.signature(dump_cookie).parameters


def set_cookies(  # noqa: PLR0913 - a response, a token, and where and how long it is kept
    response: Response,
    settings: Settings,
    profile: TokenProfile,
    created: CreatedToken,
    *,
    path: str,
    max_age: int | None,
) -> None:
    """Set a token's cookie, its companion, and the one with its CSRF value, as the settings ask.

    :param path: of the token's cookie.
    :param max_age: for how many seconds they are kept; ``None``: until the browser is closed.
    :raises ValueError: if the token is too long for browsers, or its companion is not known. Then
        nothing is set.
    """
    check_size(profile, created.token)
    companion_name = _companion_name(settings, profile)
    if companion_name is not None and created.companion is None:
        raise ValueError(
            "the token was created by another app, or with a key that this one no longer has, and "
            "could not be used as a cookie: create another"
        )
    values = {
        profile.cookie_name: created.token,
        profile.csrf_cookie_name: created.csrf,
        companion_name: created.companion,
    }
    for cookie in _replaced(response, settings, profile, path):
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
    """Make browsers delete a token's cookies, and those at former places.

    :param path: of the token's cookie, as it was set.
    """
    for cookie in _replaced(response, settings, profile, path):
        _set(response, settings, cookie, "", 0)


def unset_token(
    response: Response, settings: Settings, profile: TokenProfile, *, path: str
) -> None:
    """Make browsers delete a token's own cookie. The one with its CSRF value stays.

    :param path: of the token's cookie, as it was set.
    """
    _set(response, settings, next(_cookies(settings, profile, path)), "", 0)


def unset_former(
    response: Response,
    settings: Settings,
    profile: TokenProfile,
    *,
    path: str | None,
    both: bool = False,
) -> None:
    """Make browsers delete a token's cookies at former places. Those at the present one stay.

    So does what differs from a present one in being partitioned alone: a client that does not know
    partitions would delete the present one.

    :param path: of the token's cookie; ``None`` if the app sets none.
    :param both: whether also those that are partitioned where the app's are not.
    """
    both = settings.cookie_partitioned or (both and _can_partition(settings))
    for cookie in _cookies(settings, profile, path or "/"):
        for former in _former(settings, profile, cookie, both=both):
            if path is None or former.place != cookie.place:
                _set(response, settings, former, "", 0, first=True)


def has_set_cookie(
    response: Response, settings: Settings, profile: TokenProfile, *, path: str
) -> bool:
    """Whether a response sets or unsets a token's cookie.

    :param path: of the token's cookie.
    """
    cookie = next(_cookies(settings, profile, path))
    wanted = (*cookie.place, cookie.partitioned)
    return any(_identity(header) == wanted for header in response.headers.getlist("Set-Cookie"))


def unsupported_settings(settings: Settings) -> Iterator[str]:
    """The problems with settings that the installed Werkzeug does not support."""
    if settings.cookie_partitioned and not HAS_PARTITIONED:
        yield f"{settings.prefix}COOKIE_PARTITIONED needs Werkzeug 3.1 or later: upgrade it."


@dataclass(frozen=True, slots=True)
class _Cookie:
    """What identifies a cookie, and whether scripts may read it."""

    name: str
    path: str
    #: ``None``: that of the app's host alone.
    domain: str | None
    #: Each site that embeds the app has its own.
    partitioned: bool
    httponly: bool

    @property
    def place(self) -> tuple[str, str, str]:
        """Its name, domain and path, as its header has them: Werkzeug encodes them."""
        name, domain, path, _ = _identity(
            dump_cookie(self.name, path=self.path, domain=self.domain)
        )
        return name, domain, path


def _companion_name(settings: Settings, profile: TokenProfile) -> str | None:
    return settings.companion_name if profile.has_companion else None


def _cookies(settings: Settings, profile: TokenProfile, path: str) -> Iterator[_Cookie]:
    """The cookies of a token: its own, the one with its CSRF value, and its companion."""
    domain, partitioned = settings.cookie_domain, settings.cookie_partitioned
    yield _Cookie(profile.cookie_name, path, domain, partitioned, httponly=True)
    if settings.csrf_in_cookies and settings.cookie_csrf_protect:
        name, csrf_path = profile.csrf_cookie_name, profile.csrf_cookie_path
        yield _Cookie(name, csrf_path, domain, partitioned, httponly=False)
    companion_name = _companion_name(settings, profile)
    if companion_name is not None:
        yield _Cookie(companion_name, "/", None, partitioned, httponly=True)


def _can_partition(settings: Settings) -> bool:
    """Whether browsers may have partitioned cookies of the app."""
    return HAS_PARTITIONED and settings.cookie_secure


def _replaced(
    response: Response, settings: Settings, profile: TokenProfile, path: str
) -> list[_Cookie]:
    """The cookies of a token, which the caller sets or unsets after all others of their names."""
    unset_former(response, settings, profile, path=path)
    present = [*_cookies(settings, profile, path)]
    if _can_partition(settings):
        for cookie in present:
            twin = replace(cookie, partitioned=not cookie.partitioned)
            _set(response, settings, twin, "", 0, first=True)
    return present


def _former(
    settings: Settings, profile: TokenProfile, cookie: _Cookie, *, both: bool
) -> Iterator[_Cookie]:
    """All places of a cookie, former ones and the present one, each once.

    :param both: whether partitioned and not; else not partitioned.
    """
    paths = dict.fromkeys((cookie.path, *profile.former_paths))
    domains = dict.fromkeys((settings.cookie_domain, None))
    places = [*product(paths, domains)]
    for path, domain in settings.cookie_former:
        places += product(
            paths if path is None else [path], domains if domain is None else [domain]
        )
    if cookie.name.lower().startswith("__host-"):
        # It can't have been elsewhere.
        places = [("/", None)]
    for (path, domain), partitioned in product(dict.fromkeys(places), (False, True)[: 1 + both]):
        yield _Cookie(cookie.name, path, domain, partitioned, cookie.httponly)


def _set(  # noqa: PLR0913 - a cookie with its value and age, and where its header goes
    response: Response,
    settings: Settings,
    cookie: _Cookie,
    value: str,
    max_age: int | None,
    *,
    first: bool = False,
) -> None:
    """Add the header of a cookie, in place of an earlier one of the same cookie.

    :param first: whether it goes before the others: a client that tells cookies apart by their
        names alone keeps the last one.
    """
    attributes: dict[str, Any] = {
        "path": cookie.path,
        "domain": cookie.domain,
        "secure": settings.cookie_secure,
        "httponly": cookie.httponly,
        "samesite": settings.cookie_samesite.value,
    }
    if cookie.partitioned:
        # Werkzeug before 3.1 does not have this parameter.
        attributes["partitioned"] = True
    # For clients that do not support Max-Age.
    expires = 0 if max_age == 0 else None
    response.set_cookie(cookie.name, value, max_age=max_age, expires=expires, **attributes)
    # If a response sets a cookie twice, it depends on the browser which one it keeps (RFC 6265bis
    # section 4.1.1).
    *headers, new = response.headers.getlist("Set-Cookie")
    others = [header for header in headers if _identity(header) != _identity(new)]
    response.headers.setlist("Set-Cookie", [new, *others] if first else [*others, new])


def _identity(header: str) -> tuple[str, str, str, bool]:
    """What browsers identify the cookie of a ``Set-Cookie`` header by.

    They compare domains without case and leading dot.
    """
    pair, *listed = header.split(";")
    attributes = {
        name.strip().lower(): value.strip()
        for name, _, value in (attribute.partition("=") for attribute in listed)
    }
    domain = attributes.get("domain", "").lower().lstrip(".")
    name, path = pair.partition("=")[0].strip(), attributes.get("path", "")
    return name, domain, path, "partitioned" in attributes
