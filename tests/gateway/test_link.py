import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.conversation import Budgets, Conversation, Unavailable
from gateway.link import OVERLOAD_PAUSE_S, REPLAYS_MAX, Link, backoff_s
from gateway.metrics import Metrics
from gateway.transaction import Client, Failure, Identity, Recipient, Transaction
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import message_pb2
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import Cell, FakeIngress, let_in, refuse, reject_recipients, silent, verdict
from wire.stream import INITIAL_BODY_CREDIT_BYTES
from wire.trace import TraceContext

BUDGETS = Budgets(connect_s=5.0, recipient_s=5.0, verdict_s=20.0)
OVERLOADED = filter_pb.Refused.REASON_OVERLOADED
DRAINING = filter_pb.Refused.REASON_DRAINING


def transaction(*recipients: bytes, body: bytes = b"hello\r\n") -> Transaction:
    made = Transaction(
        identity=Identity(b"i" * 16, TraceContext(1, 2, sampled=False), 0, asyncio.get_running_loop().time()),
        client=Client(ip="192.0.2.7", helo=b"client.example"),
        auth_user=b"",
        direction=message_pb2.DIRECTION_INBOUND,
        tenant="",
        sender=b"anna@shop.example",
        esmtp_args=(),
    )
    made.recipients += [Recipient(address, (), "acme") for address in recipients]
    made.header_block = b"Subject: hello\r\n"
    made.body.append(body)
    return made


@asynccontextmanager
async def linked(cell: Cell, *targets: str, budgets: Budgets = BUDGETS) -> AsyncIterator[Link]:
    link = Link(targets or tuple(cell.ingresses), budgets, cell.dial, Metrics())
    link.start()
    await asyncio.sleep(0.01)
    yield link
    await link.close()


async def judged(conversation: Conversation) -> pb.Verdict | Unavailable:
    return await conversation.verdict()


def replays(link: Link) -> float:
    return link._metrics.registry.get_sample_value("tamis_gateway_replays_total") or 0.0


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
        answer = await conversation.recipient_verdict(1)
        assert isinstance(answer, pb.RecipientVerdict)
        assert answer.action == pb.ACTION_REJECT
        (heard,) = ingress.open.values()
        assert [bool(budget_ms) for budget_ms in heard.recipient_budgets_ms] == [False, True]


async def test_a_silent_ingress_lets_the_recipient_pass_after_the_rcpt_budget() -> None:
    async with linked(Cell(a=FakeIngress(recipient=silent))) as link:
        began_s = asyncio.get_running_loop().time()
        assert await link.open(transaction(b"reader@recipient.example")).recipient_verdict(0) is None
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(5.0)


async def test_no_verdict_in_time_is_a_timeout_and_the_ingress_is_told_to_stop() -> None:
    ingress = FakeIngress(silent)
    async with linked(Cell(a=ingress)) as link:
        began_s = asyncio.get_running_loop().time()
        assert await link.open(transaction()).verdict() == Unavailable(Failure.TIMEOUT)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(20.0)
        await asyncio.sleep(0.01)
        assert ingress.aborted == [1]


async def test_without_any_ingress_the_answer_comes_within_the_connect_budget() -> None:
    async with linked(Cell(), "nowhere") as link:
        began_s = asyncio.get_running_loop().time()
        conversation = link.open(transaction(b"one@recipient.example"))
        assert await conversation.recipient_verdict(0) == Unavailable(Failure.UNREACHABLE)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(5.0)
        assert await conversation.verdict() == Unavailable(Failure.UNREACHABLE)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(5.0)
        assert not link.ready


async def test_an_ingress_that_comes_within_the_connect_budget_is_asked() -> None:
    cell = Cell()
    async with linked(cell, "late") as link:
        asking = asyncio.create_task(judged(link.open(transaction())))
        await asyncio.sleep(1.0)
        cell.ingresses["late"] = FakeIngress()
        assert isinstance(await asking, pb.Verdict)


async def test_a_lost_stream_is_replayed_from_begin_on_another_ingress() -> None:
    first, second = FakeIngress(silent), FakeIngress()
    cell = Cell(first=first, second=second)
    async with linked(cell) as link:
        asking = asyncio.create_task(judged(link.open(transaction(b"reader@recipient.example"))))
        await asyncio.sleep(3.0)
        (before,) = first.open.values()
        cell.kill("first")
        assert isinstance(await asking, pb.Verdict)
        (heard,) = second.judged
        assert heard.begin.transaction_id == before.begin.transaction_id
        assert heard.recipients == [b"reader@recipient.example"]
        assert heard.recipient_budgets_ms == [0]
        assert heard.headers is not None
        assert heard.body == b"hello\r\n"
        assert heard.end is not None
        assert heard.end.budget_ms < 17_000
        assert replays(link) == 1


async def test_a_lost_stream_is_replayed_on_the_same_ingress_once_it_is_back() -> None:
    cell = Cell(only=FakeIngress(silent))
    async with linked(cell) as link:
        asking = asyncio.create_task(judged(link.open(transaction())))
        await asyncio.sleep(1.0)
        cell.kill("only")
        await asyncio.sleep(2.0)
        cell.ingresses["only"] = FakeIngress()
        assert isinstance(await asking, pb.Verdict)


async def test_a_recipient_that_is_waited_for_is_asked_again_after_a_loss() -> None:
    cell = Cell(first=FakeIngress(recipient=silent), second=FakeIngress(recipient=let_in))
    async with linked(cell) as link:
        conversation = link.open(transaction(b"reader@recipient.example"))
        asking = asyncio.create_task(conversation.recipient_verdict(0))
        await asyncio.sleep(1.0)
        cell.kill("first")
        answer = await asking
        assert isinstance(answer, pb.RecipientVerdict)
        (heard,) = cell.ingresses["second"].open.values()
        assert 0 < heard.recipient_budgets_ms[0] <= 4_000


async def test_a_message_that_breaks_every_stream_is_not_told_for_ever() -> None:
    cell = Cell(only=FakeIngress(silent))
    async with linked(cell) as link:
        asking = asyncio.create_task(judged(link.open(transaction())))
        losses = 0
        while not asking.done():
            await asyncio.sleep(0.3)
            if "only" in cell.pipes and cell.ingresses["only"].open:
                losses += 1
                cell.pipes["only"].break_off()
        assert asking.result() == Unavailable(Failure.LOST)
        assert losses == REPLAYS_MAX + 1


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
        (filter_pb.Refused.REASON_MALFORMED, Failure.MALFORMED),
        (filter_pb.Refused.REASON_INTERNAL, Failure.INTERNAL),
        (filter_pb.Refused.REASON_UNSPECIFIED, Failure.INTERNAL),
    ],
)
async def test_a_refusal_has_its_failure_class(reason: filter_pb.Refused.Reason, failure: Failure) -> None:
    async with linked(Cell(a=FakeIngress(refuse(reason)))) as link:
        assert await link.open(transaction()).verdict() == Unavailable(failure)


async def test_a_draining_ingress_gets_nothing_new_and_finishes_what_it_has() -> None:
    draining, other = FakeIngress(silent), FakeIngress()
    cell = Cell(draining=draining)
    async with linked(cell, "draining", "other") as link:
        old = asyncio.create_task(judged(link.open(transaction())))
        await asyncio.sleep(1.0)
        draining.judge = refuse(DRAINING)
        new = asyncio.create_task(judged(link.open(transaction())))
        await asyncio.sleep(0.5)
        assert not link.ready
        cell.ingresses["other"] = other
        assert isinstance(await new, pb.Verdict)
        assert link.ready
        cell.pipes["draining"].answer(verdict()(draining.open[1]))
        assert isinstance(await old, pb.Verdict)
        assert len(other.judged) == 1


async def test_an_ingress_that_was_not_ready_yet_is_dialled_again_and_asked_within_the_budget() -> None:
    ingress = FakeIngress(refuse(DRAINING))
    cell = Cell(a=ingress)
    async with linked(cell) as link:
        asking = asyncio.create_task(judged(link.open(transaction())))
        await asyncio.sleep(3.0)
        assert not asking.done()
        assert 2 <= cell.dialled < 10
        ingress.judge = verdict()
        assert isinstance(await asking, pb.Verdict)


async def test_a_body_goes_out_as_credit_allows() -> None:
    ingress = FakeIngress()
    body = bytes(range(256)) * 20_000
    async with linked(Cell(a=ingress)) as link:
        told = transaction()
        told.body[:] = [body[start : start + 65_535] for start in range(0, len(body), 65_535)]
        assert isinstance(await link.open(told).verdict(), pb.Verdict)
    assert ingress.judged[0].body == body
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
        assert [stream.outstanding_bytes for stream in link._streams.values()] == [0, 0]


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
        assert await conversation.recipient_verdict(0) == Unavailable(Failure.INTERNAL)


async def test_a_bug_in_handling_an_answer_costs_the_stream_and_not_the_link() -> None:
    cell = Cell(a=FakeIngress())
    async with linked(cell) as link:
        await link.open(transaction()).verdict()
        cell.pipes["a"]._answers.put_nowait("no answer at all")  # type: ignore[arg-type]
        await asyncio.sleep(3.0)
        assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)


async def test_dialling_backs_off() -> None:
    cell = Cell()
    async with linked(cell, "nowhere"):
        await asyncio.sleep(60.0)
        assert 30 < cell.dialled < 80
    assert backoff_s(0, 0.0) == pytest.approx(0.1)
    assert backoff_s(100, 0.0) == 2.0
    assert backoff_s(100, 1.0) == 1.0
