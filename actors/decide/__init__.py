"""The aggregator: facts in, verdict out. Pure; the order of the findings never matters.

    findings ─► dmarc (alignment), dkim (failures) ─► rules, in order ─► action, reply, reasons
                                  └► score             └► edits: authres, spam_headers

Imported by the ingress and by `tamis scan --local`; imports the model and the settings only.
"""

from actors.decide.settled import is_telling, settled
from actors.decide.verdict import decide, decide_early

__all__ = ["decide", "decide_early", "is_telling", "settled"]
