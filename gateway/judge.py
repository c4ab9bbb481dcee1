"""Asking the cluster about one connection's transactions, and making replies of what it answers.

Strategy: asking and answering are two steps, since what happens meanwhile (Abort, a lost connection) makes an answer
moot: `ask_*` waits and changes nothing that is counted, `answer_*` counts, logs and gives the replies. Every failure of
asking ends in `_unavailable`.
"""

import logging
from dataclasses import dataclass

from gateway import replies
from gateway.conversation import Conversation, Unavailable
from gateway.link import Link
from gateway.metrics import ACTIONS, OVERSIZE
from gateway.session import HeldBytes, SessionRules
from gateway.telemetry import Ending, Telemetry
from gateway.transaction import Failure, Transaction
from tamis.filter.v1 import verdict_pb2
from wire.milter import Limits
from wire.milter import events as ev

log = logging.getLogger(__name__)

RecipientAnswer = verdict_pb2.RecipientVerdict | Unavailable | None
MessageAnswer = verdict_pb2.Verdict | Unavailable


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections share."""

    link: Link
    telemetry: Telemetry
    rules: SessionRules
    limits: Limits
    held: HeldBytes
    accept_when_unavailable: bool


class Judge:
    """One connection's way to the cluster."""

    def __init__(self, services: Services) -> None:
        self._link = services.link
        self._telemetry = services.telemetry
        self._accept_when_unavailable = services.accept_when_unavailable
        self._conversation: Conversation | None = None

    def forward(self, transaction: Transaction | None) -> None:
        """Tell the ingress what is new in the session's transaction, or that there is none any more."""
        conversation = self._follow(transaction)
        if conversation is not None:
            conversation.advance()

    def abort(self) -> None:
        """A question that is open is moot: it ends at once."""
        if self._conversation is not None:
            self._conversation.abort()

    async def ask_recipient(self, transaction: Transaction, index: int) -> RecipientAnswer:
        """The early verdict on a recipient; None = silence for the RCPT budget."""
        conversation = self._follow(transaction)
        if conversation is None:
            return Unavailable(Failure.OVERLOADED)
        return await conversation.recipient_verdict(index)

    def answer_recipient(
        self, transaction: Transaction, index: int, answer: RecipientAnswer, negotiated: ev.Negotiated
    ) -> replies.Replies:
        """Silence lets the recipient through to the message stage."""
        counted = self._telemetry.metrics.recipients
        if answer is None:
            counted["late"].inc()
            return [ev.Continue()]
        answers = self._recipient_replies(answer, negotiated)
        if isinstance(answers[-1], ev.Continue):
            counted["accept"].inc()
            return answers
        transaction.refused.add(index)
        rejected = isinstance(answer, verdict_pb2.RecipientVerdict) and answer.action == verdict_pb2.ACTION_REJECT
        action = "reject" if rejected else "tempfail"
        counted[action].inc()
        self._telemetry.recipient_refused(transaction, action, answer)
        return answers

    async def ask_message(self, transaction: Transaction) -> MessageAnswer:
        """The verdict on the complete message."""
        conversation = self._follow(transaction)
        if conversation is None:
            return Unavailable(transaction.failure or Failure.INTERNAL)
        return await conversation.verdict()

    def answer_message(
        self, transaction: Transaction, answer: MessageAnswer, waited_s: float, negotiated: ev.Negotiated
    ) -> replies.Replies:
        """Apply the verdict, or the failure policy; the transaction is over then."""
        verdict: verdict_pb2.Verdict | None = None
        if isinstance(answer, Unavailable):
            failure: Failure | None = answer.failure
        else:
            verdict, failure = answer, None
            try:
                answers = replies.for_verdict(verdict, negotiated)
            except replies.InvalidVerdict as error:
                failure = Failure.INTERNAL
                log.warning("invalid_verdict", extra={"fields": {"queue_id": transaction.queue_id, "why": str(error)}})
            else:
                action = ACTIONS[verdict.action]
        if failure is not None:
            answers = self._unavailable(failure, negotiated, whole_message=True)
            action = "accept" if isinstance(answers[-1], ev.Accept) else "tempfail"
        conversation, self._conversation = self._conversation, None
        ending = Ending(action, waited_s, self._lasted_s(transaction), verdict, failure)
        self._telemetry.ended(transaction, ending, conversation.keep if conversation is not None else None)
        return answers

    def refuse_oversize(self, transaction: Transaction) -> None:
        """The message is refused without a question."""
        self._telemetry.ended(transaction, Ending(OVERSIZE, 0.0, self._lasted_s(transaction)))

    def _recipient_replies(
        self, answer: verdict_pb2.RecipientVerdict | Unavailable, negotiated: ev.Negotiated
    ) -> replies.Replies:
        if isinstance(answer, Unavailable):
            return self._unavailable(answer.failure, negotiated, whole_message=False)
        try:
            return [replies.for_recipient(answer)]
        except replies.InvalidVerdict as error:
            log.warning("invalid_verdict", extra={"fields": {"why": str(error)}})
            return self._unavailable(Failure.INTERNAL, negotiated, whole_message=False)

    def _unavailable(self, failure: Failure, negotiated: ev.Negotiated, *, whole_message: bool) -> replies.Replies:
        """The one place where asking has failed: counted, then answered by the failure policy."""
        metrics = self._telemetry.metrics
        metrics.failures[failure].inc()
        answers = replies.when_unavailable(
            failure, accept=self._accept_when_unavailable, negotiated=negotiated, whole_message=whole_message
        )
        if isinstance(answers[-1], ev.Accept):
            metrics.unfiltered.inc()
        return answers

    def _lasted_s(self, transaction: Transaction) -> float:
        return self._telemetry.now_s() - transaction.identity.opened_at_s

    def _follow(self, transaction: Transaction | None) -> Conversation | None:
        """The conversation about the session's transaction; one about an earlier or hopeless one is aborted."""
        conversation = self._conversation
        wanted = transaction is not None and transaction.keeps_content
        if conversation is not None and not (wanted and conversation.exchange.transaction is transaction):
            conversation.abort()
            conversation = None
        if transaction is not None and wanted and conversation is None:
            conversation = self._link.open(transaction)
        self._conversation = conversation
        return conversation
