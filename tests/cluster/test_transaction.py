import pytest

from actors.model import Stage
from cluster.ingress.transaction import (
    CREDIT_WINDOW_BYTES,
    MACROS_MAX,
    Cancel,
    Grant,
    Limits,
    Reason,
    Refuse,
    Start,
    State,
    Step,
    Transaction,
)
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2
from wire.stream import INITIAL_BODY_CREDIT_BYTES

LIMITS = Limits(
    recipients_max=3, header_bytes_max=1000, message_bytes_max=1_000_000, early_s=5.0, end_of_message_s=20.0
)
NOW_S = 100.0

BEGIN = pb.Event(
    begin=pb.Begin(
        transaction_id=b"id", budget_ms=60_000, client=message_pb2.Client(ip="192.0.2.1"), tenant="t", mta_name="mx"
    )
)
MAIL = pb.Event(mail=pb.Mail(sender=b"a@example.org", esmtp_args=[b"SIZE=1"]))
HEADERS = pb.Event(headers=pb.Headers(header_block=b"Subject: x\r\n", queue_id="4Q"))
BODY = pb.Event(body=b"hello\r\n")
ASK_CONNECT, ASK_HELO, ASK_MAIL = (
    pb.Event(ask=pb.Ask(stage=stage, budget_ms=2000))
    for stage in (message_pb2.STAGE_CONNECT, message_pb2.STAGE_HELO, message_pb2.STAGE_MAIL)
)
END = pb.Event(end_of_message=pb.EndOfMessage(budget_ms=10_000))
ABORT = pb.Event(abort=pb.Abort())
KEEP = pb.Event(keep=pb.Keep())
EVENTS = {
    "begin": BEGIN,
    "mail": MAIL,
    "headers": HEADERS,
    "body": BODY,
    "end": END,
    "abort": ABORT,
    "ask_helo": ASK_HELO,
    "ask_mail": ASK_MAIL,
}


def recipient(address: bytes = b"r@example.org", budget_ms: int = 0) -> pb.Event:
    return pb.Event(recipient=pb.NewRecipient(recipient=message_pb2.Recipient(address=address), budget_ms=budget_ms))


EVENTS["recipient"] = recipient()
WAYS = {
    State.NEW: [],
    State.BEGUN: [BEGIN],
    State.MAIL: [BEGIN, MAIL],
    State.ENVELOPE: [BEGIN, MAIL, recipient()],
    State.CONTENT: [BEGIN, MAIL, recipient(), HEADERS, BODY],
    State.SCORING: [BEGIN, MAIL, recipient(), HEADERS, BODY, END],
    State.ENDED: [BEGIN, MAIL, ABORT],
}
IN_ORDER = {
    (State.NEW, "begin"),
    (State.BEGUN, "mail"),
    (State.BEGUN, "ask_helo"),
    (State.BEGUN, "abort"),
    (State.MAIL, "ask_mail"),
    (State.MAIL, "recipient"),
    (State.MAIL, "headers"),
    (State.MAIL, "abort"),
    (State.ENVELOPE, "recipient"),
    (State.ENVELOPE, "headers"),
    (State.ENVELOPE, "abort"),
    (State.CONTENT, "body"),
    (State.CONTENT, "end"),
    (State.CONTENT, "abort"),
    (State.SCORING, "abort"),
}


def after(*events: pb.Event) -> tuple[Transaction, list[Step]]:
    transaction = Transaction(LIMITS)
    steps: list[Step] = []
    for event in events:
        steps += transaction.receive(event, NOW_S)
    return transaction, steps


@pytest.mark.parametrize("state", WAYS)
@pytest.mark.parametrize("kind", EVENTS)
def test_each_state_takes_its_events_and_refuses_the_others(state: State, kind: str) -> None:
    transaction, steps = after(*WAYS[state])
    assert transaction.state is state
    assert not any(isinstance(step, Refuse) for step in steps)
    answer = transaction.receive(EVENTS[kind], NOW_S)
    if (state, kind) in IN_ORDER:
        assert not any(isinstance(step, Refuse) for step in answer)
    else:
        (refusal,) = answer
        assert isinstance(refusal, Refuse)
        assert refusal.reason == Reason.REASON_MALFORMED
        assert transaction.state is State.ENDED


def test_a_whole_transaction_starts_each_stage_with_what_is_known() -> None:
    _, steps = after(BEGIN, MAIL, recipient(b"one@x"), recipient(b"two@x", 2000), HEADERS, BODY, BODY, END)
    envelope, first, second, headers, message = steps
    assert isinstance(envelope, Start)
    assert envelope.stage is Stage.ENVELOPE
    assert envelope.message.envelope.sender == b"a@example.org"
    assert envelope.message.envelope.client.ip == "192.0.2.1"
    assert not envelope.message.envelope.recipients
    assert envelope.deadline_s == NOW_S + 60
    assert isinstance(first, Start)
    assert (first.stage, first.recipient, first.wants_verdict) == (Stage.RECIPIENT, 0, False)
    assert isinstance(second, Start)
    assert (second.recipient, second.wants_verdict, second.deadline_s) == (1, True, NOW_S + 2)
    assert [r.address for r in second.message.envelope.recipients] == [b"two@x"]
    assert second.message.envelope.sender == b"a@example.org"
    assert second.message.envelope.tenant == "t"
    assert isinstance(headers, Start)
    assert (headers.stage, headers.message.header_block) == (Stage.HEADERS, b"Subject: x\r\n")
    assert isinstance(message, Start)
    assert (message.stage, message.body, message.deadline_s) == (Stage.MESSAGE, b"hello\r\n" * 2, NOW_S + 10)
    assert message.message.envelope.queue_id == "4Q"
    assert [r.address for r in message.message.envelope.recipients] == [b"one@x", b"two@x"]


def test_refused_recipients_are_not_in_the_message_stage() -> None:
    end = pb.Event(end_of_message=pb.EndOfMessage(budget_ms=1, refused_recipients=[0], queue_id="5Q"))
    transaction, steps = after(BEGIN, MAIL, recipient(b"one@x"), recipient(b"two@x"), HEADERS, end)
    assert isinstance(steps[-1], Start)
    assert [r.address for r in steps[-1].message.envelope.recipients] == [b"two@x"]
    assert steps[-1].message.envelope.queue_id == "5Q"
    assert transaction.refused_recipients == {0}


def test_refusing_a_recipient_that_was_never_named_is_malformed() -> None:
    end = pb.Event(end_of_message=pb.EndOfMessage(refused_recipients=[1]))
    _, steps = after(BEGIN, MAIL, recipient(), HEADERS, end)
    assert steps[-1] == Refuse(Reason.REASON_MALFORMED, "a refused recipient that was never named")


def test_an_event_of_a_later_release_changes_nothing() -> None:
    transaction, _ = after(BEGIN, MAIL)
    assert transaction.receive(pb.Event(), NOW_S) == ()
    assert transaction.receive(pb.Event(ask=pb.Ask(stage=99, budget_ms=1)), NOW_S) == ()  # type: ignore[arg-type]
    assert transaction.state is State.MAIL


@pytest.mark.parametrize(
    ("events", "stage", "state"),
    [
        ([BEGIN, ASK_CONNECT], Stage.CONNECT, State.SCORING),
        ([BEGIN, ASK_HELO], Stage.HELO, State.SCORING),
        ([BEGIN, MAIL, ASK_MAIL], Stage.MAIL, State.ENVELOPE),
    ],
)
def test_a_question_starts_its_stage_with_what_is_known(events: list[pb.Event], stage: Stage, state: State) -> None:
    transaction, steps = after(*events)
    start = steps[-1]
    assert isinstance(start, Start)
    assert (start.stage, start.wants_verdict, start.deadline_s) == (stage, True, NOW_S + 2)
    assert start.message.envelope.client.ip == "192.0.2.1"
    assert start.message.envelope.sender == (b"a@example.org" if stage is Stage.MAIL else b"")
    assert transaction.state is state


def test_a_question_waits_no_longer_than_the_cap() -> None:
    _, (start,) = after(BEGIN, pb.Event(ask=pb.Ask(stage=message_pb2.STAGE_CONNECT, budget_ms=60_000)))
    assert isinstance(start, Start)
    assert start.deadline_s == NOW_S + LIMITS.early_s


def test_abort_ends_without_an_answer() -> None:
    transaction, steps = after(BEGIN, MAIL, recipient(), HEADERS, BODY, ABORT)
    assert isinstance(steps[-1], Cancel)
    assert transaction.state is State.ENDED


def test_the_verdicts_budget_is_capped() -> None:
    end = pb.Event(end_of_message=pb.EndOfMessage(budget_ms=600_000))
    _, steps = after(BEGIN, MAIL, HEADERS, end)
    assert isinstance(steps[-1], Start)
    assert steps[-1].deadline_s == NOW_S + LIMITS.end_of_message_s


def test_one_recipient_too_many_ends_the_transaction() -> None:
    _, steps = after(BEGIN, MAIL, *[recipient()] * 4)
    assert isinstance(steps[-1], Refuse)
    assert steps[-1].detail == "more than 3 recipients"


@pytest.mark.parametrize(("size", "refused"), [(1000, False), (1001, True)])
def test_the_header_section_has_a_limit(size: int, *, refused: bool) -> None:
    _, steps = after(BEGIN, MAIL, pb.Event(headers=pb.Headers(header_block=b"x" * size)))
    assert isinstance(steps[-1], Refuse) is refused


def test_body_beyond_credit_ends_the_transaction() -> None:
    _, steps = after(BEGIN, MAIL, HEADERS, pb.Event(body=b"x" * (INITIAL_BODY_CREDIT_BYTES + 1)))
    assert steps[-1] == Refuse(Reason.REASON_MALFORMED, "body beyond credit")


def test_credit_is_topped_up_before_it_is_used_up() -> None:
    half = pb.Event(body=b"x" * (INITIAL_BODY_CREDIT_BYTES // 2))
    transaction, steps = after(BEGIN, MAIL, HEADERS, half)
    assert not any(isinstance(step, Grant) for step in steps)
    (grant,) = transaction.receive(pb.Event(body=b"x"), NOW_S)
    assert grant == Grant(CREDIT_WINDOW_BYTES - (INITIAL_BODY_CREDIT_BYTES // 2 - 1))


def test_a_body_above_the_limit_ends_the_transaction_even_within_credit() -> None:
    transaction, _ = after(BEGIN, MAIL, HEADERS)
    chunk = pb.Event(body=b"x" * 200_000)
    steps = [transaction.receive(chunk, NOW_S) for _ in range(6)]
    assert any(isinstance(step, Grant) for step in steps[0])
    assert steps[5] == (Refuse(Reason.REASON_MALFORMED, "body above 1000000 bytes"),)


def test_promised_credit_counts_as_held_until_the_body_is_complete() -> None:
    transaction, _ = after(BEGIN, MAIL, HEADERS, pb.Event(body=b"x" * 200_000))
    assert transaction.held_bytes == 200_000 + len(b"Subject: x\r\n") + CREDIT_WINDOW_BYTES
    transaction.receive(END, NOW_S)
    assert transaction.held_bytes == 200_000 + len(b"Subject: x\r\n")


def test_macros_come_with_the_end_of_the_message_within_bounds() -> None:
    transaction = Transaction(LIMITS)
    for event in (BEGIN, MAIL, HEADERS):
        transaction.receive(event, NOW_S)
    told = {f"m{number}": "v" for number in range(40)}
    (start,) = transaction.receive(pb.Event(end_of_message=pb.EndOfMessage(budget_ms=1000, macros=told)), NOW_S)
    assert isinstance(start, Start)
    assert len(start.message.envelope.macros) == MACROS_MAX
    other = Transaction(LIMITS)
    for event in (BEGIN, MAIL, HEADERS):
        other.receive(event, NOW_S)
    told = {"long": "v" * 257, "n" * 257: "v", "level": "2"}
    (start,) = other.receive(pb.Event(end_of_message=pb.EndOfMessage(budget_ms=1000, macros=told)), NOW_S)
    assert isinstance(start, Start)
    assert dict(start.message.envelope.macros) == {"level": "2"}
