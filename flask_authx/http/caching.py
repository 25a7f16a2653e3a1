"""Headers that keep tokens, and pages made for one client, out of caches and referrers."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response


def is_in_query(current: Request, name: str) -> bool:
    """Whether the query string has a parameter of that name, or can't be read."""
    try:
        return name in current.args
    except UnicodeDecodeError:
        return True


def add_cache_headers(vary: list[str], response: Response, *, in_query: bool) -> Response:
    """Say by which request headers the response varies (RFC 9110 section 12.5.5).

    :param in_query: whether the URL holds a token: then no cache may keep the response, and no
        link of it may pass the URL on (RFC 6750 section 5.3).
    """
    response.vary.update(vary)
    if in_query:
        response.headers["Cache-Control"] = "private, no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
    return response


def no_store(response: Response) -> Response:
    """Keep an answer that was made for one client out of all caches (RFC 6749 section 5.1)."""
    response.headers["Cache-Control"] = "no-store"
    return response
