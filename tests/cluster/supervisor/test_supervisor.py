"""The supervisor keeps processes up and tells the ingresses: with processes that are fakes, no Ray."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from ray.exceptions import RayError

from cluster.config import Pools
from tests.cluster.fake_ray import FakeRay, run, status_of, supervisor, until_ready

POOLS = ("dkim", "policy", "classifier", "antivirus")


def test_the_cell_is_ready_when_all_are_up_and_the_ingress_has_the_table(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray, pools=Pools(policy=2, layout="split"))
        await until_ready(cell, within_s=1)
        status = await status_of(cell)
        assert status.ingresses == ("ingress-0:11333",)
        names = {"dkim-0", "policy-0", "policy-1", "classifier-0", "antivirus-0"}
        assert {replica.name for replica in status.replicas} == names
        ingress = fake_ray.processes["ingress-0"]
        assert set(ingress.tables[-1]) == ingress.known == names

    run(test())


def test_one_ingress_that_hangs_is_not_ready_and_the_status_comes_all_the_same(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray, ingresses=2)
        await until_ready(cell)
        fake_ray.processes["ingress-1"].deaf = {"ready"}
        async with asyncio.timeout(2):
            assert not (await status_of(cell)).ready
        fake_ray.processes["ingress-1"].deaf = set()
        await until_ready(cell, within_s=1)

    run(test())


def test_a_hung_ingress_is_killed_and_comes_back(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray, ingresses=2, unresponsive_s=10)
        await until_ready(cell)
        fake_ray.processes["ingress-1"].deaf = {"all"}
        await asyncio.sleep(20)
        assert fake_ray.killed == ["ingress-1"]
        await until_ready(cell, within_s=1)
        assert fake_ray.processes["ingress-1"].births == 2

    run(test())


@pytest.mark.parametrize("deaf", ["all", "update"])
def test_an_ingress_that_hangs_keeps_no_replica_from_its_restart(fake_ray: FakeRay, deaf: str) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray, ingresses=2, unresponsive_s=30)
        await until_ready(cell)
        fake_ray.processes["ingress-0"].deaf = {deaf}
        for pool in POOLS:
            fake_ray.processes[f"{pool}-0"].die()
        await asyncio.sleep(2)
        assert [fake_ray.processes[f"{pool}-0"].births for pool in POOLS] == [2] * 4
        assert len(fake_ray.processes["ingress-1"].tables[-1]) == 4, "the other ingress hears of it at once"
        await asyncio.sleep(40)
        assert fake_ray.killed == (["ingress-0"] if deaf == "all" else [])

    run(test())


def test_an_ingress_is_told_again_what_it_did_not_take(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        ingress = fake_ray.processes["ingress-0"]
        ingress.fails = [RayError("lost"), ValueError("bug")]
        ingress.tables.clear()
        fake_ray.processes["dkim-0"].die()
        await asyncio.sleep(10)
        assert len(ingress.tables[-1]) == 4

    run(test())


@pytest.mark.parametrize("error", [RayError("GCS is away"), OSError("no memory"), ValueError("bug")])
def test_a_keeper_outlives_whatever_ray_raises(fake_ray: FakeRay, error: Exception) -> None:
    async def test() -> None:
        fake_ray.refuses = [error] * 10
        cell = supervisor(fake_ray)
        await cell.status()
        await asyncio.sleep(0.05)
        status = await status_of(cell)
        assert set(status.problems) == {f"{pool}-0" for pool in POOLS} | {"ingress-0"}
        assert all(problem.startswith(type(error).__name__) for problem in status.problems.values())
        assert not status.hopeless
        await until_ready(cell)

    run(test())


def test_a_keeper_outlives_a_watch_that_fails(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        dkim = fake_ray.processes["dkim-0"]
        dkim.on_ping = _raising(RayError("RPC failed"))  # type: ignore[method-assign]
        await asyncio.sleep(6)
        del dkim.on_ping
        await until_ready(cell)
        dkim.die()
        await asyncio.sleep(1)
        assert dkim.births >= 3

    run(test())


def test_a_restarted_supervisor_tells_nobody_a_table_without_the_busy_replicas(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.slow = {"antivirus-0": 3.0}
        cell = supervisor(fake_ray)
        await until_ready(cell)
        assert [len(table) for table in fake_ray.processes["ingress-0"].tables] == [4]

    run(test())


def test_a_replica_that_does_not_come_up_holds_the_first_table_back_for_a_bounded_time(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.slow = {"antivirus-0": 60.0}
        cell = supervisor(fake_ray)
        await cell.status()
        await asyncio.sleep(4)
        assert not fake_ray.processes["ingress-0"].tables
        await asyncio.sleep(2)
        assert [len(table) for table in fake_ray.processes["ingress-0"].tables] == [3]

    run(test())


def test_a_process_that_never_says_where_it_serves_is_killed_and_started_again(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.slow = {"antivirus-0": 100_000.0}
        cell = supervisor(fake_ray)
        await cell.status()
        await asyncio.sleep(1)
        fake_ray.processes["antivirus-0"].start_s = 0
        await asyncio.sleep(125)
        assert fake_ray.killed == ["antivirus-0"]
        assert (await status_of(cell)).ready

    run(test())


def test_stopping_waits_for_no_ingress_that_hangs(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray, ingresses=2)
        await until_ready(cell)
        fake_ray.processes["ingress-1"].deaf = {"all"}
        async with asyncio.timeout(6):
            await cell.stop()

    run(test())


def test_stopping_kills_every_process_and_starts_none_again(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        births = {name: process.births for name, process in fake_ray.processes.items()}
        await cell.stop()
        await asyncio.sleep(60)
        assert set(fake_ray.killed) == set(fake_ray.processes)
        assert {name: process.births for name, process in fake_ray.processes.items()} == births

    run(test())


def _raising(error: Exception) -> Callable[[], Coroutine[Any, Any, None]]:
    async def raising() -> None:
        raise error

    return raising
