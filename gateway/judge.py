"""Asking the cluster about one connection's transactions, and making replies of what it answers.

Strategy: asking and answering are two steps, since what happens meanwhile (Abort, a lost connection) makes an answer
moot: `ask_*` waits and changes nothing that is counted, `answer_*` counts, logs and gives the replies. Every failure of
asking ends in `_unanswered`.
"""

import logging
from dataclasses import dataclass

from gateway import replies
from gateway.bounds import HeldBytes
from gateway.conversation import Conversation, EarlyVerdict, Unavailable
from gateway.early import Stage
from gateway.failure_policy import FailurePolicy, Outcome
from gateway.fallback import Case
from gateway.link import Link
from gateway.metrics import ACTIONS, OVERSIZE
from gateway.session import AskEarly, SessionRules
from gateway.spool import Spool
from gateway.telemetry import Ending, Telemetry
from gateway.transaction import Failure, Transaction
from tamis.filter.v1 import verdict_pb2
from wire.milter import Limits
from wire.milter import events as ev

log = logging.getLogger(__name__)

EarlyAnswer = EarlyVerdict | Unavailable | None
MessageAnswer = verdict_pb2.Verdict | Unavailable


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections share."""

    link: Link
    telemetry: Telemetry
    rules: SessionRules
    limits: Limits
    held: HeldBytes
    failure_policy: FailurePolicy
    spool: Spool


class Judge:
    """One connection's way to the cluster."""

    def __init__(self, services: Services) -> None:
        self._link = services.link
        self._telemetry = services.telemetry
        self._failure_policy = services.failure_policy
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

    async def ask_early(self, question: AskEarly) -> EarlyAnswer:
        """The verdict at a stage before the end of the message; None = silence for the stage's budget."""
        conversation = self._follow(question.transaction)
        if conversation is None:
            return Unavailable(Failure.OVERLOADED)
        return await conversation.early_verdict(question.stage, question.recipient)

    def answer_early(self, question: AskEarly, answer: EarlyAnswer, negotiated: ev.Negotiated) -> replies.Replies:
        """Silence lets the client go on to the next stage; one that goes on after a refusal is judged anew there."""
        outcome = Outcome("late", [ev.Continue()])
        if answer is not None:
            outcome = self._early_outcome(question, answer, negotiated)
        if question.stage is Stage.RCPT and not isinstance(outcome.replies[-1], ev.Continue):
            question.transaction.refused.add(question.recipient)
        self._telemetry.answered_early(question.transaction, question.stage, outcome.action, answer, outcome.rule)
        return outcome.replies

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
        rule = ""
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
            outcome = self._unanswered(failure, Case(transaction.client, transaction, whole_message=True), negotiated)
            action, answers, rule = outcome.action, outcome.replies, outcome.rule
        conversation, self._conversation = self._conversation, None
        ending = Ending(action, waited_s, self._lasted_s(transaction), verdict, failure, rule)
        self._telemetry.ended(transaction, ending, conversation.keep if conversation is not None else None)
        return answers

    def refuse_oversize(self, transaction: Transaction) -> None:
        """The message is refused without a question."""
        self._telemetry.ended(transaction, Ending(OVERSIZE, 0.0, self._lasted_s(transaction)))

    def _early_outcome(
        self, question: AskEarly, answer: EarlyVerdict | Unavailable, negotiated: ev.Negotiated
    ) -> Outcome:
        if isinstance(answer, Unavailable):
            failure = answer.failure
        else:
            try:
                reply = replies.for_early(answer)
                return Outcome(ACTIONS[answer.action], [reply])
            except replies.InvalidVerdict as error:
                failure = Failure.INTERNAL
                log.warning("invalid_verdict", extra={"fields": {"stage": question.stage, "why": str(error)}})
        transaction = question.transaction
        recipient = question.recipient if question.stage is Stage.RCPT else None
        known = transaction if transaction.has_mail else None
        case = Case(transaction.client, known, recipient, hopeless=transaction.failure is not None)
        return self._unanswered(failure, case, negotiated)

    def _unanswered(self, failure: Failure, case: Case, negotiated: ev.Negotiated) -> Outcome:
        """The one place where asking has failed: answered by the failure policy, and counted."""
        outcome = self._failure_policy.outcome(failure, case, negotiated)
        metrics = self._telemetry.metrics
        metrics.failures[failure, outcome.action].inc()
        if outcome.rule:
            metrics.fallback[outcome.rule].inc()
        if outcome.action in ("accept", "quarantine"):
            metrics.unfiltered.inc()
        return outcome

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
