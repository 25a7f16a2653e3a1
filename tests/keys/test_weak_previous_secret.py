"""A weak previous secret verifies tokens for some days, with a warning each day."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, BadConfigurationError
from tests.support import (
    NOW,
    OTHER_SECRET,
    SECRET,
    Clock,
    access_token,
    bearer,
    forge,
    make_app,
    parts,
    public_pem,
    reforge,
    rsa_key,
)
from tests.support.answers import INVALID, OK, Outcome, ask, outcome
from tests.support.corpus import by_repr, check_all

TODAY = datetime.fromtimestamp(NOW, UTC).date()
DAY = 86_400
#: Until the end of this day in UTC.
LEFT_TODAY = DAY - NOW % DAY
WEAK: list[str | bytes] = [
    *("x", "secret", "super-secret", "your-256-bit-secret", SECRET[:31], "a" * 64),
    *(SECRET + "\n", f'"{SECRET}"', "this-is-a-very-long-secret-key-for-testing-only"),
    *(b"\xff\x00\x01", "09d25e094faa6ca2556c818166b7a956" + "3b93f7099f6f0f4caa6cf63b88e8d3e7"),
]


def migrated(secret: Any = "super-secret", days: int = 5, **config: Any) -> tuple[Flask, AuthX]:
    """An app whose previous secret may be weak for some days."""
    config.setdefault("PREVIOUS_WEAK_UNTIL", (TODAY + timedelta(days=days)).isoformat())
    return make_app(SECRET_KEY=SECRET, PREVIOUS_SECRET_KEY=secret, **config)


def old_token(secret: str | bytes, exp: float = NOW + 100 * DAY) -> str:
    """A token of another library."""
    claims = {"sub": "ann", "iat": NOW, "exp": exp, "jti": "a", "type": "access", "fresh": False}
    return forge({"alg": "HS256", "typ": "JWT"}, claims, secret)


def response_to(app: Flask, token: str) -> Outcome:
    return outcome(ask(app, headers=bearer(token)))


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


UNTYPED: dict[str, Any] = {"ACCEPT_UNTYPED": True, "MAX_TOKEN_LIFETIME": "200d"}


def test_a_weak_previous_secret_verifies_and_does_not_sign() -> None:
    def check(secret: str | bytes) -> None:
        app, authx = migrated(secret, **UNTYPED)
        assert response_to(app, old_token(secret)) == OK
        assert response_to(app, old_token("another")) == INVALID
        new = access_token(app, authx)
        assert response_to(app, new) == OK
        assert response_to(make_app(SECRET_KEY=SECRET)[0], new) == OK

    check_all(by_repr(WEAK), check)


def test_without_the_date_it_is_refused_and_the_message_names_the_setting() -> None:
    def check(secret: str | bytes) -> None:
        with pytest.raises(BadConfigurationError) as caught:
            migrated(secret, PREVIOUS_WEAK_UNTIL=None)
        assert str(caught.value).startswith("JWT_PREVIOUS_SECRET_KEY: it ")
        assert "set JWT_PREVIOUS_WEAK_UNTIL: " in str(caught.value)

    check_all(by_repr(WEAK), check)


def test_the_date_is_of_no_use_to_the_current_secret() -> None:
    with pytest.raises(BadConfigurationError, match=r"^JWT_SECRET_KEY: it is 12 bytes long"):
        make_app(
            SECRET_KEY="super-secret",
            PREVIOUS_SECRET_KEY="weak",
            PREVIOUS_WEAK_UNTIL=TODAY.isoformat(),
        )


@pytest.mark.parametrize("secret", ["", b"", public_pem(rsa_key()), public_pem(rsa_key()).encode()])
def test_no_secret_and_a_public_key_stay_refused(secret: str | bytes) -> None:
    with pytest.raises(BadConfigurationError, match=r"^JWT_PREVIOUS_SECRET_KEY: it is "):
        migrated(secret)


@pytest.mark.parametrize("days", [31, 32, 365, 36_500])
def test_the_date_is_at_most_thirty_days_ahead(days: int) -> None:
    last = TODAY + timedelta(days=30)
    with pytest.raises(BadConfigurationError) as caught:
        migrated(days=days)
    assert str(caught.value).startswith("JWT_PREVIOUS_WEAK_UNTIL is more than 30 days ahead: set ")
    assert last.isoformat() in str(caught.value)
    migrated(days=30)
    migrated(PREVIOUS_WEAK_UNTIL=last)


@pytest.mark.parametrize(
    "config",
    [
        {"SECRET_KEY": SECRET},
        {"SECRET_KEY": SECRET, "PREVIOUS_SECRET_KEY": OTHER_SECRET},
        {
            "ALGORITHM": "RS256",
            "PRIVATE_KEY": rsa_key(3072),
            "PREVIOUS_PUBLIC_KEY": public_pem(rsa_key()),
        },
    ],
)
def test_without_a_weak_secret_the_date_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(BadConfigurationError, match=r"^JWT_PREVIOUS_WEAK_UNTIL has no effect"):
        make_app(**config, PREVIOUS_WEAK_UNTIL=TODAY.isoformat())


def test_every_problem_is_said_once() -> None:
    with pytest.raises(BadConfigurationError) as caught:
        migrated(5)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("days", [0, 1, 30])
def test_it_verifies_to_the_end_of_that_day(days: int, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    app, _ = migrated(days=days, clock=clock, CACHE_SIZE=100_000, **UNTYPED)
    token = old_token("super-secret")
    assert response_to(app, token) == OK
    clock.advance(LEFT_TODAY + days * DAY - 1)
    assert response_to(app, token) == OK
    clock.advance(1)
    caplog.clear()
    # Not from the cache either.
    assert [response_to(app, token) for _ in range(3)] == [INVALID] * 3
    (line,) = warnings_in(caplog)
    assert line.startswith("a weak previous secret has expired")


def test_what_the_current_key_has_signed_stays_valid() -> None:
    clock = Clock()
    app, authx = migrated(days=0, clock=clock, ACCESS_TOKEN_EXPIRES="10d", **UNTYPED)
    token = access_token(app, authx)
    for _ in range(3):
        assert response_to(app, token) == OK
        clock.advance(DAY)
    # A token without a kid was never that key's.
    assert response_to(app, reforge(token, header={"kid": ...})) == INVALID


def test_a_past_date_gives_the_secret_up_and_the_app_serves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, authx = migrated(days=-1, **UNTYPED)
    assert response_to(app, old_token("super-secret")) == INVALID
    assert response_to(app, access_token(app, authx)) == OK
    (line,) = warnings_in(caplog)
    assert line.startswith("JWT_PREVIOUS_WEAK_UNTIL is past")


def test_it_is_logged_at_the_start_and_once_a_day(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    app, authx = migrated(days=10, clock=clock, ACCESS_TOKEN_EXPIRES="20d", **UNTYPED)
    token = access_token(app, authx)
    (first,) = warnings_in(caplog)
    assert first.startswith("JWT_PREVIOUS_SECRET_KEY is weak, and verifies tokens until the end of")
    assert "forge" in first
    assert "12 bytes long" in first
    assert "super-secret" not in caplog.text
    for hours in (1, 5, 17):
        clock.advance(hours * 3600)
        for _ in range(3):
            assert response_to(app, token) == OK
            assert response_to(app, "x.y.z") == INVALID
        assert warnings_in(caplog) == [first]
    clock.advance(3600)
    for _ in range(3):
        assert response_to(app, token) == OK
    assert warnings_in(caplog) == [first] * 2
    # A process without requests does not make up for the days.
    clock.advance(4 * DAY)
    for _ in range(3):
        assert response_to(app, token) == OK
    assert warnings_in(caplog) == [first] * 3


def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "old"
    file.write_text("super-secret\n")
    app, _ = migrated(file, PREVIOUS_WEAK_UNTIL=TODAY, **UNTYPED)
    assert response_to(app, old_token("super-secret")) == OK


def test_a_prefix_is_named() -> None:
    with pytest.raises(BadConfigurationError, match="set ADMIN_JWT_PREVIOUS_WEAK_UNTIL: "):
        make_app(name="admin", SECRET_KEY=SECRET, PREVIOUS_SECRET_KEY="weak")


def test_a_date_may_come_as_a_date() -> None:
    app, _ = migrated(PREVIOUS_WEAK_UNTIL=date(2027, 1, 20), **UNTYPED)
    token = old_token("super-secret")
    assert parts(token)[0].get("kid") is None
    assert response_to(app, token) == OK
