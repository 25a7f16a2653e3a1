"""The app on Flask-JWT-Extended: tokens in cookies and headers, and a blocklist in a table."""

# The types of Flask-JWT-Extended are only partly known.
# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
    set_access_cookies,
    set_refresh_cookies,
    unset_jwt_cookies,
)
from werkzeug.security import check_password_hash

from .models import TokenBlocklist, User, db, make_tables

jwt = JWTManager()
views = Blueprint("views", __name__)


@jwt.additional_claims_loader
def role_of(identity: str) -> dict[str, str]:
    return {"role": db.session.get_one(User, identity).role}


@jwt.token_in_blocklist_loader
def is_revoked(header: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
    found = sa.select(TokenBlocklist.id).where(TokenBlocklist.jti == payload["jti"])
    return db.session.scalar(found) is not None


@views.post("/login")
def login() -> tuple[Response, int]:
    sent = request.get_json()
    user = db.session.get(User, sent["name"])
    if user is None or not check_password_hash(user.password, sent["password"]):
        return jsonify(msg="wrong name or password"), 401
    response = jsonify(user=user.name)
    set_access_cookies(response, create_access_token(user.name, fresh=True))
    set_refresh_cookies(response, create_refresh_token(user.name))
    return response, 200


@views.post("/auth/refresh")
@jwt_required(refresh=True)
def refresh() -> Response:
    response = jsonify(refreshed=True)
    set_access_cookies(response, create_access_token(get_jwt_identity()))
    return response


@views.delete("/auth/logout")
@jwt_required()
def logout() -> Response:
    db.session.add(TokenBlocklist(jti=get_jwt()["jti"]))
    db.session.commit()
    response = jsonify(logged_out=True)
    unset_jwt_cookies(response)
    return response


@views.get("/profile")
@jwt_required()
def profile() -> dict[str, str]:
    return {"user": get_jwt_identity(), "role": get_jwt()["role"]}


@views.get("/feed")
@jwt_required(optional=True)
def feed() -> dict[str, str]:
    return {"for": get_jwt_identity() or "everybody"}


@views.delete("/account")
@jwt_required(fresh=True)
def delete_account() -> dict[str, str]:
    return {"deleted": get_jwt_identity()}


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///migration.sqlite3"
    app.config["JWT_TOKEN_LOCATION"] = ["headers", "cookies"]
    app.config["JWT_COOKIE_SECURE"] = True
    app.config["JWT_COOKIE_SAMESITE"] = "Lax"
    app.config.from_prefixed_env()  # FLASK_JWT_SECRET_KEY becomes JWT_SECRET_KEY
    app.config.from_mapping(config)
    jwt.init_app(app)
    db.init_app(app)
    make_tables(app)
    app.register_blueprint(views)
    return app
