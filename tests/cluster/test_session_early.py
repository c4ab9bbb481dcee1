"""Questions before RCPT: what the ingress of a stream answers to an MTA that waits at CONNECT, HELO or MAIL."""

import pytest

from actors.model import Finding, Outcome, Stage
from cluster.codec import stage_from_proto, stage_to_proto
from cluster.table import Replica, Table
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import verdict_pb2
from tests.cluster.session_bench import (
    ABORT,
    ASK_CONNECT,
    ASK_HELO,
    ASK_MAIL,
    BEGIN,
    BODY,
    END,
    HAM,
    HEADERS,
    MAIL,
    RECIPIENT,
    SAMPLED,
    SPF,
    Bench,
)

EARLY = (Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RECIPIENT)
CLIENT = Finding("policy", "deny_client", Outcome.HIT, detail="listed as 192.0.2.1")
DENIED = verdict_pb2.Reply(code=550, enhanced="5.7.1", text="Access denied")


def stage_verdict(bench: Bench) -> tuple[Stage, verdict_pb2.StageVerdict]:
    (answer,) = bench.answers
    assert answer.WhichOneof("kind") == "stage_verdict"
    return stage_from_proto(answer.stage_verdict.stage), answer.stage_verdict


def test_a_denied_client_is_refused_at_connect_and_the_question_is_over() -> None:
    bench = Bench()
    bench.tell_at_once(BEGIN, ASK_CONNECT)
    bench.links["policy"].answer(CLIENT)
    stage, verdict = stage_verdict(bench)
    assert (stage, verdict.action, verdict.reply) == (Stage.CONNECT, verdict_pb2.ACTION_REJECT, DENIED)
    assert list(verdict.reasons) == ["denied_client: listed as 192.0.2.1"]
    assert bench.hall.transactions == 0


def test_a_stage_at_which_nobody_can_refuse_is_accepted_at_once() -> None:
    bench = Bench()
    bench.tell_at_once(BEGIN, ASK_HELO)
    stage, verdict = stage_verdict(bench)
    assert (stage, verdict.action) == (Stage.HELO, verdict_pb2.ACTION_ACCEPT)
    assert bench.links["policy"].tasks == []
    assert bench.hall.transactions == 0


@pytest.mark.parametrize("ask", [ASK_CONNECT, ASK_HELO])
def test_the_number_of_a_question_that_is_over_may_begin_anew(ask: pb.Event) -> None:
    bench = Bench()
    for _ in range(2):
        bench.tell(BEGIN, ask)
        bench.answer_all()
    assert [answer.WhichOneof("kind") for answer in bench.answers] == ["stage_verdict"] * 2


def test_at_mail_the_transaction_goes_on_after_the_answer() -> None:
    bench = Bench()
    bench.tell_at_once(BEGIN, MAIL, ASK_MAIL)
    envelope, asked = bench.links["policy"].tasks
    assert [stage_from_proto(task.stage) for task in (envelope, asked)] == [Stage.ENVELOPE, Stage.MAIL]
    bench.answer_all()
    stage, verdict = stage_verdict(bench)
    assert (stage, verdict.action) == (Stage.MAIL, verdict_pb2.ACTION_ACCEPT)
    bench.answers.clear()
    bench.tell(RECIPIENT, HEADERS, BODY, END)
    bench.answer_all()
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT
    assert not bench.verdict.degraded


def test_no_verdict_waits_for_what_was_asked_at_mail() -> None:
    bench = Bench()
    bench.tell_at_once(BEGIN, MAIL, ASK_MAIL)
    policy = bench.links["policy"]
    policy.answer(SPF)
    hanging = policy.tasks.pop()
    bench.tell(RECIPIENT, HEADERS, BODY, END)
    bench.answer_all()
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT
    assert hanging.task in bench.links["policy"].cancelled
    assert HAM.name in {finding.name for finding in bench.verdict.findings}


def test_a_question_that_hangs_is_answered_within_its_budget() -> None:
    bench = Bench()
    bench.tell_at_once(BEGIN, ASK_CONNECT)
    bench.time.advance(1.95)
    _, verdict = stage_verdict(bench)
    assert verdict.action == verdict_pb2.ACTION_ACCEPT
    assert bench.hall.transactions == 0


def test_a_question_that_the_client_leaves_is_cancelled() -> None:
    bench = Bench()
    bench.tell_at_once(BEGIN, ASK_CONNECT)
    (task,) = bench.links["policy"].tasks
    bench.tell(ABORT)
    assert bench.links["policy"].cancelled == [task.task]
    assert bench.answers == []
    assert bench.hall.transactions == 0


def test_a_sampled_question_leaves_its_spans() -> None:
    bench = Bench()
    begin = pb.Event(begin=pb.Begin(budget_ms=2000, traceparent=SAMPLED))
    bench.tell_at_once(begin, ASK_CONNECT)
    bench.links["policy"].answer(CLIENT)
    ((span, *_),) = bench.spans
    assert (span.name, span.attributes["mail.action"]) == ("filter.transaction", "reject")


def announced(bench: Bench) -> list[list[int]]:
    return [[*answer.early_stages.stages] for answer in bench.answers if answer.HasField("early_stages")]


def test_a_gateway_is_told_at_which_stages_somebody_may_object() -> None:
    bench = Bench()
    bench.session.announce()
    # STAGES has nobody for HELO.
    assert announced(bench) == [[stage_to_proto(stage) for stage in (Stage.CONNECT, Stage.MAIL, Stage.RECIPIENT)]]


def test_a_gateway_is_told_again_when_that_changes_and_only_then() -> None:
    bench = Bench(table=False)
    bench.hall.streams.add(bench.session)
    bench.session.announce()
    assert announced(bench) == []
    bench.hall.update(Table({"classifier": frozenset({Stage.MESSAGE})}))
    bench.hall.update(Table({"classifier": frozenset({Stage.MESSAGE})}, (Replica("c", ("classifier",), "a:1", ""),)))
    bench.hall.update(Table({"policy": frozenset(Stage)}))
    assert announced(bench) == [[], [stage_to_proto(stage) for stage in EARLY]]
    bench.session.close()
    bench.hall.update(Table({"classifier": frozenset({Stage.MESSAGE})}))
    assert len(announced(bench)) == 2
