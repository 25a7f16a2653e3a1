"""Asymmetric keys: loaded from PEM or new, checked for type and strength, as JWK, thumbprints.

Only this module imports ``cryptography``, and only when an asymmetric key is configured.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, TypeAlias

from flask_authx.enums import Algorithm
from flask_authx.errors import BadConfigurationError

from .published import is_published

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    PrivateKey: TypeAlias = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
    PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


def load(value: object, name: str, algorithm: Algorithm, *, private: bool) -> Any:
    """The key as an object of ``cryptography``, of the type and strength the algorithm needs.

    :param name: the name of the setting, for the message.
    :raises BadConfigurationError: if the value is no such key.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    except ModuleNotFoundError:
        raise _missing_package(algorithm) from None
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    key: object = value
    if isinstance(value, bytes):
        try:
            if private:
                key = serialization.load_pem_private_key(value, password=None)
            else:
                key = serialization.load_pem_public_key(value)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # TypeError: encrypted with a password. No cause is kept, since it may quote the key.
            raise BadConfigurationError(
                f"{name}: {_pem_problem(value, private=private)}."
            ) from None
    problem = _key_problem(key, algorithm, private=private)
    if problem:
        raise BadConfigurationError(f"{name}: {problem}.")
    public: Any = key
    if is_published(thumbprint(public.public_key() if private else public).encode()):
        raise BadConfigurationError(
            f"{name}: this key pair was published, in a tutorial or a specification: everybody can "
            f"sign with it; create one with `flask authx generate-key --algorithm {algorithm}`."
        )
    return key


def new_key_pair(algorithm: Algorithm) -> tuple[str, str]:
    """A new private key and its public half, as PEM (RFC 5958 and RFC 5280).

    :raises BadConfigurationError: if ``cryptography`` isn't installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    except ModuleNotFoundError:
        raise _missing_package(algorithm) from None
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    key: PrivateKey
    if algorithm in curves:
        key = ec.generate_private_key(curves[algorithm])
    elif algorithm is Algorithm.EDDSA:
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = rsa.generate_private_key(65537, 3072)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode("ascii"), public.decode("ascii")


def _missing_package(algorithm: Algorithm) -> BadConfigurationError:
    return BadConfigurationError(
        f"{algorithm} needs the package cryptography: pip install flask-authx[crypto]"
    )


def _pem_problem(pem: bytes, *, private: bool) -> str:
    if b"ENCRYPTED" in pem:
        return "it is encrypted with a password; decrypt it first"
    if private and b"PUBLIC KEY" in pem:
        return "it is a public key, which can't sign; set the private key here"
    if not private and b"PRIVATE KEY" in pem:
        return "it is a private key; set its public half here"
    if b"BEGIN" in pem and b"\\n" in pem:
        return "it has the text \\n in place of line breaks; replace them by real line breaks"
    return (
        "it is not a PEM key; set PEM text or bytes, a pathlib.Path to a PEM file, or a key object"
    )


def _key_problem(key: object, algorithm: Algorithm, *, private: bool) -> str | None:
    """The reason why the algorithm can't use this key, or ``None``."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    half = "private" if private else "public"
    if algorithm in _CURVES:
        if not isinstance(
            key, ec.EllipticCurvePrivateKey if private else ec.EllipticCurvePublicKey
        ):
            return f"{algorithm} needs a {half} EC key"
        curve = _CURVES[algorithm]
        return None if key.curve.name == curve else f"{algorithm} needs a key on the curve {curve}"
    if algorithm is Algorithm.EDDSA:
        kind = ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey
        return None if isinstance(key, kind) else f"{algorithm} needs a {half} Ed25519 key"
    if not isinstance(key, rsa.RSAPrivateKey if private else rsa.RSAPublicKey):
        return f"{algorithm} needs a {half} RSA key"
    return _rsa_problem(key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key)


def _rsa_problem(key: RSAPublicKey) -> str | None:
    # The lower limit is that of RFC 7518 section 3.3; above the upper one signatures are too slow.
    if not 2048 <= key.key_size <= 8192:
        return f"an RSA key must have 2048 to 8192 bits, and this one has {key.key_size}"
    if not 3 <= key.public_numbers().e < 2**32:
        return "an RSA key's exponent must lie between 3 and 2**32"
    return None


#: The curve of each ECDSA algorithm (RFC 7518 section 3.4).
_CURVES = {
    Algorithm.ES256: "secp256r1",
    Algorithm.ES384: "secp384r1",
    Algorithm.ES512: "secp521r1",
}


def private_bytes(key: PrivateKey) -> bytes:
    """The private key in DER, from which secrets are derived."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def thumbprint(key: PublicKey) -> str:
    """The JWK thumbprint with SHA-256, in base64url (RFC 7638)."""
    text = json.dumps(jwk(key), sort_keys=True, separators=(",", ":"))
    return base64url(hashlib.sha256(text.encode()).digest())


def jwk(key: PublicKey) -> dict[str, str]:
    """The required members of a public key's JWK (RFC 7518 section 6, RFC 8037 section 2)."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _uint(numbers.n), "e": _uint(numbers.e)}
    if isinstance(key, ec.EllipticCurvePublicKey):
        curve = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}[key.curve.name]
        size = (key.curve.key_size + 7) // 8
        point = key.public_numbers()
        return {"kty": "EC", "crv": curve, "x": _uint(point.x, size), "y": _uint(point.y, size)}
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_bytes_raw())}


def _uint(number: int, size: int = 0) -> str:
    return base64url(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


def base64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
