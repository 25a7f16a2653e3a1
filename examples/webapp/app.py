"""The app: its settings, its parts, and the headers of every answer."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask, Response, redirect, request, url_for
from werkzeug import Response as Redirect
from werkzeug.exceptions import HTTPException

from flask_authx import AuthXException, refresh_reuse_detected

from .accounts import accounts
from .devices import device
from .models import db
from .notes import notes
from .signin import authx, failed, refused, tell_owner

SETTINGS: dict[str, Any] = {
    "SQLALCHEMY_DATABASE_URI": "sqlite:///webapp.sqlite3",
    "MAX_CONTENT_LENGTH": 64 * 1024,
    "JWT_BLOCKLIST": "sqlalchemy://",
    "JWT_SESSIONS": True,
    "JWT_SESSION_DETAILS": ["user_agent"],
    "JWT_TOKEN_LOCATION": ["cookies"],
    # The cookies stay when the browser is closed.
    "JWT_SESSION_COOKIE": False,
    # So short that you can watch the renewal. A real app has the default, 15 minutes.
    "JWT_ACCESS_TOKEN_EXPIRES": 10,
    # The same clock issues and verifies the tokens.
    "JWT_DECODE_LEEWAY": 0,
    # Automatic renewal: an access token with less than 5 seconds left is replaced in the answer.
    "JWT_IMPLICIT_REFRESH_DELTATIME": 5,
    # The forms have a field with the CSRF value; the requests of scripts have a header.
    "JWT_CSRF_CHECK_FORM": True,
    "JWT_CSRF_CHECK_ORIGIN": True,
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def create_app(config: Mapping[str, Any] | None = None, instance_path: str | None = None) -> Flask:
    """The app. Each setting can come from the environment: ``FLASK_JWT_COOKIE_SECURE`` and so on.

    :param instance_path: the folder of the database and the secret; by default Flask's.
    """
    app = Flask(__name__, instance_path=instance_path)
    app.config.from_mapping(SETTINGS)
    app.config.from_prefixed_env()
    app.config.from_mapping(config)
    db.init_app(app)
    if "JWT_SECRET_KEY" not in app.config:
        app.config["JWT_SECRET_KEY"] = secret_file(app)
    authx.init_app(app)
    make_tables(app)
    refresh_reuse_detected.connect(tell_owner, app)
    app.register_error_handler(AuthXException, refused)
    app.register_error_handler(HTTPException, failed)
    app.register_blueprint(authx.blueprint())
    app.register_blueprint(accounts)
    app.register_blueprint(notes)
    app.add_url_rule("/", view_func=home)
    app.add_template_filter(device)
    app.after_request(harden)
    return app


def home() -> Redirect:
    return redirect(url_for("notes.index"))


def harden(response: Response) -> Response:
    response.headers.update(HEADERS)
    if request.endpoint != "static":
        # After the sign-out, the back button shows no page of the user.
        response.headers["Cache-Control"] = "no-store"
    return response


def make_tables(app: Flask) -> None:
    # A real app has migrations, which include the tables of Flask-AuthX.
    with app.app_context():
        db.create_all()
        with db.engine.connect() as connection:
            # Write-ahead logging: readers don't wait for a writer. The file keeps this mode.
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def secret_file(app: Flask) -> Path:
    """A secret that is created once: tokens stay valid after a restart, and the source has none."""
    path = Path(app.instance_path, "webapp.secret")
    with app.app_context():
        is_new = not sa.inspect(db.engine).has_table("user")
    if is_new:
        # The database is new. With the old secret, a token of a lost database would be valid for
        # another user of the same id.
        path.unlink(missing_ok=True)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path
