"""The companion of a refresh cookie: a planted refresh cookie opens, revokes and alarms nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient

from flask_authx import (
    AuthX,
    BadConfigurationError,
    JWTDecodeError,
    current_token,
    refresh_reuse_detected,
    session_refreshed,
    session_revoked,
)
from tests.support import (
    OTHER_SECRET,
    SECRET,
    Clock,
    bearer,
    ec_key,
    parts,
    private_pem,
    public_pem,
    reforge,
)
from tests.support.answers import (
    ACCESS_COOKIE,
    COMPANION,
    INVALID,
    NO_CSRF,
    OK,
    REFRESH_COOKIE,
    Outcome,
    ask,
    companion_of,
    cookie,
    outcome,
    refresh_cookies,
)
from tests.support.browsers import (
    HAS_PARTITIONED,
    REFRESH_CSRF,
    FrailSessions,
    answer,
    browser,
    browser_app,
    cookies_in,
    csrf,
    csrf_of,
    kept_by,
    pair_of,
    plain_app,
    sign_in,
)
from tests.support.session_sites import heard
from tests.support.spy_store import SpyStore

#: The ways to send a refresh cookie without its companion, from the tokens of two sessions.
WITHOUT: dict[str, Callable[[str, str], tuple[tuple[str, str], ...]]] = {
    "none": lambda mine, _: ((REFRESH_COOKIE, mine),),
    "of another session": lambda mine, other: (
        (REFRESH_COOKIE, mine),
        (COMPANION, companion_of(other)),
    ),
    "empty": lambda mine, _: ((REFRESH_COOKIE, mine), (COMPANION, "")),
    "its sid": lambda mine, _: ((REFRESH_COOKIE, mine), (COMPANION, parts(mine)[1]["sid"])),
    "its CSRF value": lambda mine, _: (
        (REFRESH_COOKIE, mine),
        (COMPANION, parts(mine)[1]["csrf"]),
    ),
    "with more after it": lambda mine, _: (
        (REFRESH_COOKIE, mine),
        (COMPANION, f"{companion_of(mine)}x"),
    ),
    "quoted": lambda mine, _: ((REFRESH_COOKIE, mine), (COMPANION, f'"{companion_of(mine)}"')),
    "no ASCII": lambda mine, _: ((REFRESH_COOKIE, mine), (COMPANION, "\xe9" * 22)),
    "under another name": lambda mine, _: (
        (REFRESH_COOKIE, mine),
        ("__Secure-authx_session", companion_of(mine)),
        ("__host-authx_session", companion_of(mine)),
        ("x__Host-authx_session", companion_of(mine)),
    ),
    "of a secret of theirs": lambda mine, _: (
        (REFRESH_COOKIE, mine),
        (COMPANION, companion_of(mine, OTHER_SECRET)),
    ),
}


def planted(kind: str, mine: dict[str, Any], other: dict[str, Any]) -> dict[str, str]:
    """The headers with one of them, and the CSRF value, which a neighbour can plant as well."""
    raw = mine["refresh_token"]
    return cookie(*WITHOUT[kind](raw, other["refresh_token"])) | csrf_of(raw)


def rows(app: Flask, authx: AuthX, uid: str) -> list[int]:
    """The generations of a user's sessions."""
    with app.app_context():
        return [session.generation for session in authx.sessions(uid)]


@pytest.mark.parametrize("kind", WITHOUT)
def test_without_it_a_refresh_is_refused_and_consumes_nothing(kind: str) -> None:
    """SECURITY A.19 337"""
    app, authx = browser_app()
    eve, ann = sign_in(app.test_client(), "eve"), sign_in(app.test_client(), "ann")
    with heard(session_refreshed) as refreshed, heard(session_revoked) as revoked:
        response = ask(app, "POST", "/auth/refresh", headers=planted(kind, eve, ann))
    assert outcome(response) == INVALID
    assert cookies_in(response) == {}
    assert (refreshed.times, revoked.times) == ([], [])
    assert rows(app, authx, "eve") == [0]
    complete = cookie(*refresh_cookies(eve["refresh_token"])) | csrf_of(eve["refresh_token"])
    assert outcome(ask(app, "POST", "/auth/refresh", headers=complete)) == OK


def test_the_answer_does_not_tell_a_missing_one_from_a_wrong_one() -> None:
    app, _ = browser_app()
    answers, reasons = set[tuple[str, str]](), set[str]()

    def keep(error: JWTDecodeError) -> JWTDecodeError:
        reasons.add(error.reason)
        return error

    app.register_error_handler(JWTDecodeError, keep)
    eve, ann = sign_in(app.test_client(), "eve"), sign_in(app.test_client(), "ann")
    for kind in WITHOUT:
        response = ask(app, "POST", "/auth/refresh", headers=planted(kind, eve, ann))
        answers.add((response.text, response.headers["WWW-Authenticate"]))
    assert len(answers) == 1
    assert reasons == {"the refresh cookie was sent without its companion"}


@pytest.mark.parametrize("age", [1, 1000], ids=["in grace", "reused"])
def test_a_replaced_token_without_it_is_neither_accepted_nor_an_alarm(age: int) -> None:
    """Else a neighbour who has copied an old refresh token ends the session."""
    clock = Clock()
    app, authx = browser_app(clock=clock)
    client = app.test_client()
    old = sign_in(client)["refresh_token"]
    for _ in range(2 if age == 1000 else 1):
        assert outcome(client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))) == OK
        clock.advance(age)
    alone = cookie((REFRESH_COOKIE, old)) | csrf_of(old)
    with heard(refresh_reuse_detected) as reused, heard(session_revoked) as revoked:
        assert outcome(ask(app, "POST", "/auth/refresh", headers=alone)) == INVALID
    assert (reused.times, revoked.times) == ([], [])
    assert rows(app, authx, "ann") == [2 if age == 1000 else 1]
    # With it, it is what it always was.
    response = ask(
        app, "POST", "/auth/refresh", headers=cookie(*refresh_cookies(old)) | csrf_of(old)
    )
    assert response.status_code == (401 if age == 1000 else 200)


def test_no_store_is_asked_about_a_planted_one() -> None:
    """DESIGN 5.1"""
    clock = Clock()
    sessions, blocklist = FrailSessions(clock), SpyStore()
    app, _ = browser_app(clock=clock, stores={"sessions": sessions, "blocklist": blocklist})
    eve, ann = sign_in(app.test_client(), "eve"), sign_in(app.test_client(), "ann")
    sessions.frail.calls.clear()
    blocklist.calls.clear()
    for path in ("/auth/refresh", "/auth/logout"):
        response = ask(app, "POST", path, headers=planted("none", eve, ann))
        assert outcome(response) == INVALID
    assert (sessions.frail.calls, blocklist.calls) == ([], [])


# Guards


@pytest.mark.parametrize("locations", [None, "cookies", ["headers", "cookies"]])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_each_guard_of_refresh_tokens_asks_for_it(locations: Any, method: str) -> None:
    config: dict[str, Any] = {} if locations is None else {"TOKEN_LOCATION": "headers"}
    app, authx = plain_app(home=None, **config)
    guards = [
        authx.refresh_token_required(locations=locations),
        authx.token_required(type="refresh", locations=locations),
        authx.optional_token(type="refresh", locations=locations),
    ]
    for number, guard in enumerate(guards):
        view = guard(lambda: current_token.sub if current_token else "nobody")
        app.add_url_rule(f"/{number}", str(number), view, methods=["GET", "POST"])
    pair, other = pair_of(app, authx, "eve"), pair_of(app, authx)
    raw = pair.refresh_token
    for number in range(len(guards)):
        for kind in WITHOUT:
            headers = planted(kind, pair.to_dict(), other.to_dict())
            response = ask(app, method, f"/{number}", headers=headers)
            assert response.text != "eve"
            assert response.status_code in {200, 401}
        headers = cookie(*refresh_cookies(raw)) | csrf_of(raw)
        assert ask(app, method, f"/{number}", headers=headers).text == "eve"


def test_a_blueprint_that_is_protected_with_refresh_tokens_asks_for_it() -> None:
    app, authx = plain_app(home=None)
    app.add_url_rule("/renew", "renew", lambda: "in", methods=["POST"])
    authx.protect(app, type="refresh")
    raw = pair_of(app, authx).refresh_token
    headers = cookie((REFRESH_COOKIE, raw)) | csrf_of(raw)
    assert outcome(ask(app, "POST", "/renew", headers=headers)) == INVALID
    headers = cookie(*refresh_cookies(raw)) | csrf_of(raw)
    assert outcome(ask(app, "POST", "/renew", headers=headers)) == OK


def test_a_token_that_a_view_found_in_a_cookie_needs_it_as_well() -> None:
    app, authx = browser_app()

    @app.post("/auth/own")
    @authx.public
    def own() -> dict[str, Any]:
        found = authx.get_token_from_request(type="refresh", optional=False, locations="cookies")
        if request.args:
            return authx.refresh(found).to_dict()
        return {"sub": authx.verify_token(found, type="refresh").sub}

    raw = sign_in(app.test_client())["refresh_token"]
    for path in ("/auth/own", "/auth/own?refresh=1"):
        headers = cookie((REFRESH_COOKIE, raw)) | csrf_of(raw)
        assert outcome(ask(app, "POST", path, headers=headers)) == INVALID
        headers = cookie(*refresh_cookies(raw)) | csrf_of(raw)
        assert outcome(ask(app, "POST", path, headers=headers)) == OK


def test_neither_access_cookies_nor_other_places_need_it() -> None:
    app, _ = browser_app()

    def access(pair: dict[str, Any]) -> dict[str, Any]:
        raw = pair["access_token"]
        return {"headers": cookie((ACCESS_COOKIE, raw)) | csrf_of(raw)}

    ways: list[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = [
        ("/guarded", access),
        ("/auth/refresh", lambda pair: {"json": {"refresh_token": pair["refresh_token"]}}),
        ("/auth/refresh", lambda pair: {"headers": bearer(pair["refresh_token"])}),
        ("/auth/logout", access),
    ]
    for path, sent in ways:
        response = ask(app, "POST", path, **sent(sign_in(app.test_client())))
        assert response.status_code in {200, 204}


def test_the_csrf_value_is_asked_for_before_it() -> None:
    app, _ = browser_app()
    raw = sign_in(app.test_client())["refresh_token"]
    response = ask(app, "POST", "/auth/refresh", headers=cookie((REFRESH_COOKIE, raw)))
    assert outcome(response) == NO_CSRF


# Log-out and log-in


def test_a_planted_one_logs_nobody_out() -> None:
    app, authx = browser_app()
    eve, ann = sign_in(app.test_client(), "eve"), sign_in(app.test_client(), "ann")
    headers = planted("of another session", eve, ann)
    with heard(session_revoked) as revoked:
        assert outcome(ask(app, "POST", "/auth/logout", headers=headers)) == INVALID
    assert revoked.times == []
    # Beside the user's own access cookie that one alone is revoked.
    headers = cookie((ACCESS_COOKIE, ann["access_token"]), (REFRESH_COOKIE, eve["refresh_token"]))
    response = ask(app, "POST", "/auth/logout", headers=headers | csrf_of(ann["access_token"]))
    assert outcome(response) == Outcome(204)
    assert (rows(app, authx, "ann"), rows(app, authx, "eve")) == ([], [0])


def test_an_access_token_in_the_place_of_a_refresh_token_logs_nobody_out() -> None:
    app, authx = browser_app()
    eve = sign_in(app.test_client(), "eve")
    headers = cookie((REFRESH_COOKIE, eve["access_token"])) | csrf_of(eve["access_token"])
    assert outcome(ask(app, "POST", "/auth/logout", headers=headers)) == INVALID
    assert rows(app, authx, "eve") == [0]


def test_the_log_in_revokes_no_session_of_a_planted_one() -> None:
    app, authx = browser_app(authenticate=lambda: "ann")
    eve = sign_in(app.test_client(), "eve")["refresh_token"]
    same = {"Sec-Fetch-Site": "same-origin"}
    ask(app, "POST", "/auth/login", headers=cookie((REFRESH_COOKIE, eve)) | same)
    assert rows(app, authx, "eve") == [0]
    ask(app, "POST", "/auth/login", headers=cookie(*refresh_cookies(eve)) | same)
    assert rows(app, authx, "eve") == []


# Which cookie it is


def test_it_is_set_and_unset_by_all_that_touches_the_refresh_cookie() -> None:
    app, authx = plain_app()
    pair = pair_of(app, authx)
    value = companion_of(pair.refresh_token)
    acts: list[tuple[Callable[[Response], object], str | None]] = [
        (lambda to: authx.set_cookies(to, pair), value),
        (lambda to: authx.set_refresh_cookies(to, pair.refresh_token), value),
        (lambda to: authx.set_access_cookies(to, pair.access_token), None),
        (authx.unset_cookies, ""),
        (authx.unset_refresh_cookies, ""),
        (authx.unset_access_cookies, None),
    ]
    for fill, expected in acts:
        found = cookies_in(answer(app, fill)).get(COMPANION)
        assert (found.value if found else None) == expected


def test_a_session_keeps_it_and_another_one_has_another() -> None:
    app, _ = browser_app()
    client = browser(app)
    first = client.get_cookie(COMPANION)
    assert outcome(client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))) == OK
    assert client.get_cookie(COMPANION) == first
    sign_in(client)
    second = client.get_cookie(COMPANION)
    assert first is not None
    assert second is not None
    assert first.value != second.value
    assert outcome(client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))) == OK
    assert outcome(client.post("/auth/logout", headers=csrf(client))) == Outcome(204)
    assert kept_by(client) == set()


@pytest.mark.parametrize("max_age", [None, 77])
def test_it_lasts_as_long_as_the_refresh_cookie(max_age: int | None) -> None:
    configs: list[dict[str, Any]] = [
        {},
        {"SESSION_COOKIE": False},
        {"SESSION_COOKIE": False, "COOKIE_MAX_AGE": 99},
    ]
    for config in configs:
        app, authx = plain_app(**config)
        raw = pair_of(app, authx).refresh_token
        fill = functools.partial(authx.set_refresh_cookies, token=raw, max_age=max_age)
        found = cookies_in(answer(app, fill))
        ages = [
            {one for one in found[name].attributes if one.startswith(("Max-Age", "Expires"))}
            for name in (REFRESH_COOKIE, COMPANION)
        ]
        assert ages[0] == ages[1]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"COOKIE_SAMESITE": "Strict"},
        {"COOKIE_SAMESITE": "None", "COOKIE_PARTITIONED": True},
        {"REFRESH_COOKIE_PATH": "/r", "ACCESS_COOKIE_PATH": "/a"},
    ],
)
def test_its_attributes_are_those_that_its_name_promises(config: dict[str, Any]) -> None:
    """RFC 6265bis section 4.1.3.2"""
    if "COOKIE_PARTITIONED" in config and not HAS_PARTITIONED:
        pytest.skip("this version of Werkzeug can't set partitioned cookies")
    app, authx = plain_app(**config)
    found = cookies_in(answer(app, lambda to: authx.set_cookies(to, pair_of(app, authx))))
    attributes = found[COMPANION].attributes
    assert {"Path=/", "Secure", "HttpOnly"} <= attributes
    assert not any(one.startswith("Domain") for one in attributes)
    same = ("SameSite", "Partitioned")
    assert {one for one in attributes if one.startswith(same)} == {
        one for one in found[REFRESH_COOKIE].attributes if one.startswith(same)
    }


def test_a_browser_that_also_has_one_from_before_the_cookies_were_partitioned() -> None:
    """Both have one name; only this host can have set either."""
    app, _ = browser_app()
    mine, other = sign_in(app.test_client()), sign_in(app.test_client())
    raw = mine["refresh_token"]
    stale = (COMPANION, companion_of(other["refresh_token"]))
    for jar in ((stale, *refresh_cookies(raw)), (*refresh_cookies(raw), stale)):
        response = ask(app, "POST", "/auth/refresh", headers=cookie(*jar) | csrf_of(raw))
        assert outcome(response) == OK


@pytest.mark.parametrize("config", [{"COOKIE_DOMAIN": "example.org"}, {"COOKIE_SECURE": False}])
def test_where_browsers_would_reject_it_there_is_none_and_none_is_needed(
    config: dict[str, Any],
) -> None:
    app, _ = browser_app(**config)
    client = app.test_client()
    base = "https://example.org"
    response = client.post("/sign-in/ann", base_url=base)
    assert COMPANION not in cookies_in(response)
    raw = response.get_json()["refresh_token"]
    name = "refresh_token" if "COOKIE_SECURE" in config else REFRESH_COOKIE
    headers = cookie((name, raw)) | csrf_of(raw)
    assert outcome(ask(app, "POST", "/auth/refresh", headers=headers)) == OK


# Several objects, and their names


def two_objects(second: str) -> tuple[Flask, AuthX, AuthX]:
    app = Flask("two")
    app.testing = True
    prefix = f"{second.upper()}_JWT_"
    for start, secret in (("JWT_", SECRET), (prefix, OTHER_SECRET)):
        app.config[f"{start}SECRET_KEY"] = secret
        app.config[f"{start}TOKEN_LOCATION"] = "cookies"
        app.config[f"{start}BLOCKLIST"] = "memory://"
        app.config[f"{start}SESSIONS"] = True
    for kind, start in (("ACCESS", "__Host-"), ("REFRESH", "__Secure-")):
        app.config[f"{prefix}{kind}_COOKIE_NAME"] = f"{start}second_{kind.lower()}"
        app.config[f"{prefix}{kind}_CSRF_COOKIE_NAME"] = f"csrf_second_{kind.lower()}"
    authx, other = AuthX(app, clock=Clock()), AuthX(app, name=second, clock=Clock())
    app.register_blueprint(authx.blueprint())
    app.register_blueprint(other.blueprint("/second", name="second"))

    @app.post("/sign-in")
    def both() -> Response:
        response = Response()
        authx.set_cookies(response, authx.login("ann"))
        other.set_cookies(response, other.login("bob"))
        return response

    return app, authx, other


@pytest.mark.parametrize(
    ("second", "name"), [("admin", "__Host-admin_session"), ("büro", "__Host-b%C3%BCro_session")]
)
def test_two_objects_have_two_of_them(second: str, name: str) -> None:
    app, authx, other = two_objects(second)
    client: FlaskClient = app.test_client()
    assert {COMPANION, name} < cookies_in(client.post("/sign-in")).keys()
    for path, csrf_name in (("/auth", REFRESH_CSRF), ("/second", "csrf_second_refresh")):
        value = csrf(client, csrf_name)
        assert outcome(client.post(f"{path}/refresh", headers=value)) == OK
    # Each looks at its own alone.
    client.delete_cookie(name)
    response = client.post("/second/refresh", headers=csrf(client, "csrf_second_refresh"))
    assert outcome(response) == INVALID
    assert outcome(client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))) == OK
    assert (rows(app, authx, "ann"), rows(app, other, "bob")) == ([2], [1])


def test_no_other_cookie_may_have_its_name() -> None:
    for kind in ("ACCESS", "ACCESS_CSRF"):
        with pytest.raises(BadConfigurationError, match=f"JWT_{kind}_COOKIE_NAME"):
            plain_app(**{f"{kind}_COOKIE_NAME": COMPANION})


# Changes of keys

OLD, NEW = ec_key(), ec_key("P-256")
PAIRS: dict[str, Any] = {"SECRET_KEY": None, "ALGORITHM": "ES256"}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "secret": (
        {"SECRET_KEY": SECRET},
        {"SECRET_KEY": OTHER_SECRET, "PREVIOUS_SECRET_KEY": SECRET},
    ),
    # Of the previous pair the app has the public half alone.
    "key pair": (
        {**PAIRS, "PRIVATE_KEY": private_pem(OLD)},
        {**PAIRS, "PRIVATE_KEY": private_pem(NEW), "PREVIOUS_PUBLIC_KEY": public_pem(OLD)},
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_browser_stays_logged_in_over_a_change_of_keys(kind: str) -> None:
    clock = Clock()
    stores: dict[str, Any] = {"blocklist": SpyStore(), "sessions": FrailSessions(clock)}
    old, new = (browser_app(clock=clock, stores=stores, **config)[0] for config in CHANGES[kind])
    before, after = browser(old), new.test_client()
    for name, path in ((REFRESH_COOKIE, "/auth"), (REFRESH_CSRF, "/"), (COMPANION, "/")):
        kept = before.get_cookie(name, path=path)
        assert kept is not None
        after.set_cookie(name, kept.value, path=path)
    for _ in range(2):
        assert outcome(after.post("/auth/refresh", headers=csrf(after, REFRESH_CSRF))) == OK
    assert outcome(after.get("/guarded")) == OK
    assert outcome(after.post("/auth/logout", headers=csrf(after))) == Outcome(204)


def test_an_app_that_only_verifies_tokens_asks_for_it_and_sets_none() -> None:
    issuer = plain_app(**PAIRS, PRIVATE_KEY=private_pem(OLD))
    app, authx = plain_app(**PAIRS, PUBLIC_KEY=public_pem(OLD))
    pair = pair_of(*issuer)
    raw = pair.refresh_token
    jar = cookies_in(answer(issuer[0], lambda to: issuer[1].set_cookies(to, pair)))
    headers = cookie((REFRESH_COOKIE, raw)) | csrf_of(raw)
    assert outcome(ask(app, "POST", "/auth/refresh", headers=headers)) == INVALID
    headers = cookie((REFRESH_COOKIE, raw), (COMPANION, jar[COMPANION].value)) | csrf_of(raw)
    assert outcome(ask(app, "POST", "/auth/refresh", headers=headers)) == OK
    with pytest.raises(ValueError, match="could not be used as a cookie"):
        answer(app, lambda to: authx.set_refresh_cookies(to, raw))


def test_a_token_of_the_previous_secret_gets_one_that_fits() -> None:
    old = plain_app()
    raw = pair_of(*old).refresh_token
    app, authx = plain_app(SECRET_KEY=OTHER_SECRET, PREVIOUS_SECRET_KEY=SECRET)
    found = cookies_in(answer(app, lambda to: authx.set_refresh_cookies(to, raw)))
    headers = cookie((REFRESH_COOKIE, raw), (COMPANION, found[COMPANION].value)) | csrf_of(raw)
    assert outcome(ask(app, "POST", "/auth/refresh", headers=headers)) == OK


def test_a_token_without_a_csrf_value_is_not_set_as_a_refresh_cookie() -> None:
    """Nothing in it would say which companion is the right one."""
    app, authx = plain_app()
    raw = reforge(pair_of(app, authx).refresh_token, csrf=...)
    response = answer(app, lambda to: None)
    with app.app_context(), pytest.raises(ValueError, match="could not be used as a cookie"):
        authx.set_refresh_cookies(response, raw)
    assert cookies_in(response) == {}
    headers = cookie((REFRESH_COOKIE, raw), (COMPANION, companion_of(raw)))
    app.add_url_rule("/get", "get", authx.refresh_token_required(lambda: "in"))
    assert outcome(ask(app, "GET", "/get", headers=headers)) == INVALID
