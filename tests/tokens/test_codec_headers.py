"""Header parameters that mislead a verifier: none is followed, few are accepted."""

from __future__ import annotations

import itertools
import json
import socket
from typing import Any, NoReturn

import pytest

from flask_authx import TokenInvalidSignatureError
from tests.support import NOW, b64, ed25519_key, rsa_key
from tests.support.codecs import claims_of, header_of, make_codec, refused, token_of
from tests.support.corpus import by_repr, check_all


@pytest.fixture(autouse=True)
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for a socket or an address fails the test (SECURITY A.2 29)."""

    def trap(*args: object, **kwargs: object) -> NoReturn:
        pytest.fail("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", trap)
    monkeypatch.setattr(socket.socket, "connect_ex", trap)
    monkeypatch.setattr(socket, "create_connection", trap)
    monkeypatch.setattr(socket, "getaddrinfo", trap)


def all_refused(*headers: bytes | dict[str, Any], **config: Any) -> None:
    """Tokens with such a header, otherwise valid, are refused."""
    codec = make_codec(MAX_TOKEN_LENGTH=3_000_000, **config)
    check_all(by_repr(headers), lambda header: refused(codec, token_of(codec, header=header)))


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


@pytest.mark.parametrize("config", ["secret", "RSA"])
def test_a_key_in_the_header_is_not_used(config: str) -> None:
    """SECURITY A.2 27, 28, USERS 17."""
    codec = make_codec(
        **({} if config == "secret" else {"ALGORITHM": "RS256", "PRIVATE_KEY": rsa_key()})
    )
    jwk = foreign_jwk()
    for key in (jwk, {**jwk, "d": b64(ed25519_key().private_bytes_raw())}):
        for kid in ({}, {"kid": "theirs"}, {"kid": codec.keys.current.kid}):
            refused(codec, signed_by_ed25519(jwk=key, **kid), NOW, TokenInvalidSignatureError)


def test_a_secret_in_the_header_is_not_used() -> None:
    """SECURITY A.2 28."""
    secret = b"theirs" * 8
    codec = make_codec()
    header = header_of(codec, jwk={"kty": "oct", "k": b64(secret)})
    token = token_of(codec, header=header, secret=secret)
    refused(codec, token, NOW, TokenInvalidSignatureError)


URLS = [
    "https://evil.example/jwks.json",
    "http://127.0.0.1:1/jwks.json",
    "http://169.254.169.254/latest/meta-data/",
    "file:///etc/passwd",
    "https://good.example@evil.example/",
    "https://good.example#@evil.example/",
    "https://good.example\\@evil.example/",
]


def test_a_url_in_the_header_is_not_fetched() -> None:
    """SECURITY A.2 29, 30, 31, USERS 17."""
    codec = make_codec()
    for url, parameter in itertools.product(URLS, ("jku", "x5u")):
        for kid in (codec.keys.current.kid, "theirs"):
            token = signed_by_ed25519(**{parameter: url, "kid": kid})
            refused(codec, token, NOW, TokenInvalidSignatureError)


def test_a_certificate_in_the_header_is_not_used() -> None:
    """SECURITY A.2 31, USERS 17."""
    for parameter in ("x5c", "x5t", "x5t#S256"):
        token = signed_by_ed25519(**{parameter: ["MIIB"]})
        refused(make_codec(), token, NOW, TokenInvalidSignatureError)


NO_KIDS: list[Any] = [
    *("unknown", "", "../../dev/null", "/dev/null", "x' UNION SELECT '1';--", "| sleep 10"),
    *("$(curl http://127.0.0.1:1/)", ";", "a\r\nX-Evil: 1", "\0", "\x1b[31m", "é", "e\u0301"),
    *("k1", "K1 ", " K1", "K\u0131", "*", "%"),
    *(None, 5, True, ["K1"], {"K1": "K1"}),
]


def test_a_kid_that_names_no_key_is_refused() -> None:
    """SECURITY A.2 32, 34, 35, 36, 37, 39."""
    codec = make_codec(KEY_ID="K1")
    assert codec.decode(token_of(codec), NOW).sub == "ann"

    def check(kid: Any) -> None:
        header = header_of(codec, kid=kid)
        error = refused(codec, token_of(codec, header=header))
        for secret in ("", "1"):
            other = refused(codec, token_of(codec, header=header, secret=secret))
            # The response and the reason are the same, and say nothing of the kid.
            assert (other.reason, other.data) == (error.reason, error.data)
        assert error.data["msg"] == "The token is invalid"

    check_all(by_repr(NO_KIDS), check)


def test_a_kid_is_compared_without_normalisation() -> None:
    """SECURITY A.2 37."""
    all_refused(changed(kid="e\u0301"), KEY_ID="é")
    all_refused(changed(kid="é"), KEY_ID="e\u0301")


def test_a_header_that_is_too_long_is_refused() -> None:
    """SECURITY A.2 38, 46, A.6 109."""
    long = {f"x{number}": number for number in range(10_000)}
    all_refused(changed(kid="k" * 1_000_000), changed(**long))
    assert accepted(**{f"x{number}": number for number in range(50)})


CRITS: list[Any] = [
    *(["exp"], ["foo"], [], "b64", None, ["alg"], ["b64", "b64"], ["absent"], True, {}),
]


def test_any_crit_is_refused() -> None:
    """SECURITY A.2 41, USERS 18."""
    all_refused(*(changed(crit=crit) for crit in CRITS))
    all_refused(*(changed(crit=crit, b64=True) for crit in CRITS))


def test_any_b64_is_refused() -> None:
    """SECURITY A.2 42."""
    for value in (False, True, "false", 0, None):
        all_refused(changed(b64=value), changed(b64=value, crit=["b64"]))


def test_parameters_of_encrypted_tokens_are_refused() -> None:
    """SECURITY A.2 44."""
    for value in ("DEF", "A128GCM", "", None):
        all_refused(changed(zip=value), changed(enc=value))


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT"])
def test_the_typ_of_an_access_token_is_compared_without_case(typ: str) -> None:
    """SECURITY A.2 43; RFC 9068 section 4."""
    assert accepted(typ=typ)


OTHER_TYPS: list[Any] = [
    *("JWT", "jwt", "application/jwt", "rt+jwt", "dpop+jwt", "secevent+jwt", "id_token"),
    *("statuslist+jwt", "at+jwt ", " at+jwt", "at+jwt\0", "text/at+jwt", "application/", ""),
    *("application/application/at+jwt", "\u212at+jwt", 5, None, True, [], ["at+jwt"], {}, ...),
]


def test_any_other_typ_is_refused_for_an_access_token() -> None:
    """SECURITY A.2 43, A.11 186, 188, 189."""
    all_refused(*(changed(typ=typ) for typ in OTHER_TYPS))


def test_a_header_that_is_no_object_is_refused() -> None:
    """SECURITY A.2 45."""
    all_refused(b"", b"[]", b'"x"', b"1", b"null", b"true", b"{}", b"{", b"{} x", b"\xff")
    all_refused(b"{'alg':'HS256'}")


def test_a_header_parameter_that_occurs_twice_is_refused() -> None:
    """SECURITY A.2 47."""
    kid = make_codec().keys.current.kid
    for values in (("none", "HS256"), ("HS256", "none"), ("HS256", "HS256")):
        members = ",".join(f'"alg":"{value}"' for value in values)
        all_refused(f'{{{members},"typ":"at+jwt","kid":"{kid}"}}'.encode())


def test_a_header_in_another_encoding_is_refused() -> None:
    """SECURITY A.2 48."""
    text = json.dumps(changed())
    assert accepted()
    encodings = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig")
    all_refused(*map(text.encode, encodings))


def test_a_header_in_overlong_utf8_is_refused() -> None:
    """SECURITY A.2 48."""
    all_refused(json.dumps(changed()).encode().replace(b"alg", b"\xc1\xa1lg"))


def test_a_deep_header_is_refused() -> None:
    """SECURITY A.4 93."""
    start = json.dumps(changed()).encode()[:-1] + b',"x":'
    all_refused(*(start + b"[" * depth + b"]" * depth + b"}" for depth in (33, 400)))
