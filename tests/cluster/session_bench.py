"""A session between a fake gateway and fake replicas, for the tests of cluster/ingress/session.py."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.config import JudgementConfig
from actors.model import Finding, Outcome, Stage
from cluster.config import OverloadConfig
from cluster.dispatch import Dispatcher
from cluster.errand import DispatchLimits, SharedBody
from cluster.ingress.gate import Gate
from cluster.ingress.hall import Hall
from cluster.ingress.session import Session
from cluster.ingress.transaction import Limits
from cluster.table import Replica, Table
from cluster.telemetry import Tracer
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2, verdict_pb2
from tests.cluster.fakes import FakeLink, FakeTime
from wire.trace import SpanRecord, TraceContext

STAGES = {
    "classifier": frozenset({Stage.MESSAGE}),
    "policy": frozenset(Stage) - {Stage.HELO, Stage.SIGN},
}
HAM = Finding("classifier", "spam", Outcome.HAM, 0.01)
SPF = Finding("policy", "spf", Outcome.PASS)
DENIED = Finding("policy", "deny_recipient", Outcome.HIT, facts={"recipient": "r@example.org"})
SAMPLED = TraceContext(1, 2, sampled=True).traceparent()


@dataclass
class Bench:
    """One session between a fake gateway and fake replicas."""

    transactions_max: int = 10
    held_bytes_max: int = 4_000_000
    table: bool = True
    stages: Mapping[str, frozenset[Stage]] = field(default_factory=lambda: STAGES)
    room: bool = True
    shared: list[bytes] = field(default_factory=list)
    answers: list[pb.Answer] = field(default_factory=list)
    spans: list[list[SpanRecord]] = field(default_factory=list)
    links: dict[str, FakeLink] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.time = FakeTime()
        dispatcher = Dispatcher(self._connect, self.time, self.time.call_later, DispatchLimits(1000, 5.0))
        self.hall = Hall(
            dispatcher=dispatcher,
            judgement=JudgementConfig(),
            clock=self.time,
            call_later=self.time.call_later,
            bodies=self,
            tracer=Tracer(self.spans.append, 1000, lambda bits: (1 << bits) - 1),
            limits=Limits(100, 10_000, 3_000_000, 5.0, 20.0),
            gate=Gate(OverloadConfig(), 100, self.time, self.time.call_later),
            transactions_max=self.transactions_max,
            held_bytes_max=self.held_bytes_max,
        )
        if self.table:
            dispatcher.update(
                Table(self.stages, tuple(Replica(f"{pool}-0", (pool,), "a:1", "") for pool in self.stages))
            )
            for link in self.links.values():
                link.up()
        self.session = Session(self.hall, self._send)

    def _connect(self, replica: Replica, dispatcher: Dispatcher) -> FakeLink:
        link = self.links[replica.actors[0]] = FakeLink(replica, dispatcher)
        return link

    def _send(self, answer: pb.Answer, _size_bytes: int) -> bool:
        if self.room:
            self.answers.append(answer)
        return self.room

    def share(self, body: bytes) -> SharedBody | None:
        """Plays Bodies: large ones are 'shared'."""
        if len(body) < 100_000:
            return None
        self.shared.append(body)
        return FakeShared()

    def tell(self, *events: pb.Event, number: int = 1) -> None:
        """One frame for each event, as from a slow client."""
        for event in events:
            self.tell_at_once(event, number=number)

    def tell_at_once(self, *events: pb.Event, number: int = 1) -> None:
        """One frame with all of them."""
        frame = pb.FilterRequest(events=events)
        for event in frame.events:
            event.transaction = number
        self.session.receive(frame.events)

    def answer_all(self) -> None:
        """Every replica answers what it has."""
        findings = {"policy": SPF, "classifier": HAM}
        while any(link.tasks for link in self.links.values()):
            for pool, link in self.links.items():
                while link.tasks:
                    link.answer(findings[pool])

    @property
    def verdict(self) -> verdict_pb2.Verdict:
        assert [answer.WhichOneof("kind") for answer in self.answers] == ["verdict"]
        return self.answers[0].verdict

    @property
    def refusal(self) -> pb.Refused:
        assert self.answers[-1].WhichOneof("kind") == "refused"
        return self.answers[-1].refused


class FakeShared:
    body_id = b"body"

    def hand_to(self, replica: str) -> None:
        pass


BEGIN = pb.Event(begin=pb.Begin(transaction_id=b"id", budget_ms=3_600_000, explain=True))
MAIL = pb.Event(mail=pb.Mail(sender=b"a@example.org"))
RECIPIENT = pb.Event(recipient=pb.NewRecipient(recipient=message_pb2.Recipient(address=b"r@example.org")))
ASKED = pb.Event(recipient=pb.NewRecipient(recipient=message_pb2.Recipient(address=b"r@example.org"), budget_ms=2000))
ASK_CONNECT, ASK_HELO, ASK_MAIL = (
    pb.Event(ask=pb.Ask(stage=stage, budget_ms=2000))
    for stage in (message_pb2.STAGE_CONNECT, message_pb2.STAGE_HELO, message_pb2.STAGE_MAIL)
)
HEADERS = pb.Event(headers=pb.Headers(header_block=b"Subject: x\r\n", queue_id="4Q"))
BODY = pb.Event(body=b"hello\r\n")
END = pb.Event(end_of_message=pb.EndOfMessage(budget_ms=10_000))
ABORT = pb.Event(abort=pb.Abort())
WHOLE = (BEGIN, MAIL, RECIPIENT, HEADERS, BODY, END)
QUIET = (pb.Event(begin=pb.Begin(transaction_id=b"id", budget_ms=3_600_000)), *WHOLE[1:])
"""The same, and nobody reads the findings."""
