from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import check_password_hash, generate_password_hash

from flask_authx import AuthX, LoginFailedError, current_token

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///app.sqlite3"
app.config["JWT_BLOCKLIST"] = "sqlalchemy://"
app.config["JWT_SESSIONS"] = True
app.config.from_prefixed_env()  # FLASK_JWT_SECRET_KEY becomes JWT_SECRET_KEY

db = SQLAlchemy(app)
authx = AuthX(app)
with app.app_context():
    db.create_all()

# In your app, this is a table of users.
PASSWORDS = {"ann": generate_password_hash("correct horse")}
UNKNOWN_USER = generate_password_hash("so that an unknown name takes as long as a wrong password")


def password_matches(name: str, password: str) -> bool:
    return check_password_hash(PASSWORDS.get(name, UNKNOWN_USER), password)


@app.post("/login")
def login() -> dict[str, str | int]:
    match request.get_json(silent=True):
        case {"name": str(name), "password": str(password)} if password_matches(name, password):
            return authx.login(name).to_dict()
        case _:
            raise LoginFailedError


@app.post("/refresh")
def refresh() -> dict[str, str | int]:
    return authx.refresh().to_dict()


@app.get("/profile")
@authx.token_required
def profile() -> dict[str, str]:
    return {"user": current_token.sub}


@app.post("/logout")
def logout() -> dict[str, bool]:
    authx.logout()
    return {"logged_out": True}


@app.cli.command("machine-token")
def machine_token() -> None:
    one_day = 24 * 60 * 60
    print(authx.create_access_token("nightly-job", scopes=["reports:read"], expiry=one_day))


@app.get("/reports")
@authx.scopes_required("reports:read")
def reports() -> dict[str, str]:
    return {"reports_for": current_token.sub}
