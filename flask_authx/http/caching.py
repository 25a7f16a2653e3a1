"""Headers that keep tokens, and pages made for one client, out of caches and referrers."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from flask_authx.enums import Location
from flask_authx.settings.options import Settings

from .requirement import Requirement


def varies_by(settings: Settings, requirement: Requirement) -> list[str]:
    """The request headers that decide what a guarded view responds (RFC 9110 section 12.5.5)."""
    allowed = requirement.locations
    if allowed is None:
        allowed = settings.token_location
    headers: list[str] = []
    if Location.COOKIES in allowed:
        headers.append("Cookie")
    if requirement.optional and Location.HEADERS in allowed:
        # A page for anonymous visitors must not be served to a user. A view that requires a token
        # has no such page.
        headers.append(settings.header_name)
    return headers


def has_token_in_query(settings: Settings, requirement: Requirement, current: Request) -> bool:
    """Whether a token may be in the query string, or the query string can't be read."""
    allowed = requirement.locations
    if Location.QUERY not in (settings.token_location if allowed is None else allowed):
        return False
    try:
        return settings.query_string_name in current.args
    except UnicodeDecodeError:
        return True


def add_cache_headers(vary: list[str], response: Response, *, in_query: bool) -> Response:
    """Set ``Vary``, and with a token in the query string forbid caches and referrers.

    No cache may keep such a page, and its URL must not be passed on (RFC 6750 section 5.3).
    """
    response.vary.update(vary)
    if in_query:
        response.headers["Cache-Control"] = "private, no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
    return response


def no_store(response: Response) -> Response:
    """Keep a response that was made for one client out of all caches (RFC 6749 section 5.1)."""
    response.headers["Cache-Control"] = "no-store"
    return response
