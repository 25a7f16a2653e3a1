"""Finding a token in the header and in the query string: SECURITY.md A.7 and part of A.8."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX
from tests.support import access_token, bearer, make_app
from tests.support.answers import INVALID, MALFORMED, MISSING, OK, Outcome, outcome
from tests.support.corpus import by_repr, check_all


def send(app: Flask, value: str, key: str = "HTTP_AUTHORIZATION") -> Outcome:
    """The outcome of a request whose environ holds this very value, however odd."""
    return outcome(app.test_client().get("/guarded", environ_overrides={key: value}))


@pytest.fixture
def app_and_token() -> tuple[Flask, str]:
    app, authx = make_app()
    return app, access_token(app, authx)


def test_no_token_is_a_challenge_without_an_error() -> None:
    """SECURITY A.7 119, USERS 1"""
    app, _ = make_app()
    response = app.test_client().get("/guarded")
    assert outcome(response) == MISSING
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "BeArEr"])
def test_the_scheme_is_not_case_sensitive(app_and_token: tuple[Flask, str], scheme: str) -> None:
    """SECURITY A.7 120, USERS 2"""
    app, token = app_and_token
    assert send(app, f"{scheme} {token}") == OK


@pytest.mark.parametrize("template", ["Bearer  {}", "Bearer {} ", "Bearer {}\t"])
def test_spaces_around_the_token_are_allowed(
    app_and_token: tuple[Flask, str], template: str
) -> None:
    """SECURITY A.7 122"""
    app, token = app_and_token
    assert send(app, template.format(token)) == OK


#: What is half a token, or two, by the number of its rule.
MALFORMED_VALUES = {
    "121-nothing": "Bearer",
    "121-space": "Bearer ",
    "122-tab": "Bearer\t{}",
    "125-two-schemes": "Basic eA==, Bearer {}",
    "126-commas-first": ", , Bearer",
    "126-comma-last": "Bearer ,",
    "126-two-values": "Bearer a,b",
    "127-joined-twice-the-same": "Bearer {0},Bearer {0}",
    "127-joined-two": "Bearer {0}, Bearer x.y.z",
    "128-basic-first": "Basic eA==,Bearer {}",
    "128-bearer-first": "Bearer {},Basic eA==",
    "129-two-tokens": "Bearer {0} {0}",
    "129-extra": "Bearer {} extra",
    "130-parameter": 'Bearer a="b"',
    "131-fold": "Bearer\r\n {}",
    "131-bare-cr": "Bearer {}\r",
    "131-bare-lf": "Bearer {}\n",
    "131-nul": "Bearer {}\x00",
    "131-latin-1": "Bearer \xe9{}",
    "131-emoji": "Bearer \xf0\x9f\x98\x80",
    "131-arabic-digit": "Bearer \u0660{}",
}
#: What has no token of this scheme.
OTHER_SCHEMES = [
    "Bearer{}",
    "Bearer:{}",
    "Bearer={}",
    '"Bearer {}"',
    "JWT {}",
    "Token {}",
    "{}",
    "XBearer {}",
    "Bearerx {}",
    "Basic QmVhcmVyIFQ=",
    'Digest username="Bearer {}", realm="a"',
    'Digest username="a, Bearer {}"',
    'Digest username="a\\", Bearer {}"',
]


def test_half_a_token_or_two_are_a_bad_request(app_and_token: tuple[Flask, str]) -> None:
    """SECURITY A.7 121, 122, 125, 126, 127, 128, 129, 130, 131, USERS 5, 14"""
    app, token = app_and_token

    def check(template: str) -> None:
        assert send(app, template.format(token)) == MALFORMED

    check_all(MALFORMED_VALUES, check)


def test_another_scheme_is_no_token(app_and_token: tuple[Flask, str]) -> None:
    """SECURITY A.7 123, 124, USERS 3, 4"""
    app, token = app_and_token

    def check(template: str) -> None:
        assert send(app, template.format(token)) == MISSING

    check_all(by_repr(OTHER_SCHEMES), check)


def test_another_scheme_is_no_token_where_one_is_optional() -> None:
    """USERS 4"""
    app, _ = make_app()
    response = app.test_client().get("/optional", headers={"Authorization": "Basic eHl6OmE="})
    assert outcome(response) == OK
    assert response.json == {"sub": None}


@pytest.mark.parametrize("scheme", ["Negotiate", "Kerberos"])
def test_a_long_header_of_another_scheme_is_no_token(scheme: str) -> None:
    app, _ = make_app()
    assert send(app, f"{scheme} " + "Y" * 60_000 + "==") == MISSING


#: Headers that were meant to hold a token; `{}` is the token.
NEARLY_RIGHT = [
    *("{}", "JWT {}", "jwt {}", "Token {}", "TOKEN  {}", "Bearer{}", "Bearer:{}", "Bearer: {}"),
    *("Bearer={}", '"Bearer {}"', "'{}'", "Authorization: Bearer {}", "OAuth {}", "X-Auth {} "),
    *("JWT abc", "Token abc", "Token token={}", "Bearer\t{}", "Bearer", "Bearer {0} {0}"),
    *("Bearer {0}, Bearer {0}", "token", "JWT"),
]
#: Headers of other schemes, which are none of our business.
OTHERS = [
    "",
    "Basic QmVhcmVyIFQ=",
    "Negotiate YII=",
    'Digest username="a.b.c", realm="x"',
    "Bas.ic x",
]


def message_of(app: Flask, value: str, key: str = "HTTP_AUTHORIZATION") -> str:
    response = app.test_client().get("/guarded", environ_overrides={key: value})
    assert response.status_code in (400, 401)
    message: str = response.get_json()["msg"]
    return message


def test_who_sends_a_token_in_another_form_is_told_how() -> None:
    app, authx = make_app()
    token = access_token(app, authx)

    def check(template: str) -> None:
        message = message_of(app, template.format(token))
        assert message.endswith(": send the header Authorization: Bearer <token>")
        assert token[:10] not in message

    check_all(by_repr(NEARLY_RIGHT), check)
    assert {message_of(app, value) for value in OTHERS} == {"A token is required"}


@pytest.mark.parametrize(
    ("config", "sent", "told"),
    [
        ({"HEADER_TYPE": "JWT"}, "Bearer {}", "Authorization: JWT <token>"),
        ({"HEADER_TYPE": ""}, "Bearer {}", "Authorization: <token>"),
        ({"HEADER_NAME": "X-Auth", "HEADER_TYPE": ""}, "JWT {}", "X-Auth: <token>"),
        ({"HEADER_NAME": "X-Auth"}, "{}", "X-Auth: Bearer <token>"),
    ],
)
def test_what_is_told_follows_the_settings(config: dict[str, Any], sent: str, told: str) -> None:
    app, authx = make_app(**config)
    key = "HTTP_" + config.get("HEADER_NAME", "Authorization").upper().replace("-", "_")
    message = message_of(app, sent.format(access_token(app, authx)), key)
    assert message.endswith(f": send the header {told}")


def test_a_view_that_reads_no_header_tells_nothing_of_headers() -> None:
    app, authx = make_app(TOKEN_LOCATION=["cookies"])
    assert message_of(app, access_token(app, authx)) == "A token is required"


def test_an_optional_view_takes_another_form_for_no_token() -> None:
    app, authx = make_app()
    for value in ("{}", "JWT {}"):
        headers = {"Authorization": value.format(access_token(app, authx))}
        assert app.test_client().get("/optional", headers=headers).json == {"sub": None}


def test_a_huge_header_that_nearly_holds_a_token_is_not_searched() -> None:
    app, _ = make_app()
    for value in ("a" * 10**6, "a." * 10**6, "-" * 10**6 + ".a.b", "a.b." * 10**5 + "!"):
        assert message_of(app, value) == "A token is required"


@pytest.mark.parametrize(
    "key",
    [
        "HTTP_X_FORWARDED_AUTHORIZATION",
        "HTTP_PROXY_AUTHORIZATION",
        "HTTP_X_AUTHORIZATION",
        "HTTP_SEC_WEBSOCKET_PROTOCOL",
        "REMOTE_USER",
    ],
)
def test_other_headers_are_not_read(app_and_token: tuple[Flask, str], key: str) -> None:
    """SECURITY A.7 133, 134, A.8 156"""
    app, token = app_and_token
    assert send(app, f"Bearer {token}", key) == MISSING


def test_a_header_of_another_name_replaces_the_usual_one() -> None:
    """SECURITY A.7 132"""
    app, authx = make_app(HEADER_NAME="X-Auth")
    token = access_token(app, authx)
    assert send(app, f"Bearer {token}", "HTTP_X_AUTH") == OK
    assert send(app, f"Bearer {token}") == MISSING


def test_another_scheme_replaces_the_usual_one() -> None:
    """SECURITY A.7 132"""
    app, authx = make_app(HEADER_TYPE="JWT")
    token = access_token(app, authx)
    assert send(app, f"jwt {token}") == OK
    assert send(app, f"Bearer {token}") == MISSING


def test_without_a_scheme_the_whole_value_is_the_token() -> None:
    """SECURITY A.7 132"""
    app, authx = make_app(HEADER_NAME="X-Auth", HEADER_TYPE="")
    token = access_token(app, authx)
    assert send(app, token, "HTTP_X_AUTH") == OK
    assert send(app, f"Bearer {token}", "HTTP_X_AUTH") == MALFORMED
    assert send(app, f"{token} {token}", "HTTP_X_AUTH") == MALFORMED
    assert send(app, "", "HTTP_X_AUTH") == MISSING


def test_a_scheme_that_is_a_pattern_is_taken_literally() -> None:
    app, authx = make_app(HEADER_TYPE="A.B+")
    token = access_token(app, authx)
    assert send(app, f"a.b+ {token}") == OK
    assert send(app, f"AxBB {token}") == MISSING


@pytest.mark.parametrize("name", ["X-Auth\r\nX-Evil", "X Auth", "X-Auth:", ""])
def test_a_header_name_that_is_none_is_refused_at_start_up(name: str) -> None:
    """SECURITY A.7 135"""
    with pytest.raises(Exception, match="JWT_HEADER_NAME"):
        make_app(HEADER_NAME=name)


@pytest.mark.parametrize(
    "value",
    ["Bearer " + "a" * 10_000_000, "Bearer " + "a." * 5_000_000, "bearer" + " " * 10_000_000],
    ids=["run", "dots", "spaces"],
)
def test_a_huge_header_costs_no_copy(app_and_token: tuple[Flask, str], value: str) -> None:
    """SECURITY A.6 109, USERS 13"""
    app, token = app_and_token
    # What is made once, at the first request, is not of interest.
    send(app, f"Bearer {token}")
    with app.test_request_context("/guarded", environ_overrides={"HTTP_AUTHORIZATION": value}):
        tracemalloc.start()
        try:
            response = app.full_dispatch_request()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert response.status_code == 401
    assert peak < 1_000_000


def query_app(**config: Any) -> tuple[Flask, AuthX, str]:
    app, authx = make_app(TOKEN_LOCATION=["headers", "query"], **config)
    return app, authx, access_token(app, authx)


def ask(app: Flask, query: str, **kwargs: Any) -> Outcome:
    return outcome(app.test_client().get(f"/guarded?{query}", **kwargs))


def test_the_query_is_not_read_by_default(app_and_token: tuple[Flask, str]) -> None:
    """SECURITY A.8 155, USERS 10"""
    app, token = app_and_token
    assert ask(app, f"token={token}") == MISSING


def test_the_query_is_read_where_the_settings_say_so() -> None:
    app, _, token = query_app()
    assert ask(app, f"token={token}") == OK
    assert ask(app, f"a=b&token={token}&c=d") == OK
    assert ask(app, f"Token={token}") == MISSING


QUERIES: list[tuple[str, Outcome]] = [
    ("token={0}&token={0}", MALFORMED),
    ("token={0}&token=x", MALFORMED),
    ("token={0}&token=", MALFORMED),
    ("token=", MALFORMED),
    ("token", MALFORMED),
    ("token=%00", INVALID),
    ("token={0}%00", INVALID),
    ("token=+{0}", INVALID),
    ("token={0}+", INVALID),
    ("token=%ff", INVALID),
    ("token=%F0%9F%98%80", INVALID),
    ("token=" + "a" * 100_000, INVALID),
]


def test_odd_queries() -> None:
    """SECURITY A.8 153"""
    app, _, token = query_app()

    def check(case: tuple[str, Outcome]) -> None:
        query, expected = case
        assert ask(app, query.format(token)) == expected

    check_all(by_repr(QUERIES), check)


def test_header_and_query_together_are_a_bad_request() -> None:
    """SECURITY A.8 154"""
    app, _, token = query_app()
    headers = bearer(token)
    assert ask(app, f"token={token}", headers=headers) == MALFORMED
    response = app.test_client().post(f"/guarded?token={token}", headers=headers)
    assert outcome(response) == MALFORMED


def test_the_prefix_of_the_query_value_is_needed_where_it_is_set() -> None:
    app, _, token = query_app(QUERY_STRING_NAME="jwt", QUERY_STRING_VALUE_PREFIX="Bearer ")
    assert ask(app, f"jwt=Bearer%20{token}") == OK
    assert ask(app, f"jwt={token}") == MALFORMED
    assert ask(app, "jwt=Bearer%20") == MALFORMED
    assert ask(app, f"token={token}") == MISSING
