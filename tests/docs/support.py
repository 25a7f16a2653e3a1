"""The snippets of the documentation, to be run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from flask.testing import FlaskClient

#: Who can log in to the apps of the pages.
ANN = {"name": "ann", "password": "correct horse"}


def snippet(name: str) -> ModuleType:
    """A snippet, freshly run: each test has an app of its own."""
    sys.modules.pop(f"examples.snippets.{name}", None)
    return importlib.import_module(f"examples.snippets.{name}")


@contextmanager
def with_users(name: str, *users: dict[str, Any]) -> Generator[ModuleType]:
    """A snippet that has a database, with these users in it."""
    module = snippet(name)
    with module.app.app_context():
        module.db.session.add_all(module.User(**user) for user in users)
        module.db.session.commit()
    yield module
    with module.app.app_context():
        module.db.engine.dispose()


def log_in(client: FlaskClient, **asked: Any) -> dict[str, Any]:
    """The tokens of a new session of Ann's."""
    response = client.post("/login", json={**ANN, **asked})
    assert response.status_code == 200, f"the log-in failed: {response.text}"
    pair: dict[str, Any] = response.get_json()
    return pair
