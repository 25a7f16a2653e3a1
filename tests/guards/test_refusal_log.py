"""The line at DEBUG that says why a request was refused."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from flask import Flask

from flask_authx import AuthX, MemorySessions, Session, StoreBusyError, StoreUnavailableError
from tests.support import (
    OTHER_SECRET,
    SECRET,
    Clock,
    access_token,
    bearer,
    forge,
    parts,
    refresh_token,
)
from tests.support.answers import Spy, ask
from tests.support.spy_store import SpyStore, store_app

NO_IDS = dict.fromkeys(("jti", "sid", "sub", "type"))
FIELDS = ("instance", "error_type", "reason", *NO_IDS)

#: What is sent to the app, given the token of a user: a token, or nothing.
Attempt = Callable[[Flask, AuthX, SpyStore, str], str | None]


def busy(app: Flask, authx: AuthX, store: SpyStore, token: str) -> str:
    store.error = StoreBusyError("all connections stayed in use")
    return token


def down(app: Flask, authx: AuthX, store: SpyStore, token: str) -> str:
    store.error = ConnectionError("down")
    return token


def revoked(app: Flask, authx: AuthX, store: SpyStore, token: str) -> str:
    with app.app_context():
        authx.revoke_token(token)
    return token


def revoked_by_callback(app: Flask, authx: AuthX, store: SpyStore, token: str) -> str:
    authx.token_blocklist(Spy(True))
    return token


def forged(app: Flask, authx: AuthX, store: SpyStore, token: str) -> str:
    header, claims, _ = parts(token)
    return forge(header, claims, OTHER_SECRET)


def nothing(app: Flask, authx: AuthX, store: SpyStore, token: str) -> None:
    return None


def other_type(app: Flask, authx: AuthX, store: SpyStore, token: str) -> str:
    return refresh_token(app, authx)


#: The reason, and whether the token was verified.
REFUSALS: list[tuple[Attempt, str, str, bool]] = [
    (busy, "StoreUnavailableError", "the store is busy", True),
    (down, "StoreUnavailableError", "the store has failed", True),
    (revoked, "RevokedTokenError", "the store has a revocation of the token", True),
    (revoked_by_callback, "RevokedTokenError", "the revocation callback returned True", True),
    (forged, "JWTDecodeError", "the signature is invalid", False),
    (nothing, "MissingTokenError", "the request has no token in headers", False),
    (other_type, "AccessTokenRequiredError", "the type of the token is refresh", True),
]


@pytest.mark.parametrize(("attempt", "error_type", "reason", "verified"), REFUSALS)
def test_a_refused_request_is_one_line_with_its_reason(
    caplog: pytest.LogCaptureFixture,
    attempt: Attempt,
    error_type: str,
    reason: str,
    verified: bool,
) -> None:
    store = SpyStore()
    app, authx = store_app(store, name="admin")
    token = attempt(app, authx, store, access_token(app, authx))
    caplog.set_level(logging.DEBUG, "flask_authx")
    caplog.clear()
    ask(app, headers=None if token is None else bearer(token))
    [line] = [one for one in caplog.records if one.levelno == logging.DEBUG]
    assert line.getMessage().startswith(f"refused with {error_type}: {reason}")
    claims = parts(token)[1] if verified and token else NO_IDS
    ids = {key: claims[key] for key in NO_IDS}
    fields = {key: vars(line)[key] for key in FIELDS}
    said = line.getMessage().partition(": ")[2]
    assert fields == {"instance": "admin", "error_type": error_type, "reason": said, **ids}
    for segment in (token or "").split("."):
        assert not segment or segment not in repr(vars(line))


def test_above_debug_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    app, _ = store_app(SpyStore())
    caplog.set_level(logging.INFO, "flask_authx")
    ask(app)
    assert not caplog.records


def test_an_accepted_request_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    app, authx = store_app(SpyStore(), Clock())
    caplog.set_level(logging.DEBUG, "flask_authx")
    ask(app, headers=bearer(access_token(app, authx)))
    assert not caplog.records


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StoreBusyError("in use"), "the store is busy"), (OSError("down"), "the store has failed")],
)
def test_a_session_store_that_is_busy_has_not_failed(
    caplog: pytest.LogCaptureFixture, error: Exception, reason: str
) -> None:
    class Sessions(MemorySessions):
        def get(self, key: bytes, /) -> Session | None:
            raise error

    app, clock = Flask("tests"), Clock()
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(app, blocklist=SpyStore(), sessions=Sessions(clock), clock=clock)
    app.add_url_rule("/refresh", "refresh", authx.refresh_token_required(lambda: ""))
    with app.app_context():
        token = authx.login("ann").refresh_token
    caplog.set_level(logging.DEBUG, "flask_authx")
    ask(app, path="/refresh", headers=bearer(token))
    assert vars(caplog.records[-1])["reason"] == reason


def busy_sessions(clock: Clock) -> tuple[Flask, AuthX, SpyStore]:
    """An app with stored sessions, and the store of its revocations."""
    app, store = Flask("tests"), SpyStore(clock=clock)
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(app, blocklist=store, sessions=MemorySessions(clock), clock=clock)
    store.trust_older(app, "authx")
    return app, authx, store


#: What an app does without a guard, for a user and with a refresh token.
VERBS: dict[str, Callable[[AuthX, str], object]] = {
    "login": lambda authx, _: authx.login("ann"),
    "refresh": lambda authx, token: authx.refresh(token),
    "create_access_token": lambda authx, _: authx.create_access_token("ann"),
    "revoke_subject": lambda authx, _: authx.revoke_subject("ann"),
    "is_revoked": lambda authx, token: authx.is_revoked(token),
    "sessions": lambda authx, _: authx.sessions("ann"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("error", "reason"),
    [(StoreBusyError("in use"), "the store is busy"), (OSError("down"), "the store has failed")],
)
def test_each_verb_tells_a_busy_store_from_one_that_has_failed(
    caplog: pytest.LogCaptureFixture, verb: str, error: Exception, reason: str
) -> None:
    app, authx, store = busy_sessions(Clock())
    with app.app_context():
        token = authx.login("ann").refresh_token
        store.error = error
        caplog.set_level(logging.DEBUG, "flask_authx")
        caplog.clear()
        with pytest.raises(StoreUnavailableError) as raised:
            VERBS[verb](authx, token)
    assert raised.value.reason == reason
    [line] = [one for one in caplog.records if one.levelno == logging.DEBUG]
    assert line.getMessage() == f"refused with StoreUnavailableError: {reason}"


def test_a_refused_log_out_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    app, authx, _ = busy_sessions(Clock())

    @app.post("/out")
    def out() -> str:
        authx.logout()
        return ""

    caplog.set_level(logging.DEBUG, "flask_authx")
    header, claims, _ = parts(access_token(app, authx))
    ask(app, "POST", path="/out", headers=bearer(forge(header, claims, OTHER_SECRET)))
    [line] = [one for one in caplog.records if one.levelno == logging.DEBUG]
    assert vars(line)["reason"] == "the signature is invalid"
