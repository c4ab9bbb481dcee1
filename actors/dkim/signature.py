"""DKIM-Signature, ARC-Message-Signature and ARC-Seal fields as typed signatures (RFC 6376 section 3.5, RFC 8617).

Everything is checked before anything is looked up or hashed, with a cap on whatever grows: a field is a few hundred
bytes in honest mail, and what is longer than the caps can only be an attempt to make us work.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.dkim.canonical import Field, FieldsByName
from actors.dkim.tags import TagListError, parse_tags
from actors.domains import ascii_domain

FIELD_BYTES_MAX = 8192
SIGNED_NAMES_MAX = 200

_ALGORITHMS = {b"rsa-sha256": b"rsa", b"ed25519-sha256": b"ed25519"}
"""a= to the key type it needs. rsa-sha1 is gone: RFC 8301 section 3.1."""
_CANONICALIZATIONS = (b"simple", b"relaxed")
_NUMBER = re.compile(rb"[0-9]{1,76}")
_DOMAIN = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,62})\.)+[a-z0-9_-]{1,63}", re.ASCII | re.IGNORECASE)
_SELECTOR = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,252})", re.ASCII | re.IGNORECASE)


class SignatureError(Exception):
    """The signature cannot be verified whatever the key says (a permerror); the text is the reason."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature field, checked."""

    algorithm: bytes
    key_type: bytes
    domain: str
    """d= as A-labels, and so are the selector and the domain of the identity (RFC 8616 section 5)."""
    selector: str
    identity: str
    signature: bytes
    """b= without white space, still base64."""
    body_hash: bytes
    """bh= decoded; empty for an ARC-Seal, which signs no body."""
    signed_names: tuple[bytes, ...]
    """h= in lower case and order; empty for an ARC-Seal."""
    relaxed_header: bool
    relaxed_body: bool
    body_length: int | None
    signed_at_s: int | None
    expires_at_s: int | None

    @property
    def key_name(self) -> str:
        """Where the key is published (RFC 6376 section 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


def field_tags(value: bytes) -> dict[bytes, bytes]:
    """The tags of a signature field. Raises SignatureError."""
    if len(value) > FIELD_BYTES_MAX:
        raise SignatureError("signature field is too long")
    try:
        return parse_tags(value)
    except TagListError as error:
        raise SignatureError("signature field is not a tag list") from error


def parse_signature(tags: Mapping[bytes, bytes]) -> Signature:
    """A DKIM-Signature (RFC 6376 section 6.1.1). Raises SignatureError."""
    if _required(tags, b"v") != b"1":
        raise SignatureError("unknown version")
    signature = _parse(tags)
    if b"from" not in signature.signed_names:
        raise SignatureError("From is not signed")
    methods = [method.strip() for method in tags.get(b"q", b"dns/txt").split(b":")]
    if b"dns/txt" not in methods:
        raise SignatureError("unknown query method")
    _, at, at_domain = signature.identity.lower().rpartition("@")
    if not at:
        raise SignatureError("i= is no address")
    if at_domain != signature.domain.lower() and not at_domain.endswith("." + signature.domain.lower()):
        raise SignatureError("i= is not within d=")
    return signature


def parse_arc_message_signature(tags: Mapping[bytes, bytes]) -> Signature:
    """An ARC-Message-Signature (RFC 8617 section 4.1.2): i= is the instance, no v=. Raises SignatureError.

    Without c= it is relaxed, as the chain validation suite and dkimpy have it; DKIM's own default is simple.
    """
    signature = _parse({b"c": b"relaxed/relaxed"} | {tag: value for tag, value in tags.items() if tag != b"i"})
    if b"arc-seal" in signature.signed_names:
        raise SignatureError("ARC-Message-Signature signs an ARC-Seal")
    return signature


def parse_arc_seal(tags: Mapping[bytes, bytes]) -> Signature:
    """An ARC-Seal (RFC 8617 section 4.1.3): no h=, no bh=, always relaxed. Raises SignatureError."""
    if b"h" in tags or b"bh" in tags:
        raise SignatureError("ARC-Seal with h= or bh=")
    kept = {tag: value for tag, value in tags.items() if tag in {b"a", b"b", b"d", b"s", b"t"}}
    return _parse(kept | {b"c": b"relaxed/relaxed"}, seal=True)


def _parse(tags: Mapping[bytes, bytes], *, seal: bool = False) -> Signature:
    algorithm = _required(tags, b"a")
    if algorithm not in _ALGORITHMS:
        raise SignatureError("rsa-sha1 is not secure" if algorithm == b"rsa-sha1" else "unknown algorithm")
    header_form, body_form = _canonicalization(tags.get(b"c", b"simple/simple"))
    signed_at_s, expires_at_s = _number(tags, b"t"), _number(tags, b"x")
    if signed_at_s is not None and expires_at_s is not None and expires_at_s <= signed_at_s:
        raise SignatureError("expires before it was signed")
    domain = _name(tags, b"d", _DOMAIN)
    return Signature(
        algorithm=algorithm,
        key_type=_ALGORITHMS[algorithm],
        domain=domain,
        selector=_name(tags, b"s", _SELECTOR),
        identity=address_text(tags.get(b"i", b"")) or f"@{domain}",
        signature=_base64_text(tags, b"b"),
        body_hash=b"" if seal else base64.b64decode(_base64_text(tags, b"bh")),
        signed_names=() if seal else _signed_names(tags),
        relaxed_header=header_form == b"relaxed",
        relaxed_body=body_form == b"relaxed",
        body_length=_number(tags, b"l"),
        signed_at_s=signed_at_s,
        expires_at_s=expires_at_s,
    )


def signed_fields(fields: FieldsByName, names: Sequence[bytes], own: Field) -> list[Field]:
    """The fields that h= names, in its order, each name from the bottom of the message up (RFC 6376 section 5.4.2).

    `own` is the signature's field, which never signs itself. A From beyond those that h= names is added, so that a
    second From breaks the signature (section 8.15).
    """
    stacks = {name: [field for field in fields[name] if field is not own] for name in {*names} if name in fields}
    last = (b"from",) if b"from" in stacks else ()
    return [stacks[name].pop() for name in (*names, *last) if stacks.get(name)]


def _required(tags: Mapping[bytes, bytes], tag: bytes) -> bytes:
    value = tags.get(tag, b"")
    if not value:
        raise SignatureError(f"{tag.decode()}= is missing")
    return value


def domain_text(value: bytes) -> str:
    """A domain of a tag, U-labels as A-labels; what is no domain comes as it is, or as "" when it is not ASCII."""
    return value.decode("ascii") if value.isascii() else ascii_domain(value.decode("utf-8", "replace"))


def selector_text(value: bytes) -> str:
    """A selector, as `domain_text`; it may be one label alone, which is no domain, so it is read with one behind it."""
    return domain_text(value + b".org").removesuffix(".org")


def address_text(value: bytes) -> str:
    """The address of i=, its domain as `domain_text`; a local part may be UTF-8."""
    local_part, at, domain = value.rpartition(b"@")
    return local_part.decode("utf-8", "replace") + at.decode() + domain_text(domain)


def _name(tags: Mapping[bytes, bytes], tag: bytes, pattern: re.Pattern[str]) -> str:
    value = _required(tags, tag)
    name = selector_text(value) if tag == b"s" else domain_text(value)
    if not pattern.fullmatch(name) or len(name) > 253:
        raise SignatureError(f"{tag.decode()}= is not a domain name")
    return name


def _number(tags: Mapping[bytes, bytes], tag: bytes) -> int | None:
    if tag not in tags:
        return None
    if not _NUMBER.fullmatch(tags[tag]):
        raise SignatureError(f"{tag.decode()}= is not a number")
    return int(tags[tag])


def _base64_text(tags: Mapping[bytes, bytes], tag: bytes) -> bytes:
    text = _required(tags, tag).translate(None, b" \t\r\n")
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise SignatureError(f"{tag.decode()}= is not base64") from error
    return text


def _canonicalization(value: bytes) -> tuple[bytes, bytes]:
    header_form, _, body_form = value.lower().partition(b"/")
    body_form = body_form or b"simple"
    if header_form not in _CANONICALIZATIONS or body_form not in _CANONICALIZATIONS:
        raise SignatureError("unknown canonicalization")
    return header_form, body_form


def _signed_names(tags: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    if b"h" not in tags:
        raise SignatureError("h= is missing")
    names = tuple(name for part in tags[b"h"].lower().split(b":") if (name := part.strip()))
    if len(names) > SIGNED_NAMES_MAX:
        raise SignatureError("h= names too many fields")
    return names
