"""Every message that docs/troubleshooting.md quotes is one that the package writes."""

from __future__ import annotations

import functools
import io
import json
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, jsonify
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, ErrorType, current_token, current_user
from flask_authx.stores.circuit_breaker import CircuitBreaker
from tests.docs.support import DOCS, blocks, page
from tests.support import OTHER_SECRET, SECRET, access_token, bearer, make_app, reforge
from tests.support.answers import (
    ACCESS_COOKIE,
    INVALID,
    MISSING,
    OK,
    Outcome,
    Spy,
    ask,
    outcome,
)
from tests.support.cli import run
from tests.support.spy_store import bring_down

TEXT = (DOCS / "troubleshooting.md").read_text("utf-8")


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def quoted() -> set[str]:
    """The messages on the page: blocks of text and JSON, and reasons in the log."""
    found = [one for language in ("text", "json") for one in blocks(TEXT, language)]
    found += re.findall(r"`([^`]+)` in the log", TEXT)
    for table in re.findall(r"^\| Reason in the log \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.M):
        found += re.findall(r"^\| `([^`]+)`", table, re.M)
    return {on_one_line(one) for one in found}


def page_app(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> SimpleNamespace:
    """The app of the page with further settings, the blueprint's views and ``POST /post``."""
    with monkeypatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(f"FLASK_JWT_{name}", json.dumps(value))
        with page("troubleshooting") as names:
            guarded = names.authx.token_required(lambda: {"user": current_token.sub})
            names.app.add_url_rule("/post", "post", guarded, methods=["POST"])
            if "SESSIONS" in settings:
                names.app.register_blueprint(names.authx.blueprint(authenticate=lambda: "ann"))
            return names


def number(names: SimpleNamespace, uid: int) -> str:
    """An access token of a user whose id is a number."""
    with names.app.app_context():
        token: str = names.authx.create_access_token(uid)
    return token


SESSIONS: dict[str, Any] = {"SESSIONS": True, "BLOCKLIST": "memory://"}
COOKIES: dict[str, Any] = {"TOKEN_LOCATION": "cookies"}


def from_another_key(_: str) -> str:
    return access_token(*make_app(SECRET_KEY=OTHER_SECRET))


def soon() -> int:
    return int(time.time()) + 200


#: What is made of a valid token, by the reason for which it is refused then.
ALTERED: dict[str, Callable[[str], str]] = {
    "no key has this kid and algorithm": from_another_key,
    "the signature is invalid": lambda token: token[:-20] + "A" * 20,
    "it is too long, or does not have the form of a token": lambda token: token[:40],
    "the typ in the header is missing or unknown": lambda token: reforge(
        token, header={"typ": "JWT"}
    ),
    "the token is not valid yet": lambda token: reforge(token, nbf=soon()),
    "the times of the claims contradict each other or the maximum lifetime": lambda token: reforge(
        token, exp=soon() + 90 * 86400
    ),
    "the subject is not well-formed": lambda token: reforge(token, sub=5),
    "it has expired: exp and the leeway have passed": lambda token: reforge(
        token, iat=5, nbf=5, auth_time=5, exp=9
    ),
}


OTHER_ISSUER = "the issuer (iss) is not the one that is expected"
OTHER_AUDIENCE = "the audience (aud) is not that of this app"
NO_USER = "the user callback returned None"


@pytest.mark.parametrize("reason", ALTERED)
def test_reasons_of_invalid_tokens(
    reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = page_app(monkeypatch)
    token = ALTERED[reason](access_token(names.app, names.authx))
    response = ask(names.app, path="/profile", headers=bearer(token))
    assert outcome(response) in {INVALID, (401, "TokenExpiredError")}
    (message,) = caplog.messages
    assert f": {reason} (user " in message
    assert f"`{reason}`" in TEXT
    if reason == "no key has this kid and algorithm":
        assert message in {on_one_line(one) for one in blocks(TEXT, "text")}


#: A request, by the reason for which it is malformed: where tokens are looked for, and how it is
#: sent.
MALFORMED: dict[str, tuple[str, dict[str, Any]]] = {
    "the header does not hold one token": ("headers", {"headers": {"Authorization": "Bearer"}}),
    "there are two tokens": (
        "headers,query",
        {"headers": bearer("a.b.c"), "query_string": {"token": "a.b.c"}},
    ),
    "the cookie was sent twice with different values": (
        "cookies",
        {"headers": {"Cookie": f"{ACCESS_COOKIE}=a; {ACCESS_COOKIE}=b"}},
    ),
    "the query does not hold one token": ("query", {"query_string": "token=a&token=b"}),
    "the JSON body names the token twice": (
        "json",
        {"data": '{"access_token": "a", "access_token": "b"}', "content_type": "application/json"},
    ),
    "the JSON body can't be read": ("json", {"data": "{", "content_type": "application/json"}),
    "the body can't be read": (
        "json",
        {
            "environ_overrides": {"wsgi.input": io.BytesIO(b"{"), "CONTENT_LENGTH": "100"},
            "content_type": "application/json",
        },
    ),
}


@pytest.mark.parametrize("reason", MALFORMED)
def test_reasons_of_malformed_requests(
    reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    locations, request = MALFORMED[reason]
    names = page_app(monkeypatch, TOKEN_LOCATION=locations)
    assert outcome(ask(names.app, "POST", "/post", **request)) == Outcome(
        400, "MalformedRequestError"
    )
    assert caplog.messages == [f"{caplog.messages[0].partition(':')[0]}: {reason} (user None)"]


def test_reasons_of_refresh_tokens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = page_app(monkeypatch, **SESSIONS, REFRESH_GRACE=0)
    other = page_app(monkeypatch, **SESSIONS)

    def refresh(on: SimpleNamespace, token: str) -> int:
        return ask(on.app, "POST", "/auth/refresh", headers=bearer(token)).status_code

    with names.app.app_context():
        token = names.authx.login("ann").refresh_token
    # Another worker, with another store in memory.
    assert refresh(other, token) == 401
    assert refresh(names, token) == 200
    assert refresh(names, token) == 401
    assert caplog.messages == [
        "RevokedTokenError: its session has been revoked (user ann)",
        "ReusedTokenError: a refresh token was used again (user ann)",
    ]


def test_a_refresh_cookie_without_its_companion(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = page_app(monkeypatch, **SESSIONS, **COOKIES)
    with names.app.app_context():
        ann = names.authx.login("ann")
        csrf = names.authx.decode_token(ann.refresh_token).csrf
    cookies = f"__Secure-refresh_token={ann.refresh_token}; {ACCESS_COOKIE}={ann.access_token}"
    headers = {"Cookie": cookies, "X-CSRF-TOKEN": csrf}
    assert outcome(ask(names.app, "POST", "/auth/refresh", headers=headers)) == INVALID
    assert "the refresh cookie was sent without its companion" in caplog.text


def test_reasons_with_a_class_of_their_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = page_app(monkeypatch, DECODE_ISSUER="one", DECODE_AUDIENCE="two")
    token = access_token(names.app, names.authx)
    for issuer, audience in (("other", "two"), ("one", "other")):
        altered = reforge(token, iss=issuer, aud=audience)
        assert outcome(ask(names.app, path="/profile", headers=bearer(altered))) == INVALID
    assert caplog.messages == [
        f"TokenInvalidIssuerError: {OTHER_ISSUER} (user None)",
        f"TokenInvalidAudienceError: {OTHER_AUDIENCE} (user None)",
    ]
    plain = page_app(monkeypatch)
    token = access_token(plain.app, plain.authx, audience="x")
    assert outcome(ask(plain.app, path="/profile", headers=bearer(token))) == INVALID


def test_a_user_who_is_not_found(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = page_app(monkeypatch)
    users = {1: "ann"}
    names.authx.set_callback_get_model_instance(users.get)
    names.app.add_url_rule("/me", "me", names.authx.token_required(lambda: str(current_user)))
    loaded = names.authx.token_required(user=True)
    names.app.add_url_rule("/loaded", "loaded", loaded(lambda: str(current_user)))
    token = bearer(number(names, 1))
    assert outcome(ask(names.app, path="/me", headers=token)) == INVALID
    assert caplog.messages == []
    assert outcome(ask(names.app, path="/loaded", headers=token)) == INVALID
    assert caplog.messages == [f"SubjectNotFoundError: {NO_USER} (user 1)"]


# Blocks of text


def raised(work: Callable[[], object], kind: type[Exception] = Exception) -> str:
    """The text of the error that this raises."""
    with pytest.raises(kind) as caught:
        work()
    return str(caught.value)


def set_up(**settings: Any) -> str:
    """Why an app is not set up."""
    app = Flask("tests")
    app.config.from_mapping(settings)
    return raised(lambda: AuthX(app))


def test_the_app_refuses_to_start(caplog: pytest.LogCaptureFixture) -> None:
    late, _ = make_app()
    late.config.from_mapping(JWT_TOKEN_LOCATION="cookies", PROPAGATE_EXCEPTIONS=False)
    assert ask(late).status_code == 500
    first = on_one_line(caplog.text)

    misplaced, authx = make_app()

    def profile() -> str:
        return ""

    authx.token_required(misplaced.route("/profile")(profile))
    known = {"JWT_SECRET_KEY": SECRET}
    produced = [
        set_up(),
        set_up(JWT_SECRET_KEY="short-secret"),
        set_up(**known, JWT_ACCES_TOKEN_EXPIRES=60),
        set_up(**known, JWT_BLOCKLIST="sqlalchemy://"),
        set_up(**known, JWT_SESSIONS=True),
        first,
        run(misplaced, "doctor").stdout,
        on_one_line(run(misplaced, "routes").stderr).replace("test_the_app_refuses_to_start.", ""),
    ]
    start = TEXT.index("## The app refuses to start")
    shown = blocks(TEXT[start : TEXT.index("## RuntimeError in a view")], "text")
    assert len(shown) == 7
    everything = on_one_line(" ".join(produced)).replace("<locals>.", "")
    assert [one for one in map(on_one_line, shown) if one not in everything] == []
    assert "protects nothing" in on_one_line(run(misplaced, "doctor").stdout)


def test_runtime_errors_in_a_view() -> None:
    app, authx = make_app()
    app.testing = True
    views: dict[str, Callable[[], str]] = {
        "/token": lambda: current_token.sub,
        "/user": authx.token_required(lambda: str(current_user)),
        "/login": lambda: authx.login("ann").access_token,
        "/revoke": lambda: str(authx.revoke_subject("ann")),
    }
    for path, view in views.items():
        app.add_url_rule(path, path, view)
    token = bearer(access_token(app, authx))
    produced = [
        raised(functools.partial(ask, app, path=path, headers=token), RuntimeError)
        for path in views
    ]
    start = TEXT.index("## RuntimeError in a view")
    shown = blocks(TEXT[start : TEXT.index("## Cookies do not arrive")], "text")
    assert [*map(on_one_line, shown)] == produced


def in_blocks(text: str) -> bool:
    """Whether the page shows this text, or its beginning, in a block."""
    return any(on_one_line(text).startswith(on_one_line(one)) for one in blocks(TEXT, "text"))


@pytest.mark.filterwarnings("ignore:JWT_BLOCKLIST keeps:RuntimeWarning")
def test_a_store_for_each_worker(caplog: pytest.LogCaptureFixture) -> None:
    app, _ = make_app(BLOCKLIST="memory://")
    ask(app, environ_overrides={"wsgi.multiprocess": True})
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert in_blocks(caplog.messages[0])


def test_a_store_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    monkeypatch.setattr(CircuitBreaker, "PAUSE", 0)
    app = Flask("tests")
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET,
        JWT_BLOCKLIST="sqlalchemy://",
        JWT_STORE_TIMEOUT=10,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/app.db",
    )
    db = SQLAlchemy(app)
    authx = AuthX(app)
    app.add_url_rule("/guarded", "guarded", authx.token_required(lambda: ""))
    with app.app_context():
        db.create_all()
        token = bearer(authx.create_access_token("ann"))
        caplog.clear()
        rename(db, "authx_blocklist", "away")
        for _ in range(CircuitBreaker.IN_A_ROW):
            response = ask(app, headers=token)
            assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        rename(db, "away", "authx_blocklist")
        assert outcome(ask(app, headers=token)) == OK
        db.engine.dispose()
    assert len({*caplog.messages}) == 3
    assert all(map(in_blocks, caplog.messages))


def rename(db: SQLAlchemy, old: str, new: str) -> None:
    with db.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def test_a_store_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    app, authx = make_app(BLOCKLIST="redis://127.0.0.1:1/0", BLOCKLIST_ON_ERROR="accept")
    token = access_token(*make_app())
    bring_down(app, authx, token)
    assert outcome(ask(app, headers=bearer(token))) == OK
    assert {record.levelname for record in caplog.records} == {"ERROR", "WARNING"}
    shown = [one for one in caplog.messages if in_blocks(one)]
    assert {one.split(":")[0] for one in shown} >= {
        "the store of revocations failed",
        "accepted a token although its revocation could not be checked",
    }
    assert "can't be reached" in on_one_line(run(app, "doctor").stdout)


def test_a_revocation_callback_that_returns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    app, authx = make_app()
    authx.token_blocklist(Spy(None))
    assert ask(app, headers=bearer(access_token(app, authx))).status_code == 503
    assert in_blocks(caplog.messages[0])


def test_cookies_that_browsers_drop(caplog: pytest.LogCaptureFixture) -> None:
    app, authx = make_app(TOKEN_LOCATION="cookies")

    def login() -> Any:
        response = jsonify(ok=True)
        authx.set_access_cookies(response, authx.create_access_token("ann"))
        return response

    app.add_url_rule("/login", "login", login, methods=["POST"])
    for url in ("http://localhost", "https://example.com", "http://example.com"):
        assert ask(app, "POST", "/login", base_url=url).status_code == 200
    (message,) = caplog.messages
    assert in_blocks(message)

    app, authx = make_app(TOKEN_LOCATION="cookies")
    with app.test_request_context(headers={"User-Agent": "python-requests/2.32.4"}):
        authx.set_access_cookies(jsonify(), authx.create_access_token("ann"))
    assert in_blocks(caplog.messages[-1])
    assert len(caplog.messages) == 2

    other, authx = make_app()
    with other.test_request_context():
        authx.set_access_cookies(jsonify(), authx.create_access_token("ann"))
    assert in_blocks(caplog.messages[2])


def test_csrf(monkeypatch: pytest.MonkeyPatch) -> None:
    names = page_app(monkeypatch, **COOKIES)
    cookie = {"Cookie": f"{ACCESS_COOKIE}={access_token(names.app, names.authx)}"}
    (shown,) = blocks(TEXT, "json")
    assert ask(names.app, "POST", "/post", headers=cookie).json == json.loads(shown)
    assert outcome(ask(names.app, path="/profile", headers=cookie)) == OK


def test_every_message_on_the_page_is_tested() -> None:
    """That of a block by one of the tests above, which read the blocks; a reason by its own."""
    shown = {on_one_line(one) for kind in ("text", "json") for one in blocks(TEXT, kind)}
    refresh = {"its session has been revoked", "a refresh token was used again"}
    tested = {
        *ALTERED,
        *MALFORMED,
        *refresh,
        "the refresh cookie was sent without its companion",
        OTHER_ISSUER,
        OTHER_AUDIENCE,
        NO_USER,
    }
    assert quoted() - shown - tested == set()
    assert len(blocks(TEXT, "text")) == 23
    named = re.findall(r"^\| `(\w+Error)`", TEXT, re.M)
    assert {*named} - {one.value for one in ErrorType} == set()


# What it says beside messages


def test_a_header_that_arrives_and_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    app = page_app(monkeypatch).app
    assert outcome(ask(app, path="/profile", headers=bearer("x.x.x"))) == INVALID
    assert outcome(ask(app, path="/profile")) == MISSING
    for scheme in ("Token", "JWT", "Basic"):
        headers = {"Authorization": f"{scheme} x.x.x"}
        assert outcome(ask(app, path="/profile", headers=headers)) == MISSING


def test_preflight_requests() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    headers = {"Access-Control-Request-Method": "POST", "Origin": "https://front.example"}
    app.add_url_rule("/own", "own", authx.token_required(lambda: ""), methods=["GET", "OPTIONS"])
    assert ask(app, "OPTIONS", headers=headers).status_code == 200
    assert outcome(ask(app, "OPTIONS", "/own", headers=headers)) == MISSING


def test_views_without_a_guard_are_listed() -> None:
    app, authx = make_app()
    app.add_url_rule("/open", "open", lambda: "")
    unchecked = authx.token_required(check_revocation=False)(lambda: "")
    app.add_url_rule("/unchecked", "unchecked", unchecked)
    listed = run(app, "routes", "--unguarded")
    assert (listed.code, "/open" in listed.stdout, "/guarded" in listed.stdout) == (1, True, False)
    assert "revocation not checked" in on_one_line(run(app, "routes").stdout)


def test_ids_that_are_numbers_become_text(monkeypatch: pytest.MonkeyPatch) -> None:
    names = page_app(monkeypatch)
    token = bearer(number(names, 7))
    assert ask(names.app, path="/profile", headers=token).json == {"user": "7"}
