"""The app on Flask-AuthX: the views keep their decorators and calls, which the bridge provides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, current_app, jsonify, request
from werkzeug.security import check_password_hash

from flask_authx import current_token

from .bridge import (
    authx,
    create_access_token,
    create_refresh_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
)
from .models import TokenBlocklist, User, db, make_tables

views = Blueprint("views", __name__)


@authx.set_callback_additional_claims
def role_of(identity: str) -> dict[str, str]:
    return {"role": db.session.get_one(User, identity).role}


# Until the last token from before the move has expired; so is what logout() does with them.
@authx.set_callback_token_blocklist
def is_revoked(token: str, claims: Mapping[str, Any]) -> bool:
    found = sa.select(TokenBlocklist.id).where(TokenBlocklist.jti == claims["jti"])
    return db.session.scalar(found) is not None


@views.post("/login")
def login() -> tuple[Response, int]:
    sent = request.get_json()
    user = db.session.get(User, sent["name"])
    if user is None or not check_password_hash(user.password, sent["password"]):
        return jsonify(msg="wrong name or password"), 401
    response = jsonify(user=user.name)
    authx.set_access_cookies(response, create_access_token(user.name, fresh=True))
    authx.set_refresh_cookies(response, create_refresh_token(user.name))
    return response, 200


@views.post("/auth/refresh")
@jwt_required(refresh=True)
def refresh() -> Response:
    response = jsonify(refreshed=True)
    authx.set_access_cookies(response, create_access_token(current_token.sub))
    return response


@views.delete("/auth/logout")
def logout() -> Response:
    # An access and a refresh token from before the move have nothing in common but their user.
    token = authx.identify(optional=True) or authx.identify(optional=True, type="refresh")
    if token and token.auth_time < current_app.config["MOVED_AT"]:
        authx.revoke_subject(token.sub)
    else:
        # It accepts an expired token, too.
        authx.logout()
    response = jsonify(logged_out=True)
    authx.unset_cookies(response)
    return response


@views.get("/profile")
@jwt_required()
def profile() -> dict[str, str]:
    return {"user": current_token.sub, "role": get_jwt()["role"]}


@views.get("/feed")
@jwt_required(optional=True)
def feed() -> dict[str, str]:
    return {"for": get_jwt_identity() or "everybody"}


@views.delete("/account")
@jwt_required(fresh=True)
def delete_account() -> dict[str, str]:
    return {"deleted": current_token.sub}


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///migration.sqlite3"
    app.config["JWT_TOKEN_LOCATION"] = ["headers", "cookies"]
    app.config["JWT_BLOCKLIST"] = "sqlalchemy://"
    app.config["JWT_REFRESH_COOKIE_PATH"] = "/auth"
    # Until the last token from before the move has expired.
    app.config["JWT_ACCEPT_UNTYPED"] = True
    app.config["JWT_ACCESS_COOKIE_NAME"] = "access_token_cookie"
    app.config["JWT_REFRESH_COOKIE_NAME"] = "refresh_token_cookie"
    app.config.from_prefixed_env()  # FLASK_MOVED_AT: when the last old process has stopped
    app.config.from_mapping(config)
    db.init_app(app)
    authx.init_app(app)  # after db: it adds a table to db
    make_tables(app)
    app.register_blueprint(views)
    return app
