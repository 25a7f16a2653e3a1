"""Secrets and keys that everybody can look up: those in tutorials, documentation and RFCs.

Only digests are kept, so that this file publishes none of them.
"""

from __future__ import annotations

import hashlib

#: The first ten bytes of the SHA-256 of each: of a secret as it is printed and, if that is
#: hexadecimal or base64, also of the bytes it stands for (many programs decode 64 hexadecimal
#: digits as base64); of a key pair, of its thumbprint (RFC 7638). They are from the documentation
#: and tutorials of Flask, Flask-JWT-Extended, FastAPI, Django, AuthX, Spring, ASP.NET, Hasura,
#: PostgREST and Supabase, from jwt.io, and from RFC 7515, 7516, 7517, 7519, 7520, 7797 and 8037.
_DIGESTS = """
    0330b11998cbc9abd5a5 08d405cb486c76fcfb30 09b94f848e7a4b038408 0f323904de1e9610c9cf
    10d6119b73f744ba2191 136cb1c5a79bc9d943ef 1453cea2dc3799e9026e 175b4f1da19dc4965891
    1adc90b81c8ca1fd510d 1ed956b932e3dd2780cc 24bb85171d38db4bf247 2598f7d6adc142d88161
    262eb06104b33a024bac 2a1d61d5e1997a7a64a9 2a205c6c2608b1a77cb3 2b529796cf520a20c03e
    2cd6f10056d08e10430a 2dcd1431300732da503d 3354cfcf65c7b2e6840e 349b6b06626d9c649506
    36b58c483a4f3065b24d 393cdc9284a85a025da4 443c583a3bcec569917b 44c27567e7901752a72c
    465d9ad5d5528ebe287b 46d98e976373e195e501 46fd19985f04457b9764 46fed1daaba94dee9934
    4ae5d66b0b83945a7e98 4b1c2acfbf785b23f15f 4d0f8dec4515d07a611c 520bfab0ce4b067c0a21
    570dad43de1af4c925f9 57afc11665beb68de7cc 594c081d23de22b178ba 5df73e1aa59d8f332c2f
    5eef83fe7cb71e2da053 67dde0412edb40ae64e0 67fed4b9a84843e168a9 6888f4f5e88db469a63c
    730d21a80e61a8de82d1 73592d9745e5ecb36317 73ec74458059c70cae3f 75c979a47847c1024ed5
    80ca09be62fc80edef3e 82b8f98e49344962d95c 8359196d483664fdf5b4 8580dd90707d8c5158d6
    8b1b17a9740c068accab 8f0d5d5f8ad386f971ee 9007c71f2095078c00ec 94d2f2cff66c99ed705b
    9877be62cd59c97bdbab 9d0f4f5072c13dbd970c a064b502e61d27e94b87 a5aa976fe0932dfa4e28
    a8024d4418444e78784c a8ad80ab28ef698d34b0 aec8084845b41a6952d4 b063b27a2d56e504872b
    b0d6c117ced909711cd1 b3f6f5d4f9cee4e99fe5 b5ef35c6f86cb7cac940 bf0b62edab9c25ed15d8
    c1b8372f4390d056d203 c31b63a5aefee8bcc1a8 c392c12501bf2907791d c4291e7677b240953412
    c8ecc9361a05e285f04c d2a9c3bb72551202a73d d6cd79bb66e6a2af82af da1eb416ce10e0103916
    db6833593279d7373592 dfd7dc439654f313f3bb e06a65faf6a10f8f3e88 e2d0d8b54717d2377f4c
    ec150406241257588aec ee32fbefe36a11a895d8 eefbd4136387e7620933 ef1ca7491dee871be5f0
    f0e5408dfe18455f732e f3705484ae9568320b55 f427300fbad3130cc5b6 f7d838701b86c5dfb57b
    f9a09e1f7ab889df8fed fd4dec75abc2df7e4f87
"""


def is_published(data: bytes) -> bool:
    """Whether this is a published secret, or the thumbprint of a published key."""
    return hashlib.sha256(data).hexdigest()[:20] in _DIGESTS
