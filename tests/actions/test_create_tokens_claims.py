"""What an app may put into its tokens, and what no token of ours may hold."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import pytest
from flask.json.provider import DefaultJSONProvider

from flask_authx.settings.options import RESERVED_CLAIMS
from tests.support import access_token, bearer, make_app, parts, refresh_token
from tests.support.answers import OK, ask, outcome
from tests.support.corpus import by_repr, check_all
from tests.support.session_sites import site


def claims_of(token: str) -> dict[str, Any]:
    return parts(token)[1]


HEADERS = ("alg", "kid", "typ", "crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c")


def saying(claims: dict[Any, Any]) -> Callable[[str], dict[Any, Any]]:
    """A claims callback that returns these claims."""

    def describe(uid: str) -> dict[Any, Any]:
        return claims

    return describe


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


def circle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["x"] = value
    return value


#: What JSON, or a strict reader of it, can't take: it must not get into a token.
UNSAYABLE: dict[str, dict[Any, Any]] = {
    "NaN": {"x": float("nan")},
    "infinity": {"x": float("inf")},
    "inner infinity": {"x": [1, {"y": float("-inf")}]},
    "set": {"x": {1, 2}},
    "bytes": {"x": b"bytes"},
    "object": {"x": object()},
    "circle": circle(),
    "deep": nested(33),
    "deeper than the stack": nested(5000),
    "names that become one": {"x": {1: "a", "1": "b"}},
    "surrogate": {"x": "\ud800"},
    "surrogate in a name": {"\udfff": "x"},
    "surrogate in an inner name": {"x": {"\ud800": 1}},
    "number as a name": {1: "x"},
    "None as a name": {None: "x"},
    "tuple as a name": {("a", "b"): "x"},
    "tuple as an inner name": {"x": {("a", "b"): 1}},
}


def check_round_trip(headers: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
    """SECURITY A.19 10: every token that can be created is accepted by its issuer."""
    app, authx = make_app()
    token = access_token(app, authx, headers=headers, **kwargs)
    response = app.test_client().get("/guarded", headers=bearer(token))
    assert outcome(response) == OK
    return claims_of(token)


def test_an_app_adds_claims_of_its_own() -> None:
    data = {"org": "acme", "roles": ["a", "b"], "n": 1.5, "deep": nested(20), "none": None}
    claims = check_round_trip(data=data)
    assert {name: claims[name] for name in data} == data
    # What was given is not kept and not changed.
    assert list(data) == ["org", "roles", "n", "deep", "none"]


def test_no_claim_with_a_meaning_can_be_set() -> None:
    """USERS 29; SECURITY A.4 89."""

    def check(case: tuple[str, Callable[..., str]]) -> None:
        name, create = case
        # Anew, as the callback stays.
        app, authx = make_app()
        with pytest.raises(ValueError, match=f"the claim {name} is reserved"):
            create(app, authx, data={name: "x"})
        authx.set_callback_additional_claims(saying({name: "x"}))
        with pytest.raises(ValueError, match=name):
            create(app, authx)

    check_all(
        by_repr(itertools.product(sorted(RESERVED_CLAIMS), [access_token, refresh_token])),
        check,
    )


def test_the_claim_that_holds_the_subject_can_not_be_set_either() -> None:
    app, authx = make_app(IDENTITY_CLAIM="user")
    for name in ("user", "sub"):
        with pytest.raises(ValueError, match=name):
            access_token(app, authx, data={name: "root"})
    assert claims_of(access_token(app, authx))["user"] == "ann"


def test_no_header_parameter_with_a_meaning_can_be_set() -> None:
    """SECURITY A.2."""
    app, authx = make_app()

    def check(name: str) -> None:
        with pytest.raises(ValueError, match=f"the header parameter {name} is reserved"):
            access_token(app, authx, headers={name: "x"})

    check_all(by_repr(HEADERS), check)


def test_an_app_adds_header_parameters_of_its_own() -> None:
    app, authx = make_app()
    header = parts(access_token(app, authx, headers={"tenant": "acme", "n": 1}))[0]
    assert header["tenant"] == "acme"
    assert header["typ"] == "at+jwt"
    check_round_trip(headers={"tenant": "acme", "n": 1})


def test_claims_that_json_should_not_say_are_refused() -> None:
    """SECURITY A.4 96, at the issuer's end."""

    def check(claims: dict[Any, Any]) -> None:
        # Anew, as the callback stays.
        app, authx = make_app()
        with pytest.raises((TypeError, ValueError)):
            access_token(app, authx, data=claims)
        authx.set_callback_additional_claims(saying(claims))
        with pytest.raises((TypeError, ValueError)):
            access_token(app, authx)

    check_all(UNSAYABLE, check)


def test_header_parameters_that_json_should_not_say_are_refused() -> None:
    """SECURITY A.19 10: or a token would be created that is never accepted."""
    app, authx = make_app()

    def check(headers: dict[Any, Any]) -> None:
        with pytest.raises((TypeError, ValueError)):
            access_token(app, authx, headers=headers)

    check_all(UNSAYABLE, check)


def test_a_header_that_is_too_long_to_be_accepted_is_refused() -> None:
    """SECURITY A.19 10."""
    app, authx = make_app()
    with pytest.raises(ValueError, match="long"):
        access_token(app, authx, headers={"tenant": "x" * 2000})


def test_claims_that_are_no_mapping_are_refused() -> None:
    app, authx = make_app()

    def check(data: Any) -> None:
        with pytest.raises(TypeError):
            access_token(app, authx, data=data)

    check_all(by_repr(["text", 5, ["a"], [("sub", "root")]]), check)


def test_a_token_that_is_too_long_to_be_accepted_is_not_created() -> None:
    app, authx = make_app(MAX_TOKEN_LENGTH=600)
    assert len(access_token(app, authx)) <= 600
    with pytest.raises(ValueError, match="JWT_MAX_TOKEN_LENGTH is 600"):
        access_token(app, authx, data={"x": "y" * 600})


# Claims of the callback


def test_the_claims_callback_runs_for_every_token() -> None:
    """USERS 1.20: roles are as they are now and not as they were at log-in."""
    app, authx = make_app()
    calls: list[str] = []

    @authx.set_callback_additional_claims
    def describe(uid: str) -> dict[str, Any]:
        calls.append(uid)
        return {"version": len(calls), "org": "acme"}

    with app.app_context():
        pair = authx.create_token_pair(7)
        session = authx.decode_token(pair.refresh_token)
        renewed = authx.create_access_token(7, login=session)
    assert calls == ["7", "7", "7"]
    assert claims_of(pair.access_token)["version"] == 1
    assert claims_of(renewed)["version"] == 3


def test_what_is_given_for_one_token_goes_before_what_the_callback_says() -> None:
    app, authx = make_app()
    authx.set_callback_additional_claims(saying({"org": "acme", "level": 1}))
    claims = claims_of(access_token(app, authx, data={"level": 2}))
    assert (claims["org"], claims["level"]) == ("acme", 2)


def test_what_the_claims_callback_raises_is_the_apps_own() -> None:
    app, authx = make_app()

    @authx.set_callback_additional_claims
    def describe(uid: str) -> dict[str, Any]:
        raise LookupError(uid)

    with pytest.raises(LookupError, match="ann"):
        access_token(app, authx)


# Audience and scopes


def test_an_audience_is_the_settings_or_the_calls() -> None:
    app, authx = make_app(ENCODE_AUDIENCE="api,admin")
    assert claims_of(access_token(app, authx))["aud"] == ["api", "admin"]
    assert claims_of(access_token(app, authx, audience="mail"))["aud"] == "mail"
    assert claims_of(access_token(app, authx, audience=("a", "b")))["aud"] == ["a", "b"]
    app, authx = make_app()
    assert "aud" not in claims_of(access_token(app, authx))


@pytest.mark.parametrize(
    ("audience", "aud"),
    [("api", "api"), (["api"], ["api"]), ("api,mail", ["api", "mail"]), (("a", "b"), ["a", "b"])],
)
def test_one_audience_that_is_text_stays_text(audience: Any, aud: str | list[str]) -> None:
    app, authx = make_app(ENCODE_AUDIENCE=audience)
    token = access_token(app, authx)
    assert claims_of(token)["aud"] == claims_of(refresh_token(app, authx))["aud"] == aud
    assert outcome(ask(app, headers=bearer(token))) == OK


@pytest.mark.parametrize("audience", ["api", ["api"], ["b", "api"]])
def test_the_next_tokens_of_a_session_have_the_same_audience(audience: Any) -> None:
    app, authx = make_app(
        BLOCKLIST="memory://", SESSIONS=True, ENCODE_AUDIENCE=audience, DECODE_AUDIENCE="api"
    )

    @app.get("/again")
    @authx.token_required
    def again() -> str:
        return authx.reauthenticate("ann")

    with app.app_context():
        pair = authx.login("ann")
        next_pair = authx.refresh(pair.refresh_token)
    tokens = [
        *(pair.access_token, pair.refresh_token, next_pair.access_token, next_pair.refresh_token),
        ask(app, path="/again", headers=bearer(next_pair.access_token)).text,
    ]
    assert [claims_of(token)["aud"] for token in tokens] == [audience] * 5


def test_an_audience_that_is_never_accepted_is_refused() -> None:
    """SECURITY A.19 10."""
    app, authx = make_app()

    def check(audience: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            access_token(app, authx, audience=audience)

    check_all(
        by_repr(["", " ", [], [""], ["a", " \t"], [5], 5, b"a", "\ud800", ["\ud800"]]),
        check,
    )


NO_FRESHNESS: list[Any] = [
    *(300, 0, 1, 0.5, -1, None, "yes", "", "true", timedelta(minutes=5), timedelta(0)),
    *(datetime(2027, 1, 1, tzinfo=UTC), [], [True], {}),
]


def test_fresh_is_true_or_false_and_no_duration() -> None:
    """SECURITY A.4 90: similar libraries take one. The message says what limits the age here."""
    app, authx = make_app(BLOCKLIST="memory://", SESSIONS=True)
    other, other_authx = make_app()

    def check(fresh: Any) -> None:
        created: list[Callable[[], object]] = [
            lambda: other_authx.create_access_token("ann", fresh=fresh),
            lambda: other_authx.create_token_pair("ann", fresh=fresh),
            lambda: authx.login("ann", fresh=fresh),
            lambda: authx.token_required(fresh=fresh),
            lambda: authx.protect(app, fresh=fresh),
        ]
        for create in created:
            with (
                (app if create in created[2:] else other).app_context(),
                pytest.raises(TypeError, match=r"^fresh= must be True or False.*max_age="),
            ):
                create()

    check_all(by_repr(NO_FRESHNESS), check)
    for fresh in (True, False):
        token = access_token(other, other_authx, fresh=fresh)
        assert claims_of(token)["fresh"] is fresh
        assert outcome(ask(other, headers=bearer(token))) == OK


def test_scopes_are_one_text_as_in_rfc_9068() -> None:
    assert check_round_trip(scopes=["a:read", "b:*"])["scope"] == "a:read b:*"
    assert check_round_trip(scopes=iter(["a"]))["scope"] == "a"
    assert check_round_trip(scopes=[])["scope"] == ""
    assert "scope" not in check_round_trip()


def test_scopes_that_no_token_can_hold_are_refused() -> None:
    """SECURITY A.16 302."""
    app, authx = make_app()

    def check(scopes: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            access_token(app, authx, scopes=scopes)

    check_all(
        by_repr(["admin", ["a b"], [""], ['a"b'], ["a\\b"], ["ä"], [5], 5]),
        check,
    )


# What the app's JSON provider knows


@dataclass
class Plan:
    name: str
    since: date


RICH: dict[str, Any] = {
    "day": date(2026, 5, 4),
    "moment": datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
    "id": UUID(int=7),
    "price": Decimal("9.90"),
    "plan": Plan("pro", date(2026, 5, 4)),
    "inner": [{"id": UUID(int=8)}, "text", None, 1.5],
}


@pytest.mark.parametrize("by_callback", [False, True])
def test_a_claim_is_what_the_app_would_send_as_json(by_callback: bool) -> None:
    app, authx = make_app()
    if by_callback:
        authx.set_callback_additional_claims(saying(RICH))
    token = access_token(app, authx, data=None if by_callback else RICH)
    expected = json.loads(app.json.dumps(RICH))
    claims = claims_of(token)
    assert {name: claims[name] for name in RICH} == expected
    assert claims["id"] == "00000000-0000-0000-0000-000000000007"
    with app.app_context():
        assert authx.decode_token(token).claims == claims


def test_a_provider_of_the_apps_own_decides() -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, set):
            return sorted(cast("set[str]", value))
        return DefaultJSONProvider.default(value)

    app, authx = make_app()
    provider: Any = DefaultJSONProvider(app)
    provider.default = plain
    app.json = provider
    claims = claims_of(access_token(app, authx, data={"roles": {"b", "a"}, "id": UUID(int=1)}))
    assert claims["roles"] == ["a", "b"]
    assert claims["id"] == str(UUID(int=1))


def test_the_provider_opens_no_way_around_the_rules() -> None:
    @dataclass
    class Loose:
        x: Any

    app, authx = make_app()
    inner: list[Any] = [float("nan"), "\ud800", nested(33), object(), {1, 2}]
    circular = Loose(None)
    circular.x = circular

    def check(value: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            access_token(app, authx, data={"x": value})

    check_all(by_repr(map(Loose, inner)), check)
    with pytest.raises(ValueError, match="deeply"):
        access_token(app, authx, data={"x": circular})
    with pytest.raises(ValueError, match="reserved"):
        access_token(app, authx, data={"exp": datetime(2099, 1, 1, tzinfo=UTC)})


def test_a_refresh_keeps_what_a_claim_has_become() -> None:
    here = site()
    pair = here.log_in(data={"since": date(2026, 5, 4)})
    since = claims_of(pair.access_token)["since"]
    assert claims_of(here.renew(pair.refresh_token).access_token)["since"] == since
    assert isinstance(since, str)
