"""What holds for whatever comes in: totality, canonicity, round trips (SECURITY.md A.19)."""

from __future__ import annotations

import copy
import functools
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_authx import JWTDecodeError
from tests.support import (
    b64,
    forge,
    make_app,
    parts,
    refresh_token,
)
from tests.support.answers import ACCESS_COOKIE, REFRESH_COOKIE
from tests.support.properties import anything, fixed, setup, surrogates


@functools.cache
def fragments() -> st.SearchStrategy[bytes]:
    """Bytes that are partly what a finder looks for, and a good token among them."""
    app, authx, good = setup()
    known = [good.encode(), refresh_token(app, authx).encode(), good[:-1].encode()]
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


@fixed
@given(data=st.data())
def test_any_bytes_anywhere_are_answered_by_us(data: st.DataObject) -> None:
    """SECURITY A.19.1, A.15 293, A.7 131, A.8 149 153, A.10 168"""
    app, _, good = setup()
    some = fragments()
    path, methods = data.draw(
        st.sampled_from(
            [
                ("/guarded", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
                ("/optional", ["GET", "POST"]),
                ("/refresh", ["POST"]),
            ]
        )
    )
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
    response = app.test_client(use_cookies=False).open(
        path, method=data.draw(st.sampled_from(methods)), environ_overrides=environ
    )
    assert response.status_code in {200, 400, 401, 403}
    if response.status_code != 200 and response.request.method != "HEAD":
        assert response.json is not None
        assert "error_type" in response.json
        assert good not in response.text


@fixed
@given(body=anything, key=st.sampled_from(["access_token", "refresh_token"]))
def test_any_json_body_is_answered_by_us(body: Any, key: str) -> None:
    """SECURITY A.8 149"""
    app, *_ = setup()
    client = app.test_client(use_cookies=False)
    for sent in (body, {key: body}):
        for path in ("/guarded", "/refresh"):
            assert client.post(path, json=sent).status_code in {400, 401}


@fixed
@given(token=st.text(surrogates, max_size=200) | st.text("abcABC012-_.=+/ \n", max_size=200))
def test_no_text_makes_decode_token_raise_anything_else(token: str) -> None:
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
def test_no_three_segments_make_decode_token_raise_anything_else(
    header: bytes, payload: bytes, signature: bytes
) -> None:
    """SECURITY A.19.1"""
    app, authx, good = setup()
    known = good.split(".")[0]
    for token in (
        ".".join(b64(part) for part in (header, payload, signature)),
        ".".join([known, b64(payload), b64(signature)]),
        forge(header, payload),
        forge(parts(good)[0], payload),
    ):
        with app.app_context(), pytest.raises(JWTDecodeError):
            authx.decode_token(token)


@fixed
@given(token=st.none() | st.binary(max_size=50) | st.integers() | st.lists(st.none()) | st.floats())
def test_what_is_no_text_is_no_token(token: Any) -> None:
    """SECURITY A.3 64 65"""
    app, authx, _ = setup()
    with app.app_context(), pytest.raises(JWTDecodeError):
        authx.decode_token(token)


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA", "ES256"])
def test_no_byte_of_a_token_can_be_changed(algorithm: str) -> None:
    """SECURITY A.19.2, A.3 49 53"""
    app, authx, good = setup(algorithm)
    with app.app_context():
        jti = authx.decode_token(good).jti

    @fixed
    @given(at=st.integers(0, len(good) - 1), to=st.characters(max_codepoint=255))
    def one_byte(at: int, to: str) -> None:
        changed = good[:at] + to + good[at + 1 :]
        with app.app_context():
            try:
                token = authx.decode_token(changed)
            except JWTDecodeError:
                assert changed != good
            else:
                # An ES256 signature has other spellings, though none that is one byte away.
                assert changed == good or (algorithm == "ES256" and token.jti == jti)

    one_byte()


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA", "ES256"])
def test_no_last_character_of_a_segment_has_another_spelling(algorithm: str) -> None:
    """SECURITY A.19.2, A.3 53"""
    app, authx, good = setup(algorithm)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    first, second, last = (good.index("."), good.rindex("."), len(good))
    with app.app_context():
        for end in (first, second, last):
            for other in set(alphabet) - {good[end - 1]}:
                with pytest.raises(JWTDecodeError):
                    authx.decode_token(good[: end - 1] + other + good[end:])


def test_nothing_that_is_configured_changes_by_use() -> None:
    """SECURITY A.19.9, A.14 277"""
    methods = ["POST", "PUT", "PATCH", "DELETE", "GET"]
    app, authx = make_app(TOKEN_LOCATION=["headers", "query"], CSRF_METHODS=methods)
    before: dict[str, Any] = copy.deepcopy({**app.config})
    headers = {"x": [1]}
    data: dict[str, Any] = {"list": [1, {"a": 2}]}
    client = app.test_client()
    with app.app_context():
        for number in range(1000):
            token = authx.create_access_token("ann", data=data, headers=headers)
            authx.decode_token(token).claims["list"].append(number)
            assert authx.decode_token(token).claims["list"] == [1, {"a": 2}]
            with pytest.raises(JWTDecodeError):
                authx.decode_token(token[:-1])
    for value in ("Bearer x.y.z", "Bearer a b", "Basic x"):
        client.get("/guarded", headers={"Authorization": value})
    assert dict(app.config) == before
    assert (data, headers) == ({"list": [1, {"a": 2}]}, {"x": [1]})
    assert methods == ["POST", "PUT", "PATCH", "DELETE", "GET"]
