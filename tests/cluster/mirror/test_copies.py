"""cluster/mirror/copies.py: what is sent to the other cell, what comes of it, and what bounds it."""

import os
from dataclasses import dataclass, field

import pytest

from actors.model import Message
from cluster.mirror.copies import ASIDE_S, COPY_BYTES, TELL_DROPPED_S, Copies, MirrorLimits
from cluster.mirror.difference import Line
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2, verdict_pb2
from tests.cluster.fakes import FakeTime
from wire.stream import INITIAL_BODY_CREDIT_BYTES

ACCEPT = verdict_pb2.Verdict(action=verdict_pb2.ACTION_ACCEPT, score=1.0)
REJECT = verdict_pb2.Verdict(action=verdict_pb2.ACTION_REJECT, score=9.0)


@dataclass(eq=False)
class FakeStream:
    events: list[pb.Event] = field(default_factory=list)
    room: bool = True

    def send(self, event: pb.Event, size_bytes: int) -> bool:
        assert size_bytes == event.ByteSize()
        if self.room:
            self.events.append(event)
        return self.room

    @property
    def kinds(self) -> list[str | None]:
        return [event.WhichOneof("kind") for event in self.events]


@dataclass
class Rig:
    share: float = 1.0
    copies_max: int = 10
    held_bytes_max: int = 10_000_000
    streams: int = 1

    def __post_init__(self) -> None:
        self.time = FakeTime()
        self.lines: list[Line] = []
        limits = MirrorLimits(self.share, self.copies_max, self.held_bytes_max, 20.0)
        self.copies = Copies(limits, self.time, self.time.call_later, self.lines.append)
        self.stream, *_ = self.all_streams = [FakeStream() for _ in range(self.streams)]
        for stream in self.all_streams:
            self.copies.connected(stream)

    def offer(self, body: bytes = b"hello\r\n", transaction_id: bytes = b"0123456789abcdef") -> None:
        envelope = message_pb2.Envelope(
            transaction_id=transaction_id,
            sender=b"a@example.org",
            queue_id="4Q",
            recipients=[message_pb2.Recipient(address=b"r@example.org")],
        )
        self.copies.offer(envelope, Message(header_block=b"Subject: x\r\n", body=body), ACCEPT, 0.05)

    def tell(self) -> None:
        self.time.advance(ASIDE_S)

    def answer(self, number: int = 1, stream: FakeStream | None = None, **kind: object) -> None:
        self.copies.heard(stream or self.stream, pb.Answer(transaction=number, **kind))  # type: ignore[arg-type]

    @property
    def empty(self) -> bool:
        return (len(self.copies), self.copies.held_bytes) == (0, 0)


def test_a_copy_is_told_whole_and_its_verdict_is_compared() -> None:
    rig = Rig()
    rig.offer()
    rig.tell()
    assert rig.stream.kinds == ["begin", "mail", "recipient", "headers", "body", "end_of_message"]
    assert rig.stream.events[0].begin.mirrored
    assert not rig.stream.events[0].begin.traceparent
    assert rig.stream.events[2].recipient.budget_ms == 0, "nobody waits for an early verdict"
    rig.time.advance(0.5)
    rig.answer(verdict=REJECT)
    (line,) = rig.lines
    assert (line.id, line.queue_id) == (b"0123456789abcdef".hex(), "4Q")
    assert line.difference
    assert (line.difference.live.action, line.difference.mirrored.action) == ("accept", "reject")
    assert (line.difference.live.ms, line.difference.mirrored.ms) == (50.0, 500.0)
    assert rig.empty
    assert not rig.time.armed


def test_nothing_is_told_while_the_live_verdict_is_on_its_way_out() -> None:
    rig = Rig()
    rig.offer()
    assert not rig.stream.events
    assert len(rig.copies) == 1


def test_a_large_body_waits_for_credit() -> None:
    rig = Rig()
    body = os.urandom(3 * INITIAL_BODY_CREDIT_BYTES)
    rig.offer(body)
    rig.tell()
    assert rig.stream.kinds[-1] == "body"
    assert sum(len(event.body) for event in rig.stream.events) == INITIAL_BODY_CREDIT_BYTES
    while rig.stream.kinds[-1] == "body":
        rig.answer(credit=pb.Credit(body_bytes=INITIAL_BODY_CREDIT_BYTES // 2))
    assert b"".join(event.body for event in rig.stream.events) == body
    assert rig.stream.kinds[-1] == "end_of_message"


def test_a_late_copy_is_given_up_and_told_so_to_both() -> None:
    rig = Rig()
    rig.offer()
    rig.time.advance(20.0)
    assert rig.stream.kinds[-1] == "abort"
    assert [line.failed for line in rig.lines] == ["late"]
    rig.answer(verdict=ACCEPT)
    assert len(rig.lines) == 1
    assert rig.empty


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (pb.Refused.REASON_OVERLOADED, "overloaded"),
        (pb.Refused.REASON_DRAINING, "draining"),
        (pb.Refused.REASON_MALFORMED, "malformed"),
        (pb.Refused.REASON_INTERNAL, "internal"),
        (99, "internal"),
    ],
)
def test_a_refused_copy_is_not_told_again(reason: int, why: str) -> None:
    rig = Rig()
    rig.offer()
    rig.tell()
    told = len(rig.stream.events)
    rig.answer(refused=pb.Refused(reason=reason))  # type: ignore[arg-type]
    assert [line.failed for line in rig.lines] == [why]
    assert len(rig.stream.events) == told
    assert rig.empty


def test_copies_on_a_stream_that_breaks_are_lost_and_those_on_another_are_not() -> None:
    rig = Rig(streams=2)
    rig.offer()
    rig.offer()
    rig.tell()
    assert [len(stream.events) for stream in rig.all_streams] == [6, 6], "the one with the fewest takes the next"
    rig.copies.lost(rig.stream)
    assert [line.failed for line in rig.lines] == ["lost"]
    rig.answer(2, rig.all_streams[1], verdict=ACCEPT)
    assert rig.lines[1].difference
    assert rig.empty


def test_an_answer_on_another_stream_is_not_about_this_copy() -> None:
    rig = Rig(streams=2)
    rig.offer()
    rig.tell()
    rig.answer(1, rig.all_streams[1], verdict=ACCEPT)
    assert not rig.lines


def test_without_a_stream_copies_are_dropped_and_counted_in_one_line() -> None:
    rig = Rig()
    rig.copies.lost(rig.stream)
    for _ in range(5):
        rig.offer()
    assert rig.empty
    rig.time.advance(TELL_DROPPED_S)
    assert [line.dropped for line in rig.lines] == [{"unreachable": 5}]
    assert not rig.time.armed


def test_a_stream_that_breaks_before_a_copy_was_told_drops_it() -> None:
    rig = Rig()
    rig.offer()
    rig.copies.lost(rig.stream)
    rig.time.advance(TELL_DROPPED_S + 1)
    assert [line.dropped for line in rig.lines] == [{"unreachable": 1}]
    assert rig.empty


def test_no_more_copies_and_no_more_bytes_than_allowed() -> None:
    by_number, by_size = Rig(copies_max=3), Rig(held_bytes_max=3 * (COPY_BYTES + 100_020))
    for rig in (by_number, by_size):
        for _ in range(10):
            rig.offer(b"x" * 100_000)
        assert len(rig.copies) == 3
        assert rig.copies.held_bytes <= 3 * (COPY_BYTES + 100_020)
        rig.time.advance(TELL_DROPPED_S)
        assert [line.dropped for line in rig.lines] == [{"full": 7}]


def test_a_stream_too_far_behind_drops_the_copy() -> None:
    rig = Rig()
    rig.stream.room = False
    rig.offer()
    rig.tell()
    rig.time.advance(TELL_DROPPED_S)
    assert [line.dropped for line in rig.lines] == [{"full": 1}]
    assert rig.empty


def test_probes_have_no_id_and_are_not_mirrored() -> None:
    copies = Rig().copies
    assert copies.wants(b"0123456789abcdef")
    assert not copies.wants(b"")
    assert not Rig(share=0.0).copies.wants(b"0123456789abcdef")
