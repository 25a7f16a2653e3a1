"""Nothing that is secret gets out of stores: no log, error, repr, signal or file (rule 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, AuthXException, MemoryBlocklist
from tests.support import OTHER_SECRET, SECRET, Clock, bearer, forge, parts
from tests.support.answers import ACCESS_COOKIE, ask, cookie
from tests.support.cli import run
from tests.support.spy_store import SpyStore, decoded, login, store_app
from tests.support.sql_apps import SQLApps
from tests.support.watch import Watch, watching


@pytest.fixture
def watch() -> Iterator[Watch]:
    with watching() as heard:
        yield heard


def use(app: Flask, authx: AuthX, watch: Watch, begin: Callable[[], None]) -> list[str]:
    """Do all that can be done with revocations, and return the tokens that were used.

    :param begin: called after the log-in.
    """
    access, refresh, sid = login(app, authx, "ann")
    begin()
    csrf = parts(access)[1]["csrf"]
    header, claims, _ = parts(access)
    forged = forge(header, claims, OTHER_SECRET)
    verbs: list[Callable[[], object]] = [
        lambda: authx.revoke_token(access, reason="r"),
        lambda: authx.revoke_token(decoded(app, authx, access)),
        lambda: authx.revoke_session(sid),
        lambda: authx.revoke_subject("ann", keep=sid),
        lambda: authx.is_revoked(access),
        lambda: authx.is_revoked(refresh),
        lambda: authx.revoke_token(forged),
        lambda: authx.is_revoked(forged),
        lambda: authx.create_access_token("ann") and None,
    ]
    for verb in verbs:
        for token in (access, refresh):
            for path in ("/guarded", "/refresh", "/optional"):
                watch.hear(ask(app, path=path, headers=bearer(token)).text)
        with app.test_request_context(method="POST", headers=bearer(access)):
            try:
                watch.hear(verb())
            except AuthXException as error:
                watch.hear_error(error)
    for token in (access, forged, refresh):
        watch.hear(ask(app, "POST", "/logout", headers=bearer(token)).text)
        headers = {**cookie((ACCESS_COOKIE, token)), "X-CSRF-TOKEN": csrf}
        watch.hear(ask(app, "POST", "/logout", headers=headers).text)
        watch.hear(run(app, "revoke", "--token-stdin", stdin=token).output)
    for command in ("blocklist", "prune", "doctor"):
        watch.hear(run(app, command).output)
    watch.hear_repr(app.extensions["authx"], authx)
    return [access, refresh, forged, csrf]


@pytest.mark.parametrize("mode", ["refuse", "accept"])
@pytest.mark.parametrize("failing", ["nothing", "find", "add", "sweep"])
def test_no_token_is_said_whatever_the_store_does(mode: str, failing: str, watch: Watch) -> None:
    store = SpyStore(failing=frozenset({failing}))
    config: dict[str, Any] = {"BLOCKLIST_ON_ERROR": mode, "TOKEN_LOCATION": ["headers", "cookies"]}
    app, authx = store_app(store, **config)

    def begin() -> None:
        store.error = KeyError(b"\x01" * 16)

    secrets = use(app, authx, watch, begin)
    watch.hear_repr(store.entries, store.added, store.asked)
    watch.check(*secrets, SECRET)
    assert (": KeyError" in "".join(watch.said)) is (failing != "nothing")


def test_the_error_of_a_store_hangs_on_nothing_that_is_raised(watch: Watch) -> None:
    """A driver's error may hold a statement with all its parameters."""
    secret = "a-parameter-of-a-statement"
    store = SpyStore()
    app, authx = store_app(store, TOKEN_LOCATION=["headers", "cookies"])
    access, _, sid = login(app, authx)
    store.error = ConnectionError(f"down\nSELECT 1 WHERE key = '{secret}'")
    verbs: list[Callable[[], object]] = [
        lambda: authx.verify_token(access),
        lambda: authx.is_revoked(access),
        lambda: authx.revoke_session(sid),
        lambda: authx.create_access_token("ann"),
    ]
    for verb in verbs:
        with app.app_context(), pytest.raises(AuthXException) as raised:
            verb()
        watch.hear_error(raised.value)
    watch.check(secret)


def test_a_database_holds_no_token_and_its_blocklist_no_id(
    sql_app: SQLApps, tmp_path: Path, watch: Watch
) -> None:
    """SECURITY A.12 227: an attacker reads the file."""
    made = sql_app("sqlite", clock=Clock())
    app, authx = made.app, made.authx
    access, refresh, sid = login(app, authx, "ann@example.org")
    with app.app_context():
        authx.revoke_token(access, reason="reason")
        authx.revoke_token(refresh)
        authx.revoke_session(sid)
        authx.revoke_subject("ann@example.org", keep=sid)
        assert authx.is_revoked(access)
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    ids = [parts(token)[1]["jti"] for token in (access, refresh)]
    for secret in (*access.split("."), *refresh.split("."), *ids, sid, "ann@example.org", SECRET):
        assert secret.encode() not in content
    watch.check(access, refresh, SECRET)


def test_an_audit_trail_holds_ids_and_no_token(sql_app: SQLApps, tmp_path: Path) -> None:
    made = sql_app("sqlite", clock=Clock(), JWT_AUDIT="1d")
    app, authx = made.app, made.authx
    access, refresh, _ = login(app, authx)
    with app.app_context():
        authx.revoke_token(access)
        authx.revoke_token(refresh)
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert parts(access)[1]["jti"].encode() in content
    for segment in (*access.split("."), *refresh.split(".")):
        assert segment.encode() not in content


def test_the_store_in_memory_says_nothing_of_what_it_holds() -> None:
    store = MemoryBlocklist(Clock())
    app, authx = store_app(store)
    access, _, sid = login(app, authx)
    with app.app_context():
        authx.revoke_token(access)
        authx.revoke_session(sid)
    held = Watch()
    held.hear_repr(store, vars(store), app.extensions["authx"])
    held.check(access, sid, parts(access)[1]["jti"])
