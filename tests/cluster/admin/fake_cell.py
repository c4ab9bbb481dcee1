"""A cell in memory that does at once, or step by step, what an operator wants of it."""

import dataclasses
from collections.abc import Callable

from actors.config import JudgementConfig
from cluster.admin.control import (
    CellReport,
    Change,
    NodeReport,
    NodeState,
    PoolReport,
    ProcessReport,
    ProcessState,
    Refused,
    RolloutReport,
    RolloutState,
    Settings,
)
from cluster.config import ClusterConfig
from wire.trace import TraceConfig

REPORT = CellReport(
    ready=True,
    draining=False,
    generation=3,
    config_version="0badcafe",
    nodes=(
        NodeReport("a1b2c3d4e5", "north", "10.0.0.1", NodeState.UP, cores=2.0, head=True),
        NodeReport("a1b2ffffff", "south", "10.0.0.2", NodeState.UP, cores=2.0),
    ),
    processes=(
        ProcessReport("ingress-0", (), "a1b2c3d4e5", "10.0.0.1:11333", ProcessState.UP, 3, 2, 3600.0, 0, 80 << 20),
        ProcessReport(
            "worker-0",
            ("dkim", "policy"),
            "a1b2ffffff",
            "10.0.0.2:4711",
            ProcessState.UP,
            3,
            5,
            60.0,
            1,
            model="0f1e2d3c",
        ),
    ),
    pools=(PoolReport("dkim", 1, 1), PoolReport("policy", 1, 2, "queue delay 40 ms", 40.0, 5)),
    rollout=RolloutReport(3, RolloutState.DONE, "reload (by ops)", 4, 4),
    counters={"tamis_ingress_refused": 7},
)


class FakeCell:
    """A `CellControl`; `steps` are applied to the report, one a time it is asked for."""

    def __init__(self) -> None:
        self.now = REPORT
        self.steps: list[Callable[[CellReport], CellReport]] = []
        self.changes: list[Change] = []
        self.running = Settings(ClusterConfig(), JudgementConfig(), TraceConfig())
        self.fails: Exception | None = None
        """What the next calls raise."""

    async def report(self) -> CellReport:
        if self.fails is not None:
            raise self.fails
        if self.steps:
            self.now = self.steps.pop(0)(self.now)
        return self.now

    def settings(self) -> Settings:
        return self.running

    async def drain(self, *, draining: bool) -> None:
        self.now = dataclasses.replace(self.now, draining=draining)

    async def drain_node(self, node: str, *, draining: bool) -> None:
        state = NodeState.DRAINING if draining else NodeState.UP
        self.now = with_node(self.now, node, state)

    async def start_rollout(self, change: Change) -> int:
        rollout = self.now.rollout
        if rollout is not None and rollout.state is RolloutState.RUNNING:
            raise Refused(f"rollout {rollout.generation} runs")
        self.changes.append(change)
        generation = self.now.generation + 1
        begun = RolloutReport(generation, RolloutState.RUNNING, change.why, 0, len(self.now.processes))
        self.now = dataclasses.replace(self.now, generation=generation, rollout=begun)
        return generation

    async def stop_rollout(self) -> None:
        rollout = self.now.rollout
        if rollout is None or rollout.state is not RolloutState.RUNNING:
            raise Refused("no rollout runs")
        self.now = dataclasses.replace(self.now, rollout=dataclasses.replace(rollout, state=RolloutState.STOPPED))

    async def roll_back(self) -> int:
        self.now = dataclasses.replace(self.now, rollout=None)
        return await self.start_rollout(Change("back to generation 2"))


def with_node(report: CellReport, node: str, state: NodeState) -> CellReport:
    """The report with a node in another state."""
    nodes = tuple(dataclasses.replace(one, state=state) if one.node == node else one for one in report.nodes)
    return dataclasses.replace(report, nodes=nodes)


def without_work(report: CellReport) -> CellReport:
    """The report when nothing is outstanding any more."""
    processes = tuple(dataclasses.replace(process, outstanding=0) for process in report.processes)
    return dataclasses.replace(report, processes=processes)


def one_more_replaced(report: CellReport) -> CellReport:
    """The report one step later in its rollout."""
    rollout = report.rollout
    assert rollout is not None
    replaced = rollout.replaced + 1
    state = RolloutState.DONE if replaced == rollout.total else rollout.state
    return dataclasses.replace(report, rollout=dataclasses.replace(rollout, replaced=replaced, state=state))
