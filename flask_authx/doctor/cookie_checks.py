"""What of a check-up is about browsers: cookies, CSRF, and logins that last."""

from __future__ import annotations

from collections.abc import Iterator

from flask_authx.actions.set_cookies import DEFAULT_PATH, blueprint_path, has_route_below
from flask_authx.enums import Location, TokenType
from flask_authx.guards import rules
from flask_authx.stores.base import Risk, StoreError

from .findings import Finding, Level, Subject


def csrf(subject: Subject) -> Iterator[Finding]:
    """Whether other sites can act in the name of a user."""
    settings = subject.settings
    if Location.COOKIES not in subject.locations:
        return
    if not settings.cookie_csrf_protect:
        yield Finding(
            Level.HINT if subject.app.debug or subject.app.testing else Level.ERROR,
            subject.setting("COOKIE_CSRF_PROTECT"),
            "tokens are taken from cookies without their CSRF value: any other site can make a "
            "browser send requests in its user's name.",
            "remove the setting, and send the CSRF value as a header from the browser's scripts.",
        )
    elif not settings.uses_cookies:
        yield Finding(
            Level.WARNING,
            subject.setting("TOKEN_LOCATION"),
            "a view takes tokens from cookies, but they carry a CSRF value only if this setting "
            "names cookies: POST, PUT, PATCH and DELETE are always refused there.",
            "add cookies to it, and name the locations on the views that take none.",
        )


def names(subject: Subject) -> Iterator[Finding]:
    """Whether neighbouring hosts can overwrite the cookies."""
    if Location.COOKIES not in subject.locations:
        return
    for profile in subject.settings.profiles.values():
        if not profile.cookie_name.startswith(("__Host-", "__Secure-")):
            yield Finding(
                Level.HINT,
                subject.setting(f"{profile.type.upper()}_COOKIE_NAME"),
                f"without a prefix the cookie {profile.cookie_name} can be set over plain HTTP and "
                "from neighbouring hosts.",
                "start it with __Host-, or with __Secure- if the cookie needs a path or domain.",
            )


def secure(subject: Subject) -> Iterator[Finding]:
    """Whether tokens cross the network in the clear."""
    settings = subject.settings
    if Location.COOKIES in subject.locations and not settings.cookie_secure:
        yield Finding(
            Level.HINT if subject.app.debug or subject.app.testing else Level.ERROR,
            subject.setting("COOKIE_SECURE"),
            "browsers send the cookies over plain http, where anybody on the way can read them.",
            "remove the setting and serve by https.",
        )


def rotation(subject: Subject) -> Iterator[Finding]:
    """Whether a stolen refresh token would be noticed, and an honest one refused."""
    settings, state = subject.settings, subject.state
    asks = any(
        requirement is not None and requirement.type is TokenType.REFRESH
        for endpoint in subject.app.view_functions
        for _, requirement, _ in rules.guards_of(state, endpoint)
    )
    if state.sessions is None:
        if asks:
            yield Finding(
                Level.HINT,
                subject.setting("SESSIONS"),
                "refresh tokens are not rotated: a copied one works until it expires, beside its "
                "owner's.",
                f"set it to True beside {subject.setting('BLOCKLIST')}, and use authx.login() and "
                "authx.refresh().",
            )
    elif settings.refresh_grace == 0:
        yield Finding(
            Level.HINT,
            subject.setting("REFRESH_GRACE"),
            "with two tabs that refresh at once, or an answer that gets lost, a user is logged "
            "out as if the token had been stolen.",
            "set it to some seconds.",
        )


def session_store(subject: Subject) -> Iterator[Finding]:
    """How the store of logins could lose one. What is true of both stores is said of the other."""
    sessions, revocations = subject.state.sessions, subject.state.revocations
    if sessions is None or revocations is None:
        return
    level = Level.HINT if subject.app.debug or subject.app.testing else Level.WARNING
    said: list[Risk] = []
    try:
        risks = sessions.inspect_store(lambda: [*sessions.store.risks()])
        said = revocations.inspect_store(lambda: [*revocations.store.risks()])
    except StoreError:
        yield Finding(
            Level.HINT,
            subject.setting("SESSIONS"),
            "the store of logins can't say how it is set up. Why is in the log.",
            "see for yourself that it lasts and evicts nothing.",
        )
        return
    fixes = {risk.fix for risk in said}
    for risk in risks:
        if risk.fatal or risk.fix not in fixes:
            how_bad = Level.ERROR if risk.fatal else level
            yield Finding(how_bad, subject.setting("SESSIONS"), risk.problem, risk.fix)


def refresh_path(subject: Subject) -> Iterator[Finding]:
    """Whether any view would be sent the refresh cookie."""
    settings, app = subject.settings, subject.app
    if not settings.uses_cookies or subject.state.sessions is None:
        return
    path = settings.refresh_cookie_path
    if path is None and blueprint_path(subject.state) is not None:
        return
    path = DEFAULT_PATH if path is None else path
    if not has_route_below(app, path):
        yield Finding(
            Level.HINT if settings.refresh_cookie_path else Level.WARNING,
            subject.setting("REFRESH_COOKIE_PATH"),
            f"browsers send refresh tokens to {path} alone, and the app itself has no route there.",
            "set it to the path that the views for refresh and log-out share, or remove it and "
            "register authx.blueprint(); if the app is mounted there, all is well.",
        )
