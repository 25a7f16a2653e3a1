"""An API for a client without cookies, such as a phone's: sessions that can be revoked.

Run it with ``python -m examples.mobile_api``, or serve ``create_app()`` with any WSGI server.
``client.py`` is a client of it, ``python -m examples.mobile_api.terminal`` runs it in a terminal.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from flask import Blueprint, Flask, abort, jsonify, make_response, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash

from flask_authx import AuthX, current_user, refresh_reuse_detected


class Base(DeclarativeBase):
    pass


authx = AuthX()
db = SQLAlchemy(metadata=Base.metadata)
api = Blueprint("api", __name__)

SETTINGS: dict[str, Any] = {
    "SQLALCHEMY_DATABASE_URI": "sqlite:///mobile_api.db",
    "MAX_CONTENT_LENGTH": 64 * 1024,
    "JWT_BLOCKLIST": "sqlalchemy://",
    "JWT_SESSIONS": True,
    # For the list of sessions: the user recognizes a device by its user agent.
    "JWT_SESSION_DETAILS": ["user_agent"],
}
# Compared with if there is no account of that name, so that the time of the answer doesn't show
# whether there is one.
DUMMY_HASH = generate_password_hash("no account has this password")


class Account(Base):
    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(255))


@authx.set_callback_get_model_instance
def load_account(uid: str) -> Account | None:
    # Called at each refresh, too: a session of a deleted account can't be refreshed.
    return db.session.get(Account, int(uid))


def authenticate() -> int | None:
    """The account whose name and password were sent to the blueprint's POST /auth/login.

    None is answered with LoginFailedError: a 401 in JSON.
    """
    name, password = name_and_password()
    account = db.session.scalar(sa.select(Account).where(Account.name == name))
    right = check_password_hash(account.password_hash if account else DUMMY_HASH, password)
    return account.id if account and right else None


@api.post("/accounts")
@authx.public
def sign_up() -> tuple[dict[str, Any], int]:
    name, password = name_and_password()
    account = Account(name=name, password_hash=generate_password_hash(password))
    db.session.add(account)
    try:
        db.session.commit()
    except IntegrityError:
        abort(make_response(jsonify(msg="This name is taken"), 409))
    return {"name": account.name}, 201


@api.get("/me")
@authx.token_required
def me() -> dict[str, str]:
    return {"name": current_user.name}


def name_and_password() -> tuple[str, str]:
    body: object = request.get_json(silent=True)
    sent = cast(dict[str, object], body) if isinstance(body, dict) else {}
    texts = [sent.get("name"), sent.get("password")]
    # Only printable text: some of the rest, such as half of a surrogate pair, can't be stored.
    name, password = (
        text if isinstance(text, str) and text.isprintable() else "" for text in texts
    )
    if not 0 < len(name) <= 64 or not 8 <= len(password) <= 128:
        message = 'send {"name": "...", "password": "..."}; the password has 8 to 128 characters'
        abort(make_response(jsonify(msg=message), 400))
    return name, password


def create_app(instance_path: str | None = None) -> Flask:
    """The app. Each setting can come from the environment: ``FLASK_JWT_REFRESH_GRACE`` and so on.

    :param instance_path: the folder of the database and the secret; by default Flask's.
    """
    app = Flask(__name__, instance_path=instance_path)
    app.config.from_mapping(SETTINGS)
    app.config.from_prefixed_env()
    db.init_app(app)
    if "JWT_SECRET_KEY" not in app.config:
        app.config["JWT_SECRET_KEY"] = secret_file(app)
    authx.init_app(app)
    make_tables(app)
    refresh_reuse_detected.connect(warn_owner, app)
    app.register_blueprint(authx.blueprint(authenticate=authenticate))
    app.register_blueprint(api)
    return app


def warn_owner(app: Flask, *, sub: str, **_: Any) -> None:
    # A real app sends them a mail.
    app.logger.warning(
        "A refresh token of the account %s was reused: a copy exists, and the session is revoked.",
        sub,
    )


def make_tables(app: Flask) -> None:
    # A real app has migrations, which include the tables of Flask-AuthX.
    with app.app_context():
        db.create_all()
        with db.engine.connect() as connection:
            # Write-ahead logging: readers don't wait for a writer. The file keeps this mode.
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def secret_file(app: Flask) -> Path:
    """A secret that is created once: tokens stay valid after a restart, and the source has none."""
    path = Path(app.instance_path, "mobile_api.secret")
    with app.app_context():
        is_new = not sa.inspect(db.engine).has_table("account")
    if is_new:
        # The database is new. With the old secret, a token of a lost database would be valid for
        # another account of the same id.
        path.unlink(missing_ok=True)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path
