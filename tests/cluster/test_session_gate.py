"""cluster/ingress/session.py at the gate: messages that wait for their turn, and verdicts that wait for nobody."""

import gc

import pytest

from actors.model import Finding, Outcome, Stage
from cluster.codec import stage_from_proto
from cluster.ingress.gate import tenants_of
from cluster.ingress.transaction import Start
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2, verdict_pb2
from tests.cluster.session_bench import ABORT, BEGIN, BODY, END, HAM, HEADERS, MAIL, SPF, WHOLE, Bench

START = Start(Stage.MESSAGE, message_pb2.Message(), 0.0)
GTUBE = Finding("policy", "gtube", Outcome.HIT)
WINDOW = 64


def mail_to(tenant: str) -> tuple[pb.Event, ...]:
    recipient = message_pb2.Recipient(address=b"r@example.org", tenant=tenant)
    return (BEGIN, MAIL, pb.Event(recipient=pb.NewRecipient(recipient=recipient)), HEADERS, BODY, END)


def closed_gate() -> Bench:
    """With as many messages under way as may be; the next one waits."""
    bench = Bench(transactions_max=10_000)
    for number in range(1, WINDOW + 1):
        bench.tell(*WHOLE, number=number)
    return bench


def kinds(bench: Bench) -> dict[int, str]:
    return {answer.transaction: str(answer.WhichOneof("kind")) for answer in bench.answers}


def test_a_message_that_finds_the_gate_closed_is_examined_when_another_one_is_over() -> None:
    bench = closed_gate()
    asked = len(bench.links["classifier"].tasks)
    bench.tell(*WHOLE, number=99)
    assert len(bench.links["classifier"].tasks) == asked == WINDOW
    bench.answer_all()
    assert kinds(bench)[99] == "verdict"
    assert (bench.hall.transactions, bench.hall.gate.waiting, bench.time.armed) == (0, 0, 0)


def test_tenants_take_turns() -> None:
    bench = closed_gate()
    for number in range(100, 150):
        bench.tell(*mail_to("flooding"), number=number)
    bench.tell(*mail_to("calm"), number=200)
    bench.answer_all()
    assert list(kinds(bench)).index(200) < WINDOW + 3


def test_a_client_that_leaves_while_its_message_waits_takes_nothing_along() -> None:
    bench = closed_gate()
    bench.tell(*WHOLE, number=99)
    bench.tell(ABORT, number=99)
    assert bench.hall.gate.waiting == 0
    bench.answer_all()
    assert 99 not in kinds(bench)
    assert len(kinds(bench)) == WINDOW
    assert bench.time.armed == 0


def test_a_message_that_has_no_turn_in_half_of_its_time_is_refused_as_overloaded() -> None:
    bench = closed_gate()
    bench.tell(*WHOLE, number=99)
    bench.time.advance(4.9)
    assert not bench.answers
    bench.time.advance(0.2)
    assert bench.refusal.reason == pb.Refused.REASON_OVERLOADED
    assert bench.hall.gate.refused == 1
    bench.answer_all()
    assert (bench.hall.transactions, bench.time.armed) == (0, 0)


def test_the_time_of_a_transaction_that_waits_is_that_of_its_message() -> None:
    bench = closed_gate()
    short = pb.Event(begin=pb.Begin(transaction_id=b"id", budget_ms=1000))
    bench.tell(short, *WHOLE[1:], number=99)
    bench.time.advance(2.0)
    bench.answer_all()
    assert kinds(bench)[99] == "verdict"


def test_a_stream_that_ends_takes_its_places_along() -> None:
    bench = closed_gate()
    bench.tell(*WHOLE, number=99)
    bench.session.close()
    assert (bench.hall.transactions, bench.hall.gate.waiting, bench.time.armed) == (0, 0, 0)
    assert all(bench.hall.gate.pass_now(START) for _ in range(WINDOW))


def test_messages_of_a_slow_line_go_without_what_is_optional_and_say_so() -> None:
    bench = closed_gate()
    policy, classifier = bench.links["policy"], bench.links["classifier"]
    for number in range(100, 400):
        if number >= 160:
            bench.time.advance(0.05)
            while policy.tasks:
                policy.answer(SPF)
            if classifier.tasks:
                classifier.answer(HAM)
        bench.tell(*WHOLE, number=number)
    bench.answer_all()
    verdicts = {answer.transaction: answer.verdict for answer in bench.answers}
    degraded = [number for number, verdict in verdicts.items() if verdict.degraded]
    assert min(degraded) > 200, "each of those before waited for less, or not long enough after others"
    assert len(degraded) == bench.hall.gate.shed
    assert {name for number in degraded for name in verdicts[number].missing} == {"classifier"}


def test_thousands_that_end_at_once_do_not_nest() -> None:
    bench = closed_gate()
    for number in range(100, 3000):
        bench.tell(*WHOLE, number=number)
    bench.links["policy"].full = bench.links["classifier"].full = True
    bench.answer_all()
    assert len(kinds(bench)) == WINDOW + 2900
    assert bench.hall.transactions == 0


def test_a_message_that_is_over_leaves_nothing_for_the_collector_whether_it_waited_or_not() -> None:
    bench = closed_gate()
    for number in range(100, 200):
        bench.tell(*mail_to("a"), number=number)
    bench.tell(ABORT, number=150)
    gc.collect()
    gc.disable()
    try:
        bench.answer_all()
        bench.time.advance(3600)
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("direction", "tenants"), [(message_pb2.DIRECTION_INBOUND, ("a", "b")), (message_pb2.DIRECTION_OUTBOUND, ("own",))]
)
def test_inbound_mail_is_that_of_its_recipients_and_outbound_mail_that_of_its_sender(
    direction: message_pb2.Direction, tenants: tuple[str, ...]
) -> None:
    envelope = message_pb2.Envelope(tenant="own", direction=direction)
    for tenant in ("a", "b", "a"):
        envelope.recipients.add(address=b"x@example.org", tenant=tenant)
    assert tuple(tenants_of(envelope)) == tenants


# --- questions ahead of time -----------------------------------------------------------------------------------------


def behind() -> Bench:
    """After messages that waited long for a core."""
    bench = Bench()
    for number in range(1, 30):
        bench.tell(*WHOLE, number=number)
    bench.time.advance(1.0)
    bench.answer_all()
    bench.answers.clear()
    return bench


def stages(bench: Bench, pool: str) -> list[Stage]:
    return [stage_from_proto(task.stage) for task in bench.links[pool].tasks]


def test_replicas_that_are_behind_are_asked_about_the_envelope_together_with_the_message() -> None:
    bench = behind()
    bench.tell(*WHOLE, number=99)
    (recipient, message), (alone,) = bench.links["policy"].tasks, bench.links["classifier"].tasks
    assert stages(bench, "policy") == [Stage.RECIPIENT, Stage.MESSAGE]
    assert (recipient.envelope_too, message.envelope_too, alone.envelope_too) == (False, True, True)
    bench.answer_all()
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT
    assert not bench.verdict.missing


def test_replicas_that_have_caught_up_are_asked_ahead_of_time_again() -> None:
    bench = behind()
    for number in range(100, 250):
        bench.tell(*WHOLE, number=number)
        bench.answer_all()
    bench.tell(*WHOLE, number=999)
    assert stages(bench, "policy") == [Stage.ENVELOPE, Stage.RECIPIENT, Stage.HEADERS, Stage.MESSAGE]
    assert not any(task.envelope_too for task in bench.links["policy"].tasks)


def test_an_envelope_that_an_actor_does_not_answer_for_in_time_is_missing() -> None:
    bench = behind()
    bench.tell(*WHOLE, number=99)
    bench.links["classifier"].answer(HAM)
    bench.time.advance(60)
    assert (bench.verdict.degraded, list(bench.verdict.missing)) == (True, ["policy"])


# --- verdicts that are certain ---------------------------------------------------------------------------------------


def test_a_refusal_that_nothing_can_change_does_not_wait_for_the_other_actors() -> None:
    bench = Bench()
    bench.tell(*WHOLE)
    envelope, _recipient, _headers, message = bench.links["policy"].tasks
    bench.links["policy"].tasks[:] = [envelope, message]
    bench.links["policy"].answer()
    bench.links["policy"].answer(GTUBE)
    assert bench.verdict.action == verdict_pb2.ACTION_REJECT
    assert not bench.verdict.degraded
    assert "cut: classifier, policy" in bench.verdict.reasons
    assert [finding.detail for finding in bench.verdict.findings if finding.outcome == "skipped"] == ["cut", "cut"]
    assert bench.links["classifier"].cancelled
    assert (bench.hall.transactions, bench.time.armed) == (0, 0)


def test_what_may_still_be_refused_waits_for_all() -> None:
    bench = Bench()
    bench.tell(*WHOLE)
    bench.links["classifier"].answer(HAM)
    assert not bench.answers
