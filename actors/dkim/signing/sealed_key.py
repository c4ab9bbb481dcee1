"""Private keys encrypted for a store that others can read: AES-256-GCM, the key's name as associated data. Pure.

A sealed key is b"1", 12 bytes of nonce and what AESGCM makes of the key's text. It opens under its own name alone, so
who can write to the store cannot have one domain sign with the key of another.
"""

import base64
import binascii
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from actors.dkim.signing.private_key import PrivateKeyError

KEY_BYTES = 32
_VERSION = b"1"
_NONCE_BYTES = 12
_ASSOCIATED = b"tamis dkim key "


class KeyEncryptionKey:
    """A key that seals keys; never shown, compared or pickled."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for other than 32 bytes."""
        if len(key) != KEY_BYTES:
            raise ValueError("it is not 32 bytes")
        self._cipher = AESGCM(key)

    def seal(self, name: str, text: bytes) -> bytes:
        """`text` sealed under this name."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, text, _ASSOCIATED + name.encode())

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """Raises InvalidTag when it is not sealed with this key under this name."""
        nonce, text = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        return self._cipher.decrypt(nonce, text, _ASSOCIATED + name.encode())

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key encryption key is not pickled")


def parse_key_encryption_key(text: bytes) -> KeyEncryptionKey:
    """32 bytes as they are, as 64 hexadecimal digits or as base64. Raises ValueError, which quotes nothing."""
    if len(text) == KEY_BYTES:
        return KeyEncryptionKey(text)
    plain = b"".join(text.split())
    try:
        key = binascii.unhexlify(plain) if len(plain) == 2 * KEY_BYTES else base64.b64decode(plain, validate=True)
    except binascii.Error:
        raise ValueError("it is neither 32 bytes nor their hexadecimal or base64 form") from None
    return KeyEncryptionKey(key)


def unseal(name: str, sealed: bytes, keys: Sequence[KeyEncryptionKey]) -> bytes:
    """The text that one of these keys opens. Raises PrivateKeyError."""
    if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE_BYTES:
        raise PrivateKeyError("stored key has no form that is known")
    for key in keys:
        try:
            return key.unseal(name, sealed)
        except InvalidTag:
            continue
    raise PrivateKeyError("stored key was sealed with another key, or under another name")
