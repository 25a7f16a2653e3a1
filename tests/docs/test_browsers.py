"""Runs the code of docs/browsers.md and docs/blueprint.md."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug import security
from werkzeug.test import TestResponse

from flask_authx import AuthX, current_token
from tests.docs.support import ANN, page
from tests.support import Clock, bearer
from tests.support.answers import MISSING, NO_CSRF, OK, REVOKED, Outcome, outcome

URL = "https://localhost"


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages hash passwords as an app does, which takes long on purpose."""
    cheap = functools.partial(security.generate_password_hash, method="pbkdf2:sha256:1")
    monkeypatch.setattr(security, "generate_password_hash", cheap)


@pytest.fixture
def site() -> Iterator[SimpleNamespace]:
    with page("browsers") as names:
        yield names


@pytest.fixture
def client(site: SimpleNamespace) -> FlaskClient:
    """A browser that has logged in."""
    client: FlaskClient = site.app.test_client()
    assert outcome(client.post("/login", data=ANN, base_url=URL)) == Outcome(303)
    return client


def cookie(client: FlaskClient, name: str) -> str:
    found = client.get_cookie(name)
    assert found is not None
    return found.value


def post(client: FlaskClient, path: str, **sent: Any) -> TestResponse:
    return client.post(path, base_url=URL, **sent)


def field_of(shown: TestResponse) -> dict[str, str]:
    return dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', shown.text))


# Browsers


def test_a_log_in_sets_the_cookies_that_the_page_lists(site: SimpleNamespace) -> None:
    response = site.app.test_client().post("/login", data=ANN, base_url=URL)
    lines = [re.sub("=[^;]+", "", one, count=1) for one in response.headers.getlist("Set-Cookie")]
    ends = "SameSite=Lax"
    age = f"Max-Age={20 * 86400}; Secure"
    lines = [re.sub("Expires=[^;]+; ", "", line) for line in lines]
    assert [line for line in lines if not line.endswith("; Partitioned")] == [
        # Where another extension sets it.
        f"__Secure-refresh_token=; Expires; Max-Age=0; Secure; HttpOnly; Path=/; {ends}",
        f"__Host-access_token; {age}; HttpOnly; Path=/; {ends}",
        f"csrf_access_token; {age}; Path=/; {ends}",
        f"__Secure-refresh_token; {age}; HttpOnly; Path=/auth; {ends}",
        f"csrf_refresh_token; {age}; Path=/; {ends}",
        f"__Host-authx_session; {age}; HttpOnly; Path=/; {ends}",
    ]
    assert response.headers["Cache-Control"] == "no-store"


def test_a_log_in_is_refused_by_its_password_and_from_another_site(site: SimpleNamespace) -> None:
    client = site.app.test_client()
    wrong = post(client, "/login", data={**ANN, "password": "x"})
    assert (wrong.status_code, "wrong name or password" in wrong.text) == (401, True)
    assert "Log in" in client.get("/login", base_url=URL).text
    foreign = post(client, "/login", data=ANN, headers={"Origin": "https://other.example"})
    assert foreign.json == {
        "msg": "The origin of the request is missing or not trusted",
        "error_type": "CrossOriginError",
    }
    assert not foreign.headers.getlist("Set-Cookie")


def test_forms_and_scripts_send_the_csrf_value(client: FlaskClient) -> None:
    shown = client.get("/transfer", base_url=URL)
    assert shown.headers["Cache-Control"] == "no-store"
    assert post(client, "/transfer", data=field_of(shown)).json == {"paid_by": "ann"}
    header = {"X-CSRF-TOKEN": cookie(client, "csrf_access_token")}
    assert post(client, "/transfer", headers=header).json == {"paid_by": "ann"}
    missing: Any = post(client, "/transfer").json
    assert "csrf_access_token" in missing["msg"]
    assert "X-CSRF-TOKEN" in missing["msg"]
    # A form that is open in another tab outlives a refresh.
    refresh = {"X-CSRF-TOKEN": cookie(client, "csrf_refresh_token")}
    assert outcome(post(client, "/auth/refresh", headers=refresh)) == OK
    assert post(client, "/transfer", data=field_of(shown)).json == {"paid_by": "ann"}


def test_pages_of_another_origin_ask_for_the_values(client: FlaskClient) -> None:
    for path, name in (("/csrf", "csrf_access_token"), ("/auth/csrf", "csrf_refresh_token")):
        assert client.get(path, base_url=URL).json == {"csrf": cookie(client, name)}


def test_a_log_out_takes_all_cookies_back(client: FlaskClient) -> None:
    form = field_of(client.get("/transfer", base_url=URL))
    old = cookie(client, "__Host-access_token")
    assert outcome(post(client, "/auth/sign-out")) == NO_CSRF
    assert outcome(post(client, "/auth/sign-out", data=form)) == Outcome(303)
    others = ("csrf_access_token", "csrf_refresh_token", "__Host-authx_session")
    for name in ("__Host-access_token", *others):
        assert client.get_cookie(name) is None
    assert client.get_cookie("__Secure-refresh_token", path="/auth") is None
    client.set_cookie("__Host-access_token", old, secure=True)
    revoked: Any = client.get("/transfer", base_url=URL).json
    assert revoked["error_type"] == "RevokedTokenError"


def configured(site: SimpleNamespace, app: Flask) -> tuple[Flask, AuthX, Clock]:
    """One of the apps of the page, with the settings of the first."""
    clock = Clock()
    config: Any = app.config
    for name, value in site.app.config.items():
        if name.startswith("JWT_"):
            config.setdefault(name, value)
    authx = AuthX(app, clock=clock)
    app.register_blueprint(authx.blueprint())

    @app.route("/page", methods=["GET", "POST"])
    @authx.token_required
    def opened() -> dict[str, str | None]:
        return {"csrf": current_token.csrf}

    @app.post("/login")
    def login() -> Any:
        authx.check_origin()
        response = app.make_response({})
        authx.set_cookies(response, authx.login("ann"))
        return response

    return app, authx, clock


def test_the_log_out_of_a_page_that_has_been_open_for_long(site: SimpleNamespace) -> None:
    app, _, clock = configured(site, Flask("configured"))
    client = app.test_client()
    assert outcome(post(client, "/login")) == OK
    value: Any = client.get("/page", base_url=URL).json
    clock.advance(3600)
    # Its access token has expired, and the browser still has it.
    assert outcome(client.get("/page", base_url=URL)) == Outcome(401, "TokenExpiredError")
    assert outcome(post(client, "/auth/logout", data={"csrf_token": value["csrf"]})) == Outcome(204)


def test_a_page_of_another_origin_is_let_in(site: SimpleNamespace) -> None:
    app, _, _ = configured(site, site.cors_app)
    client = app.test_client()
    ours, others = ({"Origin": f"https://{host}.example.com"} for host in ("www", "evil"))
    assert outcome(post(client, "/login", headers=others)) == Outcome(403, "CrossOriginError")
    response = post(client, "/login", headers=ours)
    assert response.headers["Access-Control-Allow-Origin"] == ours["Origin"]
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    asks = {"Access-Control-Request-Method": "POST", **ours}
    preflight = client.options(
        "/page", base_url=URL, headers={"Access-Control-Request-Headers": "x-csrf-token", **asks}
    )
    assert preflight.headers["Access-Control-Allow-Headers"] == "x-csrf-token"
    value = {"X-CSRF-TOKEN": cookie(client, "csrf_access_token"), **ours}
    assert outcome(post(client, "/page", headers=value)) == OK
    assert outcome(post(client, "/page", headers=ours)) == NO_CSRF


def test_cookies_are_renewed_automatically(site: SimpleNamespace) -> None:
    app, _, clock = configured(site, site.renewing_app)
    client = app.test_client()
    assert outcome(post(client, "/login")) == OK
    for seconds, renewed in ((599, False), (1, True), (1, False), (600, True)):
        clock.advance(seconds)
        response = client.get("/page", base_url=URL)
        assert outcome(response) == OK
        assert ("__Host-access_token=" in str(response.headers)) == renewed


def test_flask_wtf_leaves_our_views_alone(site: SimpleNamespace) -> None:
    # So that the other tests of this page run without it.
    assert site.app.config["WTF_CSRF_ENABLED"] is False
    site.app.config["WTF_CSRF_ENABLED"] = True
    client = site.app.test_client()
    assert outcome(post(client, "/login", data=ANN)) == Outcome(400)
    site.app.config["WTF_CSRF_ENABLED"] = False
    assert outcome(post(client, "/login", data=ANN)) == Outcome(303)
    site.app.config["WTF_CSRF_ENABLED"] = True
    header = {"X-CSRF-TOKEN": cookie(client, "csrf_access_token")}
    assert post(client, "/transfer", headers=header).json == {"paid_by": "ann"}
    assert outcome(post(client, "/transfer")) == NO_CSRF
    refresh = {"X-CSRF-TOKEN": cookie(client, "csrf_refresh_token")}
    assert outcome(post(client, "/auth/refresh", headers=refresh)) == OK
    assert outcome(post(client, "/auth/continue", headers=refresh)) == Outcome(303)
    # This one is not exempt: Flask-WTF looks for a value of its own.
    assert outcome(post(client, "/login", data=ANN, headers=header)) == Outcome(400)
    assert outcome(post(client, "/auth/sign-out")) == NO_CSRF
    assert outcome(post(client, "/auth/sign-out", headers=header)) == Outcome(303)


def test_a_browser_does_not_send_its_password_on_after_a_log_in(site: SimpleNamespace) -> None:
    """SECURITY A.16 304: 303 makes a GET of it, which 307 and 308 do not."""
    assert outcome(post(site.app.test_client(), "/login", data=ANN)) == Outcome(303)


def open_page(client: FlaskClient) -> tuple[int, str | None]:
    """The status and destination for a browser that opens the guarded page."""
    headers = {"Sec-Fetch-Mode": "navigate"}
    response = client.get("/transfer", base_url=URL, headers=headers)
    return response.status_code, response.headers.get("Location")


def test_a_page_without_an_access_token_is_refreshed_by_a_form(client: FlaskClient) -> None:
    client.delete_cookie("__Host-access_token")
    assert open_page(client) == (302, "/auth/continue?next=/transfer")
    # A script gets the error.
    assert outcome(client.get("/transfer", base_url=URL)) == MISSING
    shown = client.get("/auth/continue?next=/transfer", base_url=URL)
    assert outcome(post(client, "/auth/continue", data={"next": "/transfer"})) == NO_CSRF
    for path in ("/transfer", "https://other.example/", "//other.example", None):
        sent = {"next": path, **field_of(shown)} if path else field_of(shown)
        response = post(client, "/auth/continue", data=sent)
        assert (response.status_code, response.headers["Location"]) == (303, "/transfer")
    assert open_page(client) == (200, None)


def test_a_page_after_the_session_leads_to_the_log_in(client: FlaskClient) -> None:
    old = cookie(client, "__Host-access_token")
    form = field_of(client.get("/transfer", base_url=URL))
    assert outcome(post(client, "/auth/sign-out", data=form)) == Outcome(303)
    navigates = {"Sec-Fetch-Mode": "navigate"}
    renewed = client.get("/auth/continue", base_url=URL, headers=navigates)
    assert (renewed.status_code, renewed.headers["Location"]) == (303, "/login")
    client.set_cookie("__Host-access_token", old, secure=True)
    assert open_page(client) == (303, "/login")


# The blueprint


@pytest.fixture
def ready_made() -> Iterator[SimpleNamespace]:
    with page("blueprint") as names:
        yield names


def test_the_blueprint_as_its_page_shows_it(ready_made: SimpleNamespace) -> None:
    client: FlaskClient = ready_made.app.test_client()
    pair: Any = client.post("/auth/login", json=ANN).json
    assert pair.keys() == {
        *("access_token", "refresh_token", "token_type", "expires_in", "refresh_expires_in")
    }
    new: Any = client.post("/auth/refresh", json={"refresh_token": pair["refresh_token"]}).json
    access = bearer(new["access_token"])
    listed: Any = client.get("/auth/sessions", headers=access).json
    (session,) = listed["sessions"]
    assert session.keys() == {
        *("sid", "name", "created", "last_seen", "expires", "ends"),
        *("user_agent", "address", "current"),
    }
    own = f"/auth/sessions/{session['sid']}"
    assert outcome(client.delete("/auth/sessions", headers=access)) == Outcome(204)
    unknown = client.delete(f"{own}x", headers=access)
    assert outcome(unknown) == Outcome(404, "SessionNotFoundError")
    assert outcome(client.delete(own, headers=access)) == Outcome(204)
    assert outcome(client.post("/auth/logout", headers=access)) == Outcome(204)
    assert outcome(client.get("/auth/sessions", headers=access)) == REVOKED


@pytest.mark.parametrize("body", [{}, [], {"name": "ann"}, {**ANN, "password": "x"}, {"name": 1}])
def test_a_refused_log_in_of_the_blueprint(ready_made: SimpleNamespace, body: Any) -> None:
    response = ready_made.app.test_client().post("/auth/login", json=body)
    assert outcome(response) == Outcome(401, "LoginFailedError")
    assert response.json == {"msg": "The log-in failed", "error_type": "LoginFailedError"}


def test_browsers_get_cookies_and_others_get_json(ready_made: SimpleNamespace) -> None:
    client: FlaskClient = ready_made.app.test_client()
    response: Any = post(client, "/auth/login", json=ANN, headers={"Sec-Fetch-Site": "same-origin"})
    assert response.json.keys() == {"expires_in", "refresh_expires_in"}
    refresh = {"X-CSRF-TOKEN": cookie(client, "csrf_refresh_token")}
    renewed: Any = post(client, "/auth/refresh", headers=refresh)
    assert renewed.json.keys() == {"expires_in", "refresh_expires_in"}
    assert "__Secure-refresh_token=" in str(renewed.headers)
