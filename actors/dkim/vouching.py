"""What trusted forwarders saw: the author domain that DMARC passed for before the message came their way. Pure.

Every set of a chain that holds is as its sealer wrote it. The word of one counts when all who sealed after him are
trusted, too: a stranger between him and us may have made another message of it.
"""

import re
from collections.abc import Collection

from actors.decide.authres_reader import MethodResult, ResultsError, parse_results
from actors.dkim.arc import Chain
from actors.dkim.canonical import Field
from actors.domains import ascii_domain

_INSTANCE = re.compile(rb"\s*+i\s*+=[^;]*+;")


def vouched_author(chain: Chain, trusted: Collection[str]) -> str:
    """The author domain (A-labels) for which a trusted sealer of a chain that holds saw DMARC pass; "" for none."""
    for seal in reversed(chain.seals):
        if seal.signature.domain.lower() not in trusted:
            return ""
        author = _passed_author(seal.fields[0])
        if author:
            return author
    return ""


def _passed_author(field: Field) -> str:
    """Of one ARC-Authentication-Results: the `header.from` of its only DMARC result, if that is a pass."""
    instance = _INSTANCE.match(field[1])
    try:
        told = parse_results(field[1][instance.end() :] if instance else b"").results
    except ResultsError:
        return ""
    dmarc: list[MethodResult] = [result for result in told if result.method == "dmarc"]
    if len(dmarc) != 1 or dmarc[0].result != "pass":
        return ""
    return ascii_domain(dmarc[0].value("header.from").rpartition("@")[2])
