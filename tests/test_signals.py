"""Signals: their receivers get ids, and never a token."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from blinker import NamedSignal, Signal
from flask import Flask, request
from werkzeug.exceptions import Forbidden

from flask_authx import (
    AuthX,
    AuthXException,
    Cutoff,
    Entry,
    InsufficientScopeError,
    JWTDecodeError,
    MemoryBlocklist,
    RevokedTokenError,
    StoreUnavailableError,
    revoked_token_used,
    session_revoked,
    subject_revoked,
    token_accepted,
    token_refused,
    token_revoked,
    token_unchecked,
)
from tests.support import OTHER_SECRET, SECRET, access_token, bearer, forge, make_app, parts
from tests.support.answers import FAULT, MISSING, OK, REVOKED, outcome
from tests.support.spy_store import bring_down

NO_IDS = {"jti": None, "sid": None, "sub": None, "type": None}
Heard = list[tuple[str, Any, dict[str, Any]]]
SIGNALS = {
    "accepted": token_accepted,
    "refused": token_refused,
    "used": revoked_token_used,
    "unchecked": token_unchecked,
    "token": token_revoked,
    "session": session_revoked,
    "subject": subject_revoked,
}


@contextmanager
def listening(app: Flask) -> Generator[Heard]:
    """What is sent meanwhile: the signal's name, the sender and the keywords."""
    heard: Heard = []

    def listener(name: str, signal: Signal) -> Any:
        def hear(sender: Any, **keywords: Any) -> None:
            heard.append((name, sender, keywords))

        return signal.connected_to(hear, app)

    with ExitStack() as stack:
        for name, signal in SIGNALS.items():
            stack.enter_context(listener(name, signal))
        yield heard


def name_of(signal: Signal) -> str:
    assert isinstance(signal, NamedSignal)
    return signal.name


def ids(token: str) -> dict[str, Any]:
    _, claims, _ = parts(token)
    return {name: claims[name] for name in ("jti", "sid", "sub", "type")}


def without_error(keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if name not in ("error", "name")}


def assert_no_token(heard: Heard, token: str) -> None:
    """Fail if a part of a token is in what was heard."""
    for _, _, keywords in heard:
        text = repr(keywords)
        if "error" in keywords:
            error: AuthXException = keywords["error"]
            text += repr(vars(error)) + repr(error.__context__) + repr(error.__cause__)
        found = [segment for segment in token.split(".") if segment in text]
        assert not found, f"parts of the token {token} were announced: {found}"


def test_an_accepted_token_is_announced_with_its_ids() -> None:
    """SECURITY A.16 309."""
    app, authx = make_app()
    token = access_token(app, authx)
    with listening(app) as heard:
        app.test_client().get("/guarded", headers=bearer(token))
    assert heard == [("accepted", app, {"name": "authx", **ids(token)})]
    # The app itself and not its proxy, which stands for another app elsewhere.
    assert heard[0][1] is app
    assert_no_token(heard, token)


def test_a_refusal_is_announced_with_its_error() -> None:
    app, _ = make_app()
    with listening(app) as heard:
        app.test_client().get("/guarded")
    [(name, sender, keywords)] = heard
    assert (name, sender) == ("refused", app)
    assert without_error(keywords) == NO_IDS
    assert keywords["error"].error_type == "MissingTokenError"


def test_an_invalid_token_gives_no_ids() -> None:
    """SECURITY A.16 296 and 309: what an attacker writes into a token gets nowhere."""
    app, authx = make_app()
    header, claims, _ = parts(access_token(app, authx, "root"))
    forged = forge(header, claims, OTHER_SECRET)
    with listening(app) as heard:
        app.test_client().get("/guarded", headers=bearer(forged))
    [(name, _, keywords)] = heard
    assert name == "refused"
    assert without_error(keywords) == NO_IDS
    assert isinstance(keywords["error"], JWTDecodeError)
    assert keywords["error"].reason == "the signature is invalid"
    assert_no_token(heard, forged)


def test_a_valid_token_that_is_refused_gives_its_ids() -> None:
    app, authx = make_app()

    @app.get("/scoped")
    @authx.scopes_required("admin")
    def scoped() -> str:
        return "in"

    token = access_token(app, authx)
    with listening(app) as heard:
        app.test_client().get("/scoped", headers=bearer(token))
    [(name, _, keywords)] = heard
    assert name == "refused"
    assert without_error(keywords) == ids(token)
    assert isinstance(keywords["error"], InsufficientScopeError)
    assert_no_token(heard, token)


def test_the_use_of_a_revoked_token_is_announced_besides() -> None:
    app, authx = make_app()

    @authx.token_blocklist
    def revoked(token: str) -> bool:
        return True

    token = access_token(app, authx)
    with listening(app) as heard:
        app.test_client().get("/guarded", headers=bearer(token))
    assert [name for name, _, _ in heard] == ["refused", "used"]
    assert isinstance(heard[0][2]["error"], RevokedTokenError)
    for _, sender, keywords in heard:
        assert sender is app
        assert without_error(keywords) == ids(token)
    assert_no_token(heard, token)


def test_a_fault_of_the_revocation_callback_is_announced_without_its_words() -> None:
    """SECURITY A.16 296: a driver's message may hold the token that it was asked about."""
    app, authx = make_app()

    @authx.token_blocklist
    def revoked(token: str) -> bool:
        raise OSError(f"can't find {token}")

    token = access_token(app, authx)
    with listening(app) as heard:
        response = app.test_client().get("/guarded", headers=bearer(token))
    assert outcome(response) == FAULT
    assert [name for name, _, _ in heard] == ["refused"]
    assert_no_token(heard, token)


def test_verify_token_announces_too_and_decode_token_does_not() -> None:
    app, authx = make_app()
    token = access_token(app, authx)
    with app.app_context(), listening(app) as heard:
        authx.decode_token(token)
        assert heard == []
        authx.verify_token(token)
    assert heard == [("accepted", app, {"name": "authx", **ids(token)})]


def test_each_revocation_is_announced_with_its_ids_and_reason() -> None:
    app, authx = make_app(BLOCKLIST="memory://")
    token = access_token(app, authx)
    its = ids(token)
    said = {"name": "authx", "actor": None, "reason": "why"}
    with app.app_context(), listening(app) as heard:
        authx.revoke_token(token, reason="why")
        authx.revoke_session(its["sid"], reason="why")
        authx.revoke_subject("ann", keep=its["sid"], reason="why")
    assert heard == [
        ("token", app, {**said, "jti": its["jti"], "sid": its["sid"], "sub": "ann"}),
        ("session", app, {**said, "sid": its["sid"]}),
        ("subject", app, {**said, "sub": "ann", "keep": its["sid"]}),
    ]
    assert_no_token(heard, token)


def test_a_revocation_names_the_subject_of_the_request_s_token_as_its_actor() -> None:
    app, authx = make_app(BLOCKLIST="memory://")

    @app.delete("/users/<name>")
    @authx.token_required
    def end(name: str) -> str:
        authx.revoke_subject(name)
        return "done"

    @app.delete("/login")
    def logout() -> str:
        authx.logout()
        return "done"

    client, headers = app.test_client(), bearer(access_token(app, authx, "root"))
    with listening(app) as heard:
        client.delete("/users/ann", headers=headers)
        # No guard has accepted this one. A log-out looks at it itself.
        client.delete("/login", headers=headers)
    announced = [(name, keywords["actor"]) for name, _, keywords in heard if name != "accepted"]
    assert announced == [("subject", "user:root"), ("session", "user:root")]


class FullBlocklist(MemoryBlocklist):
    """A store that fails to write, and optionally to read."""

    readable = True

    def add(self, entry: Entry, /) -> None:
        raise OSError("no space left")

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff | None]:
        if not self.readable:
            raise OSError("no answer")
        return super().find(keys)


def full(**config: Any) -> tuple[Flask, AuthX, FullBlocklist]:
    app, store = Flask("full"), FullBlocklist()
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, **config)
    return app, AuthX(app, blocklist=store), store


def test_a_revocation_that_was_not_written_is_not_announced() -> None:
    app, authx, _ = full()
    token = access_token(app, authx)
    with app.app_context(), listening(app) as heard, pytest.raises(StoreUnavailableError):
        authx.revoke_token(token)
    assert heard == []


def test_a_token_that_passes_unchecked_is_announced_besides() -> None:
    """USERS 42."""
    app, authx, store = full(JWT_BLOCKLIST_ON_ERROR="accept")
    token = access_token(app, authx)
    store.readable = False
    bring_down(app, authx, token)
    with app.app_context(), listening(app) as heard:
        authx.verify_token(token)
    said = {"name": "authx", **ids(token)}
    assert heard == [("accepted", app, said), ("unchecked", app, said)]
    assert_no_token(heard, token)


def test_an_optional_view_without_a_token_announces_nothing() -> None:
    app, _ = make_app()
    with listening(app) as heard:
        assert outcome(app.test_client().get("/optional")) == OK
    assert heard == []


def test_a_token_that_an_optional_view_ignores_is_announced_as_refused() -> None:
    app, authx = make_app()

    @app.get("/lenient")
    @authx.optional_token(on_invalid="ignore")
    def lenient() -> str:
        return "in"

    with listening(app) as heard:
        assert outcome(app.test_client().get("/lenient", headers=bearer("a.b.c"))) == OK
    assert [name for name, _, _ in heard] == ["refused"]


def test_the_signal_names_the_object_of_an_app_with_several() -> None:
    app, _ = make_app()
    app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    admin = AuthX(app, name="admin", clock=lambda: 1_800_000_000)

    @app.get("/admin")
    @admin.token_required
    def view() -> str:
        return "in"

    with listening(app) as heard:
        app.test_client().get("/admin")
        app.test_client().get("/guarded")
    assert [keywords["name"] for _, _, keywords in heard] == ["admin", "authx"]


def test_a_listener_for_one_app_hears_nothing_of_another() -> None:
    """USERS 90."""
    first, _ = make_app(SECRET_KEY=SECRET)
    second, _ = make_app(SECRET_KEY=OTHER_SECRET)
    with listening(first) as heard:
        second.test_client().get("/guarded")
    assert heard == []


def test_without_a_listener_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """PERFORMANCE: a signal without a receiver costs nothing."""
    for signal in SIGNALS.values():
        # What other tests of this process have left behind.
        monkeypatch.setattr(signal, "receivers", {})
    app, authx = make_app(BLOCKLIST="memory://")
    token = access_token(app, authx)
    client = app.test_client()

    sent: list[Signal] = []

    def receivers_for(self: Signal, sender: object) -> list[object]:
        sent.append(self)
        return []

    monkeypatch.setattr(Signal, "receivers_for", receivers_for)
    assert outcome(client.get("/guarded", headers=bearer(token))) == OK
    assert outcome(client.get("/guarded")) == MISSING
    with app.app_context():
        authx.revoke_token(token)
        authx.revoke_session("a" * 22)
        authx.revoke_subject("ann")
    assert outcome(client.get("/guarded", headers=bearer(token))) == REVOKED
    assert [signal for signal in sent if signal in SIGNALS.values()] == []


# Receivers that fail


class Mailer:
    """A receiver without a name of its own, which raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, sender: object, **said: object) -> None:
        raise self.error


#: Among them is one that an app might raise to refuse the request, which it can't.
ERRORS: list[Exception] = [OSError("statsd is gone"), Forbidden(), RevokedTokenError(), KeyError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_receiver_that_raises_fails_no_request_and_no_other_receiver(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    app, authx = make_app(BLOCKLIST="memory://")
    token = access_token(app, authx)
    mailer, client = Mailer(error), app.test_client()
    with ExitStack() as stack:
        # One of the two stands before the one that listens, and one behind it.
        signals = list(SIGNALS.values())
        for signal in signals:
            stack.enter_context(signal.connected_to(mailer))
        heard = stack.enter_context(listening(app))
        others = [Mailer(error) for _ in signals]
        for signal, other in zip(signals, others, strict=True):
            stack.enter_context(signal.connected_to(other))
        assert outcome(client.get("/guarded", headers=bearer(token))) == OK
        assert outcome(client.get("/guarded")) == MISSING
        with app.app_context():
            authx.revoke_token(token)
            authx.revoke_session("a" * 22)
            authx.revoke_subject("ann")
        assert outcome(client.get("/guarded", headers=bearer(token))) == REVOKED
    names = ["accepted", "refused", "token", "session", "subject", "refused", "used"]
    assert [name for name, _, _ in heard] == names
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 2 * len(names)
    for name, message in zip(names, logged[::2], strict=True):
        begin = f"the receiver Mailer of the signal {name_of(SIGNALS[name])} raised "
        kind, _, frames = message.removeprefix(begin).partition(":\n")
        assert kind.rpartition(".")[2] == type(error).__name__
        assert frames.startswith('  File "')


def test_a_receiver_puts_no_token_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """SECURITY A.16 296: as a driver does, in the words of its error."""
    app, authx = make_app()
    token = access_token(app, authx)

    def receiver(sender: object, **said: object) -> None:
        try:
            raise ValueError(request.headers["Authorization"])
        except ValueError as error:
            raise OSError(f"can't write {token}") from error

    with token_accepted.connected_to(receiver, app):
        assert outcome(app.test_client().get("/guarded", headers=bearer(token))) == OK
    [record] = caplog.records
    assert f"{receiver.__qualname__} of the signal token-accepted raised OSError" in caplog.text
    assert (record.exc_info, record.exc_text) == (None, None)
    assert [part for part in token.split(".") if part in caplog.text] == []


def test_what_ends_the_worker_is_not_held_up_by_a_receiver() -> None:
    """As a worker's time-out or the end of a greenlet."""
    app, _ = make_app()
    mailer = Mailer(SystemExit(1))
    with token_refused.connected_to(mailer, app), pytest.raises(SystemExit):
        app.test_client().get("/guarded")


def test_an_async_receiver_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    app, _ = make_app()

    async def receiver(sender: object, **said: object) -> None:
        raise AssertionError("nothing awaits it")

    with token_refused.connected_to(receiver, app):
        assert outcome(app.test_client().get("/guarded")) == MISSING
    [record] = caplog.records
    assert record.getMessage().endswith("of the signal token-refused is async and was not run")


def test_a_muted_signal_is_not_sent() -> None:
    app, _ = make_app()
    with listening(app) as heard, token_refused.muted():
        app.test_client().get("/guarded")
    assert heard == []


def test_a_listener_may_read_the_error_and_not_change_the_response() -> None:
    app, _ = make_app()
    errors: list[AuthXException] = []

    def hear(sender: object, *, error: AuthXException, **ids: object) -> None:
        errors.append(error)

    with token_refused.connected_to(hear, app):
        response = app.test_client().get("/guarded")
    assert response.get_json()["error_type"] == errors[0].error_type == "MissingTokenError"
