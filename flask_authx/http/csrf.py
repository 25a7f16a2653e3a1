"""The CSRF check of tokens from cookies.

A browser sends cookies with every request, including those that another site has caused. So on an
unsafe method a token from a cookie is accepted only with its CSRF value, which no other site can
read or send. The value is signed into the token and compared with that claim, never with another
cookie: a double submit bound to the session.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from werkzeug.wrappers import Request

from flask_authx.errors import CrossOriginError, CSRFError, MissingCSRFTokenError
from flask_authx.settings.options import SAFE_METHODS, Settings
from flask_authx.settings.profiles import TokenProfile
from flask_authx.tokens.token import RequestToken, Token

from .body import form_field

#: ``Sec-Fetch-Site`` of a request from the app's own pages, or from the user without any page, such
#: as a bookmark (Fetch Metadata, section 2.3).
_ALLOWED_SITES = ("same-origin", "none")


def needs_csrf(settings: Settings, request: Request | None) -> bool:
    """Whether a token from a cookie must come with its CSRF value.

    :param request: ``None`` outside of a request, which counts as unsafe.
    """
    method = None if request is None else request.method
    # Every method that is not known to be safe is protected, PURGE and PROPFIND too.
    return settings.cookie_csrf_protect and (
        method not in SAFE_METHODS or method in settings.csrf_methods
    )


def check_csrf(
    settings: Settings,
    found: RequestToken,
    token: Token,
    request: Request | None,
    other_values: Iterable[str] = (),
) -> None:
    """Compare the CSRF value that was sent with the one in the token.

    :param token: the verified token. A form is read only now, so that a forged token cannot make
        the app read a body.
    :param request: its form is searched if the settings allow that and no header was sent.
    :param other_values: further values that are accepted.
    :raises CrossOriginError: if the settings require a page of the app, and another one sent it.
    :raises MissingCSRFTokenError: if no value was sent.
    :raises CSRFError: if the value is wrong, or the token has none.
    """
    if settings.csrf_check_origin and request is not None:
        check_origin(settings, request, allow_missing=False)
    profile = settings.profiles[found.type]
    value = found.csrf
    if value is None and settings.csrf_check_form and request is not None:
        value = form_field(request, profile.csrf_field)
    if not value:
        reason = f"a cookie came without a value in {profile.csrf_header}"
        raise MissingCSRFTokenError(_how_to_send(settings, profile), reason)
    # As bytes: the comparison in constant time refuses text beyond ASCII with a TypeError.
    sent = value.encode("utf-8", "surrogatepass")
    for expected in (token.csrf, *other_values):
        if expected is not None and hmac.compare_digest(sent, expected.encode()):
            return
    reason = "the value that was sent is not the one in the token"
    raise CSRFError(_how_to_send(settings, profile), reason)


def check_origin(settings: Settings, request: Request, *, allow_missing: bool) -> None:
    """Refuse a request that a page of another site has made a browser send.

    :param allow_missing: whether a request with neither ``Sec-Fetch-Site`` nor ``Origin`` passes:
        clients other than browsers send neither.
    :raises CrossOriginError: if it is refused.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site in _ALLOWED_SITES or origin in settings.trusted_origins:
        return
    if site is None:
        # Browsers send Sec-Fetch-Site to https only, and older ones not at all.
        if origin is None and allow_missing:
            return
        if origin is not None and origin == f"{request.scheme}://{request.host}":
            return
    if site is not None:
        raise CrossOriginError("Sec-Fetch-Site says that another site's page sent the request")
    sent = "neither Sec-Fetch-Site nor Origin was sent"
    raise CrossOriginError(sent if origin is None else "the Origin is not among the trusted ones")


def _how_to_send(settings: Settings, profile: TokenProfile) -> str:
    """How a client sends the CSRF value."""
    value = "the value"
    if settings.csrf_in_cookies:
        value += f" of the cookie {profile.csrf_cookie_name}"
    field = f" or the form field {profile.csrf_field}" if settings.csrf_check_form else ""
    return f"send {value} in the {profile.csrf_header} header{field}"
