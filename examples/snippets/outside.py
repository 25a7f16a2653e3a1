"""docs/outside-requests.rst: tokens that come by another way than an HTTP request."""

import secrets

from flask import Flask

from flask_authx import AuthX, AuthXException

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)  # new at each start: for this example only
authx = AuthX(app)


# [socket]
def on_connect(message: dict[str, str]) -> str:
    """The user of a WebSocket whose first message holds an access token."""
    with app.app_context():
        try:
            token = authx.verify_token(message.get("token", ""))
        except AuthXException as error:
            return f"closed: {error.error_type}"
    return f"hello {token.sub}, until {token.expires_at:%H:%M}"


# [task]
def run_report(raw_token: str) -> str:
    """A task that got the token of whoever asked for it, and runs some time later."""
    with app.app_context():
        token = authx.verify_token(raw_token, scopes=["reports:write"])
        return f"report for {token.sub}"


# [decode]
def who_is_it(raw_token: str) -> str:
    """What a script can say about a token without asking whether it is revoked."""
    with app.app_context():
        token = authx.decode_token(raw_token)
        return f"{token.type} token of {token.sub}, login {token.sid}"
