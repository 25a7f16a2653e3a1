"""Each setting of sessions changes what the app does, one test a setting."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_authx import (
    AuthX,
    BadConfigurationError,
    RevokedTokenError,
    TokenExpiredError,
    TokenPair,
)
from flask_authx.cli import authx as group
from tests.support import NOW, SECRET, Clock, bearer, make_app, parts
from tests.support.answers import OK, ask, outcome
from tests.support.session_sites import Site, pair_in, site

AT = int(NOW)
DAY = 86400


@pytest.mark.parametrize("name", ["SESSIONS", "SESSION_TRACKING"])
def test_setting_sessions(name: str) -> None:
    on: list[dict[str, Any]] = [{name: True}, {name: "true"}]
    off: list[dict[str, Any]] = [{}, {name: False}, {name: None}]
    for config in on:
        app, authx = make_app(BLOCKLIST="memory://", **config)
        with app.app_context():
            pair = authx.login("ann")
            assert parts(authx.refresh(pair.refresh_token).refresh_token)[1]["gen"] == 1
    for config in off:
        app, authx = make_app(BLOCKLIST="memory://", **config)
        with app.app_context():
            with pytest.raises(RuntimeError, match="JWT_SESSIONS"):
                authx.login("ann")
            assert "gen" not in parts(authx.create_refresh_token("ann"))[1]


def test_setting_session_lifetime() -> None:
    cases: list[tuple[dict[str, Any], int]] = [({}, 90 * DAY), ({"SESSION_LIFETIME": "1d"}, DAY)]
    for config, ends in cases:
        here = site(**config)
        pair = here.log_in()
        assert here.row(pair).ends == AT + ends
        # Refreshed every few days it lasts until then, and not a second longer.
        while here.clock.now < AT + ends - 5 * DAY:
            here.clock.advance(5 * DAY)
            pair = here.renew(pair.refresh_token)
        here.clock.now = AT + ends - 1
        pair = here.renew(pair.refresh_token)
        assert here.token(pair.access_token).exp == AT + ends
        here.clock.advance(1)
        with pytest.raises(TokenExpiredError):
            here.renew(pair.refresh_token)
    for none in (False, None, 0):
        with pytest.raises(BadConfigurationError, match="JWT_SESSION_LIFETIME"):
            site(SESSION_LIFETIME=none)


def late_refresh(here: Site, after: int) -> TokenPair:
    """What a token gets that was replaced so many seconds ago."""
    pair = here.log_in()
    here.renew(pair.refresh_token)
    here.clock.advance(after)
    return here.renew(pair.refresh_token)


@pytest.mark.parametrize(
    ("config", "grace"), [({}, 60), ({"REFRESH_GRACE": 0}, 0), ({"REFRESH_GRACE": "10m"}, 600)]
)
def test_setting_refresh_grace(config: dict[str, Any], grace: int) -> None:
    here = site(**config)
    if grace:
        assert here.generation(late_refresh(here, grace - 1)) == 1
    with pytest.raises(RevokedTokenError):
        late_refresh(here, grace)


def test_a_grace_of_more_than_ten_minutes_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match="JWT_REFRESH_GRACE is above ten minutes"):
        site(REFRESH_GRACE=601)


@pytest.mark.parametrize(
    ("config", "stay"), [({}, 100), ({"MAX_SESSIONS": 3}, 3), ({"MAX_SESSIONS": 0}, 105)]
)
def test_setting_max_sessions(config: dict[str, Any], stay: int) -> None:
    here = site(**config)
    pairs: list[TokenPair] = []
    for _ in range(105):
        here.clock.advance(1)
        pairs.append(here.log_in())
    assert len(here.listed()) == stay
    assert [here.accepts(pair) for pair in pairs] == [False] * (105 - stay) + [True] * stay


AGENT = "Mozilla/5.0 (X11; Linux)"


def client_of(here: Site, agent: str | None = AGENT) -> tuple[str | None, str | None]:
    """What is stored of a client when it logs in and again when it refreshes."""
    headers = {} if agent is None else {"User-Agent": agent}
    where = {"REMOTE_ADDR": "192.0.2.7"}
    response = ask(here.app, "POST", "/login", headers=headers, environ_overrides=where)
    row = here.row(pair := pair_in(response))
    first = (row.user_agent, row.address)
    later = {"User-Agent": "curl/9"} | bearer(pair.refresh_token)
    where = {"REMOTE_ADDR": "2001:db8::7"}
    pair_in(ask(here.app, "POST", "/refresh", headers=later, environ_overrides=where))
    row = here.row(pair)
    assert (row.user_agent, row.address) == (
        "curl/9" if first[0] else None,
        "2001:db8::7" if first[1] else None,
    )
    return first


def app_with_login(**config: Any) -> Site:
    here = site(**config)

    @here.app.post("/login")
    def login() -> dict[str, Any]:
        return here.authx.login("ann").to_dict()

    return here


@pytest.mark.parametrize(
    ("details", "kept"),
    [
        (None, (None, None)),
        ([], (None, None)),
        ("user_agent", (AGENT, None)),
        (["address"], (None, "192.0.2.7")),
        ("user_agent,address", (AGENT, "192.0.2.7")),
    ],
)
def test_setting_session_details(details: Any, kept: tuple[str | None, str | None]) -> None:
    """Personal data: so nothing is kept unless the app says so."""
    config: dict[str, Any] = {} if details is None else {"SESSION_DETAILS": details}
    here = app_with_login(**config)
    assert client_of(here) == kept
    # Outside of a request there is no client.
    row = here.row(here.log_in())
    assert (row.user_agent, row.address) == (None, None)


def test_unknown_details_are_refused() -> None:
    with pytest.raises(BadConfigurationError, match="JWT_SESSION_DETAILS: choose from user_agent"):
        site(SESSION_DETAILS=["location"])


@pytest.mark.parametrize(
    ("detail", "variable"), [("user_agent", "HTTP_USER_AGENT"), ("address", "REMOTE_ADDR")]
)
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("x" * 256, "x" * 255),
        ("a\x01b\x7fc\nd", "abcd"),
        ("\xe9\x85", "\xe9"),
        ("\x01", None),
        ("", None),
    ],
)
def test_details_of_a_client_are_stored_without_control_characters(
    detail: str, variable: str, sent: str, kept: str | None
) -> None:
    """The list of sessions shows no control characters.

    An address may be made up as well, where a proxy is trusted that passes on what it is told.
    """
    here = app_with_login(SESSION_DETAILS=detail)
    pair = pair_in(ask(here.app, "POST", "/login", environ_overrides={variable: sent}))
    assert getattr(here.row(pair), detail) == kept


# Together


@pytest.mark.parametrize(
    "config", [{"REFRESH_GRACE": 5}, {"MAX_SESSIONS": 5}, {"SESSION_DETAILS": "address"}], ids=str
)
def test_a_setting_of_sessions_is_refused_without_sessions(config: dict[str, Any]) -> None:
    [name] = config
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_BLOCKLIST="memory://")
    app.config[f"JWT_{name}"] = config[name]
    with pytest.raises(BadConfigurationError) as caught:
        AuthX(app)
    [problem] = caught.value.problems
    assert problem == (
        f"JWT_{name} has no effect, since sessions are not stored: set JWT_SESSIONS to True, or "
        "remove it."
    )


def test_both_names_of_one_setting_are_one_too_many() -> None:
    with pytest.raises(BadConfigurationError, match="JWT_SESSION_TRACKING and JWT_SESSIONS"):
        make_app(BLOCKLIST="memory://", SESSIONS=True, SESSION_TRACKING=True)


def test_the_idle_time_is_how_long_a_refresh_token_lives() -> None:
    here = site(clock=Clock(), REFRESH_TOKEN_EXPIRES="2h")
    assert here.row(here.log_in()).expires == AT + 7200


def test_removing_expired_sessions_can_be_left_to_the_command() -> None:
    """``JWT_PRUNE_ON_WRITE`` is for sessions, too."""
    cases: list[tuple[dict[str, Any], bool]] = [({}, True), ({"PRUNE_ON_WRITE": 0}, False)]
    here = site()
    for config, swept in cases:
        here = site(**config)
        here.log_in()
        assert ("sweep" in here.logins.calls) is swept
        assert outcome(here.ask(here.log_in().refresh_token)) == OK
    here.clock.advance(21 * DAY)
    done = here.app.test_cli_runner().invoke(group, ["prune"])
    assert done.exit_code == 0, done.output
    assert "prune" in here.logins.calls
