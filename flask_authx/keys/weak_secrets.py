"""Refuses HMAC secrets that others know or may guess, and public keys in any encoding.

If a public key serves as the secret, everybody who has it can create tokens (algorithm confusion,
CVE-2015-9235 and its successors). The secret is decoded (text encodings, hexadecimal, base64), and
each result is checked for the structure of a key, not for the form of one file. That does not need
``cryptography``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
import urllib.parse
from collections.abc import Callable, Iterator
from functools import cache

from flask_authx.enums import Algorithm

from .published import is_published

#: The key must be at least as long as the hash (RFC 7518 section 3.2).
_BYTES_NEEDED = {Algorithm.HS256: 32, Algorithm.HS384: 48, Algorithm.HS512: 64}

_ARMOUR = re.compile(rb"--[ \t]*begin [a-z0-9 ]{0,40}(key|certificate|parameters)", re.IGNORECASE)
#: Not any text between dashes: base64url has them, too.
_ARMOUR_LINE = re.compile(rb"(?<!-)-{2,}+[ \t]*+(?:begin|end) [^\n-]*+-{2,}", re.IGNORECASE)
#: A public key of OpenSSH: its line of text, and the bytes that its base64 encodes.
_SSH = re.compile(rb"(\s*|\0\0\0[\x07-\x30])(ssh-[a-z0-9]|ecdsa-sha2-|sk-(ssh|ecdsa)-)")

#: Words of placeholders; longer ones first, since some contain shorter ones.
_WORDS = re.findall(
    r"\w+",
    """
    secret secrets key keys jwt token tokens your my the this is an super very top change
    changeme please in for production prod dev develop development test testing example sample
    default password passwd pass insecure unsafe secure bit bits byte bytes long length some
    random string flask app application do not dont use replace with here value hs sha hmac
    admin root foo bar baz private public signing authx auth qwerty abcdef
    abcdefghijklmnopqrstuvwxyz abc xyz enter insert must be should at least only local hello
    world todo spring boot java bezkoder javainuse
    0123456789 1234567890 123456789 12345678 1234567 123456
    12345 1234 123 987654321 256 384 512
    qwertyuiop asdfghjkl zxcvbnm qwertz azerty qazwsx wsxedc asdf zxcv letmein welcome changeit
    """,
)
_WORDS.sort(key=len, reverse=True)


#: How a new secret is made; the end of each message.
_NEW = "create one with `flask authx generate-key`"

#: What an editor, a shell or a configuration file leaves around a secret, as in ``b'...',``. One
#: quote alone may be a random character of ASCII.
_QUOTED = re.compile(r"""b?\\?(["'`]).*\1[,;]?""")
_TYPOGRAPHIC = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb"
#: A line of such a file. In base64 nothing but "=" follows a "=".
_LINE = re.compile(
    r"(?:export\s)?[\w.]{0,60}(?:secret|key|token|jwt|password)[\w.]{0,60}[=:](?!=*\Z).*",
    re.ASCII | re.IGNORECASE,
)
#: Texts in which no program has put the secret in the place of a name.
_TEMPLATE = re.compile(r"\$\{.*\}|\$\(.*\)|\{\{.*\}\}|<.*>|\$\w+|%\(?\w+\)?[%s]")
#: What no generator of secrets makes, and what is said of a text that has it.
_REMNANTS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda text: text.startswith("\ufeff"), "begins with a byte order mark"),
    (lambda text: text.splitlines() != [text], "contains a line end"),
    (lambda text: _LINE.fullmatch(text) is not None, "begins with the name of a setting"),
    (lambda text: any(map(str.isspace, text)), "contains a blank"),
    (lambda text: not text.isprintable(), "contains a character that can't be seen"),
    (lambda text: _QUOTED.fullmatch(text) is not None, "has quotes around it"),
    (
        lambda text: text[0] in _TYPOGRAPHIC or text[-1] in _TYPOGRAPHIC,
        "begins or ends with a typographic quote",
    ),
    (lambda text: text.endswith(("\\n", "\\r")), "ends with an escaped line end"),
    (lambda text: _TEMPLATE.fullmatch(text) is not None, "is the name of a secret in a template"),
)


def problem_with(secret: bytes, algorithm: Algorithm) -> str | None:
    """The reason why these bytes can't be the secret of the algorithm, or ``None``."""
    needed = _BYTES_NEEDED[algorithm]
    if len(secret) < needed:
        return (
            f"it is {len(secret)} bytes long and {algorithm} needs {needed} "
            f"(RFC 7518 section 3.2); {_NEW}"
        )
    return key_problem(secret) or _weakness(secret)


def key_problem(secret: bytes) -> str | None:
    """The reason why these bytes can't be a secret for anybody: they are a key, or nothing."""
    if not secret:
        return f"it is empty; {_NEW}"
    for layer in _layers(secret, depth=3):
        if _is_key(layer):
            return (
                "it is a public or private key or a part of one, perhaps encoded: anyone with the "
                "public key could sign tokens; create a secret with `flask authx generate-key`, "
                "or use the algorithm of the key"
            )
        if _is_modulus(layer):
            return (
                "it is a public or private key or a part of one, perhaps encoded: it can be the "
                "modulus of an RSA key; create a secret with `flask authx generate-key`, which is "
                f"not longer than {_LONGEST_SECRET} bytes"
            )
    return None


def _weakness(secret: bytes) -> str | None:
    if any(is_published(layer) for layer in _layers(secret, depth=2)):
        return f"it was published, in a tutorial or a specification: everybody knows it; {_NEW}"
    if _is_guessable(secret):
        return f"it is a placeholder or follows a pattern; {_NEW}"
    remnant = _remnant(secret)
    if remnant:
        return (
            f"it {remnant}, which no generator of secrets makes: correct it where the secret is "
            f"set, or {_NEW}"
        )
    return None


def _remnant(secret: bytes) -> str | None:
    """What an editor, a shell or a configuration file has left in a secret that is text.

    Random bytes are text by chance in fewer than one of a hundred million cases.
    """
    if _is_wide(secret):
        return "is text in UTF-16 or UTF-32"
    try:
        text = secret.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return next((said for applies, said in _REMNANTS if applies(text)), None)


def _is_wide(data: bytes) -> bool:
    """Whether this is ASCII text with two or four bytes for each character."""
    if b"\0" not in data:
        return False
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        text = _recoded(data, encoding, "latin-1")
        if text and text.isascii() and b"\0" not in text:
            return True
    return False


def _layers(data: bytes, depth: int) -> Iterator[bytes]:
    """The bytes themselves, and the results of decoding them up to ``depth`` times."""
    yield data
    if depth == 0:
        return
    for inner in _decoded(data):
        if inner and inner != data:
            yield from _layers(inner, depth - 1)


def _decoded(data: bytes) -> Iterator[bytes]:
    # Text in another encoding: UTF-16, UTF-32, bytes read as Latin-1, escaped line breaks.
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        if b"\0" in data or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            yield _recoded(data, encoding, "latin-1")
    yield _recoded(data, "utf-8-sig", "latin-1")
    yield data.replace(b"\\r", b"\r").replace(b"\\n", b"\n")
    if b"%" in data:
        yield urllib.parse.unquote_to_bytes(data)
    # A line of a configuration file: a name, quotes, a line break.
    yield re.sub(rb"\A\w+=", b"", data.strip()).strip(b"\"'")
    # Decimal, hexadecimal or base64, with or without the lines of a PEM armour.
    packed = b"".join(_ARMOUR_LINE.sub(b"", data).split())
    digits = packed.removeprefix(b"0x").replace(b":", b"")
    if re.fullmatch(rb"[0-9]{155,10000}", packed):
        # An RSA modulus in decimal. CPython converts at most 4,300 digits at once.
        number = 0
        for start in range(0, len(packed), 4000):
            part = packed[start : start + 4000]
            number = number * 10 ** len(part) + int(part)
        yield number.to_bytes((number.bit_length() + 7) // 8, "big")
    if re.fullmatch(rb"[0-9a-fA-F]+", digits):
        # Not base64 as well: what that yields has the length of a modulus, and is none.
        yield binascii.unhexlify(digits.zfill(len(digits) + len(digits) % 2))
    elif re.fullmatch(rb"[A-Za-z0-9+/_-]+={0,2}", packed):
        body = packed.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        if len(body) % 4 != 1:
            yield base64.b64decode(body + b"=" * (-len(body) % 4))


def _recoded(data: bytes, old: str, new: str) -> bytes:
    try:
        return data.decode(old).encode(new)
    except UnicodeError:
        return b""


def _is_key(data: bytes) -> bool:
    return (
        _ARMOUR.search(data) is not None
        or _SSH.match(data) is not None
        or _is_der_sequence(data)
        or _is_curve_point(data)
        or _is_jwk(data)
    )


def _is_der_sequence(data: bytes) -> bool:
    """Whether this is exactly one ASN.1 SEQUENCE, as in SPKI, PKCS 1, PKCS 8 and X.509."""
    # No key is all ASCII, while a random secret in base64url can start with "0T".
    return len(data) >= 40 and not data.isascii() and _der_content(data, 0x30) is not None


def _der_content(data: bytes, tag: int) -> bytes | None:
    """The content of a value of ASN.1 in DER, if this is exactly one with that tag."""
    if len(data) < 2 or data[0] != tag:
        return None
    start, length = 2, data[1]
    if length >= 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    return data[start:] if start <= 5 and len(data) == start + length else None


#: The prime and the coefficient b of P-256, P-384 and P-521 (FIPS 186-5); a is -3.
_CURVES = {
    32: (
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    48: (
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        int(
            "B3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F"
            "5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF",
            16,
        ),
    ),
    66: (
        2**521 - 1,
        int(
            "0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E15619"
            "3951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00",
            16,
        ),
    ),
}


def _is_curve_point(data: bytes) -> bool:
    """Whether this is an EC public key in SEC 1: compressed, uncompressed or without its tag."""
    if len(data) // 2 in _CURVES and len(data) % 2 == 0:
        data = b"\4" + data
    size = len(data) - 1 if data[:1] in (b"\2", b"\3") else (len(data) - 1) // 2
    if size not in _CURVES or data[:1] not in (b"\2", b"\3", b"\4"):
        return False
    prime, b = _CURVES[size]
    x = int.from_bytes(data[1 : 1 + size], "big")
    square = (pow(x, 3, prime) - 3 * x + b) % prime
    if data[:1] == b"\4":
        return (
            len(data) == 1 + 2 * size and pow(int.from_bytes(data[1 + size :]), 2, prime) == square
        )
    return x < prime and pow(square, (prime - 1) // 2, prime) == 1


@cache
def _small_primes() -> int:
    """The product of the odd primes below 65,536."""
    sieve = bytearray([1]) * 65536
    for number in range(3, 256, 2):
        if sieve[number]:
            sieve[number * number :: 2 * number] = bytes(
                len(range(number * number, 65536, 2 * number))
            )
    return math.prod(number for number in range(3, 65536, 2) if sieve[number])


#: The longest secret that is never taken for a modulus, in bytes. No algorithm gains by more.
_LONGEST_SECRET = 64


def _is_modulus(data: bytes) -> bool:
    """Whether this can be the ``n`` of an RSA key of more than 512 bits: without small factors.

    About one in twenty random secrets of more than 64 bytes is refused, too. A shorter modulus is
    accepted: good secrets have that length, and anybody can factor it.
    """
    return any(_has_no_small_factor(number) for number in _numbers(data))


def _numbers(data: bytes) -> Iterator[bytes]:
    """The unsigned numbers, most significant byte first, that this may be the encoding of."""
    yield data
    # mpint (RFC 4251 section 5), INTEGER (X.690 section 8.3), MPI (RFC 9580 section 3.2).
    if int.from_bytes(data[:4], "big") == len(data) - 4:
        yield data[4:]
    integer = _der_content(data, 2)
    if integer is not None:
        yield integer
    if (int.from_bytes(data[:2], "big") + 7) // 8 == len(data) - 2:
        yield data[2:]
    # Windows: least significant byte first. Only of usual sizes, multiples of 512 bits, since as
    # many random secrets would be refused again.
    if len(data) % 64 == 0 and data[-1] > 127:
        yield data[::-1]


def _has_no_small_factor(data: bytes) -> bool:
    data = data.lstrip(b"\0")
    # Of a number's bytes half are above 127, and of a text's hardly any.
    if len(data) <= _LONGEST_SECRET or not data[-1] & 1 or 4 * _high(data) < len(data):
        return False
    return math.gcd(int.from_bytes(data, "big"), _small_primes()) == 1


def _high(data: bytes) -> int:
    return sum(byte > 127 for byte in data)


def _is_jwk(data: bytes) -> bool:
    """Whether this is JSON with a key type (RFC 7517), complete or truncated."""
    stripped = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not stripped.startswith((b"{", b"[")):
        return False
    if b'"kty"' in stripped:
        return True
    try:
        # The name may contain escapes.
        return '"kty"' in json.dumps(json.loads(stripped))
    except (ValueError, RecursionError):
        return False


def _is_guessable(secret: bytes) -> bool:
    if len(set(secret)) < 8 or _repeats(secret):
        return True
    if any(layer in _word_digests() for layer in _layers(secret, depth=1)):
        return True
    try:
        left = secret.decode("ascii").lower()
    except UnicodeError:
        return False
    if not left.isprintable():
        return False
    # Padding comes first: a character that is repeated four times or more. Then the words.
    left = re.sub(r"(.)\1{3,}", r"\1", left)
    for word in _WORDS:
        left = left.replace(word, " ")
    return sum(map(str.isalnum, left)) <= 6


@cache
def _word_digests() -> frozenset[bytes]:
    """The digests of nothing and of each word of placeholders."""
    return frozenset(
        hashlib.new(name, word.encode(), usedforsecurity=False).digest()
        for name in ("md5", "sha1", "sha256", "sha384", "sha512")
        for word in ("", *_WORDS)
    )


def _repeats(secret: bytes) -> bool:
    """Whether the secret is a shorter one, repeated."""
    size = len(secret)
    return any(secret == (secret[:n] * size)[:size] for n in range(1, size // 2 + 1))
