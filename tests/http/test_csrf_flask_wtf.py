"""Beside Flask-WTF: both checks in one app, each with its own value (USERS 72)."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
from flask import Flask, render_template_string
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_authx import AuthX
from tests.support import SECRET
from tests.support.answers import NO_CSRF, OK, Outcome, outcome
from tests.support.browsers import REFRESH_CSRF, browser, browser_app, csrf

# They ship no types; as values of type Any they infect nothing.
flask_wtf: Any = importlib.import_module("flask_wtf")
wtforms: Any = importlib.import_module("wtforms")

#: Flask-WTF's own refusal.
THEIRS: Outcome = Outcome(400)
#: Flask-WTF takes its value from a header of the very name that ours has by default, and from a
#: field of the same name.
APART: dict[str, Any] = {
    "CSRF_CHECK_FORM": True,
    "ACCESS_CSRF_FIELD_NAME": "authx_csrf",
    "REFRESH_CSRF_FIELD_NAME": "authx_csrf",
    "ACCESS_CSRF_HEADER_NAME": "X-Authx-CSRF",
    "REFRESH_CSRF_HEADER_NAME": "X-Authx-CSRF",
}
PAGE = """
<input name="csrf_token" value="{{ csrf_token() }}">
<input name="authx_csrf" value="{{ authx_csrf_token() }}">
"""


def wtf_app(**config: Any) -> tuple[Flask, AuthX, Any]:
    """An app that Flask-WTF protects as a whole, but for logging in; ``/page`` has a form."""
    app, authx = browser_app(**config)
    app.config["SECRET_KEY"] = f"flask-{SECRET}"
    protect = flask_wtf.CSRFProtect(app)
    protect.exempt(app.view_functions["sign_in"])
    page = authx.token_required(lambda: render_template_string(PAGE))
    app.add_url_rule("/page", "page", page)
    return app, authx, protect


def fields(client: FlaskClient) -> dict[str, str]:
    """What the form on the page holds."""
    text = client.get("/page").text
    found = dict(re.findall(r'name="(\w+)" value="([^"]*)"', text))
    assert all(found.values())
    return found


def test_a_form_with_both_values_passes_both_checks() -> None:
    app, _, _ = wtf_app(**APART)
    client = browser(app)
    both = fields(client)
    assert both.keys() == {"csrf_token", "authx_csrf"}
    assert outcome(client.post("/guarded", data=both)) == OK


@pytest.mark.parametrize(("missing", "expected"), [("csrf_token", THEIRS), ("authx_csrf", NO_CSRF)])
def test_neither_value_stands_for_the_other(missing: str, expected: Outcome) -> None:
    app, _, _ = wtf_app(**APART)
    client = browser(app)
    both = fields(client)
    value = both.pop(missing)
    assert outcome(client.post("/guarded", data=both)) == expected
    (other,) = both.values()
    assert value != other
    assert outcome(client.post("/guarded", data={**both, missing: other}))[0] in {400, 403}


def test_a_script_sends_both_headers() -> None:
    app, _, _ = wtf_app(**APART)
    client = browser(app)
    both = fields(client)
    headers = {"X-CSRFToken": both["csrf_token"], "X-Authx-CSRF": both["authx_csrf"]}
    assert outcome(client.post("/guarded", headers=headers)) == OK
    for name, expected in (("X-CSRFToken", THEIRS), ("X-Authx-CSRF", NO_CSRF)):
        others = {key: value for key, value in headers.items() if key != name}
        assert outcome(client.post("/guarded", headers=others)) == expected


def test_with_the_names_as_they_are_a_script_s_header_goes_beside_a_form_s_field() -> None:
    """Flask-WTF looks at the form before its headers, and we the other way round."""
    app, _, _ = wtf_app()
    client = browser(app)
    theirs = {"csrf_token": fields(client)["csrf_token"]}
    assert outcome(client.post("/guarded", data=theirs, headers=csrf(client))) == OK
    assert outcome(client.post("/guarded", data=theirs)) == NO_CSRF
    assert outcome(client.post("/guarded", headers=csrf(client))) == THEIRS


def test_what_is_exempt_there_is_still_checked_here() -> None:
    app, _, protect = wtf_app()
    protect.exempt(app.view_functions["guarded"])
    client = browser(app)
    assert outcome(client.post("/guarded")) == NO_CSRF
    assert outcome(client.post("/guarded", headers=csrf(client))) == OK


def test_the_blueprint_can_be_exempt() -> None:
    """All of its views that take a cookie ask for our value themselves."""
    app, _, protect = wtf_app()
    client = browser(app)
    assert outcome(refresh(client)) == THEIRS
    protect.exempt(app.blueprints["authx"])
    assert outcome(refresh(client)) == OK
    assert outcome(client.post("/auth/refresh")) == NO_CSRF
    assert outcome(client.post("/auth/logout")) == NO_CSRF
    assert outcome(client.post("/auth/logout", headers=csrf(client))) == Outcome(204)


def refresh(client: FlaskClient) -> TestResponse:
    return client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))


def test_a_form_of_flask_wtf_alone_is_checked_by_it() -> None:
    """Without ``CSRFProtect``, where the form checks itself."""
    app, authx = browser_app(**APART)
    app.config["SECRET_KEY"] = f"flask-{SECRET}"
    form: Any = type("Form", (flask_wtf.FlaskForm,), {"text": wtforms.StringField()})

    def view() -> str:
        one = form()
        if one.validate_on_submit():
            return f"saved {one.text.data}"
        return render_template_string(
            "{{ form.csrf_token }}<input name=authx_csrf value={{ authx_csrf_token() }}>", form=one
        )

    app.add_url_rule("/form", "form", authx.token_required(view), methods=["GET", "POST"])
    client = browser(app)
    text = client.get("/form").text
    theirs = re.findall(r'type="hidden" value="([^"]+)"', text)[0]
    ours = re.findall(r"authx_csrf value=(\S+)>", text)[0]
    sent = {"csrf_token": theirs, "authx_csrf": ours, "text": "x"}
    assert client.post("/form", data=sent).text == "saved x"
    assert outcome(client.post("/form", data={**sent, "authx_csrf": ""})) == NO_CSRF
    again = client.post("/form", data={**sent, "csrf_token": "x"})
    assert outcome(again) == OK
    assert "saved" not in again.text


def test_ours_is_still_valid_when_theirs_belongs_to_another_session() -> None:
    """A form open in another tab: Flask's session may be new, that of the user is the same."""
    app, _, _ = wtf_app(**APART)
    client = browser(app)
    before = fields(client)
    client.delete_cookie("session")
    after = fields(client)
    assert before["authx_csrf"] == after["authx_csrf"]
    assert outcome(client.post("/guarded", data={**before, "csrf_token": after["csrf_token"]})) == (
        OK
    )
