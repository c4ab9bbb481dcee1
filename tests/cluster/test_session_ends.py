"""cluster/ingress/session.py: how transactions end other than by a plain verdict, and their traces."""

import pytest

from cluster.ingress import session as session_module
from cluster.ingress.retell import whole_message
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2, verdict_pb2
from tests.cluster.session_bench import (
    ABORT,
    ASKED,
    BEGIN,
    BODY,
    END,
    HAM,
    HEADERS,
    MAIL,
    RECIPIENT,
    SAMPLED,
    SPF,
    WHOLE,
    Bench,
)


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
    bench = Bench(held_bytes_max=700_000)
    chunk = pb.Event(body=b"x" * 200_000)
    for number in (1, 2):
        bench.tell(BEGIN, MAIL, HEADERS, chunk, number=number)
    assert [answer.WhichOneof("kind") for answer in bench.answers] == ["credit", "credit", "refused"]
    assert (bench.answers[-1].transaction, bench.refusal.reason) == (2, pb.Refused.REASON_OVERLOADED)
    assert bench.hall.held_bytes <= 700_000


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


def test_a_transaction_that_outlives_its_deadline_is_given_up_with_a_word() -> None:
    bench = Bench()
    bench.tell(BEGIN, MAIL)
    bench.time.advance(3600.0)
    assert bench.hall.transactions == 0
    assert bench.refusal.reason == pb.Refused.REASON_INTERNAL


def test_a_large_body_travels_by_reference() -> None:
    bench = Bench()
    body = b"x" * 150_000
    bench.tell(BEGIN, MAIL, HEADERS, pb.Event(body=body), END)
    task = bench.links["classifier"].tasks[0]
    assert bench.shared == [body]
    assert task.body_id == b"body"
    assert message_pb2.Message.FromString(task.message).body == b""


def test_a_bug_in_decide_refuses_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError

    bench = Bench()
    bench.tell(*WHOLE)
    monkeypatch.setattr(session_module, "judge", broken)
    bench.answer_all()
    assert bench.refusal.reason == pb.Refused.REASON_INTERNAL
    assert bench.hall.transactions == 0


def test_a_bug_at_rcpt_refuses_one_transaction_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError

    bench = Bench()
    bench.tell(*WHOLE, number=2)
    monkeypatch.setattr(session_module, "decide_early", broken)
    bench.tell(BEGIN, MAIL, ASKED)
    bench.links["policy"].tasks.reverse()
    bench.links["policy"].answer(SPF)
    assert bench.refusal.reason == pb.Refused.REASON_INTERNAL
    assert bench.hall.transactions == 1


def test_a_body_that_cannot_be_shared_refuses_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_bench: Bench, _body: bytes) -> None:
        raise OSError

    monkeypatch.setattr(Bench, "share", broken)
    bench = Bench()
    bench.tell(*WHOLE[:4], number=2)
    bench.tell(*WHOLE)
    assert bench.refusal.reason == pb.Refused.REASON_INTERNAL
    assert bench.hall.transactions == 1


@pytest.mark.parametrize("refused", [[0], [0, 1]])
def test_no_verdict_comes_before_the_message_stage_whatever_ends_early(refused: list[int]) -> None:
    """A policy pool that broke and then is full ends the questions about recipients just when the message ends."""
    bench = Bench()
    bench.tell(BEGIN, MAIL)
    bench.links["policy"].answer(SPF)
    bench.tell(RECIPIENT, RECIPIENT)
    bench.links["policy"].breaks()
    bench.links["policy"].up()
    bench.links["policy"].full = True
    end = pb.Event(end_of_message=pb.EndOfMessage(budget_ms=19_000, refused_recipients=refused))
    bench.tell_at_once(HEADERS, end)
    bench.links["classifier"].answer(HAM)
    assert [answer.WhichOneof("kind") for answer in bench.answers] == ["refused"]
    assert bench.refusal.reason == pb.Refused.REASON_OVERLOADED


def test_an_aborted_message_that_is_sampled_keeps_its_spans() -> None:
    bench = Bench()
    bench.tell(pb.Event(begin=pb.Begin(traceparent=SAMPLED, budget_ms=60_000)), *WHOLE[1:])
    bench.links["classifier"].answer(HAM)
    bench.tell(ABORT)
    assert not bench.answers
    assert [span.name for span in bench.spans[0]] == ["filter.transaction"]


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
    bench.session.receive(whole_message(message.envelope, message.header_block, message.body, 10.0))
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
