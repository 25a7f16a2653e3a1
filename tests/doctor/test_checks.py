"""The checks of ``flask authx doctor``, one by one."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.support import PROXY, app_with, by_claims, by_token, entries, found
from tests.support import (
    OTHER_SECRET,
    SECRET,
    access_token,
    make_app,
    private_key_for,
    private_pem,
)
from tests.support.cli import run
from tests.support.corpus import check_all

PEM = {name: private_pem(private_key_for(name)) for name in ("RS256", "ES256", "ES384", "EdDSA")}
COOKIES: dict[str, Any] = {"TOKEN_LOCATION": "cookies"}
ISSUER = {"ENCODE_ISSUER": "https://id.example"}


FOUND: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"TOKEN_LOCATION": "query"}, ("warning", "JWT_TOKEN_LOCATION")),
    ({"ACCEPT_UNTYPED": True}, ("hint", "JWT_ACCEPT_UNTYPED")),
    ({"DECODE_LEEWAY": 61}, ("warning", "JWT_DECODE_LEEWAY")),
    ({"CACHE_SIZE": 0}, ("hint", "JWT_CACHE_SIZE")),
    ({"PREVIOUS_SECRET_KEY": OTHER_SECRET}, ("hint", "JWT_PREVIOUS_*")),
    ({"PRIVATE_KEY": PEM["RS256"], "ALGORITHM": "RS256"}, ("hint", "JWT_DECODE_ISSUER")),
    ({"DECODE_ISSUER": "https://id.example"}, ("warning", "JWT_DECODE_ISSUER")),
    ({**ISSUER, "DECODE_ISSUER": "https://x.example"}, ("warning", "JWT_DECODE_ISSUER")),
    ({"DECODE_AUDIENCE": "api"}, ("warning", "JWT_DECODE_AUDIENCE")),
    (
        {"ENCODE_AUDIENCE": "a", "DECODE_AUDIENCE": ["b", "c"]},
        ("warning", "JWT_DECODE_AUDIENCE"),
    ),
    ({**COOKIES, "ACCESS_COOKIE_NAME": "a"}, ("hint", "JWT_ACCESS_COOKIE_NAME")),
    ({**COOKIES, "REFRESH_COOKIE_NAME": "r"}, ("hint", "JWT_REFRESH_COOKIE_NAME")),
    ({**COOKIES, "COOKIE_CSRF_PROTECT": False}, ("error", "JWT_COOKIE_CSRF_PROTECT")),
]
HARMLESS: list[dict[str, Any]] = [
    COOKIES,
    {"DECODE_LEEWAY": 60},
    {"ACCESS_TOKEN_EXPIRES": "5h"},
    {"COOKIE_CSRF_PROTECT": False},
    {"ACCESS_COOKIE_NAME": "a"},
    {"PRIVATE_KEY": PEM["RS256"], "ALGORITHM": "RS256", **ISSUER},
    {"PRIVATE_KEY": PEM["EdDSA"], "ALGORITHM": "EdDSA", "ENCODE_AUDIENCE": "api"},
    {"ENCODE_AUDIENCE": "a,b", "DECODE_AUDIENCE": "b"},
    {**ISSUER, "DECODE_ISSUER": "https://id.example"},
]


def test_a_setting_is_found() -> None:
    def check(case: tuple[dict[str, Any], tuple[str, str]]) -> None:
        config, expected = case
        secret: dict[str, Any] = {} if "PRIVATE_KEY" in config else {"SECRET_KEY": SECRET}
        app = app_with(**{**secret, **config})
        assert found(app) - {PROXY} == {expected}
        assert run(app, "doctor").code == (1 if expected[0] == "error" else 0)

    check_all([(f"{case[1][1]} of {', '.join(case[0])}", case) for case in FOUND], check)


def test_what_does_no_harm_is_not_found() -> None:
    def check(config: dict[str, Any]) -> None:
        assert found(app_with(**config)) <= {PROXY}

    check_all([(", ".join(map(str, config.items()))[-80:], config) for config in HARMLESS], check)


def test_a_missing_callback_is_a_warning() -> None:
    """USERS 50: an app without a registered callback."""
    app = app_with(None)
    assert found(app) == {PROXY, ("warning", "JWT_REVOCATION_REQUIRED")}
    assert run(app, "doctor").code == 0


def test_a_missing_callback_is_an_error_where_one_is_required() -> None:
    app = app_with(None, REVOCATION_REQUIRED=True)
    assert found(app) == {PROXY, ("error", "JWT_REVOCATION_REQUIRED")}
    assert run(app, "doctor").code == 1


def test_a_long_lifetime_is_a_warning_if_nothing_can_be_taken_back() -> None:
    expected = ("warning", "JWT_ACCESS_TOKEN_EXPIRES")
    assert expected in found(app_with(None, ACCESS_TOKEN_EXPIRES=3601))
    assert expected not in found(app_with(None, ACCESS_TOKEN_EXPIRES=3600))


@pytest.mark.parametrize("algorithm", ["ES256", "ES384"])
def test_a_callback_that_sees_no_claims_is_a_warning_with_es(algorithm: str) -> None:
    """USERS 35: a revoked token's twin signature."""
    config = {"PRIVATE_KEY": PEM[algorithm], "ALGORITHM": algorithm, **ISSUER}
    assert found(app_with(by_token, **config)) == {PROXY, ("warning", "JWT_ALGORITHM")}
    assert found(app_with(by_claims, **config)) == {PROXY}


def test_a_callback_that_sees_no_claims_is_fine_with_other_algorithms() -> None:
    assert found(app_with(by_token)) == {PROXY}
    config = {"PRIVATE_KEY": PEM["RS256"], "ALGORITHM": "RS256", **ISSUER}
    assert found(app_with(by_token, **config)) == {PROXY}


@pytest.mark.parametrize(
    "config",
    [
        {"SECRET_KEY": SECRET},
        {"SECRET_KEY": SECRET.encode()},
        {"SECRET_KEY": None, "SECRET_KEY_FALLBACKS": ["an older one", SECRET]},
    ],
)
def test_a_secret_that_flask_uses_too_is_a_warning(config: dict[str, Any]) -> None:
    app = app_with()
    app.config.from_mapping(config)
    assert found(app) == {PROXY, ("warning", "JWT_SECRET_KEY")}


def test_a_previous_secret_that_flask_uses_too_is_a_warning() -> None:
    app = app_with(SECRET_KEY=SECRET, PREVIOUS_SECRET_KEY=OTHER_SECRET)
    app.config["SECRET_KEY"] = OTHER_SECRET
    assert ("warning", "JWT_PREVIOUS_SECRET_KEY") in found(app)
    assert ("warning", "JWT_SECRET_KEY") not in found(app)


def test_another_secret_of_flask_is_fine() -> None:
    app = app_with()
    app.config["SECRET_KEY"] = OTHER_SECRET
    assert found(app) == {PROXY}


def test_csrf_may_be_off_in_debugging_and_testing() -> None:
    app = app_with(TOKEN_LOCATION="cookies", COOKIE_CSRF_PROTECT=False)
    assert found(app, debug=True) == {("hint", "JWT_COOKIE_CSRF_PROTECT")}
    app.testing = True
    assert found(app) == {("hint", "JWT_COOKIE_CSRF_PROTECT")}


def test_a_location_that_only_a_view_names_counts() -> None:
    app, authx = make_app()
    authx.set_callback_token_blocklist(by_claims)
    app.add_url_rule("/x", "x", authx.token_required(locations=["query", "cookies"])(lambda: ""))
    problems = [entry["problem"] or "" for entry in entries(app) if entry["level"] == "warning"]
    assert len(problems) == 1
    assert "query string" in problems[0]
    app, authx = make_app(COOKIE_SECURE=False)
    app.add_url_rule("/x", "x", authx.token_required(locations="cookies")(lambda: ""))
    assert ("error", "JWT_COOKIE_SECURE") in found(app)


BODIES = ("hint", "MAX_CONTENT_LENGTH")


def test_an_app_that_looks_at_no_header_hears_nothing_of_proxies() -> None:
    assert found(app_with(TOKEN_LOCATION="json")) == {BODIES}


def test_an_app_that_reads_json_is_told_to_limit_bodies() -> None:
    """SECURITY A.18 331."""
    app = app_with(TOKEN_LOCATION=["headers", "json"])
    assert found(app) == {PROXY, BODIES}
    assert "65536 bytes" in run(app, "doctor").stdout
    app.config["MAX_CONTENT_LENGTH"] = 10**6
    assert found(app) == {PROXY}
    app, authx = make_app()
    authx.set_callback_token_blocklist(by_claims)
    app.post("/json")(authx.token_required(locations=["json"])(lambda: ""))
    assert found(app) == {PROXY, BODIES}


def test_a_weak_previous_secret_is_an_error_and_a_past_date_a_warning() -> None:
    keys: dict[str, Any] = {"SECRET_KEY": SECRET, "PREVIOUS_SECRET_KEY": "weak"}
    about = "JWT_PREVIOUS_WEAK_UNTIL"
    app = app_with(**keys, PREVIOUS_WEAK_UNTIL="2027-01-20")
    assert found(app) == {PROXY, ("hint", "JWT_PREVIOUS_*"), ("error", about)}
    assert run(app, "doctor").code == 1
    app = app_with(**keys, PREVIOUS_WEAK_UNTIL="2027-01-01")
    assert found(app) == {PROXY, ("warning", about)}


def test_unguarded_views_that_change_something_are_counted() -> None:
    app = app_with()
    app.add_url_rule("/x", "x", lambda: "", methods=["GET", "POST", "PURGE"])
    assert found(app) == {PROXY, ("hint", "routes")}
    assert "2 views" in run(app, "doctor").stdout
    assert "flask authx routes --unguarded" in run(app, "doctor").stdout.replace("\n         ", " ")


def test_public_and_reading_views_are_not_counted() -> None:
    app, authx = make_app()
    authx.set_callback_token_blocklist(by_claims)
    app.add_url_rule("/x", "x", authx.public(lambda: ""), methods=["POST"])
    app.add_url_rule("/y", "y", lambda: "", methods=["GET"])
    assert found(app) == {PROXY}


async def an_async_view() -> str:
    return ""


def test_async_views_without_asgiref_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_with()
    monkeypatch.setitem(sys.modules, "asgiref", None)
    assert found(app) == {PROXY}
    app.add_url_rule("/x", "x", an_async_view)
    assert found(app) == {PROXY, ("error", "asgiref")}


@pytest.mark.parametrize(
    ("version", "good"),
    [("2.8.0", False), ("2.15.0", False), ("2.15.1", True), ("2.16", True), ("3.0.0rc1", True)],
)
def test_an_old_pyjwt_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    """USERS 110. The version is that of the installed distribution, as pip notes it down."""
    metadata = tmp_path / f"PyJWT-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: PyJWT\nVersion: {version}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert importlib.metadata.version("PyJWT") == version
    assert (("error", "PyJWT") in found(app_with())) is not good


@pytest.mark.parametrize(
    ("config", "header", "value"),
    [
        ({}, "Authorization", "Bearer x.x.x"),
        ({"HEADER_NAME": "X-Token", "HEADER_TYPE": ""}, "X-Token", "x.x.x"),
    ],
)
def test_what_is_said_of_proxies_is_true(config: dict[str, Any], header: str, value: str) -> None:
    """The header that is to be tried, and the responses that tell, are the app's own."""
    app = app_with(**config)
    fix = next(entry["fix"] for entry in entries(app) if entry["check"] == "headers")
    assert fix is not None
    assert f"`{header}: {value}`" in fix
    client = app.test_client()
    arrived = client.get("/guarded", headers={header: value}).get_json()["error_type"]
    lost = client.get("/guarded").get_json()["error_type"]
    assert f"must say {arrived}." in fix
    assert f"If it says {lost}," in fix


def test_what_is_said_of_cookies_that_only_a_view_names_is_true() -> None:
    app, authx = make_app()
    guarded = authx.token_required(locations="cookies")(lambda: "")
    app.add_url_rule("/x", "x", guarded, methods=["GET", "POST"])
    client = app.test_client()
    client.set_cookie("__Host-access_token", access_token(app, authx))
    headers = {"X-CSRF-TOKEN": "whatever"}
    assert client.get("/x", headers=headers).status_code == 200
    assert client.post("/x", headers=headers).status_code == 403
