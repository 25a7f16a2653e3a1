"""The page on migration: no name of the other libraries is missing, and what it says is so."""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
import time
import types
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any, cast

import flask_jwt_extended
import pytest
from flask import Config, Flask, Response, make_response
from flask.testing import FlaskClient
from time_machine import Traveller, travel

import flask_authx
from flask_authx import (
    AuthX,
    AuthXException,
    BadConfigurationError,
    JWTDecodeError,
    RevokedTokenError,
    Token,
)
from flask_authx.settings.options import Settings
from flask_authx.settings.reading import read_settings
from tests.docs import authx_names
from tests.docs.moved import seconds_ahead
from tests.docs.support import blocks, headings, parts_of, section, section_text
from tests.support import NOW, SECRET, Clock, access_token, bearer, forge, make_app, refresh_token
from tests.support.cli import printed, run
from tests.support.corpus import check_all

#: Its types are only partly known.
fje: Any = flask_jwt_extended
fje_exceptions: Any = importlib.import_module("flask_jwt_extended.exceptions")
fje_config: Any = importlib.import_module("flask_jwt_extended.config")

PAGE = "migrating"


# The tables


def rows(heading: str) -> list[tuple[set[str], list[str]]]:
    """The rows of a section's tables: the names in the first cell, and the other cells."""
    found = re.findall(r"^\| (`.*) \|$", section_text(PAGE, heading), re.MULTILINE)
    cells = [row.split(" | ") for row in found]
    return [({*re.findall(r"`([\w_]+)`", first)}, others) for first, *others in cells]


def named(heading: str) -> set[str]:
    return {name for names, _ in rows(heading) for name in names}


def public(owner: Any) -> set[str]:
    members: Mapping[str, Any] = owner.__dict__
    return {
        name
        for name, value in members.items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def arguments_of_their_functions() -> set[str]:
    callables = [getattr(fje, name) for name in public(fje) if name != "current_user"]
    callables.append(fje.JWTManager.init_app)
    parameters = [name for one in callables for name in inspect.signature(one).parameters]
    return {*parameters} - {"self"}


class Recorded(Config):
    """A configuration that notes what is read."""

    def __init__(self, root_path: str, defaults: dict[str, Any]) -> None:
        super().__init__(root_path, defaults)
        self.read = set[str]()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        # The type of its values is unknown.
        return cast(Any, super()).__getitem__(key)


def their_settings() -> set[str]:
    """What the properties of its configuration read, and what it sets a default of."""
    app = Flask(__name__)
    fje.JWTManager(app)
    theirs: dict[str, Any] = dict(app.config)
    app.config = recorded = Recorded(app.root_path, theirs)
    found: Mapping[str, Any] = fje_config.config.__class__.__dict__
    properties = [name for name, one in found.items() if type(one) is property]
    assert "leeway" in properties
    with app.app_context():
        for name in properties:
            # Some are errors without a key, after they have read the setting.
            with suppress(RuntimeError):
                getattr(fje_config.config, name)
    return {name for name in {*theirs, *recorded.read} if name.startswith("JWT_")}


def test_no_name_of_flask_jwt_extended_is_missing() -> None:
    theirs: dict[str, set[str]] = {
        "Functions": public(fje) | arguments_of_their_functions(),
        "Loaders": public(fje.JWTManager),
        "Exceptions": public(fje_exceptions),
        "Settings": their_settings(),
    }
    assert {"jwt_required", "verify_type", "allow_expired"} <= theirs["Functions"]
    assert {"user_lookup_loader", "init_app"} <= theirs["Loaders"]
    assert {"JWT_VERIFY_SUB", "JWT_CSRF_METHODS", "JWT_SECRET_KEY"} <= theirs["Settings"]
    for heading, names in theirs.items():
        assert names - named(heading) == set(), heading
        # Nor is one there that the library does not have.
        assert named(heading) - names == set(), heading


def test_no_name_of_authx_is_missing() -> None:
    theirs = {
        "Methods of the AuthX object": {*authx_names.METHODS, "MSG_TokenError", "MSG_"},
        "Classes of AuthX": authx_names.CLASSES,
        "Exceptions of AuthX": authx_names.EXCEPTIONS,
        "Settings of AuthX": {*authx_names.SETTINGS},
    }
    for heading, names in theirs.items():
        assert named(heading) ^ names == set(), heading


def test_what_the_tables_name_here_exists() -> None:
    settings = {"JWT_" + name.upper() for name in Settings.__dataclass_fields__}
    owners: dict[str, Any] = {"authx": AuthX, "current_token": Token, "Token": Token}
    cells = [
        (names, cell)
        for heading in (*headings(PAGE),)
        for names, others in rows(heading)
        for cell in others
    ]
    assert len(cells) > 150

    def check(cell: str) -> None:
        for owner, name in re.findall(r"`@?(\w+)\.(\w+)", cell):
            if owner in owners:
                assert hasattr(owners[owner], name), f"{owner}.{name}"
        for name in re.findall(r"`(\w+Error|\w+Exception)`", cell):
            assert hasattr(flask_authx, name) or hasattr(builtins, name), name
        for name in re.findall(r"`(JWT_\w+)", cell):
            assert name in settings or name in authx_names.SETTINGS, name

    check_all(((f"{number}: {cell}", cell) for number, (_, cell) in enumerate(cells)), check)


# Settings


def same(heading: str) -> set[str]:
    """The settings that the page calls the same there and here."""
    (found,) = [names for names, (here, *_) in rows(heading) if here.startswith("The same name,")]
    return found


def read(**config: Any) -> Settings:
    settings, problems = read_settings(config)
    assert problems == []
    return settings


def test_settings_that_are_called_the_same_have_the_same_default() -> None:
    app = Flask(__name__)
    fje.JWTManager(app)
    defaults: dict[str, dict[str, Any]] = {
        "Settings": app.config,
        "Settings of AuthX": authx_names.SETTINGS,
    }

    def check(case: tuple[str, str]) -> None:
        heading, name = case
        assert read(**{name: defaults[heading][name]}) == read()

    check_all(
        (
            (f"{heading}: {name}", (heading, name))
            for heading in defaults
            for name in sorted(same(heading))
        ),
        check,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_ACCESS_TOKEN_EXPIRES", False),
        ("JWT_REFRESH_TOKEN_EXPIRES", False),
        ("JWT_HEADER_TYPE", None),
        ("JWT_VERIFY_SUB", True),
        ("JWT_CSRF_METHODS", ["POST"]),
        ("JWT_DECODE_ALGORITHMS", ["HS256", "HS512"]),
        ("JWT_COOKIE_HTTP_ONLY", True),
        ("JWT_SESSION_UPDATE_LAST_ACTIVE", True),
        ("JWT_SECRET_KEY", "super-secret"),
        ("JWT_SECRET_KEY", None),
    ],
)
def test_settings_that_are_called_refused_are(name: str, value: Any) -> None:
    app = Flask(__name__)
    app.config.from_mapping({"SECRET_KEY": SECRET, "JWT_SECRET_KEY": SECRET, name: value})
    with pytest.raises(BadConfigurationError, match=name):
        AuthX(app)


# Exceptions and statuses

Ask = Callable[[FlaskClient, Callable[..., str]], Any]


def both_apps() -> Iterator[tuple[str, FlaskClient, Callable[..., str]]]:
    """An app on each library, with the same views and callbacks; and what creates its tokens."""
    config = {
        "JWT_SECRET_KEY": SECRET,
        "JWT_TOKEN_LOCATION": ["headers", "cookies", "query_string"],
        "JWT_QUERY_STRING_VALUE_PREFIX": "prefix",
        "JWT_QUERY_STRING_NAME": "token",
        "JWT_ACCESS_COOKIE_NAME": "access_token_cookie",
    }
    app = Flask("before")
    app.config.from_mapping(config)
    jwt = fje.JWTManager(app)
    jwt.token_in_blocklist_loader(_is_revoked)
    jwt.user_lookup_loader(_look_up_user)
    jwt.token_verification_loader(_verify)
    app.add_url_rule("/", view_func=fje.jwt_required()(_view), methods=["GET", "POST"])
    app.add_url_rule("/fresh", "fresh", fje.jwt_required(fresh=True)(_view))

    def theirs(uid: str = "ann", kind: str = "access") -> str:
        with app.app_context():
            token: str = getattr(fje, f"create_{kind}_token")(uid)
            return token

    yield "there", app.test_client(), theirs
    here = Flask("after")
    here.config.from_mapping(config)
    authx = AuthX(here)
    authx.set_callback_token_blocklist(_is_revoked)
    authx.set_callback_get_model_instance(_load_user)
    authx.set_callback_verify_claims(_is_verified)
    guard = authx.token_required(user=True)
    here.add_url_rule("/", view_func=guard(_view), methods=["GET", "POST"])
    here.add_url_rule("/fresh", "fresh", authx.fresh_token_required(_view))
    here.register_error_handler(AuthXException, _name_and_status)

    def ours(uid: str = "ann", kind: str = "access") -> str:
        with here.app_context():
            token: str = getattr(authx, f"create_{kind}_token")(uid)
            return token

    yield "here", here.test_client(), ours


def _view() -> dict[str, str]:
    return {}


def _is_revoked(_: object, claims: Mapping[str, Any]) -> bool:
    return bool(claims["sub"] == "revoked")


def _load_user(uid: str) -> str | None:
    return None if uid == "deleted" else "user"


def _look_up_user(_: object, claims: Mapping[str, Any]) -> str | None:
    return _load_user(claims["sub"])


def _is_verified(claims: Mapping[str, Any]) -> bool:
    return bool(claims["sub"] != "unverified")


def _verify(_: object, claims: Mapping[str, Any]) -> bool:
    return _is_verified(claims)


def _name_and_status(error: AuthXException) -> tuple[str, int]:
    return type(error).__name__, error.code or 500


def with_cookie(client: FlaskClient, token: str, csrf: str | None) -> Any:
    client.set_cookie("access_token_cookie", token)
    headers = {} if csrf is None else {"X-CSRF-TOKEN": csrf}
    response = client.post("/", headers=headers)
    client.delete_cookie("access_token_cookie")
    return response


#: By their class: requests that raise it.
REQUESTS: dict[str, Ask] = {
    "JWTDecodeError": lambda client, create: client.get("/", headers=bearer(create() + "A")),
    "InvalidHeaderError": lambda client, create: client.get("/", headers=bearer("a b")),
    "InvalidQueryParamError": lambda client, create: client.get(f"/?token={create()}"),
    "NoAuthorizationError": lambda client, create: client.get("/"),
    "CSRFError": lambda client, create: with_cookie(client, create(), "wrong"),
    "WrongTokenError": lambda client, create: client.get(
        "/", headers=bearer(create(kind="refresh"))
    ),
    "RevokedTokenError": lambda client, create: client.get("/", headers=bearer(create("revoked"))),
    "FreshTokenRequired": lambda client, create: client.get("/fresh", headers=bearer(create())),
    "UserLookupError": lambda client, create: client.get("/", headers=bearer(create("deleted"))),
    "UserClaimsVerificationError": lambda client, create: client.get(
        "/", headers=bearer(create("unverified"))
    ),
}


def test_exceptions_have_the_statuses_of_the_table() -> None:
    sides = {side: (client, create) for side, client, create in both_apps()}
    table = {name: cells for names, cells in rows("Exceptions") for name in names}
    assert {*REQUESTS} == {*table} - {"JWTExtendedException"}

    def check(name: str) -> None:
        here, statuses = table[name]
        there_status, _, here_status = statuses.partition(", ")
        answers = {side: REQUESTS[name](*pair) for side, pair in sides.items()}
        assert str(answers["there"].status_code) == there_status
        assert str(answers["here"].status_code) == (here_status or there_status)
        ours = getattr(flask_authx, answers["here"].text)
        bases = {base.__name__ for base in ours.__mro__}
        assert bases & {*re.findall(r"`(\w+)`", here)}, ours

    check_all(((name, name) for name in REQUESTS), check)


# Tokens from before


def tokens_of_flask_jwt_extended() -> dict[str, str]:
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = SECRET
    fje.JWTManager(app)
    with app.app_context():
        create = fje.create_access_token
        return {
            "access": create("ann"),
            "fresh": create("ann", fresh=True),
            "refresh": fje.create_refresh_token("ann"),
            "fresh for some time": create("ann", fresh=timedelta(minutes=5)),
            "no end": create("ann", expires_delta=False),
            "too long": create("ann", expires_delta=timedelta(days=31)),
            "for an audience": create("ann", additional_claims={"aud": "app"}),
        }


def accepted(**settings: Any) -> set[str]:
    app = Flask(__name__)
    app.config.from_mapping({"JWT_SECRET_KEY": SECRET, **settings})
    authx, found = AuthX(app), set[str]()
    with app.app_context():
        for name, token in tokens_of_flask_jwt_extended().items():
            with suppress(JWTDecodeError):
                assert (verified := authx.decode_token(token)).sid == verified.jti
                found.add(name)
    return found


def test_tokens_of_flask_jwt_extended_are_accepted_as_the_page_says() -> None:
    assert accepted() == set()
    assert accepted(JWT_ACCEPT_UNTYPED=True) == {"access", "fresh", "refresh"}
    for audience in ({"JWT_DECODE_AUDIENCE": "app"}, {"JWT_ENCODE_AUDIENCE": "app"}):
        assert accepted(JWT_ACCEPT_UNTYPED=True, **audience) == {"for an audience"}


def test_the_old_app_accepts_the_tokens_of_the_new_one() -> None:
    """During a release, and after a return to the old version."""
    before = Flask("before")
    before.config["JWT_SECRET_KEY"] = SECRET
    fje.JWTManager(before)
    before.add_url_rule("/", view_func=fje.jwt_required()(_view))
    before.add_url_rule("/refresh", "refresh", fje.jwt_required(refresh=True)(_view))
    app, authx = make_app(SECRET_KEY=SECRET, clock=Clock(time.time()))
    client = before.test_client()
    for path, create in (("/", access_token), ("/refresh", refresh_token)):
        response = client.get(path, headers=bearer(create(app, authx)))
        assert response.status_code == 200, response.text


class Steps:
    """The app of the steps, released when its clock has moved on by a minute."""

    def __init__(self, app: Flask, clock: Traveller, moved_at: int) -> None:
        self.app, self.clock, self.moved_at = app, clock, moved_at
        self.client = app.test_client()

    def status(self, token: str, method: str = "GET", path: str = "/profile") -> int:
        return self.client.open(path, method=method, headers=bearer(token)).status_code

    def log_out(self, token: str) -> None:
        response = self.client.delete("/logout", headers=bearer(token))
        assert response.json == {"logged_out": True}

    def refreshed(self, token: str) -> str:
        response = self.client.post("/refresh", headers=bearer(token))
        return str(response.get_json().get("access_token", ""))

    def logged_in(self) -> dict[str, str]:
        ann = {"name": "ann", "password": "correct horse"}
        pair: dict[str, str] = self.client.post("/login", json=ann).get_json()
        return pair

    def until_the_old_processes_have_stopped(self) -> None:
        self.clock.move_to(self.moved_at)


@contextmanager
def steps(*, init: bool = True) -> Generator[Steps]:
    ahead = seconds_ahead(section_text(PAGE, "5. Rewrite the log-out view"))
    with travel(NOW, tick=False) as clock, pytest.MonkeyPatch.context() as patch:
        moved_at = int(NOW) + 60 + ahead
        patch.setenv("FLASK_MOVED_AT", str(moved_at))
        with section(PAGE, "Move in an hour") as names:
            with names.app.app_context():
                names.db.create_all()
            if init:
                printed(names.app, "store", "init", "--trust-older")
            guard = names.authx.token_required
            names.app.add_url_rule("/profile", view_func=guard(_view))
            yield Steps(names.app, clock, moved_at)


def test_the_app_of_the_steps() -> None:
    with steps() as app:
        held, other = tokens_of_flask_jwt_extended(), tokens_of_flask_jwt_extended()
        app.clock.shift(60)
        ann = {"name": "ann", "password": ""}
        assert app.client.post("/login", json=ann).status_code == 401
        renewed = app.refreshed(held["refresh"])
        assert [app.status(token) for token in (held["access"], renewed)] == [200, 200]
        # A token that was refreshed after the move ends what began before it.
        app.log_out(renewed)
        everything = [*held.values(), *other.values(), renewed]
        assert {app.status(token) for token in everything} == {401}
        assert (app.refreshed(held["refresh"]), app.refreshed(other["refresh"])) == ("", "")
        app.until_the_old_processes_have_stopped()
        pair, second = app.logged_in(), app.logged_in()
        renewed = app.refreshed(pair["refresh_token"])
        app.log_out(pair["access_token"])
        assert [app.status(token) for token in (pair["access_token"], renewed)] == [401, 401]
        assert app.refreshed(pair["refresh_token"]) == ""
        assert app.status(second["access_token"]) == 200


def test_a_log_out_revokes_what_an_old_process_issues_during_the_release() -> None:
    with steps() as app:
        app.clock.shift(60 + 30 * 60)
        held = tokens_of_flask_jwt_extended()
        app.log_out(held["access"])
        assert app.status(held["access"]) == 401
        assert app.refreshed(held["refresh"]) == ""


def test_either_token_from_before_logs_out() -> None:
    with steps() as app:
        held, other = tokens_of_flask_jwt_extended(), tokens_of_flask_jwt_extended()
        app.clock.shift(60)
        app.log_out(held["refresh"])
        assert {app.status(one["access"]) for one in (held, other)} == {401}
        assert {app.refreshed(one["refresh"]) for one in (held, other)} == {""}


def test_an_expired_token_from_before_does_not_lead_to_its_refresh_token() -> None:
    with steps() as app:
        held = tokens_of_flask_jwt_extended()
        app.clock.shift(60 * 60)
        app.log_out(held["access"])
        assert app.refreshed(held["refresh"])


@pytest.mark.parametrize("sent", ["access_token", "refresh_token"])
def test_either_token_from_after_logs_out_also_when_it_has_expired(sent: str) -> None:
    with steps() as app:
        app.until_the_old_processes_have_stopped()
        pair, other = app.logged_in(), app.logged_in()
        app.clock.shift(60 * 60)
        assert app.status(pair["access_token"]) == 401
        app.log_out(pair[sent])
        assert app.refreshed(pair["refresh_token"]) == ""
        assert app.refreshed(other["refresh_token"])


def test_the_log_out_view_refuses_a_forged_token() -> None:
    with steps() as app:
        assert app.status(app.logged_in()["access_token"] + "A", "DELETE", "/logout") == 401


@pytest.mark.parametrize("first", ["a token", "a log-in"])
def test_a_request_before_the_store_is_prepared_ends_tokens_from_before(first: str) -> None:
    """The page warns of it, and says what the command answers then."""
    with steps(init=False) as app:
        held = tokens_of_flask_jwt_extended()
        app.clock.shift(60)
        if first == "a token":
            assert app.status(held["access"]) == 401
        else:
            assert app.logged_in()
        late = run(app.app, "store", "init", "--trust-older")
        assert late.code == 1
        assert "has the entry" in late.output
        assert app.status(held["access"]) == 401
    text = section_text(PAGE, "2. Start the app and correct the settings")
    (warning,) = re.findall(r"^> \[!WARNING\]\n((?:> .*\n)+)", text, re.MULTILINE)
    for said in ("before the first new process starts", "nothing takes that back", "exit\n> code"):
        assert said in warning


def test_a_short_secret_verifies_until_its_date() -> None:
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = "change-me"
    fje.JWTManager(app)
    with app.app_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyJWT's, of a short key
        token = fje.create_access_token("ann")
    with section(PAGE, "A short secret") as names:
        client = names.app.test_client()
        assert client.get("/profile", headers=bearer(token)).json == {"user": "ann"}
        new = access_token(names.app, names.authx)
        assert client.get("/profile", headers=bearer(new)).json == {"user": "ann"}


def test_the_test_of_the_page_passes() -> None:
    with section(PAGE, "Tests") as names:
        names.test_an_expired_token_is_refused()
        names.test_the_routes_are_guarded()


# Cookies


def cookie_app(**settings: Any) -> FlaskClient:
    """An app that keeps the names of the cookies, in whose browser are the cookies of before."""
    before = Flask("before")
    before.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_TOKEN_LOCATION="cookies")
    fje.JWTManager(before)
    with before.app_context():
        token = fje.create_refresh_token("ann")
        csrf = fje.get_csrf_token(token)
    names = {
        "ACCESS_COOKIE_NAME": "access_token_cookie",
        "REFRESH_COOKIE_NAME": "refresh_token_cookie",
    }
    app, authx = make_app(
        **names, TOKEN_LOCATION="cookies", ACCEPT_UNTYPED=True, clock=Clock(time.time()), **settings
    )

    @app.post("/login")
    def login() -> Response:
        response = make_response({})
        authx.set_cookies(response, authx.create_token_pair("ann"))
        return response

    @app.post("/auth/refresh")
    @authx.refresh_token_required
    def refresh() -> dict[str, str]:
        return {}

    client = app.test_client()
    domain = settings.get("COOKIE_DOMAIN", "localhost")
    client.set_cookie("refresh_token_cookie", token, domain=domain)
    client.set_cookie("csrf_refresh_token", csrf, domain=domain)
    return client


def refresh_status(client: FlaskClient, base: str = "https://localhost") -> int:
    host = base.removeprefix("https://")
    cookie = client.get_cookie("csrf_refresh_token", domain=host)
    headers = {} if cookie is None else {"X-CSRF-TOKEN": cookie.value}
    return client.post("/auth/refresh", headers=headers, base_url=base).status_code


def test_a_refresh_cookie_from_before_needs_a_log_in_unless_there_is_no_companion() -> None:
    client = cookie_app()
    assert refresh_status(client) == 401
    response = client.post("/login", base_url="https://localhost")
    set_here = [header.split("=")[0] for header in response.headers.getlist("Set-Cookie")]
    assert "__Host-authx_session" in set_here
    assert refresh_status(client) == 200
    shared = cookie_app(COOKIE_DOMAIN="example.org", REFRESH_COOKIE_PATH="/")
    assert refresh_status(shared, "https://example.org") == 200


def test_two_refresh_cookies_are_a_400_that_deletes_the_former_one() -> None:
    client = cookie_app()
    client.post("/login", base_url="https://localhost")
    # Of a process of before, while both versions run.
    client.set_cookie("refresh_token_cookie", "another", path="/")
    response = client.post("/auth/refresh", base_url="https://localhost")
    assert response.status_code == 400
    # The test client does not know partitioned cookies, which are others.
    cleared = [one for one in response.headers.getlist("Set-Cookie") if "Partitioned" not in one]
    assert len(cleared) == 1
    assert cleared[0].startswith("refresh_token_cookie=;")
    assert "Path=/;" in cleared[0]


def test_a_refresh_view_elsewhere_needs_the_path_of_the_cookie() -> None:
    for path, error in ((None, RuntimeError), ("/refresh", None)):
        app, authx = make_app(TOKEN_LOCATION="cookies", REFRESH_COOKIE_PATH=path)
        app.add_url_rule("/refresh", "refresh", authx.refresh_token_required(_view))
        with (
            app.test_request_context(),
            pytest.raises(error, match="REFRESH_COOKIE_PATH") if error else nullcontext(),
        ):
            authx.set_cookies(make_response({}), authx.create_token_pair("ann"))


def test_a_log_out_without_an_access_cookie_needs_the_path_of_the_refresh_cookie() -> None:
    advice = "the path that your views for refresh and log-out share"
    assert advice in re.sub(r"\s+", " ", section_text(PAGE, "Cookies"))
    base = "https://localhost"
    for path, revoked in (("/", True), ("/refresh", False)):
        app, authx = make_app(
            TOKEN_LOCATION="cookies",
            REFRESH_COOKIE_PATH=path,
            SESSION_COOKIE=False,
            BLOCKLIST="memory://",
            clock=Clock(time.time()),
        )
        app.add_url_rule("/login", view_func=_view_of_log_in(authx), methods=["POST"])
        app.add_url_rule("/logout", view_func=_view_of_log_out(authx), methods=["POST"])
        client = app.test_client()
        client.post("/login", base_url=base)
        held = client.get_cookie("__Secure-refresh_token", path=path)
        assert held is not None
        # The browser has deleted it, since it has expired.
        client.delete_cookie("__Host-access_token")
        csrf = client.get_cookie("csrf_refresh_token")
        assert csrf is not None
        headers = {"X-CSRF-TOKEN": csrf.value}
        assert client.post("/logout", headers=headers, base_url=base).status_code == 200
        with app.app_context():
            assert authx.is_revoked(held.value) == revoked


def _view_of_log_in(authx: AuthX) -> Callable[[], Response]:
    def login() -> Response:
        response = make_response({})
        authx.set_cookies(response, authx.create_token_pair("ann"))
        return response

    return login


def _view_of_log_out(authx: AuthX) -> Callable[[], dict[str, str]]:
    def logout() -> dict[str, str]:
        authx.logout()
        return {}

    return logout


def test_former_places_are_cleared() -> None:
    former = [{"path": "/api"}, {"domain": "example.org"}]
    client = cookie_app(COOKIE_FORMER=former)
    response = client.post("/login", base_url="https://localhost")
    cleared = [one for one in response.headers.getlist("Set-Cookie") if "Max-Age=0" in one]
    assert any("refresh_token_cookie" in one and "Path=/api" in one for one in cleared)
    assert any("refresh_token_cookie" in one and "Domain=example.org" in one for one in cleared)


# AuthX


def of_authx(kind: str, **claims: Any) -> str:
    """A token as AuthX creates it. Its expiry has a fraction."""
    payload = {
        "sub": "ann",
        "jti": "a2d3e8fa-7996-418d-9b8f-f2e043b278b0",
        "type": kind,
        "iat": int(NOW),
        "exp": NOW + 900.701084,
    }
    return forge({"alg": "HS256", "typ": "JWT"}, {**payload, **authx_names.TOKENS[kind], **claims})


def test_the_app_for_authx_accepts_its_tokens() -> None:
    with travel(NOW, tick=False), section(PAGE, "From AuthX") as names:
        app, authx, client = names.app, names.authx, names.app.test_client()
        with app.app_context():
            assert authx.decode_token(of_authx("refresh")).type == "refresh"
            token = authx.decode_token(of_authx("access"))
        assert token.has_scopes("admin:users", "admin:users:edit")
        assert not token.has_scopes("admin")
        assert token.has_scopes("admin", "admin:any", all_required=False)
        ann = {"name": "ann", "password": "correct horse"}
        assert client.post("/login", json={**ann, "password": ""}).status_code == 401
        pair = client.post("/login", json=ann).get_json()
        headers = bearer(pair["access_token"])
        assert client.get("/notes", headers=headers).json == {"notes_of": "ann"}
        unscoped = bearer(of_authx("access"))
        assert client.get("/notes", headers=unscoped).status_code == 403
        assert client.delete("/logout", headers=headers).json == {"logged_out": True}
        with app.app_context(), pytest.raises(RevokedTokenError):
            authx.verify_token(pair["refresh_token"], type="refresh")


def test_an_expiry_of_authx_is_an_error_and_no_long_life() -> None:
    """There a number is the time of expiry, here a lifetime."""
    app, authx = make_app()
    for expiry, error in ((int(NOW) + 60, ValueError), (NOW + 60, TypeError)):
        with pytest.raises(error, match="expiry"):
            access_token(app, authx, expiry=expiry)


# All of its code


def test_all_code_is_run_by_some_test() -> None:
    """Each section with code is a program, or has programs in its parts."""
    with_code = {one for one in headings(PAGE) if blocks(section_text(PAGE, one), "python")}
    assert with_code == {"Move in an hour", "Recipes", "Tokens from before", "Tests", "From AuthX"}
    in_parts = [
        part
        for part in parts_of(PAGE, "Tokens from before")
        if blocks(section_text(PAGE, part), "python")
    ]
    assert in_parts == ["A short secret"]
