"""Finding the token of a request: one function for each location. Nothing is verified here.

The rules are RFC 6750 section 2 and its security considerations. What a client puts somewhere on
purpose (header, query, JSON) comes before what a browser sends by itself (cookie). Two such tokens
or an incomplete one are an error, and no other location is searched then.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from werkzeug.wrappers import Request

from flask_authx.enums import Location, TokenType
from flask_authx.errors import JWTDecodeError, MalformedRequestError, MissingTokenError
from flask_authx.settings.options import Settings
from flask_authx.settings.profiles import TokenProfile, environ_key
from flask_authx.tokens.token import RequestToken

from .body import is_too_long, short_body

#: RFC 9110 section 11.2, token68.
_TOKEN68 = r"[A-Za-z0-9\-._~+/]++=*+"
_UNPADDED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
_COOKIES = Location.COOKIES
#: A header that was meant to hold a token: one at its end, or a scheme that others use for them.
_MEANT = re.compile(
    r"""\A["' ]*+(?:jwt|token|bearer)\b|(?<![\w.-])[\w-]++\.[\w-]++\.[\w-]++["']?[ \t]*+\Z""",
    re.ASCII | re.IGNORECASE,
)
#: An unclosed quotation reaches to the end; without backtracking, so in linear time.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def longest_body(settings: Settings) -> int:
    """The length in bytes of a JSON body from which on it is not searched for a token.

    Eight times that of a token: also with each of its characters escaped, it leaves some space.
    """
    return 8 * settings.max_token_length


#: Reads the text of a token from one location, if there is a token.
Reader: TypeAlias = Callable[[Request, TokenProfile], str | None]


@dataclass(frozen=True, slots=True)
class Search:
    """The locations in which tokens of one type are searched, in this order."""

    profile: TokenProfile
    groups: tuple[tuple[tuple[Location, Reader], ...], ...]
    #: The location, if there is only one, and it is not cookies.
    only: tuple[Location, Reader] | None


class DuplicateCookieError(MalformedRequestError):
    """A cookie was sent twice with different values.

    Another host of the same site may have set either of them, so neither is chosen.
    """

    message = (
        "The request has two cookies of one name. If the app has moved them, the former one is "
        "deleted now: try again"
    )


class _UnreadableBodyError(MalformedRequestError):
    """The body's type is JSON, and its content is not."""


class Finder:
    """Finds tokens in requests, as the settings of one app say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._header = environ_key(settings.header_name)
        self._scheme = settings.header_type.lower()
        credentials = f"{settings.header_type} <token>".lstrip()
        self._how_to_send = f"send the header {settings.header_name}: {credentials}"
        self._max_length = settings.max_token_length
        self._max_body = longest_body(settings)
        scheme = re.escape(settings.header_type)
        separator = " ++" if scheme else ""
        self._credentials = re.compile(f"(?i:{scheme}){separator}({_TOKEN68})[ \t]*+", re.ASCII)
        #: The scheme at the start of the value, or of a further item in it.
        self._scheme_in_list = re.compile(
            rf"(?:^|,)[ \t]*(?i:{scheme})(?=[\x00-\x20,\x7F]|$)", re.ASCII
        )
        self._cookies = {
            profile.cookie_name: re.compile(
                rf"(?:^|;)[ \t]*{re.escape(profile.cookie_name)}=([^;]*)"
            )
            for profile in settings.profiles.values()
        }
        self._readers: dict[Location, Reader] = {
            Location.HEADERS: self._in_headers,
            Location.COOKIES: self._in_cookies,
            Location.QUERY: self._in_query,
            Location.JSON: self._in_json,
        }
        self._searches: dict[object, Search] = {}

    def find(
        self, request: Request, type: TokenType, locations: frozenset[Location] | None
    ) -> RequestToken | None:
        """The request's one token of a type, or ``None``.

        :param locations: instead of those in the settings.
        :raises MalformedRequestError: if there are two, an incomplete one, or unreadable JSON.
        :raises JWTDecodeError: if the value is not text, or far too long.
        """
        key = type if locations is None else (type, locations)
        search = self._searches.get(key) or self._search(key, type, locations)
        if search.only is not None:
            # The common case.
            location, read = search.only
            text = read(request, search.profile)
            return None if text is None else RequestToken(text, None, type, location)
        return _first(request, search)

    def missing(self, request: Request, locations: frozenset[Location] | None) -> MissingTokenError:
        """The error for a request without a token. It says what a client has nearly done right."""
        allowed = self._settings.token_location if locations is None else locations
        problem = None
        if Location.HEADERS in allowed and self._is_meant(request.environ.get(self._header, "")):
            problem = self._how_to_send
        elif (
            Location.JSON in allowed
            and self._reads_json(request)
            and is_too_long(request, self._max_body)
        ):
            problem = f"a JSON body of more than {self._max_body} bytes is not searched for it"
        if problem is None:
            return MissingTokenError(f"the request has no token in {', '.join(sorted(allowed))}")
        message = f"{MissingTokenError.message}: {problem}"
        return MissingTokenError(message, description=message)

    def _is_meant(self, value: str) -> bool:
        """Whether a header that holds no token of our scheme was meant to."""
        return len(value) <= self._max_length + 1024 and _MEANT.search(value) is not None

    def _reads_json(self, request: Request) -> bool:
        return request.method in self._settings.json_methods and request.is_json

    def _search(
        self, key: object, type: TokenType, locations: frozenset[Location] | None
    ) -> Search:
        """The order in which the allowed locations are searched. Computed once."""
        allowed = self._settings.token_location if locations is None else locations
        profile = self._settings.profiles[type]
        groups = [
            [location for location in group if location in allowed] for group in profile.search
        ]
        readers = tuple(
            tuple((location, self._readers[location]) for location in group)
            for group in groups
            if group
        )
        only = readers[0][0] if len(allowed) == 1 and _COOKIES not in allowed else None
        search = Search(profile, readers, only)
        self._searches[key] = search
        return search

    def _in_headers(self, request: Request, profile: TokenProfile) -> str | None:
        value: str | None = request.environ.get(self._header)
        if not value:
            return None
        if (
            len(value) > self._max_length + 1024
            and value[: len(self._scheme)].lower() == self._scheme
        ):
            raise JWTDecodeError("it is too long for a token")
        # Nearly every request is of this form, and this takes half the time of the pattern.
        scheme, _, token = value.partition(" ")
        if token and scheme.lower() == self._scheme:
            others = token.encode("latin-1", "replace").translate(None, _UNPADDED)
            if not others:
                return token
        match = self._credentials.fullmatch(value)
        if match is not None:
            return match[1]
        # Another scheme is no error, unless the value also has ours.
        if not self._scheme or self._scheme_in_list.search(_QUOTED.sub("", value)):
            message = f"{MalformedRequestError.message}: {self._how_to_send}"
            raise MalformedRequestError("the header does not hold one token", description=message)
        return None

    def _in_cookies(self, request: Request, profile: TokenProfile) -> str | None:
        # From the raw header: parsing hides a cookie that was sent twice, and removes quotes.
        header: str | None = request.environ.get("HTTP_COOKIE")
        if not header:
            return None
        values = {
            value.strip(" \t") for value in self._cookies[profile.cookie_name].findall(header)
        }
        if len(values) > 1:
            raise DuplicateCookieError("the cookie was sent twice with different values")
        if not values:
            return None
        # Some clients keep an empty cookie after a log-out.
        return values.pop() or None

    def _in_query(self, request: Request, profile: TokenProfile) -> str | None:
        values: list[str] | None = None
        with contextlib.suppress(UnicodeDecodeError):
            values = request.args.getlist(self._settings.query_string_name)
        if values is None:
            # Raised here, so that the error's context does not hold the token.
            raise MalformedRequestError("the query is not text")
        if not values:
            return None
        prefix = self._settings.query_string_value_prefix
        if len(values) > 1 or not values[0].startswith(prefix) or len(values[0]) == len(prefix):
            raise MalformedRequestError("the query does not hold one token")
        return values[0][len(prefix) :]

    def _in_json(self, request: Request, profile: TokenProfile) -> str | None:
        if not self._reads_json(request):
            return None
        body = short_body(request, self._max_body)
        values = _members(body, profile.json_key) if body else []
        if not values:
            return None
        if len(values) > 1:
            raise MalformedRequestError("the JSON body names the token twice")
        if not isinstance(values[0], str):
            raise JWTDecodeError("the token in the JSON body is not text")
        return values[0]


def _first(request: Request, search: Search) -> RequestToken | None:
    """The one token of the first group of locations that has any."""
    profile = search.profile
    for group in search.groups:
        found: RequestToken | None = None
        for location, read in group:
            try:
                token = read(request, profile)
            except _UnreadableBodyError:
                if found is None:
                    raise
                # The token is in another location, so the body need not be JSON.
                continue
            if token is None:
                continue
            if found is not None:
                raise MalformedRequestError("there are two tokens")
            csrf: str | None = None
            if location is _COOKIES:
                csrf = request.environ.get(profile.csrf_environ_key)
            found = RequestToken(token, csrf, profile.type, location)
        if found is not None:
            return found
    return None


def _members(body: bytes, name: str) -> list[Any]:
    """The values of all members of that name in the body, if it is an object."""
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # The parser calls this for each object, and for the outermost last.
        nonlocal outermost
        outermost = pairs
        return dict(pairs)

    readable = True
    value: object = None
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=keep)
    except (ValueError, RecursionError):
        readable = False
    if not readable:
        # Raised here, so that the error's context does not hold the token.
        raise _UnreadableBodyError("the JSON body can't be read")
    if not isinstance(value, dict):
        return []
    return [inner for key, inner in outermost if key == name]
