"""Which signatures of a message are verified: more than `signatures_max` never are, whatever a stranger adds. Pure."""

import re
from collections.abc import Sequence
from itertools import takewhile

from actors.config import DkimConfig
from actors.dkim.canonical import Field
from actors.dkim.signature import FIELD_BYTES_MAX
from actors.domains import ascii_domain, ascii_domains
from actors.model import Message
from actors.policy.author import read_authors

_SIGNING_DOMAIN = re.compile(rb"(?:\A|;)[ \t\r\n]*+d[ \t\r\n]*+=[ \t\r\n]*+([^; \t\r\n]++)")

_LOOKED_AT_MAX = 100
"""Signatures among which those that matter most are looked for: a message may bring ten thousand."""
_D_WITHIN_BYTES = 1024
"""Of each of them: it names its domain before the long tags, or is not looked at."""
_CONVERTED_MAX = 10
"""Of those whose d= is not ASCII: to read one may cost a millisecond."""
_AUTHORS_CONVERTED_MAX = 2
"""The one author's domain, and the same in his name: only one that is alone ranks signatures."""


def chosen_signatures(message: Message, config: DkimConfig) -> Sequence[int]:
    """The places of those to verify, from the top, among the DKIM-Signature fields of a message.

    All of them, or when there are too many those of `signers_first`, then those that may align with the author (its
    own domain, then the nearest relatives), then the topmost.
    """
    fields = message.fields_by_name.get(b"dkim-signature", ())
    most = config.signatures_max
    if len(fields) <= most:
        return range(len(fields))
    first, author = ascii_domains(config.signers_first), read_authors(message, _AUTHORS_CONVERTED_MAX).domain
    signers = _signers(fields[: max(_LOOKED_AT_MAX, most)])
    ranks = [(one not in first, not one or one != author, -_labels_shared(one, author)) for one in signers]
    return sorted(sorted(range(len(ranks)), key=ranks.__getitem__)[:most])


def _signers(fields: Sequence[Field]) -> list[str]:
    """The d= of each; "" for those not read, too."""
    found, left = [], _CONVERTED_MAX
    for _, value in fields:
        text = _d_tag(value[:_D_WITHIN_BYTES])
        left -= not text.isascii()
        found.append(_domain(text) if text.isascii() or left >= 0 else "")
    return found


def _labels_shared(one: str, other: str) -> int:
    """How many labels two domains have in common at their ends; a top-level domain alone makes no relatives."""
    pairs = zip(reversed(one.split(".")), reversed(other.split(".")), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return shared if shared > 1 else 0


def signing_domain(value: bytes) -> str:
    """The d= of a DKIM-Signature, whatever else is wrong with it, as A-labels in lower case; "" when it has none."""
    return _domain(_d_tag(value))


def _d_tag(value: bytes) -> bytes:
    match = _SIGNING_DOMAIN.search(value[:FIELD_BYTES_MAX])
    return match[1] if match else b""


def _domain(text: bytes) -> str:
    return ascii_domain(text.decode("utf-8", "replace"))
