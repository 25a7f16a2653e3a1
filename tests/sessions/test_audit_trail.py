"""``JWT_AUDIT``: who revoked what, when and why."""

from __future__ import annotations

import getpass
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, request

from flask_authx import (
    AuthX,
    BadConfigurationError,
    JWTDecodeError,
    StoreUnavailableError,
    session_revoked,
    subject_revoked,
    token_revoked,
)
from tests.support import NOW, Clock, access_token, bearer
from tests.support.answers import FAULT, OK, ask, outcome
from tests.support.cli import printed
from tests.support.databases import redis_url
from tests.support.spy_store import SpyStore, login, works
from tests.support.sql_apps import KINDS, SQLApps, records, rows, server_time

DAY = 86400
YEAR = 365 * DAY
AT = int(NOW)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_says_who_what_when_and_why(sql_app: SQLApps, kind: str) -> None:
    clock = Clock()
    site = sql_app(kind, clock=clock, JWT_AUDIT="365d")
    before = None if kind == "sqlite" else server_time(site)

    @site.app.post("/revoke")
    @site.authx.token_required
    def revoke() -> str:
        site.authx.revoke_subject("bob", keep="his-sid", reason="asked by phone")
        site.authx.revoke_session("s2")
        site.authx.revoke_token()
        return ""

    token, _, sid = login(site.app, site.authx, "ann")
    admin = access_token(site.app, site.authx, "admin")
    with site.app.app_context():
        jti, admin_jti = (site.authx.decode_token(one).jti for one in (token, admin))
        site.authx.revoke_token(token, reason="lost phone")
        clock.advance(10.9)
        site.authx.revoke_session(sid)
        site.authx.revoke_subject(17)
    assert outcome(ask(site.app, "POST", "/revoke", headers=bearer(admin))) == OK
    with site.app.app_context():
        site.authx.revoke_all(reason="restored")
    found = records(site)
    assert [record[1:] for record in found] == [
        ("authx", None, "token", jti, None, "lost phone"),
        ("authx", None, "session", sid, None, None),
        ("authx", None, "subject", "17", None, None),
        ("authx", "user:admin", "subject", "bob", "his-sid", "asked by phone"),
        ("authx", "user:admin", "session", "s2", None, None),
        ("authx", "user:admin", "token", admin_jti, None, None),
        ("authx", None, "scope", "authx", None, "restored"),
    ]
    times = [record[0] for record in found]
    if before is None:
        assert times == [AT] + [AT + 10] * 6
    else:
        # The database dates them, whatever the clock of the machine says.
        assert times == sorted(times)
        assert before <= times[0]
        assert times[-1] <= server_time(site)


def test_from_the_command_line_it_is_the_user_of_the_system(sql_app: SQLApps) -> None:
    site = sql_app("sqlite", JWT_AUDIT="365d")
    token = access_token(site.app, site.authx)
    printed(site.app, "revoke", "--session", "s", "--reason", "a ticket")
    printed(site.app, "revoke", "--subject", "ann", "--keep", "s")
    printed(site.app, "revoke", "--token-stdin", stdin=token)
    found = records(site)
    assert {record[2] for record in found} == {f"cli:{getpass.getuser()}"}
    assert [record[3] for record in found] == ["session", "subject", "token"]
    assert (found[0][6], found[1][5]) == ("a ticket", "s")


def test_the_user_who_logs_out_is_the_actor(sql_app: SQLApps) -> None:
    site = sql_app("sqlite", JWT_AUDIT="365d")

    @site.app.post("/logout")
    def logout() -> str:
        site.authx.logout(reason="done for today")
        return ""

    token, _, sid = login(site.app, site.authx, "ann")
    for headers in ({}, bearer(token)):
        assert outcome(ask(site.app, "POST", "/logout", headers=headers)) == OK
    (record,) = records(site)
    assert record[1:] == ("authx", "user:ann", "session", sid, None, "done for today")


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_with_the_name_of_another_kind_of_actor_is_still_a_user(
    sql_app: SQLApps, kind: str
) -> None:
    """A uid may be any text of 255 characters, and users may choose theirs."""
    site = sql_app(kind, JWT_AUDIT="365d")

    @site.app.post("/revoke")
    @site.authx.token_required
    def revoke() -> str:
        site.authx.revoke_session("s")
        return ""

    printed(site.app, "revoke", "--session", "s")
    [(_, _, command, *_)] = records(site)
    digest = "user-sha256:" + hashlib.sha256(b"a").hexdigest()
    longest = [one * 255 for one in ("x", "\u00e9", "\U0001f511")]
    names = [command, f"user:{command}", "user:", digest, *longest]
    for name in names:
        headers = bearer(access_token(site.app, site.authx, name))
        assert outcome(ask(site.app, "POST", "/revoke", headers=headers)) == OK
    actors = [record[2] for record in records(site)]
    assert actors[:5] == [command, *(f"user:{name}" for name in names[:4])]
    assert actors[5:] == [
        f"user-sha256:{hashlib.sha256(name.encode()).hexdigest()}" for name in longest
    ]
    assert len({*actors}) == len(actors)


def test_what_was_not_revoked_is_not_recorded(sql_app: SQLApps) -> None:
    clock, store = Clock(), SpyStore()
    authx = AuthX(blocklist=store, clock=clock)
    site = sql_app("sqlite", authx=authx, JWT_BLOCKLIST=None, JWT_AUDIT="365d")
    expired = access_token(site.app, site.authx)
    clock.advance(YEAR)
    forged = expired[:-4] + "AAAA"
    refusals: list[tuple[Callable[[], None], type[Exception]]] = [
        (lambda: authx.revoke_token(forged), JWTDecodeError),
        (lambda: authx.revoke_session("no sid"), ValueError),
        (lambda: authx.revoke_subject(""), ValueError),
        (lambda: authx.revoke_session("s", reason="x" * 1001), ValueError),
        (lambda: authx.revoke_session("s", reason="a\0"), ValueError),
    ]
    with site.app.app_context():
        authx.revoke_token(expired)
        for refused, error in refusals:
            with pytest.raises(error):
                refused()
        store.error = ConnectionError("down")
        with pytest.raises(StoreUnavailableError):
            authx.revoke_session("s")
    assert (store.entries, records(site)) == ({}, [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_outlasts_what_becomes_of_the_view(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind, JWT_AUDIT="365d")

    @site.app.post("/fail")
    @site.authx.token_required
    def fail() -> str:
        site.db.session.add(site.Note(text="lost"))
        site.authx.revoke_token(reason="and then it goes wrong")
        site.db.session.flush()
        raise ZeroDivisionError

    token = access_token(site.app, site.authx)
    assert ask(site.app, "POST", "/fail", headers=bearer(token)).status_code == 500
    assert [record[6] for record in records(site)] == ["and then it goes wrong"]
    assert site.committed() == []


@pytest.mark.parametrize("store", ["memory", "redis", "bind"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_trail_is_in_the_database_wherever_the_revocations_are(
    sql_app: SQLApps, kind: str, store: str
) -> None:
    url = {"memory": "memory://", "redis": redis_url(), "bind": "sqlalchemy://auth"}[store]
    binds = {"auth": "sqlite:///bind.db"} if store == "bind" else {}
    site = sql_app(kind, JWT_BLOCKLIST=url, JWT_AUDIT="365d", SQLALCHEMY_BINDS=binds)
    token = access_token(site.app, site.authx)
    with site.app.app_context():
        site.authx.revoke_token(token, reason="why")
    assert not works(site.app, token)
    # Beside the revocations, if those are in a database.
    url = f"sqlite:///{sql_app.folder / 'bind.db'}" if store == "bind" else site.url
    assert [row.reason for row in rows(url, "SELECT * FROM authx_audit")] == ["why"]
    tables = sa.inspect(engine := sa.create_engine(site.url)).get_table_names()
    engine.dispose()
    assert ("authx_blocklist" in tables, "authx_audit" in tables) == (False, store != "bind")


@pytest.mark.parametrize("kind", KINDS)
def test_a_trail_that_fails_leaves_the_revocation_in_force(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind, JWT_AUDIT="365d")

    @site.app.post("/revoke")
    @site.authx.token_required
    def revoke() -> str:
        site.authx.revoke_token(request.args["token"], reason="why")
        return ""

    heard: list[Any] = []

    def hear(sender: Flask, **said: Any) -> None:
        heard.append(said["reason"])

    one, two, three = (access_token(site.app, site.authx, uid) for uid in ("a", "b", "c"))
    with (
        site.app.app_context(),
        token_revoked.connected_to(hear, site.app),
        session_revoked.connected_to(hear, site.app),
        subject_revoked.connected_to(hear, site.app),
    ):
        site.db.metadata.tables["authx_audit"].drop(site.db.engine)
        with pytest.raises(StoreUnavailableError, match="in force and could not be recorded"):
            site.authx.revoke_token(one, reason="why")
        with pytest.raises(StoreUnavailableError, match="in force and could not be recorded"):
            site.authx.revoke_subject("b", reason="why")
    with token_revoked.connected_to(hear, site.app):
        path = f"/revoke?token={three}"
        response = ask(
            site.app, "POST", path, headers=bearer(access_token(site.app, site.authx, "d"))
        )
    assert outcome(response) == FAULT
    assert "in force" in response.get_data(as_text=True)
    assert heard == ["why"] * 3
    assert [works(site.app, token) for token in (one, two, three)] == [False] * 3


@pytest.mark.parametrize("store", ["memory", "redis", "same file", "own"])
def test_beside_uncommitted_writes_nothing_is_done_that_could_not_be_recorded(
    sql_app: SQLApps, store: str
) -> None:
    authx = AuthX(blocklist=SpyStore() if store == "own" else None)
    config: dict[str, Any] = {}
    if store == "own":
        config["JWT_BLOCKLIST"] = None
    elif store != "same file":
        config["JWT_BLOCKLIST"] = redis_url() if store == "redis" else "memory://"
    site = sql_app("sqlite", JWT_AUDIT="365d", authx=authx, **config)
    token, _, sid = login(site.app, authx, "ann")
    with site.app.app_context():
        site.write("new")
        for revoke, argument in (
            (authx.revoke_token, token),
            (authx.revoke_session, sid),
            (authx.revoke_subject, "ann"),
        ):
            with pytest.raises(RuntimeError, match=r"db\.session\.commit\(\) before"):
                revoke(argument)
        assert not authx.is_revoked(token)
        assert (site.committed(), records(site)) == ([], [])
        site.db.session.commit()
        authx.revoke_token(token)
        assert authx.is_revoked(token)
    assert len(records(site)) == 1


def test_a_trail_in_memory_is_refused(sql_app: SQLApps) -> None:
    with pytest.raises(BadConfigurationError, match="must last"):
        sql_app("sqlite://", JWT_AUDIT="365d")


def test_the_check_of_a_token_needs_no_trail(sql_app: SQLApps) -> None:
    site = sql_app("sqlite", JWT_AUDIT="365d")
    token = access_token(site.app, site.authx)
    with site.app.app_context():
        site.db.metadata.tables["authx_audit"].drop(site.db.engine)
    assert outcome(ask(site.app, headers=bearer(token))) == OK
