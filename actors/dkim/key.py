"""DKIM key records (RFC 6376 section 3.6.1, RFC 8463) as typed keys.

OpenSSL reads the DER; a record parses to the same key every time, so parsed keys are kept by their text.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import nacl.exceptions
import nacl.signing
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from actors.dkim.tags import TagListError, parse_tags

_RECORD_BYTES_MAX = 4096
"""Room for five RSA keys of _RSA_BITS_MAX."""
_RECORDS_MAX = 4
"""RFC 6376 section 3.6.2.2 leaves several records undefined: these many are tried."""
_RSA_BITS_MAX = 4096
"""RFC 8301 section 3.2: verifiers must be able to verify with so many, and need not with more. With 16,384 bits one
verification costs 4 ms, and an ARC chain wants 51."""
_EXPONENT_MAX = 2**33
"""Everybody's is 65537. A large one makes a verification cost what a signature costs; OpenSSL refuses it only above
3,072 bits."""
_ED25519_BITS = 256


class KeyRecordError(Exception):
    """No usable key in the record; the text is the reason, for the finding."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key and what its owner says about its use."""

    key_type: bytes
    """k=: rsa or ed25519."""
    public: Any
    """RSAPublicKey of `cryptography`, or VerifyKey of nacl."""
    bits: int
    sha256_allowed: bool
    """False when h= names only other hash algorithms."""
    identity_is_domain: bool
    """t=s: the domain of i= must be d= itself and not a subdomain."""
    testing: bool
    """t=y: the owner tries it out, a failure is to count as no signature."""


def first_usable_key(records: Sequence[bytes]) -> PublicKey:
    """The first of a name's TXT records that holds a key. Raises KeyRecordError with the first one's reason."""
    problem: KeyRecordError | None = None
    for record in records[:_RECORDS_MAX]:
        try:
            return parse_key(record)
        except KeyRecordError as error:
            problem = problem or error
    raise problem or KeyRecordError("no key record")


@lru_cache(maxsize=4096)
def parse_key(record: bytes) -> PublicKey:
    """The key of one TXT record. Raises KeyRecordError."""
    if len(record) > _RECORD_BYTES_MAX:
        raise KeyRecordError("key record is too long")
    try:
        tags = parse_tags(record)
    except TagListError as error:
        raise KeyRecordError("key record is not a tag list") from error
    if tags.get(b"v", b"DKIM1") != b"DKIM1":
        raise KeyRecordError("key record has another version")
    if b"p" not in tags:
        raise KeyRecordError("key record has no p=")
    if not tags[b"p"]:
        raise KeyRecordError("key is revoked")  # RFC 6376 section 3.6.1: an empty p=
    if not {b"*", b"email"} & _list(tags.get(b"s", b"*")):
        raise KeyRecordError("key is not for email")
    key_type = tags.get(b"k", b"rsa")
    flags = _list(tags.get(b"t", b""))
    public, bits = _public_key(key_type, _decode(tags[b"p"]))
    return PublicKey(
        key_type,
        public,
        bits,
        sha256_allowed=b"h" not in tags or b"sha256" in _list(tags[b"h"]),
        identity_is_domain=b"s" in flags,
        testing=b"y" in flags,
    )


def _public_key(key_type: bytes, key_bytes: bytes) -> tuple[Any, int]:
    try:
        if key_type == b"ed25519":
            return nacl.signing.VerifyKey(key_bytes), _ED25519_BITS
        if key_type == b"rsa":
            # OpenSSL takes a SubjectPublicKeyInfo, which everybody publishes, and the bare RSAPublicKey of the RFC.
            public = load_der_public_key(key_bytes)
            if isinstance(public, RSAPublicKey):
                return _affordable(public), public.key_size
    except (ValueError, UnsupportedAlgorithm, nacl.exceptions.CryptoError) as error:
        raise KeyRecordError("key cannot be read") from error
    raise KeyRecordError("key is of an unknown type")


def _affordable(key: RSAPublicKey) -> RSAPublicKey:
    if key.key_size > _RSA_BITS_MAX:
        raise KeyRecordError(f"key of {key.key_size} bits is too long")
    if key.public_numbers().e > _EXPONENT_MAX:
        raise KeyRecordError("key has too large an exponent")
    return key


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text.translate(None, b" \t\r\n"), validate=True)
    except binascii.Error as error:
        raise KeyRecordError("key is not base64") from error


def _list(text: bytes) -> set[bytes]:
    return {item.strip() for item in text.split(b":")}
