"""Headers that keep tokens, and pages made for one client, out of caches and referrers."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from flask_authx.enums import Location
from flask_authx.settings.options import SAFE_METHODS, Settings

from .requirement import Requirement


def varies_by(settings: Settings, requirement: Requirement) -> list[str]:
    """The request headers that decide what a guarded view responds (RFC 9110 section 12.5.5)."""
    allowed = requirement.locations
    if allowed is None:
        allowed = settings.token_location
    headers: list[str] = []
    if Location.COOKIES in allowed:
        headers.append("Cookie")
    if Location.HEADERS in allowed and (requirement.optional or not settings.header_keeps_private):
        # No shared cache keeps the response to a request with Authorization (RFC 9111 section 3.5),
        # but a page for anonymous visitors must not be served to a user.
        headers.append(settings.header_name)
    return headers


def exposes_token(settings: Settings, requirement: Requirement, current: Request) -> bool:
    """Whether no ``Vary`` helps: the token may be in the query string, or in the body of a GET.

    A query string that can't be read may have one.
    """
    allowed = requirement.locations
    if allowed is None:
        allowed = settings.token_location
    if Location.JSON in allowed and current.method in settings.json_methods & SAFE_METHODS:
        # Caches don't look at the body of such a request.
        return True
    if Location.QUERY not in allowed:
        return False
    try:
        return settings.query_string_name in current.args
    except UnicodeDecodeError:
        return True


def add_cache_headers(vary: list[str], response: Response, *, exposed: bool) -> Response:
    """Set ``Vary``, and with a token in the query string forbid caches and referrers.

    No cache may keep such a page, and its URL must not be passed on (RFC 6750 section 5.3).
    """
    response.vary.update(vary)
    if exposed:
        response.headers["Cache-Control"] = "private, no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
    return response


def no_store(response: Response) -> Response:
    """Keep a response that was made for one client out of all caches (RFC 6749 section 5.1)."""
    response.headers["Cache-Control"] = "no-store"
    return response
