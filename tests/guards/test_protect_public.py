"""What is public in a protected app: marked views, classes and methods, and static files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView

from flask_authx import AuthX
from tests.support import SECRET, Clock, access_token, bearer, make_app, refresh_token
from tests.support.answers import MISSING, Outcome, ask, blueprint, is_open, outcome, who


def test_public_works_above_and_below_the_route_and_in_a_call() -> None:
    app, authx = make_app(PROTECT_ALL=True)

    @authx.public
    @app.get("/above")
    def above() -> str:
        return who()

    @app.get("/below")
    @authx.public
    def below() -> str:
        return who()

    @app.get("/later")
    def later() -> str:
        return who()

    authx.public(later)
    app.add_url_rule("/private", "private", lambda: "private")
    for path in ("/above", "/below", "/later"):
        assert is_open(app, path)
    assert not is_open(app, "/private")


def test_public_on_a_view_class_and_on_one_of_its_methods() -> None:
    app, authx = make_app(PROTECT_ALL=True)

    @authx.public
    class Open(MethodView):
        def get(self) -> str:
            return who()

    class Mixed(MethodView):
        @authx.public
        def get(self) -> str:
            return who()

        def post(self) -> str:
            return who()

        @authx.refresh_token_required
        def put(self) -> str:
            return who()

    app.add_url_rule("/open", view_func=Open.as_view("open"))
    app.add_url_rule("/mixed", view_func=Mixed.as_view("mixed"))
    assert is_open(app, "/open")
    assert is_open(app, "/mixed")
    assert is_open(app, "/mixed", "HEAD")
    assert not is_open(app, "/mixed", "POST")
    access, refresh = bearer(access_token(app, authx)), bearer(refresh_token(app, authx))
    assert ask(app, "POST", "/mixed", headers=access).text == "ann"
    assert outcome(ask(app, "PUT", "/mixed", headers=access)) == Outcome(
        401, "RefreshTokenRequiredError"
    )
    assert ask(app, "PUT", "/mixed", headers=refresh).text == "ann"


def test_public_on_a_method_of_an_object() -> None:
    app, authx = make_app(PROTECT_ALL=True)

    class Pages:
        def home(self) -> str:
            return who()

        def other(self) -> str:
            return who()

    pages = Pages()
    app.add_url_rule("/home", view_func=authx.public(pages.home))
    app.add_url_rule("/other", view_func=pages.other)
    assert is_open(app, "/home")
    assert not is_open(app, "/other")


def test_a_subclass_of_a_public_view_class_is_not_public_by_itself() -> None:
    """Secure by default: what is open was opened by name."""
    app, authx = make_app(PROTECT_ALL=True)

    @authx.public
    class Open(MethodView):
        def get(self) -> str:
            return who()

    class Closed(Open):
        pass

    app.add_url_rule("/closed", view_func=Closed.as_view("closed"))
    assert not is_open(app, "/closed")


def test_a_method_that_the_class_does_not_name_is_protected_as_well() -> None:
    app, authx = make_app(PROTECT_ALL=True)

    class Odd(MethodView):
        @authx.public
        def get(self) -> str:
            return who()

        def dispatch_request(self, **kwargs: Any) -> Any:
            return who()

    app.add_url_rule("/odd", view_func=Odd.as_view("odd"), methods=["GET", "DELETE"])
    assert is_open(app, "/odd")
    assert not is_open(app, "/odd", "DELETE")


def test_static_files_of_app_and_blueprints_are_public(tmp_path: Path) -> None:
    """USERS 87"""
    (tmp_path / "a.txt").write_text("file")
    app = Flask(__name__, static_folder=str(tmp_path), static_url_path="/static")
    app.config |= {"JWT_SECRET_KEY": SECRET, "JWT_PROTECT_ALL": True}
    AuthX(app, clock=Clock())
    bp = blueprint("bp", static_folder=str(tmp_path), static_url_path="/static")
    app.register_blueprint(bp)
    for path in ("/static/a.txt", "/bp/static/a.txt"):
        response = ask(app, path=path)
        assert response.text == "file"
        response.close()
    assert not is_open(app, "/bp/view")


def test_a_view_that_is_only_called_static_is_protected() -> None:
    app = Flask(__name__, static_folder=None)
    app.config |= {"JWT_SECRET_KEY": SECRET, "JWT_PROTECT_ALL": True}
    AuthX(app, clock=Clock())
    app.add_url_rule("/static", "static", who)
    bp = blueprint("bp")
    bp.add_url_rule("/s", "static", who)
    app.register_blueprint(bp)
    assert not is_open(app, "/static")
    assert not is_open(app, "/bp/s")


def test_a_dotted_endpoint_of_the_app_is_not_taken_for_static_files() -> None:
    """Only what Flask itself serves from a static folder is public."""
    app, _ = make_app(PROTECT_ALL=True)
    app.add_url_rule("/x", endpoint="reports.static", view_func=lambda: "secret")
    assert outcome(app.test_client().get("/x")) == MISSING


def test_a_factory_may_protect_the_same_blueprint_for_each_app() -> None:
    """USERS 92: the blueprint is a module's, the apps come and go."""
    shared = Blueprint("shared", __name__)
    shared.add_url_rule("/x", view_func=lambda: "secret", endpoint="x")
    module_level = AuthX()
    for authx in (module_level, module_level, AuthX(), AuthX()):
        authx.protect(shared)
        app = Flask("made")
        app.config["JWT_SECRET_KEY"] = SECRET
        authx.init_app(app)
        app.register_blueprint(shared)
        assert outcome(app.test_client().get("/x")) == MISSING
    with pytest.raises(RuntimeError, match="already responded"):
        module_level.protect(shared, fresh=True)
