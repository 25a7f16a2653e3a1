"""``flask authx blocklist`` and ``prune``, and what ``doctor`` finds about stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, Entry, Kind, Pruned, Risk
from tests.doctor.support import PROXY, entries, found
from tests.support import NOW, OTHER_SECRET, SECRET, Clock, make_app
from tests.support.cli import run
from tests.support.spy_store import SpyStore, spied, store_app

T = int(NOW)
SPANS = ["expired", "in 1 hour", "in 1 day", "in 7 days", "later"]


#: The app has a view for refresh tokens, and keeps no sessions.
ROTATION = ("hint", "JWT_SESSIONS")


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def filled(*entries: tuple[Kind, int]) -> SpyStore:
    """A store with entries that expire so many seconds from now, and that of the scope."""
    store = SpyStore()
    for number, (kind, seconds) in enumerate(entries):
        store.add(Entry(key(number), kind, seconds))
    return store


MIXED = [
    (Kind.TOKEN, -1),
    (Kind.TOKEN, 0),
    (Kind.TOKEN, 3599),
    (Kind.TOKEN, 3600),
    (Kind.SESSION, 86400),
    (Kind.SESSION, 604799),
    (Kind.SUBJECT, 604800),
    (Kind.SUBJECT, 2592000),
]
COUNTS = {
    "token": [1, 2, 1, 0, 0],
    "session": [0, 0, 0, 2, 0],
    "subject": [0, 0, 0, 0, 2],
    # It never expires.
    "scope": [0, 0, 0, 0, 1],
}


# blocklist


def test_a_table_counts_by_kind_and_by_expiry() -> None:
    app, _ = store_app(filled(*MIXED))
    done = run(app, "blocklist")
    assert (done.code, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert [one.strip() for one in head.split("  ") if one] == [*SPANS, "all"]
    assert [row.split() for row in rows] == [
        *([kind, *map(str, counts), str(sum(counts))] for kind, counts in COUNTS.items()),
        ["all", "1", "2", "1", "2", "3", "9"],
    ]
    assert len({len(row) for row in (head, *rows)}) == 1
    assert len(head) <= 80


def test_json_says_the_same_and_when() -> None:
    app, _ = store_app(filled(*MIXED))
    done = run(app, "blocklist", "--json")
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "at": T,
        "counts": {kind: dict(zip(SPANS, row, strict=True)) for kind, row in COUNTS.items()},
    }


def test_an_empty_store_has_its_rows_too() -> None:
    store = SpyStore()
    app, _ = store_app(store)
    store.marks.clear()
    assert [row.split()[-1] for row in run(app, "blocklist").stdout.splitlines()[1:]] == ["0"] * 5
    # Counting writes nothing.
    assert store.calls == ["count"]


def test_thousands_are_readable_and_stay_in_their_column() -> None:
    class Large(SpyStore):
        def count(self, bounds: Any, /) -> Any:
            return {kind: [1_234_567] * (len(bounds) + 1) for kind in Kind}

    app, _ = store_app(Large())
    lines = run(app, "blocklist").stdout.splitlines()
    assert lines[1].split() == ["token", *["1,234,567"] * 5, "6,172,835"]
    assert len({len(line) for line in lines}) == 1


# prune


def test_prune_removes_what_has_expired_and_says_how_much() -> None:
    app, _ = store_app(filled(*MIXED, *[(Kind.TOKEN, -100)] * 1500))
    done = run(app, "prune")
    assert (done.code, done.stdout) == (0, "Removed 1,501 expired revocations.\n")
    done = run(app, "prune")
    assert (done.code, done.stdout) == (0, "Removed 0 expired revocations.\n")


def test_prune_keeps_all_that_has_not_expired() -> None:
    """USERS 44, SECURITY A.12 225"""
    store = filled(*MIXED)
    app, _ = store_app(store)
    run(app, "prune")
    assert {one.expires - T for one in store.entries.values()} == {
        seconds for _, seconds in MIXED if seconds >= 0
    }


def test_prune_sums_up_batches_and_is_quiet_where_nobody_looks() -> None:
    class Batches(SpyStore):
        def prune(self) -> Iterator[Pruned]:
            for number in range(1, 5):
                yield Pruned(10, number / 4)

    app, _ = store_app(Batches())
    done = run(app, "prune")
    assert (done.code, done.stdout) == (0, "Removed 40 expired revocations.\n")
    assert done.stderr == ""


def test_a_prune_that_breaks_off_ends_with_3() -> None:
    class Breaking(SpyStore):
        def prune(self) -> Iterator[Pruned]:
            yield Pruned(10, 0.5)
            raise ConnectionError("gone")

    app, _ = store_app(Breaking())
    done = run(app, "prune")
    assert (done.code, done.stdout) == (3, "")
    assert "Error: The store of revocations failed to remove" in done.stderr


@pytest.mark.parametrize("command", ["blocklist", "prune"])
def test_codes(command: str) -> None:
    app, _, store = spied()
    assert run(app, command).code == 0
    assert run(app, command, "--nonsense").code == 2
    assert run(app, command, "--name", "other").code == 2
    store.error = ConnectionError("down")
    failed = run(app, command)
    assert (failed.code, failed.stdout) == (3, "")
    assert "See the line above, and try again." in failed.stderr
    without, _ = make_app()
    refused = run(without, command)
    assert (refused.code, refused.stdout) == (1, "")
    assert "JWT_BLOCKLIST" in refused.stderr
    assert run(Flask("tests"), command).code == 1


@pytest.mark.parametrize("command", ["blocklist", "prune"])
def test_with_several_objects_one_must_be_named(command: str) -> None:
    stores = [filled(*MIXED), filled(*MIXED)]
    app, _ = store_app(stores[0])
    app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    AuthX(app, name="admin", blocklist=stores[1], clock=Clock())
    assert run(app, command).code == 2
    assert run(app, command, "--name", "admin").code == 0
    assert "count" not in stores[0].calls
    assert "prune" not in stores[0].calls


# doctor


def test_doctor_is_content_with_a_store_that_has_no_risks() -> None:
    store = SpyStore()
    app, _ = store_app(store)
    assert found(app) == {PROXY, ROTATION}
    assert store.calls == ["risks", "find_dated"]


@pytest.mark.parametrize(
    ("debug", "testing", "level"),
    [(False, False, "warning"), (True, False, "hint"), (False, True, "hint")],
)
def test_doctor_tells_each_risk_with_its_fix(debug: bool, testing: bool, level: str) -> None:
    store = SpyStore(
        danger=[Risk("it may forget.", "remind it."), Risk("it may leak.", "seal it.")]
    )
    app, _ = store_app(store)
    app.testing = testing
    told = [one for one in entries(app, debug=debug) if one["check"] == "blocklist"]
    assert [(one["level"], one["setting"], one["problem"], one["fix"]) for one in told] == [
        (level, "JWT_BLOCKLIST", "it may forget.", "remind it."),
        (level, "JWT_BLOCKLIST", "it may leak.", "seal it."),
    ]
    assert run(app, "doctor").code == 0


def test_doctor_calls_a_store_that_can_not_be_reached_an_error() -> None:
    app, _ = store_app(SpyStore(error=ConnectionError("hunter2 is down")))
    assert found(app) == {PROXY, ROTATION, ("error", "JWT_BLOCKLIST")}
    assert run(app, "doctor").code == 1
    assert "hunter2" not in run(app, "doctor").output + run(app, "doctor", "--json").output


def test_doctor_warns_of_accept_mode() -> None:
    app, _ = store_app(SpyStore(), BLOCKLIST_ON_ERROR="accept")
    assert found(app) == {PROXY, ROTATION, ("warning", "JWT_BLOCKLIST_ON_ERROR")}


def test_doctor_warns_of_stores_in_memory() -> None:
    app, _ = make_app(BLOCKLIST="memory://")
    assert found(app) == {PROXY, ("warning", "JWT_BLOCKLIST")}
    assert "restart loses them" in " ".join(run(app, "doctor").stdout.split())
    assert found(app, debug=True) == {PROXY, ("hint", "JWT_BLOCKLIST")}
    app = Flask("tests", static_folder=None)
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET, JWT_BLOCKLIST="sqlalchemy://", SQLALCHEMY_DATABASE_URI="sqlite://"
    )
    SQLAlchemy(app)
    AuthX(app)
    assert found(app) == {PROXY, ("warning", "JWT_BLOCKLIST")}


def test_doctor_finds_the_table_that_is_missing_and_a_file_without_wal(tmp_path: Any) -> None:
    app = Flask("tests", static_folder=None)
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET,
        JWT_BLOCKLIST="sqlalchemy://",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'app.db'}",
    )
    db = SQLAlchemy(app)
    AuthX(app)
    problems = " ".join(one["problem"] or "" for one in entries(app))
    assert "the table authx_blocklist is missing" in problems
    assert "not in WAL mode" in problems
    with app.app_context():
        db.create_all()
        with db.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    assert found(app) == {PROXY}


def test_doctor_wants_no_callback_where_there_is_a_store() -> None:
    app, _ = store_app(SpyStore(), ACCESS_TOKEN_EXPIRES="5h", REVOCATION_REQUIRED=True)
    assert found(app) == {PROXY, ROTATION}
    app, _ = store_app(SpyStore(), ACCESS_TOKEN_EXPIRES="5h")
    assert found(app) == {PROXY, ROTATION}
