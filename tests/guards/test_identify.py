"""``identify``: who sends a request, for code that runs before, beside or without a guard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from flask import Flask, jsonify, request
from werkzeug.routing import BaseConverter

from flask_authx import (
    AuthX,
    BadConfigurationError,
    MissingTokenError,
    StoreUnavailableError,
    current_token,
    current_user,
    refresh_reuse_detected,
    revoked_token_used,
    token_accepted,
    token_refused,
)
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
    reforge,
    refresh_token,
)
from tests.support.answers import (
    ACCESS_COOKIE,
    FAULT,
    INVALID,
    MALFORMED,
    MISSING,
    NO_CSRF,
    OK,
    REVOKED,
    AsyncSpy,
    Outcome,
    Spy,
    ask,
    cookie,
    outcome,
    who,
)
from tests.support.session_sites import Heard, heard, site
from tests.support.spy_store import SpyStore, store_app

NOT_FRESH = Outcome(401, "FreshTokenRequiredError")


def subject_of(authx: AuthX, **kwargs: Any) -> str | None:
    token = authx.identify(optional=True, **kwargs)
    return None if token is None else token.sub


@contextmanager
def all_heard() -> Generator[dict[str, Heard]]:
    """What is announced of the tokens of requests."""
    signals = {
        "accepted": token_accepted,
        "refused": token_refused,
        "revoked": revoked_token_used,
        "reused": refresh_reuse_detected,
    }
    with ExitStack() as stack:
        yield {name: stack.enter_context(heard(signal)) for name, signal in signals.items()}


def counts(signals: dict[str, Heard]) -> dict[str, int]:
    return {name: len(ear.times) for name, ear in signals.items() if ear.times}


# Before the guard


def before_request(app: Flask, authx: AuthX, seen: list[Any]) -> None:
    app.before_request(lambda: seen.append(subject_of(authx)))


def before_any_hook(app: Flask, authx: AuthX, seen: list[Any]) -> None:
    def ask_first() -> None:
        seen.append(subject_of(authx))

    app.before_request_funcs.setdefault(None, []).insert(0, ask_first)


def url_value_preprocessor(app: Flask, authx: AuthX, seen: list[Any]) -> None:
    def ask_first(endpoint: str | None, values: dict[str, Any] | None) -> None:
        seen.append(subject_of(authx))

    app.url_value_preprocessor(ask_first)


PLACES = [before_request, before_any_hook, url_value_preprocessor]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("settings", [{}, {"PROTECT_ALL": True}])
def test_the_store_and_the_callback_are_asked_once(
    place: Callable[[Flask, AuthX, list[Any]], None], settings: dict[str, Any]
) -> None:
    store, seen, spy = SpyStore(), list[Any](), Spy()
    app, authx = store_app(store, **settings)
    authx.token_blocklist(spy)
    place(app, authx, seen)
    place(app, authx, seen)
    token = access_token(app, authx)
    store.calls.clear()
    with all_heard() as signals:
        assert ask(app, headers=bearer(token)).json == {"sub": "ann"}
    assert seen == ["ann", "ann"]
    assert store.calls == ["find"]
    assert spy.asked == [token]
    assert counts(signals) == {"accepted": 1}


@pytest.mark.parametrize("place", PLACES)
def test_nobody_is_known_before_a_view_that_is_open(
    place: Callable[[Flask, AuthX, list[Any]], None],
) -> None:
    seen: list[Any] = []
    app, authx = make_app()
    app.add_url_rule("/open", "open", who)
    place(app, authx, seen)
    assert ask(app, path="/open").text == "nobody"
    assert ask(app, path="/open", headers=bearer(access_token(app, authx))).text == "ann"
    assert ask(app, path="/open", headers=bearer("x.y.z")).text == "nobody"
    assert seen == [None, "ann", None]


def test_in_a_url_converter() -> None:
    app, authx = make_app()

    class Own(BaseConverter):
        def to_python(self, value: str) -> str:
            return f"{value} of {subject_of(authx)}"

    app.url_map.converters["own"] = Own

    @app.get("/notes/<own:note>")
    def note(note: str) -> str:
        return note

    headers = bearer(access_token(app, authx))
    response = ask(app, path="/notes/first", headers=headers)
    assert response.text == "first of ann"
    assert "authorization" in {name.lower() for name in response.vary}
    assert ask(app, path="/notes/first").text == "first of None"
    # A 503 there is the response.
    authx.token_blocklist(Spy(None))
    assert outcome(ask(app, path="/notes/first", headers=headers)) == FAULT


def test_at_the_very_first_request_of_an_app_that_is_not_fit_to_serve() -> None:
    app, authx = make_app(REVOCATION_REQUIRED=True)
    before_any_hook(app, authx, [])
    app.testing = True
    with pytest.raises(BadConfigurationError, match="JWT_REVOCATION_REQUIRED"):
        app.test_client().get("/guarded", headers=bearer(access_token(app, authx)))


def test_the_user_is_loaded_once() -> None:
    app, authx = make_app()
    loaded = Spy("Ann")
    authx.set_subject_getter(loaded)
    app.add_url_rule("/user", "user", authx.token_required(lambda: str(current_user)))

    @app.before_request
    def first() -> None:
        assert authx.identify(optional=True)
        assert current_user == "Ann"

    assert ask(app, path="/user", headers=bearer(access_token(app, authx))).text == "Ann"
    assert loaded.asked == ["ann"]


# The guard judges anew


@pytest.mark.parametrize(
    ("asked", "sent", "said", "guarded"),
    [
        ({"fresh": True}, {}, None, OK),
        ({"scopes": ["admin"]}, {}, None, OK),
        ({"type": "refresh"}, {}, None, OK),
        ({"locations": "query"}, {}, None, OK),
        ({}, {}, "ann", OK),
        ({"fresh": True}, {"fresh": True}, "ann", OK),
    ],
)
def test_a_guard_accepts_what_was_not_asked_for(
    asked: dict[str, Any], sent: dict[str, Any], said: str | None, guarded: Outcome
) -> None:
    app, authx = make_app()
    seen: list[Any] = []
    app.before_request(lambda: seen.append(subject_of(authx, **asked)))
    headers = bearer(access_token(app, authx, **sent))
    response = ask(app, headers=headers)
    assert (seen, outcome(response)) == ([said], guarded)
    assert response.json == {"sub": "ann"}


def test_a_guard_refuses_although_the_user_is_known() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,cookies,query")
    app.before_request(lambda: subject_of(authx) and None)
    guards = {
        "fresh": authx.fresh_token_required,
        "scope": authx.scopes_required("admin"),
        "query": authx.token_required(locations="query"),
        "refresh": authx.refresh_token_required,
    }
    for name, guard in guards.items():
        app.add_url_rule(f"/{name}", name, guard(who))
    headers = bearer(access_token(app, authx))
    outcomes = {name: outcome(ask(app, path=f"/{name}", headers=headers)) for name in guards}
    assert outcomes == {
        "fresh": NOT_FRESH,
        "scope": Outcome(403, "InsufficientScopeError"),
        "query": MISSING,
        "refresh": Outcome(401, "RefreshTokenRequiredError"),
    }


def test_the_hook_still_guards() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    app.add_url_rule("/open", "open", who)
    before_any_hook(app, authx, [])
    assert outcome(ask(app, path="/open")) == MISSING
    assert outcome(ask(app, path="/open", headers=bearer("x.y.z"))) == INVALID


# What is None, and that nothing else happens


def in_cookie(app: Flask, authx: AuthX) -> dict[str, Any]:
    return {"method": "POST", "headers": cookie((ACCESS_COOKIE, access_token(app, authx)))}


def in_header(text: str) -> Callable[[Flask, AuthX], dict[str, Any]]:
    return lambda app, authx: {"headers": {"Authorization": text}}


def forged(app: Flask, authx: AuthX) -> dict[str, Any]:
    header, claims, _ = parts(access_token(app, authx))
    return {"headers": bearer(forge(header, claims, OTHER_SECRET))}


def expired(app: Flask, authx: AuthX) -> dict[str, Any]:
    token = access_token(app, authx)
    return {"headers": bearer(reforge(token, iat=NOW - 900, nbf=NOW - 900, exp=NOW - 300))}


def revoked(app: Flask, authx: AuthX) -> dict[str, Any]:
    token = access_token(app, authx)
    with app.app_context():
        authx.revoke_token(token)
    return {"headers": bearer(token)}


def of_other_type(app: Flask, authx: AuthX) -> dict[str, Any]:
    return {"headers": bearer(refresh_token(app, authx))}


def twice(app: Flask, authx: AuthX) -> dict[str, Any]:
    token = access_token(app, authx)
    return {"headers": bearer(token), "query_string": {"token": token}}


CLIENT_ERRORS: list[tuple[Callable[[Flask, AuthX], dict[str, Any]], Outcome]] = [
    (lambda app, authx: {}, MISSING),
    (in_header("Bearer"), MALFORMED),
    (in_header("Bearer a, Bearer b"), MALFORMED),
    (twice, MALFORMED),
    (in_header("Bearer x.y.z"), INVALID),
    (forged, INVALID),
    (expired, Outcome(401, "TokenExpiredError")),
    (revoked, REVOKED),
    (of_other_type, Outcome(401, "AccessTokenRequiredError")),
    (in_cookie, NO_CSRF),
]


@pytest.mark.parametrize(("sending", "refused"), CLIENT_ERRORS)
def test_an_error_of_the_client_is_none_and_leaves_nothing_behind(
    sending: Callable[[Flask, AuthX], dict[str, Any]],
    refused: Outcome,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "flask_authx")
    app, authx = store_app(SpyStore(), TOKEN_LOCATION="headers,cookies,query", clock=Clock())

    @app.route("/who", methods=["GET", "POST"])
    @authx.public
    def asks() -> Any:
        answers = [subject_of(authx), subject_of(authx, on_error="ignore")]
        return jsonify([*answers, bool(current_token), bool(current_user)])

    sent = sending(app, authx)
    # What it would be for a guard.
    assert outcome(ask(app, **sent)) == refused
    caplog.clear()
    with all_heard() as signals:
        response = ask(app, path="/who", **sent)
    assert response.json == [None, None, False, False]
    assert counts(signals) == {}
    assert "refused" not in caplog.text
    assert not response.headers.getlist("Set-Cookie")
    assert "WWW-Authenticate" not in response.headers
    assert {name.lower() for name in response.vary} == {"authorization", "cookie"}


def test_a_scope_and_another_users_claims_are_none() -> None:
    app, authx = make_app()
    token = access_token(app, authx, scopes=["notes:read"])
    with app.test_request_context(headers=bearer(token)):
        assert authx.identify(optional=True, scopes=["notes:write"]) is None
        assert not current_token
        assert subject_of(authx, scopes=["notes:read"]) == "ann"
        # Another question changes nothing, whatever its answer.
        assert authx.identify(optional=True, scopes=["notes:write"]) is None
        assert authx.identify(optional=True, fresh=True) is None
        assert current_token.sub == "ann"


def test_a_refresh_token_that_was_replaced_revokes_nothing_when_it_is_asked_about() -> None:
    made = site(REFRESH_GRACE=0)
    first = made.log_in()
    second = made.renew(first.refresh_token)

    @made.app.post("/who")
    @made.authx.public
    def asks() -> list[str | None]:
        return [subject_of(made.authx, type="refresh"), subject_of(made.authx, type="refresh")]

    with all_heard() as signals:
        assert made.ask(first.refresh_token, path="/who").json == [None, None]
        assert counts(signals) == {}
        assert made.accepts(second)
        assert made.ask(second.refresh_token, path="/who").json == ["ann", "ann"]
        # A refresh with it is what it was: a theft.
        assert outcome(made.ask(first.refresh_token)) == REVOKED
    assert counts(signals)["reused"] == 1
    assert not made.accepts(second)


def test_the_answer_is_remembered_for_the_request() -> None:
    made = site()
    pair = made.log_in()

    @made.app.post("/who")
    @made.authx.public
    def asks() -> list[str | None]:
        return [subject_of(made.authx, type="refresh") for _ in range(3)]

    made.reset()
    assert made.ask(pair.refresh_token, path="/who").json == ["ann"] * 3
    assert made.logins.calls == ["get"]
    assert made.revocations.calls == ["find"]


def test_a_remembered_answer_is_the_identity_again() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,query")
    guest = authx.optional_token(locations="query")(who)

    @app.get("/who")
    def asks() -> list[str | None]:
        return [subject_of(authx), guest(), subject_of(authx), who()]

    headers = bearer(access_token(app, authx))
    assert ask(app, path="/who", headers=headers).json == ["ann", "nobody", "ann", "ann"]


def test_a_body_that_holds_no_token_is_read_once_and_stays_the_views() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,json")

    @app.post("/notes")
    def notes() -> Any:
        return [subject_of(authx), request.get_json()]

    assert ask(app, "POST", "/notes", json={"text": "x"}).json == [None, {"text": "x"}]
    response: Any = ask(app, "POST", "/notes", json={"access_token": access_token(app, authx)})
    assert response.json[0] == "ann"


def test_a_body_that_is_too_long_for_the_app_is_none() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,json")
    app.config["MAX_CONTENT_LENGTH"] = 100
    app.add_url_rule("/who", "who", lambda: str(subject_of(authx)), methods=["POST"])
    sent: dict[str, Any] = {"json": {"text": "x" * 200}}
    assert outcome(ask(app, "POST", **sent))[0] == 413
    assert ask(app, "POST", "/who", **sent).text == "None"


# A store that fails


def test_a_failing_store_is_a_503_unless_it_is_ignored() -> None:
    store = SpyStore()
    app, authx = store_app(store)
    headers = bearer(access_token(app, authx))
    store.error = ConnectionError("down")

    @app.get("/<on_error>")
    def asks(on_error: Any) -> str:
        return subject_of(authx, on_error=on_error) or "nobody"

    @app.before_request
    def first() -> None:
        subject_of(authx, on_error="ignore")

    with all_heard() as signals:
        assert ask(app, path="/ignore", headers=headers).text == "nobody"
        assert counts(signals) == {}
        store.calls.clear()
        refused = ask(app, path="/raise", headers=headers)
        assert outcome(refused) == FAULT
        assert refused.headers["Retry-After"] == "1"
        # The hook, and then the guard.
        assert outcome(ask(app, headers=headers)) == FAULT
    assert counts(signals) == {"refused": 2}
    store.error = None


def test_a_failure_costs_one_lookup_a_request() -> None:
    app, authx = make_app()
    spy = authx.token_blocklist(Spy(OSError()))
    headers = bearer(access_token(app, authx))
    app.before_request(lambda: subject_of(authx, on_error="ignore") and None)
    assert outcome(ask(app, headers=headers)) == FAULT
    assert len(spy.asked) == 1


def test_no_guard_is_open_while_a_store_fails() -> None:
    app, authx = make_app()
    loose: Any = authx.identify
    with app.test_request_context():
        with pytest.raises(BadConfigurationError, match=r"on_error='ignore' needs optional=True"):
            loose(on_error="ignore")
        with pytest.raises(ValueError, match="on_error must be 'raise' or 'ignore'"):
            loose(optional=True, on_error="accept")
        with pytest.raises(TypeError, match="no option 'on_invalid'"):
            loose(optional=True, on_invalid="ignore")
        with pytest.raises(BadConfigurationError, match="max_age= needs fresh=True"):
            loose(optional=True, max_age=5)


# As a guard inside a view


def test_without_optional_it_is_a_guard_inside_a_view() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,cookies")

    @app.post("/notes")
    def notes() -> dict[str, str]:
        token = authx.identify(scopes=["notes:write"])
        assert token.jti == current_token.jti
        return {"by": token.sub}

    token = access_token(app, authx, scopes=["notes:*"])
    assert ask(app, "POST", "/notes", headers=bearer(token)).json == {"by": "ann"}
    with all_heard() as signals:
        missing = ask(app, "POST", "/notes")
        assert outcome(missing) == MISSING
        assert missing.headers["WWW-Authenticate"] == 'Bearer realm="api"'
        assert outcome(ask(app, "POST", "/notes", headers=bearer("x.y.z"))) == INVALID
        plain = bearer(access_token(app, authx))
        refused = Outcome(403, "InsufficientScopeError")
        assert outcome(ask(app, "POST", "/notes", headers=plain)) == refused
        headers = cookie((ACCESS_COOKIE, token))
        assert outcome(ask(app, "POST", "/notes", headers=headers)) == NO_CSRF
    assert counts(signals) == {"refused": 4}


def test_a_page_for_those_whom_it_refuses_is_kept_from_caches() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,query")

    @app.get("/page")
    def page() -> str:
        try:
            return authx.identify().sub
        except MissingTokenError:
            return "a page for everybody"

    response = ask(app, path="/page")
    assert response.text == "a page for everybody"
    assert {name.lower() for name in response.vary} == {"authorization"}
    token = access_token(app, authx)
    response = ask(app, path="/page", query_string={"token": token})
    assert (response.text, response.headers["Cache-Control"]) == ("ann", "private, no-store")


@pytest.mark.parametrize("optional", [True, False])
def test_outside_of_a_request_it_says_what_to_call(optional: bool) -> None:
    app, authx = make_app()
    with pytest.raises(RuntimeError, match=r"identify\(\) needs a request: .* authx\.verify_token"):
        authx.identify(optional=optional)
    with app.app_context(), pytest.raises(RuntimeError, match=r"identify\(\) needs a request"):
        authx.identify(optional=optional)
    other = AuthX(name="other")
    with app.test_request_context(), pytest.raises(RuntimeError, match="init_app"):
        other.identify(optional=optional)


# Async, and several objects


@pytest.mark.parametrize("revoked", [False, True])
def test_an_async_callback_is_asked_once(revoked: bool) -> None:
    app, authx = make_app()
    spy = authx.token_blocklist(AsyncSpy(revoked))

    @authx.token_required
    async def view() -> str:
        return subject_of(authx) or "nobody"

    app.add_url_rule("/async", "async", view)
    before_any_hook(app, authx, seen := list[Any]())
    for path in ("/async", "/guarded"):
        spy.asked.clear()
        expected = REVOKED if revoked else OK
        assert outcome(ask(app, path=path, headers=bearer(access_token(app, authx)))) == expected
        assert len(spy.asked) == 1
    assert seen == [None if revoked else "ann"] * 2


def test_each_object_has_answers_of_its_own() -> None:
    app, authx = make_app()
    app.config["ADMIN_JWT_SECRET_KEY"] = SECRET[::-1]
    admin = AuthX(app, name="admin", clock=Clock())

    @app.get("/who")
    def asks() -> list[str | None]:
        return [subject_of(authx), subject_of(admin), who()]

    token = access_token(app, authx)
    assert ask(app, path="/who", headers=bearer(token)).json == ["ann", None, "ann"]
    token = access_token(app, admin, "root")
    assert ask(app, path="/who", headers=bearer(token)).json == [None, "root", "root"]


def test_the_answer_is_not_that_of_an_earlier_request() -> None:
    app, authx = make_app()
    token = access_token(app, authx)
    with app.app_context():
        with app.test_request_context(headers=bearer(token)):
            assert subject_of(authx) == "ann"
        with app.test_request_context():
            assert subject_of(authx) is None
            assert not current_token


def test_a_503_is_the_one_of_a_guard() -> None:
    app, authx = make_app(ERROR_MESSAGE_KEY="message")
    authx.token_blocklist(Spy(None))
    with app.test_request_context(headers=bearer(access_token(app, authx))):
        with pytest.raises(StoreUnavailableError) as caught:
            authx.identify(optional=True)
        assert "message" in caught.value.data
