"""What would fail at each request is refused at the start, in words about the setting itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from typing import Any
from urllib.request import Request, urlopen

import pytest
from flask import Flask

from flask_authx import AuthX, BadConfigurationError, current_token
from flask_authx.app.state import states
from flask_authx.settings import parsers
from flask_authx.settings.options import Settings
from tests.support import OTHER_SECRET, SECRET, Clock, access_token, make_app, rsa_key
from tests.support.corpus import by_repr, check_all
from tests.support.servers.running import serving

HTTPS = "https://app.example.org"


def problems_of(name: str = "authx", **config: Any) -> tuple[str, ...]:
    """Why an app does not start; none if it does."""
    try:
        make_app(name=name, **config)
    except BadConfigurationError as error:
        return error.problems
    return ()


# Header names


#: What each of them is, and why no server hands it on: RFC 9110 allows most of them.
LOST_HEADERS = [
    *("access_token", "X_Token", "_token", "token_", "X-My_Token"),
    *("X.Token", "x~token", "X!", "X$Token", "-", "--", "X Token", "X:Y", ""),
    *("Content-Type", "content-length", "COOKIE", "Host", "Connection", "te", "Sec-Fetch-Site"),
    *("Origin", "Proxy-Authorization", "Transfer-Encoding", "Access-Control-Request-Method"),
]
HANDED_ON = [
    *("X-Token", "Authorization", "token", "X-2", "X-Amzn-Oidc-Data", "CF-Access"),
    *("X--Token", "token-", "-token", "Content-Token", "Content-Encoding", "Proxy-Token"),
    *("Sec-Token", "Sec-WebSocket-Protocol", "Access-Control-Token"),
]
HEADER_SETTINGS = ["HEADER_NAME", "ACCESS_CSRF_HEADER_NAME", "REFRESH_CSRF_HEADER_NAME"]


def test_a_header_that_servers_drop_is_refused() -> None:
    def check(header: str) -> None:
        for setting in HEADER_SETTINGS:
            [problem] = problems_of(**{setting: header})
            assert problem.startswith(f"JWT_{setting}: ")
            assert '"X-Token"' in problem

    check_all(by_repr(LOST_HEADERS), check)


def test_a_header_that_servers_hand_on_is_not() -> None:
    """Each is sent to a real server. Other clients than browsers can set all of them."""

    def check(header: str) -> None:
        app, authx = make_app(HEADER_NAME=header)
        raw = access_token(app, authx)
        with serving(app) as port:
            request = Request(f"http://127.0.0.1:{port}/guarded", headers={header: f"Bearer {raw}"})
            with urlopen(request, timeout=10) as response:
                assert response.status == 200

    check_all(by_repr(HANDED_ON), check)


@pytest.mark.parametrize("name", ["ACCESS_CSRF_HEADER_NAME", "REFRESH_CSRF_HEADER_NAME"])
def test_one_header_can_not_hold_both(name: str) -> None:
    [problem] = problems_of(HEADER_NAME="X-Token", **{name: "x-token"})
    assert problem.startswith(f"JWT_{name} is also JWT_HEADER_NAME")


# Numbers with a lower bound


#: The smallest value of each.
LEAST = {
    parsers.count: 0,
    parsers.positive_count: 1,
    parsers.token_length: 256,
    parsers.seconds: 0,
    parsers.positive_duration: 1,
    parsers.lifetime: 1,
    parsers.timeout: 0.01,
}


def numbers() -> Iterator[tuple[str, Any]]:
    for one in fields(Settings):
        if one.init and one.metadata["parse"] in LEAST:
            yield one.name.upper(), LEAST[one.metadata["parse"]]


def test_each_bound_is_told_for_itself() -> None:
    """``JWT_COOKIE_MAX_AGE=0`` was told of another setting, and -1 that 0 is enough."""

    def check(case: tuple[str, Any]) -> None:
        name, least = case
        wrong: list[Any] = [
            -1,
            "-1",
            least - 1,
            True,
            False,
            "soon",
            [5],
            timedelta(seconds=-1),
            10**30,
        ]
        wrong += [] if name == "STORE_TIMEOUT" else [least + 0.5, timedelta(milliseconds=1500)]
        for value in wrong:
            # The least is 0 here, and False no lifetime, which has words of its own.
            config: dict[str, Any] = {name: value}
            [problem] = problems_of(**config)
            assert problem.startswith((f"JWT_{name}: set it to ", f"JWT_{name}: a token must"))
            bound = re.search(r"(\d+) or more", problem)
            assert bound is None or int(bound[1]) == least, f"{value!r}: {problem}"

    check_all([(name, (name, least)) for name, least in numbers()], check)


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("COOKIE_MAX_AGE", "each cookie has the lifetime of its token"),
        ("AUDIT", "no records are written"),
        ("IMPLICIT_REFRESH_DELTATIME", "there is no automatic renewal"),
    ],
)
def test_zero_where_the_setting_can_be_left_out_is_told_what_that_does(
    name: str, without: str
) -> None:
    zeros: list[Any] = [0, "0", timedelta(0), False]
    for value in zeros:
        [problem] = problems_of(**{name: value})
        assert problem.endswith(f"; without this setting {without}.")


# Two objects


#: One for each kind of message.
REFUSED: list[dict[str, Any]] = [
    {"SECRET_KEY": "short"},
    {"SECRET_KEY": None},
    {"REALMS": "x"},
    {"HEADER_NAME": "a_b"},
    {"ACCESS_CSRF_HEADER_NAME": "Authorization"},
    {"COOKIE_MAX_AGE": 0},
    {"COOKIE_MAX_AGE": 5},
    {"ACCESS_TOKEN_EXPIRES": "90d"},
    {"KEY_ID": "k" * 9000},
    {"TOKEN_LOCATION": "cookies", "ENCODE_ISSUER": "i" * 4000},
    {"BLOCKLIST": "redis://h?socket_timeout=1"},
    {"BLOCKLIST": "redis://h?max_connections=1"},
    {"BLOCKLIST": "redis://h?no=1"},
    {"BLOCKLIST": "postgresql://h/db"},
    {"BLOCKLIST": "sqlalchemy://"},
    {"BLOCKLIST_ON_ERROR": "accept"},
    {"SESSIONS": True},
    {"AUDIT": "1d"},
    {"MAX_SESSIONS": 3},
    {"CSRF_METHODS": "GET"},
    {"JSON_KEY": "refresh_token"},
    {"IDENTITY_CLAIM": "jti"},
    {"CLOCK_SKEW": 9999},
    {"REFRESH_GRACE": 9999},
    {"STORE_SCOPE": "s" * 256},
    {"COOKIE_SECURE": False, "COOKIE_SAMESITE": "None"},
    {"IMPLICIT_REFRESH_DELTATIME": 5},
    {"PREVIOUS_KEY_ID": "old"},
    {"PRIVATE_KEY": "x"},
    {"ALGORITHM": "RS256"},
    {"ALGORITHM": "RS256", "PRIVATE_KEY": rsa_key(), "PUBLIC_KEY": rsa_key(3072).public_key()},
]


def test_a_second_object_is_told_its_own_prefix() -> None:
    def check(config: dict[str, Any]) -> None:
        config = {"SECRET_KEY": SECRET, **config}
        if "RS256" in config.values():
            del config["SECRET_KEY"]
        own, seconds = problems_of(**config), problems_of("admin", **config)
        assert own
        assert [problem.replace("JWT_", "ADMIN_JWT_") for problem in own] == [*seconds]
        settings = {one.name.upper() for one in fields(Settings)}
        for problem in seconds:
            bare = set(re.findall(r"(?<![A-Z_])[A-Z]+_[A-Z_]+", problem)) & settings
            assert not bare - {"SECRET_KEY"}, problem

    check_all(by_repr(REFUSED), check)


def test_a_second_object_without_a_setting_is_told_how_they_begin() -> None:
    app, _ = make_app()
    with pytest.raises(BadConfigurationError, match=r"AuthX\(name='admin'\) begin with ADMIN_JWT_"):
        AuthX(app, name="admin")
    app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    AuthX(app, name="admin")


def test_a_url_in_place_of_a_store_is_told_the_setting_of_its_object() -> None:
    app = Flask("tests")
    app.config["ADMIN_JWT_SECRET_KEY"] = SECRET
    url: Any = "redis://h/0"
    with pytest.raises(BadConfigurationError, match="setting ADMIN_JWT_BLOCKLIST"):
        AuthX(app, name="admin", blocklist=url)
    app.config["ADMIN_JWT_BLOCKLIST"] = "memory://"
    with pytest.raises(BadConfigurationError, match="setting ADMIN_JWT_BLOCKLIST"):
        AuthX(app, name="admin", sessions=url)


# The settings that are a part of each token


@pytest.mark.parametrize("name", ["KEY_ID", "ENCODE_ISSUER", "ENCODE_AUDIENCE", "IDENTITY_CLAIM"])
def test_tokens_that_would_be_too_long_are_noticed(name: str) -> None:
    problems = problems_of(**{name: "x" * 9000})
    assert all(problem.startswith("JWT_*: ") for problem in problems)
    assert len(problems) == 2
    # 4,096 bytes is what browsers keep, and not the limit of a token.
    assert problems_of(**{name: "x" * 4000}, TOKEN_LOCATION="cookies")
    if name != "KEY_ID":
        assert problems_of(**{name: "x" * 4000}) == ()


def test_a_header_too_long_to_be_read_is_noticed() -> None:
    problems = problems_of(KEY_ID="k" * 3000)
    assert problems[0].startswith("JWT_*: each access token of the app would be refused: ")


def test_an_app_that_only_verifies_creates_nothing() -> None:
    public = rsa_key().public_key()
    assert problems_of(ALGORITHM="RS256", PUBLIC_KEY=public, KEY_ID="k" * 3000) == ()


def test_tokens_for_other_services_are_no_problem() -> None:
    assert problems_of(ENCODE_ISSUER="https://a.example", DECODE_ISSUER="https://b.example") == ()
    assert problems_of(ENCODE_AUDIENCE="api", DECODE_AUDIENCE="auth") == ()


TEXTS = [
    one.name.upper()
    for one in fields(Settings)
    if one.init
    and one.metadata["parse"]
    in (parsers.text, parsers.any_text, parsers.texts, parsers.audiences, parsers.store_url)
]


def test_a_variable_in_another_encoding_is_refused() -> None:
    """Python reads bytes of the environment that are no UTF-8 as lone surrogates."""
    latin = "redis://café".encode("latin-1").decode("utf-8", "surrogateescape")

    def check(name: str) -> None:
        app = Flask("tests")
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("FLASK_JWT_SECRET_KEY", SECRET)
            environment.setenv(f"FLASK_JWT_{name}", latin)
            app.config.from_prefixed_env()
        with pytest.raises(BadConfigurationError) as caught:
            AuthX(app)
        [problem] = caught.value.problems
        assert problem.startswith(f"JWT_{name}: set it to text in UTF-8")

    check_all({name: name for name in TEXTS}, check)


# Cookies


REFUSED_COOKIES: list[tuple[str, dict[str, Any]]] = [
    ("ACCESS_COOKIE_NAME", {"ACCESS_COOKIE_NAME": "naïve"}),
    ("ACCESS_COOKIE_NAME", {"ACCESS_COOKIE_NAME": "a=b"}),
    ("REFRESH_COOKIE_NAME", {"REFRESH_COOKIE_NAME": "a b"}),
    *(
        (name, {name: path})
        for name in ("ACCESS_COOKIE_PATH", "REFRESH_COOKIE_PATH", "ACCESS_CSRF_COOKIE_PATH")
        for path in ("auth", "/a;b", "/a b", "/a?b", "/a#b", "/é", "/a\n", "/" + "a" * 1024)
    ),
    *(
        ("COOKIE_DOMAIN", {"COOKIE_DOMAIN": domain})
        for domain in (
            *("https://a.example", "a.example:443", "a.example/", "bücher.example", "a..example"),
            *("a.example.", "a" * 64 + ".example", ".".join(["a" * 60] * 5), "a example"),
        )
    ),
    *(
        ("TRUSTED_ORIGINS", {"TRUSTED_ORIGINS": origin})
        for origin in ("https://a.example:443", "http://a.example:80", "https://a.example/", "null")
    ),
    ("COOKIE_SAMESITE", {"COOKIE_SECURE": False, "COOKIE_SAMESITE": "None"}),
]


def test_what_browsers_would_not_take_or_send_is_refused() -> None:
    def check(case: tuple[str, dict[str, Any]]) -> None:
        name, config = case
        [problem] = problems_of(TOKEN_LOCATION="cookies", **config)
        assert problem.startswith(f"JWT_{name}")

    check_all(by_repr(REFUSED_COOKIES), check)


def beside_a_session(flask: dict[str, Any], name: str = "authx", **config: Any) -> tuple[str, ...]:
    """Why an app that has settings of Flask's own does not start; none if it does."""
    app = Flask("tests")
    prefix = "JWT_" if name == "authx" else f"{name.upper()}_JWT_"
    config = {"SECRET_KEY": SECRET, "TOKEN_LOCATION": "cookies", **config}
    app.config.from_mapping({prefix + key: value for key, value in config.items()}, **flask)
    try:
        AuthX(app, name=name)
    except BadConfigurationError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("setting", ["ACCESS_COOKIE_NAME", "REFRESH_CSRF_COOKIE_NAME"])
def test_the_name_of_the_session_cookie_is_refused_where_flask_has_a_session(setting: str) -> None:
    for name, prefix in (("authx", "JWT_"), ("admin", "ADMIN_JWT_")):
        [problem] = beside_a_session({"SECRET_KEY": OTHER_SECRET}, name, **{setting: "session"})
        assert problem.startswith(f"{prefix}{setting} is also the name of the cookie of Flask's")
        assert problem.endswith("choose another name, or set SESSION_COOKIE_NAME to one.")


def test_the_name_of_the_session_cookie_is_free_without_a_session_or_a_cookie() -> None:
    flask = {"SECRET_KEY": OTHER_SECRET}
    named = {"ACCESS_COOKIE_NAME": "session"}
    assert beside_a_session({}, **named) == ()
    assert beside_a_session(flask, TOKEN_LOCATION="headers", **named) == ()
    assert beside_a_session({**flask, "SESSION_COOKIE_NAME": "mine"}, **named) == ()


def test_a_cookie_of_the_name_of_the_session_works_without_one() -> None:
    app, authx = make_app(
        TOKEN_LOCATION="cookies", ACCESS_COOKIE_NAME="session", COOKIE_SECURE=False
    )

    @app.post("/login")
    def login() -> Any:
        response = app.make_response("hello")
        authx.set_access_cookies(response, authx.create_access_token("ann"))
        return response

    client = app.test_client()
    client.post("/login")
    assert client.get("/guarded").json == {"sub": "ann"}
    assert client.get("/guarded").json == {"sub": "ann"}


# Whatever starts, works


#: What people write by mistake, from files and variables too.
ODD: list[Any] = [
    *(0, -1, 1, True, False, 1.5, -0.5, float("nan"), float("inf"), 10**30, b"x", object()),
    *("", " ", "0", "-1", "1.5", "x", "é", "a\nb", "a\r\nX: y", "a;b", "a,b", 'a"b', "a\\b", "a b"),
    *("\0", "\ud800", "a_b", "a.b", "a:b", "a=b", "/", "//", "/a?b", "/a;b", "none", "None", "٣"),
    *(".example.org", "app.example.org:80", "https://a.example", "a" * 300, "/" + "a" * 5000),
    *("Content-Type", "Cookie", "Host", "__Host-x", "__Secure-x", "session", "Basic", "GET"),
    *([], ["a"], [1], {}, timedelta(0), timedelta(-1), timedelta(milliseconds=1500)),
]
#: What changes which requests are answered: the requests below would say nothing.
OTHER_REQUESTS = {
    *("decode_issuer", "decode_audience", "json_methods", "token_location", "protect_all"),
    *("access_cookie_path", "csrf_check_origin", "sessions", "blocklist"),
}


def working_app(name: str, value: object) -> Flask:
    app = Flask("tests")
    app.config.from_mapping(
        TESTING=True,
        SECRET_KEY=OTHER_SECRET,
        JWT_SECRET_KEY=SECRET,
        JWT_TOKEN_LOCATION=["headers", "cookies", "query", "json"],
        JWT_BLOCKLIST="memory://",
        JWT_SESSIONS=True,
    )
    if name == "cookie_max_age":
        app.config["JWT_SESSION_COOKIE"] = False
    if name.startswith("implicit_"):
        app.config["JWT_IMPLICIT_REFRESH_DELTATIME"] = 60
    app.config[f"JWT_{name.upper()}"] = value
    authx = AuthX(app, clock=Clock())
    app.register_blueprint(authx.blueprint(url_prefix="/auth"))

    def login() -> Any:
        pair = authx.login("ann")
        response = app.make_response(pair.to_dict())
        authx.set_cookies(response, pair)
        return response

    app.add_url_rule("/login", "login", login, methods=["POST"])
    guarded = authx.token_required(lambda: current_token.sub)
    app.add_url_rule("/guarded", "guarded", guarded, methods=["GET", "POST"])
    return app


def check_requests(app: Flask) -> None:
    """Log in, and send the tokens from everywhere."""
    settings = states(app)["authx"].settings
    browser, client = app.test_client(), app.test_client(use_cookies=False)
    logged_in = browser.post("/login", base_url=HTTPS)
    assert logged_in.status_code == 200
    body: Any = logged_in.json
    token = body["access_token"]
    set_cookies = logged_in.headers.getlist("Set-Cookie")
    assert {one.partition("=")[0] for one in set_cookies} >= {
        profile.cookie_name for profile in settings.profiles.values()
    }
    credentials = f"{settings.header_type} {token}".strip()
    prefix = settings.query_string_value_prefix
    answers = {
        "header": client.get("/guarded", headers={settings.header_name: credentials}),
        "query": client.get("/guarded", query_string={settings.query_string_name: prefix + token}),
        "json": client.post("/guarded", json={settings.json_key: token}),
        "refresh": client.post(
            "/auth/refresh", json={settings.refresh_json_key: body["refresh_token"]}
        ),
        "cookie": browser.get("/guarded", base_url=HTTPS),
    }
    csrf = {one.partition("=")[0]: one.split(";")[0].partition("=")[2] for one in set_cookies}
    if settings.access_csrf_cookie_name in csrf:
        header = {settings.access_csrf_header_name: csrf[settings.access_csrf_cookie_name]}
        answers["csrf"] = browser.post("/guarded", base_url=HTTPS, headers=header)
    if settings.cookie_domain is not None:
        # The test client has the cookies of one domain.
        del answers["cookie"], answers["csrf"]
    statuses = {name: response.status_code for name, response in answers.items()}
    assert statuses == dict.fromkeys(answers, 200)
    refused = client.get("/guarded")
    assert (refused.status_code, "WWW-Authenticate" in refused.headers) == (401, True)


@pytest.mark.slow
def test_each_odd_value_is_refused_or_works() -> None:
    keys = {one.name for one in fields(Settings) if one.metadata.get("parse") is parsers.unchecked}
    names = {one.name for one in fields(Settings) if one.init} - keys - OTHER_REQUESTS
    started: set[str] = set()

    def check(case: tuple[str, object]) -> None:
        name, value = case
        try:
            app = working_app(name, value)
        except BadConfigurationError as error:
            refused = error.problems
        else:
            started.add(name)
            check_requests(app)
            return
        assert any(name.upper() in problem or "JWT_*" in problem for problem in refused)

    pairs = [(name, value) for name in sorted(names) for value in ODD]
    check_all(by_repr(pairs), check)
    assert len(started) > 40
