"""The only module that touches the library dkimpy: it is driven below its own I/O, with OpenSSL underneath.

dkimpy's `verify()` asks DNS itself, answers False to every trouble alike and holds regular expressions that are
quadratic in what a stranger sends. So we parse, look up and canonicalise ourselves, and hand `verify_sig_process` what
is left: hashing the chosen fields and checking the signature. `install` replaces the two things in it that are slow or
dangerous; nothing else of dkimpy is changed.
"""

from collections.abc import Sequence
from typing import Any

import dkim
import nacl.exceptions
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from actors.dkim.canonical import Field

_PADDING = PKCS1v15()
_HASH = Prehashed(SHA256())


def install() -> None:
    """Put OpenSSL and a linear "signature without its b=" into dkimpy. May be called again."""
    dkim.RSASSA_PKCS1_v1_5_verify = _rsa_verify
    dkim.RE_BTAG = _SignatureTag()


def signature_holds(
    signed: Sequence[Field], signature_field: Field, signature: bytes, key_type: bytes, key: Any
) -> bool:
    """Whether `signature` (base64) signs the SHA-256 of these fields, in this order, and of the signature field itself.

    Fields are canonical already and without CRLF. `key` is an RSAPublicKey of `cryptography` for the key type rsa, a
    VerifyKey of nacl for ed25519.
    """
    process = dkim.DKIM(minkey=0)
    process.pk, process.ktag, process.keysize = key, key_type, 0
    # dkimpy looks through all fields for each name, and hashes what it finds as name, colon and value one by one: told
    # as one field, they give the same bytes at once.
    process.headers = [_as_one(signed)] if signed else []
    names = [name.lower() for name, _ in process.headers]
    # Without bh= it leaves the body alone; simple leaves alone what is canonical already. a= only names the hash here.
    tags = {b"a": b"rsa-sha256", b"b": signature, b"c": b"simple/simple"}
    try:
        return bool(process.verify_sig_process(tags, names, signature_field, None))
    except (dkim.DKIMException, nacl.exceptions.CryptoError, ValueError):
        return False


def without_signature(value: bytes) -> bytes:
    """A signature field's value with b= emptied, white space around its value included (RFC 6376 section 3.7)."""
    return b";".join(
        tag[: tag.index(b"=") + 1] if tag.partition(b"=")[0].strip() == b"b" and b"=" in tag else tag
        for tag in value.split(b";")
    )


def _as_one(fields: Sequence[Field]) -> Field:
    (name, value), *others = fields
    return name, b"".join((value, b"\r\n", *(b"%b:%b\r\n" % field for field in others)))


class _SignatureTag:
    """Stands in for the pattern RE_BTAG, whose white space groups are quadratic on a b= that is mostly spaces."""

    def sub(self, _replacement: bytes, value: bytes) -> bytes:
        """`without_signature`, in the form of a pattern."""
        return without_signature(value)


def _rsa_verify(hashed: dkim.HashThrough, signature: bytes, key: Any) -> bool:
    """PKCS #1 v1.5 by OpenSSL; `hashed` is dkimpy's running SHA-256."""
    try:
        key.verify(bytes(signature), hashed.digest(), _PADDING, _HASH)
    except InvalidSignature:
        return False
    return True
