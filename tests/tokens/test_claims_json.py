"""Claims sets that are not strict JSON, and tokens as two other libraries create them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import flask_jwt_extended
import jwt
import pytest
from flask import Flask

from flask_authx import JWTDecodeError, TokenType
from tests.support import SECRET, Clock, bearer, make_app, parts
from tests.support.answers import INVALID, OK, Outcome, ask, outcome
from tests.support.codecs import EXP, IAT, claims_of, make_codec, refused, token_of
from tests.support.corpus import by_repr, check_all

VALID = json.dumps(claims_of())
WRONG_TYPE = Outcome(401, "AccessTokenRequiredError")


def all_refused(*payloads: bytes | str) -> None:
    """Such claims sets are refused as invalid, which is not as expired."""
    codec = make_codec(MAX_TOKEN_LENGTH=1_000_000)

    def check(payload: bytes | str) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        assert data != VALID.encode()
        refused(codec, token_of(codec, data), IAT, JWTDecodeError)

    check_all(by_repr(payloads), check)


def with_member(text: str) -> str:
    return VALID[:-1] + "," + text + "}"


def test_the_claims_that_these_are_made_of_are_valid() -> None:
    codec = make_codec()
    for text in (VALID, with_member('"x": [1, 1.5, "\\u00e9\\ud83d\\ude00", null]'), f" {VALID}\n"):
        assert codec.decode(token_of(codec, text.encode()), IAT).sub == "ann"


def test_a_claims_set_that_is_no_object_is_refused() -> None:
    """SECURITY A.3 59, 60."""
    texts = ("", " ", "[]", '"x"', "1", "null", "true", "{", "{}x")
    all_refused(*texts, VALID + VALID, VALID + "\0")


def test_a_name_that_occurs_twice_is_refused() -> None:
    """SECURITY A.4 87."""
    twice = ('"sub": "root"', '"\\u0073ub": "ann"', '"x": 1, "x": 1', '"x": [{"a": 1, "a": 2}]')
    all_refused(*map(with_member, twice))


def test_an_invalid_number_is_refused() -> None:
    """SECURITY A.4 72, 74, USERS 31."""
    numbers = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5_000, "01", "+1", ".5"]
    all_refused(
        *(with_member(f'"x": {number}') for number in numbers),
        *(VALID.replace(f'"exp": {EXP}', f'"exp": {number}') for number in numbers),
    )


def test_another_encoding_is_refused() -> None:
    """SECURITY A.3 61."""
    encodings = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig")
    all_refused(*map(VALID.encode, encodings))


def test_invalid_utf8_is_refused() -> None:
    """SECURITY A.2 48, A.3 61."""
    names = [b"\xc1\xb3ub", b"s\xffub", b"s\xed\xa0\x80ub", b"s\xf4\x90\x80\x80ub", b"s\xe9ub"]
    all_refused(
        *(VALID.encode().replace(b'"sub"', b'"' + name + b'"') for name in names),
        *(with_member('"x": "?"').encode().replace(b"?", name) for name in names),
    )


def test_a_lone_surrogate_is_refused_wherever_it_is() -> None:
    """SECURITY A.3 62."""
    members = ('"x": "\\ud800"', '"x": ["a\\udc00"]', '"\\ud800": 1', '"x": {"a": "\\ud83dx"}')
    all_refused(*map(with_member, members))


@pytest.mark.parametrize(
    ("opening", "inner", "closing"), [("[", "", "]"), ('{"a":', "1", "}")], ids=["lists", "objects"]
)
def test_deep_nesting_is_refused(opening: str, inner: str, closing: str) -> None:
    """SECURITY A.4 93: the claims themselves are the first level of 32."""

    def nested(depth: int) -> str:
        return opening * depth + inner + closing * depth

    codec = make_codec()
    fine = with_member('"x":' + nested(31))
    assert codec.decode(token_of(codec, fine.encode()), IAT)
    depths = (32, 33, 500, 1_000, 5_000, 100_000)
    all_refused(
        *(with_member('"x":' + nested(depth)) for depth in depths),
        *(with_member('"x": "\\u00e9", "y":' + nested(depth)) for depth in depths),
    )


# Tokens of the two libraries that people come from.


def extended_token(kind: str, **options: Any) -> str:
    """A token as Flask-JWT-Extended creates it, by itself."""
    app = Flask("extended")
    app.config["JWT_SECRET_KEY"] = SECRET
    flask_jwt_extended.JWTManager(app)
    # Its functions are typed in part only.
    library: Any = flask_jwt_extended
    create = {"access": library.create_access_token, "refresh": library.create_refresh_token}[kind]
    with app.app_context():
        token: str = create("ann", **options)
    return token


def authx_token(**changes: Any) -> str:
    """A token with the header and the claims of AuthX 1.7."""
    claims = {
        "sub": "ann",
        "iat": float(IAT),
        "nbf": float(IAT),
        "exp": EXP + 0.5,
        "jti": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "type": "access",
        "fresh": False,
        "csrf": "",
        "scopes": ["users:read"],
        **changes,
    }
    return jwt.encode(claims, SECRET, "HS256")


def response_to(app: Flask, token: str) -> Outcome:
    return outcome(ask(app, headers=bearer(token)))


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_tokens_of_flask_jwt_extended_are_accepted_during_a_migration(kind: str) -> None:
    token = extended_token(kind, additional_claims={"role": "x"})
    claims = parts(token)[1]
    assert parts(token)[0] == {"alg": "HS256", "typ": "JWT"}
    app, authx = make_app(clock=Clock(claims["iat"]), ACCEPT_UNTYPED=True)
    with app.app_context():
        found = authx.decode_token(token)
    assert (found.sub, found.jti, found.type) == ("ann", claims["jti"], TokenType(kind))
    # A session of its own, which began when the token was created.
    assert (found.sid, found.auth_time) == (claims["jti"], claims["iat"])
    assert found.claims == claims
    assert response_to(app, token) == (OK if kind == "access" else WRONG_TYPE)


def test_the_session_and_auth_time_of_a_token_of_another_library_are_used() -> None:
    token = extended_token("access", additional_claims={"sid": "a-session", "auth_time": 1000})
    claims = parts(token)[1]
    app, authx = make_app(clock=Clock(claims["iat"]), ACCEPT_UNTYPED=True)
    with app.app_context():
        found = authx.decode_token(token)
    assert (found.sid, found.auth_time) == ("a-session", 1000)


def test_the_freshness_of_flask_jwt_extended_is_kept() -> None:
    token = extended_token("access", fresh=True)
    app, authx = make_app(clock=Clock(parts(token)[1]["iat"]), ACCEPT_UNTYPED=True)
    with app.app_context():
        assert authx.decode_token(token).fresh is True


def test_tokens_of_authx_are_accepted_during_a_migration() -> None:
    app, authx = make_app(ACCEPT_UNTYPED=True)
    token = authx_token()
    assert response_to(app, token) == OK
    with app.app_context():
        found = authx.decode_token(token)
    assert (found.sub, found.exp, found.scopes) == ("ann", EXP, frozenset({"users:read"}))
    assert found.csrf is None


def test_tokens_of_both_are_refused_otherwise() -> None:
    """SECURITY A.2 43."""
    token = extended_token("access")
    app, _ = make_app(clock=Clock(parts(token)[1]["iat"]))
    assert response_to(app, token) == INVALID
    assert response_to(make_app()[0], authx_token()) == INVALID


@pytest.mark.parametrize("type", ["", "Access", "id", None, ["access"], True])
def test_an_untyped_token_must_say_what_it_is(type: Any) -> None:
    """SECURITY A.11 186, 187, 190, USERS 24."""
    app, _ = make_app(ACCEPT_UNTYPED=True)
    assert response_to(app, authx_token(type=type)) == INVALID
    bare = {name: value for name, value in parts(authx_token())[1].items() if name != "type"}
    assert response_to(app, jwt.encode(bare, SECRET, "HS256")) == INVALID


def test_an_untyped_token_without_an_end_is_refused() -> None:
    """SECURITY A.4 68, 77, USERS 19."""
    token = extended_token("access", expires_delta=False)
    endless = extended_token("access", expires_delta=timedelta(days=365))
    app, _ = make_app(clock=Clock(parts(token)[1]["iat"]), ACCEPT_UNTYPED=True)
    assert response_to(app, token) == INVALID
    assert response_to(app, endless) == INVALID
