"""What outlives the supervisor, or the head of Ray: processes go on, and so does what an operator wanted."""

import asyncio

import pytest

from cluster.admin.control import RolloutState
from cluster.supervisor.control import Control
from cluster.supervisor.supervisor import Supervisor
from tests.cluster.fake_ray import (
    ANEW,
    NODES,
    SPLIT,
    FakeRay,
    generations,
    run,
    status_of,
    supervisor,
    until_ready,
    until_rolled,
)


def again(ray: FakeRay, **config: object) -> Supervisor:
    """A supervisor that Ray started anew."""
    return supervisor(ray, **config)  # type: ignore[arg-type]  options of the tests


async def dies(cell: Supervisor) -> None:
    """As SIGKILL has it: nothing is tidied up."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    del cell
    await asyncio.sleep(0)


def test_a_restarted_supervisor_finds_every_process_and_starts_none(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        births = {name: process.births for name, process in fake_ray.processes.items()}
        fake_ray.processes["ingress-0"].tables.clear()
        await dies(cell)
        cell = again(fake_ray)
        await until_ready(cell)
        assert fake_ray.processes.keys() == births.keys()
        assert not fake_ray.killed
        assert all(len(table) == 4 for table in fake_ray.processes["ingress-0"].tables)

    run(test())


@pytest.mark.parametrize("after_s", [0.5, 1.0, 2.0, 3.0, 5.0])
def test_a_rollout_goes_on_where_the_supervisor_died(fake_ray: FakeRay, after_s: float) -> None:
    async def test() -> None:
        fake_ray.slow = {f"{actor}-0.2": 0.7 for actor in SPLIT.sizes}
        cell = supervisor(fake_ray)
        await until_ready(cell)
        await Control(cell).start_rollout(ANEW)
        await asyncio.sleep(after_s)
        await dies(cell)
        cell = again(fake_ray)
        await status_of(cell)
        await until_rolled(Control(cell), RolloutState.DONE)
        await until_ready(cell)
        assert generations(fake_ray) == {"2"}
        assert fake_ray.most <= 6

    run(test())


def test_what_an_operator_wanted_outlives_the_supervisor(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.node_views = NODES
        cell = supervisor(fake_ray)
        await until_ready(cell)
        control = Control(cell)
        await control.drain(draining=True)
        await control.drain_node("b", draining=True)
        await asyncio.sleep(10)
        await dies(cell)
        cell = again(fake_ray)
        await status_of(cell)
        await asyncio.sleep(10)
        report = await Control(cell).report()
        assert report.draining
        assert not fake_ray.on("b")

    run(test())


def test_while_the_head_is_away_the_cell_is_watched_and_afterwards_what_is_missing_is_started(
    fake_ray: FakeRay,
) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        fake_ray.away = True
        await asyncio.sleep(60)
        assert (await status_of(cell)).ready
        fake_ray.processes["dkim-0"].die()
        await asyncio.sleep(60)
        status = await status_of(cell)
        assert not status.ready
        assert len(fake_ray.processes["ingress-0"].tables[-1]) == 3
        fake_ray.away = False
        await until_ready(cell)

    run(test())
