"""Revocations among processes: another one sees them at once, and a fork breaks nothing.

The processes are this module, run with ``-m``: ``answer`` reads tokens and writes what becomes of
them, ``fork`` is a server that has used its store before it forks its workers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from flask_authx import AuthX
from tests.stores.test_store_contract_requests import (
    SHARED,
    answer,
    joined,
    login,
    settings_of,
    site,
)
from tests.support import access_token
from tests.support.answers import OK, REVOKED

CHILDREN = 4
ROUNDS = 6


def command(name: str, settings: dict[str, Any]) -> list[str]:
    warnings = ("-W", "error::ResourceWarning")
    return [sys.executable, *warnings, "-m", __name__, name, json.dumps(settings)]


def read_and_answer(settings: dict[str, Any]) -> None:
    app, authx = joined(settings)
    for line in sys.stdin:
        what, _, value = line.strip().partition(" ")
        if what == "ask":
            print(answer(app, value)[0], flush=True)
        else:
            with app.app_context():
                authx.revoke_token(value)
            print("revoked", flush=True)


@pytest.mark.parametrize("kind", SHARED)
def test_another_process_sees_a_revocation_at_once(kind: str, tmp_path: Path) -> None:
    """SECURITY 219"""
    settings = settings_of(kind, tmp_path)
    app, authx = site(settings)
    with subprocess.Popen(
        command("answer", settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for turn in range(6):
            token = access_token(app, authx, f"ann{turn}")
            said = [tell(other, f"ask {token}")]
            if turn % 2:
                with app.app_context():
                    authx.revoke_token(token)
            else:
                assert tell(other, f"revoke {token}") == "revoked"
            said.append(tell(other, f"ask {token}"))
            assert said == ["200", "401"]
            assert answer(app, token) == REVOKED
        other.stdin.close()
        assert other.wait(60) == 0


def tell(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def connections(settings: dict[str, Any]) -> set[int]:
    """The server's numbers of the connections that the settings name."""
    if settings["JWT_BLOCKLIST"].startswith("redis"):
        url, _, name = settings["JWT_BLOCKLIST"].partition("?client_name=")
        untyped: Any = redis.Redis
        client = untyped.from_url(url)
        listed: list[dict[str, Any]] = client.client_list()
        client.close()
        return {int(one["id"]) for one in listed if one["name"] == name}
    url = sa.make_url(settings["SQLALCHEMY_DATABASE_URI"])
    if url.get_backend_name() == "sqlite":
        return set()
    if url.get_backend_name() == "postgresql":
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = :name"
        name = url.query["application_name"]
    else:
        # It keeps no names: those of this test run's own database.
        query = (
            "SELECT id FROM information_schema.processlist "
            "WHERE db = :name AND id <> connection_id()"
        )
        name = url.database or ""
    engine = sa.create_engine(url.set(query={}), poolclass=sa.NullPool)
    with engine.connect() as connection:
        return {*connection.execute(sa.text(query), {"name": name}).scalars()}


def look_and_revoke(app: Flask, authx: AuthX, over: str, alive: str, name: str) -> None:
    """What a worker does all day; its own user is called so."""
    for _ in range(ROUNDS):
        assert answer(app, over) == REVOKED
        assert answer(app, alive) == OK
        token, sid = login(app, authx, name)
        assert answer(app, token) == OK
        with app.app_context():
            authx.revoke_session(sid)
        assert answer(app, token) == REVOKED


def fork(settings: dict[str, Any]) -> None:
    app, authx = joined(settings)
    over, alive = access_token(app, authx, "ann"), access_token(app, authx, "bob")
    with app.app_context():
        authx.revoke_token(over)
    assert (answer(app, over), answer(app, alive)) == (REVOKED, OK)
    before = connections(settings)
    ready, go = os.pipe()
    children: list[int] = []
    for number in range(CHILDREN):
        child = os.fork()
        if not child:
            # All of them and the parent at the same moment.
            os.close(go)
            os.read(ready, 1)
            look_and_revoke(app, authx, over, alive, f"child{number}")
            # As a worker ends: everything that it has is cleared away.
            sys.exit()
        children.append(child)
    os.close(go)
    look_and_revoke(app, authx, over, alive, "parent")
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    # In turns: a child that comes and goes between two requests of the parent.
    for number in range(3):
        child = os.fork()
        if not child:
            look_and_revoke(app, authx, over, alive, f"turn{number}")
            sys.exit()
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        assert (answer(app, over), answer(app, alive)) == (REVOKED, OK)
    look_and_revoke(app, authx, over, alive, "parent")
    print(json.dumps([statuses, sorted(before), sorted(connections(settings))]))


@pytest.mark.parametrize("kind", SHARED)
def test_a_fork_leaves_the_connections_of_each_process_alone(kind: str, tmp_path: Path) -> None:
    """SECURITY 311: a parent that has used its store, and workers that all use it at once"""
    settings = settings_of(kind, tmp_path)
    site(settings)
    name = f"authx-{uuid.uuid4().hex[:12]}"
    if kind == "redis":
        settings["JWT_BLOCKLIST"] += f"?client_name={name}"
    elif kind in ("postgresql", "psycopg2"):
        settings["SQLALCHEMY_DATABASE_URI"] += f"?application_name={name}"
    done = subprocess.run(
        command("fork", settings), capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    statuses, before, after = json.loads(done.stdout)
    assert statuses == [0] * (CHILDREN + 3)
    if kind != "sqlite":
        assert before
        # The parent goes on with the very connections that it had.
        assert set(before) <= set(after)


if __name__ == "__main__":
    {"answer": read_and_answer, "fork": fork}[sys.argv[1]](json.loads(sys.argv[2]))
