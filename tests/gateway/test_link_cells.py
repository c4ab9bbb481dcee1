"""Several cells: where transactions go, where they go next, and what a reload changes."""

import asyncio
from dataclasses import replace

from gateway.cells import CellConfig, SrvRecord
from gateway.conversation import Unavailable
from gateway.link import Link, LinkSettings
from gateway.metrics import Metrics
from gateway.transaction import Failure
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import Cell, FakeIngress, refuse, silent, verdict
from tests.gateway.linked import BUDGETS, judged, linked, one_cell, settings, transaction
from tests.gateway.rig import LogLines

INTERNAL = filter_pb.Refused.REASON_INTERNAL
OVERLOADED = filter_pb.Refused.REASON_OVERLOADED
DRAINING = filter_pb.Refused.REASON_DRAINING


async def linked_cells(world: Cell, *cells: CellConfig) -> Link:
    link = Link(replace(settings(world), cells=cells), Metrics())
    link.start()
    await asyncio.sleep(0.01)
    return link


def near_and_far(near: FakeIngress, far: FakeIngress) -> tuple[Cell, tuple[CellConfig, ...]]:
    world = Cell(near=near, far=far)
    return world, (one_cell("near", name="near"), one_cell("far", name="far", priority=1))


async def test_transactions_in_flight_are_told_to_the_other_cell_when_theirs_is_lost() -> None:
    near, far = FakeIngress(silent), FakeIngress()
    world, cells = near_and_far(near, far)
    link = await linked_cells(world, *cells)
    asking = [asyncio.create_task(judged(link.open(transaction(b"r@recipient.example")))) for _ in range(20)]
    await asyncio.sleep(2.0)
    assert (len(near.open), far.begun) == (20, 0)
    world.kill("near")
    assert {type(answer) for answer in await asyncio.gather(*asking)} == {pb.Verdict}
    assert len(far.judged) == 20
    assert all(heard.end is not None and heard.end.budget_ms < 18_000 for heard in far.judged)
    await link.close()


async def test_transactions_in_flight_go_to_the_other_cell_when_theirs_drains_or_is_full() -> None:
    for reason in (DRAINING, OVERLOADED):
        near, far = FakeIngress(refuse(reason)), FakeIngress()
        world, cells = near_and_far(near, far)
        link = await linked_cells(world, *cells)
        answers = await asyncio.gather(*(link.open(transaction()).verdict() for _ in range(5)))
        assert {type(answer) for answer in answers} == {pb.Verdict}
        assert len(far.judged) == 5
        await link.close()


async def test_mail_returns_to_the_near_cell_when_it_is_back() -> None:
    near, far = FakeIngress(), FakeIngress()
    world, cells = near_and_far(near, far)
    link = await linked_cells(world, *cells)
    world.kill("near")
    await asyncio.sleep(0.01)
    await link.open(transaction()).verdict()
    world.ingresses["near"] = near
    await asyncio.sleep(5.0)
    await link.open(transaction()).verdict()
    assert (len(near.judged), len(far.judged)) == (1, 1)
    await link.close()


async def test_one_of_four_killed_under_load_loses_nothing_and_meets_no_herd_when_it_is_back() -> None:
    names = ("a", "b", "c", "d")
    world = Cell(**{name: FakeIngress() for name in names})
    dead = world.ingresses["a"]
    async with linked(world) as link:
        answers: list[object] = []

        async def session(messages: int) -> None:
            for _ in range(messages):
                answers.append(await link.open(transaction(b"r@recipient.example")).verdict())
                await asyncio.sleep(0.05)

        playing = [asyncio.create_task(session(100)) for _ in range(8)]
        await asyncio.sleep(1.0)
        world.kill("a")
        await asyncio.sleep(1.0)
        before = {name: len(ingress.judged) for name, ingress in world.ingresses.items()}
        world.ingresses["a"] = dead
        dead.judged.clear()
        while "a" not in link._streams:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        others = [len(world.ingresses[name].judged) - before[name] for name in names[1:]]
        assert len(dead.judged) < min(others) / 2
        await asyncio.gather(*playing)
        assert {type(answer) for answer in answers} == {pb.Verdict}
        assert len(answers) == 800


async def test_one_that_fails_again_and_again_is_left_alone_for_a_while(lines: LogLines) -> None:
    bad, good = FakeIngress(refuse(INTERNAL)), FakeIngress()
    async with linked(Cell(bad=bad, good=good)) as link:
        for _ in range(50):
            assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
        assert bad.begun == 3
        assert [line["ingress"] for line in lines.of("ingress_ejected")] == ["bad"]
        assert link._metrics.registry.get_sample_value("tamis_gateway_ejections_total") == 1


async def test_failures_among_verdicts_leave_an_ingress_where_it_is(lines: LogLines) -> None:
    moody = FakeIngress()
    async with linked(Cell(moody=moody)) as link:
        for number in range(20):
            moody.judge = refuse(INTERNAL) if number % 3 else verdict()
            await link.open(transaction()).verdict()
        assert lines.of("ingress_ejected") == []


async def test_one_whose_streams_break_again_and_again_is_left_alone_for_a_while(lines: LogLines) -> None:
    world = Cell(crashing=FakeIngress(silent), good=FakeIngress())
    async with linked(world) as link:
        for _ in range(3):
            world.pipes["crashing"].break_off()
            await asyncio.sleep(5.0)
        assert [line["ingress"] for line in lines.of("ingress_ejected")] == ["crashing"]
        assert link.ready


async def test_one_that_never_answers_in_time_is_left_alone_and_asked_when_it_is_the_last(lines: LogLines) -> None:
    hung = FakeIngress(silent)
    async with linked(Cell(hung=hung)) as link:
        for _ in range(3):
            assert await link.open(transaction()).verdict() == Unavailable(Failure.TIMEOUT)
        assert [line["ingress"] for line in lines.of("ingress_ejected")] == ["hung"]
        hung.judge = verdict()
        assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
        assert len(hung.judged) == 1


async def test_srv_answers_are_dialled_and_vanished_ones_finish_what_they_have() -> None:
    old, new = FakeIngress(silent), FakeIngress()
    world = Cell(**{"old:1": old, "new:1": new})
    answer = [SrvRecord(0, 1, "old", 1)]

    async def lookup(_name: str) -> tuple[list[SrvRecord], float]:
        return list(answer), 60.0

    link = Link(LinkSettings([one_cell("srv:n")], BUDGETS, world.dial, lookup), Metrics())
    link.start()
    asking = asyncio.create_task(judged(link.open(transaction())))
    await asyncio.sleep(10.0)
    answer[:] = [SrvRecord(0, 1, "new", 1)]
    late = asyncio.create_task(judged(link.open(transaction())))
    await asyncio.sleep(5.0)
    assert len(old.open) == 2
    for heard in list(old.open.values()):
        world.pipes["old:1"].answer(verdict()(heard))
    assert isinstance(await asking, pb.Verdict)
    assert isinstance(await late, pb.Verdict)
    await asyncio.sleep(60.0)
    assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
    assert len(new.judged) == 1
    dialled = world.dialled
    await asyncio.sleep(60.0)
    assert (world.dialled, set(link._streams)) == (dialled, {"new:1"})
    await link.close()


async def test_a_reload_dials_anew_before_it_leaves_and_old_streams_finish() -> None:
    ingress = FakeIngress(silent)
    world = Cell(a=ingress)
    async with linked(world) as link:
        asking = asyncio.create_task(judged(link.open(transaction())))
        await asyncio.sleep(1.0)
        old_pipe, (heard,) = world.pipes["a"], ingress.open.values()
        link.reload(settings(world))
        assert link.ready, "nothing is left before the new stream is there"
        await asyncio.sleep(0.1)
        assert world.dialled == 2
        ingress.judge = verdict()
        assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
        assert not asking.done()
        old_pipe.answer(verdict(pb.ACTION_REJECT)(heard))
        answer = await asking
        assert isinstance(answer, pb.Verdict)
        assert answer.action == pb.ACTION_REJECT
        await asyncio.sleep(10.0)
        assert world.dialled == 2
        assert link._metrics.registry.get_sample_value("tamis_gateway_replays_total") == 0


async def test_a_reload_whose_new_way_does_not_work_keeps_the_old_streams() -> None:
    world, nowhere = Cell(a=FakeIngress()), Cell()
    async with linked(world) as link:
        for _ in range(3):
            link.reload(replace(settings(nowhere, "a")))
            await asyncio.sleep(5.0)
            assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
        nowhere.ingresses["a"] = world.ingresses["a"]
        await asyncio.sleep(5.0)
        assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
        assert list(nowhere.pipes) == ["a"]
        assert len(link._tasks) == 1


async def test_a_reload_changes_weights_and_priorities() -> None:
    near, far = FakeIngress(), FakeIngress()
    world, cells = near_and_far(near, far)
    link = await linked_cells(world, *cells)
    link.reload(replace(settings(world), cells=(one_cell("near", name="near", priority=2), cells[1])))
    await asyncio.sleep(1.0)
    assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
    assert (near.begun, far.begun) == (0, 1)
    await link.close()


async def test_a_reload_leaves_what_is_no_longer_named_and_adds_what_is_new() -> None:
    a, b = FakeIngress(), FakeIngress()
    world = Cell(a=a, b=b)
    async with linked(world, "a") as link:
        link.reload(settings(world, "b"))
        await asyncio.sleep(1.0)
        assert set(link._streams) == {"b"}
        assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
        assert (a.begun, b.begun) == (0, 1)
