"""Claims of every wrong kind under a good signature, and the moments at which times are judged."""

from __future__ import annotations

from typing import Any

import pytest

from flask_authx import (
    BadConfigurationError,
    JWTDecodeError,
    TokenExpiredError,
    TokenInvalidAudienceError,
)
from flask_authx.errors import TokenInvalidIssuerError
from tests.support import NOW, access_token, bearer, make_app, parts, reforge
from tests.support.codecs import EXP, IAT, claims_of, make_codec, token_of

LONG = 10_000
DAY = 86_400


def refused(changes: dict[str, Any], **config: Any) -> None:
    """These claims are refused, as invalid and not as expired."""
    codec = make_codec(MAX_TOKEN_LENGTH=100_000, **config)
    assert codec.decode(token_of(codec, claims_of()), NOW).sub == "ann"
    with pytest.raises(JWTDecodeError) as caught:
        codec.decode(token_of(codec, claims_of(**changes)), NOW)
    assert type(caught.value) is JWTDecodeError


NO_TIMES: list[Any] = [
    ..., None, True, False, "", "1999999999", " 1 ", "9_999_999_999", "٩٩٩٩٩٩٩٩٩٩", "now", [], {},
    [EXP], -1, -1.5, 1e308, 2**63, 253402300800, 10**3999,
]  # fmt: skip


@pytest.mark.parametrize("value", NO_TIMES, ids=lambda value: repr(value)[:24])
@pytest.mark.parametrize("name", ["exp", "iat", "auth_time"])
def test_a_time_that_is_none_is_refused(name: str, value: Any) -> None:
    """SECURITY A.4 68-71, 73, 75, 80, USERS 19, 31."""
    refused({name: value})


@pytest.mark.parametrize("value", NO_TIMES[1:], ids=lambda value: repr(value)[:24])
def test_an_nbf_that_is_no_time_is_refused(value: Any) -> None:
    """SECURITY A.4 79."""
    refused({"nbf": value})


def test_an_exp_of_zero_is_refused() -> None:
    """SECURITY A.4 75: whether as expired or as nonsense."""
    codec = make_codec()
    for changes in ({"exp": 0}, {"exp": -0.0}, {"exp": 0, "iat": 0}, {"exp": 1, "iat": 0}):
        with pytest.raises(JWTDecodeError):
            codec.decode(token_of(codec, claims_of(nbf=..., **changes)), NOW)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"exp": IAT + 30 * DAY + 1}, id="too long a life"),
        pytest.param({"exp": IAT + 1000 * 365 * DAY}, id="a thousand years"),
        pytest.param({"exp": IAT}, id="no life"),
        pytest.param({"exp": IAT - 1}, id="ends before it begins"),
        pytest.param({"nbf": EXP + 1}, id="valid only when it is over"),
    ],
)
def test_times_that_do_not_fit_together_are_refused(changes: dict[str, Any]) -> None:
    """SECURITY A.4 77, 78."""
    refused(changes)


def test_the_longest_life_is_a_setting() -> None:
    """SECURITY A.4 77."""
    codec = make_codec(MAX_TOKEN_LIFETIME=40 * DAY)
    assert codec.decode(token_of(codec, claims_of(exp=IAT + 40 * DAY)), NOW)
    refused({"exp": IAT + 40 * DAY + 1}, MAX_TOKEN_LIFETIME=40 * DAY)


def test_fractions_of_seconds_never_prolong_a_token() -> None:
    """SECURITY A.4 76."""
    codec = make_codec(DECODE_LEEWAY=0)
    token = token_of(codec, claims_of(exp=EXP + 0.9, iat=IAT + 0.0))
    assert codec.decode(token, EXP - 0.1).exp == EXP
    with pytest.raises(TokenExpiredError):
        codec.decode(token, EXP)


@pytest.mark.parametrize(
    "value", [..., None, "", " ", "\t\n", 1, 0, 1.5, True, [], ["ann"], {}, "a\0b", "a" * 256]
)
def test_a_subject_that_is_none_is_refused(value: Any) -> None:
    """SECURITY A.3 62, A.4 81, 82, USERS 28."""
    refused({"sub": value})


@pytest.mark.parametrize(
    "value", ["a" * 255, "' OR 1=1 --", "%", "../..", "\u0430nn", "A nn", "éü😀", "0", "null"]
)
def test_any_other_subject_comes_out_as_it_went_in(value: str) -> None:
    """SECURITY A.4 82."""
    codec = make_codec()
    assert codec.decode(token_of(codec, claims_of(sub=value)), NOW).sub == value


@pytest.mark.parametrize(
    "value",
    [..., None, "", 5, 1.5, True, [], ["a"], {}, "a\0", "a b", "é", "a\n", "a" * 256, "a" * LONG],
    ids=lambda value: repr(value)[:24],
)
@pytest.mark.parametrize("name", ["jti", "sid"])
def test_an_id_that_is_none_is_refused(name: str, value: Any) -> None:
    """SECURITY A.4 83, A.6 115, USERS 36."""
    refused({name: value})


@pytest.mark.parametrize(
    "value",
    [..., None, "", "Access", "access ", "ACCESS", "refresh", "password_reset", True, 1, {},
     ["access"]],
    ids=repr,
)  # fmt: skip
def test_a_type_that_is_not_the_headers_is_refused(value: Any) -> None:
    """SECURITY A.11 186-188, USERS 24, 26."""
    refused({"type": value})


@pytest.mark.parametrize("value", ["yes", "false", "", None, 1, 0, 1e308, -1, [], {}, IAT])
def test_a_fresh_that_is_no_boolean_is_refused(value: Any) -> None:
    """SECURITY A.4 90, A.11 194."""
    refused({"fresh": value})


def test_a_missing_fresh_is_not_fresh() -> None:
    codec = make_codec()
    assert codec.decode(token_of(codec, claims_of(fresh=...)), NOW).fresh is False


NO_SCOPES: list[Any] = [
    5, 0, True, False, {}, "a\tb", "a  b", " a", "a ", 'a"b', "a\\b", "é", [5], ["a b"], [""],
    ["a", None], [["a"]], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize(
    "claims",
    [{name: value} for value in NO_SCOPES for name in ("scope", "scopes")]
    + [{"scope": "a", "scopes": ["a"]}],
    ids=repr,
)
def test_scopes_that_are_none_are_refused(claims: dict[str, Any]) -> None:
    """SECURITY A.4 91, USERS 111."""
    refused(claims)


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "admin:read users"}, {"admin:read", "users"}),
        ({"scopes": ["admin:read", "users"]}, {"admin:read", "users"}),
        ({"scope": ["a"]}, {"a"}),
        ({"scopes": "a b"}, {"a", "b"}),
        ({"scope": "a a"}, {"a"}),
        ({"scope": ""}, set[str]()),
        ({"scopes": []}, set[str]()),
        ({}, set[str]()),
        ({"scopes": [str(number) for number in range(LONG)]}, set(map(str, range(LONG)))),
    ],
)
def test_scopes_are_a_text_or_a_list(claims: dict[str, Any], scopes: set[str]) -> None:
    """SECURITY A.4 91, USERS 111."""
    codec = make_codec(MAX_TOKEN_LENGTH=200_000)
    assert codec.decode(token_of(codec, claims_of(**claims)), NOW).scopes == scopes


NO_AUDIENCES: list[Any] = [None, "", [], [1], [["me"]], ["me", ""], ["me", None], {}, 0, True]


@pytest.mark.parametrize("value", NO_AUDIENCES, ids=repr)
def test_an_audience_that_is_none_is_refused(value: Any) -> None:
    """SECURITY A.4 84, 85."""
    codec = make_codec(DECODE_AUDIENCE="me")
    with pytest.raises(JWTDecodeError):
        codec.decode(token_of(codec, claims_of(aud=value)), NOW)
    refused({"aud": value})


@pytest.mark.parametrize(
    "value", [..., "you", "m", "mee", "Me", "me ", ["you"], ["you", "m"], "me,you"], ids=repr
)
def test_somebody_elses_audience_is_refused(value: Any) -> None:
    """SECURITY A.4 84, USERS 23."""
    codec = make_codec(DECODE_AUDIENCE=["me", "us"])
    with pytest.raises(TokenInvalidAudienceError):
        codec.decode(token_of(codec, claims_of(aud=value)), NOW)


@pytest.mark.parametrize("value", ["me", "us", ["me"], ["you", "us"]], ids=repr)
def test_one_audience_of_several_is_enough(value: Any) -> None:
    """SECURITY A.4 84, USERS 23."""
    codec = make_codec(DECODE_AUDIENCE=["me", "us"])
    assert codec.decode(token_of(codec, claims_of(aud=value)), NOW)


@pytest.mark.parametrize("value", ["me", ["me"]], ids=repr)
def test_an_audience_is_refused_by_an_app_that_has_none(value: Any) -> None:
    """SECURITY A.4 85; RFC 7519 section 4.1.3."""
    codec = make_codec()
    with pytest.raises(TokenInvalidAudienceError):
        codec.decode(token_of(codec, claims_of(aud=value)), NOW)


@pytest.mark.parametrize(
    "value",
    [
        ...,
        None,
        "",
        5,
        True,
        {},
        ["https://a"],
        "https://",
        "https://a/",
        "https://ab",
        "HTTPS://A",
    ],
    ids=repr,
)
def test_an_issuer_is_compared_exactly(value: Any) -> None:
    """SECURITY A.4 86, USERS 22."""
    codec = make_codec(DECODE_ISSUER="https://a")
    assert codec.decode(token_of(codec, claims_of(iss="https://a")), NOW).iss == "https://a"
    with pytest.raises(JWTDecodeError) as caught:
        codec.decode(token_of(codec, claims_of(iss=value)), NOW)
    if value is ... or (isinstance(value, str) and value):
        assert type(caught.value) is TokenInvalidIssuerError


@pytest.mark.parametrize(
    "name", ["Sub", "SUB", "s\u200bub", "sub ", "\u0455ub"], ids=lambda name: name.encode().hex()
)
def test_a_claim_of_a_similar_name_is_not_the_claim(name: str) -> None:
    """SECURITY A.4 88."""
    refused({"sub": ..., name: "ann"})
    codec = make_codec()
    assert codec.decode(token_of(codec, claims_of(**{name: "root"})), NOW).sub == "ann"


@pytest.mark.parametrize("value", [{"jkt": "x"}, {}, None, "x"], ids=repr)
def test_a_token_bound_to_a_key_is_no_bearer_token(value: Any) -> None:
    """SECURITY A.4 95; RFC 9449 section 7.2."""
    refused({"cnf": value})


@pytest.mark.parametrize("value", [None, 5, [], {"status_list": {"idx": -1, "uri": "http://x"}}])
def test_claims_without_a_meaning_here_are_left_to_the_app(value: Any) -> None:
    """SECURITY A.4 94: token status lists are not a feature of ours."""
    app, authx = make_app()
    token = reforge(access_token(app, authx), status=value)
    assert app.test_client().get("/guarded", headers=bearer(token)).status_code == 200
    with app.app_context():
        assert authx.decode_token(token).claims == parts(token)[1]


@pytest.mark.parametrize("value", [None, "", 5, [], ["x"], {}, True])
def test_a_csrf_claim_that_is_none_is_nothing_that_can_be_matched(value: Any) -> None:
    """SECURITY A.4 92."""
    codec = make_codec()
    assert codec.decode(token_of(codec, claims_of(csrf=value)), NOW).csrf is None


@pytest.mark.parametrize("leeway", [0, 10, 60])
def test_exp_is_judged_to_the_second(leeway: int) -> None:
    """SECURITY A.5 97, USERS 20."""
    codec = make_codec(DECODE_LEEWAY=leeway)
    token = token_of(codec)
    for now in (EXP - 1, EXP + leeway - 1, EXP + leeway - 0.001):
        assert codec.decode(token, now).exp == EXP
    for now in (EXP + leeway, EXP + leeway + 1, EXP + DAY):
        with pytest.raises(TokenExpiredError):
            codec.decode(token, now)


@pytest.mark.parametrize("leeway", [0, 10, 60])
@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_nbf_and_iat_are_judged_to_the_second(name: str, leeway: int) -> None:
    """SECURITY A.4 80, A.5 98, 103, USERS 21."""
    codec = make_codec(DECODE_LEEWAY=leeway)
    start = IAT + 100
    token = token_of(codec, claims_of(**{"iat": IAT, name: start}))
    for now in (start + 0.0, start + 1.0, start - leeway + 0.0):
        assert codec.decode(token, now)
    for now in (start - leeway - 0.001, start - leeway - 1, IAT - 3600):
        with pytest.raises(JWTDecodeError) as caught:
            codec.decode(token, now)
        assert type(caught.value) is JWTDecodeError


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "soon", True, [10]])
def test_a_leeway_that_is_none_is_refused(value: Any) -> None:
    """SECURITY A.5 99."""
    with pytest.raises(BadConfigurationError, match=r"^JWT_DECODE_LEEWAY: set it to "):
        make_app(DECODE_LEEWAY=value)


def test_a_large_leeway_is_warned_of() -> None:
    """SECURITY A.5 99."""
    with pytest.warns(UserWarning, match="JWT_DECODE_LEEWAY is above 300 seconds"):
        make_app(DECODE_LEEWAY=301)
    make_app(DECODE_LEEWAY=300)
