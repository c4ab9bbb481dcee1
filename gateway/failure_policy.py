"""What the MTA hears when a question got no verdict: the local rules first, then the class's action. Pure.

Strategy: before end of message, what would let the mail pass means "go on", since only the message stage can mark it.
At end of message mail passes only with our mark as its first field; what the MTA does not let us do, and a header
section stuffed with forged marks, is a tempfail. Forged marks are deleted where the MTA lets us.
"""

import re
from dataclasses import dataclass
from typing import Final

from gateway.fallback import Case, Fallback
from gateway.replies import Replies, lead
from gateway.transaction import Failure, Transaction
from wire.config import Section
from wire.message import UNFILTERED_FIELD
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.values import format_reply

ACTIONS: Final = ("tempfail", "accept", "reject", "quarantine")
OUTCOMES: Final = (*ACTIONS, "continue")
"""What may become of a failed question."""
FORGED_MAX = 100
"""Marks of ours on mail that comes in; an MTA looks through all fields for each that we delete."""

_TEMPFAIL = ev.ReplyCode(format_reply(451, "4.7.1", "Mail filter is not available, please try again later"))
_REJECT = ev.ReplyCode(format_reply(554, "5.7.1", "Mail filter is not available, mail is not accepted"))
_DENIED = ev.ReplyCode(format_reply(550, "5.7.1", "Not accepted by local policy"))
_PUT_OFF = ev.ReplyCode(format_reply(450, "4.7.1", "Not accepted by local policy for now"))
_TOO_LARGE = ev.ReplyCode(format_reply(552, "5.3.4", "Message is too big while the mail filter is not available"))
_FORGED = re.compile(rb"(?mi)^%b[ \t]*:" % re.escape(UNFILTERED_FIELD))


class OnFailureConfig(Section, frozen=True):
    """[gateway.on_failure]: mail without a verdict: tempfail (451), reject (554), accept or quarantine (both marked).

    The mark is X-Tamis-Unfiltered with the class, at end of message; RCPT goes on to it, earlier stages always go on.
    Where the MTA does not let us mark or quarantine, it is a tempfail.
    """

    unreachable: str = "tempfail"
    """No ingress within the budget."""
    overloaded: str = "tempfail"
    """Every ingress refused it, or this gateway is at a bound: sessions, memory, spool."""
    timeout: str = "tempfail"
    """An ingress has it and gave no verdict in time."""
    protocol: str = "tempfail"
    """An ingress and this gateway do not understand each other: two releases that do not fit."""
    internal: str = "tempfail"
    """A verdict that cannot be applied, an ingress that failed inside, a message that breaks every stream."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) not in ACTIONS:
                raise ValueError(f"`{name}` must be one of {', '.join(ACTIONS)}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a failed question."""

    action: str
    """One of OUTCOMES."""
    replies: Replies
    rule: str = ""
    """The local rule that decided, if one did."""


class FailurePolicy:
    """The answers of one configuration."""

    def __init__(self, config: OnFailureConfig, fallback: Fallback) -> None:
        self._action = {failure: str(getattr(config, failure)) for failure in Failure}
        self._fallback = fallback

    def outcome(self, failure: Failure, case: Case, negotiated: ev.Negotiated) -> Outcome:
        """What the MTA hears about this mail."""
        local = self._fallback.decide(case)
        rule, action = (local.rule, local.action) if local is not None else ("", self._action[failure])
        early = not case.whole_message and case.recipient is None
        if not rule and early and not case.hopeless:
            # Before RCPT the client may go on: a later stage asks again.
            return Outcome("continue", [ev.Continue()])
        if action == "reject":
            return Outcome(action, [_rejection(rule)], rule)
        if action == "tempfail":
            return Outcome(action, [_PUT_OFF if rule else _TEMPFAIL], rule)
        if not case.whole_message or case.transaction is None:
            return Outcome("continue", [ev.Continue()], rule)
        passed = _pass_marked(failure, case.transaction, negotiated, quarantine=action == "quarantine")
        return Outcome(action, passed, rule) if passed else Outcome("tempfail", [_TEMPFAIL], rule)


def _rejection(rule: str) -> ev.ReplyCode:
    if rule == "message_bytes_max":
        return _TOO_LARGE
    return _DENIED if rule else _REJECT


def _pass_marked(failure: Failure, transaction: Transaction, negotiated: ev.Negotiated, *, quarantine: bool) -> Replies:
    """The replies that let the message pass with its mark; none when it cannot be marked."""
    needed = c.SMFIF_ADDHDRS | (c.SMFIF_QUARANTINE if quarantine else 0)
    forged = len(_FORGED.findall(transaction.header_block or b""))
    if negotiated.actions & needed != needed or forged > FORGED_MAX:
        return []
    answers: Replies = []
    if negotiated.actions & c.SMFIF_CHGHDRS:
        answers += [ev.ChangeHeader(number, UNFILTERED_FIELD, b"") for number in range(forged, 0, -1)]
    # First of all fields: where forged ones cannot be deleted or were not kept, ours is the one that is found.
    answers.append(ev.InsertHeader(0, UNFILTERED_FIELD, lead(negotiated) + failure.encode()))
    if quarantine:
        answers.append(ev.Quarantine(b"no verdict: " + failure.encode()))
    return [*answers, ev.Accept()]
