"""cluster/ingress/session.py: from the events of a transaction to its verdict."""

import pytest

from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2, verdict_pb2
from tests.cluster.session_bench import (
    ASKED,
    BEGIN,
    BODY,
    DENIED,
    END,
    HAM,
    HEADERS,
    MAIL,
    QUIET,
    RECIPIENT,
    SPF,
    WHOLE,
    Bench,
)


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


@pytest.mark.parametrize("stressed", [True, False])
def test_under_stress_an_optional_actor_is_left_out_and_the_verdict_says_so(*, stressed: bool) -> None:
    bench = Bench()
    bench.hall.stress_skips = frozenset({"classifier", "dkim"})
    begin = pb.Event.FromString(BEGIN.SerializeToString())
    begin.begin.stress = stressed
    bench.tell(begin, *WHOLE[1:])
    assert bool(bench.links["classifier"].tasks) != stressed
    bench.answer_all()
    assert list(bench.verdict.missing) == (["classifier"] if stressed else [])
    assert bench.verdict.degraded == stressed
    details = {finding.detail for finding in bench.verdict.findings if finding.actor == "classifier"}
    assert details == ({"stress"} if stressed else {""})


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


def test_a_gateway_that_has_no_use_for_findings_gets_none() -> None:
    bench = Bench()
    bench.tell(*QUIET)
    bench.answer_all()
    assert not bench.verdict.findings
