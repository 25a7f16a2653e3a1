"""The AuthX object, its user loader, and the answers to requests that are refused."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from flask import Flask, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response
from werkzeug.exceptions import HTTPException

from flask_authx import AuthX, AuthXException, current_user
from flask_authx.errors import (
    FreshTokenRequiredError,
    MissingTokenError,
    RevokedTokenError,
    TokenExpiredError,
)

from .forms import local
from .models import Notice, User, db

authx = AuthX()


@authx.set_callback_get_model_instance
def load_user(uid: str) -> User | None:
    # Called at each refresh, too: a session of a deleted user can't be refreshed.
    return db.session.get(User, int(uid))


def tell_owner(app: Flask, *, sub: str, **_: Any) -> None:
    """A refresh token was reused: a copy exists, and the session is revoked. Tell the user."""
    app.logger.warning("A refresh token of the user %s was reused: the session is revoked.", sub)
    db.session.add(Notice(user_id=int(sub)))
    db.session.commit()


def notices() -> list[Notice]:
    """The notices that the user has not read yet."""
    return list(db.session.scalars(sa.select(Notice).where(Notice.user_id == current_user.id)))


def wants_page() -> bool:
    """Whether a browser opens a page or sends a form. Scripts accept JSON instead."""
    accepted = request.accept_mimetypes
    return accepted.quality("text/html") > accepted.quality("application/json")


def failed(error: HTTPException) -> Response:
    """The answer of a request that fails for another reason, such as 404."""
    response = error.get_response()
    if wants_page():
        response.set_data(render_template("failed.html", error=error))
    else:
        response.content_type = "application/json"
        response.set_data(json.dumps({"msg": error.name}))
    return response


def refused(error: AuthXException) -> ResponseReturnValue:
    """The answer of a request without a valid token: a page or a redirect; JSON for scripts."""
    if not wants_page():
        return error
    renewing = request.endpoint == "accounts.renew"
    if request.method not in {"GET", "HEAD"} and not renewing:
        # A form is never sent again without the user.
        return render_template("refused.html", error=error), error.code or 500
    here = local(request.values.get("next")) if renewing else request.full_path.rstrip("?")
    if isinstance(error, FreshTokenRequiredError):
        return redirect(url_for("accounts.confirm", next=here))
    if isinstance(error, MissingTokenError | TokenExpiredError) and not renewing:
        # The browser sends the refresh token to paths below /auth only.
        return redirect(url_for("accounts.renew", next=here))
    if error.code == 401:
        why = "revoked" if isinstance(error, RevokedTokenError) else "needed"
        return redirect(url_for("accounts.login", next=here, why=why), 303)
    return render_template("refused.html", error=error), error.code or 500
