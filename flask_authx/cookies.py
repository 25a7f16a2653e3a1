"""Tokens in cookies: the reading half, which is the CSRF check.

A browser sends cookies with every request, whoever caused it. So a token from a cookie counts on an
unsafe method only beside a value that is signed into the token and that no other site can read or
send: a double submit bound to the login, compared with the claim and never with another cookie.
"""

from __future__ import annotations

import hmac

from werkzeug.wrappers import Request

from .errors import CSRFError, MissingCSRFTokenError
from .settings import SAFE_METHODS, Settings
from .tokens import RequestToken, Token


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
    settings: Settings, found: RequestToken, token: Token, request: Request | None
) -> None:
    """Compare the CSRF value that came with a token with the one it was signed with.

    :param request: whose form is looked at, if the settings say so and no header was sent. Reading
        a form means reading the body, which nobody gets done for a forged token.
    :raises MissingCSRFTokenError: if none came.
    :raises CSRFError: if it is another one, or if the token has none.
    """
    profile = settings.profiles[found.type]
    value = found.csrf
    if value is None and settings.csrf_check_form and request is not None:
        value = request.form.get(profile.csrf_field)
    if not value:
        raise MissingCSRFTokenError(profile.csrf_header)
    # As bytes: the comparison in constant time refuses text beyond ASCII with a TypeError.
    sent = value.encode("utf-8", "surrogatepass")
    if token.csrf is None or not hmac.compare_digest(sent, token.csrf.encode()):
        raise CSRFError(profile.csrf_header)
