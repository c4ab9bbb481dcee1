"""What is told about a transaction when it is over: metrics, one log line, and a span when it is worth one.

Strategy: the span is made after the fact from what is known anyway, and exported when the trace was sampled, when the
ingress exported its part, or when the message turned out slow, degraded or failed. A slow message that nobody traced
yet makes the gateway tell the ingress to `keep` its spans, so that the trace is whole. No message content anywhere.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.conversation import EarlyVerdict, Unavailable
from gateway.early import Stage
from gateway.metrics import Metrics
from gateway.transaction import Failure, Identity, Transaction
from tamis.filter.v1 import verdict_pb2
from wire.trace import SpanRecord, new_context

log = logging.getLogger(__name__)

Export = Callable[[list[SpanRecord]], None]
Keep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a transaction ended at end of message."""

    action: str
    """A word of metrics.ACTIONS or OVERSIZE: what the MTA was told."""
    waited_s: float
    """From end of message to the reply."""
    lasted_s: float
    """From MAIL to the reply."""
    verdict: verdict_pb2.Verdict | None = None
    failure: Failure | None = None
    rule: str = ""
    """The local rule that decided instead of the cluster."""

    @property
    def degraded(self) -> bool:
        """Actors were missing, or there is no verdict at all."""
        return self.failure is not None or (self.verdict is not None and self.verdict.degraded)


class Telemetry:
    """Where transactions begin their trace and end in numbers."""

    def __init__(  # noqa: PLR0913 - settings, by name
        self,
        metrics: Metrics,
        *,
        sample_ratio: float,
        slow_s: float,
        export: Export | None,
        config_version: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = metrics
        self.now_s = clock
        """Finer than the event loop's own clock, which uvloop keeps in whole milliseconds."""
        self._sample_ratio = sample_ratio if export is not None else 0.0
        self._slow_s = slow_s
        self._export = export
        self._config_version = config_version

    def identify(self) -> Identity:
        """Ids, trace context and clocks for a new transaction."""
        entropy = os.urandom(40)
        trace = new_context(entropy[:24], self._sample_ratio)
        return Identity(entropy[24:], trace, time.time_ns(), self.now_s())

    def ended(self, transaction: Transaction, ending: Ending, keep: Keep | None = None) -> None:
        """Count, log and trace one message; `keep` reaches the ingress that judged it."""
        metrics = self.metrics
        metrics.transactions[ending.action].inc()
        metrics.end_of_message_s.observe(ending.waited_s)
        metrics.message_bytes.inc(transaction.message_bytes)
        log.info("message", extra={"fields": _facts(transaction, ending)})
        slow = ending.waited_s > self._slow_s
        traced = ending.verdict is not None and ending.verdict.traced
        if not (transaction.identity.trace.sampled or traced):
            if keep is not None and ending.verdict is not None and (slow or ending.failure is not None):
                keep("slow" if slow else "failed")
            if not (slow or ending.degraded):
                return
        if self._export is not None:
            self._export([transaction_span(transaction, ending, self._config_version)])

    def answered_early(
        self,
        transaction: Transaction,
        stage: Stage,
        action: str,
        answer: EarlyVerdict | Unavailable | None,
        rule: str = "",
    ) -> None:
        """Count an early answer; a refusal is one line, since what ends there is seen nowhere else."""
        self.metrics.early[stage, action].inc()
        refused = action in ("tempfail", "reject")
        if refused:
            fields: dict[str, object] = {
                "stage": stage,
                "queue_id": transaction.queue_id,
                "trace_id": f"{transaction.identity.trace.trace_id:032x}",
                "client": transaction.client.ip,
                "action": action,
            }
            if isinstance(answer, Unavailable):
                log.warning("refused_early", extra={"fields": fields | {"failure": answer.failure, "rule": rule}})
            else:
                reasons = list(answer.reasons) if answer is not None else []
                log.info("refused_early", extra={"fields": fields | {"reasons": reasons}})
        over = not transaction.has_mail or (refused and stage is Stage.MAIL)
        if over and transaction.identity.trace.sampled and self._export is not None:
            lasted_s = self.now_s() - transaction.identity.opened_at_s
            ending = Ending(action, lasted_s, lasted_s, rule=rule)
            self._export([transaction_span(transaction, ending, self._config_version, stage)])


def transaction_span(
    transaction: Transaction, ending: Ending, config_version: str, stage: Stage | None = None
) -> SpanRecord:
    """The root span of a message, or of a question at an earlier stage that was the end."""
    identity = transaction.identity
    attributes: dict[str, str | int | float | bool] = {
        "mail.queue_id": transaction.queue_id,
        "mail.transaction_id": identity.transaction_id.hex(),
        "mail.action": ending.action,
        "mail.score": ending.verdict.score if ending.verdict is not None else 0.0,
        "mail.degraded": ending.degraded,
        "mail.recipients": len(transaction.recipients),
        "mail.body_bytes": transaction.body_bytes,
        "client.address": transaction.client.ip,
        "config.version": config_version,
        f"{stage or 'end_of_message'}_ms": round(ending.waited_s * 1000, 3),
    }
    if ending.rule:
        attributes["mail.rule"] = ending.rule
    return SpanRecord(
        name="milter.transaction",
        trace_id=identity.trace.trace_id,
        span_id=identity.trace.span_id,
        parent_span_id=0,
        start_ns=identity.received_at_ns,
        end_ns=identity.received_at_ns + int(ending.lasted_s * 1e9),
        attributes=attributes,
        error=ending.failure or "",
    )


def _facts(transaction: Transaction, ending: Ending) -> dict[str, object]:
    facts: dict[str, object] = {
        "queue_id": transaction.queue_id,
        "trace_id": f"{transaction.identity.trace.trace_id:032x}",
        "client": transaction.client.ip,
        "action": ending.action,
        "ms": round(ending.waited_s * 1000, 1),
        "bytes": transaction.message_bytes,
        "recipients": len(transaction.recipients),
    }
    if ending.verdict is not None:
        facts["score"] = round(ending.verdict.score, 2)
        facts["reasons"] = list(ending.verdict.reasons)
        if ending.verdict.degraded:
            facts["missing"] = list(ending.verdict.missing)
    if ending.failure is not None:
        facts["failure"] = ending.failure
    if ending.rule:
        facts["rule"] = ending.rule
    return facts
