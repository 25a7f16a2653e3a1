"""Header parameters that would lead a verifier astray: none is followed, few are accepted."""

from __future__ import annotations

import json
import socket
from typing import Any, NoReturn

import pytest

from flask_authx import JWTDecodeError, TokenInvalidSignatureError
from tests.support import NOW, b64, ed25519_key, rsa_key
from tests.support.codecs import claims_of, header_of, make_codec, token_of


@pytest.fixture(autouse=True)
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a socket or an address fails the test (SECURITY A.2 29)."""

    def trap(*args: object, **kwargs: object) -> NoReturn:
        pytest.fail("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", trap)
    monkeypatch.setattr(socket.socket, "connect_ex", trap)
    monkeypatch.setattr(socket, "create_connection", trap)
    monkeypatch.setattr(socket, "getaddrinfo", trap)


def refused(header: bytes | dict[str, Any], **config: Any) -> JWTDecodeError:
    """A token with this header and otherwise good is refused."""
    codec = make_codec(MAX_TOKEN_LENGTH=3_000_000, **config)
    with pytest.raises(JWTDecodeError) as caught:
        codec.decode(token_of(codec, header=header), NOW)
    return caught.value


def accepted(**changes: Any) -> bool:
    codec = make_codec()
    return codec.decode(token_of(codec, header=header_of(codec, **changes)), NOW).sub == "ann"


def changed(**changes: Any) -> dict[str, Any]:
    return header_of(make_codec(), **changes)


def foreign_jwk() -> dict[str, str]:
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": "theirs",
        "x": b64(ed25519_key().public_key().public_bytes_raw()),
    }


def signed_by_ed25519(**header: Any) -> str:
    members = {"typ": "at+jwt", "alg": "EdDSA", **header}
    text = ".".join(b64(json.dumps(part).encode()) for part in (members, claims_of()))
    return f"{text}.{b64(ed25519_key().sign(text.encode()))}"


@pytest.mark.parametrize(
    "private",
    [{}, {"d": b64(ed25519_key().private_bytes_raw())}],
    ids=["public", "private"],
)
@pytest.mark.parametrize("config", ["secret", "RSA"])
@pytest.mark.parametrize("kid", ["ours", "theirs", "missing"])
def test_a_key_in_the_header_is_not_used(config: str, private: dict[str, str], kid: str) -> None:
    """SECURITY A.2 27, 28, USERS 17."""
    codec = make_codec(
        **({} if config == "secret" else {"ALGORITHM": "RS256", "PRIVATE_KEY": rsa_key()})
    )
    header: dict[str, Any] = {"jwk": {**foreign_jwk(), **private}}
    if kid != "missing":
        header["kid"] = codec.keys.current.kid if kid == "ours" else "theirs"
    with pytest.raises(TokenInvalidSignatureError):
        codec.decode(signed_by_ed25519(**header), NOW)


def test_a_secret_in_the_header_is_not_used() -> None:
    """SECURITY A.2 28."""
    secret = b"theirs" * 8
    codec = make_codec()
    header = header_of(codec, jwk={"kty": "oct", "k": b64(secret)})
    with pytest.raises(TokenInvalidSignatureError):
        codec.decode(token_of(codec, header=header, secret=secret), NOW)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/jwks.json",
        "http://127.0.0.1:1/jwks.json",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "https://good.example@evil.example/",
        "https://good.example#@evil.example/",
        "https://good.example\\@evil.example/",
    ],
)
@pytest.mark.parametrize("parameter", ["jku", "x5u"])
def test_a_url_in_the_header_is_not_fetched(parameter: str, url: str) -> None:
    """SECURITY A.2 29-31, USERS 17."""
    codec = make_codec()
    for token in (
        signed_by_ed25519(**{parameter: url, "kid": codec.keys.current.kid}),
        signed_by_ed25519(**{parameter: url, "kid": "theirs"}),
    ):
        with pytest.raises(TokenInvalidSignatureError):
            codec.decode(token, NOW)


@pytest.mark.parametrize("parameter", ["x5c", "x5t", "x5t#S256"])
def test_a_certificate_in_the_header_is_not_used(parameter: str) -> None:
    """SECURITY A.2 31, USERS 17."""
    codec = make_codec()
    with pytest.raises(TokenInvalidSignatureError):
        codec.decode(signed_by_ed25519(**{parameter: ["MIIB"]}), NOW)


@pytest.mark.parametrize(
    "kid",
    [
        *("unknown", "", "../../dev/null", "/dev/null", "x' UNION SELECT '1';--", "| sleep 10"),
        *("$(curl http://127.0.0.1:1/)", ";", "a\r\nX-Evil: 1", "\0", "\x1b[31m", "é", "e\u0301"),
        *("k1", "K1 ", " K1", "K\u0131", "*", "%"),
        *(None, 5, True, ["K1"], {"K1": "K1"}),
    ],
)
def test_a_kid_that_names_no_key_is_refused(kid: Any) -> None:
    """SECURITY A.2 32, 34-37, 39."""
    codec = make_codec(KEY_ID="K1")
    assert codec.decode(token_of(codec), NOW).sub == "ann"
    header = header_of(codec, kid=kid)
    error = refused(header, KEY_ID="K1")
    for secret in ("", "1"):
        with pytest.raises(JWTDecodeError) as caught:
            codec.decode(token_of(codec, header=header, secret=secret), NOW)
        # The answer and the reason are the same, and say nothing of the kid.
        assert (caught.value.reason, caught.value.data) == (error.reason, error.data)
    assert error.data["msg"] == "The token is invalid"


def test_a_kid_is_compared_without_normalisation() -> None:
    """SECURITY A.2 37."""
    refused(changed(kid="e\u0301"), KEY_ID="é")
    refused(changed(kid="é"), KEY_ID="e\u0301")


def test_a_header_that_is_too_long_is_refused() -> None:
    """SECURITY A.2 38, 46, A.6 109."""
    refused(changed(kid="k" * 1_000_000))
    refused(changed(**{f"x{number}": number for number in range(10_000)}))
    assert accepted(**{f"x{number}": number for number in range(50)})


@pytest.mark.parametrize(
    "crit", [["exp"], ["foo"], [], "b64", None, ["alg"], ["b64", "b64"], ["absent"], True, {}]
)
def test_any_crit_is_refused(crit: Any) -> None:
    """SECURITY A.2 41, USERS 18."""
    refused(changed(crit=crit))
    refused(changed(crit=crit, b64=True))


@pytest.mark.parametrize("value", [False, True, "false", 0, None])
def test_any_b64_is_refused(value: Any) -> None:
    """SECURITY A.2 42."""
    refused(changed(b64=value))
    refused(changed(b64=value, crit=["b64"]))


@pytest.mark.parametrize("parameter", ["zip", "enc"])
@pytest.mark.parametrize("value", ["DEF", "A128GCM", "", None])
def test_parameters_of_encrypted_tokens_are_refused(parameter: str, value: Any) -> None:
    """SECURITY A.2 44."""
    refused(changed(**{parameter: value}))


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT"])
def test_the_typ_of_an_access_token_is_compared_without_case(typ: str) -> None:
    """SECURITY A.2 43; RFC 9068 section 4."""
    assert accepted(typ=typ)


@pytest.mark.parametrize(
    "typ",
    [
        *("JWT", "jwt", "application/jwt", "rt+jwt", "dpop+jwt", "secevent+jwt", "id_token"),
        *("statuslist+jwt", "at+jwt ", " at+jwt", "at+jwt\0", "text/at+jwt", "application/", ""),
        *("application/application/at+jwt", "\u212at+jwt", 5, None, True, [], ["at+jwt"], {}, ...),
    ],
)
def test_any_other_typ_is_refused_for_an_access_token(typ: Any) -> None:
    """SECURITY A.2 43, A.11 186, 188, 189."""
    refused(changed(typ=typ))


@pytest.mark.parametrize(
    "header",
    [b"", b"[]", b'"x"', b"1", b"null", b"true", b"{}", b"{", b"{} x", b"\xff", b"{'alg':'HS256'}"],
)
def test_a_header_that_is_no_object_is_refused(header: bytes) -> None:
    """SECURITY A.2 45."""
    refused(header)


@pytest.mark.parametrize("values", [("none", "HS256"), ("HS256", "none"), ("HS256", "HS256")])
def test_a_header_parameter_that_occurs_twice_is_refused(values: tuple[str, str]) -> None:
    """SECURITY A.2 47."""
    kid = make_codec().keys.current.kid
    members = ",".join(f'"alg":"{value}"' for value in values)
    refused(f'{{{members},"typ":"at+jwt","kid":"{kid}"}}'.encode())


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"]
)
def test_a_header_in_another_encoding_is_refused(encoding: str) -> None:
    """SECURITY A.2 48."""
    text = json.dumps(changed())
    assert accepted()
    refused(text.encode(encoding))


def test_a_header_in_overlong_utf8_is_refused() -> None:
    """SECURITY A.2 48."""
    refused(json.dumps(changed()).encode().replace(b"alg", b"\xc1\xa1lg"))


@pytest.mark.parametrize("depth", [33, 400])
def test_a_deep_header_is_refused(depth: int) -> None:
    """SECURITY A.4 93."""
    refused(json.dumps(changed()).encode()[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}")
