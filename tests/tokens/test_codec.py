"""What leaves the codec: claims and our own errors, which hold nothing of the token."""

from __future__ import annotations

import copy
import hashlib
import hmac
import itertools
import json
import traceback
from collections.abc import Iterable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from flask_authx import JWTDecodeError, TokenError, TokenInvalidSignatureError
from flask_authx.tokens.codec import Codec
from tests.support import (
    NOW,
    OTHER_SECRET,
    SECRET,
    access_token,
    b64,
    bearer,
    codecs,
    ec_key,
    ed25519_key,
    forge,
    make_app,
    parts,
    private_key_for,
    public_pem,
    rsa_key,
    unb64,
)
from tests.support.answers import OK, REVOKED, ask, outcome
from tests.support.codecs import claims_of, header_of, make_codec, token_of
from tests.support.corpus import by_repr, check_all
from tests.support.properties import fixed, scalar_values


def refused(codec: Codec, token: str) -> JWTDecodeError:
    """The error of ours that refuses the token; nothing in its chain holds any of the token."""
    caught = codecs.refused(codec, token)
    pieces = [piece for piece in token.split(".") if len(piece) > 8]
    error: BaseException | None = caught
    while error is not None:
        shown = f"{error!r} {error} {error.args}"
        assert not any(piece in shown for piece in pieces)
        assert isinstance(error, TokenError)
        error = error.__cause__ or error.__context__
    assert "PyJWT" not in "".join(traceback.format_exception_only(caught))
    return caught


def all_refused(codec: Codec, tokens: Iterable[str]) -> None:
    """One codec refuses them all: it keeps nothing of what it refuses."""
    check_all(by_repr(tokens), lambda token: refused(codec, token))


def signed(codec: Codec, **header: Any) -> str:
    """A token with these header parameters, signed with the codec's own key by PyJWT."""
    key = codec.keys.current
    members = {**header_of(codec), **header}
    return jwt.encode(claims_of(), key.signing, key.algorithm, headers=members)  # type: ignore[arg-type]  # a key of any kind, as the case wants


def test_no_spelling_of_none_is_an_algorithm() -> None:
    """SECURITY A.1 1, 2, 3, USERS 15."""
    codec = make_codec()
    tokens: list[str] = []
    for alg in ("none", "None", "NONE", "nOnE", "noNE", " none", "none\0", "hs256"):
        token = token_of(codec, header=header_of(codec, alg=alg))
        text, _, _ = token.rpartition(".")
        # With a signature, with an empty one, and without.
        tokens += [token, f"{text}.", text]
    all_refused(codec, tokens)


NO_ALGORITHMS: list[Any] = [
    *(..., None, "", 5, True, ["HS256"], {"a": 1}, "HS256 ", "HS384", "HS512", "RS256"),
]


def test_the_algorithm_must_be_the_keys_own() -> None:
    """SECURITY A.1 4, 12."""
    codec = make_codec()
    headers = [header_of(codec, alg=alg) for alg in NO_ALGORITHMS]
    all_refused(codec, [token_of(codec, header=header) for header in headers])


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_the_public_key_is_no_secret(algorithm: str) -> None:
    """SECURITY A.1 6, 7, 21, 22, USERS 16."""
    pem = public_pem(private_key_for(algorithm))
    codec = make_codec(ALGORITHM=algorithm, PUBLIC_KEY=pem)
    for secret in (pem, pem.strip(), pem.replace("\n", "\r\n"), "".join(pem.splitlines()[1:-1])):
        for alg in ("HS256", algorithm):
            header = header_of(codec, alg=alg)
            refused(codec, token_of(codec, header=header, secret=secret))


RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


def test_one_rsa_key_has_one_algorithm() -> None:
    """SECURITY A.1 12, 13, 14."""
    verifiers = {
        name: make_codec(ALGORITHM=name, PRIVATE_KEY=rsa_key(), KEY_ID="k")
        for name in RSA_ALGORITHMS
    }
    tokens = {name: signed(codec) for name, codec in verifiers.items()}

    def check(case: tuple[str, str]) -> None:
        own, other = case
        codec, token = verifiers[own], tokens[other]
        if own == other:
            assert codec.decode(token, NOW).sub == "ann"
            return
        refused(codec, token)
        # And with the name of the key's own algorithm over it.
        header = {**parts(token)[0], "alg": own}
        refused(codec, ".".join([b64(json.dumps(header).encode()), *token.split(".")[1:]]))

    check_all(by_repr(itertools.product(RSA_ALGORITHMS, RSA_ALGORITHMS)), check)


def test_ed25519_by_its_new_name_is_another_algorithm() -> None:
    """SECURITY A.1 16."""
    codec = make_codec(ALGORITHM="EdDSA", PRIVATE_KEY=ed25519_key())
    header = b64(json.dumps(header_of(codec, alg="Ed25519")).encode())
    payload = b64(json.dumps(claims_of()).encode())
    signature = b64(ed25519_key().sign(f"{header}.{payload}".encode()))
    refused(codec, f"{header}.{payload}.{signature}")


ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def with_signature(token: str, signature: bytes) -> str:
    return token.rpartition(".")[0] + "." + b64(signature)


def test_an_invalid_ecdsa_signature_is_refused() -> None:
    """SECURITY A.1 17, 19."""
    codec = make_codec(ALGORITHM="ES256", PRIVATE_KEY=ec_key())
    token = signed(codec)
    valid = parts(token)[2]
    r, s = valid[:32], valid[32:]
    zero, order = bytes(32), ORDER.to_bytes(32, "big")
    signatures = [
        *(zero + zero, order + s, r + order, order + order, zero + s, r + zero, b"\xff" * 64),
        *(valid + b"\0", b"\0" + valid, valid[:-1], valid[1:], s + r, valid + valid),
        b"\0" + r + b"\0" + s,
        # In DER.
        ec_key().sign(token.rpartition(".")[0].encode(), ec.ECDSA(hashes.SHA256())),
    ]
    all_refused(codec, [with_signature(token, signature) for signature in signatures])


def test_the_twin_of_an_ecdsa_signature_is_the_same_token() -> None:
    """SECURITY A.1 18, USERS 35: so a revocation goes by the jti and not by the text."""
    app, authx = make_app(ALGORITHM="ES256", PRIVATE_KEY=ec_key())
    revoked: set[str] = set()

    @authx.token_blocklist
    def is_revoked(token: str, claims: dict[str, Any]) -> bool:
        return claims["jti"] in revoked

    token = access_token(app, authx)
    signature = parts(token)[2]
    s = int.from_bytes(signature[32:], "big")
    twin = with_signature(token, signature[:32] + (ORDER - s).to_bytes(32, "big"))
    with app.app_context():
        assert authx.decode_token(twin).jti == authx.decode_token(token).jti
    assert twin != token
    assert outcome(ask(app, headers=bearer(twin))) == OK
    revoked.add(parts(token)[1]["jti"])
    for spelling in (token, twin):
        assert outcome(ask(app, headers=bearer(spelling))) == REVOKED


def test_text_that_is_no_jws_is_refused() -> None:
    """SECURITY A.1 5, 23, 24, 25, A.3 50, 56."""
    codec = make_codec()
    token = token_of(codec)
    header, payload, signature = token.split(".")
    jwe = b64(json.dumps({"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2**31}).encode())
    texts = [
        *("", ".", "..", "...", "a", "a.b", ".b.c", "a.b.", "a..c", header, f"{header}.{payload}"),
        *(f"{token}.{signature}", f"{token}.a.b", f"{token}.", f".{token}", f"{jwe}.a.b.c.d"),
        json.dumps({"payload": payload, "protected": header, "signature": signature}),
        *(token_of(codec, token.encode()), f"{header}.{payload}.", f"{header}..{signature}"),
    ]
    all_refused(codec, texts)


def test_a_changed_signature_is_refused() -> None:
    """SECURITY A.3 49, 51, 52, 53, 54, 66."""
    codec = make_codec()
    token = token_of(codec)
    other = token_of(codec, secret=OTHER_SECRET)
    assert type(refused(codec, other)) is TokenInvalidSignatureError
    # The same bytes, with unused bits of the last character set.
    odd = token[:-1] + chr(ord(token[-1]) + 1)
    assert parts(odd)[2] == parts(token)[2]
    texts = [token[:-1], token + "A", odd, with_signature(token, parts(other)[2])]
    ends = ("=", "==", "===", "====", "!!!!", " ", "\n", "\0", "%0A", "\r")
    texts += [token + end for end in ends]
    texts += [" " + token, "\n" + token, token.replace(".", " ."), token.replace(".", "?.")]
    texts += [token.replace("_", "/").replace("-", "+")] * ("_" in token or "-" in token)
    all_refused(codec, texts)


@pytest.mark.parametrize("position", [0, 1])
def test_a_segment_with_unused_bits_set_is_refused_even_when_it_is_signed(position: int) -> None:
    """SECURITY A.3 53."""
    codec = make_codec()
    # Lengths of 3n + 1 bytes leave four bits of the last character unused.
    header = json.dumps(header_of(codec)).encode()
    payload = json.dumps(claims_of()).encode()
    texts = [b64(data + b" " * ((1 - len(data)) % 3)) for data in (header, payload)]
    assert codec.decode(_signed_text(*texts), NOW).sub == "ann"
    odd = texts[position][:-1] + chr(ord(texts[position][-1]) + 1)
    assert unb64(odd) == unb64(texts[position])
    texts[position] = odd
    refused(codec, _signed_text(*texts))


def _signed_text(header: str, payload: str) -> str:
    mac = hmac.new(SECRET.encode(), f"{header}.{payload}".encode(), hashlib.sha256).digest()
    return f"{header}.{payload}.{b64(mac)}"


def test_text_that_no_header_can_hold_is_refused() -> None:
    """SECURITY A.3 63, A.15 293."""
    texts = ("\ud800", "é.é.é", "a.b.\ud800", "😀", "\0.\0.\0", "٣.٣.٣", "a.b.c\u2028")
    all_refused(make_codec(), texts)


def test_the_length_comes_first() -> None:
    """SECURITY A.3 57, A.6 109."""
    codec = make_codec(MAX_TOKEN_LENGTH=1_000)
    assert codec.decode(token_of(codec, claims_of(x="a" * 200)), NOW)
    for token in ("." * 1_000_000, "a" * 1_000_001, token_of(codec, claims_of(x="a" * 1_000))):
        refused(codec, token)


#: Of the properties: what they refuse leaves nothing behind, so one codec serves all examples.
CODEC = make_codec()


@fixed
@given(st.text(scalar_values, max_size=300))
def test_any_text_is_refused_by_an_error_of_ours(token: str) -> None:
    """SECURITY A.15 293, A.19 1."""
    refused(CODEC, token)


@given(header=st.binary(max_size=200), payload=st.binary(max_size=200))
def test_any_signed_bytes_are_refused_by_an_error_of_ours(header: bytes, payload: bytes) -> None:
    """SECURITY A.15 293, A.19 1."""
    refused(CODEC, forge(header, claims_of()))
    refused(CODEC, forge(header_of(CODEC), payload))


def test_use_leaves_pyjwt_and_the_keys_as_they_were() -> None:
    """SECURITY A.14 277, A.19 9."""
    codec = make_codec()
    key, by_kid = codec.keys.current, dict(codec.keys.by_kid)
    options = copy.deepcopy(jwt.PyJWS().options)
    algorithms = jwt.get_algorithm_by_name, sorted(jwt.PyJWS().get_algorithms())
    headers: dict[str, Any] = {"typ": "at+jwt"}
    payload = claims_of()
    token = codec.encode(payload, headers, foreign=True)
    for number in range(200):
        codec.decode(token_of(codec, claims_of(jti=f"{number}")), NOW)
        refused(codec, token[:-2])
    assert (headers, payload) == ({"typ": "at+jwt"}, claims_of())
    assert (codec.keys.current, codec.keys.by_kid) == (key, by_kid)
    assert jwt.PyJWS().options == options
    assert (jwt.get_algorithm_by_name, sorted(jwt.PyJWS().get_algorithms())) == algorithms
