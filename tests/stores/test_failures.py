"""What happens to a server, and what requests, revocations and apps that start get meanwhile."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pymysql
import pytest
import redis

from flask_authx import AuthX
from tests.support import parts
from tests.support.answers import FAULT, OK, REVOKED, outcome
from tests.support.failing import (
    KINDS,
    ON_FIRST,
    ON_OPEN,
    PASSWORD,
    RECOVERY,
    SQL,
    Site,
    administration,
    app_url,
    failing,
    full_port,
    hang_up_on_all,
    is_refused,
    kind_of,
    note,
    port_of,
    recovers,
    refuses,
    shared,
    site,
    timed,
    unavailable_within,
    writes_again,
)
from tests.support.servers.private import Server, free_port
from tests.support.waiting import until

pytestmark = pytest.mark.slow

#: What an app asks of its store outside of guards, given a token.
WRITES: dict[str, Callable[[AuthX, str], object]] = {
    "revoke_token": lambda authx, token: authx.revoke_token(token),
    "revoke_session": lambda authx, token: authx.revoke_session(parts(token)[1]["sid"]),
    "revoke_subject": lambda authx, token: authx.revoke_subject(parts(token)[1]["sub"]),
}
READS: dict[str, Callable[[AuthX, str], object]] = {
    "is_revoked": lambda authx, token: authx.is_revoked(token),
    "create_token_pair": lambda authx, token: authx.create_token_pair("ann"),
}
ACTIONS = WRITES | READS

#: Statements that wait for the table of revocations.
WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    "mariadb": (
        "SELECT count(*) FROM information_schema.processlist "
        "WHERE state = 'Waiting for table metadata lock'"
    ),
}

Run = Callable[[str], Any]


@dataclass
class Scene:
    """A server, a connection to administrate it by, and an app that used it before the fault."""

    server: Server
    run: Run
    app: Site
    stack: ExitStack

    @property
    def kind(self) -> str:
        return kind_of(self.server)


@contextlib.contextmanager
def killed(scene: Scene) -> Generator[None]:
    scene.server.kill()
    yield
    scene.server.start()


@contextlib.contextmanager
def hanging(scene: Scene) -> Generator[None]:
    """Its connections stay open, and no response comes."""
    scene.server.pause()
    yield
    scene.server.resume()


@contextlib.contextmanager
def restarted(scene: Scene) -> Generator[None]:
    scene.server.kill()
    scene.server.start()
    yield


@contextlib.contextmanager
def password_refused(scene: Scene) -> Generator[None]:
    """The server asks for a password that the app doesn't know."""
    rules = scene.server.folder / "data" / "pg_hba.conf"
    before = rules.read_text() if scene.kind == "postgresql" else ""
    if before:
        rules.write_text("host all all all scram-sha-256\n")
    change = "ALTER USER app@'127.0.0.1' IDENTIFIED BY"
    start, end = {
        "postgresql": ("SELECT pg_reload_conf()",) * 2,
        "mariadb": (f"{change} 'another'", f"{change} '{PASSWORD}'"),
        "redis": (
            "ACL SETUSER app resetpass >another",
            f"ACL SETUSER app resetpass >{PASSWORD}",
        ),
    }[scene.kind]
    scene.run(start)
    try:
        hang_up_on_all(scene.server, scene.run)
        yield
    finally:
        if before:
            rules.write_text(before)
        scene.run(end)


@contextlib.contextmanager
def out_of_connections(scene: Scene) -> Generator[None]:
    refusals = (psycopg.OperationalError, pymysql.err.OperationalError, redis.ConnectionError)
    hang_up_on_all(scene.server, scene.run)
    with ExitStack() as opened:
        with contextlib.suppress(*refusals):
            while True:
                opened.enter_context(contextlib.closing(connect(scene.server)))
        yield


def connect(server: Server) -> Any:
    port = port_of(server)
    if kind_of(server) == "postgresql":
        return psycopg.connect(f"postgresql://root@127.0.0.1:{port}/postgres")
    if kind_of(server) == "mariadb":
        return pymysql.connect(host="127.0.0.1", port=port, user="root")
    client: Any = redis.Redis(port=port, max_connections=1)
    try:
        client.ping()
    except redis.ConnectionError:
        client.close()
        raise
    return client


@contextlib.contextmanager
def table_missing(scene: Scene) -> Generator[None]:
    scene.run("DROP TABLE authx_blocklist")
    yield
    assert scene.app.db is not None
    with scene.app.app.app_context():
        scene.app.db.create_all()


@contextlib.contextmanager
def table_locked(scene: Scene) -> Generator[None]:
    """Another session holds the table for itself; the server ends the statements that wait."""
    start, end = {
        "postgresql": (["BEGIN", "LOCK TABLE authx_blocklist IN ACCESS EXCLUSIVE MODE"], "COMMIT"),
        "mariadb": (["LOCK TABLES authx_blocklist WRITE"], "UNLOCK TABLES"),
    }[scene.kind]
    locker = scene.stack.enter_context(administration(scene.server))
    for statement in start:
        locker(statement)
    try:
        yield
        # Or they would wait on for a client that has hung up.
        until(
            lambda: not scene.run(WAITING[scene.kind])[0][0],
            timeout=2,
            what="the end of statements that wait for the lock",
        )
    finally:
        locker(end)


@contextlib.contextmanager
def read_only(scene: Scene) -> Generator[None]:
    start, end = {
        "postgresql": (
            ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"],
            ["ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"],
        ),
        "mariadb": (["SET GLOBAL read_only = 1"], ["SET GLOBAL read_only = 0"]),
        "redis": (["REPLICAOF 127.0.0.1 1"], ["REPLICAOF NO ONE"]),
    }[scene.kind]
    for command in start:
        scene.run(command)
    if scene.kind == "postgresql":
        until(lambda: scene.run("SHOW default_transaction_read_only") == [("on",)])
    try:
        # Connections that are open may write on.
        hang_up_on_all(scene.server, scene.run)
        yield
    finally:
        for command in end:
            scene.run(command)


@contextlib.contextmanager
def nothing(_: object) -> Generator[None]:
    yield


@contextlib.contextmanager
def pool_exhausted(made: Site) -> Generator[None]:
    """The app has taken the only connection of its pool."""
    assert made.db is not None
    with made.app.app_context(), made.db.engine.connect():
        yield


@dataclass(frozen=True)
class Row:
    """A fault, and what apps get as long as it lasts: a 503 in time, unless it says otherwise.

    When the fault has ended, every app recovers within :data:`RECOVERY` seconds.

    :param fault: begins it, and ends it.
    :param on: the servers that can have it.
    :param reads: whether requests, and all else that only reads, are as good as ever.
    :param writes: whether revocations are.
    :param busy: whether the first request after a revocation that failed is accepted at once.
    :param keeps: whether the store keeps its entries. If not, every session from before is over.
    :param reconnects: whether apps have to connect anew, which may take them longer.
    :param logged: what the log says.
    :param around: happens to each app meanwhile.
    :param settings: of each app.
    """

    fault: Callable[[Scene], AbstractContextManager[None]]
    on: tuple[str, ...] = KINDS
    reads: bool = False
    writes: bool = False
    busy: bool = False
    keeps: bool = True
    reconnects: bool = False
    logged: str = ""
    around: Callable[[Site], AbstractContextManager[None]] = nothing
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


LIVES = (*KINDS, "psycopg2")
# Thirty seconds would be the pool's.
POOL = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 30}

FAULTS = {
    "killed": Row(killed, on=LIVES),
    "hanging": Row(hanging, on=LIVES),
    "restarted": Row(restarted, on=LIVES, reads=True, writes=True),
    "password refused": Row(password_refused, reconnects=True),
    "out of connections": Row(out_of_connections, reconnects=True),
    "table missing": Row(table_missing, on=SQL, keeps=False, logged="authx_blocklist"),
    "table locked": Row(table_locked, on=SQL, busy=True),
    "read-only": Row(read_only, on=("postgresql",), reads=True, reconnects=True),
    # Their reads would be late.
    "read-only server": Row(read_only, on=("mariadb",), reconnects=True, logged="read-only"),
    "replica": Row(read_only, on=("redis",), reconnects=True, logged="is a replica"),
    "the app's pool exhausted": Row(
        nothing,
        on=SQL,
        reads=True,
        writes=True,
        around=pool_exhausted,
        settings={"SQLALCHEMY_ENGINE_OPTIONS": POOL},
    ),
}


@dataclass
class Watched:
    """An app, and tokens of subjects of its own: two valid ones and one that is revoked."""

    site: Site
    name: str
    valid: str
    revoked: str
    other: str

    def reads(self, within: float) -> None:
        """The first request is accepted in time, and a revoked token is refused."""
        result, seconds = timed(lambda: self.site.outcome(self.other))
        assert result == OK
        assert seconds < within, f"{self.name}: a 200 took {seconds} s, not {within}"
        assert self.site.outcome(self.revoked) == REVOKED

    def succeeds(self, what: str, within: float) -> None:
        """An action succeeds in time."""
        with self.site.app.app_context():
            _, seconds = timed(lambda: ACTIONS[what](self.site.authx, self.valid))
        assert seconds < within, f"{what} took {seconds} s, not {within}"
        if what in WRITES:
            assert self.site.outcome(self.valid) == REVOKED

    def fails(self, what: str, within: float) -> None:
        """An action fails in time."""
        unavailable_within(self.site, within, lambda authx: ACTIONS[what](authx, self.valid), what)

    def in_app(self, made: Site) -> Watched:
        """The same tokens in another app."""
        return Watched(made, self.name, self.valid, self.revoked, self.other)


def watched(made: Site, name: str) -> Watched:
    """The app before the fault."""
    valid, revoked, other = (made.token(f"{uid} of {name}") for uid in ("ann", "bob", "eve"))
    made.revoke(revoked)
    return Watched(made, name, valid, revoked, other)


def meets(app: Watched, row: Row, within: float) -> None:
    """What requests get as long as the fault lasts."""
    if row.reads:
        app.reads(within)
    else:
        refuses(app.site, app.valid, within, app.name)


def does(app: Watched, what: str, row: Row, within: float) -> None:
    """What an action comes to as long as the fault lasts."""
    if row.writes if what in WRITES else row.reads:
        app.succeeds(what, within)
    elif not row.reads:
        app.fails(what, ON_FIRST if row.reconnects else ON_OPEN)
    else:
        app.reads(within)
        for _ in range(3):
            app.fails(what, ON_OPEN)
            app.reads(within)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(name, kind, marks=failing(kind))
        for name, row in FAULTS.items()
        for kind in row.on
    ],
)
def test_fault(fault: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """SECURITY A.12 210, 211, USERS 47"""
    row = FAULTS[fault]
    server = shared("postgresql" if kind == "psycopg2" else kind)
    url = app_url(server, kind if kind == "psycopg2" else "psycopg")
    # No response is slower than this, whatever has to be done first.
    within = ON_FIRST if row.reads else ON_OPEN
    with ExitStack() as stack:
        run = stack.enter_context(administration(server))
        asked = watched(stack.enter_context(site(url, **row.settings)), "requests")
        # Each has an open connection, and has not met the fault when it is asked for its action.
        acting = {
            what: watched(stack.enter_context(site(url, **row.settings)), what) for what in ACTIONS
        }
        earlier = watched(asked.site, "an app that starts")
        assert asked.site.outcome(asked.valid) == OK
        with row.fault(Scene(server, run, asked.site, stack)), ExitStack() as around:
            for app in (asked, *acting.values()):
                around.enter_context(row.around(app.site))
            meets(asked, row, within)
            for what, app in acting.items():
                does(app, what, row, within)
            starting = stack.enter_context(site(url, tables=False, **row.settings))
            around.enter_context(row.around(starting))
            if row.reads:
                token, seconds = timed(starting.token)
                assert seconds < ON_FIRST, f"the first token took {seconds} s, not {ON_FIRST}"
                assert starting.outcome(token) == OK
            started = earlier.in_app(starting)
            meets(started, row, ON_FIRST)
        assert row.logged in caplog.text
        for app in (*acting.values(), asked, started):
            if row.busy and app.name in WRITES:
                assert app.site.outcome(app.other) == OK
            if row.keeps:
                recovers(app.site, app.other, app.revoked)
                writes_again(app.site, app.other)
            else:
                starts_anew(app)


def starts_anew(app: Watched) -> None:
    """Of the sessions from before the fault none is accepted any more; users log in again."""

    def revoked() -> bool:
        last = app.site.outcome(app.other)
        assert last in (FAULT, REVOKED)
        return last == REVOKED

    until(revoked, timeout=RECOVERY, what="a 401 after the failure")
    assert app.site.outcome(app.revoked) == REVOKED
    new = app.site.token(f"{app.name} again")
    recovers(app.site, new, app.other)
    writes_again(app.site, new)


@contextlib.contextmanager
def silent_port() -> Generator[int]:
    """Connections are opened, and no response comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def closed_port() -> Generator[int]:
    yield free_port()


PORTS = {"silent": silent_port, "full": full_port, "closed": closed_port}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("port", PORTS)
def test_port_without_a_server(port: str, kind: str) -> None:
    """An app that starts is refused in time."""
    with site("memory://") as other:
        token = other.token()
    with PORTS[port]() as number, site(url_at(kind, number), tables=False) as made:
        refuses(made, token, ON_FIRST, f"{kind}, {port} port")


def url_at(kind: str, port: int) -> str:
    """The URL of a server of this kind."""
    return {
        "postgresql": f"postgresql+psycopg://root@127.0.0.1:{port}/postgres",
        "mariadb": f"mariadb+pymysql://root@127.0.0.1:{port}/test",
        "redis": f"redis://127.0.0.1:{port}/0",
    }[kind]


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=failing(kind)) for kind in KINDS])
def test_accept_lets_access_tokens_through_while_the_server_is_down(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SECURITY A.12 212"""
    server = shared(kind)
    with site(app_url(server), JWT_BLOCKLIST_ON_ERROR="accept") as made:
        access, refresh = made.token(), made.refresh_token()
        revoked = made.token()
        made.revoke(revoked)
        assert made.outcome(revoked) == REVOKED
        server.kill()
        # A call that fails may have met a slow answer.
        until(lambda: made.outcome(access) == OK, timeout=ON_FIRST, what="an outage")
        caplog.clear()
        for _ in range(3):
            response, seconds = timed(lambda: made.ask(access))
            note(f"{kind}, killed, accepted", seconds)
            assert outcome(response) == OK
            assert seconds < ON_OPEN, f"a 200 took {seconds} s, not {ON_OPEN}"
            is_refused(made.ask(refresh, "/refresh"))
        assert caplog.text.count("revocation could not be checked") == 3
        unavailable_within(made, ON_OPEN, lambda authx: authx.revoke_token(access))
        server.start()
        until(lambda: made.outcome(revoked) == REVOKED, timeout=RECOVERY)
        assert outcome(made.ask(refresh, "/refresh")) == OK
