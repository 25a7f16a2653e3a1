"""docs/locations.rst: tokens in cookies with their CSRF value, and places chosen for one view."""

import secrets
from typing import Any

from flask import Flask, Response, jsonify, render_template, request

from flask_authx import AuthX, current_token

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)  # new at each start: for this example only

# [settings]
app.config["JWT_TOKEN_LOCATION"] = ["headers", "cookies"]
app.config["JWT_CSRF_CHECK_FORM"] = True  # only for plain HTML forms
authx = AuthX(app)


# [login]
@app.post("/login")
def login() -> Response:
    user = str(request.get_json()["username"])  # after the password was checked
    pair = authx.create_token_pair(uid=user)
    response = jsonify(
        csrf=authx.decode_token(pair.access_token).csrf,
        refresh_csrf=authx.decode_token(pair.refresh_token).csrf,
    )
    response.set_cookie(
        "__Host-access_token",
        pair.access_token,
        max_age=pair.expires_in,
        secure=True,
        httponly=True,
        samesite="Lax",
    )
    response.set_cookie(
        "__Secure-refresh_token",
        pair.refresh_token,
        max_age=pair.refresh_expires_in,
        path="/refresh",
        secure=True,
        httponly=True,
        samesite="Lax",
    )
    return response


# [logout]
@app.post("/logout")
@authx.token_required
def logout() -> Response:
    response = jsonify(logged_out=True)
    response.delete_cookie("__Host-access_token", secure=True)
    response.delete_cookie("__Secure-refresh_token", path="/refresh", secure=True)
    return response


# [form]
@app.get("/transfer")
@authx.token_required
def transfer_form() -> str:
    return render_template("transfer.html")


@app.post("/transfer")
@authx.token_required
def transfer() -> dict[str, Any]:
    return {"paid_by": current_token.sub}


# [view]
@app.get("/download")
@authx.token_required(locations=["query"])
def download() -> dict[str, Any]:
    return {"for": current_token.sub}


# [find]
@app.get("/token")
def token() -> dict[str, Any]:
    found = authx.get_token_from_request()
    return {"found": None if found is None else found.location}
