"""The checks of ``flask authx doctor`` for cookies: CSRF, names, ``Secure`` and the path."""

from __future__ import annotations

from collections.abc import Iterator

from flask_authx.app.cookie_paths import DEFAULT_PATH, blueprint_path, has_route_below
from flask_authx.enums import Location

from .findings import Finding, Inspected, Level


def csrf(inspected: Inspected) -> Iterator[Finding]:
    """Whether other sites can send requests with a user's cookies (CSRF)."""
    settings = inspected.settings
    if Location.COOKIES not in inspected.locations:
        return
    if not settings.cookie_csrf_protect:
        yield Finding(
            inspected.unless_development(Level.ERROR),
            inspected.setting("COOKIE_CSRF_PROTECT"),
            "tokens in cookies are accepted without their CSRF value: any other site can make a "
            "browser send requests in its user's name.",
            "remove the setting, and send the CSRF value as a header from the page's scripts.",
        )


def names(inspected: Inspected) -> Iterator[Finding]:
    """Whether sibling domains or plain HTTP can overwrite the cookies (RFC 6265bis prefixes)."""
    if Location.COOKIES not in inspected.locations:
        return
    for profile in inspected.settings.profiles.values():
        if not profile.cookie_name.startswith(("__Host-", "__Secure-")):
            yield Finding(
                Level.HINT,
                inspected.setting(f"{profile.type.upper()}_COOKIE_NAME"),
                f"the cookie {profile.cookie_name} has no name prefix: it can be set over plain "
                "HTTP and by sibling domains.",
                "begin it with __Host-, or with __Secure- if the cookie needs a path or domain.",
            )


def secure(inspected: Inspected) -> Iterator[Finding]:
    """Whether browsers send the cookies over plain HTTP."""
    settings = inspected.settings
    if Location.COOKIES in inspected.locations and not settings.cookie_secure:
        yield Finding(
            inspected.unless_development(Level.ERROR),
            inspected.setting("COOKIE_SECURE"),
            "browsers send the cookies over plain HTTP, unencrypted. Other hosts of the site can "
            "set a refresh cookie that logs a visitor into another account (login CSRF).",
            "remove the setting and serve the app over https.",
        )


def companion(inspected: Inspected) -> Iterator[Finding]:
    """Whether another host of the domain can log a visitor into another account."""
    settings = inspected.settings
    if Location.COOKIES not in inspected.locations or settings.cookie_domain is None:
        return
    if inspected.state.sessions is not None or inspected.guards_refresh_tokens:
        yield Finding(
            Level.WARNING,
            inspected.setting("COOKIE_DOMAIN"),
            f"every host of {settings.cookie_domain} can set a refresh cookie that logs a visitor "
            "into another account, whose owner then gets what the visitor enters (login CSRF).",
            "remove the setting: without it a refresh cookie is accepted only beside a cookie that "
            "no other host can set. Keep it only if you control every host of the domain.",
        )


def refresh_path(inspected: Inspected) -> Iterator[Finding]:
    """Whether a route exists at the path to which browsers send the refresh cookie."""
    settings, app = inspected.settings, inspected.app
    if not inspected.state.uses_cookies or inspected.state.sessions is None:
        return
    path = settings.refresh_cookie_path
    if path is None and blueprint_path(inspected.state) is not None:
        return
    path = DEFAULT_PATH if path is None else path
    if not has_route_below(app, path):
        yield Finding(
            Level.HINT if settings.refresh_cookie_path else Level.WARNING,
            inspected.setting("REFRESH_COOKIE_PATH"),
            f"browsers send refresh tokens only to {path}, where the app has no route.",
            "set it to the path that the views for refresh and log-out share, or remove it and "
            "register authx.blueprint(). If the app is mounted at that path, ignore this.",
        )
