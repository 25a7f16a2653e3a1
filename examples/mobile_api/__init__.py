"""An API for a client without cookies, such as a phone's: logins that last and can be ended.

Run it with ``python -m examples.mobile_api``, or serve ``create_app()`` with any WSGI server.
``client.py`` is a client for it, and ``python -m examples.mobile_api.terminal`` tries it out.
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
    # Without it, its owner could not tell one device of the list from another.
    "JWT_SESSION_DETAILS": ["user_agent"],
}
# Whether a name exists can't be told from how long the answer takes.
NOBODY = generate_password_hash("compared with when there is no such account")


class Account(Base):
    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(255))


@authx.set_callback_get_model_instance
def load_account(uid: str) -> Account | None:
    # It is asked at each refresh, too: an account that is gone is refreshed no more.
    return db.session.get(Account, int(uid))


def authenticate() -> int | None:
    """Whose name and password came with POST /auth/login, which the blueprint makes of this."""
    name, password = name_and_password()
    account = db.session.scalar(sa.select(Account).where(Account.name == name))
    right = check_password_hash(account.password_hash if account else NOBODY, password)
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
    # What can't be printed can't all be stored either, such as half of a surrogate pair.
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
    # A real app writes to them by mail.
    app.logger.warning("A copy of a login of the account %s was used; it has ended.", sub)


def make_tables(app: Flask) -> None:
    # A real app has migrations; they see the tables of Flask-AuthX as any other.
    with app.app_context():
        db.create_all()
        with db.engine.connect() as connection:
            # Then nobody who reads waits for somebody who writes. The file remembers it.
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def secret_file(app: Flask) -> Path:
    """A secret that is made once, so that logins outlive a restart and none is in the source."""
    path = Path(app.instance_path, "mobile_api.secret")
    with app.app_context():
        is_new = not sa.inspect(db.engine).has_table("account")
    if is_new:
        # With another secret no login of a database that was lost opens the next one's accounts.
        path.unlink(missing_ok=True)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path
