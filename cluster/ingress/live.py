"""One open transaction of a stream, what its findings count for, and what its trace tells. Values only."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from actors.model import Finding, Message, Outcome, Stage
from cluster.errand import Ask, Report, Route, Timer
from cluster.ingress.gate import Place
from cluster.ingress.transaction import Start, Transaction
from cluster.telemetry import Passage

ASIDE = (Stage.MAIL, Stage.HEADERS)
"""Stages that no verdict on a message waits for: the envelope's and the message's tell the same."""


@dataclass(slots=True, eq=False)
class Live:
    """One open transaction."""

    number: int
    transaction: Transaction
    started_s: float
    started_ns: int
    route: Route = field(default_factory=Route)
    asks: dict[Ask, Start] = field(default_factory=dict)
    """Stages under way."""
    reports: list[tuple[Start, Report]] = field(default_factory=list)
    held_bytes: int = 0
    expiry: Timer | None = None
    place: Place | None = None
    """At the gate, from the end of the message on."""
    message: Message | None = None
    """Set when the message stage begins."""
    asked_s: float = 0.0
    """When the end of the message came."""
    deadline_s: float = 0.0
    """When its verdict must have left."""
    telling: bool = False
    """Something was found that may settle the verdict before all have answered."""

    def passage(
        self, now_s: float, *, action: str, score: float = 0.0, missing: tuple[str, ...] = (), failed: str = ""
    ) -> Passage:
        """What it went through, ending now (monotonic)."""
        transaction = self.transaction
        return Passage(
            traceparent=transaction.traceparent,
            started_ns=self.started_ns,
            started_s=self.started_s,
            asked_s=self.asked_s or now_s,
            ended_s=now_s,
            reports=[report for _, report in self.reports],
            queue_id=transaction.envelope.queue_id,
            message_bytes=transaction.body_bytes + len(transaction.header_block),
            action=action,
            score=score,
            missing=missing,
            failed=failed,
        )


def counting(reports: Iterable[tuple[Start, Report]], refused_recipients: Collection[int]) -> list[Finding]:
    """The findings that a verdict on the message counts."""
    findings: list[Finding] = []
    for start, report in reports:
        if start.stage in ASIDE:
            # Looking up ahead of time may fail: a later stage says what matters.
            findings += (finding for finding in report.findings if finding.outcome is not Outcome.ERROR)
        elif start.stage is not Stage.RECIPIENT or start.recipient not in refused_recipients:
            findings += report.findings
    return findings
