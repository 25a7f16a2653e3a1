"""Short and guessable HMAC secrets are refused, random ones accepted."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_authx import BadConfigurationError
from flask_authx.enums import Algorithm
from flask_authx.keys.weak_secrets import problem_with
from tests.support import SECRET, b64
from tests.support.codecs import make_codec
from tests.support.corpus import by_repr, check_all
from tests.support.properties import fixed, surrogates

BYTES_NEEDED = {"HS256": 32, "HS384": 48, "HS512": 64}

PLACEHOLDERS = [
    "secret",
    "secret-key",
    "secretkey",
    "SECRET_KEY",
    "my-secret",
    "my_jwt_secret",
    "jwt-secret",
    "jwt_secret_key",
    "super-secret",
    "super_secret_key",
    "supersecretkey",
    "top-secret",
    "changeme",
    "change-me",
    "CHANGE_ME_PLEASE",
    "please-change-this",
    "change_this_in_production",
    "your-secret-key",
    "your-256-bit-secret",
    "your_jwt_secret",
    "your-super-secret-jwt-key-here",
    "this-is-a-secret",
    "this_is_my_secret_key",
    "dev",
    "development",
    "dev-secret-key",
    "testing",
    "test-secret",
    "my-test-key",
    "example",
    "sample-key",
    "password",
    "passw0rd",
    "password123",
    "default",
    "insecure-secret-key",
    "not-a-secret",
    "flask-secret",
    "admin123",
    "qwerty123",
    "abc123",
    "0123456789",
    "12345",
    "replace-with-random-string",
    "todo-insert-secret-here",
    "use-a-long-random-string",
    "foobar",
    "hello-world",
]


@pytest.mark.parametrize("algorithm", BYTES_NEEDED)
def test_a_secret_shorter_than_the_hash_is_refused_and_one_as_long_is_not(algorithm: str) -> None:
    """SECURITY A.14 251; RFC 7518 section 3.2."""
    needed = BYTES_NEEDED[algorithm]
    assert make_codec(ALGORITHM=algorithm, SECRET_KEY=SECRET[:needed])
    for length in (1, 16, needed - 1):
        with pytest.raises(BadConfigurationError) as caught:
            make_codec(ALGORITHM=algorithm, SECRET_KEY=SECRET[:length])
        assert str(caught.value).startswith(
            f"JWT_SECRET_KEY: it is {length} bytes long and {algorithm} needs {needed} "
        )


def test_length_is_counted_in_bytes() -> None:
    assert make_codec(SECRET_KEY="äöüßéèêçñøåžšđćč")
    with pytest.raises(BadConfigurationError, match="31 bytes long"):
        make_codec(SECRET_KEY="äöüßéèêçñøåžšđćx")


@pytest.mark.parametrize("secret", ["", b"", " " * 64, "\t" * 64, b"\0" * 64, "\n \t" * 32])
def test_blanks_are_no_secret(secret: str | bytes) -> None:
    """SECURITY A.14 251, USERS 30."""
    with pytest.raises(BadConfigurationError, match=r"^JWT_SECRET_KEY: .*flask authx generate-key"):
        make_codec(SECRET_KEY=secret)


def test_a_missing_secret_has_its_own_message() -> None:
    """SECURITY A.14 251."""
    with pytest.raises(BadConfigurationError, match=r"^JWT_SECRET_KEY is not set: .*generate-key"):
        make_codec(SECRET_KEY=None)


def test_a_placeholder_is_refused_however_it_is_padded() -> None:
    """SECURITY A.14 252."""
    fillers = ("0", "-", "!", "x", " ", "1234567890", "abc")
    padded = [
        (text + filler * 64)[:64]
        for text in PLACEHOLDERS
        for filler in (text, f"-{text}", *fillers)
    ]
    assert [text for text in padded if not problem_with(text.encode(), Algorithm.HS256)] == []


PATTERNS: list[str | bytes] = [
    "a" * 64,
    "0" * 64,
    "ab" * 32,
    "x1y2z3" * 11,
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "0123456789abcdefghijklmnopqrstuvwxyz",
    "12345678901234567890123456789012",
    "-".join(["secret"] * 8),
    "this-is-a-very-long-secret-key-for-testing-only",
    "your-secret-key-must-be-at-least-32-bytes-long",
    "CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME",
    bytes(range(4)) * 16,
]


def test_a_pattern_is_no_secret() -> None:
    """SECURITY A.14 252."""

    def check(secret: str | bytes) -> None:
        with pytest.raises(BadConfigurationError, match="placeholder or follows a pattern"):
            make_codec(SECRET_KEY=secret)

    check_all(by_repr(PATTERNS), check)


@pytest.mark.parametrize(("different", "guessable"), [(7, True), (8, False)])
def test_a_secret_has_eight_different_bytes(different: int, guessable: bool) -> None:
    secret = bytes(random.Random(7).choices(b"ghjkmnpq"[:different], k=64))
    assert len(set(secret)) == different
    assert bool(problem_with(secret, Algorithm.HS256)) is guessable


HOSTILE = {
    **{
        repr(text): text * 100_000
        for text in ("-----BEGIN ", "-----begin a key ", "- ", "--", "-- ", "{", "[", "AAAA", "0f:")
    },
    "digits": "12345678" * 100_000,
    "blanks inside": "a" + " " * 200_000 + "b",
    "dashes and blanks": "-" * 100_000 + " " * 100_000,
    "percent": "%2" * 100_000,
    "a name": "a" * 200_000 + "==",
    "quotes": '"' * 200_000,
    "backslashes": "\\" * 200_000,
    "NUL": "\0a" * 100_000,
}


JUDGE = """
import json
import sys
from flask_authx.keys.weak_secrets import problem_with
from flask_authx.enums import Algorithm
for name, secret in json.load(sys.stdin).items():
    # Before the secret is judged: the last name is that of a search that does not come back.
    print(name, end=": ", flush=True)
    print(problem_with(secret.encode(), Algorithm.HS256), flush=True)
"""


@pytest.mark.slow
def test_a_long_hostile_secret_is_judged() -> None:
    """SECURITY A.6 116.

    In a process of its own, so that a search which does not come back can be ended. Linear ones
    take a few seconds together, a quadratic one the better part of an hour: no clock decides.
    """
    try:
        run = subprocess.run(
            [sys.executable, "-c", JUDGE],
            input=json.dumps(HOSTILE),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"no end within {error.timeout} s, came {error.stdout!r}")
    judged = dict(line.split(": ", 1) for line in run.stdout.splitlines())
    assert judged.keys() == HOSTILE.keys()
    assert [name for name, said in judged.items() if "flask authx generate-key" not in said] == []


@fixed
@given(st.binary(min_size=32, max_size=128))
def test_any_bytes_are_judged(secret: bytes) -> None:
    problem = problem_with(secret, Algorithm.HS256)
    assert problem is None or "flask authx generate-key" in problem


@fixed
@given(st.text(surrogates, min_size=32, max_size=400))
def test_any_text_is_judged(secret: str) -> None:
    problem = problem_with(secret.encode("utf-8", "surrogatepass"), Algorithm.HS256)
    assert problem is None or "flask authx generate-key" in problem


RANDOM_FORMS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    **{f"token_urlsafe({n})": (n, lambda raw: b64(raw).encode()) for n in (32, 48, 64)},
    **{f"token_hex({n})": (n, lambda raw: raw.hex().encode()) for n in (32, 48, 50, 64)},
    **{f"base64 of {n}": (n, base64.b64encode) for n in (32, 48, 64)},
    **{f"token_bytes({n})": (n, bytes) for n in (32, 48, 64)},
}


def refused_at_random(form: str, count: int) -> list[bytes]:
    size, spell = RANDOM_FORMS[form]
    # The same secrets in each run: a rare refusal must not be a flaky test.
    source = random.Random(20_260_101)
    secrets = [spell(source.randbytes(size)) for _ in range(count)]
    return [secret for secret in secrets if problem_with(secret, Algorithm.HS256)]


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.slow)])
def test_random_secrets_are_accepted_in_every_usual_form(count: int) -> None:
    assert {form: refused_at_random(form, count) for form in RANDOM_FORMS} == {
        form: [] for form in RANDOM_FORMS
    }
