"""Processes that start at once: forked from one that has imported what they need."""

from __future__ import annotations

import multiprocessing

#: Makes processes as the context ``spawn`` does, for functions that can be imported.
forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(
    [
        *("pytest", "alembic.command", "flask.cli", "flask_migrate", "flask_sqlalchemy"),
        *("psycopg", "pymysql", "redis", "tests.support.failing", "tests.support.sql_apps"),
    ]
)
