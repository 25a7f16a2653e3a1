"""Keys: loaded, classified and checked once; then a closed registry by ``kid``.

One key has one algorithm (RFC 8725 section 3.1), and a token's ``kid`` selects the key: nothing is
ever tried in turn. ``cryptography`` is needed for anything but HMAC and imported only here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from . import hmac_secrets
from .errors import BadConfigurationError
from .settings import Algorithm, Settings

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


@dataclass(frozen=True, slots=True)
class Key:
    """A key, its one algorithm and its name. The ``repr`` shows no key material."""

    kid: str
    algorithm: Algorithm
    #: What PyJWT verifies with.
    verifying: PublicKey | bytes = field(repr=False)
    #: What PyJWT signs with; ``None`` for a key that only verifies.
    signing: PrivateKey | bytes | None = field(repr=False)
    #: A secret that only holders of the signing key can derive.
    derived: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """The keys of one instance. Compared by identity: another set is another set."""

    current: Key
    by_kid: dict[str, Key]
    #: The one key for tokens without a ``kid``, which can't be ours.
    unnamed: Key | None

    @classmethod
    def from_settings(cls, settings: Settings, prefix: str = "JWT_") -> KeySet:
        """Load every key that the settings name.

        :raises BadConfigurationError: with every problem found, each naming its setting.
        """
        problems: list[str] = []
        current = _attempt(problems, _current_key, settings, prefix)
        previous = _attempt(problems, _previous_key, settings, prefix)
        if current and previous and current.kid == previous.kid:
            problems.append(
                f"{prefix}PREVIOUS_*: the previous key and the current one have the same kid: "
                "remove the previous one if it is the same key, else give each its own kid."
            )
        allowed = {key.algorithm for key in (current, previous) if key}
        if settings.decode_algorithms and not settings.decode_algorithms <= allowed:
            problems.append(
                f"{prefix}DECODE_ALGORITHMS names an algorithm that no key has: "
                f"remove it; what is accepted follows from {prefix}ALGORITHM and the keys."
            )
        if problems or current is None:
            raise BadConfigurationError(problems)
        # Another library's tokens come from before, so they bear the older key's signature.
        unnamed = previous if settings.accept_untyped else None
        by_kid = {key.kid: key for key in (current, previous) if key}
        return cls(current, by_kid, unnamed if previous else current)

    def find(self, kid: str | None) -> Key | None:
        """The key of that name, and of no other; or the one for tokens without a ``kid``."""
        return self.unnamed if kid is None else self.by_kid.get(kid)


def _attempt(problems: list[str], load: Any, settings: Settings, prefix: str) -> Key | None:
    try:
        key: Key | None = load(settings, prefix)
    except BadConfigurationError as error:
        problems.extend(error.problems)
        return None
    return key


def _current_key(settings: Settings, prefix: str) -> Key:
    algorithm = settings.algorithm
    asymmetric = [
        prefix + name.upper()
        for name in ("private_key", "public_key")
        if getattr(settings, name) is not None
    ]
    if algorithm.symmetric:
        if asymmetric:
            raise BadConfigurationError(
                f"{asymmetric[0]} is set and {prefix}ALGORITHM is {algorithm}, which doesn't use "
                f"it: remove the key, or set {prefix}ALGORITHM to the key's own algorithm."
            )
        if settings.secret_key is None:
            raise BadConfigurationError(
                f"{prefix}SECRET_KEY is not set: make a secret with `flask authx generate-key` "
                "and keep it out of the source code (Flask's SECRET_KEY is not used)."
            )
        return _secret(settings.secret_key, algorithm, settings.key_id, f"{prefix}SECRET_KEY")
    if settings.secret_key is not None:
        raise BadConfigurationError(
            f"{prefix}SECRET_KEY is set and {prefix}ALGORITHM is {algorithm}, which doesn't use "
            f"it: remove the secret, or set {prefix}ALGORITHM to HS256."
        )
    if not asymmetric:
        raise BadConfigurationError(
            f"{prefix}PRIVATE_KEY is not set and {prefix}ALGORITHM is {algorithm}: set it to mint "
            f"tokens, or {prefix}PUBLIC_KEY to verify them only."
        )
    return _key_pair(settings, algorithm, prefix)


def _previous_key(settings: Settings, prefix: str) -> Key | None:
    algorithm = settings.previous_algorithm or settings.algorithm
    secret, public = settings.previous_secret_key, settings.previous_public_key
    if secret is not None and public is not None:
        raise BadConfigurationError(
            f"{prefix}PREVIOUS_SECRET_KEY and {prefix}PREVIOUS_PUBLIC_KEY are both set: keep one."
        )
    if secret is None and public is None:
        if settings.previous_algorithm or settings.previous_key_id:
            raise BadConfigurationError(
                f"{prefix}PREVIOUS_ALGORITHM or {prefix}PREVIOUS_KEY_ID is set, and no previous "
                "key is."
            )
        return None
    if algorithm.symmetric is not (secret is not None):
        raise BadConfigurationError(
            f"{prefix}PREVIOUS_ALGORITHM is {algorithm}, which does not fit the previous key: "
            "set it to the one that its tokens were signed with."
        )
    if secret is not None:
        name = f"{prefix}PREVIOUS_SECRET_KEY"
        key = _secret(secret, algorithm, settings.previous_key_id, name)
        return Key(key.kid, algorithm, key.verifying, None, None)
    loaded = _load(public, f"{prefix}PREVIOUS_PUBLIC_KEY", algorithm, private=False)
    return Key(settings.previous_key_id or _thumbprint(loaded), algorithm, loaded, None, None)


def _secret(value: object, algorithm: Algorithm, kid: str | None, name: str) -> Key:
    if isinstance(value, Path):
        # Editors and secret stores end files with a line end that nobody counts as the secret's.
        value = _read(value, name).rstrip(b"\r\n")
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        raise BadConfigurationError(
            f"{name}: set it to text, bytes, or a pathlib.Path to a file; digits in an environment "
            "variable need quotes to be text."
        )
    problem = hmac_secrets.problem_with(value, algorithm)
    if problem:
        raise BadConfigurationError(f"{name}: {problem}.")
    return Key(
        kid or _short(_derive(value, b"kid")), algorithm, value, value, _derive(value, b"csrf")
    )


def _key_pair(settings: Settings, algorithm: Algorithm, prefix: str) -> Key:
    private: Any = None
    public: Any = None
    if settings.private_key is not None:
        private = _load(settings.private_key, f"{prefix}PRIVATE_KEY", algorithm, private=True)
        public = private.public_key()
    if settings.public_key is not None:
        given = _load(settings.public_key, f"{prefix}PUBLIC_KEY", algorithm, private=False)
        if public is not None and _jwk(public) != _jwk(given):
            raise BadConfigurationError(
                f"{prefix}PUBLIC_KEY is not the public half of {prefix}PRIVATE_KEY: "
                f"remove it, or move it to {prefix}PREVIOUS_PUBLIC_KEY."
            )
        public = given
    derived = None if private is None else _derive(_private_bytes(private), b"csrf")
    return Key(settings.key_id or _thumbprint(public), algorithm, public, private, derived)


def _load(value: object, name: str, algorithm: Algorithm, *, private: bool) -> Any:
    """A key object of the right kind for the algorithm."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    except ModuleNotFoundError:
        raise BadConfigurationError(
            f"{algorithm} needs the package cryptography: pip install flask-authx[crypto]"
        ) from None
    if isinstance(value, Path):
        value = _read(value, name)
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
            # TypeError: encrypted with a password. The cause may quote the key.
            raise BadConfigurationError(f"{name}: {_complaint(value, private=private)}.") from None
    problem = _misfit(key, algorithm, private=private)
    if problem:
        raise BadConfigurationError(f"{name}: {problem}.")
    return key


def _complaint(pem: bytes, *, private: bool) -> str:
    if b"ENCRYPTED" in pem:
        return "it is encrypted with a password; decrypt it first"
    if private and b"PUBLIC KEY" in pem:
        return "it is a public key, which can't sign; set the private key here"
    if not private and b"PRIVATE KEY" in pem:
        return "it is a private key; set its public half here"
    if b"BEGIN" in pem and b"\\n" in pem:
        return "its line ends are spelled \\n; replace them by real ones"
    return (
        "it is not a PEM key; set PEM text or bytes, a pathlib.Path to a PEM file, or a key object"
    )


def _misfit(key: object, algorithm: Algorithm, *, private: bool) -> str | None:
    """Why this key is not one of the algorithm's, or ``None``."""
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
    return _weakness(key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key)


def _weakness(key: RSAPublicKey) -> str | None:
    # RFC 7518 section 3.3 sets the lower bound; above the upper one a signature costs too much.
    if not 2048 <= key.key_size <= 8192:
        return f"an RSA key must have 2048 to 8192 bits, and this one has {key.key_size}"
    if not 3 <= key.public_numbers().e < 2**32:
        return "an RSA key's exponent must lie between 3 and 2**32"
    return None


#: RFC 7518 section 3.4: each of these algorithms has one curve.
_CURVES = {
    Algorithm.ES256: "secp256r1",
    Algorithm.ES384: "secp384r1",
    Algorithm.ES512: "secp521r1",
}


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadConfigurationError(f"{name}: can't read {path}: {error.strerror}.") from error


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"flask-authx:" + purpose, "sha256")


def _private_bytes(key: PrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _thumbprint(key: PublicKey) -> str:
    """RFC 7638: the SHA-256 of the required members, sorted, without white space."""
    text = json.dumps(_jwk(key), sort_keys=True, separators=(",", ":"))
    return base64url(hashlib.sha256(text.encode()).digest())


def _jwk(key: PublicKey) -> dict[str, str]:
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


def _short(digest: bytes) -> str:
    return base64url(digest[:16])
