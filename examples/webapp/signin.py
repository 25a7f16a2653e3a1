"""Who is signed in, and where a request goes that nobody is signed in for."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import Flask, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

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
    # It is asked at each refresh, too: a user who is gone stays signed in for no longer than that.
    return db.session.get(User, int(uid))


def tell_owner(app: Flask, *, sub: str, **_: Any) -> None:
    """A refresh token came twice, so somebody has a copy. The login has ended: say why."""
    app.logger.warning("A copy of a login of the user %s was used; it has ended.", sub)
    db.session.add(Notice(user_id=int(sub)))
    db.session.commit()


def notices() -> list[Notice]:
    """What the user has not read yet."""
    return list(db.session.scalars(sa.select(Notice).where(Notice.user_id == current_user.id)))


def refused(error: AuthXException) -> ResponseReturnValue:
    """What a browser is shown in the place of a page; scripts get the error's own JSON."""
    accepted = request.accept_mimetypes
    if accepted.quality("text/html") <= accepted.quality("application/json"):
        return error
    renewing = request.endpoint == "accounts.renew"
    if request.method not in {"GET", "HEAD"} and not renewing:
        # Nothing that was sent is ever sent again without the user.
        return render_template("refused.html", error=error), error.code or 500
    here = local(request.values.get("next")) if renewing else request.full_path.rstrip("?")
    if isinstance(error, FreshTokenRequiredError):
        return redirect(url_for("accounts.confirm", next=here))
    if isinstance(error, MissingTokenError | TokenExpiredError) and not renewing:
        # The refresh token is not sent to this page: only to those below /auth.
        return redirect(url_for("accounts.renew", next=here))
    if error.code == 401:
        why = "ended" if isinstance(error, RevokedTokenError) else "needed"
        return redirect(url_for("accounts.login", next=here, why=why), 303)
    return render_template("refused.html", error=error), error.code or 500
