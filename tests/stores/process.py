"""Apps on shared stores in a process of their own, which forks: run with ``-m``.

It reads questions, one a line as JSON, and writes a line of JSON as the response to each.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import redis
import sqlalchemy as sa
from flask import Flask

from flask_authx import AuthX
from tests.stores.sites import joined, log_in, outcome_of
from tests.support import access_token
from tests.support.answers import OK, REVOKED

CHILDREN, TURNS = 3, 2
ROUNDS = 4


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


#: The apps so far: none is garbage before the process ends.
_apps: list[tuple[Flask, AuthX]] = []


def kept(made: tuple[Flask, AuthX]) -> tuple[Flask, AuthX]:
    _apps.append(made)
    return made


def look_up_and_revoke(made: tuple[Flask, AuthX], revoked: str, valid: str, name: str) -> None:
    """What a worker does; its own user has this name."""
    app, authx = made
    for _ in range(ROUNDS):
        assert outcome_of(app, revoked) == REVOKED
        assert outcome_of(app, valid) == OK
        token, sid = log_in(app, authx, name)
        assert outcome_of(app, token) == OK
        with app.app_context():
            authx.revoke_session(sid)
        assert outcome_of(app, token) == REVOKED


def run_child(work: Callable[[], None]) -> int:
    """Fork, and do this in the child; return its number in the parent."""
    child = os.fork()
    if not child:
        work()
        # As a worker ends: everything that it has is cleared away.
        sys.exit()
    return child


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork(settings: dict[str, Any]) -> dict[str, Any]:
    """Use the store before, beside and after children that use it, too."""
    app, authx = kept(joined(settings))
    revoked, valid = access_token(app, authx, "ann"), access_token(app, authx, "bob")
    with app.app_context():
        authx.revoke_token(revoked)
    assert (outcome_of(app, revoked), outcome_of(app, valid)) == (REVOKED, OK)
    before = connections(settings)
    ready, go = os.pipe()

    def work(number: int) -> None:
        # All of them and the parent at the same moment.
        os.close(go)
        os.read(ready, 1)
        look_up_and_revoke((app, authx), revoked, valid, f"child{number}")

    children = [run_child(functools.partial(work, number)) for number in range(CHILDREN)]
    os.close(go)
    look_up_and_revoke((app, authx), revoked, valid, "parent")
    statuses = [*map(status_of, children)]
    os.close(ready)
    # In turns: a child that comes and goes between two requests of the parent.
    for number in range(TURNS):
        turn = functools.partial(look_up_and_revoke, (app, authx), revoked, valid, f"turn{number}")
        statuses.append(status_of(run_child(turn)))
        assert (outcome_of(app, revoked), outcome_of(app, valid)) == (REVOKED, OK)
    look_up_and_revoke((app, authx), revoked, valid, "parent")
    after = connections(settings)
    return {"statuses": statuses, "before": sorted(before), "after": sorted(after)}


def main() -> None:
    app, authx = Flask("none"), AuthX()
    response: Any
    for line in sys.stdin:
        question, value = json.loads(line)
        match question:
            case "join":
                app, authx = kept(joined(value))
                response = "joined"
            case "outcome":
                response = list(outcome_of(app, value))
            case "revoke":
                with app.app_context():
                    authx.revoke_token(value)
                response = "revoked"
            case _:
                response = fork(value)
        print(json.dumps(response), flush=True)


if __name__ == "__main__":
    main()
