"""A user's file with every guard in every spelling. No test runs it: type checkers read it.

``assert_type`` fails the check if it is wrong, and so ``make check`` and test_public_api.py.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type
from uuid import UUID

from flask import Blueprint, Flask
from flask.views import MethodView

from flask_authx import (
    AuthX,
    Location,
    OnInvalid,
    RequestToken,
    Session,
    Token,
    TokenPair,
    TokenType,
    current_token,
)

app = Flask(__name__)
authx = AuthX()
authx.init_app(app)


@authx.token_blocklist
def is_revoked(token: str, claims: dict[str, Any]) -> bool:
    return bool(token == claims["jti"])


@authx.set_callback_token_blocklist
async def is_revoked_later(token: str) -> bool:
    return not token


assert_type(is_revoked("t", {}), bool)


@authx.set_callback_verify_claims
async def check_claims(claims: dict[str, Any]) -> bool:
    return "tenant" in claims


@authx.set_callback_identity
def uid_of(user: Flask) -> str:
    return user.name


assert_type(uid_of(app), str)


@authx.set_callback_additional_claims
def describe(uid: str) -> dict[str, str]:
    return {"name": uid}


@app.get("/bare/<int:number>")
@authx.token_required
def bare(number: int, *, page: str = "1") -> dict[str, int]:
    return {page: number}


@app.get("/called/<int:number>")
@authx.token_required(type="refresh", fresh=True, locations=["headers", Location.JSON])
def called(number: int, *, page: str = "1") -> dict[str, int]:
    return {page: number}


assert_type(bare(1, page="2"), dict[str, int])
assert_type(called(1, page="2"), dict[str, int])


@authx.token_required
async def later(number: int) -> str:
    return str(number)


@authx.token_required(type=TokenType.ACCESS)
async def later_called(number: int) -> str:
    return str(number)


@authx.optional_token
def optional() -> str | None:
    return current_token.sub if current_token else None


@authx.optional_token(on_invalid="ignore", locations="cookies")
def lenient() -> str:
    return "in"


@authx.optional_token(fresh=True, max_age=60, user=True, on_invalid=OnInvalid.IGNORE)
def lenient_too() -> str:
    return "in"


@authx.access_token_required
def access() -> str:
    return "in"


@authx.access_token_required(locations=Location.HEADERS)
def access_called() -> str:
    return "in"


@authx.refresh_token_required
def refresh() -> TokenPair:
    return authx.create_token_pair(current_token.sub)


@authx.refresh_token_required(locations=["json"], user=True)
def refresh_called() -> str:
    return authx.create_access_token(current_token.sub, login=current_token)


@authx.fresh_token_required
def fresh() -> str:
    return "in"


@authx.fresh_token_required()
def fresh_called() -> str:
    return "in"


@authx.scopes_required("a", "b:*", all_required=False)
def scoped(number: int) -> int:
    return number


@authx.public
def opened(number: int) -> int:
    return number


assert_type(optional(), str | None)
assert_type(refresh(), TokenPair)
assert_type(refresh_called(), str)
assert_type(access() + access_called() + lenient() + lenient_too(), str)
assert_type(fresh() + fresh_called(), str)
assert_type(scoped(1) + opened(1), int)


class Item(MethodView):
    decorators = [authx.token_required]  # noqa: RUF012 - as users write it, and Flask's own docs

    @authx.token_required
    def get(self, number: int) -> str:
        return str(number)

    @authx.fresh_token_required
    async def post(self, number: int) -> str:
        return str(number)


assert_type(Item().get(1), str)


async def awaited() -> None:
    assert_type(await is_revoked_later("t"), bool)
    assert_type(await later(1), str)
    assert_type(await later_called(1), str)
    assert_type(await Item().post(1), str)


@authx.public
class Open(MethodView):
    def get(self) -> str:
        return "in"


assert_type(Open().get(), str)
blueprint = Blueprint("inner", __name__)
authx.protect(blueprint, type="access", scopes=["admin:users"])
assert_type(authx.public(blueprint), Blueprint)

assert_type(authx.get_token_from_request(), RequestToken | None)
assert_type(authx.get_token_from_request(type="refresh", optional=True), RequestToken | None)
assert_type(authx.get_token_from_request(optional=False), RequestToken)
assert_type(authx.identify(), Token)
assert_type(authx.identify(scopes=["a"], user=True), Token)
assert_type(authx.identify(optional=True, fresh=True), Token | None)
assert_type(authx.identify(optional=True, on_error="ignore"), Token | None)
assert_type(authx.verify_token("t", type="refresh", scopes=["a"]), Token)
assert_type(authx.decode_token(RequestToken("t", location="query")), Token)
assert_type(authx.decode_token("t", allow_expired=True).header["kid"], Any)
assert_type(current_token.location, Location | None)
assert_type(authx.session("sid"), Session | None)
assert_type(authx.create_access_token(app), str)
assert_type(authx.create_access_token(UUID(int=1), expiry=timedelta(minutes=5)), str)
assert_type(authx.create_access_token(7, expiry=datetime.now(UTC), audience="api"), str)
assert_type(authx.create_token_pair("ann", fresh=True).to_dict(), dict[str, str | int])
