"""docs/guards.rst: every guard, on every kind of view."""

import secrets
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Flask, Response, stream_with_context
from flask.views import MethodView

from flask_authx import AuthX, current_token

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)  # new at each start: for this example only
authx = AuthX(app)


# [functions]
@app.get("/profile")
@authx.token_required
def profile() -> dict[str, Any]:
    return {"user": current_token.sub}


@app.delete("/account")
@authx.fresh_token_required
def delete_account() -> dict[str, Any]:
    return {"deleted": current_token.sub}


@app.get("/users")
@authx.scopes_required("users:read")
def users() -> dict[str, Any]:
    return {"users": ["ann"]}


@app.get("/reports")
@authx.scopes_required("reports:read", "audit:read", all_required=False)
def reports() -> dict[str, Any]:
    return {"reports": []}


# [refresh]
@app.post("/refresh")
@authx.refresh_token_required
def refresh() -> dict[str, Any]:
    token = authx.create_access_token(uid=current_token.sub, login=current_token)
    return {"access_token": token}


# [optional]
@app.get("/feed")
@authx.optional_token
def feed() -> dict[str, Any]:
    return {"for": current_token.sub if current_token else "everybody"}


@app.get("/teaser")
@authx.optional_token(on_invalid="ignore")
def teaser() -> dict[str, Any]:
    return {"for": current_token.sub if current_token else "everybody"}


# [classes]
class Orders(MethodView):
    decorators = [authx.token_required]  # noqa: RUF012 - as Flask declares it

    def get(self) -> dict[str, Any]:
        return {"orders_of": current_token.sub}

    @authx.fresh_token_required
    def delete(self) -> dict[str, Any]:
        return {"deleted_for": current_token.sub}


app.add_url_rule("/orders", view_func=Orders.as_view("orders"))

# [blueprints]
api = Blueprint("api", __name__, url_prefix="/api")
authx.protect(api)


@api.get("/items")
def items() -> dict[str, Any]:
    return {"owner": current_token.sub}


@api.get("/health")
@authx.public
def health() -> dict[str, Any]:
    return {"healthy": True}


app.register_blueprint(api)


# [async]
@app.get("/slow")
@authx.token_required
async def slow() -> dict[str, Any]:
    return {"user": current_token.sub}


# [streaming]
@app.get("/export")
@authx.token_required
def export() -> Response:
    def rows() -> Iterator[str]:
        for number in range(3):
            yield f"{current_token.sub},{number}\n"

    return Response(stream_with_context(rows()), mimetype="text/csv")
