"""One signature and its key make one verdict (RFC 6376 section 6.1): pure, so that a table of cases is its test."""

import msgspec

from actors.config import DkimConfig
from actors.dkim.canonical import BodyHashes, Field, FieldsByName, RelaxedFields
from actors.dkim.dkimpy import signature_holds
from actors.dkim.key import PublicKey
from actors.dkim.signature import Signature, signed_fields
from actors.model import Outcome


class Verified(msgspec.Struct, frozen=True):
    """What a signature is worth and why."""

    outcome: Outcome
    reason: str
    key: str = ""
    """NO_KEY or TEST_KEY (actors/model.py)."""


class Evidence(msgspec.Struct, frozen=True):
    """The message that signatures speak of, and by what it is judged."""

    fields: FieldsByName
    body: BodyHashes
    now_s: float
    """Unix time at which the message came."""
    config: DkimConfig
    relaxed: RelaxedFields = msgspec.field(default_factory=RelaxedFields)


def verify(signature: Signature, key: PublicKey, own_field: Field, evidence: Evidence) -> Verified:
    """The verdict on the DKIM-Signature or ARC-Message-Signature that stands in `own_field`."""
    config, body = evidence.config, evidence.body
    unusable = time_problem(signature, config, evidence.now_s) or key_problem(signature, key, config)
    if unusable is not None:
        return unusable
    length, body_bytes = signature.body_length, len(body.canonical(relaxed=signature.relaxed_body))
    if length is not None and length > body_bytes:
        return Verified(Outcome.FAIL, "l= is longer than the body")
    if body.sha256(relaxed=signature.relaxed_body, length=length) != signature.body_hash:
        return Verified(Outcome.FAIL, "body hash mismatch")
    if not header_holds(signature, key, own_field, evidence.fields, evidence.relaxed):
        return Verified(Outcome.FAIL, "signature mismatch")
    if length is not None and length < body_bytes:
        # RFC 6376 section 8.2: whoever likes can append to what l= leaves out.
        return Verified(Outcome(config.unsigned_tail), f"l= leaves {body_bytes - length} bytes of the body unsigned")
    return Verified(Outcome.PASS, "signature verified")


def header_holds(
    signature: Signature, key: PublicKey, own_field: Field, fields: FieldsByName, relaxed: RelaxedFields
) -> bool:
    """Whether b= signs the fields that h= names and `own_field` (RFC 6376 section 3.7); the body is left aside."""
    signed = signed_fields(fields, signature.signed_names, own_field)
    if signature.relaxed_header:
        signed, own_field = [relaxed.of(field) for field in signed], relaxed.of(own_field)
    return signature_holds(signed, own_field, signature.signature, key.key_type, key.public)


def coverage_problem(signature: Signature, fields: FieldsByName, config: DkimConfig) -> Verified | None:
    """Whether the message has fields that we want signed, and h= leaves one of them out."""
    for name in config.must_be_signed:
        there = len(fields.get(name.lower().encode(), ()))
        if there and signature.signed_names.count(name.lower().encode()) < there:
            return Verified(Outcome.POLICY, f"{name} is not signed")
    return None


def time_problem(signature: Signature, config: DkimConfig, now_s: float) -> Verified | None:
    """RFC 6376 section 3.5, t= and x=, with the clock drift of the configuration."""
    if signature.signed_at_s is not None and signature.signed_at_s > now_s + config.clock_drift_s:
        return Verified(Outcome.FAIL, "signed in the future")
    if signature.expires_at_s is not None and signature.expires_at_s < now_s - config.clock_drift_s:
        return Verified(Outcome.FAIL, "signature expired")
    return None


def key_problem(signature: Signature, key: PublicKey, config: DkimConfig) -> Verified | None:
    """RFC 6376 section 6.1.2: what the key's owner and we demand of the signature."""
    if key.key_type != signature.key_type:
        return Verified(Outcome.PERMERROR, "key is of another type than a=")
    if not key.sha256_allowed:
        return Verified(Outcome.PERMERROR, "key is not for sha256")
    at_domain = signature.identity.rpartition("@")[2]
    if key.identity_is_domain and at_domain.lower() != signature.domain.lower():
        return Verified(Outcome.PERMERROR, "key is not for subdomains in i=")
    if key.key_type == b"rsa" and key.bits < config.key_bits_min:
        return Verified(Outcome.POLICY, f"key of {key.bits} bits is too short")
    return None
