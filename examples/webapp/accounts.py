"""Sign-up, sign-in, the renewal of tokens, the password, and the list of devices."""

from __future__ import annotations

import re

from flask import Blueprint, abort, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import IntegrityError
from werkzeug import Response

from flask_authx import current_token, current_user

from .forms import field, local, sent
from .models import User, db
from .signin import authx

accounts = Blueprint("accounts", __name__)

NAME = re.compile(r"[\w.@+-]{1,64}")
SHORTEST = 8
LONGEST = 256
#: For how many seconds after the password was confirmed it isn't asked for again.
STEP_UP = 300


@accounts.route("/login", methods=["GET", "POST"])
@authx.public
def login() -> ResponseReturnValue:
    if request.method == "GET":
        return render_template("login.html")
    # There is no token yet, and so no CSRF value. Without this check another site could sign its
    # visitors in to the attacker's account, and the attacker could read what they write.
    authx.check_origin()
    user = User.authenticated(field("name").strip().casefold(), field("password"))
    if user is None:
        return render_template("login.html", problem="The name or the password is wrong."), 401
    return sign_in(user)


@accounts.route("/signup", methods=["GET", "POST"])
@authx.public
def signup() -> ResponseReturnValue:
    if request.method == "GET":
        return render_template("signup.html")
    authx.check_origin()
    name = field("name").strip().casefold()
    problem = problem_with(field("password"))
    if not NAME.fullmatch(name):
        problem = "A name has 1 to 64 letters, digits or . @ + - _, and no spaces."
    user = User(name=name)
    if problem is None:
        user.set_password(field("password"))
        db.session.add(user)
        try:
            db.session.commit()
        except IntegrityError:
            db.session.rollback()
            problem = "This name is taken."
    if problem is not None:
        return render_template("signup.html", problem=problem), 400
    return sign_in(user)


def sign_in(user: User) -> Response:
    response = redirect(local(field("next")), 303)
    authx.set_cookies(response, authx.login(user.id))
    return response


@accounts.route("/auth/renew", methods=["GET", "POST"])
@authx.refresh_token_required
def renew() -> ResponseReturnValue:
    """Renews the access token for a page that was opened after it had expired."""
    if request.method == "GET":
        # The page's script sends the form: a GET must change nothing, since a link can cause it.
        return render_template("renew.html", next=local(request.args.get("next")))
    response = redirect(local(field("next")), 303)
    authx.set_cookies(response, authx.refresh())
    return response


@accounts.get("/alive")
@authx.token_required
def alive() -> ResponseReturnValue:
    """For scripts, before they send a form: 401 if the access token has to be renewed first."""
    return "", 204


@accounts.route("/confirm", methods=["GET", "POST"])
@authx.token_required
def confirm() -> ResponseReturnValue:
    if request.method == "GET":
        return render_template("confirm.html")
    if not current_user.has_password(field("password")):
        return render_template("confirm.html", problem="The password is wrong."), 401
    response = redirect(local(field("next")), 303)
    # Valid for longer than other access tokens: the user fills in the next form with it.
    token = authx.reauthenticate(current_user.id, expiry=STEP_UP)
    authx.set_access_cookies(response, token)
    return response


@accounts.route("/password", methods=["GET", "POST"])
@authx.fresh_token_required(max_age=STEP_UP)
def password() -> ResponseReturnValue:
    if request.method == "GET":
        return render_template("password.html")
    problem = problem_with(field("password"))
    if problem is not None:
        return render_template("password.html", problem=problem), 400
    current_user.set_password(field("password"))
    # Before the sessions are revoked: after the commit, the old password opens no new session.
    db.session.commit()
    authx.revoke_subject(current_token.sub, keep=current_token.sid, reason="password changed")
    return render_template("password.html", done=True)


@accounts.get("/devices")
@authx.token_required
def devices() -> str:
    here = current_token.sid
    this_one_first = sorted(authx.sessions(current_token.sub), key=lambda one: one.sid != here)
    return render_template("devices.html", sessions=this_one_first, here=here)


@accounts.put("/devices/<sid>")
@authx.token_required
def rename(sid: str) -> ResponseReturnValue:
    name = sent("name")
    # Check that the session belongs to the user.
    if sid not in {one.sid for one in authx.sessions(current_token.sub)}:
        abort(404)
    try:
        authx.name_session(sid, name or None)
    except ValueError:
        abort(400)
    return "", 204


def problem_with(password: str) -> str | None:
    if not SHORTEST <= len(password) <= LONGEST:
        return f"A password has {SHORTEST} to {LONGEST} characters."
    return None
