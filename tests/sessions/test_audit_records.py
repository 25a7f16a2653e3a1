"""What the records of an audit trail hold, and how long they are kept."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from flask_authx import (
    AuthX,
    BadConfigurationError,
)
from tests.support import OTHER_SECRET, SECRET, Clock
from tests.support.cli import printed
from tests.support.spy_store import login
from tests.support.sql_apps import KINDS, SQLApps, records

DAY = 86400
YEAR = 365 * DAY


def test_records_are_kept_as_long_as_the_setting_says(sql_app: SQLApps) -> None:
    clock = Clock()
    site = sql_app("sqlite", clock=clock, JWT_AUDIT="365d")
    with site.app.app_context():
        site.authx.revoke_session("old")
        clock.advance(1)
        site.authx.revoke_session("new")
    clock.advance(YEAR - 1)
    assert "Removed 0 old audit records." in printed(site.app, "prune")
    clock.advance(1)
    assert "Removed 1 old audit records." in printed(site.app, "prune")
    assert [record[4] for record in records(site)] == ["new"]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_the_age_of_a_record_is_reckoned_by_the_server(sql_app: SQLApps, kind: str) -> None:
    """The clock of the machine is far ahead of it."""
    site = sql_app(kind, clock=Clock(), JWT_AUDIT="365d")
    with site.app.app_context():
        for value in ("older", "old", "new"):
            site.authx.revoke_session(value)
        ages = {"older": YEAR + 5000, "old": YEAR + 1, "new": YEAR - 5000}
        with site.db.engine.begin() as connection:
            for value, age in ages.items():
                shift = "UPDATE authx_audit SET at = at - :age WHERE value = :value"
                connection.execute(sa.text(shift), {"age": age, "value": value})
    assert "Removed 2 old audit records." in printed(site.app, "prune")
    assert [record[4] for record in records(site)] == ["new"]


@pytest.mark.parametrize("kind", KINDS)
def test_many_records_are_pruned_in_batches(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind, JWT_AUDIT="1d")
    table = site.db.metadata.tables["authx_audit"]
    row = {"instance": "authx", "kind": "session", "value": "s"}
    with site.app.app_context(), site.db.engine.begin() as connection:
        # Batches of 5000 that aren't whole, among records that stay.
        old = [{**row, "at": number} for number in range(10_001)]
        connection.execute(sa.insert(table), [*old, {**row, "at": 2**40}])
    assert "Removed 10,001 old audit records." in printed(site.app, "prune")
    assert len(records(site)) == 1


def test_each_name_keeps_its_records_by_its_own_setting(sql_app: SQLApps) -> None:
    clock, admin = Clock(), list[AuthX]()
    site = sql_app(
        "sqlite",
        before=lambda app, _: admin.append(AuthX(app, name="admin", clock=clock)),
        clock=clock,
        JWT_AUDIT="365d",
        ADMIN_JWT_SECRET_KEY=OTHER_SECRET,
        ADMIN_JWT_BLOCKLIST="memory://",
        ADMIN_JWT_AUDIT="30d",
    )
    with site.app.app_context():
        for one in (site.authx, admin[0]):
            one.revoke_session("s")
    clock.advance(31 * DAY)
    assert "Removed 1 old audit records." in printed(site.app, "prune", "--name", "admin")
    assert [record[1] for record in records(site)] == ["authx"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_token_is_ever_in_it(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind, JWT_AUDIT="365d")
    token, refresh, sid = login(site.app, site.authx, "ann")
    with site.app.app_context():
        for one in (token, refresh):
            site.authx.revoke_token(one)
        site.authx.revoke_session(sid)
    stored = repr(records(site))
    assert sid in stored
    for raw in (token, refresh):
        for part in raw.split(".")[1:]:
            assert part not in stored


LONG = {
    "ASCII": "x" * 1000,
    "two bytes": "é" * 1000,
    "three bytes": "€" * 1000,
    "four bytes": "\U0001f600" * 1000,
    "mixed": "zwölf: 日本 \U0001f512 '; DROP TABLE authx_audit; -- %s :x \\ \n\t\x7f",
    "empty": "",
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_reason_comes_back_as_it_was(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind, JWT_AUDIT="365d")
    long_id, long_uid = "s" * 255, "ü\U0001f600" * 127
    with site.app.app_context():
        for reason in LONG.values():
            site.authx.revoke_session("s", reason=reason)
        site.authx.revoke_subject(long_uid, keep=long_id)
    found = records(site)
    assert [record[6] for record in found[:-1]] == [*LONG.values()]
    assert found[-1][4:6] == (long_uid, long_id)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_name_is_recorded_or_refused(sql_app: SQLApps, kind: str) -> None:
    name = "n" * 100
    prefix = f"{name.upper()}_JWT_"
    try:
        authx = AuthX(name=name)
    except BadConfigurationError:
        return
    config: dict[str, Any] = {
        f"{prefix}SECRET_KEY": SECRET,
        f"{prefix}BLOCKLIST": "memory://",
        f"{prefix}AUDIT": 60,
        f"{prefix}STORE_TIMEOUT": 10,
    }
    site = sql_app(kind, authx=authx, **config)
    with site.app.app_context():
        site.authx.revoke_session("s")
    assert len(records(site)) == 1
