"""Spans of one transaction, made late: from the timings that the replicas sent along with their findings.

`filter.transaction` is a child of the gateway's span; `actor.<name>` spans are its children, from the task's sending to
its answer, with the replica's queue and run time as attributes; `dns.query`, `clamd.scan` and `redis` are theirs. Spans
are made for messages that are sampled, or turned out slow, degraded or failed; the timings of the others are kept for
a while, in a bounded ring, since the gateway may still ask for them (Keep).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import msgspec

from actors.model import ErrorKind, Outcome
from cluster.errand import Report
from wire.trace import SpanRecord, TraceContext, derived_span_id, parse_traceparent

REMEMBERED_MAX = 1000
_FINDINGS_SHOWN = 8


class Passage(msgspec.Struct, frozen=True):
    """What one transaction went through at this ingress."""

    traceparent: str
    started_ns: int
    """Unix time of its first event."""
    started_s: float
    asked_s: float
    """End of the message, on the ingress's monotonic clock like the next one."""
    ended_s: float
    reports: Sequence[Report]
    queue_id: str
    message_bytes: int
    action: str = ""
    score: float = 0.0
    missing: tuple[str, ...] = ()
    """Actors without a proper answer: the verdict is degraded."""
    failed: str = ""
    """Why there was no verdict."""

    def unix_ns(self, at_s: float) -> int:
        """Unix time of a moment on the monotonic clock."""
        return self.started_ns + round((at_s - self.started_s) * 1e9)


class Tracer:
    """Decides which passages become spans. `send` is None when no receiver is configured."""

    def __init__(
        self, send: Callable[[list[SpanRecord]], None] | None, slow_ms: int, random_bits: Callable[[int], int]
    ) -> None:
        self._send = send
        self._slow_s = slow_ms / 1000
        self._random_bits = random_bits
        self._remembered: OrderedDict[tuple[int, int], tuple[Passage, TraceContext]] = OrderedDict()

    @property
    def active(self) -> bool:
        """Whether anybody wants to hear of passages."""
        return self._send is not None

    def over(self, stream: object, number: int, passage: Passage) -> bool:
        """The transaction has ended; whether its spans were exported. `stream` and `number` name it for `keep`."""
        if self._send is None:
            return False
        context = parse_traceparent(passage.traceparent) or self._new_root()
        slow = passage.ended_s - passage.asked_s > self._slow_s
        if context.sampled or slow or passage.missing or passage.failed:
            self._export(passage, context)
            return True
        self._remembered[id(stream), number] = (passage, context)
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return False

    def keep(self, stream: object, number: int) -> None:
        """The gateway found the message worth a trace after all."""
        remembered = self._remembered.pop((id(stream), number), None)
        if remembered is not None:
            self._export(*remembered)

    def forget(self, stream: object) -> None:
        """The stream is gone: nobody can ask for its transactions any more."""
        for key in [key for key in self._remembered if key[0] == id(stream)]:
            del self._remembered[key]

    def _new_root(self) -> TraceContext:
        """For callers that sent no trace context; span id 0 = the transaction is the root."""
        return TraceContext(self._random_bits(128) or 1, 0, sampled=False)

    def _export(self, passage: Passage, context: TraceContext) -> None:
        if self._send is not None:
            self._send(list(spans(passage, context, self._random_bits(64) or 1)))


def spans(passage: Passage, context: TraceContext, span_id: int) -> Iterator[SpanRecord]:
    """The span of the transaction with this id, then those of its actors and their lookups."""
    attributes: dict[str, str | int | float | bool] = {
        "mail.queue_id": passage.queue_id,
        "mail.action": passage.action,
        "mail.score": passage.score,
        "mail.degraded": bool(passage.missing),
        "mail.missing": ",".join(passage.missing),
        "mail.bytes": passage.message_bytes,
        "verdict_ms": _ms(passage.ended_s - passage.asked_s),
    }
    start_ns, end_ns = passage.started_ns, passage.unix_ns(passage.ended_s)
    yield SpanRecord(
        "filter.transaction", context.trace_id, span_id, context.span_id, start_ns, end_ns, attributes, passage.failed
    )
    for ordinal, report in enumerate(passage.reports):
        yield from _actor_spans(passage, report, context.trace_id, span_id, derived_span_id(span_id, ordinal))


def _actor_spans(
    passage: Passage, report: Report, trace_id: int, parent_span_id: int, span_id: int
) -> Iterator[SpanRecord]:
    timing = report.timing
    errors = [finding.detail for finding in report.findings if finding.outcome is Outcome.ERROR]
    attributes: dict[str, str | int | float | bool] = {
        "mail.queue_id": passage.queue_id,
        "stage": str(report.stage),
        "outcome": "error" if errors else "ok",
        "findings": ", ".join(f"{finding.name}={finding.outcome}" for finding in report.findings[:_FINDINGS_SHOWN]),
    }
    start_ns, end_ns = passage.unix_ns(report.started_s), passage.unix_ns(report.ended_s)
    if timing is not None:
        attributes |= {
            "queue_ms": timing.queue_us / 1000,
            "run_ms": timing.run_us / 1000,
            "batch_size": timing.batch_size,
            "replica": timing.replica,
        }
    error = _error_text(errors, report.failed)
    yield SpanRecord(f"actor.{report.actor}", trace_id, span_id, parent_span_id, start_ns, end_ns, attributes, error)
    if timing is None:
        return
    for ordinal, lookup in enumerate(timing.lookups):
        lookup_ns = timing.received_at_ns + lookup.start_us * 1000
        yield SpanRecord(
            lookup.name,
            trace_id,
            derived_span_id(span_id, ordinal),
            span_id,
            lookup_ns,
            lookup_ns + lookup.duration_us * 1000,
            {"detail": lookup.detail, "mail.queue_id": passage.queue_id},
        )


def _error_text(errors: Sequence[str], failed: ErrorKind | None) -> str:
    return errors[0] if errors else str(failed or "")


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
