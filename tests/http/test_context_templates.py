"""What templates get: ``current_user`` and ``authx_csrf_token()``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flask import Flask, render_template_string

from flask_authx import AuthX
from tests.support import access_token, bearer, make_app
from tests.support.answers import ACCESS_COOKIE, Spy, ask, cookie

# It has no types.
flask_login: Any = __import__("flask_login")

TEMPLATE = "{% if current_user %}{{ current_user.name }}{% else %}nobody{% endif %}"


def template_app() -> tuple[Flask, AuthX]:
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies"])
    authx.set_subject_getter(Spy({"name": "Ann"}))

    @app.get("/page")
    @authx.optional_token
    def page() -> str:
        return render_template_string(TEMPLATE + "|{{ authx_csrf_token() }}")

    return app, authx


def test_templates_have_the_user_and_the_csrf_value() -> None:
    app, authx = template_app()
    token = access_token(app, authx)
    with app.app_context():
        csrf = authx.decode_token(token).csrf
    assert ask(app, path="/page").text == "nobody|"
    assert ask(app, path="/page", headers=bearer(token)).text == f"Ann|{csrf}"
    cookies = cookie((ACCESS_COOKIE, token))
    assert ask(app, path="/page", headers=cookies).text == f"Ann|{csrf}"


def test_templates_outside_a_request_have_no_user() -> None:
    app, _ = template_app()
    with app.app_context():
        assert render_template_string(TEMPLATE) == "nobody"


def test_the_templates_current_user_is_left_to_flask_login() -> None:
    app, authx = template_app()
    manager = flask_login.LoginManager()
    manager.init_app(app)

    def load(_: object) -> Any:
        return SimpleNamespace(name="Flask-Login's", is_active=True)

    manager.request_loader(load)
    response = ask(app, path="/page", headers=bearer(access_token(app, authx)))
    assert response.text.startswith("Flask-Login&#39;s|")
