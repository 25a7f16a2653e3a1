"""An invalid token gets the same response, wherever it is and whatever is wrong with it."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_authx import AuthX, JWTDecodeError
from tests.support import Clock, access_token, b64, bearer, make_app, parts, reforge, refresh_token
from tests.support.answers import ACCESS_COOKIE, INVALID, REVOKED, ask, cookie, outcome
from tests.support.corpus import check_all
from tests.support.token_corpus import ALL, LOCATIONS, InvalidToken, config, valid


@dataclass
class Site:
    """An app with one view, and a record of who was asked and whether the view ran."""

    app: Flask
    authx: AuthX
    asked: list[str] = field(default_factory=list[str])
    ran: list[str] = field(default_factory=list[str])


def site(algorithm: str = "HS256", **more: Any) -> Site:
    made = Site(*make_app(**{**config(algorithm), **more}))

    @made.authx.set_callback_token_blocklist
    def is_revoked(token: str) -> bool:
        made.asked.append(token)
        return False

    @made.app.route("/view", methods=["GET", "POST"])
    @made.authx.token_required
    def view() -> str:
        made.ran.append("view")
        return "seen"

    return made


@functools.cache
def shared_site(algorithm: str, location: str) -> Site:
    """An app for the many invalid tokens, none of which leaves anything behind."""
    return site(algorithm, TOKEN_LOCATION=[location])


def send(app: Flask, location: str, token: str) -> TestResponse:
    """A request with the token in this place, byte for byte."""
    # PEP 3333: the environ holds bytes, spelled as Latin-1.
    raw = token.encode("utf-8", "surrogatepass").decode("latin-1")
    if location == "json":
        return ask(app, "POST", "/view", json={"access_token": token})
    environ = {
        "headers": {"HTTP_AUTHORIZATION": f"Bearer {raw}"},
        "cookies": {"HTTP_COOKIE": f"{ACCESS_COOKIE}={raw}"},
        "query": {"QUERY_STRING": f"token={quote_from_bytes(raw.encode('latin-1'), safe='')}"},
    }[location]
    return ask(app, path="/view", environ_overrides=environ)


LONG_BODY = 8 * 8192
Response = tuple[int, bytes, list[tuple[str, str]]]


def everything(response: TestResponse) -> Response:
    """All of a response but its date."""
    headers = [(name, value) for name, value in response.headers if name != "Date"]
    return response.status_code, response.data, sorted(headers)


def other_like(location: str, token: str) -> str:
    """What an invalid token is compared with: another one, or a header that can't be one."""
    if location == "headers" and not re.fullmatch(r"[A-Za-z0-9\-._~+/]+=*[ \t]*", token):
        # A.7: what is no token68 is a malformed header, and no token at all.
        return "a b"
    if location == "json" and len(json.dumps(token)) > LONG_BODY:
        # A body of that length is not searched.
        return "x" * LONG_BODY
    return "x.y.z"


@functools.cache
def response_to(algorithm: str, location: str, token: str) -> Response:
    return everything(send(shared_site(algorithm, location).app, location, token))


@pytest.mark.parametrize("location", LOCATIONS)
def test_every_invalid_token_gets_the_very_same_response(location: str) -> None:
    """SECURITY A.0, A.19.3, A.19.7, A.16 298 299"""

    def check(invalid: InvalidToken) -> None:
        token = invalid.make()
        other = other_like(location, token)
        expected = response_to(invalid.algorithm, location, other)
        here = shared_site(invalid.algorithm, location)
        here.asked.clear()
        here.ran.clear()
        came = everything(send(here.app, location, token))
        sent = f"sent {token[:200]!r}"
        assert came == expected, f"{sent}, came {came}, expected {expected} as to {other!r}"
        assert came[0] == (400 if other == "a b" else 401), f"{sent}, came {came}"
        told = f"{sent}, callback asked {here.asked}, ran {here.ran}, expected neither"
        assert (here.asked, here.ran) == ([], []), told

    check_all([(invalid.id, invalid) for invalid in ALL if location in invalid.places], check)


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("location", LOCATIONS)
def test_the_valid_token_that_they_are_made_from_is_accepted(location: str, algorithm: str) -> None:
    here = site(algorithm, TOKEN_LOCATION=[location])
    assert send(here.app, location, valid(algorithm)).text == "seen"
    assert (here.asked, here.ran) == ([valid(algorithm)], ["view"])


@pytest.mark.parametrize("location", LOCATIONS)
def test_the_response_is_the_one_of_rfc_6750(location: str) -> None:
    """SECURITY A.0, A.16 299"""
    response = send(site(TOKEN_LOCATION=[location]).app, location, "x.y.z")
    assert response.status_code == 401
    assert response.data == (b'{"msg": "The token is invalid", "error_type": "JWTDecodeError"}\n')
    assert response.headers["WWW-Authenticate"] == (
        'Bearer realm="api", error="invalid_token", error_description="The token is invalid"'
    )
    assert "no-store" in response.headers["Cache-Control"]


def test_decode_token_raises_its_own_error_for_every_invalid_token() -> None:
    """SECURITY A.15 293"""

    def check(invalid: InvalidToken) -> None:
        here = shared_site(invalid.algorithm, "headers")
        token = invalid.make()
        with here.app.app_context(), pytest.raises(JWTDecodeError) as caught:
            here.authx.decode_token(token)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)

    check_all([(invalid.id, invalid) for invalid in ALL], check)


def expired(here: Site) -> str:
    return reforge(valid(), iat=1_799_000_000, nbf=1_799_000_000, exp=1_799_000_900)


def of_another_type(here: Site) -> str:
    return refresh_token(here.app, here.authx)


def not_fresh(here: Site) -> str:
    return access_token(here.app, here.authx)


def without_scopes(here: Site) -> str:
    return access_token(here.app, here.authx, fresh=True)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (expired, (401, "TokenExpiredError")),
        (of_another_type, (401, "AccessTokenRequiredError")),
        (not_fresh, (401, "FreshTokenRequiredError")),
        (without_scopes, (403, "InsufficientScopeError")),
    ],
    ids=["expired", "type", "fresh", "scope"],
)
def test_what_a_client_can_act_on_is_told_apart(
    make: Callable[[Site], str], expected: tuple[int, str]
) -> None:
    """SECURITY A.5 97, A.11 184 192 200"""
    here = site()

    @here.app.route("/strict")
    @here.authx.fresh_token_required
    @here.authx.scopes_required("admin")
    def strict() -> str:
        raise AssertionError("the view must not run")

    assert outcome(ask(here.app, path="/strict", headers=bearer(make(here)))) == expected


def is_always(token: str) -> bool:
    return True


def test_a_revoked_token_is_told_apart() -> None:
    """SECURITY A.12 203"""
    app, authx = make_app()
    authx.set_callback_token_blocklist(is_always)
    headers = bearer(access_token(app, authx))
    assert outcome(ask(app, headers=headers)) == REVOKED


@pytest.mark.parametrize("value", ["", "another", "é", " "])
def test_an_invalid_csrf_value_is_told_apart_from_an_invalid_token(value: str) -> None:
    """SECURITY A.10 167 183: only a client with a valid token learns of the CSRF check"""
    app, authx = make_app(TOKEN_LOCATION="cookies")
    environ = {"HTTP_X_CSRF_TOKEN": value}
    for token, expected in ((access_token(app, authx), 403), ("x.y.z", 401)):
        response = ask(
            app, "POST", headers=cookie((ACCESS_COOKIE, token)), environ_overrides=environ
        )
        assert response.status_code == expected, f"sent {token} with {value!r}"


def test_times_are_judged_to_the_second_with_the_leeway_on_both_sides() -> None:
    """SECURITY A.5 97 98"""
    clock = Clock()
    app, authx = make_app(clock=clock, DECODE_LEEWAY=10)
    headers = bearer(access_token(app, authx))
    statuses: dict[int, int] = {}
    for moment in (-11, -10, 0, 899, 909, 910):
        clock.now = 1_800_000_000 + moment
        statuses[moment] = ask(app, headers=headers).status_code
    assert statuses == {-11: 401, -10: 200, 0: 200, 899: 200, 909: 200, 910: 401}


def test_a_signature_with_a_twin_does_not_outlive_its_revocation() -> None:
    """SECURITY A.1 18, A.3 67, A.19.2: the malleated ES256 token is the same identity"""
    here = site("ES256")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, _, _ = valid("ES256").rpartition(".")
    _, claims, signature = parts(valid("ES256"))
    s = int.from_bytes(signature[32:], "big")
    twin = f"{head}.{b64(signature[:32] + (order - s).to_bytes(32, 'big'))}"
    with here.app.app_context():
        assert here.authx.decode_token(twin).jti == claims["jti"]
    revoked = {claims["jti"]}

    @here.authx.set_callback_token_blocklist
    def is_revoked(token: str, claims: dict[str, Any]) -> bool:
        return claims["jti"] in revoked

    assert outcome(ask(here.app, path="/view", headers=bearer(twin))) == REVOKED


def test_a_token_of_an_unknown_user_is_as_invalid_as_any() -> None:
    """SECURITY A.11 198"""
    here = site()

    @here.authx.set_callback_get_model_instance
    def load(uid: str) -> None:
        return None

    @here.app.route("/me")
    @here.authx.token_required
    def me() -> str:
        return str(here.authx.get_current_subject())

    response = ask(here.app, path="/me", headers=bearer(valid()))
    assert outcome(response) == INVALID
    assert everything(response) == everything(ask(here.app, path="/me", headers=bearer("x.y.z")))
