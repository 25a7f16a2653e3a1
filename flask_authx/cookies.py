"""Tokens in cookies: the reading half, which is the CSRF check.

A browser sends cookies with every request, whoever caused it. So a token from a cookie counts on an
unsafe method only beside a value that is signed into the token and that no other site can read or
send: a double submit bound to the login, compared with the claim and never with another cookie.
"""

from __future__ import annotations

import hmac

from .errors import CSRFError, MissingCSRFTokenError
from .settings import SAFE_METHODS, Settings
from .tokens import RequestToken, Token


def needs_csrf(settings: Settings, method: str | None) -> bool:
    """Whether a token from a cookie must come with its CSRF value.

    :param method: the request's method; ``None``, outside a request, counts as unsafe.
    """
    # What is not known to be safe is protected: PURGE, PROPFIND and all that are yet to come.
    return settings.cookie_csrf_protect and (
        method not in SAFE_METHODS or method in settings.csrf_methods
    )


def check_csrf(settings: Settings, found: RequestToken, token: Token) -> None:
    """Compare the CSRF value that came with a token with the one it was signed with.

    :raises MissingCSRFTokenError: if none came.
    :raises CSRFError: if it is another one, or if the token has none.
    """
    header = settings.profiles[found.type].csrf_header
    if not found.csrf:
        raise MissingCSRFTokenError(header)
    # As bytes: the comparison in constant time refuses text beyond ASCII with a TypeError.
    sent = found.csrf.encode("utf-8", "surrogatepass")
    if token.csrf is None or not hmac.compare_digest(sent, token.csrf.encode()):
        raise CSRFError(header)
