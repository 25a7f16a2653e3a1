"""What the tests share: a clock that can be set, keys of all kinds, tokens nobody would mint."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from flask import Flask

from flask_authx import AuthX, current_token

ROOT = Path(__file__).parents[2]
#: Fixed, so that a failing test can be repeated; random, so that it passes as a secret.
SECRET = "q8V1mZ0sR4xK7tN2bY9wE5uH3cJ6fL1aP0dG8kQ4rT7vX2zM5nB9hS3yW6eU1iO_"
OTHER_SECRET = "Zt5Yk2Wq9Xr4Vb7Nc1Mh8Jg3Lf6Kd0Sa5Pu2Io9Ye4Tr7Ew1Qz8Xm3Cv6Bn0_Hj"
NOW = 1_800_000_000.0


@dataclass
class Clock:
    """A clock for ``AuthX(clock=...)`` that stands still until it is moved."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def make_app(
    *, clock: Clock | None = None, name: str = "authx", **config: Any
) -> tuple[Flask, AuthX]:
    """An app with ``AuthX`` on it, a guarded view ``/guarded`` and an optional one ``/optional``.

    The settings are given without their ``JWT_``; a secret is set unless there is a key.
    """
    app = Flask("tests")
    prefix = "JWT_" if name == "authx" else f"{name.upper()}_JWT_"
    if not {"SECRET_KEY", "PRIVATE_KEY", "PUBLIC_KEY"} & config.keys():
        config["SECRET_KEY"] = SECRET
    for key, value in config.items():
        app.config[prefix + key] = value
    authx = AuthX(app, name=name, clock=clock or Clock())

    @app.route("/guarded", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    @authx.token_required
    def guarded() -> dict[str, str]:
        return {"sub": current_token.sub}

    @app.route("/optional", methods=["GET", "POST"])
    @authx.optional_token
    def optional() -> dict[str, str | None]:
        return {"sub": current_token.sub if current_token else None}

    return app, authx


def access_token(app: Flask, authx: AuthX, uid: str = "ann", **kwargs: Any) -> str:
    """An access token, minted outside of a request."""
    with app.app_context():
        return authx.create_access_token(uid, **kwargs)


def refresh_token(app: Flask, authx: AuthX, uid: str = "ann", **kwargs: Any) -> str:
    """A refresh token, minted outside of a request."""
    with app.app_context():
        return authx.create_refresh_token(uid, **kwargs)


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The reverse."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Header, claims and signature of a token, unverified."""
    header, payload, signature = token.split(".")
    return json.loads(unb64(header)), json.loads(unb64(payload)), unb64(signature)


def forge(
    header: bytes | dict[str, Any], payload: bytes | dict[str, Any], secret: str | bytes = SECRET
) -> str:
    """A token with this very header and payload and a good HS256 signature over them."""
    segments = [
        b64(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, payload)
    ]
    key = secret.encode() if isinstance(secret, str) else secret
    signature = hmac.new(key, ".".join(segments).encode(), hashlib.sha256).digest()
    return ".".join([*segments, b64(signature)])


def reforge(token: str, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A minted HS256 token with some of its header and claims replaced and signed anew.

    A value of ``...`` takes the member away.
    """
    old_header, old_claims, _ = parts(token)
    new_header = {k: v for k, v in {**old_header, **(header or {})}.items() if v is not ...}
    new_claims = {k: v for k, v in {**old_claims, **claims}.items() if v is not ...}
    return forge(new_header, new_claims)


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key, the same one each time."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def ec_key(curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    """An EC key, the same one each time."""
    curves: dict[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
        "secp256k1": ec.SECP256K1(),
    }
    return ec.generate_private_key(curves[curve])


@functools.cache
def ed25519_key() -> ed25519.Ed25519PrivateKey:
    """An Ed25519 key, the same one each time."""
    return ed25519.Ed25519PrivateKey.generate()


def private_key_for(algorithm: str) -> Any:
    """A private key that fits an asymmetric algorithm."""
    curves = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
    if algorithm in curves:
        return ec_key(curves[algorithm])
    return ed25519_key() if algorithm == "EdDSA" else rsa_key()


def private_pem(key: Any) -> str:
    """A private key as PKCS 8 in PEM."""
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem.decode()


def public_pem(key: Any) -> str:
    """The public half as SPKI in PEM."""
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode()
