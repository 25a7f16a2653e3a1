"""Short and guessable HMAC secrets are refused, random ones accepted."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
    "qwertyuiopasdfghjklzxcvbnm1234567890",
    "qwertz-asdfghjkl",
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


LINE_ENDS = ("\n", "\r", "\r\n", "\n\n", "\x0b", "\x0c", "\x85", "\u2028")
WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


def remnants(secret: str) -> dict[str, list[str | bytes]]:
    """What editors, shells and configuration files make of a secret, by what is said of it."""
    return {
        "contains a line end": [
            *(secret + end for end in LINE_ENDS),
            *(end + secret for end in LINE_ENDS),
            *(secret[:20] + end + secret[20:] for end in LINE_ENDS),
        ],
        "contains a blank": [
            *(secret + " ", " " + secret, "\t" + secret, secret + "\xa0", secret + "\u3000"),
            " ".join(re.findall(".{8}", secret)),
        ],
        "begins with the name of a setting": [
            *(f"JWT_SECRET_KEY={secret}", f"export JWT_SECRET={secret}", f"jwt.secret={secret}"),
            *(f"SECRET_KEY='{secret}'", f"secret:{secret}=", f"ADMIN_JWT_PREVIOUS_KEY={secret}=="),
        ],
        "has quotes around it": [
            *(f'"{secret}"', f"'{secret}'", f"`{secret}`", repr(secret.encode())),
            *(f'"{secret}",', f"'{secret}';", f'\\"{secret}\\"'),
        ],
        "begins or ends with a typographic quote": [
            *(f"\u201c{secret}\u201d", f"\u00ab{secret}", secret + "\u2019"),
        ],
        "begins with a byte order mark": ["\ufeff" + secret, secret.encode("utf-8-sig")],
        "contains a character that can't be seen": [
            *(secret + "\u200b", secret + "\0", "\x1b[0m" + secret, secret + "\udce9"),
        ],
        "ends with an escaped line end": [secret + "\\n", secret + "\\r\\n"],
        "is the name of a secret in a template": [
            *("${" + secret + "}", "{{" + secret + "}}", f"<{secret}>", f"$(cat<{secret})"),
            "$" + secret.replace("-", "_"),
            *(f"%({secret.replace('-', '_')})s", f"%{secret.replace('-', '_')}%"),
        ],
        "is text in UTF-16 or UTF-32": [
            *(secret.encode(encoding) for encoding in WIDE),
            secret.encode("utf-16-le").decode(),
        ],
    }


def test_what_no_generator_makes_is_refused_with_words(tmp_path: Path) -> None:
    """SECURITY A.18 340: as text, as bytes and in a file."""
    file = tmp_path / "secret"

    def check(case: tuple[str, str | bytes, str]) -> None:
        said, changed, secret = case
        data = changed.encode("utf-8", "surrogatepass") if isinstance(changed, str) else changed
        file.write_bytes(data)
        # A line end at the end of a file is not part of its text.
        for value in (changed, data, *(() if data.endswith((b"\r", b"\n")) else (file,))):
            with pytest.raises(BadConfigurationError) as caught:
                make_codec(SECRET_KEY=value)
            assert str(caught.value).startswith(f"JWT_SECRET_KEY: it {said}")
            assert "correct it" in str(caught.value)
            assert secret[:8] not in str(caught.value)

    secrets = [SECRET, b64(random.Random(1).randbytes(32)), "ab01" + SECRET.lower()]
    check_all(
        by_repr(
            (said, changed, secret)
            for secret in secrets
            for said, spoiled in remnants(secret).items()
            for changed in spoiled
        ),
        check,
    )


@pytest.mark.parametrize("quote", "\"'`")
def test_a_quote_at_one_end_may_be_random(quote: str) -> None:
    """SECURITY A.18 340: of a generator that draws from all printable characters."""
    others = {*"\"'`"} - {quote}
    for secret in (quote + SECRET, SECRET + quote, *(quote + SECRET + other for other in others)):
        assert problem_with(secret.encode(), Algorithm.HS256) is None


@pytest.mark.parametrize("padding", ["=", "=="])
def test_a_name_before_the_padding_of_base64_may_be_random(padding: str) -> None:
    for name in ("key", "JWT", "token"):
        secret = SECRET[:37] + name + SECRET[:2] + padding
        assert problem_with(secret.encode(), Algorithm.HS256) is None


def test_a_line_end_at_the_end_of_a_file_is_not_part_of_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    for end in ("", "\n", "\r\n"):
        file.write_bytes((SECRET + end).encode())
        assert make_codec(SECRET_KEY=file).keys.current.verifying == SECRET.encode()


def test_what_generators_make_is_accepted() -> None:
    """Of punctuation too, and of bytes that are no text."""
    source = random.Random(7)
    letters = "".join(map(chr, range(33, 127)))
    for _ in range(300):
        text = "".join(source.choices(letters, k=50))
        if not text.endswith(("\\n", "\\r")):
            assert problem_with(text.encode(), Algorithm.HS256) is None, text
    for data in (b"\n", b" ", b'"', b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n"):
        for _ in range(50):
            raw = source.randbytes(40)
            assert problem_with(data + raw, Algorithm.HS256) is None
            assert problem_with(raw + data, Algorithm.HS256) is None
    assert problem_with("Schlüssel-äöü-ж-漢字-0x7fQ9z".encode(), Algorithm.HS256) is None


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha384", "sha512"])
def test_the_digest_of_a_word_is_that_word(name: str) -> None:
    for word in ("", "secret", "password", "changeme", "qwerty", "flask"):
        digest = hashlib.new(name, word.encode())
        spellings = [digest.hexdigest().encode(), base64.b64encode(digest.digest())]
        spellings += [digest.hexdigest().upper().encode(), b64(digest.digest()).encode()]
        if digest.digest_size >= 32:
            spellings.append(digest.digest())
        for spelling in spellings:
            problem = problem_with(spelling, Algorithm.HS256)
            assert problem is not None
            assert "placeholder" in problem or "bytes long" in problem


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
