"""Which signatures of a message are verified: more than `signatures_max` never are, whatever a stranger adds. Pure."""

import re
from collections.abc import Sequence

from actors.config import DkimConfig
from actors.dkim.canonical import Field
from actors.dkim.signature import FIELD_BYTES_MAX
from actors.domains import ascii_domain

_SIGNING_DOMAIN = re.compile(rb"(?:\A|;)[ \t\r\n]*+d[ \t\r\n]*+=[ \t\r\n]*+([^; \t\r\n]++)")


_LOOKED_AT_MAX = 100
"""Signatures among which those of `signers_first` are looked for: a message may bring ten thousand."""


def chosen_signatures(fields: Sequence[Field], config: DkimConfig) -> Sequence[int]:
    """The places of those to verify, from the top, among the DKIM-Signature fields of a message.

    All of them, or when there are too many those of `signers_first`, then the topmost.
    """
    most = config.signatures_max
    if len(fields) <= most or not config.signers_first:
        return range(min(len(fields), most))
    first = {domain.lower() for domain in config.signers_first}
    looked_at = range(min(len(fields), max(_LOOKED_AT_MAX, most)))
    by_rank = sorted(looked_at, key=lambda place: signing_domain(fields[place][1]) not in first)
    return sorted(by_rank[:most])


def signing_domain(value: bytes) -> str:
    """The d= of a DKIM-Signature, whatever else is wrong with it, as A-labels in lower case; "" when it has none."""
    match = _SIGNING_DOMAIN.search(value[:FIELD_BYTES_MAX])
    return ascii_domain(match[1].decode("utf-8", "replace")) if match else ""
