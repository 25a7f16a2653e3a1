"""The checks of tokens from cookies: the CSRF value, and the companion of a refresh cookie.

A browser sends cookies with every request, including those that another site has caused. So on an
unsafe method a token from a cookie is accepted only with its CSRF value, which no other site can
read or send. The value is signed into the token and compared with that claim, never with another
cookie: a double submit bound to the session.

Another host of the same site can set a refresh cookie and its CSRF cookie, which would log the
visitor into the attacker's account (login CSRF). It can't set a cookie whose name starts with
``__Host-`` (RFC 6265bis section 4.1.3.2). So a refresh cookie is accepted only beside its
companion: such a cookie, bound to the session and set with it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable

from werkzeug.wrappers import Request

from flask_authx.errors import (
    CrossOriginError,
    CSRFError,
    JWTDecodeError,
    MissingCSRFTokenError,
)
from flask_authx.settings.options import SAFE_METHODS, Settings
from flask_authx.settings.profiles import TokenProfile
from flask_authx.tokens.new_token import csrf_value
from flask_authx.tokens.token import RequestToken, Token

from .body import form_field

#: ``Sec-Fetch-Site`` of a request from the app's own pages, or from the user without any page, such
#: as a bookmark (Fetch Metadata, section 2.3).
_ALLOWED_SITES = ("same-origin", "none")


def check_cookie(
    settings: Settings, found: RequestToken, token: Token, request: Request | None
) -> None:
    """Refuse a token from a cookie that the user's browser may have sent without the user's will.

    :param token: the verified token.
    :param request: ``None`` outside of a request.
    :raises AuthXException: as the two checks do.
    """
    if needs_csrf(settings, request):
        check_csrf(settings, found, token, request)
    check_companion(settings, found, token, request)


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


def check_companion(
    settings: Settings, found: RequestToken, token: Token, request: Request | None
) -> None:
    """Refuse a token from a cookie whose companion the browser has not sent.

    :param token: the verified token.
    :param request: ``None`` outside of a request, where there is no companion.
    :raises JWTDecodeError: if its type needs one, browsers would accept one, and none was sent that
        is of the token's session. The reason is the same if another one was sent.
    """
    needed = settings.profiles[found.type].has_companion
    if needed and not is_beside_companion(settings, token, request):
        raise JWTDecodeError("the refresh cookie was sent without its companion")


def is_beside_companion(settings: Settings, token: Token, request: Request | None) -> bool:
    """Whether the browser has sent the companion of a token's session.

    Also ``True`` where browsers would accept none.

    :param token: the verified token, of any type.
    :param request: ``None`` outside of a request.
    """
    name = settings.companion_name
    if name is None:
        return True
    header: str = "" if request is None else request.environ.get("HTTP_COOKIE", "")
    expected = (token.csrf or "").encode()
    # Several are no attack: browsers keep a partitioned one apart, and only this host sets them.
    values = re.findall(rf"(?:^|;)[ \t]*{re.escape(name)}=([\w-]{{22}})(?![^;])", header)
    return any(
        hmac.compare_digest(csrf_value(value, token.type).encode(), expected) for value in values
    )


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
