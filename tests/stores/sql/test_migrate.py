"""Flask-Migrate sees the tables like any other of the app's."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import flask.cli
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_sqlalchemy import SQLAlchemy

from tests.support import SECRET
from tests.support.databases import database_url
from tests.support.processes import forked
from tests.support.sql_apps import KINDS, NAMED, SQLApps

APP = """
import os
import sqlalchemy as sa
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_authx import AuthX

app = Flask(__name__)
app.config.from_prefixed_env()
db = SQLAlchemy(app)
authx = AuthX(app)
Migrate(app, db)


class Note(db.Model):
    id = sa.Column(sa.Integer, primary_key=True)
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", [False, True])
def test_the_types_that_are_made_compare_equal(sql_app: SQLApps, kind: str, named: bool) -> None:
    metadata = sa.MetaData(naming_convention=NAMED) if named else sa.MetaData()
    site = sql_app(kind, db=SQLAlchemy(metadata=metadata), JWT_AUDIT="365d")
    with site.app.app_context(), site.db.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, site.db.metadata) == []
        # It would have found something.
        site.db.metadata.remove(site.db.metadata.tables["authx_blocklist"])
        assert [change[0] for change in compare_metadata(context, site.db.metadata)] == [
            "remove_table"
        ]


def command(folder: Path, args: list[str], settings: dict[str, Any], said: Path) -> None:
    """Runs in a process of its own: ``flask`` itself, as from this folder."""
    with said.open("w", encoding="utf-8") as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    os.chdir(folder)
    os.environ.update({f"FLASK_{name}": json.dumps(value) for name, value in settings.items()})
    sys.argv = ["flask", "--app", "app", *args]
    flask.cli.main()


def run_flask(folder: Path, *args: str, **settings: Any) -> str:
    """What a command says that ends well."""
    output = folder / "said"
    process = forked.Process(target=command, args=(folder, [*args], settings, output))
    process.start()
    process.join(120)
    said = output.read_text("utf-8")
    assert process.exitcode == 0, f"flask {' '.join(args)} ended with {process.exitcode}: {said}"
    return said


def tables(url: str) -> set[str]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    return set(sa.inspect(engine).get_table_names())


OURS = ("authx_blocklist", "authx_audit", "authx_sessions")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_flask_db_makes_and_keeps_the_tables(tmp_path: Path, kind: str) -> None:
    url = database_url(kind, tmp_path)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for table in ("note", *OURS, "alembic_version"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
    (tmp_path / "app.py").write_text(APP, "utf-8")
    settings = {
        "SQLALCHEMY_DATABASE_URI": url,
        "JWT_SECRET_KEY": SECRET,
        "JWT_BLOCKLIST": "sqlalchemy://",
        "JWT_STORE_TIMEOUT": 10,
    }
    versions = tmp_path / "migrations" / "versions"

    run_flask(tmp_path, "db", "init", **settings)
    # The others come later, each as a migration of its own.
    more: tuple[dict[str, Any], ...] = ({}, {"JWT_AUDIT": 86400}, {"JWT_SESSIONS": True})
    for step, new in enumerate(more, 1):
        settings |= new
        run_flask(tmp_path, "db", "migrate", "--rev-id", f"r{step}", **settings)
        run_flask(tmp_path, "db", "upgrade", **settings)
        assert tables(url) == {*OURS[:step], "note", "alembic_version"}
        assert "No changes in schema detected" in run_flask(tmp_path, "db", "migrate", **settings)
        assert len([*versions.glob("*.py")]) == step

    said = run_flask(
        tmp_path, "authx", "revoke", "--session", "s", "--reason", "a ticket", **settings
    )
    assert "No session s is stored. Tokens with this sid are revoked." in said
    for table in OURS[:2]:
        with engine.connect() as connection:
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 1
    if kind == "sqlite":
        # The rows are in the index itself, as with db.create_all().
        with engine.connect() as connection:
            find = "SELECT sql FROM sqlite_master WHERE name = 'authx_blocklist'"
            assert "WITHOUT ROWID" in str(connection.exec_driver_sql(find).scalar())

    run_flask(tmp_path, "db", "downgrade", "base", **settings)
    assert tables(url) == {"alembic_version"}
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")


@pytest.mark.slow
def test_each_bind_has_a_migration_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP, "utf-8")
    main, bind = (f"sqlite:///{tmp_path / name}.db" for name in ("main", "bind"))
    settings = {
        "SQLALCHEMY_DATABASE_URI": main,
        "SQLALCHEMY_BINDS": {"auth": bind},
        "JWT_SECRET_KEY": SECRET,
        "JWT_BLOCKLIST": "sqlalchemy://auth",
        "JWT_AUDIT": 86400,
    }
    run_flask(tmp_path, "db", "init", "--multidb", **settings)
    run_flask(tmp_path, "db", "migrate", **settings)
    run_flask(tmp_path, "db", "upgrade", **settings)
    assert (tables(main), tables(bind)) == (
        {"note", "alembic_version"},
        {*OURS[:2]} | {"alembic_version"},
    )
    assert "No changes in schema detected" in run_flask(tmp_path, "db", "migrate", **settings)
