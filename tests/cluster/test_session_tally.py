"""cluster/ingress/session.py: what is counted for DMARC reports, and when."""

from dataclasses import dataclass, field

from actors.model import Message, Verdict
from tests.cluster.session_bench import ABORT, BEGIN, QUIET, Bench


@dataclass
class FakeTally:
    bench: Bench
    noted: list[tuple[Verdict, Message]] = field(default_factory=list)
    answers_before: list[int] = field(default_factory=list)

    def note(self, verdict: Verdict, message: Message) -> None:
        self.noted.append((verdict, message))
        self.answers_before.append(len(self.bench.answers))


class Broken:
    def note(self, *_: object) -> None:
        raise RuntimeError("a bug in the tally")


def test_a_message_is_noted_with_its_verdict_after_that_has_left() -> None:
    bench = Bench()
    tally = bench.hall.tally = FakeTally(bench)
    bench.tell(*QUIET)
    assert not tally.noted
    bench.answer_all()
    ((verdict, message),) = tally.noted
    assert tally.answers_before == [1]
    assert verdict.findings
    assert message.envelope.sender == b"a@example.org"


def test_a_message_without_a_verdict_is_not_noted() -> None:
    bench = Bench()
    tally = bench.hall.tally = FakeTally(bench)
    bench.tell(BEGIN, ABORT)
    assert not tally.noted


def test_a_bug_in_the_tally_costs_no_verdict() -> None:
    bench = Bench()
    bench.hall.tally = Broken()
    bench.tell(*QUIET)
    bench.answer_all()
    assert bench.verdict
    assert bench.hall.transactions == 0
