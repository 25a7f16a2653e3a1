"""Runs the code of docs/guards.md."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.docs.support import page
from tests.support import access_token, bearer, refresh_token
from tests.support.answers import MISSING, OK, Outcome, outcome

NOT_FRESH = Outcome(401, "FreshTokenRequiredError")


def test_guards_of_functions() -> None:
    with page("guards") as names:
        client: FlaskClient = names.app.test_client()

        def access(**extras: Any) -> dict[str, str]:
            return bearer(access_token(names.app, names.authx, **extras))

        plain, fresh = access(), access(fresh=True)
        assert client.get("/profile", headers=plain).json == {"user": "ann"}
        sent = bearer(refresh_token(names.app, names.authx))
        assert outcome(client.get("/profile", headers=sent)) == Outcome(
            401, "AccessTokenRequiredError"
        )
        assert outcome(client.delete("/account", headers=plain)) == NOT_FRESH
        assert outcome(client.delete("/account", headers=fresh)) == OK
        assert outcome(client.get("/users", headers=plain)) == Outcome(
            403, "InsufficientScopeError"
        )
        assert outcome(client.get("/users", headers=access(scopes=["users:*"]))) == OK
        assert outcome(client.get("/reports", headers=access(scopes=["audit:read"]))) == OK
        assert client.get("/slow", headers=plain).json == {"user": "ann"}
        assert client.get("/export", headers=plain).text == "ann,0\nann,1\nann,2\n"


def test_guards_of_refresh_tokens_keep_the_session() -> None:
    with page("guards") as names:
        sent = refresh_token(names.app, names.authx)
        made: Any = names.app.test_client().post("/refresh", headers=bearer(sent)).json
        with names.app.app_context():
            old = names.authx.decode_token(sent)
            new = names.authx.decode_token(made["access_token"])
    assert (new.sid, new.auth_time, new.fresh) == (old.sid, old.auth_time, False)


def test_the_user_is_known_outside_of_a_guard() -> None:
    with page("guards") as names:
        client: FlaskClient = names.app.test_client()

        def access(**extras: Any) -> dict[str, str]:
            return bearer(access_token(names.app, names.authx, **extras))

        assert client.get("/theme").json == {"theme": "default"}
        assert client.get("/theme", headers=bearer("x.y.z")).json == {"theme": "default"}
        assert client.get("/theme", headers=access()).json == {"theme": "of ann"}
        assert outcome(client.get("/salaries")) == MISSING
        assert outcome(client.get("/salaries", headers=access())) == NOT_FRESH
        assert client.get("/salaries", headers=access(fresh=True)).json == {"msg": "Staff only"}
        staff = access(fresh=True, data={"staff": True})
        assert client.get("/salaries", headers=staff).json == {"for": "ann"}


@pytest.mark.parametrize(
    ("sent", "feed", "teaser"),
    [
        (None, 200, 200),
        ("Basic eA==", 200, 200),
        ("Bearer x.y.z", 401, 200),
        ("Bearer", 400, 400),
        ("Bearer a, Bearer b", 400, 400),
    ],
)
def test_table_of_optional_tokens(sent: str | None, feed: int, teaser: int) -> None:
    with page("guards") as names:
        client: FlaskClient = names.app.test_client()
        headers = {} if sent is None else {"Authorization": sent}
        statuses = [client.get(path, headers=headers).status_code for path in ("/feed", "/teaser")]
    assert statuses == [feed, teaser], f"with Authorization: {sent}"


def test_guards_of_classes_and_blueprints() -> None:
    with page("guards") as names:
        client: FlaskClient = names.app.test_client()
        plain = bearer(access_token(names.app, names.authx))
        assert outcome(client.get("/orders")) == MISSING
        assert outcome(client.get("/orders", headers=plain)) == OK
        assert outcome(client.delete("/orders", headers=plain)) == NOT_FRESH
        assert outcome(client.get("/api/items")) == MISSING
        assert client.get("/api/items", headers=plain).json == {"owner": "ann"}
        assert client.get("/api/health").json == {"healthy": True}


def test_a_hook_that_a_callback_needs_comes_before_init_app() -> None:
    with page("guards") as names:
        tenants = names.tenants
        tenants.add_url_rule("/view", "view", lambda: "seen")
        assert tenants.test_client().get("/view").status_code == 401
        headers = bearer(access_token(tenants, names.by_tenant))
        assert tenants.test_client().get("/view", headers=headers).text == "seen"
