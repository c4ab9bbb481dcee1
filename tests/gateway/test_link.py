import asyncio

import pytest

from gateway.balance import OVERLOAD_PAUSE_S
from gateway.conversation import Unavailable
from gateway.early import Stage
from gateway.transaction import Failure, Recipient
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import Cell, FakeIngress, refuse, reject_recipients, silent, verdict
from tests.gateway.linked import judged, linked, transaction
from wire.stream import INITIAL_BODY_CREDIT_BYTES

OVERLOADED = filter_pb.Refused.REASON_OVERLOADED


async def test_a_message_is_told_whole_and_gets_its_verdict() -> None:
    ingress = FakeIngress(verdict(pb.ACTION_REJECT, score=20.0))
    async with linked(Cell(a=ingress)) as link:
        told = transaction(b"reader@recipient.example")
        told.queue_id = "4ABC"
        told.refused.add(0)
        answer = await link.open(told).verdict()
    assert isinstance(answer, pb.Verdict)
    assert answer.score == 20.0
    (heard,) = ingress.judged
    assert heard.begin.transaction_id == b"i" * 16
    assert heard.begin.traceparent == "00-00000000000000000000000000000001-0000000000000002-00"
    assert heard.begin.client.ip == "192.0.2.7"
    assert heard.sender == b"anna@shop.example"
    assert heard.recipients == [b"reader@recipient.example"]
    assert heard.headers == filter_pb.Headers(header_block=b"Subject: hello\r\n", queue_id="4ABC")
    assert heard.body == b"hello\r\n"
    assert heard.end is not None
    assert list(heard.end.refused_recipients) == [0]
    assert 19_000 < heard.end.budget_ms <= 20_000
    assert ingress.faults == []


async def test_an_early_verdict_answers_its_recipient_and_others_are_not_waited_for() -> None:
    ingress = FakeIngress(recipient=reject_recipients(b"bad@recipient.example"))
    async with linked(Cell(a=ingress)) as link:
        told = transaction(b"mta-refused@recipient.example")
        told.header_block = None
        conversation = link.open(told)
        conversation.advance()
        told.recipients.append(Recipient(b"bad@recipient.example", (), ""))
        answer = await conversation.early_verdict(Stage.RCPT, 1)
        assert isinstance(answer, pb.RecipientVerdict)
        assert answer.action == pb.ACTION_REJECT
        (heard,) = ingress.open.values()
        assert [bool(budget_ms) for budget_ms in heard.recipient_budgets_ms] == [False, True]


async def test_a_silent_ingress_lets_the_recipient_pass_after_the_rcpt_budget() -> None:
    async with linked(Cell(a=FakeIngress(recipient=silent))) as link:
        began_s = asyncio.get_running_loop().time()
        assert await link.open(transaction(b"reader@recipient.example")).early_verdict(Stage.RCPT, 0) is None
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(5.0)


async def test_no_verdict_in_time_is_a_timeout_and_the_ingress_is_told_to_stop() -> None:
    ingress = FakeIngress(silent)
    async with linked(Cell(a=ingress)) as link:
        began_s = asyncio.get_running_loop().time()
        assert await link.open(transaction()).verdict() == Unavailable(Failure.TIMEOUT)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(20.0)
        await asyncio.sleep(0.01)
        assert ingress.aborted == [1]


async def test_an_overloaded_ingress_passes_the_message_to_another_one() -> None:
    full, free = FakeIngress(refuse(OVERLOADED)), FakeIngress()
    async with linked(Cell(full=full, free=free)) as link:
        assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
        assert len(free.judged) == 1
        # For a moment the full one is the last choice, although it has nothing to do.
        assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
        assert full.begun == 1
        await asyncio.sleep(OVERLOAD_PAUSE_S)
        await link.open(transaction()).verdict()
        assert full.begun == 2


async def test_when_all_ingresses_are_overloaded_the_answer_comes_at_once() -> None:
    async with linked(Cell(a=FakeIngress(refuse(OVERLOADED)), b=FakeIngress(refuse(OVERLOADED)))) as link:
        began_s = asyncio.get_running_loop().time()
        assert await link.open(transaction()).verdict() == Unavailable(Failure.OVERLOADED)
        assert asyncio.get_running_loop().time() == began_s


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        (filter_pb.Refused.REASON_MALFORMED, Failure.PROTOCOL),
        (filter_pb.Refused.REASON_INTERNAL, Failure.INTERNAL),
        (filter_pb.Refused.REASON_UNSPECIFIED, Failure.INTERNAL),
    ],
)
async def test_a_refusal_has_its_failure_class(reason: filter_pb.Refused.Reason, failure: Failure) -> None:
    async with linked(Cell(a=FakeIngress(refuse(reason)))) as link:
        assert await link.open(transaction()).verdict() == Unavailable(failure)


async def test_a_body_goes_out_as_credit_allows() -> None:
    ingress = FakeIngress()
    body = bytes(range(256)) * 20_000
    async with linked(Cell(a=ingress)) as link:
        told = transaction(body=body[:65_535])
        for start in range(65_535, len(body), 65_535):
            told.body.append(body[start : start + 65_535])
        assert isinstance(await link.open(told).verdict(), pb.Verdict)
    assert ingress.judged[0].body == body
    assert ingress.faults == []


async def test_small_mail_passes_what_large_mail_has_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    ingress = FakeIngress()
    cell = Cell(a=ingress)
    async with linked(cell) as link:
        gate, write = asyncio.Event(), cell.pipes["a"].write

        async def gated(events: list[filter_pb.Event]) -> None:
            await gate.wait()
            await write(events)

        monkeypatch.setattr(cell.pipes["a"], "write", gated)
        large = []
        for _ in range(4):
            told = transaction()
            for _ in range(30):
                told.body.append(b"x" * 65_535)
            large.append(asyncio.create_task(judged(link.open(told))))
        await asyncio.sleep(0.01)
        small = asyncio.create_task(judged(link.open(transaction(b"reader@recipient.example"))))
        await asyncio.sleep(0.01)
        gate.set()
        assert isinstance(await small, pb.Verdict)
        assert ingress.judged[0].recipients == [b"reader@recipient.example"]
        assert sum(len(heard.body) for heard in ingress.open.values()) < 1_000_000
        for verdict_of_large in await asyncio.gather(*large):
            assert isinstance(verdict_of_large, pb.Verdict)
        assert {len(heard.body) for heard in ingress.judged[1:]} == {7 + 30 * 65_535}
        assert ingress.faults == []


async def test_without_credit_no_byte_too_many_is_sent() -> None:
    ingress = FakeIngress(grants=False)
    async with linked(Cell(a=ingress)) as link:
        answer = await link.open(transaction(body=b"x" * (INITIAL_BODY_CREDIT_BYTES + 1))).verdict()
        assert answer == Unavailable(Failure.TIMEOUT)
    assert ingress.faults == []
    assert ingress.judged == []


async def test_transactions_go_where_the_least_is_outstanding() -> None:
    a, b = FakeIngress(silent), FakeIngress(silent)
    async with linked(Cell(a=a, b=b)) as link:
        large = link.open(transaction(body=b"x" * 50_000))
        large.advance()
        for _ in range(10):
            link.open(transaction()).advance()
        assert len(link._streams["a"].conversations) == 1
        assert len(link._streams["b"].conversations) == 10
        for conversation in [large, *link._streams["b"].conversations.values()]:
            conversation.abort()
        assert [stream.endpoint.outstanding_bytes for stream in link._streams.values()] == [0, 0]


async def test_what_waits_while_a_frame_is_written_is_the_next_frame() -> None:
    cell = Cell(a=FakeIngress())
    async with linked(cell) as link:
        await asyncio.gather(*(link.open(transaction()).verdict() for _ in range(50)))
        assert sum(cell.pipes["a"].frames) == 50 * 5
        assert len(cell.pipes["a"].frames) <= 3


async def test_an_aborted_transaction_is_forgotten_on_both_sides() -> None:
    ingress = FakeIngress(silent)
    async with linked(Cell(a=ingress)) as link:
        conversation = link.open(transaction())
        conversation.advance()
        await asyncio.sleep(0.01)
        conversation.abort()
        await asyncio.sleep(0.01)
        assert ingress.open == {}
        assert link._streams["a"].conversations == {}


async def test_keep_goes_to_the_ingress_that_judged() -> None:
    ingress = FakeIngress()
    async with linked(Cell(a=ingress)) as link:
        conversation = link.open(transaction())
        await conversation.verdict()
        conversation.keep("slow")
        await asyncio.sleep(0.01)
        assert ingress.kept == [(1, "slow")]


async def test_a_verdict_before_end_of_message_is_a_failure_of_the_ingress() -> None:
    async with linked(Cell(a=FakeIngress(recipient=verdict()))) as link:
        conversation = link.open(transaction(b"reader@recipient.example"))
        assert await conversation.early_verdict(Stage.RCPT, 0) == Unavailable(Failure.INTERNAL)
