"""The shelf forgets what nobody came for, by age."""

import asyncio

import pytest

from actors.config import JudgementConfig
from actors.registry import build_actors
from cluster import pool as pool_module
from cluster.bodies import BodyShelf
from cluster.config import ClusterConfig
from cluster.pool import HostProcess
from cluster.spec import CellSpec, Order, pack
from tests.cluster.fakes import FakeTime
from tests.gateway.virtual_time import VirtualLoop
from wire.trace import TraceConfig

MB = 1_000_000


def aged_shelf() -> tuple[BodyShelf, FakeTime]:
    time = FakeTime()
    return BodyShelf(age_max_s=20.0, monotonic_s=time.monotonic_s), time


async def taken(shelf: BodyShelf, body_id: bytes) -> bytes | None:
    try:
        async with asyncio.timeout(0):
            return await shelf.take(body_id)
    except TimeoutError:
        return None


async def test_a_body_that_nobody_took_in_time_is_dropped_when_another_comes() -> None:
    shelf, time = aged_shelf()
    shelf.put(b"cancelled", b"x" * MB)
    time.advance(20)
    shelf.put(b"fresh", b"y" * MB)
    assert shelf.held_bytes == MB
    assert await taken(shelf, b"cancelled") is None
    assert await taken(shelf, b"fresh") == b"y" * MB


async def test_what_is_too_old_can_be_dropped_while_nothing_comes() -> None:
    shelf, time = aged_shelf()
    shelf.put(b"1", b"x" * MB)
    time.advance(10)
    shelf.put(b"2", b"y" * MB)
    time.advance(10)
    shelf.drop_old()
    assert shelf.held_bytes == MB
    assert await taken(shelf, b"2") == b"y" * MB


async def test_a_body_that_came_again_is_as_young_as_its_last_coming() -> None:
    shelf, time = aged_shelf()
    shelf.put(b"1", b"x" * MB)
    time.advance(15)
    shelf.put(b"1", b"x" * MB)
    time.advance(15)
    shelf.drop_old()
    assert await taken(shelf, b"1") == b"x" * MB
    assert shelf.held_bytes == 0


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_task_that_gives_up_its_wait_leaves_the_next_one_alone(at_once: bool) -> None:  # noqa: FBT001
    shelf, _ = aged_shelf()
    first = asyncio.create_task(shelf.take(b"1"))
    await asyncio.sleep(0)
    first.cancel()
    if not at_once:
        await asyncio.sleep(0)
    second = asyncio.create_task(shelf.take(b"1"))
    await asyncio.sleep(0)
    shelf.put(b"1", b"x")
    assert await asyncio.wait_for(second, 1) == b"x"
    assert first.cancelled()


async def test_two_tasks_may_wait_for_one_body_and_one_of_them_leave() -> None:
    shelf, _ = aged_shelf()
    leaving = asyncio.create_task(shelf.take(b"1"))
    staying = asyncio.create_task(shelf.take(b"1"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    shelf.put(b"1", b"x")
    assert await asyncio.wait_for(staying, 1) == b"x"


def test_a_replica_forgets_a_body_when_no_task_can_have_any_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        spec = CellSpec(ClusterConfig(end_of_message_s=30.0), JudgementConfig(), TraceConfig(), "node")
        process = HostProcess(pack(Order("dkim-0", spec.packed(), "node", ("dkim",))), build_actors)
        assert process._shelf.age_max_s == 30
        process._shelf = BodyShelf(age_max_s=30.0, monotonic_s=asyncio.get_running_loop().time)
        await process.hold_body(b"1", b"x" * MB)
        await asyncio.sleep(29)
        assert process._shelf.held_bytes == MB
        await asyncio.sleep(2)
        assert process._shelf.held_bytes == 0

    monkeypatch.setattr(pool_module, "prepare_process", lambda: None)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test())
