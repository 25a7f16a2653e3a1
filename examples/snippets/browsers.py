"""docs/browsers.rst: log-in, forms and scripts with tokens in cookies."""

import secrets
from datetime import timedelta
from typing import Any

from flask import Flask, Response, make_response, redirect, render_template, request
from flask_cors import CORS
from werkzeug.security import check_password_hash, generate_password_hash

from flask_authx import AuthX, current_token

PASSWORDS = {"ann": generate_password_hash("correct horse")}

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)  # new at each start: for this example only
app.config["JWT_BLOCKLIST"] = "memory://"  # for this example only
app.config["SECRET_KEY"] = secrets.token_urlsafe(32)  # for Flask-WTF

# [settings]
app.config["JWT_SESSIONS"] = True
app.config["JWT_TOKEN_LOCATION"] = ["cookies"]
app.config["JWT_SESSION_COOKIE"] = False  # logins outlast the browser's window
app.config["JWT_COOKIE_MAX_AGE"] = timedelta(days=20)  # as long as a refresh token
app.config["JWT_CSRF_CHECK_FORM"] = True  # for plain HTML forms
authx = AuthX(app)
app.register_blueprint(authx.blueprint())  # /auth/refresh, /auth/logout, /auth/sessions


# [login]
@app.get("/login")
def login_form() -> str:
    return render_template("login.html")


@app.post("/login")
def login() -> Any:
    authx.check_origin()
    name = request.form["name"]
    if not check_password_hash(PASSWORDS.get(name, ""), request.form["password"]):
        return render_template("login.html", problem="wrong name or password"), 401
    response = redirect("/transfer", 303)
    authx.set_cookies(response, authx.login(name))
    return response


# [logout]
@app.post("/auth/sign-out")
def sign_out() -> Any:
    authx.logout()
    response = redirect("/login", 303)
    authx.unset_cookies(response)
    return response


# [form]
@app.get("/transfer")
@authx.token_required
def transfer_form() -> Response:
    response = make_response(render_template("transfer.html"))
    response.headers["Cache-Control"] = "no-store"  # for the back button
    return response


@app.post("/transfer")
@authx.token_required
def transfer() -> dict[str, Any]:
    return {"paid_by": current_token.sub}


# [csrf]
@app.get("/csrf")
@authx.token_required
def csrf() -> dict[str, Any]:
    return {"csrf": current_token.csrf}


@app.get("/auth/csrf")
@authx.refresh_token_required
def refresh_csrf() -> dict[str, Any]:
    return {"csrf": current_token.csrf}


# [other_origin]
def serve_another_origin(app: Flask) -> None:
    """Before ``init_app``. The page is https://www.example.com."""
    app.config["JWT_TRUSTED_ORIGINS"] = ["https://www.example.com"]
    CORS(
        app,
        origins=["https://www.example.com"],
        supports_credentials=True,
        allow_headers=["Content-Type", "X-CSRF-TOKEN"],
    )


# [wtf]
def leave_alone(protect: Any) -> None:
    """``protect`` is the app's ``flask_wtf.CSRFProtect``."""
    protect.exempt(app.blueprints["authx"])
    protect.exempt(transfer)  # a guarded view: its token has a value of its own


# [implicit]
def renew_by_the_way(app: Flask) -> None:
    """Before ``init_app``."""
    app.config["JWT_IMPLICIT_REFRESH_DELTATIME"] = timedelta(minutes=5)
    app.config["JWT_IMPLICIT_REFRESH_ROUTE_EXCLUDE"] = ["/poll"]
