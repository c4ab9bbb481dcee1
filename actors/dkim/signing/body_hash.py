"""The hash of a body as a fact: made when the message comes, used when it leaves: the body travels once. Pure."""

import base64
import binascii
from collections.abc import Iterable

from actors.dkim.canonical import BodyHashes
from actors.model import BODY_HASH, Message

_FORMS = {True: f"{BODY_HASH}relaxed", False: f"{BODY_HASH}simple"}


def hash_facts(body: BodyHashes, forms: Iterable[bool]) -> dict[str, str]:
    """Facts with the hash in these forms, by whether relaxed."""
    return {_FORMS[relaxed]: base64.b64encode(body.sha256(relaxed=relaxed)).decode() for relaxed in forms}


def body_of(message: Message) -> BodyHashes:
    """The hashes of a body that leaves: those of before, or its own where none are known."""
    facts = {name: value for finding in message.known for name, value in finding.facts.items()}
    known = {relaxed: _digest(facts[name]) for relaxed, name in _FORMS.items() if name in facts}
    return BodyHashes(message.body, known)


def _digest(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
