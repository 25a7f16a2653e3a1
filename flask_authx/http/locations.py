"""Finding a request's token: one function for each location. Nothing is verified here.

The rules are RFC 6750 section 2 and its security considerations. What a client puts somewhere on
purpose (header, query, JSON) comes before what a browser sends by itself (cookie). Two such tokens
are an error, and so is half a token: neither is a reason to look elsewhere.
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
from flask_authx.errors import JWTDecodeError, MalformedRequestError
from flask_authx.settings.options import Settings
from flask_authx.settings.profiles import TokenProfile, environ_key
from flask_authx.tokens.token import RequestToken

#: RFC 9110 section 11.2, token68.
_TOKEN68 = r"[A-Za-z0-9\-._~+/]++=*+"
_UNPADDED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
_COOKIES = Location.COOKIES
#: An unclosed quotation reaches to the end; without backtracking, so in linear time.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


#: Looks in one location for a token, and returns its text.
Look: TypeAlias = Callable[[Request, TokenProfile], str | None]


@dataclass(frozen=True, slots=True)
class Search:
    """Where tokens of one type are looked for, in this order."""

    profile: TokenProfile
    groups: tuple[tuple[tuple[Location, Look], ...], ...]
    only: tuple[Location, Look] | None


class _UnreadableBodyError(MalformedRequestError):
    """The body's type is JSON, and its content is not."""


class Finder:
    """Finds tokens as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._header = environ_key(settings.header_name)
        self._scheme = settings.header_type.lower()
        self._max_length = settings.max_token_length
        scheme = re.escape(settings.header_type)
        separator = " ++" if scheme else ""
        self._credentials = re.compile(f"(?i:{scheme}){separator}({_TOKEN68})[ \t]*+", re.ASCII)
        #: The scheme at the start of the value or of a further item in it.
        self._mention = re.compile(rf"(?:^|,)[ \t]*(?i:{scheme})(?=[\x00-\x20,\x7F]|$)", re.ASCII)
        self._cookies = {
            profile.cookie_name: re.compile(
                rf"(?:^|;)[ \t]*{re.escape(profile.cookie_name)}=([^;]*)"
            )
            for profile in settings.profiles.values()
        }
        self._looks: dict[Location, Look] = {
            Location.HEADERS: self._in_headers,
            Location.COOKIES: self._in_cookies,
            Location.QUERY: self._in_query,
            Location.JSON: self._in_json,
        }
        self._searches: dict[object, Search] = {}

    def find(
        self,
        request: Request,
        type: TokenType,
        locations: frozenset[Location] | None,
        found: dict[object, RequestToken],
    ) -> RequestToken | None:
        """The request's one token of a type, or ``None``.

        :param locations: where to look, instead of where the settings say.
        :param found: what has been found in this request before, and will be kept. By type and
            locations: a token in a cookie is no token for a view that looks in headers.
        :raises MalformedRequestError: if there are two, half a token, or JSON that can't be read.
        :raises JWTDecodeError: if what stands in a token's place is no text, or far too long.
        """
        key = type if locations is None else (type, locations)
        known = found.get(key)
        if known is not None:
            return known
        search = self._searches.get(key) or self._search(key, type, locations)
        if search.only is not None:
            # The common case: there is one place, and it is no cookie.
            location, look = search.only
            text = look(request, search.profile)
            token = None if text is None else RequestToken(text, None, type, location)
        else:
            token = _first(request, search)
        if token is not None:
            found[key] = token
        return token

    def _search(
        self, key: object, type: TokenType, locations: frozenset[Location] | None
    ) -> Search:
        """The order in which the allowed locations are searched. Computed once."""
        allowed = self._settings.token_location if locations is None else locations
        profile = self._settings.profiles[type]
        groups = [
            [location for location in group if location in allowed] for group in profile.search
        ]
        places = tuple(tuple((one, self._looks[one]) for one in group) for group in groups if group)
        alone = len(allowed) == 1 and _COOKIES not in allowed
        search = self._searches[key] = Search(profile, places, places[0][0] if alone else None)
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
        # Another scheme is no error, unless ours is mixed in with it.
        if not self._scheme or self._mention.search(_QUOTED.sub("", value)):
            raise MalformedRequestError("the header does not hold one token")
        return None

    def _in_cookies(self, request: Request, profile: TokenProfile) -> str | None:
        # The raw header: a parsed one hides a cookie that was sent twice, and removes quotes.
        header: str | None = request.environ.get("HTTP_COOKIE")
        if not header:
            return None
        values = {
            value.strip(" \t") for value in self._cookies[profile.cookie_name].findall(header)
        }
        if len(values) > 1:
            # Another host of the same site may have set one of them: which one is unknown.
            raise MalformedRequestError("the cookie was sent twice with different values")
        # Some clients keep an empty cookie after a log-out.
        return values.pop() or None if values else None

    def _in_query(self, request: Request, profile: TokenProfile) -> str | None:
        values: list[str] | None = None
        with contextlib.suppress(UnicodeDecodeError):
            values = request.args.getlist(self._settings.query_string_name)
        if values is None:
            raise MalformedRequestError("the query is not text")
        if not values:
            return None
        prefix = self._settings.query_string_value_prefix
        if len(values) > 1 or not values[0].startswith(prefix) or len(values[0]) == len(prefix):
            raise MalformedRequestError("the query does not hold one token")
        return values[0][len(prefix) :]

    def _in_json(self, request: Request, profile: TokenProfile) -> str | None:
        if request.method not in self._settings.json_methods or not request.is_json:
            return None
        # Werkzeug keeps the bytes, so the view can still read them.
        body = request.get_data(cache=True)
        values = _members(body, profile.json_key) if body else []
        if not values:
            return None
        if len(values) > 1:
            raise MalformedRequestError("the JSON body names the token twice")
        if not isinstance(values[0], str):
            raise JWTDecodeError("what the JSON body holds as a token is not text")
        return values[0]


def _first(request: Request, search: Search) -> RequestToken | None:
    """The one token of the first group of locations that has any."""
    profile = search.profile
    for group in search.groups:
        found: RequestToken | None = None
        for location, look in group:
            try:
                token = look(request, profile)
            except _UnreadableBodyError:
                if found is None:
                    raise
                # The token is elsewhere, so the body may be whatever the view takes.
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
    """The values of all members of that name in the outermost object, if it is one."""
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
        raise _UnreadableBodyError("the JSON body can't be read")
    return [inner for key, inner in outermost if key == name] if isinstance(value, dict) else []
