"""Secrets and keys that everybody can look up are refused, however they are spelled."""

from __future__ import annotations

import base64
import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from flask_authx import BadConfigurationError
from flask_authx.enums import Algorithm
from flask_authx.keys.weak_secrets import problem_with
from tests.support import ROOT, b64, private_pem, public_pem, unb64
from tests.support.codecs import make_codec
from tests.support.corpus import check_all

#: In two halves each, so that a search of the tree finds none of them.
PUBLISHED = {
    "FastAPI": "09d25e094faa6ca2556c818166b7a956" + "3b93f7099f6f0f4caa6cf63b88e8d3e7",
    "Flask": "192b9bdd22ab9ed4d12e236c78afcb9a" + "393ec15f71bbf5dc987d54727823bcbf",
    "jwt.io": "a-string-secret-at-least" + "-256-bits-long",
    "RFC 7515 A.1": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T"
    "-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    "RFC 7520 3.5": "hJtXIZ2uSN5kbQfbtTNW" + "bpdmhkV8FJG-Onbc6mxCcYg",
    "Spring": "404E635266556A586E3272357538782F" + "413F4428472B4B6250645367566B5970",
    "Spring, lower case": "3cfa76ef14937c1c0ea519f8fc057a80" + "fcd04a7420f8e8bcd0a7567c272e007b",
    "Spring, 2": "5367566B59703373367639792F423F45" + "28482B4D6251655468576D5A71347437",
    "Spring, 3": "413F4428472B4B6250655368566D5970" + "337336763979244226452948404D6351",
    "Spring, 4": "586E3272357538782F413F4428472B4B" + "6250655368566B597033733676397924",
    "Spring, 5": "357638792F423F4428472B4B62506553" + "68566D597133743677397A2443264629",
    "Spring, 6": "daf66e01593f61a15b857cf433aae03a" + "005812b31234e149036bcc8dee755dbb",
    "Spring, no hexadecimal": "9a4f2c8d3b7a1e6f45c8a0b3f267d8b1d4e6f3c8a9d2b5f8e3a9c8b5f6v8a3d9",
    "Spring, BezKoder": "=" * 22 + "BezKoder=Spring" + "=" * 27,
    "Supabase": "super-secret-jwt-token-with" + "-at-least-32-characters-long",
    "Flask on YouTube": "5791628bb0b13ce0" + "c676dfde280ba245",
}


def spellings(secret: str) -> list[bytes]:
    """The secret as it is printed, and the bytes that it stands for in any form."""
    listed = [secret.encode()]
    if re.fullmatch("[0-9a-fA-F]{64}", secret):
        data = bytes.fromhex(secret)
        listed += [data, data.hex().encode(), data.hex().upper().encode(), data.hex(":").encode()]
        listed += [base64.b64encode(data), b64(data).encode(), base64.b64decode(secret)]
    elif "=" not in secret and "-secret" not in secret and len(secret) > 40:
        data = unb64(secret)
        listed += [data, data.hex().encode(), base64.b64encode(data), secret.encode() + b"="]
    return listed


def test_a_published_secret_is_refused() -> None:
    """SECURITY A.18 340."""

    def check(secret: str) -> None:
        for spelling in spellings(secret):
            if len(spelling) >= 32:
                problem = problem_with(spelling, Algorithm.HS256)
                assert problem is not None
                assert "published" in problem or "placeholder" in problem
            with pytest.raises(BadConfigurationError, match=r"^JWT_SECRET_KEY: .*generate-key"):
                make_codec(SECRET_KEY=spelling)

    check_all(PUBLISHED, check)


def test_neighbours_of_a_published_secret_are_accepted() -> None:
    for secret in (PUBLISHED["FastAPI"], PUBLISHED["RFC 7520 3.5"]):
        changed = secret[:10] + ("b" if secret[10] == "a" else "a") + secret[11:]
        assert problem_with(changed.encode(), Algorithm.HS256) is None


def test_the_tree_publishes_none_of_them() -> None:
    text = "\n".join(file.read_text() for file in (ROOT / "flask_authx").rglob("*.py"))
    assert [name for name, secret in PUBLISHED.items() if secret in text] == []


def test_a_published_key_pair_is_refused() -> None:
    """Of RFC 7515 A.3 and A.4, and RFC 8037 A.1."""
    d256 = "jpsQnnGQmL-YBIffH1136cs" + "pYG6-0iY7X1fCE9-E9LI"
    d521 = (
        "AY5pb7A0UFiB3RELSD64fTLOSV_jazdF7fLYyuTw8lOfRhWg6Y6rUrPAxerEzgdRhajnu0ferB0d53vM9mE15j2C"
    )
    seed = "nWGxne_9WmC6hEr0kuwsxER" + "JxWl7MmkZcDusAxyuf2A"
    pairs = {
        "ES256": ec.derive_private_key(int.from_bytes(unb64(d256)), ec.SECP256R1()),
        "ES512": ec.derive_private_key(int.from_bytes(unb64(d521)), ec.SECP521R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.from_private_bytes(unb64(seed)),
    }
    for algorithm, key in pairs.items():
        for setting, value in (
            ("PRIVATE_KEY", private_pem(key)),
            ("PUBLIC_KEY", public_pem(key)),
            ("PRIVATE_KEY", key),
        ):
            with pytest.raises(BadConfigurationError, match=f"^JWT_{setting}: .* was published"):
                make_codec(**{"ALGORITHM": algorithm, setting: value})
