"""Reads the settings from ``app.config`` and reports all problems together."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import Any

from flask_authx.enums import SameSite
from flask_authx.errors import BadConfigurationError

from . import parsers
from .options import RESERVED_CLAIMS, UNSAFE_METHODS, Settings

#: Settings of AuthX that have another name here.
AUTHX_NAMES = {"SESSION_TRACKING": "SESSIONS"}

#: Settings without effect unless tokens are renewed automatically.
_RENEWAL_SETTINGS = (
    "implicit_refresh_route_exclude",
    "implicit_refresh_route_include",
    "implicit_refresh_method_exclude",
    "implicit_refresh_method_include",
)

_COOKIE_NAMES = (
    "access_cookie_name",
    "refresh_cookie_name",
    "access_csrf_cookie_name",
    "refresh_csrf_cookie_name",
)

#: Parsers that must see ``None``: elsewhere it means "the default", for a lifetime it could mean
#: "never expires" and for a scheme "no scheme".
_NOT_NONE = (parsers.lifetime, parsers.scheme)


def read_settings(
    config: Mapping[str, Any], prefix: str = "JWT_", name: str = "authx"
) -> tuple[Settings, list[str]]:
    """The settings in a config, and a list of the problems with them.

    A setting that can't be read keeps its default, so that all others are checked, too.

    :param name: of the ``AuthX`` object.
    :raises BadConfigurationError: if the algorithm can't be read, since the keys depend on it.
    """
    known = {prefix + one.name.upper(): one for one in fields(Settings) if one.init}
    config, problems = _with_our_names(config, prefix)
    problems += [
        _unknown(key, known) for key in config if key.startswith(prefix) and key not in known
    ]
    values: dict[str, Any] = {}
    for key, one in known.items():
        parse = one.metadata["parse"]
        if key in config and (config[key] is not None or parse in _NOT_NONE):
            try:
                values[one.name] = parse(config[key])
            except ValueError as error:
                unset = one.metadata["unset"]
                without = f"; without this setting {unset}" if unset else ""
                problems.append(f"{key}: {error}{without}.")
    if config.get(f"{prefix}ALGORITHM") is not None and "algorithm" not in values:
        raise BadConfigurationError(problems)
    settings = Settings(**{**_cookie_names(values), **values})
    object.__setattr__(settings, "prefix", prefix)
    object.__setattr__(settings, "object_name", name)
    problems += _contradictions(settings, prefix)
    return settings, [*problems, *_session_cookie_problems(settings, config)]


def _with_our_names(config: Mapping[str, Any], prefix: str) -> tuple[Mapping[str, Any], list[str]]:
    """The config with AuthX's names replaced by ours, and the settings that have both."""
    renamed = {prefix + theirs: prefix + ours for theirs, ours in AUTHX_NAMES.items()}
    duplicates = [
        f"{theirs} and {ours} are the same setting: remove one."
        for theirs, ours in renamed.items()
        if theirs in config and ours in config
    ]
    return {renamed.get(key, key): value for key, value in config.items()}, duplicates


def _cookie_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The default cookie names whose prefix the other settings rule out (RFC 6265bis 4.1.3)."""
    if not values.get("cookie_secure", True):
        return {"access_cookie_name": "access_token", "refresh_cookie_name": "refresh_token"}
    if values.get("cookie_domain") or values.get("access_cookie_path", "/") != "/":
        return {"access_cookie_name": "__Secure-access_token"}
    return {}


def _unknown(key: str, known: Mapping[str, Field[Any]]) -> str:
    problem = f"{key} is not a setting of Flask-AuthX: "
    matches = difflib.get_close_matches(key.upper(), known, n=1, cutoff=0.8)
    if matches:
        return problem + f"did you mean {matches[0]}?"
    return problem + "remove it, or rename it if it belongs to the app."


def _contradictions(settings: Settings, prefix: str) -> list[str]:
    """The problems with combinations of settings that are each valid."""
    problems = [
        f"{prefix}{name.upper()} is longer than {prefix}MAX_TOKEN_LIFETIME: "
        "shorten it or raise the maximum."
        for name in ("access_token_expires", "refresh_token_expires")
        if getattr(settings, name) > settings.max_token_lifetime
    ]
    if not settings.csrf_methods >= UNSAFE_METHODS:
        problems.append(
            f"{prefix}CSRF_METHODS can only add protected methods: "
            "keep POST, PUT, PATCH and DELETE in it."
        )
    problems += [
        *_cookie_contradictions(settings, prefix),
        *_unused_cookie_settings(settings, prefix),
        *_renewal_contradictions(settings, prefix),
    ]
    problems += [
        f"{prefix}{name.upper()} is also {prefix}HEADER_NAME, which holds the token: choose "
        "another name."
        for name in ("access_csrf_header_name", "refresh_csrf_header_name")
        if getattr(settings, name).lower() == settings.header_name.lower()
    ]
    if settings.json_key == settings.refresh_json_key:
        problems.append(f"{prefix}JSON_KEY and {prefix}REFRESH_JSON_KEY are the same: change one.")
    if settings.identity_claim in RESERVED_CLAIMS - {"sub"}:
        problems.append(
            f"{prefix}IDENTITY_CLAIM is a claim that has another meaning: choose another name."
        )
    if settings.error_message_key == "error_type":
        problems.append(f"{prefix}ERROR_MESSAGE_KEY is already a key of the body: choose another.")
    if settings.skew > 3600:
        name = "DECODE_LEEWAY" if settings.clock_skew is None else "CLOCK_SKEW"
        problems.append(f"{prefix}{name} is above an hour: set the machines' clocks by NTP.")
    scope = settings.store_scope or ""
    if len(scope) > 255 or "\0" in scope:
        problems.append(
            f"{prefix}STORE_SCOPE is no text that every store can record: use at most 255 "
            "characters and no NUL."
        )
    if settings.refresh_grace > 600:
        problems.append(
            f"{prefix}REFRESH_GRACE is above ten minutes, during which a stolen refresh token is "
            "accepted without being detected: shorten it."
        )
    return problems


def _session_cookie_problems(settings: Settings, config: Mapping[str, Any]) -> Iterator[str]:
    """Cookies that would overwrite the one of Flask's session, or be overwritten by it.

    Flask has no session without a secret key.
    """
    if not settings.uses_cookies or not config.get("SECRET_KEY"):
        return
    for field_name in _COOKIE_NAMES:
        name = getattr(settings, field_name)
        if name == config.get("SESSION_COOKIE_NAME"):
            yield (
                f"{settings.prefix}{field_name.upper()} is also the name of the cookie of Flask's "
                "session: choose another name, or set SESSION_COOKIE_NAME to one."
            )


def _renewal_contradictions(settings: Settings, prefix: str) -> Iterator[str]:
    """The problems with the settings of automatic renewal."""
    if settings.implicit_refresh_deltatime is None:
        for name in _RENEWAL_SETTINGS:
            if getattr(settings, name):
                yield (
                    f"{prefix}{name.upper()} has no effect without automatic renewal: set "
                    f"{prefix}IMPLICIT_REFRESH_DELTATIME, or remove it."
                )
        return
    if settings.implicit_refresh_deltatime >= settings.access_token_expires:
        yield (
            f"{prefix}IMPLICIT_REFRESH_DELTATIME is not shorter than {prefix}ACCESS_TOKEN_EXPIRES: "
            "each request would renew its token. A third of it is usual."
        )
    if not settings.uses_cookies:
        yield (
            f"{prefix}IMPLICIT_REFRESH_DELTATIME has no effect without tokens in cookies: add "
            f"'cookies' to {prefix}TOKEN_LOCATION, or remove it."
        )


def _cookie_contradictions(settings: Settings, prefix: str) -> Iterator[str]:
    """Cookies that browsers would reject, and cookies that would overwrite each other."""
    seen: dict[str, str] = {}
    for field_name in _COOKIE_NAMES:
        name, setting = getattr(settings, field_name), prefix + field_name.upper()
        if name == settings.companion_name:
            yield f"{setting} is the name of a cookie that AuthX sets itself: choose another."
        if name in seen:
            yield f"{seen[name]} and {setting} are the same: one cookie would overwrite the other."
        seen[name] = setting
        start = name.lower()
        path = getattr(settings, field_name.replace("name", "path"))
        if start.startswith(("__host-", "__secure-")) and not settings.cookie_secure:
            yield (
                f"{setting}: browsers accept a cookie of that name only with Secure: remove the "
                f"setting, or {prefix}COOKIE_SECURE."
            )
        elif start.startswith("__host-") and (settings.cookie_domain or path != "/"):
            yield (
                f"{setting}: browsers accept a cookie whose name starts with __Host- only without "
                "a domain and with the path /: start it with __Secure-."
            )
    if not settings.cookie_secure and settings.cookie_samesite is SameSite.NONE:
        yield (
            f"{prefix}COOKIE_SAMESITE is None and {prefix}COOKIE_SECURE is off: browsers reject "
            "such a cookie. Remove one of the two."
        )
    if not settings.cookie_secure and settings.cookie_partitioned:
        yield (
            f"{prefix}COOKIE_PARTITIONED is on and {prefix}COOKIE_SECURE is off: browsers reject "
            "such a cookie. Remove one of the two."
        )


def _unused_cookie_settings(settings: Settings, prefix: str) -> Iterator[str]:
    """Cookie settings without effect."""
    if not settings.cookie_csrf_protect:
        for field_name in ("csrf_check_form", "csrf_check_origin"):
            if getattr(settings, field_name):
                yield (
                    f"{prefix}{field_name.upper()} is part of the CSRF check, and "
                    f"{prefix}COOKIE_CSRF_PROTECT is off: remove one of the two."
                )
    if settings.cookie_max_age is not None and settings.session_cookie:
        yield (
            f"{prefix}COOKIE_MAX_AGE has no effect on session cookies: set "
            f"{prefix}SESSION_COOKIE to False, or remove it."
        )
