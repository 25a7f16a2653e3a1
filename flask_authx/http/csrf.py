"""Requests that a browser was made to send: the CSRF check of tokens from cookies.

A browser sends cookies with every request, whoever caused it. So a token from a cookie counts on an
unsafe method only beside a value that is signed into the token and that no other site can read or
send: a double submit bound to the login, compared with the claim and never with another cookie.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from werkzeug.wrappers import Request

from flask_authx.errors import CrossOriginError, CSRFError, MissingCSRFTokenError
from flask_authx.settings.options import SAFE_METHODS, Settings
from flask_authx.settings.profiles import TokenProfile
from flask_authx.tokens.token import RequestToken, Token

#: What browsers say of a request (Fetch Metadata, section 2.3) that a page of the app itself made,
#: or the user without any page.
_OWN = ("same-origin", "none")


def needs_csrf(settings: Settings, request: Request | None) -> bool:
    """Whether a token from a cookie must come with its CSRF value.

    :param request: the request; being outside of one counts as unsafe.
    """
    method = None if request is None else request.method
    # What is not known to be safe is protected: PURGE, PROPFIND and all that are yet to come.
    return settings.cookie_csrf_protect and (
        method not in SAFE_METHODS or method in settings.csrf_methods
    )


def check_csrf(
    settings: Settings,
    found: RequestToken,
    token: Token,
    request: Request | None,
    others: Iterable[str] = (),
) -> None:
    """Compare the CSRF value that came with a token with the one it was signed with.

    :param others: further values that will do.
    :param request: whose form is looked at, if the settings say so and no header was sent. Reading
        a form means reading the body, which nobody gets done for a forged token.
    :raises CrossOriginError: if the settings want the app's own pages, and it isn't from one.
    :raises MissingCSRFTokenError: if none came.
    :raises CSRFError: if it is another one, or if the token has none.
    """
    if settings.csrf_check_origin and request is not None:
        check_origin(settings, request, silent=False)
    profile = settings.profiles[found.type]
    value = found.csrf
    if value is None and settings.csrf_check_form and request is not None:
        value = request.form.get(profile.csrf_field)
    if not value:
        raise MissingCSRFTokenError(_where(settings, profile))
    # As bytes: the comparison in constant time refuses text beyond ASCII with a TypeError.
    sent = value.encode("utf-8", "surrogatepass")
    for good in (token.csrf, *others):
        if good is not None and hmac.compare_digest(sent, good.encode()):
            return
    raise CSRFError(_where(settings, profile))


def check_origin(settings: Settings, request: Request, *, silent: bool) -> None:
    """Refuse a request that a page of another site has made a browser send.

    :param silent: whether one of which the browser says nothing passes: then it may be no browser.
    :raises CrossOriginError: if it is refused.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site in _OWN or (origin is not None and origin in settings.trusted_origins):
        return
    if site is None:
        # Older browsers, and pages that are not served by https.
        if origin is None and silent:
            return
        if origin is not None and origin == f"{request.scheme}://{request.host}":
            return
    raise CrossOriginError


def _where(settings: Settings, profile: TokenProfile) -> str:
    """How a client sends the value."""
    field = f" or the form field {profile.csrf_field}" if settings.csrf_check_form else ""
    value = (
        f"the value of the cookie {profile.csrf_cookie_name}"
        if settings.csrf_in_cookies
        else "the value"
    )
    return f"send {value} in the {profile.csrf_header} header{field}"
