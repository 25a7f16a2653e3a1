"""An audit trail that can't be written: the revocation is in force, and others are recorded."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from flask_authx import StoreUnavailableError, session_revoked
from tests.support.cli import run
from tests.support.databases import server_url, unavailable
from tests.support.spy_store import login, said, works
from tests.support.sql_apps import KINDS, SQLApps, records

SMILE = "lost \N{GRINNING FACE}"


def test_a_record_that_the_caller_s_own_transaction_keeps_out_is_said_and_announced(
    sql_app: SQLApps,
) -> None:
    """Some begin each transaction with the lock, before they write."""
    site = sql_app("sqlite", JWT_BLOCKLIST="memory://", JWT_AUDIT="1d", JWT_STORE_TIMEOUT=0.1)
    token, _, sid = login(site.app, site.authx)
    heard: list[str] = []

    def hear(sender: object, **ids: Any) -> None:
        heard.append(ids["sid"])

    with site.app.app_context():
        driver: Any = site.db.session.connection().connection.dbapi_connection
        driver.execute("BEGIN IMMEDIATE")
        with (
            session_revoked.connected_to(hear, site.app),
            pytest.raises(StoreUnavailableError) as caught,
        ):
            site.authx.revoke_session(sid)
        site.db.session.rollback()
    assert caught.value.description == "The revocation is in force and could not be recorded"
    assert heard == [sid]
    assert not works(site.app, token)


@contextlib.contextmanager
def encoded(kind: str, how: str) -> Generator[str]:
    """A new database with an encoding of its own."""
    url, name = sa.make_url(server_url(kind)), f"authx_{uuid.uuid4().hex[:12]}"
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    try:
        with server.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} {how}")
    except OperationalError as error:
        unavailable(kind, error)
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            force = " WITH (FORCE)" if kind == "postgresql" else ""
            connection.exec_driver_sql(f"DROP DATABASE {name}{force}")


@pytest.mark.parametrize("encoding", ["latin1", "utf8mb3"])
def test_any_text_is_recorded_in_a_database_of_any_encoding(encoding: str, tmp_path: Path) -> None:
    with (
        encoded("mariadb", f"CHARACTER SET {encoding}") as url,
        contextlib.closing(SQLApps(tmp_path)) as sql_app,
    ):
        site = sql_app(url, JWT_AUDIT="1d")
        with site.app.app_context():
            site.authx.revoke_subject("ann \N{GRINNING FACE}", reason=SMILE)
        [record] = records(site)
        assert (record[4], record[6]) == ("ann \N{GRINNING FACE}", SMILE)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_text_that_can_not_be_recorded_keeps_no_other_record_out(
    driver: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a user who may give a reason could blind the trail."""
    how = "ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with encoded("postgresql", how) as url, contextlib.closing(SQLApps(tmp_path)) as sql_app:
        site = sql_app(url.replace("+psycopg:", f"+{driver}:"), JWT_AUDIT="1d")
        with site.app.app_context():
            for number in range(3):
                with pytest.raises(StoreUnavailableError, match="in force and could not"):
                    site.authx.revoke_session(f"bad-{number}", reason=SMILE)
                site.authx.revoke_session(f"good-{number}", reason="lost")
        assert [record[4] for record in records(site)] == ["good-0", "good-1", "good-2"]
        sql_app.close()
    assert SMILE not in "".join(said(caplog))


@pytest.mark.parametrize("kind", KINDS)
def test_prune_says_what_it_has_done_before_the_trail_failed(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind, JWT_AUDIT="1d")
    with site.app.app_context(), site.db.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE authx_audit")
    done = run(site.app, "prune")
    assert (done.code, done.stdout) == (3, "Removed 0 expired revocations.\n")
    assert "The audit trail failed to remove what has expired: the table" in done.stderr
    assert "See the line above, and try again." in done.stderr
    assert "Traceback" not in done.output
