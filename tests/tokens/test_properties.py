"""Properties of any input: totality, canonicity, round trips (SECURITY.md A.19)."""

from __future__ import annotations

import copy
import functools
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx import JWTDecodeError
from tests.support import (
    b64,
    forge,
    make_app,
    parts,
    refresh_token,
)
from tests.support.answers import ACCESS_COOKIE, REFRESH_COOKIE, ask
from tests.support.corpus import check_all
from tests.support.properties import anything, fixed, in_two_sizes, setup, surrogates


@functools.cache
def fragments() -> st.SearchStrategy[bytes]:
    """Bytes that are partly what a finder looks for, and valid tokens among them."""
    app, authx, valid = setup()
    known = [valid.encode(), refresh_token(app, authx).encode(), valid[:-1].encode()]
    words = [
        *(b"Bearer", b"bearer ", b"Bearer ", b"Basic ", b" ", b"\t", b",", b";", b"=", b'"', b"\\"),
        *(b"token=", b"&", b"%00", b"+", b"\0", b"\r", b"\xe9", b"\xf0\x9f\x98\x80", b"a.b.c"),
        *(ACCESS_COOKIE.encode() + b"=", REFRESH_COOKIE.encode() + b"=", b'{"access_token":'),
        *(b'"refresh_token":', b"{", b"}", b"[", b"]", b"null", b"1e999", b'"\\ud800"', b"NaN"),
    ]
    piece = st.sampled_from(known + words) | st.binary(max_size=40)
    return st.lists(piece, max_size=12).map(b"".join) | st.binary(max_size=300)


TYPES = [
    *("application/json", "application/json; charset=utf-16", "Application/JSON", "text/plain"),
    *("application/vnd.api+json", "application/x-www-form-urlencoded", "", "é/\0", ";,"),
    "multipart/form-data; boundary=x",
]


REQUESTS = [
    ("/guarded", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
    ("/optional", ["GET", "POST"]),
    ("/refresh", ["POST"]),
]


@in_two_sizes
def test_any_bytes_anywhere_have_a_response_of_ours(examples: int) -> None:
    """SECURITY A.19.1, A.15 293, A.7 131, A.8 149 153, A.10 168"""
    app, _, valid = setup()
    some = fragments()

    @settings(fixed, max_examples=examples)
    @given(data=st.data())
    def one_request(data: st.DataObject) -> None:
        path, methods = data.draw(st.sampled_from(REQUESTS))
        body = data.draw(some)
        environ: dict[str, Any] = {
            "CONTENT_TYPE": data.draw(st.sampled_from(TYPES)),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        for key in ("HTTP_AUTHORIZATION", "HTTP_COOKIE", "QUERY_STRING", "HTTP_X_CSRF_TOKEN"):
            value = data.draw(st.none() | some)
            if value is not None:
                environ[key] = value.decode("latin-1")
        method = data.draw(st.sampled_from(methods))
        response = ask(app, method, path, environ_overrides=environ)
        assert response.status_code in {200, 400, 401, 403}
        if response.status_code != 200 and method != "HEAD":
            assert response.json is not None
            assert "error_type" in response.json
            assert valid not in response.text

    one_request()


@in_two_sizes
def test_any_json_body_has_a_response_of_ours(examples: int) -> None:
    """SECURITY A.8 149"""
    app, *_ = setup()
    client = app.test_client(use_cookies=False)

    @settings(fixed, max_examples=examples)
    @given(body=anything, key=st.sampled_from(["access_token", "refresh_token"]))
    def one_body(body: Any, key: str) -> None:
        for sent in (body, {key: body}):
            for path in ("/guarded", "/refresh"):
                assert client.post(path, json=sent).status_code in {400, 401}

    one_body()


@fixed
@given(token=st.text(surrogates, max_size=200) | st.text("abcABC012-_.=+/ \n", max_size=200))
def test_any_text_is_refused_by_decode_token(token: str) -> None:
    """SECURITY A.19.1, A.3 63"""
    app, authx, _ = setup()
    with app.app_context(), pytest.raises(JWTDecodeError):
        authx.decode_token(token)


@fixed
@given(
    header=st.binary(max_size=100) | st.sampled_from([b"{}", b'{"alg":"HS256","typ":"at+jwt"}']),
    payload=st.binary(max_size=100),
    signature=st.binary(max_size=40),
)
def test_any_three_segments_are_refused_by_decode_token(
    header: bytes, payload: bytes, signature: bytes
) -> None:
    """SECURITY A.19.1"""
    app, authx, valid = setup()
    known = valid.split(".")[0]
    for token in (
        ".".join(b64(part) for part in (header, payload, signature)),
        ".".join([known, b64(payload), b64(signature)]),
        forge(header, payload),
        forge(parts(valid)[0], payload),
    ):
        with app.app_context(), pytest.raises(JWTDecodeError):
            authx.decode_token(token)


@fixed
@given(token=st.none() | st.binary(max_size=50) | st.integers() | st.lists(st.none()) | st.floats())
def test_a_value_that_is_no_text_is_no_token(token: Any) -> None:
    """SECURITY A.3 64 65"""
    app, authx, _ = setup()
    with app.app_context(), pytest.raises(JWTDecodeError):
        authx.decode_token(token)


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA", "ES256"])
def test_no_byte_of_a_token_can_be_changed(algorithm: str) -> None:
    """SECURITY A.19.2, A.3 49 53"""
    app, authx, valid = setup(algorithm)
    with app.app_context():
        jti = authx.decode_token(valid).jti

    @fixed
    @given(at=st.integers(0, len(valid) - 1), to=st.characters(max_codepoint=255))
    def one_byte(at: int, to: str) -> None:
        changed = valid[:at] + to + valid[at + 1 :]
        with app.app_context():
            try:
                token = authx.decode_token(changed)
            except JWTDecodeError:
                assert changed != valid
            else:
                # An ES256 signature has other spellings, though none that is one byte away.
                assert changed == valid or (algorithm == "ES256" and token.jti == jti)

    one_byte()


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA", "ES256"])
def test_no_last_character_of_a_segment_has_another_spelling(algorithm: str) -> None:
    """SECURITY A.19.2, A.3 53"""
    app, authx, valid = setup(algorithm)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    def check(changed: str) -> None:
        with app.app_context(), pytest.raises(JWTDecodeError):
            authx.decode_token(changed)

    check_all(
        {
            f"{other} at {end - 1}": valid[: end - 1] + other + valid[end:]
            for end in (valid.index("."), valid.rindex("."), len(valid))
            for other in set(alphabet) - {valid[end - 1]}
        },
        check,
    )


def test_nothing_that_is_configured_changes_by_use() -> None:
    """SECURITY A.19.9, A.14 277"""
    methods = ["POST", "PUT", "PATCH", "DELETE", "GET"]
    app, authx = make_app(TOKEN_LOCATION=["headers", "query"], CSRF_METHODS=methods)
    before: dict[str, Any] = copy.deepcopy({**app.config})
    headers = {"x": [1]}
    data: dict[str, Any] = {"list": [1, {"a": 2}]}
    with app.app_context():
        for number in range(200):
            token = authx.create_access_token("ann", data=data, headers=headers)
            authx.decode_token(token).claims["list"].append(number)
            assert authx.decode_token(token).claims["list"] == [1, {"a": 2}]
            with pytest.raises(JWTDecodeError):
                authx.decode_token(token[:-1])
    for value in ("Bearer x.y.z", "Bearer a b", "Basic x"):
        ask(app, headers={"Authorization": value})
    assert dict(app.config) == before
    assert (data, headers) == ({"list": [1, {"a": 2}]}, {"x": [1]})
    assert methods == ["POST", "PUT", "PATCH", "DELETE", "GET"]
