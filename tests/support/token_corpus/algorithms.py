"""Tokens of SECURITY.md A.1, by the number of the row."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.support import b64, ec_key, forge, parts, private_key_for, public_pem, rsa_key

from .making import InvalidToken, header, payload, segments, valid

_ALGORITHMS: tuple[Any, ...] = (
    *(" none", "none ", "none\0", "hs256", "HS256 ", "HS384", "HS512", "Ed25519"),
    *(..., None, "", 5, ["HS256"], {"a": 1}, True),
)


def algorithms() -> Iterator[InvalidToken]:
    """A.1: another algorithm than the key's, or a key that is none of ours."""
    # SECURITY A.1 1, 2
    for name in ("none", "None", "NONE", "nOnE", "noNE"):
        yield InvalidToken(f"1-2 {name} unsigned", partial(_unsigned, name))
        yield InvalidToken(f"2 {name} signed", header(alg=name))
    # SECURITY A.1 3, 4
    for number, alg in enumerate(_ALGORITHMS):
        yield InvalidToken(f"3-4 alg {number}", header(alg=alg))
    # SECURITY A.1 5
    yield InvalidToken("5 two segments", lambda: header(alg="none")().rpartition(".")[0])
    # SECURITY A.1 6, 7, 8, 9
    for name, disguise in _disguises():
        yield InvalidToken(
            f"6-9 {name}",
            partial(_confused, "RS256", disguise),
            "RS256",
        )
    # SECURITY A.1 12, 13
    for name in ("RS384", "RS512", "PS256", "ES256", "EdDSA", "none"):
        yield InvalidToken(f"12-13 {name}", partial(_rsa, {"alg": name}), "RS256")
    # SECURITY A.1 13
    yield InvalidToken("13 PSS under RS256", lambda: _rsa({}, pss=True), "RS256")
    # SECURITY A.1 20
    yield InvalidToken("20 SHA-512 under RS256", lambda: _rsa({}, sha=hashes.SHA512()), "RS256")
    # SECURITY A.1 15
    yield InvalidToken("15 another curve", lambda: _ecdsa(ec_key("P-384")), "ES256")
    yield InvalidToken("15 ES512 by name", lambda: _ecdsa(ec_key(), alg="ES512"), "ES256")
    # SECURITY A.1 16
    yield InvalidToken("16 Ed25519 by name", lambda: _renamed("EdDSA", "Ed25519"), "EdDSA")
    # SECURITY A.1 17
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for name, r, s in (("r=0 s=0", 0, 0), ("r=n", order, 1), ("s=n", 1, order), ("r=1 s=1", 1, 1)):
        raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        yield InvalidToken(f"17 {name}", partial(_with_signature, "ES256", raw), "ES256")
    yield InvalidToken(
        "17 too long", segments(lambda h, p, s: f"{h}.{p}.{s}AAAA", "ES256"), "ES256"
    )
    # SECURITY A.1 19
    yield InvalidToken("19 DER", lambda: _ecdsa(ec_key(), der=True), "ES256")
    # SECURITY A.1 21
    yield InvalidToken("21 the point as secret", partial(_confused, "ES256", _point), "ES256")
    # SECURITY A.1 23
    yield InvalidToken("23 JWE", lambda: ".".join([*valid().split("."), "AAAA", "AAAA"]))
    # SECURITY A.1 24
    yield InvalidToken(
        "24 JSON", segments(lambda h, p, s: json.dumps({"payload": p, "signature": s}))
    )
    # SECURITY A.1 25
    yield InvalidToken("25 nested", payload(lambda _: valid()))


def _unsigned(alg: str) -> str:
    return header(alg=alg)().rpartition(".")[0] + "."


def _with_signature(algorithm: str, signature: bytes) -> str:
    return f"{valid(algorithm).rpartition('.')[0]}.{b64(signature)}"


def _confused(algorithm: str, secret: Callable[[], str | bytes]) -> str:
    """A token of an app with key pairs, signed as if what is public were a secret."""
    old, claims, _ = parts(valid(algorithm))
    return forge({**old, "alg": "HS256"}, claims, secret())


def _point() -> bytes:
    form = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return ec_key().public_key().public_bytes(*form)


def _disguises() -> Iterator[tuple[str, Callable[[], str | bytes]]]:
    """SECURITY A.1 6, 7, 8, 9: the public key, in some spelling, as HMAC secret."""

    def pem() -> str:
        return public_pem(rsa_key())

    def der() -> bytes:
        spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return rsa_key().public_key().public_bytes(*spki)

    yield "PEM", pem
    yield "PEM CR", lambda: pem().replace("\n", "\r")
    yield "PEM CRLF", lambda: pem().replace("\n", "\r\n")
    yield "PEM stripped", lambda: pem().strip()
    yield "PEM one line", lambda: pem().replace("\n", "")
    yield "PEM lower case", lambda: pem().lower()
    yield "PEM UTF-16", lambda: pem().encode("utf-16")
    yield "DER", der
    yield "DER as latin-1", lambda: der().decode("latin-1")
    yield "DER in hex", lambda: der().hex()
    yield "DER in base64", lambda: base64.b64encode(der())
    yield "modulus", lambda: rsa_key().public_key().public_numbers().n.to_bytes(256, "big")


def _rsa(
    changed: dict[str, Any], *, pss: bool = False, sha: hashes.HashAlgorithm | None = None
) -> str:
    header, claims, _ = parts(valid("RS256"))
    text = ".".join(b64(json.dumps(one).encode()) for one in ({**header, **changed}, claims))
    sha = sha or hashes.SHA256()
    pad = padding.PSS(padding.MGF1(sha), 32) if pss else padding.PKCS1v15()
    return f"{text}.{b64(rsa_key().sign(text.encode(), pad, sha))}"


def _ecdsa(key: ec.EllipticCurvePrivateKey, *, alg: str = "ES256", der: bool = False) -> str:
    header, claims, _ = parts(valid("ES256"))
    text = ".".join(b64(json.dumps(one).encode()) for one in ({**header, "alg": alg}, claims))
    signature = key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    size = (key.key_size + 7) // 8
    raw = b"".join(one.to_bytes(size, "big") for one in decode_dss_signature(signature))
    return f"{text}.{b64(signature if der else raw)}"


def _renamed(algorithm: str, alg: str) -> str:
    header, claims, _ = parts(valid(algorithm))
    text = ".".join(b64(json.dumps(one).encode()) for one in ({**header, "alg": alg}, claims))
    signature = private_key_for(algorithm).sign(text.encode())
    return f"{text}.{b64(signature)}"
