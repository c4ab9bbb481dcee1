"""What operators ask of a cell, and what becomes of it: a supervisor with processes that are fakes, no Ray."""

import asyncio

import msgspec
import pytest
from ray.exceptions import RayTaskError

from cluster.admin.control import Change, NodeState, ProcessState, Refused, RolloutState, UnknownNode
from cluster.config import Labels, Pools, ScalingConfig
from cluster.supervisor.control import Control
from cluster.supervisor.placement import NodeView
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


def test_a_rollout_replaces_every_process_with_one_of_surplus_at_most(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray, ingresses=2)
        await until_ready(cell)
        control = Control(cell)
        assert await control.start_rollout(ANEW) == 2
        await until_rolled(control, RolloutState.DONE)
        assert generations(fake_ray) == {"2"}
        assert fake_ray.most == 7
        report = await control.report()
        assert report.ready
        assert report.rollout is not None
        assert (report.rollout.replaced, report.rollout.total) == (6, 6)
        assert {process.order.port for name, process in fake_ray.processes.items() if "ingress" in name} == {
            11333,
            11334,
        }

    run(test())


def test_every_table_on_the_way_has_every_actor(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        control = Control(cell)
        await control.start_rollout(ANEW)
        await until_rolled(control, RolloutState.DONE)
        tables = fake_ray.processes["ingress-0"].tables + fake_ray.processes["ingress-0.2"].tables
        assert all({name.partition("-")[0] for name in table} == set(SPLIT.sizes) for table in tables)

    run(test())


def test_a_replica_that_drains_ends_when_it_owes_nothing(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        fake_ray.processes["dkim-0"].tasks = 3
        await Control(cell).start_rollout(ANEW)
        await asyncio.sleep(8)
        assert "dkim-0" in fake_ray.living()
        (entry,) = [r for r in fake_ray.processes["ingress-0"].table.replicas if r.name == "dkim-0"]
        assert entry.draining
        fake_ray.processes["dkim-0"].tasks = 0
        await until_rolled(Control(cell), RolloutState.DONE)
        assert "dkim-0" not in fake_ray.living()

    run(test())


def test_a_replica_that_never_gets_done_ends_with_the_time_of_its_messages(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray, end_of_message_s=20)
        await until_ready(cell)
        fake_ray.processes["dkim-0"].tasks = 3
        await Control(cell).start_rollout(ANEW)
        await until_rolled(Control(cell), RolloutState.DONE)

    run(test())


@pytest.mark.parametrize("bad", ["start", "probe"])
def test_a_generation_that_does_not_work_stops_itself_and_the_old_one_is_still_there(
    fake_ray: FakeRay, bad: str
) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        if bad == "start":
            fake_ray.broken[2] = RayTaskError("describe", "", ImportError("no module named model"))
        else:
            fake_ray.useless.add(2)
        control = Control(cell)
        await control.start_rollout(ANEW)
        await until_rolled(control, RolloutState.STOPPED)
        await asyncio.sleep(3)
        report = await control.report()
        assert report.ready
        assert generations(fake_ray) == {""}
        assert report.rollout is not None
        said = "no module named model" if bad == "start" else "classifier crash: ValueError"
        assert said in report.rollout.problem
        fake_ray.broken.clear()
        fake_ray.useless.clear()
        assert await control.start_rollout(ANEW) == 3
        await until_rolled(control, RolloutState.DONE)
        assert generations(fake_ray) == {"3"}

    run(test())


def test_a_process_that_answers_pings_and_fails_its_work_is_replaced(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        classifier = fake_ray.processes["classifier-0"]
        classifier.problem = "classifier crash: ValueError"
        await asyncio.sleep(6)
        assert not fake_ray.killed, "one failure may be bad luck"
        await asyncio.sleep(6)
        assert "classifier-0" in fake_ray.killed
        assert "classifier crash" in (await status_of(cell)).problems["classifier-0"]
        assert "classifier-0" not in fake_ray.processes["ingress-0"].tables[-1]
        classifier.problem = ""
        await until_ready(cell)

    run(test())


def test_roll_back_brings_the_settings_before(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        control = Control(cell)
        before = control.settings().judgement
        after = msgspec.structs.replace(before, headers=msgspec.structs.replace(before.headers, subject_tag="[SPAM]"))
        with pytest.raises(Refused, match="no generation to go back to"):
            await control.roll_back()
        await control.start_rollout(Change("reload", judgement=after))
        with pytest.raises(Refused, match="still running"):
            await control.start_rollout(ANEW)
        await until_rolled(control, RolloutState.DONE)
        assert control.settings().judgement == after
        assert await control.roll_back() == 1
        await until_rolled(control, RolloutState.DONE)
        assert control.settings().judgement == before
        assert generations(fake_ray) == {""}

    run(test())


def test_new_settings_of_the_processes_are_a_rollout(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        control = Control(cell)
        changed = msgspec.structs.replace(control.settings().cluster, replica_running_max=7)
        await control.start_rollout(Change("reload", cluster=changed))
        await until_rolled(control, RolloutState.DONE)
        assert control.settings().cluster == changed
        assert generations(fake_ray) == {"2"}

    run(test())


def test_new_sizes_alone_replace_nothing(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        control = Control(cell)
        await control.start_rollout(Change("more", pools=Pools(classifier=3, antivirus=0, layout="split")))
        await asyncio.sleep(10)
        names = {"ingress-0", "dkim-0", "policy-0", "classifier-0", "classifier-1", "classifier-2"}
        assert fake_ray.living() == names
        assert "antivirus" not in fake_ray.processes["ingress-0"].table.stages

    run(test())


@pytest.mark.parametrize(
    ("pools", "said"),
    [(Pools(dkim=1000), "memory holds"), (Pools(dkim=0, policy=0, classifier=0, antivirus=0), "nothing would score")],
)
def test_what_the_cell_cannot_have_is_refused_and_changes_nothing(fake_ray: FakeRay, pools: Pools, said: str) -> None:
    async def test() -> None:
        fake_ray.node_views = [NodeView("node", "127.0.0.1", memory_bytes=2 << 30)]
        cell = supervisor(fake_ray)
        await until_ready(cell)
        with pytest.raises(Refused, match=said):
            await Control(cell).start_rollout(Change("too much", pools=pools))
        await asyncio.sleep(10)
        assert len(fake_ray.living()) == 5

    run(test())


def test_a_cell_asked_for_more_than_it_has_runs_and_says_what_is_missing(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.node_views = [NodeView("node", "127.0.0.1", memory_bytes=2 << 30)]
        pools = Pools(classifier=1000, layout="split")
        cell = supervisor(fake_ray, pools=pools, labels=Labels(antivirus="clamd=yes"))
        await asyncio.sleep(0)
        await status_of(cell)
        await asyncio.sleep(10)
        status = await status_of(cell)
        assert status.settled
        assert len(status.replicas) == 12
        assert status.problems == {
            "antivirus": "no node is there for it: none has the label clamd=yes; see [cluster.labels] and [ray] labels",
            "node node": "its memory holds 13 processes of 150 MB, 990 more are wanted: "
            "add a node, or ask for less in [cluster.pools]",
        }

    run(test())


def test_a_node_that_joins_is_used_and_one_that_dies_is_forgotten(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.node_views = NODES[:1]
        cell = supervisor(fake_ray)
        await until_ready(cell)
        fake_ray.node_views = NODES
        await asyncio.sleep(5)
        await until_ready(cell)
        assert len(fake_ray.on("b")) == 5
        assert len(fake_ray.processes["ingress-0"].table.replicas) == 8
        fake_ray.node_views = NODES[:1]
        await asyncio.sleep(5)
        assert len(fake_ray.processes["ingress-0"].table.replicas) == 4
        assert (await status_of(cell)).ready

    run(test())


def test_a_node_is_drained_ingress_first_and_used_again_when_it_is_resumed(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.node_views = NODES
        cell = supervisor(fake_ray)
        await until_ready(cell)
        control = Control(cell)
        with pytest.raises(UnknownNode):
            await control.drain_node("c", draining=True)
        await control.drain_node("b", draining=True)
        await asyncio.sleep(10)
        ended = fake_ray.ended
        assert "ingress" in ended[0]
        assert fake_ray.processes[ended[0]].left
        assert not fake_ray.on("b")
        states = {node.node: node.state for node in (await control.report()).nodes}
        assert states == {"a": NodeState.UP, "b": NodeState.DRAINED}
        with pytest.raises(Refused, match="no node is there for it"):
            await control.drain_node("a", draining=True)
        await control.drain_node("b", draining=False)
        await asyncio.sleep(5)
        assert len(fake_ray.on("b")) == 5

    run(test())


def test_a_drained_cell_tells_ingresses_that_start_later_too(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        control = Control(cell)
        await control.drain(draining=True)
        await asyncio.sleep(1)
        ingress = fake_ray.processes["ingress-0"]
        assert ingress.table.draining
        assert (await control.report()).draining
        await control.drain(draining=False)
        await asyncio.sleep(1)
        assert not ingress.table.draining

    run(test())


def test_a_pool_grows_with_its_load_and_shrinks_again(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.node_views = NODES
        scaling = ScalingConfig(replicas_max=6, grow_after_s=10, shrink_after_s=60)
        cell = supervisor(fake_ray, scaling=scaling)
        await until_ready(cell)
        load = 4.0

        async def work() -> None:
            while True:
                await asyncio.sleep(1)
                there = [fake_ray.processes[name] for name in fake_ray.living() if name.startswith("classifier")]
                for process in there:
                    process.busy_s += min(1.0, load / len(there))

        working = asyncio.create_task(work())
        await asyncio.sleep(120)
        names = {name for name in fake_ray.living() if name.startswith("classifier")}
        assert len(names) == 6
        assert {fake_ray.processes[name].order.node for name in names} == {"a", "b"}
        assert len([name for name in fake_ray.living() if name.startswith("dkim")]) == 2
        load = 0.1
        await asyncio.sleep(400)
        assert len([name for name in fake_ray.living() if name.startswith("classifier")]) == 2
        working.cancel()

    run(test())


def test_the_report_has_every_process_with_its_state(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(fake_ray)
        await until_ready(cell)
        fake_ray.processes["ingress-0"].tasks = 7
        report = await Control(cell).report()
        assert {process.name: process.state for process in report.processes} == dict.fromkeys(
            fake_ray.living(), ProcessState.UP
        )
        assert {process.name: process.outstanding for process in report.processes}["ingress-0"] == 7
        assert {pool.actor: (pool.up, pool.wanted) for pool in report.pools} == dict.fromkeys(SPLIT.sizes, (1, 1))
        assert report.generation == 1
        assert report.rollout is None

    run(test())
