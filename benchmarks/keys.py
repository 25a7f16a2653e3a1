"""Fresh keys for one algorithm, in the forms in which the contenders' documentation takes them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

_GENERATE: Mapping[str, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
#: The algorithms that there are keys for.
ALGORITHMS = ("HS256", *_GENERATE)


@dataclass(frozen=True)
class KeyPair:
    """The keys of one algorithm."""

    algorithm: str
    #: Key objects, or one secret in bytes for both: parsed once, as a careful program does.
    signing: Any
    verifying: Any
    #: For ``app.config``: PEM text or the secret, as the documentation of both extensions has it.
    config: Mapping[str, str]


def generate(algorithm: str) -> KeyPair:
    """Keys that nobody else has."""
    if algorithm not in _GENERATE:
        return shared(secrets.token_urlsafe(32), algorithm)
    private = _GENERATE[algorithm]()
    public = private.public_key()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    config = {
        "JWT_ALGORITHM": algorithm,
        "JWT_PRIVATE_KEY": pem.decode(),
        "JWT_PUBLIC_KEY": public_pem.decode(),
    }
    return KeyPair(algorithm, private, public, config)


def shared(secret: str, algorithm: str = "HS256") -> KeyPair:
    """The same key for both."""
    config = {"JWT_ALGORITHM": algorithm, "JWT_SECRET_KEY": secret}
    return KeyPair(algorithm, secret.encode(), secret.encode(), config)
