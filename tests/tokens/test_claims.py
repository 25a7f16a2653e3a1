"""Claims of every wrong kind under a valid signature, and the moments at which times are judged."""

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
from flask_authx.settings.options import RESERVED_CLAIMS
from flask_authx.tokens.token import Epoch, TokenClaims
from tests.support import NOW, access_token, bearer, make_app, parts, reforge
from tests.support.answers import OK, ask, outcome
from tests.support.codecs import EXP, IAT, claims_of, make_codec, refused, token_of
from tests.support.corpus import by_repr, check_all

LONG = 10_000
DAY = 86_400


def all_refused(*changes: dict[str, Any], **config: Any) -> None:
    """Tokens with such claims are refused as invalid, which is not as expired.

    One codec serves them all: it keeps nothing of what it refuses.
    """
    codec = make_codec(MAX_TOKEN_LENGTH=100_000, **config)
    assert codec.decode(token_of(codec), NOW).sub == "ann"
    check_all(
        by_repr(changes),
        lambda changed: refused(codec, token_of(codec, claims_of(**changed)), NOW, JWTDecodeError),
    )


def decoded(changes: dict[str, Any], **config: Any) -> TokenClaims:
    """What a codec makes of a token with such claims."""
    codec = make_codec(**config)
    return codec.decode(token_of(codec, claims_of(**changes)), NOW)


NO_TIMES: list[Any] = [
    ..., None, True, False, "", "1999999999", " 1 ", "9_999_999_999", "٩٩٩٩٩٩٩٩٩٩", "now", [], {},
    [EXP], -1, -1.5, 1e308, 2**63, 253402300800, 10**3999,
]  # fmt: skip


def test_an_invalid_time_is_refused() -> None:
    """SECURITY A.4 68, 69, 70, 71, 73, 75, 80, USERS 19, 31."""
    all_refused(*({name: time} for name in ("exp", "iat", "auth_time") for time in NO_TIMES))


NO_COUNTS: list[Any] = [
    None, True, False, "", "1", 0.5, 1.0, float(IAT), 1e308, 2**63, 10**3999, [], {}, [1],
]  # fmt: skip


def test_an_invalid_fraction_of_the_second_of_a_log_in_is_refused() -> None:
    all_refused(*({"auth_us": value} for value in (*NO_COUNTS, -1, 10**6, IAT)))


def test_an_invalid_epoch_is_refused() -> None:
    texts = (
        "1a2b3c",
        "1a2b3c.",
        ".5",
        "1A2B3C.5",
        "1a2b3.5",
        "1a2b3c.+5",
        "1a2b3c. 5",
        "1a2b3c.5\n",
    )
    all_refused(
        *({"auth_epoch": value} for value in (*NO_COUNTS, 0, 5, *texts, f"1a2b3c.{10**16}"))
    )


def test_a_log_in_is_dated_in_microseconds_and_without_them_at_the_start_of_its_second() -> None:
    for fraction in (0, 1, 999_999):
        found = decoded({"auth_us": fraction, "auth_time": IAT})
        assert (found.began, found.auth_time) == (IAT * 10**6 + fraction, IAT)
    found = decoded({"auth_us": ..., "auth_epoch": ...})
    assert (found.began, found.epoch) == (IAT * 10**6, None)
    for epoch in (0, -1, IAT * 10**6 + 7, -(10**15)):
        assert decoded({"auth_epoch": f"1a2b3c.{epoch}"}).epoch == Epoch("1a2b3c", epoch)


def test_an_invalid_nbf_is_refused() -> None:
    """SECURITY A.4 79."""
    all_refused(*({"nbf": time} for time in NO_TIMES if time is not ...))


def test_an_exp_of_zero_is_refused() -> None:
    """SECURITY A.4 75: whether as expired or as nonsense."""
    codec = make_codec()
    for changes in ({"exp": 0}, {"exp": -0.0}, {"exp": 0, "iat": 0}, {"exp": 1, "iat": 0}):
        refused(codec, token_of(codec, claims_of(nbf=..., **changes)))


def test_times_that_do_not_fit_together_are_refused() -> None:
    """SECURITY A.4 77, 78: too long or no life, an end before the beginning."""
    too_long = [{"exp": IAT + 30 * DAY + 1}, {"exp": IAT + 1000 * 365 * DAY}]
    all_refused(*too_long, {"exp": IAT}, {"exp": IAT - 1}, {"nbf": EXP + 1})


def test_the_longest_life_is_a_setting() -> None:
    """SECURITY A.4 77."""
    assert decoded({"exp": IAT + 40 * DAY}, MAX_TOKEN_LIFETIME=40 * DAY)
    all_refused({"exp": IAT + 40 * DAY + 1}, MAX_TOKEN_LIFETIME=40 * DAY)


def test_fractions_of_seconds_never_prolong_a_token() -> None:
    """SECURITY A.4 76."""
    codec = make_codec(DECODE_LEEWAY=0)
    token = token_of(codec, claims_of(exp=EXP + 0.9, iat=IAT + 0.0))
    assert codec.decode(token, EXP - 0.1).exp == EXP
    refused(codec, token, EXP, TokenExpiredError)


NO_SUBJECTS: list[Any] = [
    *(..., None, "", " ", "\t\n", 1, 0, 1.5, True, [], ["ann"], {}, "a\0b", "a" * 256),
]


def test_an_invalid_subject_is_refused() -> None:
    """SECURITY A.3 62, A.4 81, 82, USERS 28."""
    all_refused(*({"sub": value} for value in NO_SUBJECTS))


def test_any_other_subject_comes_out_as_it_went_in() -> None:
    """SECURITY A.4 82."""
    for value in (
        *("a" * 255, "' OR 1=1 --", "%", "../..", "\u0430nn", "A nn", "éü😀", "0", "null"),
    ):
        assert decoded({"sub": value}).sub == value


NO_IDS: list[Any] = [
    ..., None, "", 5, 1.5, True, [], ["a"], {}, "a\0", "a b", "é", "a\n", "a" * 256, "a" * LONG,
]  # fmt: skip


def test_an_invalid_id_is_refused() -> None:
    """SECURITY A.4 83, A.6 115, USERS 36."""
    all_refused(*({name: value} for name in ("jti", "sid") for value in NO_IDS))


NO_TYPES: list[Any] = [
    ..., None, "", "Access", "access ", "ACCESS", "refresh", "password_reset", True, 1, {},
    ["access"],
]  # fmt: skip


def test_a_type_that_is_not_the_headers_is_refused() -> None:
    """SECURITY A.11 186, 187, 188, USERS 24, 26."""
    all_refused(*({"type": value} for value in NO_TYPES))


def test_a_fresh_that_is_no_boolean_is_refused() -> None:
    """SECURITY A.4 90, A.11 194."""
    values: list[Any] = ["yes", "false", "", None, 1, 0, 1e308, -1, [], {}, IAT]
    all_refused(*({"fresh": value} for value in values))


def test_a_missing_fresh_is_not_fresh() -> None:
    assert decoded({"fresh": ...}).fresh is False


NO_SCOPES: list[Any] = [
    5, 0, True, False, {}, "a\tb", "a  b", " a", "a ", 'a"b', "a\\b", "é", [5], ["a b"], [""],
    ["a", None], [["a"]], {"a": 1},
]  # fmt: skip


def test_invalid_scopes_are_refused() -> None:
    """SECURITY A.4 91, USERS 111."""
    all_refused(
        *({name: value} for value in NO_SCOPES for name in ("scope", "scopes")),
        {"scope": "a", "scopes": ["a"]},
    )


SCOPES: list[tuple[dict[str, Any], set[str]]] = [
    ({"scope": "admin:read users"}, {"admin:read", "users"}),
    ({"scopes": ["admin:read", "users"]}, {"admin:read", "users"}),
    ({"scope": ["a"]}, {"a"}),
    ({"scopes": "a b"}, {"a", "b"}),
    ({"scope": "a a"}, {"a"}),
    ({"scope": ""}, set()),
    ({"scopes": []}, set()),
    ({}, set()),
    ({"scopes": [str(number) for number in range(LONG)]}, set(map(str, range(LONG)))),
]


def test_scopes_are_a_text_or_a_list() -> None:
    """SECURITY A.4 91, USERS 111."""
    for claims, scopes in SCOPES:
        assert decoded(claims, MAX_TOKEN_LENGTH=200_000).scopes == scopes


NO_AUDIENCES: list[Any] = [None, "", [], [1], [["me"]], ["me", ""], ["me", None], {}, 0, True]


def test_an_invalid_audience_is_refused() -> None:
    """SECURITY A.4 84, 85."""
    all_refused(*({"aud": value} for value in NO_AUDIENCES))
    codec = make_codec(DECODE_AUDIENCE="me")
    for value in NO_AUDIENCES:
        refused(codec, token_of(codec, claims_of(aud=value)))


OTHER_AUDIENCES: list[Any] = [
    *(..., "you", "m", "mee", "Me", "me ", ["you"], ["you", "m"], "me,you"),
]


def test_another_audience_is_refused() -> None:
    """SECURITY A.4 84, USERS 23."""
    codec = make_codec(DECODE_AUDIENCE=["me", "us"])
    for value in OTHER_AUDIENCES:
        refused(codec, token_of(codec, claims_of(aud=value)), NOW, TokenInvalidAudienceError)


def test_one_audience_of_several_is_enough() -> None:
    """SECURITY A.4 84, USERS 23."""
    for value in ("me", "us", ["me"], ["you", "us"]):
        assert decoded({"aud": value}, DECODE_AUDIENCE=["me", "us"])


def test_an_audience_is_refused_by_an_app_that_has_none() -> None:
    """SECURITY A.4 85; RFC 7519 section 4.1.3."""
    codec = make_codec()
    for value in ("me", ["me"]):
        refused(codec, token_of(codec, claims_of(aud=value)), NOW, TokenInvalidAudienceError)


OTHER_ISSUERS: list[Any] = [..., "https://", "https://a/", "https://ab", "HTTPS://A"]
NO_ISSUERS: list[Any] = [None, "", 5, True, {}, ["https://a"]]


def test_an_issuer_is_compared_exactly() -> None:
    """SECURITY A.4 86, USERS 22."""
    codec = make_codec(DECODE_ISSUER="https://a")
    assert codec.decode(token_of(codec, claims_of(iss="https://a")), NOW).iss == "https://a"
    for value in OTHER_ISSUERS:
        refused(codec, token_of(codec, claims_of(iss=value)), NOW, TokenInvalidIssuerError)
    for value in NO_ISSUERS:
        refused(codec, token_of(codec, claims_of(iss=value)))


def test_a_claim_of_a_similar_name_is_not_the_claim() -> None:
    """SECURITY A.4 88."""
    similar = ("Sub", "SUB", "s\u200bub", "sub ", "\u0455ub")
    all_refused(*({"sub": ..., name: "ann"} for name in similar))
    for name in similar:
        assert decoded({name: "root"}).sub == "ann"


def test_a_token_bound_to_a_key_is_no_bearer_token() -> None:
    """SECURITY A.4 95, A.17 314; RFC 9449 section 7.2."""
    all_refused(*({"cnf": value} for value in ({"jkt": "x"}, {}, None, "x")))


@pytest.mark.parametrize("value", [None, 5, [], {"status_list": {"idx": -1, "uri": "http://x"}}])
def test_claims_without_a_meaning_here_are_left_to_the_app(value: Any) -> None:
    """SECURITY A.4 94: token status lists are not a feature of ours."""
    app, authx = make_app()
    token = reforge(access_token(app, authx), status=value)
    assert outcome(ask(app, headers=bearer(token))) == OK
    with app.app_context():
        assert authx.decode_token(token).claims == parts(token)[1]


def test_an_empty_csrf_claim_is_none() -> None:
    """SECURITY A.4 92: AuthX writes it."""
    assert decoded({"csrf": ""}).csrf is None


#: Values of every type of JSON.
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "an integer": IAT,
    "a fraction": 0.5,
    "a text": "a",
    "a list": ["a"],
    "an empty list": [],
    "an object": {"a": "a"},
}
#: The claims that RFC 7519, RFC 9068 and this package define, and which of these values each has.
TYPES: dict[str, set[str]] = {
    **{claim: {"a text"} for claim in ("iss", "sub", "jti", "sid", "csrf")},
    **{claim: {"an integer", "a fraction"} for claim in ("nbf", "auth_time")},
    # Half a second after 1970 is too long before `exp`, and all of them are before `iat`.
    "iat": {"an integer"},
    "exp": set(),
    "aud": {"a text", "a list"},
    "fresh": {"true", "false"},
    "scope": {"a text", "a list", "an empty list"},
    "scopes": {"a text", "a list", "an empty list"},
    # One text, with a syntax of its own.
    "type": set(),
    "auth_epoch": set(),
    # A number below a million.
    "auth_us": set(),
    "gen": {"an integer"},
    # Never accepted.
    "cnf": set(),
}


def test_a_claim_that_is_there_has_its_type() -> None:
    """SECURITY A.4 342: null is no absence."""
    assert TYPES.keys() == RESERVED_CLAIMS
    codec = make_codec(DECODE_AUDIENCE="a")

    def check(case: tuple[str, str]) -> None:
        claim, value = case
        token = token_of(codec, claims_of(**{"aud": "a", claim: VALUES[value]}))
        if value in TYPES[claim]:
            assert codec.decode(token, NOW)
        else:
            refused(codec, token, NOW, JWTDecodeError)

    check_all({f"{c} {v}": (c, v) for c in sorted(TYPES) for v in VALUES}, check)


def test_the_claim_sub_is_text_even_where_another_one_holds_the_subject() -> None:
    codec = make_codec(IDENTITY_CLAIM="user")
    texts: list[Any] = [..., "", "bob", "b" * 1000]
    for sub in texts:
        assert codec.decode(token_of(codec, claims_of(user="ann", sub=sub)), NOW).sub == "ann"
    others: list[Any] = [None, 7, True, [], ["ann"], {}]
    for sub in others:
        refused(codec, token_of(codec, claims_of(user="ann", sub=sub)), NOW, JWTDecodeError)


@pytest.mark.parametrize("leeway", [0, 10, 60])
def test_exp_is_judged_to_the_second(leeway: int) -> None:
    """SECURITY A.5 97, USERS 20."""
    codec = make_codec(DECODE_LEEWAY=leeway)
    token = token_of(codec)
    for now in (EXP - 1, EXP + leeway - 1, EXP + leeway - 0.001):
        assert codec.decode(token, now).exp == EXP
    for now in (EXP + leeway, EXP + leeway + 1, EXP + DAY):
        refused(codec, token, now, TokenExpiredError)


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
        refused(codec, token, now, JWTDecodeError)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "soon", True, [10]])
def test_an_invalid_leeway_is_refused(value: Any) -> None:
    """SECURITY A.5 99."""
    with pytest.raises(BadConfigurationError, match=r"^JWT_DECODE_LEEWAY: set it to "):
        make_app(DECODE_LEEWAY=value)


def test_a_large_leeway_is_warned_of() -> None:
    """SECURITY A.5 99."""
    with pytest.warns(UserWarning, match="JWT_DECODE_LEEWAY is above 300 seconds"):
        make_app(DECODE_LEEWAY=301)
    make_app(DECODE_LEEWAY=300)
