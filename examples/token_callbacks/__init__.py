"""Revocation with a callback and a table of the app: AuthX's "Token Callbacks" page in Flask.

Run it with ``python -m examples.token_callbacks``, or serve ``create_app()`` with any WSGI server.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, abort, current_app, jsonify, make_response, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from flask_authx import AuthX, StoreUnavailableError, Token, current_token

authx = AuthX()
metadata = sa.MetaData()
db = SQLAlchemy(metadata=metadata)
api = Blueprint("api", __name__)

# The key is the token's id, not the token as on AuthX's page. An ES256 signature has a second valid
# form: the same token has two texts, and a look-up of the second would find nothing. Besides, a
# dump of this table contains no valid token.
revoked_token = sa.Table(
    "revoked_token",
    metadata,
    sa.Column("jti", sa.String(255), primary_key=True),
    # When the token expires and its row can be deleted: seconds since 1970-01-01 UTC.
    sa.Column("exp", sa.Integer, nullable=False, index=True),
)


@authx.set_callback_token_blocklist
def is_token_revoked(token: str, claims: Mapping[str, Any]) -> bool:
    query = sa.select(revoked_token.c.jti).where(revoked_token.c.jti == claims["jti"])
    with database() as connection:
        return connection.execute(query).first() is not None


def revoke(*tokens: Token) -> None:
    # A row is kept until an hour after its token has expired, longer than any leeway. A log-out
    # adds up to two rows and deletes up to a hundred: the table stays small and the log-out fast.
    old = sa.select(revoked_token.c.jti).where(revoked_token.c.exp < time.time() - 3600).limit(100)
    rows = [{"jti": token.jti, "exp": token.exp} for token in tokens]
    with database() as connection:
        # Two log-outs with the same token at once are no conflict.
        connection.execute(insert(revoked_token).values(rows).on_conflict_do_nothing())
        connection.execute(sa.delete(revoked_token).where(revoked_token.c.jti.in_(old)))


@contextmanager
def database() -> Generator[sa.Connection]:
    """A transaction of its own: it is committed before the log-out is answered."""
    try:
        with db.engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        current_app.logger.error(
            "The database of revoked tokens, %s, failed (%s): guarded requests get a 503. Restore "
            "it from a backup. If it is lost, restart the app: it creates a new database, and all "
            "users must log in again.",
            db.engine.url.render_as_string(),
            error.__cause__ or error,
        )
        raise StoreUnavailableError from None


@api.post("/login")
def login() -> dict[str, Any]:
    body = json_body()
    username, pair = body.get("username"), body.get("pair", False)
    if not isinstance(username, str) or not isinstance(pair, bool):
        refuse('send {"username": "ann"}, and "pair": true for a refresh token, too')
    # A real app checks a password here. If it is wrong: raise LoginFailedError, a 401 in JSON.
    try:
        if pair:
            return authx.create_token_pair(username).to_dict()
        return {"access_token": authx.create_access_token(username)}
    except ValueError:
        refuse("the username must have 1 to 255 characters, and not only spaces")


@api.post("/refresh")
@authx.refresh_token_required
def refresh() -> dict[str, str]:
    return {"access_token": authx.create_access_token(current_token.sub, login=current_token)}


@api.get("/token/optional")
def optional() -> Response:
    # The token is not verified here: its claims prove nothing.
    token = authx.get_token_from_request(optional=True)
    if token is None:
        return jsonify("No token found")
    return jsonify(f"Your token is: {token} and is located in {token.location}")


@api.get("/token/mandatory")
@authx.token_required
def mandatory() -> Response:
    token = authx.get_token_from_request(optional=False)
    return jsonify(f"Your token is: {token} and is located in {token.location}")


@api.get("/profile")
@authx.token_required
def profile() -> Response:
    return jsonify("You are authenticated")


@api.delete("/logout")
@authx.token_required
def logout() -> Response:
    body = json_body() if request.get_data() else {}
    if not body:
        revoke(current_token)
        return jsonify("OK")
    sent = body.get("refresh_token")
    if not isinstance(sent, str):
        refuse('send {"refresh_token": "..."}, or no body to revoke the access token only')
    # Verified before it is revoked: otherwise a client could revoke the tokens of other users.
    refresh_token = authx.verify_token(sent, type="refresh")
    if refresh_token.sid != current_token.sid:
        refuse("the refresh token belongs to another session")
    revoke(current_token, refresh_token)
    return jsonify("OK")


def json_body() -> dict[str, Any]:
    body: object = request.get_json(silent=True)
    if not isinstance(body, dict):
        refuse("send a JSON object, with the header Content-Type: application/json")
    return cast(dict[str, Any], body)


def refuse(message: str) -> NoReturn:
    abort(make_response(jsonify(msg=message), 400))


def create_app(config: Mapping[str, Any] | None = None, instance_path: str | None = None) -> Flask:
    """The app. Each setting can come from the environment: ``FLASK_JWT_SECRET_KEY`` and so on.

    :param instance_path: the folder of the database and the secret; by default Flask's.
    """
    app = Flask(__name__, instance_path=instance_path)
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI="sqlite:///token_callbacks.db",
        # Without a pool: an open connection would continue to read a file that has been deleted.
        SQLALCHEMY_ENGINE_OPTIONS={"poolclass": sa.NullPool},
    )
    app.config.from_prefixed_env()
    app.config.from_mapping(config)
    db.init_app(app)
    with app.app_context():
        is_new = not sa.inspect(db.engine).has_table(revoked_token.name)
        if app.config.keys().isdisjoint({"JWT_SECRET_KEY", "JWT_PRIVATE_KEY"}):
            app.config["JWT_SECRET_KEY"] = secret_file(app, renew=is_new)
        elif is_new:
            app.logger.warning(
                "The table of revoked tokens is new. If there was one before, change the key of "
                "the tokens: otherwise tokens that were revoked are valid again."
            )
        db.create_all()
    authx.init_app(app)
    app.register_blueprint(api)
    return app


def secret_file(app: Flask, *, renew: bool) -> Path:
    """A secret that is created once: tokens stay valid after a restart, and the source has none."""
    path = Path(app.instance_path, "token_callbacks.secret")
    if renew and path.exists():
        # The revocations are lost. With a new secret, no revoked token is valid again.
        app.logger.warning("The table of revoked tokens was lost: all users must log in again.")
        path.unlink()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path
