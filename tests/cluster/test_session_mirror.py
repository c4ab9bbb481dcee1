"""cluster/ingress/session.py: what is handed to a mirror, and when."""

from dataclasses import dataclass, field

from actors.model import Message
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2, verdict_pb2
from tests.cluster.session_bench import ABORT, BEGIN, QUIET, Bench


@dataclass
class FakeMirror:
    bench: Bench
    offered: list[tuple[message_pb2.Envelope, Message, verdict_pb2.Verdict, float]] = field(default_factory=list)
    answers_before: list[int] = field(default_factory=list)
    wanted: bool = True

    def wants(self, transaction_id: bytes) -> bool:
        assert transaction_id == b"id"
        return self.wanted

    def offer(
        self, envelope: message_pb2.Envelope, message: Message, verdict: verdict_pb2.Verdict, verdict_s: float
    ) -> None:
        self.offered.append((envelope, message, verdict, verdict_s))
        self.answers_before.append(len(self.bench.answers))


class Broken:
    def wants(self, _transaction_id: bytes) -> bool:
        return True

    def offer(self, *_: object) -> None:
        raise RuntimeError("a bug in the mirror")


def mirrored() -> tuple[Bench, FakeMirror]:
    bench = Bench()
    mirror = bench.hall.mirror = FakeMirror(bench)
    return bench, mirror


def test_a_message_is_offered_after_its_verdict_has_left() -> None:
    bench, mirror = mirrored()
    bench.tell(*QUIET)
    bench.time.advance(0.25)
    assert not mirror.offered
    bench.answer_all()
    ((envelope, message, verdict, verdict_s),) = mirror.offered
    assert mirror.answers_before == [1]
    assert (envelope.sender, message.header_block, message.body) == (b"a@example.org", b"Subject: x\r\n", b"hello\r\n")
    assert verdict == bench.verdict
    assert verdict.findings
    assert verdict_s == 0.25


def test_what_is_not_in_the_sample_is_not_offered_and_its_verdict_tells_no_findings() -> None:
    bench, mirror = mirrored()
    mirror.wanted = False
    bench.tell(*QUIET)
    bench.answer_all()
    assert not mirror.offered
    assert not bench.verdict.findings


def test_what_ends_without_a_verdict_is_not_offered() -> None:
    bench, mirror = mirrored()
    bench.tell(*QUIET, ABORT)
    assert not mirror.offered


def test_a_copy_from_another_cell_is_marked_for_the_actors_and_never_mirrored_again() -> None:
    bench, mirror = mirrored()
    begin = pb.Event.FromString(BEGIN.SerializeToString())
    begin.begin.mirrored = True
    bench.tell(begin, *QUIET[1:])
    tasks = bench.links["policy"].tasks + bench.links["classifier"].tasks
    assert all(message_pb2.Message.FromString(task.message).envelope.mirrored for task in tasks)
    bench.answer_all()
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT
    assert not mirror.offered


def test_a_mirror_that_fails_takes_no_verdict_along() -> None:
    bench = Bench()
    bench.hall.mirror = Broken()
    bench.tell(*QUIET)
    bench.answer_all()
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT
    assert bench.hall.transactions == 0
