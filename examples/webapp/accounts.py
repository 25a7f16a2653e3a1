"""Sign up, sign in, go on being signed in, the password, and the devices."""

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
#: For how many seconds a password that has just been given counts.
STEP_UP = 300


@accounts.route("/login", methods=["GET", "POST"])
@authx.public
def login() -> ResponseReturnValue:
    if request.method == "GET":
        return render_template("login.html")
    # There is no token yet to protect this: else another site could sign its visitors in as
    # somebody else, and read what they write.
    authx.check_origin()
    user = User.who_knows(field("name").strip().casefold(), field("password"))
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
            problem = "There is somebody of that name already."
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
    """Where a page comes by whose access token has expired; it stays for a moment."""
    if request.method == "GET":
        # Its script sends the form: what a link can do must not change anything.
        return render_template("renew.html", next=local(request.args.get("next")))
    response = redirect(local(field("next")), 303)
    authx.set_cookies(response, authx.refresh())
    return response


@accounts.get("/alive")
@authx.token_required
def alive() -> ResponseReturnValue:
    """What a script asks before it sends a form, which can't be sent twice."""
    return "", 204


@accounts.route("/confirm", methods=["GET", "POST"])
@authx.token_required
def confirm() -> ResponseReturnValue:
    if request.method == "GET":
        return render_template("confirm.html")
    if not current_user.has_password(field("password")):
        return render_template("confirm.html", problem="The password is wrong."), 401
    response = redirect(local(field("next")), 303)
    # It outlives the others by far: the next form has to be filled in with it.
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
    # Before the logins end: from here on none can be opened with the old password.
    db.session.commit()
    authx.revoke_subject(current_token.sub, keep=current_token.sid, reason="password changed")
    return render_template("password.html", done=True)


@accounts.get("/devices")
@authx.token_required
def devices() -> str:
    here = current_token.sid
    this_one_first = sorted(authx.sessions(current_token.sub), key=lambda login: login.sid != here)
    return render_template("devices.html", logins=this_one_first, here=here)


@accounts.put("/devices/<sid>")
@authx.token_required
def rename(sid: str) -> ResponseReturnValue:
    name = sent("name")
    # Whoever names a login must be shown to own it.
    if sid not in {login.sid for login in authx.sessions(current_token.sub)}:
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
