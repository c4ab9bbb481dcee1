"""Streams that cannot be had, break, drain or get stuck, and what becomes of their transactions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.conversation import WRITE_S, Unavailable
from gateway.dial import Pipe, StreamLost
from gateway.discovery import no_lookup
from gateway.early import Stage
from gateway.link import REPLAYS_MAX, Link, LinkSettings, backoff_s
from gateway.metrics import Metrics
from gateway.transaction import Failure
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import Cell, FakeIngress, let_in, refuse, silent, verdict
from tests.gateway.linked import BUDGETS, judged, linked, one_cell, transaction

DRAINING = filter_pb.Refused.REASON_DRAINING


def replays(link: Link) -> float:
    return link._metrics.registry.get_sample_value("tamis_gateway_replays_total") or 0.0


async def test_without_any_ingress_the_answer_comes_within_the_connect_budget() -> None:
    async with linked(Cell(), "nowhere") as link:
        began_s = asyncio.get_running_loop().time()
        conversation = link.open(transaction(b"one@recipient.example"))
        assert await conversation.early_verdict(Stage.RCPT, 0) == Unavailable(Failure.UNREACHABLE)
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
        asking = asyncio.create_task(conversation.early_verdict(Stage.RCPT, 0))
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
        assert asking.result() == Unavailable(Failure.INTERNAL)
        assert losses == REPLAYS_MAX + 1


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


async def test_an_ingress_that_is_never_ready_costs_the_connect_budget_once() -> None:
    async with linked(Cell(a=FakeIngress(refuse(DRAINING)))) as link:
        began_s = asyncio.get_running_loop().time()
        assert await link.open(transaction()).verdict() == Unavailable(Failure.UNREACHABLE)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(5.0)


async def test_an_ingress_that_answered_gives_the_next_loss_the_whole_connect_budget() -> None:
    cell = Cell()
    async with linked(cell, "only") as link:
        conversation = link.open(transaction(b"reader@recipient.example"))
        asking = asyncio.create_task(conversation.early_verdict(Stage.RCPT, 0))
        await asyncio.sleep(3.0)
        cell.ingresses["only"] = FakeIngress()
        assert isinstance(await asking, pb.RecipientVerdict)
        await asyncio.sleep(60.0)
        cell.kill("only")
        await asyncio.sleep(0)
        began_s = asyncio.get_running_loop().time()
        assert await conversation.verdict() == Unavailable(Failure.UNREACHABLE)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(5.0, abs=0.1)


async def test_a_stream_that_takes_nothing_more_is_broken_and_its_transactions_go_elsewhere() -> None:
    stuck, other = FakeIngress(silent), FakeIngress()
    cell = Cell(stuck=stuck, other=other)
    async with linked(cell) as link:
        stream = link._streams["stuck"]
        stream.writer._outbox._items_max = 3
        told = transaction(b"a@recipient.example", b"b@recipient.example")
        conversation = link.open(told)
        assert conversation.stream is stream
        conversation.advance()
        told.body.append(b"must not follow a gap")
        conversation.advance()
        assert isinstance(await conversation.verdict(), pb.Verdict)
        assert other.judged[0].body == b"hello\r\nmust not follow a gap"
        assert link._streams.get("stuck") is not stream
        assert stuck.judged == []


async def test_a_stream_that_writes_nothing_for_long_is_broken_and_its_transactions_go_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck, other = FakeIngress(), FakeIngress()
    cell = Cell(stuck=stuck, other=other)
    async with linked(cell) as link:
        monkeypatch.setattr(cell.pipes["stuck"], "write", lambda _request: asyncio.Event().wait())
        conversation = link.open(transaction())
        assert conversation.stream is link._streams["stuck"]
        began_s = asyncio.get_running_loop().time()
        assert isinstance(await conversation.verdict(), pb.Verdict)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(WRITE_S, abs=0.1)
        assert len(other.judged) == 1


async def test_many_transactions_at_once_wait_for_a_stream_that_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.conversation.BEHIND_EVENTS", 20)
    monkeypatch.setattr("wire.stream.FRAME_ITEMS_MAX", 8)
    cell, waiting = Cell(), []
    async with linked(cell, "a") as link:
        asking = [asyncio.create_task(judged(link.open(transaction()))) for _ in range(100)]
        await asyncio.sleep(1.0)
        ingress = cell.ingresses["a"] = FakeIngress()
        hear = ingress.hear
        monkeypatch.setattr(
            ingress, "hear", lambda event: waiting.append(len(link._streams["a"].outbox)) or hear(event)
        )
        assert {type(answer) for answer in await asyncio.gather(*asking)} == {pb.Verdict}
        assert 10 < max(waiting) < 25
        assert ingress.faults == []
        assert cell.dialled <= 6


async def test_a_stream_that_cannot_even_take_an_abort_is_broken() -> None:
    cell = Cell(stuck=FakeIngress(silent))
    async with linked(cell) as link:
        stream = link._streams["stuck"]
        conversation = link.open(transaction())
        conversation.advance()
        stream.writer._outbox._items_max = 1
        conversation.abort()
        await asyncio.sleep(1.0)
        assert link._streams["stuck"] is not stream
        assert cell.dialled == 2


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


async def test_an_ingress_that_was_away_for_longer_than_a_dial_lasts_is_dialled_until_it_is_back() -> None:
    cell = Cell(only=FakeIngress())

    @asynccontextmanager
    async def dial(target: str) -> AsyncIterator[Pipe]:
        """As gRPC does it: what cannot be reached is waited for."""
        if target not in cell.ingresses:
            try:
                async with asyncio.timeout(5.0):
                    await asyncio.Event().wait()
            except TimeoutError:
                raise StreamLost("no connection") from None
        async with cell.dial(target) as pipe:
            yield pipe

    link = Link(LinkSettings([one_cell("only")], BUDGETS, dial, no_lookup), Metrics())
    link.start()
    await asyncio.sleep(1.0)
    cell.kill("only")
    await asyncio.sleep(60.0)
    cell.ingresses["only"] = FakeIngress()
    await asyncio.sleep(10.0)
    assert link.ready
    assert isinstance(await judged(link.open(transaction())), pb.Verdict)
    await link.close()
