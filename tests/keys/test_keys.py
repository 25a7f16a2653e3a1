"""Keys that don't fit are refused at ``init_app``, with the setting's name and what to do."""

from __future__ import annotations

import base64
import itertools
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519

from flask_authx import BadConfigurationError
from flask_authx.enums import Algorithm
from flask_authx.settings.reading import read_settings
from tests.support import (
    SECRET,
    ec_key,
    ed25519_key,
    make_app,
    private_key_for,
    private_pem,
    public_pem,
    rsa_key,
)
from tests.support.certificates import certificate
from tests.support.codecs import make_codec
from tests.support.corpus import by_repr, check_all

ASYMMETRIC = [one.value for one in Algorithm if not one.symmetric]
PRIVATE_KEYS: dict[str, Callable[[], Any]] = {
    "RSA": rsa_key,
    "P-256": lambda: ec_key("P-256"),
    "P-384": lambda: ec_key("P-384"),
    "P-521": lambda: ec_key("P-521"),
    "secp256k1": lambda: ec_key("secp256k1"),
    "Ed25519": ed25519_key,
    "Ed448": ed448.Ed448PrivateKey.generate,
    "X25519": x25519.X25519PrivateKey.generate,
}
FITTING = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}


def refusal(**config: Any) -> str:
    """What a developer with these settings is told."""
    try:
        make_app(**config)
    except BadConfigurationError as error:
        return str(error)
    pytest.fail(f"sent {config}, came an app, expected BadConfigurationError")


def test_a_key_of_the_wrong_kind_or_curve_is_refused() -> None:
    """SECURITY A.1 15, 16, A.14 253."""
    keys = {kind: make() for kind, make in PRIVATE_KEYS.items()}

    def check(case: tuple[str, str]) -> None:
        algorithm, kind = case
        key = keys[kind]
        if kind == FITTING.get(algorithm, "RSA"):
            make_app(ALGORITHM=algorithm, PRIVATE_KEY=key)
            return
        for setting, value in (
            ("PRIVATE_KEY", key),
            ("PRIVATE_KEY", private_pem(key)),
            ("PUBLIC_KEY", key.public_key()),
            ("PUBLIC_KEY", public_pem(key)),
        ):
            message = refusal(ALGORITHM=algorithm, **{setting: value})
            assert message.startswith(f"JWT_{setting}: {algorithm} needs a ")

    check_all(by_repr(itertools.product(ASYMMETRIC, PRIVATE_KEYS)), check)


def test_the_wrong_half_of_a_pair_is_refused() -> None:
    """SECURITY A.14 254."""

    def check(algorithm: str) -> None:
        key = private_key_for(algorithm)
        message = refusal(ALGORITHM=algorithm, PRIVATE_KEY=key.public_key())
        assert message.startswith(f"JWT_PRIVATE_KEY: {algorithm} needs a private ")
        message = refusal(ALGORITHM=algorithm, PUBLIC_KEY=key)
        assert message.startswith(f"JWT_PUBLIC_KEY: {algorithm} needs a public ")
        private = private_pem(key)
        assert refusal(ALGORITHM=algorithm, PRIVATE_KEY=public_pem(key)) == (
            "JWT_PRIVATE_KEY: it is a public key, which can't sign; set the private key here."
        )
        assert refusal(ALGORITHM=algorithm, PUBLIC_KEY=private) == (
            "JWT_PUBLIC_KEY: it is a private key; set its public half here."
        )
        assert refusal(ALGORITHM=algorithm, PREVIOUS_PUBLIC_KEY=private, PRIVATE_KEY=key) == (
            "JWT_PREVIOUS_PUBLIC_KEY: it is a private key; set its public half here."
        )

    check_all(by_repr(ASYMMETRIC), check)


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "PS384"])
def test_a_short_rsa_key_is_refused(algorithm: str) -> None:
    """SECURITY A.14 253; RFC 7518 section 3.3."""
    key = rsa_key(1024)
    for config in ({"PRIVATE_KEY": key}, {"PUBLIC_KEY": public_pem(key)}):
        message = refusal(ALGORITHM=algorithm, **config)
        assert "an RSA key must have 2048 to 8192 bits, and this one has 1024" in message


def modulus(bits: int) -> int:
    # There is no private key for it; a public one of this size is all that is needed.
    return (1 << (bits - 1)) | (rsa_key().public_key().public_numbers().n << 1) | 1


def test_a_huge_rsa_key_is_refused() -> None:
    """SECURITY A.6 117."""
    key = rsa.RSAPublicNumbers(e=65537, n=modulus(8208)).public_key()
    message = refusal(ALGORITHM="RS256", PUBLIC_KEY=key)
    assert "an RSA key must have 2048 to 8192 bits, and this one has 8208" in message


def test_a_huge_rsa_exponent_is_refused() -> None:
    """SECURITY A.6 117."""
    n = rsa_key().public_key().public_numbers().n
    key = rsa.RSAPublicNumbers(e=2**32 + 1, n=n).public_key()
    message = refusal(ALGORITHM="RS256", PUBLIC_KEY=key)
    assert message.startswith("JWT_PUBLIC_KEY: an RSA key's exponent must lie between 3 and ")


def exponent_one() -> str:
    # cryptography makes no such key, so it is written by hand.
    n = rsa_key().public_key().public_numbers().n
    spki = (
        rsa.RSAPublicNumbers(e=3, n=n)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert spki.endswith(b"\x02\x01\x03")
    text = base64.encodebytes(spki[:-1] + b"\x01").decode()
    return f"-----BEGIN PUBLIC KEY-----\n{text}-----END PUBLIC KEY-----\n"


def test_an_rsa_exponent_of_one_is_refused() -> None:
    """SECURITY A.14 253: with it everything is its own signature."""
    message = refusal(ALGORITHM="RS256", PUBLIC_KEY=exponent_one())
    assert message.startswith("JWT_PUBLIC_KEY: ")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_an_encrypted_key_is_refused(algorithm: str) -> None:
    pem = private_key_for(algorithm).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    assert refusal(ALGORITHM=algorithm, PRIVATE_KEY=pem) == (
        "JWT_PRIVATE_KEY: it is encrypted with a password; decrypt it first."
    )


@pytest.mark.parametrize("setting", ["PRIVATE_KEY", "PUBLIC_KEY"])
@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_a_certificate_is_refused(encoding: serialization.Encoding, setting: str) -> None:
    data = certificate(ec_key()).public_bytes(encoding)
    message = refusal(ALGORITHM="ES256", **{setting: data})
    assert message.startswith(f"JWT_{setting}: it is not a PEM key; set PEM text or bytes")


NO_KEYS: list[object] = [
    *("", "key.pem", b"\0\xff", "\ud800", 5, 5.0, True, ["a"], {"kty": "RSA"}, object()),
]


def test_a_value_that_is_no_key_is_refused() -> None:
    def check(case: tuple[str, object]) -> None:
        setting, value = case
        message = refusal(ALGORITHM="RS256", **{setting: value})
        assert message.startswith(f"JWT_{setting}: ")

    check_all(by_repr(itertools.product(("PRIVATE_KEY", "PUBLIC_KEY"), NO_KEYS)), check)


def test_a_value_that_is_no_secret_is_refused() -> None:
    def check(value: object) -> None:
        assert refusal(SECRET_KEY=value).startswith(
            "JWT_SECRET_KEY: set it to text, bytes, or a pathlib.Path to a file;"
        )

    check_all(by_repr([5, 5.0, True, ["a"], {"kty": "oct"}, object()]), check)


def test_a_pem_with_spelled_out_line_ends_is_refused_with_that_reason() -> None:
    pem = private_pem(ec_key()).replace("\n", "\\n")
    assert "it has the text \\n in place" in refusal(ALGORITHM="ES256", PRIVATE_KEY=pem)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_halves_of_two_pairs_are_refused(algorithm: str) -> None:
    other: Any = {
        "RS256": lambda: rsa_key(3072),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }[algorithm]()
    assert refusal(
        ALGORITHM=algorithm, PRIVATE_KEY=private_key_for(algorithm), PUBLIC_KEY=public_pem(other)
    ) == (
        "JWT_PUBLIC_KEY is not the public half of JWT_PRIVATE_KEY: "
        "remove it, or move it to JWT_PREVIOUS_PUBLIC_KEY."
    )


@pytest.mark.parametrize(
    ("setting", "algorithm"),
    [
        ("SECRET_KEY", "HS256"),
        ("PREVIOUS_SECRET_KEY", "HS256"),
        ("PRIVATE_KEY", "RS256"),
        ("PUBLIC_KEY", "EdDSA"),
        ("PREVIOUS_PUBLIC_KEY", "ES256"),
    ],
)
def test_a_path_that_cannot_be_read_is_refused(
    setting: str, algorithm: str, tmp_path: Path
) -> None:
    current: dict[str, Any] = {}
    if setting.startswith("PREVIOUS"):
        current = {"SECRET_KEY": SECRET}
        if algorithm != "HS256":
            current = {"PRIVATE_KEY": private_key_for(algorithm)}
    for path in (tmp_path / "missing.pem", tmp_path):
        message = refusal(ALGORITHM=algorithm, **{**current, setting: path})
        assert message.startswith(f"JWT_{setting}: can't read {path}: ")


def test_a_secret_for_an_asymmetric_algorithm_is_refused() -> None:
    """SECURITY A.1 11."""

    def check(algorithm: str) -> None:
        for config in ({}, {"PRIVATE_KEY": private_key_for(algorithm)}):
            message = refusal(ALGORITHM=algorithm, SECRET_KEY=SECRET, **config)
            assert message.startswith(f"JWT_SECRET_KEY is set and JWT_ALGORITHM is {algorithm}")

    check_all(by_repr(ASYMMETRIC), check)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_key_for_hmac_is_refused(algorithm: str) -> None:
    """SECURITY A.1 11."""
    for setting in ("PRIVATE_KEY", "PUBLIC_KEY"):
        for config in ({}, {"SECRET_KEY": SECRET}):
            message = refusal(ALGORITHM=algorithm, **{setting: ed25519_key()}, **config)
            assert message.startswith(f"JWT_{setting} is set and JWT_ALGORITHM is {algorithm}")


def test_no_key_at_all_is_refused() -> None:
    def check(algorithm: str) -> None:
        assert refusal(ALGORITHM=algorithm, PRIVATE_KEY=None) == (
            f"JWT_PRIVATE_KEY is not set and JWT_ALGORITHM is {algorithm}: set it to create "
            "tokens, or JWT_PUBLIC_KEY to verify them only."
        )

    check_all(by_repr(ASYMMETRIC), check)


def test_an_unknown_algorithm_is_refused() -> None:
    """SECURITY A.1 15, 26."""

    def check(name: str) -> None:
        message = refusal(ALGORITHM=name)
        assert message.startswith("JWT_ALGORITHM: choose from HS256, HS384, ")

    check_all(
        by_repr(["none", "None", "NONE", "", " ", "hs256", "ES521", "RS1", "HS1"]),
        check,
    )


@pytest.mark.parametrize("names", [["RS256", "HS256"], "HS256,RS256", ["none"], ["HS256", "none"]])
def test_a_list_of_algorithms_that_no_key_has_is_refused(names: object) -> None:
    """SECURITY A.1 11: one key, one algorithm."""
    for config in ({"SECRET_KEY": SECRET}, {"ALGORITHM": "RS256", "PRIVATE_KEY": rsa_key()}):
        assert refusal(**config, DECODE_ALGORITHMS=names).startswith("JWT_DECODE_ALGORITHMS")


def test_all_problems_with_keys_are_reported_together() -> None:
    with pytest.raises(BadConfigurationError) as caught:
        make_app(SECRET_KEY="short", PREVIOUS_SECRET_KEY="shorter", HEADER_NAMES="x")
    assert [problem.split(":")[0].split(" ")[0] for problem in caught.value.problems] == [
        "JWT_HEADER_NAMES",
        "JWT_SECRET_KEY",
        "JWT_PREVIOUS_SECRET_KEY",
    ]


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
def test_no_repr_shows_key_material(algorithm: str) -> None:
    """SECURITY A.16 297."""
    if algorithm == "HS256":
        values: dict[str, Any] = {"SECRET_KEY": SECRET, "PREVIOUS_SECRET_KEY": SECRET[::-1]}
    else:
        pem = private_pem(private_key_for(algorithm))
        values = {"PRIVATE_KEY": pem, "PUBLIC_KEY": public_pem(private_key_for(algorithm))}
    codec = make_codec(ALGORITHM=algorithm, **values)
    settings, _ = read_settings({f"JWT_{name}": value for name, value in values.items()})
    key = codec.keys.current
    shown = repr(key) + repr(codec.keys) + str(codec.keys) + repr(settings) + repr(codec)
    assert key.kid in shown
    for value in values.values():
        for piece in str(value).splitlines():
            assert piece[:20] not in shown
    assert key.derived is not None
    assert repr(key.derived) not in shown


@pytest.mark.slow
def test_an_app_without_cryptography_is_told_what_to_install() -> None:
    program = """
        import sys
        sys.modules["cryptography"] = None  # an import of it fails
        from flask import Flask
        from flask_authx import AuthX, BadConfigurationError
        app = Flask("tests")
        app.config["JWT_SECRET_KEY"] = sys.argv[1]
        AuthX(app)
        for algorithm in ("RS256", "PS256", "ES256", "EdDSA"):
            app = Flask("tests")
            app.config["JWT_ALGORITHM"] = algorithm
            app.config["JWT_PRIVATE_KEY"] = "-----BEGIN PRIVATE KEY-----"
            try:
                AuthX(app)
            except BadConfigurationError as error:
                print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), SECRET],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == [
        f"{algorithm} needs the package cryptography: pip install flask-authx[crypto]"
        for algorithm in ("RS256", "PS256", "ES256", "EdDSA")
    ]
