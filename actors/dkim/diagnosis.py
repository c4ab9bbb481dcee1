"""What broke a signature: which of its two hashes fails, and which signed part of the mail is not as it was. Pure.

Strategy: body hash and header hash are checked apart from each other, as `verify` stops at the first that fails. What
fails is compared, in the signature's own canonical form, with an original: the mail as it was sent, or, for header
fields, the copies that the signer left in z=. This tells people where to look; no verdict is made from it.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from actors.dkim.canonical import BodyHashes, Field, FieldsByName, RelaxedFields
from actors.dkim.copied import copied_fields
from actors.dkim.difference import Difference, body_difference, field_difference, line_of
from actors.dkim.dkimpy import without_signature
from actors.dkim.key import PublicKey
from actors.dkim.signature import Signature, SignatureError, field_tags, signed_fields
from actors.dkim.verify import header_holds
from actors.model import Message

FIELDS_MAX = 20
"""Differing fields that are told; in a wrong original all differ."""

_OWN_NAME = b"dkim-signature"
_SIGNATURES_READ_MAX = 50
_NO_FIELD: Field = (b"", b"")


class Hash(StrEnum):
    """What became of a hash."""

    HOLDS = "holds"
    FAILS = "fails"
    UNKNOWN = "is unknown"
    """There is no key to check it with, or nothing to make it of."""
    OTHER_KEY = "is by another key"
    """b= is no signature of anything by this RSA key: another one is published, or b= is damaged."""


class FieldDifference(msgspec.Struct, frozen=True):
    """A signed header field that is not as it was; its bytes are those of canonical `name:value`."""

    name: str
    occurrence: int
    """From the bottom of the header section up, as h= counts (RFC 6376 section 5.4.2): 1 = the last."""
    difference: Difference


class BodyDifference(msgspec.Struct, frozen=True):
    """Where the canonical body, up to l=, begins to be another."""

    line: int
    """1 = the first, and so is the byte in it."""
    byte: int
    difference: Difference


class Diagnosis(msgspec.Struct, frozen=True):
    """What became of one signature of a received message."""

    body_hash: Hash
    header_hash: Hash
    present: tuple[str, ...]
    """The names in h= that have a field in the message, as often as they have one."""
    absent: tuple[str, ...]
    """The names in h= without one: oversigned, or removed."""
    compared_with: str = ""
    """"original", or "z=" (fields alone); empty when there is nothing to compare with."""
    original_body_hash: Hash = Hash.UNKNOWN
    """Whether the original is what was signed; if not, differences say little."""
    original_header_hash: Hash = Hash.UNKNOWN
    fields: tuple[FieldDifference, ...] = ()
    body: BodyDifference | None = None


class _Header(NamedTuple):
    """A header section, and which of its fields is the signature."""

    fields: FieldsByName
    own: Field


def diagnose(
    signature: Signature, own_field: Field, received: Message, key: PublicKey | None, original: Message | None = None
) -> Diagnosis:
    """About the signature that stands in `own_field`, a field of `received`, of which `key` is the published key.

    Total, once `dkimpy.install` was called, as DkimActor does. Only what fails is compared; without `original` the
    fields with those in z=, as far as it has their names.
    """
    header, body = _Header(received.fields_by_name, own_field), BodyHashes(received.body)
    signed = Counter(name for name, _ in _places(signature, header))
    found = Diagnosis(
        body_hash=_body_hash(signature, body),
        header_hash=_header_hash(signature, key, header),
        present=_texts(signed.elements()),
        absent=_texts((Counter(signature.signed_names) - signed).elements()),
    )
    if original is not None:
        return _compared(found, signature, key, (header, body), original)
    copies = copied_fields(_tags(own_field).get(b"z", b""))
    if not copies or found.header_hash is Hash.HOLDS:
        return found
    kept = _Header({name: header.fields[name] for name in copies if name in header.fields}, own_field)
    fields = _field_differences(signature, kept, _Header(copies, _NO_FIELD))
    return msgspec.structs.replace(found, compared_with="z=", fields=fields)


def _compared(
    found: Diagnosis,
    signature: Signature,
    key: PublicKey | None,
    received: tuple[_Header, BodyHashes],
    original: Message,
) -> Diagnosis:
    header, body = received
    own = _same_signature(header.own, original.fields_by_name.get(_OWN_NAME, ()))
    # A mail that was kept before it was signed has no such field: there is nothing to compare it with.
    sent = _Header(original.fields_by_name, own or header.own)
    sent_body = BodyHashes(original.body)
    fields: tuple[FieldDifference, ...] = ()
    difference = None
    if found.header_hash is not Hash.HOLDS:
        fields = _own_difference(signature, header, sent) + _field_differences(signature, header, sent)
    if found.body_hash is not Hash.HOLDS:
        difference = _body_difference(signature, body, sent_body)
    return msgspec.structs.replace(
        found,
        compared_with="original",
        original_body_hash=_body_hash(signature, sent_body),
        original_header_hash=_header_hash(signature, key, sent),
        fields=fields,
        body=difference,
    )


def _body_hash(signature: Signature, body: BodyHashes) -> Hash:
    long_enough = len(body.canonical(relaxed=signature.relaxed_body)) >= (signature.body_length or 0)
    digest = body.sha256(relaxed=signature.relaxed_body, length=signature.body_length)
    return Hash.HOLDS if long_enough and digest == signature.body_hash else Hash.FAILS


def _header_hash(signature: Signature, key: PublicKey | None, header: _Header) -> Hash:
    if key is None or key.key_type != signature.key_type:
        return Hash.UNKNOWN
    if header_holds(signature, key, header.own, header.fields, RelaxedFields()):
        return Hash.HOLDS
    return Hash.FAILS if _is_by(key, signature) else Hash.OTHER_KEY


def _is_by(key: PublicKey, signature: Signature) -> bool:
    """Whether b= was made with this key, whatever it signs; of Ed25519 that cannot be told, so yes."""
    if not isinstance(key.public, RSAPublicKey):
        return True
    try:
        key.public.recover_data_from_signature(base64.b64decode(signature.signature), PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def _places(signature: Signature, header: _Header) -> dict[tuple[bytes, int], Field]:
    """What is signed, by lower-case name and how many of this name are below it, plus one; in the order of h=."""
    places: dict[tuple[bytes, int], Field] = {}
    seen: Counter[bytes] = Counter()
    for field in signed_fields(header.fields, signature.signed_names, header.own):
        name = field[0].lower()
        seen[name] += 1
        places[name, seen[name]] = field
    return places


def _field_differences(signature: Signature, received: _Header, original: _Header) -> tuple[FieldDifference, ...]:
    now, before = _places(signature, received), _places(signature, original)
    found = []
    for place in {**now, **before}:
        difference = field_difference(now.get(place), before.get(place), relaxed=signature.relaxed_header)
        if difference is not None:
            found.append(FieldDifference(place[0].decode("utf-8", "replace"), place[1], difference))
    return tuple(found[:FIELDS_MAX])


def _own_difference(signature: Signature, received: _Header, original: _Header) -> tuple[FieldDifference, ...]:
    """The signature's field itself, which is signed too but for its b=; that one counts without white space."""
    relaxed = signature.relaxed_header
    bare = [(name, without_signature(value)) for name, value in (received.own, original.own)]
    difference = field_difference(bare[0], bare[1], relaxed=relaxed)
    if difference is None and _signature_text(received.own) != _signature_text(original.own):
        difference = field_difference(received.own, original.own, relaxed=relaxed)
    return () if difference is None else (FieldDifference(_OWN_NAME.decode(), 1, difference),)


def _body_difference(signature: Signature, received: BodyHashes, original: BodyHashes) -> BodyDifference | None:
    now, before = (
        body.canonical(relaxed=signature.relaxed_body)[: signature.body_length] for body in (received, original)
    )
    difference = body_difference(now, before)
    if difference is None:
        return None
    line_start, line = line_of(now, difference.start)
    return BodyDifference(line, difference.start - line_start + 1, difference)


def _same_signature(own: Field, candidates: Sequence[Field]) -> Field | None:
    """The field of the original that is this signature: most of its tags are the same, d= and s= among them."""
    tags = _tags(own)
    best, best_alike = None, 0
    for candidate in candidates[:_SIGNATURES_READ_MAX]:
        other = _tags(candidate)
        alike = len(tags.items() & other.items())
        if alike > best_alike and all(tags[tag] == other.get(tag) for tag in (b"d", b"s")):
            best, best_alike = candidate, alike
    return best


def _signature_text(field: Field) -> bytes:
    return _tags(field).get(b"b", b"").translate(None, b" \t\r\n")


def _tags(field: Field) -> Mapping[bytes, bytes]:
    try:
        return field_tags(field[1])
    except SignatureError:
        return {}


def _texts(names: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(name.decode("utf-8", "replace") for name in names)
