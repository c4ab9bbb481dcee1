"""Signs test mail: own keys made once per run, any tag of a DKIM-Signature at will, dkimpy's canonical forms as oracle.

`dkim_sign` knows nothing of actors/dkim, so that a mistake there cannot cancel itself out here.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache

import nacl.signing
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from dkim.canonicalization import CanonicalizationPolicy

from actors.model import Envelope, Message
from tests.fakes import NOW_S

HEADERS = (
    b"From: Alice <alice@example.org>\r\n"
    b"To: Bob <bob@example.net>\r\n"
    b"Subject: A  folded\r\n\tsubject\r\n"
    b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
    b"Message-ID: <1@example.org>\r\n"
)
BODY = b"Dear Bob,\r\n\r\ntwo  spaces and a tab\there \r\n\r\n-- \r\nAlice\r\n"


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """One RSA key of each size per run."""
    return rsa.generate_private_key(65537, bits)


@cache
def ed25519_key() -> nacl.signing.SigningKey:
    """One Ed25519 key per run."""
    return nacl.signing.SigningKey.generate()


def rsa_pem(bits: int = 2048) -> bytes:
    """The private key as dkimpy's own signing takes it."""
    return rsa_key(bits).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def rsa_with(**numbers: int) -> bytes:
    """The RSA key with some of its numbers changed, as PKCS#1 (RFC 8017 appendix A.1.2): n, e, d, p, q, dmp1 ..."""
    key = rsa_key(2048).private_numbers()
    names = ("n", "e", "d", "p", "q", "dmp1", "dmq1", "iqmp")
    values = {name: getattr(key.public_numbers if name in "ne" else key, name) for name in names}
    return _der(0x30, b"".join(_integer(value) for value in (0, *(values | numbers).values())))


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _der(tag: int, content: bytes) -> bytes:
    count = len(content)
    size = count.to_bytes((count.bit_length() + 7) // 8, "big")
    long = b"" if count < 0x80 else bytes([0x80 + len(size)])
    return bytes([tag]) + long + size + content


def rsa_record(bits: int = 2048) -> str:
    """The key record of the RSA key of this size."""
    der = rsa_key(bits).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


def ed25519_record() -> str:
    """The key record of the Ed25519 key."""
    return f"v=DKIM1; k=ed25519; p={base64.b64encode(bytes(ed25519_key().verify_key)).decode()}"


def zone(**selectors: str) -> str:
    """A zone with these key records of example.org; without any: `rsa` and `ed` with the keys of above."""
    records = selectors or {"rsa": rsa_record(), "ed": ed25519_record()}
    return "\n".join(f'{name}._domainkey.example.org TXT "{record}"' for name, record in records.items())


def dkim_sign(headers: bytes = HEADERS, body: bytes = BODY, **tags: str | None) -> bytes:
    """A DKIM-Signature field (with CRLF) over headers and body; each tag can be given, or left out with None."""
    algorithm = tags.get("a") or "rsa-sha256"
    wanted: dict[str, str | None] = {
        "v": "1",
        "a": algorithm,
        "c": "relaxed/relaxed",
        "d": "example.org",
        "s": "ed" if algorithm.startswith("ed25519") else "rsa",
        "h": "From:To:Subject:Date:Message-ID",
        **tags,
    }
    policy = CanonicalizationPolicy.from_c_value((wanted["c"] or "simple/simple").encode())
    digest = hashlib.sha1 if algorithm.endswith("sha1") else hashlib.sha256
    if "bh" not in wanted:
        signed_body = policy.canonicalize_body(body)[: int(wanted.get("l") or 0) or None]
        wanted["bh"] = base64.b64encode(digest(signed_body).digest()).decode()
    text = "; ".join(f"{tag}={value}" for tag, value in wanted.items() if value is not None and tag != "b")
    unsigned = f" {text};\r\n b=".encode()
    if "b" in tags:
        return b"DKIM-Signature:" + unsigned + (tags["b"] or "").encode() + b"\r\n"

    hashed = b""
    stacks: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for name, value in Message(header_block=headers).headers:
        stacks.setdefault(name.lower(), []).append((name, value + b"\r\n"))
    for name in (wanted["h"] or "").encode().lower().split(b":"):
        if stacks.get(name.strip()):
            ((canonical_name, canonical),) = policy.canonicalize_headers([stacks[name.strip()].pop()])
            hashed += canonical_name + b":" + canonical
    ((canonical_name, canonical),) = policy.canonicalize_headers([(b"DKIM-Signature", unsigned)])
    hashed += canonical_name + b":" + canonical.rstrip(b"\r\n")
    return b"DKIM-Signature:" + unsigned + base64.b64encode(_signature(algorithm, wanted, hashed)) + b"\r\n"


def _signature(algorithm: str, tags: Mapping[str, str | None], hashed: bytes) -> bytes:
    if algorithm.startswith("ed25519"):
        return ed25519_key().sign(hashlib.sha256(hashed).digest()).signature
    selector = tags["s"] or ""
    key = rsa_key(int(selector.removeprefix("rsa") or 2048) if selector.startswith("rsa") else 2048)
    digest = hashes.SHA1() if algorithm.endswith("sha1") else hashes.SHA256()  # noqa: S303 - a test of its refusal
    return key.sign(hashed, padding.PKCS1v15(), digest)


def signed_message(headers: bytes = HEADERS, body: bytes = BODY, **tags: str | None) -> Message:
    """A message with one signature on top, received at NOW_S."""
    return message(dkim_sign(headers, body, **tags) + headers, body)


def message(headers: bytes, body: bytes = BODY, received_at_s: float = NOW_S) -> Message:
    """A message received at this time."""
    return Message(Envelope(received_at_s=received_at_s), headers, body)
