"""Who is told of a revocation, when, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from blinker import Signal

from flask_authx import (
    BadConfigurationError,
    JWTDecodeError,
    StoreUnavailableError,
    all_revoked,
    current_token,
    revoked_token_used,
    session_revoked,
    subject_revoked,
    token_revoked,
)
from tests.support import access_token, bearer, reforge
from tests.support.answers import OK, REVOKED, ask, outcome
from tests.support.spy_store import SpyStore, login, new_token, spied, store_app

SIGNALS = {
    "token": token_revoked,
    "session": session_revoked,
    "subject": subject_revoked,
    "all": all_revoked,
}
Heard = list[tuple[str, dict[str, Any]]]


@contextmanager
def listening(sender: Any) -> Generator[Heard]:
    """What the four signals say meanwhile, of one app."""
    heard: Heard = []

    def receiver(name: str) -> Any:
        def hear(sender: object, **said: Any) -> None:
            heard.append((name, said))

        return hear

    receivers = [(signal, receiver(name)) for name, signal in SIGNALS.items()]
    for signal, receive in receivers:
        signal.connect(receive, sender)
    try:
        yield heard
    finally:
        for signal, receive in receivers:
            signal.disconnect(receive, sender)


def test_each_revocation_is_announced_with_its_ids_and_why() -> None:
    app, authx, _ = spied()
    token, said = new_token(app, authx)
    with listening(app) as heard, app.app_context():
        authx.revoke_token(token, reason="lost")
        authx.revoke_session(said.sid, reason="left")
        authx.revoke_subject("ann", keep="other", reason="new password")
        authx.revoke_subject("bob")
        authx.revoke_all(reason="a leak")
    common: dict[str, Any] = {"name": "authx", "actor": None}
    assert heard == [
        (
            "token",
            {"jti": said.jti, "sid": said.sid, "sub": "ann", "reason": "lost", **common},
        ),
        ("session", {"sid": said.sid, "reason": "left", **common}),
        ("subject", {"sub": "ann", "keep": "other", "reason": "new password", **common}),
        ("subject", {"sub": "bob", "keep": None, "reason": None, **common}),
        ("all", {"reason": "a leak", **common}),
    ]


def test_who_is_signed_in_is_the_actor() -> None:
    app, authx, _ = spied()

    @app.post("/end")
    @authx.optional_token
    def end() -> str:
        authx.revoke_token(victim)
        authx.revoke_session("s")
        authx.revoke_subject("bob")
        authx.revoke_all()
        return ""

    victim = access_token(app, authx, "bob")
    with listening(app) as heard:
        ask(app, "POST", "/end", headers=bearer(access_token(app, authx, "admin")))
        ask(app, "POST", "/end")
    assert [said["actor"] for _, said in heard] == ["user:admin"] * 4 + [None] * 4


def test_a_token_that_was_not_accepted_is_no_actor() -> None:
    app, authx, _ = spied()

    @app.post("/end")
    @authx.optional_token(on_invalid="ignore")
    def end() -> str:
        authx.revoke_session("s")
        return ""

    forged = access_token(app, authx, "admin")[:-3] + "AAA"
    with listening(app) as heard:
        assert outcome(ask(app, "POST", "/end", headers=bearer(forged))) == OK
    assert [said["actor"] for _, said in heard] == [None]


@pytest.mark.parametrize("kind", SIGNALS)
def test_it_is_in_force_when_it_is_announced(kind: str) -> None:
    app, authx, _ = spied()
    token, _, sid = login(app, authx)
    revoked: list[bool] = []

    def receiver(sender: object, **said: Any) -> None:
        revoked.append(authx.is_revoked(token))

    signal: Signal = SIGNALS[kind]
    signal.connect(receiver, app)
    with app.app_context():
        if kind == "token":
            authx.revoke_token(token)
        elif kind == "session":
            authx.revoke_session(sid)
        elif kind == "subject":
            authx.revoke_subject("ann")
        else:
            authx.revoke_all()
    assert revoked == [True]


def test_a_receiver_that_fails_takes_nothing_back() -> None:
    app, authx, _ = spied()
    token, said = new_token(app, authx)

    def receiver(sender: object, **said: Any) -> None:
        raise BadConfigurationError("mail is down")

    session_revoked.connect(receiver, app)
    with app.app_context():
        authx.revoke_session(said.sid)
        assert authx.is_revoked(token)


def test_what_was_not_done_is_not_announced() -> None:
    app, authx, store = spied()
    token, said = new_token(app, authx)
    old = reforge(token, iat=1, nbf=1, auth_time=1, exp=2)
    with listening(app) as heard, app.app_context():
        authx.revoke_token(old)
        for invalid in ("a.b.c", token[:-3] + "AAA"):
            with pytest.raises(JWTDecodeError):
                authx.revoke_token(invalid)
        with pytest.raises(ValueError, match="reason"):
            authx.revoke_token(token, reason="r" * 1001)
        store.error = ConnectionError("down")
        attempts: list[Callable[[], None]] = [
            lambda: authx.revoke_token(token),
            lambda: authx.revoke_session(said.sid),
            lambda: authx.revoke_subject("ann"),
            authx.revoke_all,
        ]
        for revoke in attempts:
            with pytest.raises(StoreUnavailableError):
                revoke()
    assert heard == []


def test_nothing_but_ids_is_said() -> None:
    """Rule 5"""
    app, authx, _ = spied()
    token, _ = new_token(app, authx)
    with listening(app) as heard, app.app_context():
        authx.revoke_token(token)
    for part in token.split("."):
        assert part not in repr(heard)


def test_each_object_is_told_apart_by_its_name() -> None:
    app, authx = store_app(SpyStore(), name="admin")
    with listening(app) as heard, app.app_context():
        authx.revoke_session("s")
    assert [said["name"] for _, said in heard] == ["admin"]


def test_the_use_of_a_revoked_token_is_another_signal() -> None:
    app, authx, _ = spied()

    @app.post("/end")
    @authx.token_required
    def end() -> str:
        authx.revoke_session(current_token.sid)
        return ""

    token, said = new_token(app, authx)
    used: list[dict[str, Any]] = []

    def receiver(sender: object, **said: Any) -> None:
        used.append(said)

    revoked_token_used.connect(receiver, app)
    with listening(app) as heard:
        ask(app, "POST", "/end", headers=bearer(token))
        assert (len(heard), used) == (1, [])
        assert outcome(ask(app, headers=bearer(token))) == REVOKED
        assert len(heard) == 1
    assert [one["jti"] for one in used] == [said.jti]
