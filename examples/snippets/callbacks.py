"""docs/callbacks.rst: the three callbacks."""

import secrets
from dataclasses import dataclass
from typing import Any

from flask import Flask

from flask_authx import AuthX, current_token, current_user

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)  # new at each start: for this example only
authx = AuthX(app)


@dataclass
class User:
    name: str
    role: str
    active: bool = True


USERS = {"ann": User("ann", "editor"), "bob": User("bob", "reader", active=False)}
REVOKED: set[str] = set()  # stands for a table: see the tutorial


# [revocation]
@authx.set_callback_token_blocklist
def is_token_revoked(_token: str, claims: dict[str, Any]) -> bool:
    return claims["jti"] in REVOKED


# [user]
@authx.set_callback_get_model_instance
def load_user(uid: str) -> User | None:
    user = USERS.get(uid)
    return user if user is not None and user.active else None


@app.get("/me")
@authx.token_required
def me() -> dict[str, Any]:
    return {"name": current_user.name}


# [claims]
@authx.set_callback_additional_claims
def more_claims(uid: str) -> dict[str, Any]:
    return {"role": USERS[uid].role}


@app.get("/role")
@authx.token_required
def role() -> dict[str, Any]:
    return {"role": current_token.claims["role"]}


# [async]
def use_async_callback(authx: AuthX) -> None:
    @authx.set_callback_token_blocklist
    async def is_token_revoked(_token: str, claims: dict[str, Any]) -> bool:
        return claims["jti"] in REVOKED
