"""Reading the settings: what is refused, together and by name, and what is left alone."""

from __future__ import annotations

import copy
from dataclasses import fields
from datetime import date, timedelta
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, BadConfigurationError, Location
from flask_authx.enums import Algorithm, Detail, OnError, SameSite
from flask_authx.settings.options import Settings
from flask_authx.settings.parsers import FormerPlace
from flask_authx.settings.reading import read_settings
from tests.support import OTHER_SECRET, SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import MISSING, OK, ask, outcome
from tests.support.corpus import by_repr, check_all

from . import (
    test_effects,
    test_effects_cookies,
    test_effects_request,
    test_effects_sessions,
    test_effects_stores,
)

NAMES = {one.name for one in fields(Settings) if one.init}


def test_each_setting_has_a_test_that_shows_its_effect() -> None:
    """DESIGN 5.6: no setting is read by nothing."""
    modules = (
        test_effects_cookies,
        test_effects_sessions,
        test_effects,
        test_effects_request,
        test_effects_stores,
    )
    tested = {name for module in modules for name in vars(module)}
    shown = {name.removeprefix("test_setting_") for name in tested if "test_setting_" in name}
    assert shown == NAMES


#: What stands in the environment variable, and what it sets.
ENVIRONMENT: dict[str, tuple[str, object]] = {
    "algorithm": ("HS512", Algorithm.HS512),
    "decode_algorithms": ("HS256", frozenset({Algorithm.HS256})),
    "key_id": ("2027-01", "2027-01"),
    "previous_weak_until": ("2027-01-31", date(2027, 1, 31)),
    "access_token_expires": ("5m", 300),
    "refresh_token_expires": ("1209600", 1209600),
    "max_token_lifetime": ("8w", 8 * 604800),
    "decode_leeway": ("1m30s", 90),
    "encode_nbf": ("false", False),
    "encode_issuer": ("https://us.example", "https://us.example"),
    "decode_issuer": ("https://us.example", "https://us.example"),
    "encode_audience": ('["api", "admin"]', ("api", "admin")),
    "decode_audience": ("api,admin", frozenset({"api", "admin"})),
    "identity_claim": ("user", "user"),
    "accept_untyped": ("True", True),
    "max_token_length": ("4096", 4096),
    "cache_size": ("0", 0),
    "token_location": ("headers,cookies", frozenset({Location.HEADERS, Location.COOKIES})),
    "header_name": ("X-Token", "X-Token"),
    "header_type": ("JWT", "JWT"),
    "query_string_name": ("jwt", "jwt"),
    "query_string_value_prefix": ("Bearer ", "Bearer "),
    "json_key": ("access", "access"),
    "refresh_json_key": ("refresh", "refresh"),
    "json_methods": ('["POST", "delete"]', frozenset({"POST", "DELETE"})),
    "access_cookie_name": ("a", "a"),
    "refresh_cookie_name": ("r", "r"),
    "cookie_csrf_protect": ("no", False),
    "csrf_methods": (
        "GET,POST,PUT,PATCH,DELETE",
        frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"}),
    ),
    "csrf_check_form": ("on", True),
    "access_csrf_header_name": ("X-A", "X-A"),
    "refresh_csrf_header_name": ("X-R", "X-R"),
    "access_csrf_field_name": ("a", "a"),
    "refresh_csrf_field_name": ("r", "r"),
    "error_message_key": ("message", "message"),
    "realm": ("the archive", "the archive"),
    "protect_all": ("TRUE", True),
    "revocation_required": ("yes", True),
    "blocklist": ("redis://store/0", "redis://store/0"),
    "blocklist_on_error": ("accept", OnError.ACCEPT),
    "store_timeout": ("0.5", 0.5),
    "store_scope": ("shop", "shop"),
    "store_connections": ("4", 4),
    "clock_skew": ("2s", 2),
    "prune_on_write": ("0", 0),
    "audit": ("365d", 365 * 86400),
    "access_cookie_path": ("/app", "/app"),
    "refresh_cookie_path": ("/app/auth", "/app/auth"),
    "cookie_domain": ("example.org", "example.org"),
    "cookie_former": ('[{"path": "/old"}]', (FormerPlace("/old", None),)),
    "cookie_secure": ("false", False),
    "cookie_samesite": ("strict", SameSite.STRICT),
    "cookie_partitioned": ("true", True),
    "session_cookie": ("false", False),
    "cookie_max_age": ("30d", 30 * 86400),
    "csrf_in_cookies": ("false", False),
    "access_csrf_cookie_name": ("ca", "ca"),
    "refresh_csrf_cookie_name": ("cr", "cr"),
    "access_csrf_cookie_path": ("/app", "/app"),
    "refresh_csrf_cookie_path": ("/app", "/app"),
    "csrf_check_origin": ("true", True),
    "trusted_origins": ("https://a.example", frozenset({"https://a.example"})),
    "sessions": ("true", True),
    "session_lifetime": ("30d", 30 * 86400),
    "refresh_grace": ("10", 10),
    "max_sessions": ("5", 5),
    "session_details": (
        "user_agent,address",
        frozenset({Detail.USER_AGENT, Detail.ADDRESS}),
    ),
    "implicit_refresh_deltatime": ("5m", 300),
    "implicit_refresh_route_exclude": ("/feed", frozenset({"/feed"})),
    "implicit_refresh_route_include": ("/feed,/news", frozenset({"/feed", "/news"})),
    "implicit_refresh_method_exclude": ("get", frozenset({"GET"})),
    "implicit_refresh_method_include": ("GET", frozenset({"GET"})),
}
#: What makes no sense without another.
BESIDE: dict[str, dict[str, str]] = {
    "cookie_max_age": {"SESSION_COOKIE": "false"},
    "implicit_refresh_deltatime": {"TOKEN_LOCATION": "cookies"},
    **{
        name: {"TOKEN_LOCATION": "cookies", "IMPLICIT_REFRESH_DELTATIME": "60"}
        for name in ENVIRONMENT
        if name.startswith(("implicit_refresh_route", "implicit_refresh_method"))
    },
}
#: Keys are read by the key set, and what goes with the previous key needs one.
KEYS = {
    *(name for name in NAMES if name.endswith(("secret_key", "private_key", "public_key"))),
    *("previous_algorithm", "previous_key_id"),
}


def test_an_environment_variable_sets_a_setting() -> None:
    def check(name: str) -> None:
        text, value = ENVIRONMENT[name]
        app = Flask("tests")
        with pytest.MonkeyPatch.context() as environment:
            for other, its_text in {**BESIDE.get(name, {}), name.upper(): text}.items():
                environment.setenv(f"FLASK_JWT_{other}", its_text)
            app.config.from_prefixed_env()
        settings, problems = read_settings(app.config)
        assert problems == []
        assert getattr(settings, name) == value
        assert value != getattr(Settings(), name)

    check_all({name: name for name in ENVIRONMENT}, check)


def test_the_table_above_covers_every_setting() -> None:
    assert set(ENVIRONMENT) == NAMES - KEYS


def test_a_whole_app_is_set_up_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "SECRET_KEY": SECRET,
        "PREVIOUS_SECRET_KEY": OTHER_SECRET,
        "ACCESS_TOKEN_EXPIRES": "1h",
        "TOKEN_LOCATION": "headers",
        "PROTECT_ALL": "true",
    }.items():
        monkeypatch.setenv(f"FLASK_JWT_{name}", text)
    app = Flask("tests")
    app.config.from_prefixed_env()
    authx = AuthX(app, clock=Clock())
    app.add_url_rule("/", "index", lambda: "in")
    assert outcome(ask(app, path="/")) == MISSING
    headers = bearer(access_token(app, authx))
    assert outcome(ask(app, path="/", headers=headers)) == OK


def problems_of(**config: Any) -> tuple[str, ...]:
    config.setdefault("SECRET_KEY", SECRET)
    try:
        make_app(**config)
    except BadConfigurationError as error:
        return error.problems
    pytest.fail(f"sent {config}, came an app, expected BadConfigurationError")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("ACCES_TOKEN_EXPIRES", "JWT_ACCESS_TOKEN_EXPIRES"),
        ("SECRETKEY", "JWT_SECRET_KEY"),
        ("TOKEN_LOCATIONS", "JWT_TOKEN_LOCATION"),
        ("access_token_expires", "JWT_ACCESS_TOKEN_EXPIRES"),
        ("PROTECTALL", "JWT_PROTECT_ALL"),
    ],
)
def test_a_mistyped_name_is_refused_and_the_right_one_named(wrong: str, meant: str) -> None:
    [problem] = problems_of(**{wrong: "x"})
    assert problem == f"JWT_{wrong} is not a setting of Flask-AuthX: did you mean {meant}?"


def test_a_name_that_is_like_no_other_is_refused() -> None:
    [problem] = problems_of(QQQ=1)
    assert problem.startswith("JWT_QQQ is not a setting of Flask-AuthX: remove it")


def test_settings_of_others_are_ignored() -> None:
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, ADMIN_JWT_X=1, SECRET_KEY="x", JWTS=1)
    AuthX(app)


@pytest.mark.parametrize("name", ["ACCESS_TOKEN_EXPIRES", "REFRESH_TOKEN_EXPIRES"])
@pytest.mark.parametrize("never", [None, False])
def test_a_token_that_never_expires_is_refused(name: str, never: object) -> None:
    """DESIGN 5, the table: what the peers mean by no expiry."""
    [problem] = problems_of(**{name: never})
    assert problem.startswith(f"JWT_{name}: a token must expire")


def test_none_for_the_scheme_is_refused() -> None:
    """SECURITY A.7 132: it could mean two things."""
    [problem] = problems_of(HEADER_TYPE=None)
    assert problem.startswith("JWT_HEADER_TYPE: set it to a scheme")


def test_none_is_the_default_anywhere_else() -> None:
    lifetimes = {
        *("access_token_expires", "refresh_token_expires", "max_token_lifetime"),
        "session_lifetime",
    }
    others = NAMES - lifetimes - {"header_type"}
    config = {f"JWT_{name.upper()}": None for name in others}
    settings, problems = read_settings(config)
    assert problems == []
    assert settings == Settings()


def test_all_problems_are_reported_together_those_of_keys_too() -> None:
    """DESIGN 5.6."""
    problems = problems_of(
        SECRET_KEY="short",
        ACCES_TOKEN_EXPIRES=5,
        DECODE_LEEWAY=-1,
        REALM='"',
        JSON_KEY="refresh_token",
        PREVIOUS_SECRET_KEY="short as well",
    )
    named = ("ACCES_TOKEN", "DECODE_LEEWAY", "REALM", "JSON_KEY", "SECRET_KEY", "PREVIOUS_SECRET")
    for name in named:
        assert any(problem.startswith(f"JWT_{name}") for problem in problems), name
    assert len(problems) == len(named)
    assert all(problem.endswith((".", "?")) for problem in problems)


def test_no_problem_shows_a_secret() -> None:
    """SECURITY A.16 296 and 297."""
    [problem] = problems_of(SECRET_KEY="hunter2-hunter2")
    assert "hunter2" not in problem
    settings, _ = read_settings({"JWT_SECRET_KEY": SECRET, "JWT_PREVIOUS_SECRET_KEY": SECRET})
    assert SECRET not in repr(settings)


CONTRADICTIONS: list[tuple[str, dict[str, Any]]] = [
    ("ACCESS_TOKEN_EXPIRES", {"ACCESS_TOKEN_EXPIRES": "40d"}),
    ("REFRESH_TOKEN_EXPIRES", {"REFRESH_TOKEN_EXPIRES": timedelta(days=31)}),
    ("REFRESH_TOKEN_EXPIRES", {"MAX_TOKEN_LIFETIME": "10d"}),
    ("CSRF_METHODS", {"CSRF_METHODS": ["POST"]}),
    ("CSRF_METHODS", {"CSRF_METHODS": "GET,POST,PUT,PATCH"}),
    ("ACCESS_COOKIE_NAME", {"ACCESS_COOKIE_NAME": "t", "REFRESH_COOKIE_NAME": "t"}),
    ("JSON_KEY", {"JSON_KEY": "token", "REFRESH_JSON_KEY": "token"}),
    ("IDENTITY_CLAIM", {"IDENTITY_CLAIM": "jti"}),
    ("IDENTITY_CLAIM", {"IDENTITY_CLAIM": "scope"}),
    ("MAX_TOKEN_LENGTH", {"MAX_TOKEN_LENGTH": 255}),
    ("ERROR_MESSAGE_KEY", {"ERROR_MESSAGE_KEY": "error_type"}),
    ("DECODE_ALGORITHMS", {"DECODE_ALGORITHMS": ["HS256", "RS256"]}),
    ("PREVIOUS_ALGORITHM", {"PREVIOUS_ALGORITHM": "HS256"}),
    ("PREVIOUS_ALGORITHM", {"PREVIOUS_KEY_ID": "old"}),
    ("PREVIOUS_*", {"PREVIOUS_SECRET_KEY": SECRET}),
    ("PRIVATE_KEY", {"PRIVATE_KEY": "-----BEGIN"}),
    ("ALGORITHM", {"ALGORITHM": "none"}),
    ("CLOCK_SKEW", {"CLOCK_SKEW": 3601}),
    ("DECODE_LEEWAY", {"DECODE_LEEWAY": 3601}),
    ("STORE_SCOPE", {"STORE_SCOPE": "s" * 256}),
    ("STORE_SCOPE", {"STORE_SCOPE": "\0"}),
    ("STORE_SCOPE", {"STORE_SCOPE": "\ud800"}),
    ("BLOCKLIST_ON_ERROR", {"BLOCKLIST_ON_ERROR": "accept"}),
]


def test_settings_that_do_not_fit_together_are_refused() -> None:
    def check(case: tuple[str, dict[str, Any]]) -> None:
        name, config = case
        [problem] = problems_of(**config)
        assert problem.startswith(f"JWT_{name}")

    check_all(by_repr(CONTRADICTIONS), check)


def test_a_long_leeway_is_a_warning() -> None:
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_DECODE_LEEWAY=301)
    with pytest.warns(UserWarning, match="JWT_DECODE_LEEWAY is above 300 seconds") as warned:
        AuthX().init_app(app)
    # It names the line that set the app up.
    assert [warning.filename for warning in warned] == [__file__]


def test_the_apps_config_is_not_written_to() -> None:
    """DESIGN 5.6; SECURITY A.19 9."""
    config: dict[str, Any] = {
        "JWT_SECRET_KEY": SECRET,
        "JWT_TOKEN_LOCATION": ["cookies", "headers"],
        "JWT_JSON_METHODS": {"post"},
        "JWT_DECODE_ALGORITHMS": ["HS256"],
        "JWT_ENCODE_AUDIENCE": ["api"],
    }
    app = Flask("tests")
    app.config.from_mapping(config)
    before = copy.deepcopy(config)
    authx = AuthX(app, clock=Clock())
    app.add_url_rule("/", "index", authx.token_required(lambda: "in"))
    headers = bearer(access_token(app, authx))
    assert outcome(ask(app, path="/", headers=headers)) == OK
    after: Any = app.config.get_namespace("JWT_", lowercase=False, trim_namespace=False)
    assert after == before
    assert config == before


def change_value(config: Any) -> None:
    config["JWT_DECODE_LEEWAY"] = 30


def change_list(config: Any) -> None:
    config["JWT_TOKEN_LOCATION"].append("cookies")


def add(config: Any) -> None:
    config["JWT_REALM"] = "late"


def take_away(config: Any) -> None:
    del config["JWT_DECODE_LEEWAY"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (change_value, "JWT_DECODE_LEEWAY"),
        (change_list, "JWT_TOKEN_LOCATION"),
        (add, "JWT_REALM"),
        (take_away, "JWT_DECODE_LEEWAY"),
    ],
)
def test_a_change_after_init_app_is_noticed_at_the_first_request(change: Any, name: str) -> None:
    """DESIGN 5.6; USERS 92."""
    app, _ = make_app(DECODE_LEEWAY=20, TOKEN_LOCATION=["headers"])
    app.testing = True
    change(app.config)
    with pytest.raises(BadConfigurationError, match=f"{name} was changed after authx.init_app"):
        app.test_client().get("/nowhere")


def test_another_name_has_settings_of_its_own() -> None:
    """USERS 91."""
    app, authx = make_app(name="admin", REALM="the engine room")
    challenge = app.test_client().get("/guarded").headers["WWW-Authenticate"]
    assert challenge == 'Bearer realm="the engine room"'
    assert access_token(app, authx)
    with pytest.raises(BadConfigurationError, match="ADMIN_JWT_REALM"):
        make_app(name="admin", REALM='"')


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"SECRET_KEY": SECRET}, "a key is also one of 'authx'"),
        (
            {"SECRET_KEY": OTHER_SECRET, "TOKEN_LOCATION": "cookies"},
            "__Host-access_token is also one of 'authx'",
        ),
    ],
)
def test_two_objects_on_one_app_share_neither_keys_nor_cookies(
    config: dict[str, str], problem: str
) -> None:
    """USERS 91."""
    app, _ = make_app(TOKEN_LOCATION="cookies")
    app.config.from_mapping({f"ADMIN_JWT_{name}": value for name, value in config.items()})
    with pytest.raises(BadConfigurationError, match=problem):
        AuthX(app, name="admin")
