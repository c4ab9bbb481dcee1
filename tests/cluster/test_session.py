from dataclasses import dataclass, field

import pytest

from actors.config import JudgementConfig
from actors.model import Finding, Outcome, Stage
from cluster.dispatch import Dispatcher
from cluster.errand import DispatchLimits, SharedBody
from cluster.ingress import session as session_module
from cluster.ingress.service import scan_events
from cluster.ingress.session import Hall, Session
from cluster.ingress.transaction import Limits
from cluster.table import Replica, Table
from cluster.telemetry import Tracer
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2, verdict_pb2
from tests.cluster.fakes import FakeLink, FakeTime
from wire.trace import SpanRecord, TraceContext

STAGES = {
    "classifier": frozenset({Stage.MESSAGE}),
    "policy": frozenset({Stage.ENVELOPE, Stage.RECIPIENT, Stage.HEADERS, Stage.MESSAGE}),
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
    room: bool = True
    shared: list[bytes] = field(default_factory=list)
    answers: list[pb.Answer] = field(default_factory=list)
    spans: list[list[SpanRecord]] = field(default_factory=list)
    links: dict[str, FakeLink] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.time = FakeTime()
        dispatcher = Dispatcher(self._connect, self.time, self.time.call_later, DispatchLimits(100, 5.0))
        self.hall = Hall(
            dispatcher=dispatcher,
            judgement=JudgementConfig(),
            clock=self.time,
            call_later=self.time.call_later,
            bodies=self,
            tracer=Tracer(self.spans.append, 1000, lambda bits: (1 << bits) - 1),
            limits=Limits(100, 10_000, 3_000_000, 5.0, 20.0),
            transactions_max=self.transactions_max,
            held_bytes_max=self.held_bytes_max,
        )
        if self.table:
            dispatcher.update(Table(STAGES, tuple(Replica(pool, f"{pool}-0", "a:1", "") for pool in STAGES)))
            for link in self.links.values():
                link.up()
        self.session = Session(self.hall, self._send)

    def _connect(self, replica: Replica, dispatcher: Dispatcher) -> FakeLink:
        link = self.links[replica.pool] = FakeLink(replica, dispatcher)
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
        while self.links["policy"].tasks:
            self.links["policy"].answer(SPF)
        while self.links["classifier"].tasks:
            self.links["classifier"].answer(HAM)

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


BEGIN = pb.Event(begin=pb.Begin(transaction_id=b"id", budget_ms=3_600_000))
MAIL = pb.Event(mail=pb.Mail(sender=b"a@example.org"))
RECIPIENT = pb.Event(recipient=pb.NewRecipient(recipient=message_pb2.Recipient(address=b"r@example.org")))
ASKED = pb.Event(recipient=pb.NewRecipient(recipient=message_pb2.Recipient(address=b"r@example.org"), budget_ms=2000))
HEADERS = pb.Event(headers=pb.Headers(header_block=b"Subject: x\r\n", queue_id="4Q"))
BODY = pb.Event(body=b"hello\r\n")
END = pb.Event(end_of_message=pb.EndOfMessage(budget_ms=10_000))
ABORT = pb.Event(abort=pb.Abort())
WHOLE = (BEGIN, MAIL, RECIPIENT, HEADERS, BODY, END)


def test_a_whole_transaction_gets_one_verdict_from_all_findings() -> None:
    bench = Bench()
    bench.tell(*WHOLE)
    assert not bench.answers
    bench.answer_all()
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT
    assert sorted({finding.actor for finding in bench.verdict.findings}) == ["classifier", "policy"]
    assert not bench.verdict.degraded
    assert (bench.hall.transactions, bench.hall.held_bytes, bench.time.armed) == (0, 0, 0)


def test_the_message_stage_carries_envelope_headers_and_body() -> None:
    bench = Bench()
    bench.tell(*WHOLE)
    message = message_pb2.Message.FromString(bench.links["classifier"].tasks[0].message)
    assert message.envelope.sender == b"a@example.org"
    assert (message.header_block, message.body) == (b"Subject: x\r\n", b"hello\r\n")


def test_the_verdict_waits_for_the_stages_of_the_envelope() -> None:
    bench = Bench()
    bench.tell(*WHOLE)
    envelope, recipient, headers, message = bench.links["policy"].tasks
    bench.links["policy"].tasks[:] = [headers, message, envelope, recipient]
    bench.links["classifier"].answer(HAM)
    bench.links["policy"].answer()
    bench.links["policy"].answer()
    bench.links["policy"].answer(SPF)
    assert not bench.answers
    bench.links["policy"].answer()
    assert [finding.name for finding in bench.verdict.findings if finding.actor == "policy"] == ["spf"]


def test_the_verdict_does_not_wait_for_the_warming_of_caches() -> None:
    bench = Bench()
    bench.tell(*WHOLE)
    policy = bench.links["policy"]
    headers = policy.tasks.pop(2)
    bench.answer_all()
    assert not bench.verdict.degraded
    assert policy.cancelled == [headers.task]


def test_what_is_late_makes_a_degraded_verdict_before_the_deadline() -> None:
    bench = Bench()
    bench.tell(*WHOLE)
    while bench.links["policy"].tasks:
        bench.links["policy"].answer(SPF)
    bench.time.advance(10.0)
    assert bench.verdict.degraded
    assert list(bench.verdict.missing) == ["classifier"]
    assert bench.spans, "a degraded message is always traced"
    assert bench.verdict.traced


def test_an_actor_that_says_nothing_is_missing_not_silent() -> None:
    bench = Bench()
    bench.tell(BEGIN, MAIL, RECIPIENT, HEADERS, BODY, END)
    while bench.links["policy"].tasks:
        bench.links["policy"].answer(SPF)
    while bench.links["classifier"].tasks:
        bench.links["classifier"].answer()
    assert bench.verdict.degraded
    assert list(bench.verdict.missing) == ["classifier"]


def test_an_envelope_stage_that_hangs_ends_with_the_verdicts_deadline() -> None:
    bench = Bench()
    bench.tell(*WHOLE)
    bench.links["policy"].tasks.pop(0)
    bench.answer_all()
    assert not bench.answers
    bench.time.advance(10.0)
    assert list(bench.verdict.missing) == ["policy"]


def test_a_recipient_gets_an_early_verdict_when_it_asks_for_one() -> None:
    bench = Bench()
    bench.tell(BEGIN, MAIL, RECIPIENT, ASKED)
    bench.answer_all()
    (answer,) = bench.answers
    assert answer.recipient_verdict.recipient == 1
    assert answer.recipient_verdict.action == verdict_pb2.ACTION_ACCEPT


def test_a_denied_recipient_is_refused_early() -> None:
    bench = Bench()
    bench.tell(BEGIN, MAIL, ASKED)
    bench.links["policy"].answer()
    bench.links["policy"].answer(DENIED)
    assert bench.answers[0].recipient_verdict.action == verdict_pb2.ACTION_REJECT


def test_an_early_verdict_does_not_come_later_than_asked() -> None:
    bench = Bench()
    bench.tell(BEGIN, MAIL, ASKED)
    bench.time.advance(1.95)
    assert bench.answers[0].recipient_verdict.action == verdict_pb2.ACTION_ACCEPT


def test_findings_about_refused_recipients_do_not_count() -> None:
    bench = Bench()
    end = pb.Event(end_of_message=pb.EndOfMessage(budget_ms=10_000, refused_recipients=[0]))
    bench.tell(BEGIN, MAIL, ASKED)
    bench.links["policy"].answer()
    bench.links["policy"].answer(DENIED)
    bench.answers.clear()
    bench.tell(RECIPIENT, HEADERS, BODY, end)
    bench.answer_all()
    assert "deny_recipient" not in {finding.name for finding in bench.verdict.findings}


def test_abort_cancels_what_is_under_way_and_answers_nothing() -> None:
    bench = Bench()
    bench.tell(*WHOLE, ABORT)
    assert len(bench.links["policy"].cancelled) == 4
    assert len(bench.links["classifier"].cancelled) == 1
    bench.answer_all()
    assert not bench.answers
    assert bench.time.armed == 0


def test_the_end_of_the_stream_cancels_everything() -> None:
    bench = Bench()
    bench.tell(*WHOLE)
    bench.tell(BEGIN, MAIL, number=2)
    bench.session.close()
    assert len(bench.links["policy"].cancelled) == 5
    assert (bench.hall.transactions, bench.hall.held_bytes, bench.time.armed) == (0, 0, 0)


def test_events_of_unknown_transactions_are_ignored() -> None:
    bench = Bench()
    bench.tell(MAIL, RECIPIENT, HEADERS, BODY, END, ABORT, pb.Event(keep=pb.Keep()), pb.Event())
    assert not bench.answers


def test_one_malformed_transaction_harms_no_other() -> None:
    bench = Bench()
    bench.tell(*WHOLE[:-1])
    bench.tell(BEGIN, END, number=2)
    assert (bench.answers[0].transaction, bench.refusal.reason) == (2, pb.Refused.REASON_MALFORMED)
    bench.answers.clear()
    bench.tell(END)
    bench.answer_all()
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT


def test_a_second_begin_of_a_live_number_ends_it() -> None:
    bench = Bench()
    bench.tell(BEGIN, MAIL, BEGIN)
    assert bench.refusal.reason == pb.Refused.REASON_MALFORMED
    assert bench.hall.transactions == 0


def test_one_transaction_too_many_is_overloaded() -> None:
    bench = Bench(transactions_max=1)
    bench.tell(BEGIN)
    bench.tell(BEGIN, number=2)
    assert bench.refusal.reason == pb.Refused.REASON_OVERLOADED
    bench.tell(ABORT)
    bench.answers.clear()
    bench.tell(BEGIN, number=3)
    assert not bench.answers


def test_a_full_pool_at_the_message_stage_is_overloaded() -> None:
    bench = Bench()
    bench.links["classifier"].full = True
    bench.tell(*WHOLE)
    bench.answer_all()
    assert bench.refusal.reason == pb.Refused.REASON_OVERLOADED


def test_mail_beyond_the_memory_bound_is_overloaded() -> None:
    bench = Bench(held_bytes_max=1_500_000)
    chunk = pb.Event(body=b"x" * 200_000)
    for number in (1, 2):
        bench.tell(BEGIN, MAIL, HEADERS, chunk, number=number)
    assert [answer.WhichOneof("kind") for answer in bench.answers] == ["credit", "credit", "refused"]
    assert (bench.answers[-1].transaction, bench.refusal.reason) == (2, pb.Refused.REASON_OVERLOADED)
    assert bench.hall.held_bytes <= 1_500_000


def test_before_the_first_table_nothing_is_taken() -> None:
    bench = Bench(table=False)
    bench.tell(BEGIN)
    assert bench.refusal.reason == pb.Refused.REASON_DRAINING


def test_a_draining_ingress_finishes_what_it_has_and_takes_nothing_new() -> None:
    bench = Bench()
    bench.tell(*WHOLE[:-1])
    bench.hall.draining = True
    bench.tell(BEGIN, number=2)
    assert bench.refusal.reason == pb.Refused.REASON_DRAINING
    bench.answers.clear()
    bench.tell(END)
    bench.answer_all()
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT


def test_a_transaction_that_outlives_its_deadline_is_forgotten() -> None:
    bench = Bench()
    bench.tell(BEGIN, MAIL)
    bench.time.advance(3600.0)
    assert bench.hall.transactions == 0
    assert not bench.answers


def test_a_large_body_travels_by_reference() -> None:
    bench = Bench()
    body = b"x" * 150_000
    bench.tell(BEGIN, MAIL, HEADERS, pb.Event(body=body), END)
    task = bench.links["classifier"].tasks[0]
    assert bench.shared == [body]
    assert task.body_id == b"body"
    assert message_pb2.Message.FromString(task.message).body == b""


def test_a_bug_in_decide_refuses_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError

    bench = Bench()
    bench.tell(*WHOLE)
    monkeypatch.setattr(session_module, "decide", broken)
    bench.answer_all()
    assert bench.refusal.reason == pb.Refused.REASON_INTERNAL
    assert bench.hall.transactions == 0


def test_answers_that_nobody_reads_mark_the_stream() -> None:
    bench = Bench(room=False)
    bench.tell(BEGIN, BEGIN)
    assert bench.session.behind


def test_a_sampled_message_is_traced_and_says_so() -> None:
    bench = Bench()
    begin = pb.Event(begin=pb.Begin(traceparent=SAMPLED, budget_ms=60_000))
    bench.tell(begin, *WHOLE[1:])
    bench.answer_all()
    assert bench.verdict.traced
    names = sorted(span.name for span in bench.spans[0])
    assert names == ["actor.classifier", *["actor.policy"] * 4, "filter.transaction"]


def test_an_unsampled_message_is_traced_when_the_gateway_keeps_it() -> None:
    bench = Bench()
    bench.tell(*WHOLE)
    bench.answer_all()
    assert not bench.verdict.traced
    bench.tell(pb.Event(keep=pb.Keep(reason="slow")))
    assert len(bench.spans) == 1


def test_a_scan_is_a_transaction_whose_body_fits_its_credit() -> None:
    bench = Bench(held_bytes_max=10_000_000)
    envelope = message_pb2.Envelope(sender=b"a@example.org", recipients=[message_pb2.Recipient(address=b"r@x")])
    message = message_pb2.Message(envelope=envelope, header_block=b"Subject: x\r\n", body=b"x" * 2_500_000)
    bench.session.receive(scan_events(message, 10.0, ""))
    assert bench.shared == [message.body]
    bench.answer_all()
    assert bench.answers[-1].WhichOneof("kind") == "verdict"


def test_mail_in_one_frame_is_not_asked_about_its_headers_first() -> None:
    bench = Bench()
    bench.tell_at_once(*WHOLE)
    assert [task.stage for task in bench.links["policy"].tasks] == [1, 2, 4]
    bench.answer_all()
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT


def test_headers_without_the_body_in_their_frame_start_the_warming() -> None:
    bench = Bench()
    bench.tell_at_once(BEGIN, MAIL, RECIPIENT, HEADERS, BODY)
    assert [task.stage for task in bench.links["policy"].tasks] == [1, 2, 3]
