"""What `tamis dkim verify` says about a signature that does not pass: its diagnosis, for people."""

import asyncio
from collections.abc import Iterator

from actors.dkim.diagnosis import FIELDS_MAX, Diagnosis, Hash, diagnose
from actors.dkim.difference import Difference
from actors.dkim.key import KeyRecordError, PublicKey, first_usable_key
from actors.dkim.signature import SignatureError, field_tags, parse_signature
from actors.model import PLACE, Finding, Message, Outcome
from actors.ports import LookupFailed, NameNotFound, Resolver

_LOOKUP_TIMEOUT_S = 5.0


async def diagnosis_of(
    finding: Finding, message: Message, original: Message | None, resolver: Resolver
) -> Diagnosis | None:
    """What broke the signature that a finding of DkimActor is about; None when it passes or cannot be read.

    The resolver has the key in its cache, as the actor has just asked for it.
    """
    if finding.name != "dkim" or PLACE not in finding.facts or finding.outcome in (Outcome.PASS, Outcome.SKIPPED):
        return None
    own_field = message.fields_by_name[b"dkim-signature"][int(finding.facts[PLACE])]
    try:
        signature = parse_signature(field_tags(own_field[1]))
    except SignatureError:
        return None
    return diagnose(signature, own_field, message, await _key(signature.key_name, resolver), original)


async def _key(name: str, resolver: Resolver) -> PublicKey | None:
    try:
        async with asyncio.timeout(_LOOKUP_TIMEOUT_S):
            return first_usable_key(await resolver.txt(name))
    except (NameNotFound, KeyRecordError, LookupFailed, TimeoutError):
        return None


def diagnosis_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """The diagnosis in lines."""
    yield f"body hash {diagnosis.body_hash}, header hash {diagnosis.header_hash}"
    yield f"signed fields: {', '.join(diagnosis.present)}"
    if diagnosis.absent:
        yield f"named in h=, not in the message: {', '.join(diagnosis.absent)}"
    for what, now, before in (
        ("body", diagnosis.body_hash, diagnosis.original_body_hash),
        ("header", diagnosis.header_hash, diagnosis.original_header_hash),
    ):
        if now is not Hash.HOLDS and before in (Hash.FAILS, Hash.OTHER_KEY):
            yield f"the original's {what} is not what was signed either: the hash {before}"
    source = diagnosis.compared_with
    for one in diagnosis.fields:
        place = f"{one.name}, number {one.occurrence} from the bottom, against {source}: "
        yield from _difference_lines(place, one.difference)
    if len(diagnosis.fields) >= FIELDS_MAX:
        yield f"no more than {FIELDS_MAX} fields are told"
    if diagnosis.body is not None:
        place = f"body, line {diagnosis.body.line}, byte {diagnosis.body.byte}, against {source}: "
        yield from _difference_lines(place, diagnosis.body.difference)


def _difference_lines(place: str, difference: Difference) -> Iterator[str]:
    start = difference.start
    cause = f" ({difference.cause})" if difference.cause else ""
    spans = f"bytes {start} to {difference.received_end}, were {start} to {difference.original_end}"
    yield f"{place}{spans}{cause}"
    yield f'  original: "{difference.original}"'
    yield f'  received: "{difference.received}"'
