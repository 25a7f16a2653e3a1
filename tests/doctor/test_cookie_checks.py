"""``flask authx doctor`` on cookies, CSRF and sessions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, Risk
from tests.doctor.support import PROXY, app_with, by_claims, entries, found
from tests.support import SECRET, Clock, make_app
from tests.support.browsers import FrailSessions
from tests.support.cli import run
from tests.support.spy_store import SpyStore

COOKIES: dict[str, Any] = {"TOKEN_LOCATION": "cookies"}
Found = set[tuple[str | None, str | None]]


class RiskySessions(FrailSessions):
    """A store of sessions that says what is wrong with it."""

    def __init__(self, *danger: Risk) -> None:
        super().__init__(Clock())
        self._danger = danger

    def risks(self) -> Iterator[Risk]:
        self.frail.ask("risks")
        yield from self._danger


def kept(
    sessions: FrailSessions | None = None, blocklist: SpyStore | None = None, **config: Any
) -> Flask:
    """An app that keeps sessions, whose views refresh and log out."""
    app = Flask("tests")
    app.config.from_mapping({f"JWT_{name}": value for name, value in config.items()})
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(
        app,
        clock=Clock(),
        blocklist=blocklist or SpyStore(),
        sessions=sessions or RiskySessions(),
    )
    app.register_blueprint(authx.blueprint())
    return app


def about(app: Flask, setting: str) -> list[dict[str, str | None]]:
    return [entry for entry in entries(app) if entry["setting"] == setting]


def test_a_well_set_up_app_for_browsers_hears_nothing() -> None:
    assert found(app_with(**COOKIES)) == set()
    assert found(kept(**COOKIES)) == set()
    assert found(kept()) == {PROXY}


# Cookies


def test_cookies_over_plain_http_are_an_error_in_production() -> None:
    app = app_with(**COOKIES, COOKIE_SECURE=False)
    names: Found = {("hint", "JWT_ACCESS_COOKIE_NAME"), ("hint", "JWT_REFRESH_COOKIE_NAME")}
    assert found(app) == {("error", "JWT_COOKIE_SECURE"), *names}
    assert run(app, "doctor").code == 1
    assert found(app, debug=True) == {("hint", "JWT_COOKIE_SECURE"), *names}
    app.testing = True
    assert found(app) == {("hint", "JWT_COOKIE_SECURE"), *names}
    (entry,) = about(app, "JWT_COOKIE_SECURE")
    assert "https" in (entry["fix"] or "")


def test_without_cookies_their_settings_do_no_harm() -> None:
    assert found(app_with(COOKIE_SECURE=False, COOKIE_CSRF_PROTECT=False)) == {PROXY}


@pytest.mark.parametrize("config", [{"COOKIE_DOMAIN": "example.org"}, {"ACCESS_COOKIE_PATH": "/a"}])
def test_the_shorter_prefix_will_do(config: dict[str, Any]) -> None:
    """It is the longest that browsers would take there."""
    assert found(app_with(**COOKIES, **config)) == set()


def test_a_domain_that_opens_the_refresh_cookie_to_its_hosts_is_a_warning() -> None:
    """A refresh cookie has no companion there."""
    domain: dict[str, Any] = {"COOKIE_DOMAIN": "example.org"}
    assert found(kept(**COOKIES, **domain)) == {("warning", "JWT_COOKIE_DOMAIN")}
    (entry,) = about(kept(**COOKIES, **domain), "JWT_COOKIE_DOMAIN")
    assert "every host of example.org can set a refresh cookie" in (entry["problem"] or "")
    assert "remove the setting" in (entry["fix"] or "")
    # Nobody can be logged in by one that no view accepts.
    assert found(app_with(**COOKIES, **domain)) == set()
    assert about(kept(**domain), "JWT_COOKIE_DOMAIN") == []
    app, authx = make_app(**COOKIES, **domain)
    authx.set_callback_token_blocklist(by_claims)
    view = authx.refresh_token_required(lambda: "")
    app.add_url_rule("/auth/refresh", "refresh", view, methods=["POST"])
    assert ("warning", "JWT_COOKIE_DOMAIN") in found(app)


def test_without_secure_the_same_is_a_part_of_that_finding() -> None:
    (entry,) = about(kept(**COOKIES, COOKIE_SECURE=False), "JWT_COOKIE_SECURE")
    assert "set a refresh cookie that logs a visitor into another account" in (
        entry["problem"] or ""
    )


def test_a_name_without_a_prefix_is_a_hint_that_says_which() -> None:
    app = app_with(**COOKIES, REFRESH_COOKIE_NAME="r")
    (entry,) = about(app, "JWT_REFRESH_COOKIE_NAME")
    assert "cookie r " in (entry["problem"] or "")
    assert "__Secure-" in (entry["fix"] or "")


def test_the_blueprint_that_lacks_its_rows_is_an_error() -> None:
    app, authx = make_app()
    app.register_blueprint(authx.blueprint())
    problems = [entry["problem"] or "" for entry in entries(app) if entry["level"] == "error"]
    assert len(problems) == 1
    assert "JWT_SESSIONS" in problems[0]
    assert run(app, "doctor").code == 1


def test_a_path_of_the_refresh_cookie_that_is_not_one_is_an_error() -> None:
    app = kept(**COOKIES)
    app.register_blueprint(next(iter(app.blueprints.values())), url_prefix="/b", name="second")
    assert found(app) == {("error", "JWT_REFRESH_COOKIE_PATH")}


def test_a_path_of_the_refresh_cookie_without_a_route_is_a_finding() -> None:
    """A warning for the default path, and a hint for one that the app has chosen."""
    cases: list[tuple[dict[str, str], str]] = [
        ({}, "warning"),
        ({"REFRESH_COOKIE_PATH": "/api/auth"}, "hint"),
    ]
    for config, level in cases:
        app = Flask("tests")
        settings = {"SECRET_KEY": SECRET, **COOKIES, **config}
        app.config.from_mapping({f"JWT_{name}": value for name, value in settings.items()})
        authx = AuthX(app, clock=Clock(), blocklist=SpyStore(), sessions=RiskySessions())
        path = config.get("REFRESH_COOKIE_PATH", "/auth")
        (entry,) = about(app, "JWT_REFRESH_COOKIE_PATH")
        assert entry["level"] == level
        assert f"only to {path}, where" in (entry["problem"] or "")
        view = authx.refresh_token_required(lambda: "")
        app.add_url_rule(f"{path}/refresh", "refresh", view, methods=["POST"])
        assert about(app, "JWT_REFRESH_COOKIE_PATH") == []


# Rotation


def refreshing() -> Flask:
    """An app without sessions that has a view for refresh tokens."""
    app, authx = make_app()
    authx.set_callback_token_blocklist(by_claims)
    view = authx.refresh_token_required(lambda: "")
    app.add_url_rule("/refresh", "refresh", view, methods=["POST"])
    return app


def test_refresh_tokens_that_are_not_rotated_are_a_hint() -> None:
    """RFC 9700 section 4.14.2"""
    app = refreshing()
    assert found(app) == {PROXY, ("hint", "JWT_SESSIONS")}
    (entry,) = about(app, "JWT_SESSIONS")
    for name in ("JWT_BLOCKLIST", "authx.login()", "authx.refresh()"):
        assert name in (entry["fix"] or "")


def test_an_app_without_refresh_tokens_hears_nothing_of_them() -> None:
    assert found(app_with()) == {PROXY}


def test_no_grace_is_a_hint() -> None:
    assert found(kept(REFRESH_GRACE=0)) == {PROXY, ("hint", "JWT_REFRESH_GRACE")}
    assert found(kept(REFRESH_GRACE=1)) == {PROXY}


# The store of sessions


EVICTS = Risk("it may evict sessions.", "set it to keep them.")


@pytest.mark.parametrize(
    ("switch", "level"), [(None, "warning"), ("testing", "hint"), ("debug", "hint")]
)
def test_what_the_store_says_of_itself_is_passed_on(switch: str | None, level: str) -> None:
    app = kept(RiskySessions(EVICTS))
    app.testing = switch == "testing"
    assert found(app, debug=switch == "debug") == {PROXY, (level, "JWT_SESSIONS")}
    (entry,) = about(app, "JWT_SESSIONS")
    assert (entry["problem"], entry["fix"]) == (EVICTS.problem, EVICTS.fix)


def test_what_is_true_of_both_stores_is_said_once() -> None:
    app = kept(RiskySessions(EVICTS), SpyStore(danger=[EVICTS]))
    assert found(app) == {PROXY, ("warning", "JWT_BLOCKLIST")}


def test_sessions_in_memory_are_said_once_as_well() -> None:
    """Their revocations are there too, and the fix is one and the same."""
    app, _ = make_app(BLOCKLIST="memory://", SESSIONS=True)
    settings = [setting for level, setting in found(app) if level == "warning"]
    assert settings == ["JWT_BLOCKLIST"]


def test_a_store_that_can_not_say_is_a_hint_and_no_traceback() -> None:
    sessions = RiskySessions()
    app = kept(sessions)
    sessions.frail.error = ConnectionError("down")
    assert found(app) == {PROXY, ("hint", "JWT_SESSIONS")}
    assert run(app, "doctor").code == 0
