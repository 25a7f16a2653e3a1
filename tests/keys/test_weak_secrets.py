"""A public or private key is no HMAC secret, however it is spelled."""

from __future__ import annotations

import base64
import itertools
import json
import math
import random
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from flask_authx import BadConfigurationError
from flask_authx.enums import Algorithm
from flask_authx.keys.weak_secrets import problem_with
from tests.support import b64, ec_key, ed25519_key, private_pem, public_pem, rsa_key
from tests.support.certificates import certificate
from tests.support.codecs import make_codec
from tests.support.corpus import check_all

KEYS: dict[str, Callable[[], Any]] = {
    "RSA": rsa_key,
    "P-256": lambda: ec_key("P-256"),
    "P-384": lambda: ec_key("P-384"),
    "P-521": lambda: ec_key("P-521"),
    "Ed25519": ed25519_key,
}

Encoding = serialization.Encoding
Public = serialization.PublicFormat
Private = serialization.PrivateFormat


def spki(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(Encoding.DER, Public.SubjectPublicKeyInfo)
    return data


def pkcs8(key: Any) -> bytes:
    data: bytes = key.private_bytes(Encoding.DER, Private.PKCS8, serialization.NoEncryption())
    return data


def body(pem: str) -> str:
    return "\n".join(pem.splitlines()[1:-1])


def ssh(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(Encoding.OpenSSH, Public.OpenSSH)
    return data


def openssh_private(key: Any) -> bytes:
    data: bytes = key.private_bytes(Encoding.PEM, Private.OpenSSH, serialization.NoEncryption())
    return data


def jwk(key: Any) -> dict[str, str]:
    public = key.public_key()
    numbers = None if key is ed25519_key() else public.public_numbers()
    if numbers is None:
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
    if key is rsa_key():
        return {"kty": "RSA", "n": b64(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
    size = (key.curve.key_size + 7) // 8
    point = {name: b64(getattr(numbers, name).to_bytes(size, "big")) for name in ("x", "y")}
    return {"kty": "EC", "crv": f"P-{key.curve.key_size}", **point}


def colons(data: bytes) -> str:
    return data.hex(":").upper()


#: What can become of the PEM file of a key.
PEM_SPELLINGS: dict[str, Callable[[str], str | bytes]] = {
    "as published": lambda pem: pem,
    "bytes": lambda pem: pem.encode(),
    "CR": lambda pem: pem.replace("\n", "\r"),
    "CRLF": lambda pem: pem.replace("\n", "\r\n"),
    "blank line": lambda pem: pem.replace("\n", "\n\n", 1),
    "leading space": lambda pem: " " + pem,
    "leading line": lambda pem: "Subject: me\n" + pem,
    "indented": lambda pem: "\t" + pem.replace("\n", "\n\t"),
    "single line": lambda pem: pem.replace("\n", ""),
    "no line end at the end": lambda pem: pem.rstrip(),
    "BOM": lambda pem: "\ufeff" + pem,
    "escaped line ends": lambda pem: pem.replace("\n", "\\n"),
    "lower case": lambda pem: pem.lower(),
    "four dashes": lambda pem: pem.replace("-----", "----"),
    "four dashes and spaces": lambda pem: re.sub("-----(B|E)", r"---- \1", pem),
    "UTF-16": lambda pem: pem.encode("utf-16"),
    "UTF-16-LE": lambda pem: pem.encode("utf-16-le"),
    "UTF-16-BE": lambda pem: pem.encode("utf-16-be"),
    "UTF-32": lambda pem: pem.encode("utf-32"),
    "UTF-32-LE": lambda pem: pem.encode("utf-32-le"),
    "UTF-32-BE": lambda pem: pem.encode("utf-32-be"),
    "only the body": body,
    "only the body, CRLF": lambda pem: body(pem).replace("\n", "\r\n"),
    "only the body in one line": lambda pem: body(pem).replace("\n", ""),
    "only the body, no padding": lambda pem: body(pem).rstrip("="),
    "base64url body": lambda pem: b64(base64.b64decode(body(pem))),
    "base64 of all": lambda pem: base64.b64encode(pem.encode()).decode(),
    "hex of all": lambda pem: pem.encode().hex(),
    "in JSON": json.dumps,
}

#: Keys that aren't PEM.
OTHER_SPELLINGS: dict[str, Callable[[Any], str | bytes]] = {
    "SPKI": spki,
    "SPKI as Latin-1 text": lambda key: spki(key).decode("latin-1"),
    "SPKI in hex": lambda key: spki(key).hex(),
    "SPKI in upper-case hex": lambda key: spki(key).hex().upper(),
    "SPKI in hex with colons": lambda key: colons(spki(key)),
    "SPKI in hex by lines": lambda key: "\n".join(re.findall(".{1,60}", spki(key).hex())),
    "PKCS 8": pkcs8,
    "PKCS 8 as Latin-1 text": lambda key: pkcs8(key).decode("latin-1"),
    "PKCS 8 in base64url": lambda key: b64(pkcs8(key)),
    "OpenSSH, private": openssh_private,
    "SSH": ssh,
    "SSH with comment": lambda key: ssh(key) + b" ann@example.org\n",
    "SSH in base64": lambda key: base64.b64encode(ssh(key)),
    "certificate": lambda key: certificate(key).public_bytes(Encoding.DER),
    "certificate in PEM": lambda key: certificate(key).public_bytes(Encoding.PEM),
    "certificate's body": lambda key: body(certificate(key).public_bytes(Encoding.PEM).decode()),
    "JWK": lambda key: json.dumps(jwk(key)),
    "JWK over several lines": lambda key: json.dumps(jwk(key), indent=2),
    "JWK in UTF-16": lambda key: json.dumps(jwk(key)).encode("utf-16"),
    "JWK set": lambda key: json.dumps({"keys": [jwk(key)]}),
    "JWKs in a list": lambda key: json.dumps([jwk(key)]),
    "JWK with BOM": lambda key: "\ufeff" + json.dumps(jwk(key)),
    "JWK with escapes": lambda key: json.dumps(jwk(key)).replace("kty", "\\u006bty"),
    "base64 of JWK": lambda key: base64.b64encode(json.dumps(jwk(key)).encode()),
    "base64url of JWK set": lambda key: b64(json.dumps({"keys": [jwk(key)]}).encode()),
}

#: Keys as they are pasted from a terminal, a URL or a configuration.
PASTED_SPELLINGS: dict[str, Callable[[Any], str | bytes]] = {
    "SSH, the middle field": lambda key: ssh(key).split()[1],
    "SSH, the middle field's bytes": lambda key: base64.b64decode(ssh(key).split()[1]),
    "percent-encoded PEM": lambda key: urllib.parse.quote(public_pem(key)),
    "body in quotes": lambda key: '"' + body(public_pem(key)).replace("\n", "") + '"',
    "SPKI in hex after 0x": lambda key: "0x" + spki(key).hex(),
}


def assert_taken_for_a_key(secret: str | bytes) -> None:
    shown = secret if isinstance(secret, str) else secret.decode("latin-1")
    try:
        make_codec(SECRET_KEY=secret)
    except BadConfigurationError as error:
        message = str(error)
    else:
        message = "no refusal"
    expected = "JWT_SECRET_KEY: it is a public or private key"
    if not message.startswith(expected) or "flask authx generate-key" not in message:
        pytest.fail(f"sent {secret[:60]!r}, came {message!r}, expected {expected!r}")
    assert shown[:24] not in message


def test_a_pem_key_is_no_secret() -> None:
    """SECURITY A.1 6, 7, 9."""
    check_all(
        {
            f"{kind}, {half.__name__}, {spelling}": spell(half(make()))
            for (kind, make), half, (spelling, spell) in itertools.product(
                KEYS.items(), (public_pem, private_pem), PEM_SPELLINGS.items()
            )
        },
        assert_taken_for_a_key,
    )


def assert_all_taken_for_keys(spellings: dict[str, Callable[[Any], str | bytes]]) -> None:
    check_all(
        {
            f"{kind}, {spelling}": spell(make())
            for (kind, make), (spelling, spell) in itertools.product(
                KEYS.items(), spellings.items()
            )
        },
        assert_taken_for_a_key,
    )


def test_a_key_in_another_format_is_no_secret() -> None:
    """SECURITY A.1 8, 9, 10."""
    assert_all_taken_for_keys(OTHER_SPELLINGS)


def test_a_key_as_it_is_pasted_is_no_secret() -> None:
    """SECURITY A.1 9."""
    assert_all_taken_for_keys(PASTED_SPELLINGS)


def test_a_pkcs1_key_is_no_secret() -> None:
    """SECURITY A.1 8."""
    for encoding in (Encoding.PEM, Encoding.DER):
        public = rsa_key().public_key().public_bytes(encoding, Public.PKCS1)
        private = rsa_key().private_bytes(
            encoding, Private.TraditionalOpenSSL, serialization.NoEncryption()
        )
        for data in (public, private):
            for secret in (data, data.hex(), data.decode("latin-1")):
                assert_taken_for_a_key(secret)


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_an_ec_point_is_no_secret(curve: str) -> None:
    """SECURITY A.1 9, 21."""
    for form in (Public.UncompressedPoint, Public.CompressedPoint):
        point = ec_key(curve).public_key().public_bytes(Encoding.X962, form)
        for spelling in (point, point.hex(), colons(point), base64.b64encode(point), b64(point)):
            assert_taken_for_a_key(spelling)


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_an_ec_point_without_its_first_byte_is_no_secret(curve: str) -> None:
    """SECURITY A.1 9, 21."""
    point = ec_key(curve).public_key().public_bytes(Encoding.X962, Public.UncompressedPoint)
    for spelling in (point[1:], point[1:].hex(), b64(point[1:])):
        assert_taken_for_a_key(spelling)


@pytest.mark.parametrize("bits", [2048, 3072])
def test_an_rsa_modulus_is_no_secret(bits: int) -> None:
    """SECURITY A.1 9, 22."""
    n = rsa_key(bits).public_key().public_numbers().n
    data = n.to_bytes(bits // 8, "big")
    for spelling in (
        data,
        b"\0" + data,
        data.hex(),
        colons(b"\0" + data),
        f"{n:X}\n",
        base64.b64encode(data),
        b64(data),
        str(n),
    ):
        assert_taken_for_a_key(spelling)


#: From the smallest that is no longer than a random secret may be, with and without whole bytes.
SIZES = [521, 768, 1000, 1024, 1031, 1536, 2047, 2049, 2056, 4096, 5000, 8192, 16384]


def modulus(bits: int) -> int:
    """A number of that many bits without factors below 65,536, as of two primes.

    Primes of this size take minutes to find.
    """
    source = random.Random(bits)
    while True:
        number = source.getrandbits(bits) | 1 | 1 << (bits - 1)
        if math.gcd(number, PRIMORIAL) == 1:
            return number


PRIMORIAL = math.prod(
    n for n in range(3, 65_536, 2) if all(n % d for d in range(3, 257, 2) if d < n)
)


def is_modulus(data: bytes) -> bool:
    return math.gcd(int.from_bytes(data, "big"), PRIMORIAL) == 1


def decimal(number: int) -> str:
    """The digits of a number of any size: ``str`` refuses more than 4,300."""
    digits = ""
    while number:
        number, part = divmod(number, 10**4000)
        digits = (f"{part:04000d}" if number else str(part)) + digits
    return digits


@pytest.mark.parametrize("bits", SIZES)
def test_an_rsa_modulus_of_any_size_is_no_secret(bits: int) -> None:
    """SECURITY A.18 340."""
    n = modulus(bits)
    data = n.to_bytes((bits + 7) // 8, "big")
    for spelling in (data, b"\0" + data, data.hex(), f"{n:x}".encode(), base64.b64encode(data)):
        assert_taken_for_a_key(spelling)
    assert_taken_for_a_key(b64(data))
    assert_taken_for_a_key(decimal(n))


def der_integer(data: bytes) -> bytes:
    data = b"\0" + data
    size = len(data)
    if size < 128:
        return b"\2" + bytes([size]) + data
    length = size.to_bytes(1 if size < 256 else 2, "big")
    return b"\2" + bytes([0x80 + len(length)]) + length + data


#: How formats of keys put a number, with its length before it.
HEADERS: dict[str, Callable[[int, bytes], bytes]] = {
    "mpint": lambda _, data: (len(data) + 1).to_bytes(4, "big") + b"\0" + data,
    "INTEGER": lambda _, data: der_integer(data),
    "MPI": lambda n, data: n.bit_length().to_bytes(2, "big") + data,
}


@pytest.mark.parametrize("bits", [776, 1000, 1024, 1536, 2048, 3072, 4096])
@pytest.mark.parametrize("form", HEADERS)
def test_a_modulus_with_its_length_before_it_is_no_secret(form: str, bits: int) -> None:
    """SECURITY A.18 340."""
    n = modulus(bits)
    spelled = HEADERS[form](n, n.to_bytes(bits // 8, "big"))
    for spelling in (spelled, spelled.hex(), base64.b64encode(spelled), b64(spelled)):
        assert_taken_for_a_key(spelling)


@pytest.mark.parametrize("bits", [1024, 1536, 2048, 2560, 3072, 4096])
def test_a_modulus_with_its_last_byte_first_is_no_secret(bits: int) -> None:
    """SECURITY A.18 340: as Windows stores it."""
    data = modulus(bits).to_bytes(bits // 8, "little")
    for spelling in (data, data.hex(), base64.b64encode(data), b64(data)):
        assert_taken_for_a_key(spelling)


def test_dashes_in_base64url_are_part_of_the_modulus() -> None:
    dashes = b"\xfb\xef\xbe"
    start = b"abc" + dashes + b"def" + dashes + random.Random(1).randbytes(120)
    tail = next(n for n in range(1, 2**16, 2) if is_modulus(start + n.to_bytes(4, "big")))
    data = start + tail.to_bytes(4, "big")
    assert b64(data).startswith("YWJj----ZGVm----")
    assert_taken_for_a_key(b64(data))


@pytest.mark.parametrize("bits", [1024, 1200])
def test_the_modulus_of_a_real_key_is_no_secret(bits: int) -> None:
    n = rsa_key(bits).public_key().public_numbers().n
    for spelling in (n.to_bytes((bits + 7) // 8, "big"), f"{n:x}", str(n)):
        assert_taken_for_a_key(spelling)


@pytest.mark.parametrize("factor", [3, 5, 7, 251, 257, 65_521])
def test_a_number_with_a_small_factor_is_no_modulus(factor: int) -> None:
    """A secret may have the length of one."""
    n = rsa_key().public_key().public_numbers().n
    # A multiple of the factor that has all 2,048 bits, and whose last byte is an "a": odd, and no
    # blank or quote.
    number = -(-n // factor) * factor
    while number % 256 != ord("a"):
        number += factor
    assert problem_with(number.to_bytes(256, "big"), Algorithm.HS256) is None
    assert problem_with(n.to_bytes(256, "big"), Algorithm.HS256)


def test_der_with_a_line_end_is_no_secret() -> None:
    """SECURITY A.1 8: of an RSA key, whose last byte is never one that counts as blank."""
    assert_taken_for_a_key(spki(rsa_key()) + b"\n")


def test_an_rsa_modulus_as_tools_print_it_is_no_secret() -> None:
    """SECURITY A.1 9, 22."""
    n = rsa_key().public_key().public_numbers().n
    assert_taken_for_a_key(hex(n))
    assert_taken_for_a_key(f"Modulus={n:X}\n")
