"""Async views of an app with a store of revocations: USERS 93."""

from __future__ import annotations

import asyncio
from typing import Any

from flask_authx import current_token
from tests.support import access_token, bearer
from tests.support.answers import FAULT, OK, REVOKED, ask, outcome
from tests.support.spy_store import SpyStore, login, store_app, works


def test_an_async_view_is_refused_for_what_the_store_knows() -> None:
    store = SpyStore()
    app, authx = store_app(store)

    @app.get("/async")
    @authx.token_required
    async def guarded_async() -> str:
        await asyncio.sleep(0)
        return current_token.sub

    token = access_token(app, authx)
    store.calls.clear()
    assert outcome(ask(app, path="/async", headers=bearer(token))) == OK
    assert store.calls == ["find"]
    with app.app_context():
        authx.revoke_token(token)
    assert outcome(ask(app, path="/async", headers=bearer(token))) == REVOKED
    store.error = ConnectionError("down")
    assert outcome(ask(app, path="/async", headers=bearer(token))) == FAULT


def test_an_async_view_logs_in_revokes_and_logs_out() -> None:
    app, authx = store_app(SpyStore())

    @app.post("/password")
    @authx.token_required
    async def password() -> dict[str, str]:
        await asyncio.sleep(0)
        authx.revoke_subject(current_token.sub)
        return {"token": authx.create_access_token(current_token.sub)}

    @app.post("/out")
    async def out() -> str:
        await asyncio.sleep(0)
        authx.logout()
        return ""

    old, _, _ = login(app, authx)
    answer: Any = ask(app, "POST", "/password", headers=bearer(old)).json
    assert not works(app, old)
    assert works(app, answer["token"])
    assert outcome(ask(app, "POST", "/out", headers=bearer(answer["token"]))) == OK
    assert not works(app, answer["token"])
