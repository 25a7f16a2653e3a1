"""Loads the keys that the settings name, and checks them when the app starts."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from flask_authx.enums import Algorithm
from flask_authx.errors import BadConfigurationError
from flask_authx.settings.options import Settings

from . import asymmetric, weak_secrets
from .ring import Key, KeyRing, WeakPrevious

T = TypeVar("T")

_log = logging.getLogger("flask_authx")

#: For how many days at most a weak secret may verify tokens.
_WEAK_DAYS = 30


def load_keys(settings: Settings, clock: Callable[[], float] = time.time) -> KeyRing:
    """Load every key that the settings name.

    :param clock: seconds since 1970-01-01 UTC.
    :raises BadConfigurationError: with every problem found, each naming its setting.
    """
    problems: list[str] = []
    prefix = settings.prefix
    current = _attempt(problems, _current_key, settings)
    previous = _attempt(problems, _previous_key, settings)
    if current and previous and current.kid == previous.kid:
        problems.append(
            f"{prefix}PREVIOUS_*: the previous key and the current one have the same kid: "
            "remove the previous one if it is the same key, else give each its own kid."
        )
    weak = _attempt(problems, lambda _: _weak_previous(settings, clock()), settings)
    allowed = {key.algorithm for key in (current, previous) if key}
    if settings.decode_algorithms and not settings.decode_algorithms <= allowed:
        problems.append(
            f"{prefix}DECODE_ALGORITHMS names an algorithm that no key has: "
            f"remove it; {prefix}ALGORITHM and the keys decide which algorithms are accepted."
        )
    if problems or current is None:
        raise BadConfigurationError(problems)
    by_kid = {key.kid: key for key in (current, previous) if key}
    if previous is None:
        return KeyRing(current, by_kid, unnamed=current)
    # Tokens of another library were created before the migration, with the previous key.
    ring = KeyRing(current, by_kid, previous if settings.accept_untyped else None, weak)
    if weak is None:
        return ring
    if weak.since < weak.until:
        _log.warning(weak.warning)
        return ring
    # The app starts all the same: a process may be replaced by another one at any time.
    _log.error("%sPREVIOUS_WEAK_UNTIL is past: the previous secret verifies no tokens", prefix)
    return ring.without_previous()


def _attempt(
    problems: list[str], load: Callable[[Settings], T | None], settings: Settings
) -> T | None:
    try:
        return load(settings)
    except BadConfigurationError as error:
        problems.extend(one for one in error.problems if one not in problems)
        return None


def _current_key(settings: Settings) -> Key:
    algorithm, prefix = settings.algorithm, settings.prefix
    key_settings = [
        prefix + name.upper()
        for name in ("private_key", "public_key")
        if getattr(settings, name) is not None
    ]
    if algorithm.symmetric:
        if key_settings:
            raise BadConfigurationError(
                f"{key_settings[0]} is set and {prefix}ALGORITHM is {algorithm}, which doesn't use "
                f"it: remove the key, or set {prefix}ALGORITHM to the key's own algorithm."
            )
        if settings.secret_key is None:
            raise BadConfigurationError(
                f"{prefix}SECRET_KEY is not set: create a secret with `flask authx generate-key` "
                "and keep it out of the source code (Flask's SECRET_KEY is not used)."
            )
        return _secret(settings.secret_key, algorithm, settings.key_id, f"{prefix}SECRET_KEY")
    if settings.secret_key is not None:
        raise BadConfigurationError(
            f"{prefix}SECRET_KEY is set and {prefix}ALGORITHM is {algorithm}, which doesn't use "
            f"it: remove the secret, or set {prefix}ALGORITHM to HS256."
        )
    if not key_settings:
        raise BadConfigurationError(
            f"{prefix}PRIVATE_KEY is not set and {prefix}ALGORITHM is {algorithm}: set it to "
            f"create tokens, or {prefix}PUBLIC_KEY to verify them only."
        )
    return _key_pair(settings)


def _previous_key(settings: Settings) -> Key | None:
    prefix = settings.prefix
    algorithm = settings.previous_algorithm or settings.algorithm
    secret, public = settings.previous_secret_key, settings.previous_public_key
    if secret is not None and public is not None:
        raise BadConfigurationError(
            f"{prefix}PREVIOUS_SECRET_KEY and {prefix}PREVIOUS_PUBLIC_KEY are both set: keep one."
        )
    if secret is None and public is None:
        if settings.previous_algorithm or settings.previous_key_id:
            raise BadConfigurationError(
                f"{prefix}PREVIOUS_ALGORITHM or {prefix}PREVIOUS_KEY_ID is set without a previous "
                "key: set the key, or remove them."
            )
        return None
    if algorithm.symmetric is not (secret is not None):
        raise BadConfigurationError(
            f"{prefix}PREVIOUS_ALGORITHM is {algorithm}, which does not fit the previous key: "
            "set it to the algorithm that signed its tokens."
        )
    if secret is not None:
        name = f"{prefix}PREVIOUS_SECRET_KEY"
        value = _secret_bytes(secret, name)
        problem = weak_secrets.key_problem(value)
        if problem is None and settings.previous_weak_until is None:
            problem = weak_secrets.problem_with(value, algorithm)
            if problem:
                problem += (
                    f". If tokens of it must be accepted for some days more, set {prefix}"
                    "PREVIOUS_WEAK_UNTIL: an attacker who guesses it can forge tokens until then"
                )
        if problem:
            raise BadConfigurationError(f"{name}: {problem}.")
        kid = settings.previous_key_id or _kid(value)
        return Key(kid, algorithm, value, None, _derive(value, b"csrf"))
    loaded = _asymmetric(public, f"{prefix}PREVIOUS_PUBLIC_KEY", algorithm, private=False)
    kid = settings.previous_key_id or asymmetric.thumbprint(loaded)
    return Key(kid, algorithm, loaded, None, None)


def _weak_previous(settings: Settings, now: float) -> WeakPrevious | None:
    """Until when a weak previous secret verifies tokens; ``None`` if it is not weak."""
    until, prefix = settings.previous_weak_until, settings.prefix
    if until is None:
        return None
    name, secret = f"{prefix}PREVIOUS_WEAK_UNTIL", f"{prefix}PREVIOUS_SECRET_KEY"
    algorithm = settings.previous_algorithm or settings.algorithm
    weakness = None
    if settings.previous_secret_key is not None and algorithm.symmetric:
        value = _secret_bytes(settings.previous_secret_key, secret)
        weakness = weak_secrets.problem_with(value, algorithm)
    if weakness is None:
        raise BadConfigurationError(
            f"{name} has no effect: it is for a weak {secret}, and there is none. Remove it."
        )
    today = datetime.fromtimestamp(now, UTC).date()
    last = today + timedelta(days=_WEAK_DAYS)
    if until > last:
        raise BadConfigurationError(
            f"{name} is more than {_WEAK_DAYS} days ahead: set {last} or an earlier date, since "
            "until then an attacker who guesses the secret can forge tokens."
        )
    warning = (
        f"{secret} is weak, and verifies tokens until the end of {until} ({name}): until then "
        f"an attacker who guesses it can forge tokens of any user. Remove both settings as soon "
        f"as you can. What is wrong with it: {weakness}."
    )
    end = datetime.combine(until, datetime.min.time(), UTC) + timedelta(days=1)
    return WeakPrevious(warning, now, end.timestamp())


def _secret(value: object, algorithm: Algorithm, kid: str | None, name: str) -> Key:
    secret = _secret_bytes(value, name)
    problem = weak_secrets.problem_with(secret, algorithm)
    if problem:
        raise BadConfigurationError(f"{name}: {problem}.")
    return Key(kid or _kid(secret), algorithm, secret, secret, _derive(secret, b"csrf"))


def _secret_bytes(value: object, name: str) -> bytes:
    if isinstance(value, Path):
        # Editors and secret stores end files with a line break that is not part of the secret.
        value = _read(value, name).rstrip(b"\r\n")
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        raise BadConfigurationError(
            f"{name}: set it to text, bytes, or a pathlib.Path to a file; digits in an environment "
            "variable need quotes to be text."
        )
    if _is_file(value):
        raise BadConfigurationError(
            f"{name}: it is the path of a file and not the secret: use pathlib.Path(...)."
        )
    return value


def _kid(secret: bytes) -> str:
    return asymmetric.base64url(_derive(secret, b"kid")[:16])


def _key_pair(settings: Settings) -> Key:
    algorithm, prefix = settings.algorithm, settings.prefix
    private: Any = None
    public: Any = None
    derived = None
    if settings.private_key is not None:
        private = _asymmetric(settings.private_key, f"{prefix}PRIVATE_KEY", algorithm, private=True)
        public = private.public_key()
        derived = _derive(asymmetric.private_bytes(private), b"csrf")
    if settings.public_key is not None:
        given = _asymmetric(settings.public_key, f"{prefix}PUBLIC_KEY", algorithm, private=False)
        if public is not None and asymmetric.jwk(public) != asymmetric.jwk(given):
            raise BadConfigurationError(
                f"{prefix}PUBLIC_KEY is not the public half of {prefix}PRIVATE_KEY: "
                f"remove it, or move it to {prefix}PREVIOUS_PUBLIC_KEY."
            )
        public = given
    kid = settings.key_id or asymmetric.thumbprint(public)
    return Key(kid, algorithm, public, private, derived)


def _asymmetric(value: object, name: str, algorithm: Algorithm, *, private: bool) -> Any:
    if isinstance(value, Path):
        value = _read(value, name)
    return asymmetric.load(value, name, algorithm, private=private)


def _is_file(value: bytes) -> bool:
    try:
        return Path(value.decode()).is_file()
    except (OSError, ValueError):
        # It is too long for a path, or not UTF-8.
        return False


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadConfigurationError(f"{name}: can't read {path}: {error.strerror}.") from error


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"flask-authx:" + purpose, "sha256")
