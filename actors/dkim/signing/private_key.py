"""Private keys (RFC 6376 section 3.3, RFC 8463): read from any form in which people keep them, and never shown.

The key itself is in no repr, no error and no comparison; whoever wants a signature asks `PrivateKey.sign`.
"""

import base64
import binascii
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from actors.dkim.key import PublicKey
from actors.dkim.signing.options import KEY_BITS_MIN

KEY_BYTES_MAX = 64 * 1024
"""A longer text holds no key: RSA with 16,384 bits takes 13 kB as PEM."""
RSA_BITS = (2048, 3072, 4096)
"""What `generate_rsa` makes; RFC 8301 section 3.2 wants at least 2048."""

_PADDING = PKCS1v15()
_HASH = Prehashed(SHA256())
_PUBLIC_EXPONENT = 65537
_ED25519_BITS = 256
_ED25519_BYTES = 32
_PROBE = bytes(32)
"""A digest to sign, for a look at the key."""


class PrivateKeyError(Exception):
    """The key cannot be used; the text is the reason and holds nothing of the key."""


class KeyUnavailable(PrivateKeyError):
    """Where the key is cannot say now: one that was had before still holds."""


@dataclass(frozen=True, eq=False)
class PrivateKey:
    """A key that signs."""

    key_type: str
    """rsa or ed25519: k= of the key record."""
    bits: int
    _key: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)

    @property
    def algorithm(self) -> str:
        """a= of its signatures."""
        return f"{self.key_type}-sha256"

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 digest; Ed25519 signs the digest itself (RFC 8463 section 3)."""
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(digest, _PADDING, _HASH)
        return self._key.sign(digest)

    @cached_property
    def public_base64(self) -> str:
        """p= of its key record (RFC 6376 section 3.6.1, RFC 8463 section 4.2)."""
        public = self._key.public_key()
        if isinstance(self._key, RSAPrivateKey):
            return base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
        return base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def matches(self, published: PublicKey) -> bool:
        """Whether this is the private half of a key that was looked up."""
        public = published.public
        if isinstance(public, RSAPublicKey):
            text = base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        else:
            text = base64.b64encode(bytes(public))
        return published.key_type.decode() == self.key_type and text.decode() == self.public_base64

    def pem(self) -> bytes:
        """The key as unencrypted PKCS#8, for the file it is kept in."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def validate(self) -> None:
        """Every check of an RSA key, primes too: 50 ms for 2048 bits, 360 ms for 4096. Raises PrivateKeyError."""
        try:
            load_pem_private_key(self.pem(), None)
        except ValueError:
            raise PrivateKeyError("key is not valid: its numbers do not fit each other") from None

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a private key is not pickled")


class KeySource(Protocol):
    """Where keys come from: files, a store or a command."""

    async def key(self, text: str) -> PrivateKey:
        """The key that the third part of a KeyTable's entry means. Raises PrivateKeyError."""


def generate_rsa(bits: int) -> PrivateKey:
    """A new RSA key of one of the sizes RSA_BITS. Raises PrivateKeyError for another."""
    if bits not in RSA_BITS:
        raise PrivateKeyError(f"RSA keys are made with {', '.join(map(str, RSA_BITS))} bits")
    return PrivateKey("rsa", bits, generate_private_key(_PUBLIC_EXPONENT, bits))


def generate_ed25519() -> PrivateKey:
    """A new Ed25519 key."""
    return PrivateKey("ed25519", _ED25519_BITS, Ed25519PrivateKey.generate())


def load_private_key(text: bytes, bits_min: int = KEY_BITS_MIN) -> PrivateKey:
    """The key in PEM (PKCS#1 or PKCS#8), in DER, or the 32 bytes of an Ed25519 key; the latter two also as base64.

    An RSA key makes one signature that has to verify, which takes a few ms; `PrivateKey.validate` is the full check.
    Raises PrivateKeyError, also for an RSA key of fewer than `bits_min` bits.
    """
    if len(text) > KEY_BYTES_MAX:
        raise PrivateKeyError("key is too long")
    try:
        key = _read(text)
    except TypeError:
        raise PrivateKeyError("key is encrypted with a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise PrivateKeyError("key cannot be read") from None  # The cause could quote it.
    if isinstance(key, Ed25519PrivateKey):
        return PrivateKey("ed25519", _ED25519_BITS, key)
    if not isinstance(key, RSAPrivateKey):
        raise PrivateKeyError("key is neither RSA nor Ed25519")
    if key.key_size < bits_min:
        raise PrivateKeyError(f"key of {key.key_size} bits is too short")
    try:
        key.public_key().verify(key.sign(_PROBE, _PADDING, _HASH), _PROBE, _PADDING, _HASH)
    except (InvalidSignature, ValueError):
        raise PrivateKeyError("key cannot be used: its signatures do not verify") from None
    return PrivateKey("rsa", key.key_size, key)


def _read(text: bytes) -> object:
    if b"-----BEGIN" in text:
        return load_pem_private_key(text, None, unsafe_skip_rsa_key_validation=True)
    if len(text) == _ED25519_BYTES:
        return Ed25519PrivateKey.from_private_bytes(text)
    try:
        data = base64.b64decode(text.translate(None, b" \t\r\n"), validate=True)
    except binascii.Error:
        data = text
    if len(data) == _ED25519_BYTES:
        return Ed25519PrivateKey.from_private_bytes(data)
    return load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True)
