"""The aggregator: facts in, verdict out. Pure; the order of the findings never matters.

    findings ─► dmarc (alignment), dkim (failures) ─► rules, in order ─► action, reply, reasons
                                  └► score             └► edits: authres, spam_headers
                                                          leaving: the header section after them, which is signed

Imported by the ingress and by `tamis scan --local`; imports the model and the settings only.
"""

from actors.decide.leaving import leaving_header_block, new_body
from actors.decide.settled import is_telling, settled
from actors.decide.signing import lacks_signature, signing_failures, to_be_signed, with_signatures
from actors.decide.verdict import decide, decide_early

__all__ = [
    "decide",
    "decide_early",
    "is_telling",
    "lacks_signature",
    "leaving_header_block",
    "new_body",
    "settled",
    "signing_failures",
    "to_be_signed",
    "with_signatures",
]
