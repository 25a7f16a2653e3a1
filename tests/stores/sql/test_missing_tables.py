"""A database whose migrations have not run: the log and the commands say so, and what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flask_authx import AuthX, StoreUnavailableError
from tests.support import access_token, bearer
from tests.support.answers import FAULT, ask, outcome
from tests.support.cli import run
from tests.support.spy_store import said
from tests.support.sql_apps import Site, SQLApps

KINDS = ("sqlite", "postgresql", "psycopg2", "mariadb")
MISSING = "is missing: run `flask db upgrade`, or call db.create_all()"
#: By table: what fails without it, and the beginning of what is logged.
CALLS: dict[str, tuple[Callable[[AuthX], object], str]] = {
    "authx_blocklist": (
        lambda authx: authx.revoke_subject("ann"),
        "the store of revocations failed to write",
    ),
    "authx_sessions": (lambda authx: authx.login("ann"), "the store of sessions failed to write"),
    "authx_audit": (lambda authx: authx.revoke_subject("ann"), "the audit trail failed to write"),
}


@pytest.fixture
def site(sql_app: SQLApps, kind: str) -> Site:
    return sql_app(kind, JWT_AUDIT="1d", JWT_SESSIONS=True)


def change(site: Site, statement: str) -> None:
    with site.app.app_context(), site.db.engine.begin() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", CALLS)
def test_a_missing_table(
    site: Site, kind: str, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    change(site, f"DROP TABLE {table}")
    work, failed = CALLS[table]
    with site.app.app_context(), pytest.raises(StoreUnavailableError):
        work(site.authx)
    hint = f"the table {table} {MISSING}"
    assert f"{failed}: StoreError: {hint}" in said(caplog)
    pruned = run(site.app, "prune")
    assert pruned.code == 3
    assert hint in " ".join(pruned.stderr.split())


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_table_is_named_at_the_first_look_up(
    site: Site, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = access_token(site.app, site.authx)
    change(site, "DROP TABLE authx_blocklist")
    caplog.clear()
    assert outcome(ask(site.app, path="/guarded", headers=bearer(token))) == FAULT
    assert said(caplog) == [
        f"the store of revocations failed: StoreError: the table authx_blocklist {MISSING}"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_a_migration_would_add(
    site: Site, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    change(site, "ALTER TABLE authx_sessions DROP COLUMN user_agent")
    with site.app.app_context(), pytest.raises(StoreUnavailableError):
        site.authx.login("ann")
    hint = "the table authx_sessions lacks a column: run `flask db upgrade`"
    assert f"the store of sessions failed to write: StoreError: {hint}" in said(caplog)
