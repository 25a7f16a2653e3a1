"""The recipes of the page on migration: each is an app before and after the move, and both run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flask_jwt_extended
from flask import Flask
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX
from tests.docs.support import blocks, section_text
from tests.support import SECRET, bearer
from tests.support.cli import run

#: Its types are only partly known.
fje: Any = flask_jwt_extended

PAGE = "migrating"


def seconds_ahead(text: str) -> int:
    """How far ahead of now the line of a text sets ``FLASK_MOVED_AT``, run by a shell."""
    (line,) = [one for one in text.splitlines() if one.startswith("export FLASK_MOVED_AT=")]
    done = subprocess.run(
        ["sh", "-c", f'{line}; echo "$FLASK_MOVED_AT"'], capture_output=True, text=True, check=True
    )
    return round(int(done.stdout) - time.time())


@dataclass(eq=False)
class Side:
    """One of the two apps, with a view ``/guarded`` for tokens of any type."""

    app: Flask
    #: What the code of the page defines.
    names: dict[str, Any]
    client: FlaskClient

    def status(self, token: str, path: str = "/guarded") -> int:
        """What a client without cookies is answered."""
        client = self.app.test_client(use_cookies=False)
        return client.get(path, headers=bearer(token)).status_code

    def csrf(self) -> dict[str, str]:
        """The header that a browser's script sends with a request of an unsafe method."""
        cookie = self.client.get_cookie("csrf_access_token")
        assert cookie is not None
        return {"X-CSRF-TOKEN": cookie.value}


class Before(Side):
    """The app on Flask-JWT-Extended."""

    def create(self, kind: str = "access", uid: Any = "ann", **options: Any) -> str:
        """A token that a client may still have after the move."""
        with self.app.app_context():
            token: str = getattr(fje, f"create_{kind}_token")(uid, **options)
            return token


class After(Side):
    """The app on Flask-AuthX."""

    @property
    def authx(self) -> AuthX:
        found: AuthX = self.names["authx"]
        return found

    def create(self, uid: Any = "ann", **options: Any) -> dict[str, Any]:
        """A pair of tokens."""
        with self.app.app_context():
            return self.authx.create_token_pair(uid, **options).to_dict()


@contextmanager
def recipe(heading: str, folder: Path) -> Generator[tuple[Before, After]]:
    """The two apps of a recipe, with one database and one secret, as in a move.

    The tables are created and the store is prepared as the page says.
    """
    before_code, after_code = blocks(section_text(PAGE, heading), "python")
    settings: dict[str, Any] = {
        "JWT_SECRET_KEY": SECRET,
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/app.sqlite3",
    }
    before_app, after_app = Flask("before"), Flask("after")
    before_app.config.from_mapping(settings)
    after_app.config.from_mapping(settings, JWT_ACCEPT_UNTYPED=True)
    before = Before(before_app, _run(before_code, before_app), before_app.test_client())
    after = After(after_app, _run(after_code, after_app), after_app.test_client())
    before_app.add_url_rule("/guarded", view_func=fje.jwt_required(verify_type=False)(_guarded))
    after_app.add_url_rule("/guarded", view_func=after.authx.token_required(_guarded))
    try:
        _create_tables(before)
        _create_tables(after)
        if {"JWT_BLOCKLIST": "memory://", **after_app.config}["JWT_BLOCKLIST"] != "memory://":
            run(after_app, "store", "init", "--trust-older")
        yield before, after
    finally:
        for side in (before, after):
            _dispose(side)


def _run(code: str, app: Flask) -> dict[str, Any]:
    names: dict[str, Any] = {"app": app, "__name__": f"page_migrating_{app.name}"}
    exec(compile(code, f"<{PAGE}: {app.name}>", "exec", dont_inherit=True), names)
    return names


def _guarded() -> dict[str, str]:
    return {}


def _create_tables(side: Side) -> None:
    if isinstance(side.names.get("db"), SQLAlchemy):
        with side.app.app_context():
            side.names["db"].create_all()


def _dispose(side: Side) -> None:
    if isinstance(side.names.get("db"), SQLAlchemy):
        with side.app.app_context():
            side.names["db"].session.remove()
            for engine in side.names["db"].engines.values():
                engine.dispose()
    if "revoked" in side.names:
        side.names["revoked"].close()
