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


class BodyHashError(Exception):
    """The body that leaves is not at hand, and was not hashed in the wanted form; the text says which."""


def body_of(message: Message, *, relaxed: bool) -> BodyHashes:
    """The hashes of a body that leaves: those of before, or its own where none are known. Raises BodyHashError.

    Settings that change between two stages make another form be wanted than was hashed; the mail has to come again.
    """
    facts = {name: value for finding in message.known for name, value in finding.facts.items()}
    known = {form: digest for form, name in _FORMS.items() if (digest := _digest(facts.get(name, "")))}
    if relaxed not in known and any(name in facts for name in _FORMS.values()):
        raise BodyHashError(f"the {'relaxed' if relaxed else 'simple'} hash of the body was not made when it came")
    return BodyHashes(message.body, known)


def _digest(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
