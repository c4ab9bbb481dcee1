"""A Ray whose processes are fakes, for a supervisor on a clock that jumps."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import RayActorError

from actors.config import JudgementConfig
from actors.registry import build_actors, stages_of
from cluster.admin.control import Change, RolloutState
from cluster.config import AdminConfig, ClusterConfig, Pools
from cluster.metrics import BUCKETS, Judged, ProcessFigures, Sample
from cluster.spec import CellSpec, Order, pack, unpack
from cluster.supervisor.control import Control
from cluster.supervisor.placement import NodeView
from cluster.supervisor.status import CellStatus
from cluster.supervisor.supervisor import Supervisor
from cluster.table import Replica, Table
from tests.gateway.virtual_time import VirtualLoop
from wire.trace import TraceConfig

SPLIT = Pools(layout="split")
NODES = [NodeView("a", "127.0.0.1"), NodeView("b", "127.0.0.2")]
ANEW = Change("a new release")


class FakeCall:
    """One method of a handle: `.remote` starts it."""

    def __init__(self, call: Callable[..., Coroutine[Any, Any, object]]) -> None:
        self._call = call

    def remote(self, *args: object) -> Awaitable[object]:
        return asyncio.ensure_future(self._call(*args))


@dataclass(eq=False)
class FakeProcess:
    """A host or an ingress, of which Ray starts a new one under the same handle when it died."""

    order: Order
    births: int = 0
    start_s: float = 0.0
    deaf: set[str] = field(default_factory=set)
    """Calls that are never answered; "all" is a process that hangs."""
    tables: list[list[str]] = field(default_factory=list)
    """The replicas of each table that it was told, without those that drain."""
    table: Table = field(default_factory=Table)
    known: set[str] = field(default_factory=set)
    fails: list[Exception] = field(default_factory=list)
    """What the next updates raise."""
    problem: str = ""
    """What it says to a probe."""
    breaks: Exception | None = None
    """What its start raises."""
    tasks: int = 0
    """What it owes."""
    left: bool = False
    busy_s: float = 0.0
    """What it has worked."""

    model: str = ""
    """By which a classifier judges."""
    spam_share: float = 0.0
    """Of the 40 messages that it judges from one question for its figures to the next."""
    judged: Judged = field(default_factory=Judged)

    def __post_init__(self) -> None:
        self._death: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def name(self) -> str:
        return self.order.name

    def __getattr__(self, call: str) -> FakeCall:
        async def answer(*args: object) -> object:
            if self.deaf & {call, "all"}:
                await asyncio.Event().wait()
            result: object = await getattr(self, f"on_{call}")(*args)
            return result

        return FakeCall(answer)

    def die(self) -> None:
        death, self._death = self._death, asyncio.get_running_loop().create_future()
        self.deaf.clear()
        death.set_exception(RayActorError())

    async def _start(self) -> None:
        await asyncio.sleep(self.start_s)
        if self.breaks is not None:
            raise self.breaks
        self.births += 1

    async def on_describe(self) -> bytes:
        await self._start()
        address = f"{self.order.address}:{self.births}"
        return pack(Replica(self.name, self.order.actors, address, self.order.node, model=self.model))

    async def on_prepare(self) -> None:
        await self._start()

    async def on_start(self) -> str:
        return f"{self.name}:{self.order.port}"

    async def on_until_death(self) -> None:
        await asyncio.shield(self._death)

    async def on_ping(self) -> None:
        pass

    async def on_probe(self, _budget_s: float) -> str:
        return self.problem

    async def on_owes(self) -> int:
        return self.tasks

    async def on_figures(self) -> bytes:
        sample = Sample(asyncio.get_running_loop().time(), self.busy_s, 0.0, 0, 0, (0,) * BUCKETS)
        if self.model:
            self.judged += Judged(40, round(40 * self.spam_share))
        return pack(ProcessFigures(self.tasks, 1 << 20, sample if self.order.actors else None, judged=self.judged))

    async def on_ready(self) -> bool:
        return bool(self.tables)

    async def on_leave(self) -> None:
        self.left = True

    async def on_update(self, table: bytes, handles: dict[str, object]) -> bool:
        if self.fails:
            raise self.fails.pop(0)
        self.table = Table.unpacked(table)
        told = [replica.name for replica in self.table.replicas if not replica.draining]
        if not self.tables or self.tables[-1] != told:
            self.tables.append(told)
        self.known = set(handles)
        return True


class FakeRay:
    """Implements RayPort: starts fake processes and remembers which were killed."""

    def __init__(self) -> None:
        self.processes: dict[str, FakeProcess] = {}
        """That were ever started."""
        self.refuses: list[Exception] = []
        """What the next starts raise."""
        self.killed: list[str] = []
        self.ended: list[str] = []
        """Killed for good."""
        self.most = 0
        """How many were there at a time."""
        self.slow: dict[str, float] = {}
        self.broken: dict[int, Exception] = {}
        """What the start of every replica of a generation raises, by the generation."""
        self.useless: set[int] = set()
        """Generations whose replicas fail their probes."""
        self.models: dict[int, str] = {}
        """By which classifiers judge, by the generation."""
        self.spam_shares: dict[str, float] = {}
        """Of the mail, by the model."""
        self.node_views = [NodeView("node", "127.0.0.1")]
        self.away = False
        """The head is."""
        self.saved: bytes | None = None

    async def start(self, order: Order, spec: CellSpec) -> FakeProcess:
        del spec
        if self.refuses:
            raise self.refuses.pop(0)
        self._check()
        if order.name not in self.living():
            generation = int(order.name.partition(".")[2] or 1)
            process = FakeProcess(order, start_s=self.slow.get(order.name, 0.0))
            if "classifier" in order.actors:
                process.model = self.models.get(generation, "")
                process.spam_share = self.spam_shares.get(process.model, 0.0)
            if order.actors:
                process.breaks = self.broken.get(generation)
                process.problem = "classifier crash: ValueError" if generation in self.useless else ""
            self.processes[order.name] = process
            if order.name in self.ended:
                self.ended.remove(order.name)
        self.most = max(self.most, len(self.living()))
        return self.processes[order.name]

    async def kill(self, handle: FakeProcess, *, restart: bool) -> None:
        self._check()
        self.killed.append(handle.name)
        if not restart:
            self.ended.append(handle.name)
        handle.die()

    async def nodes(self) -> list[NodeView]:
        self._check()
        return self.node_views

    async def load(self) -> bytes | None:
        return self.saved

    async def save(self, state: bytes | None) -> None:
        self._check()
        self.saved = state

    def _check(self) -> None:
        if self.away:
            raise RayActorError

    def living(self) -> set[str]:
        """Names of the processes that are there."""
        return self.processes.keys() - set(self.ended)

    def on(self, node: str) -> set[str]:
        """Names of those of a node."""
        return {name for name in self.living() if self.processes[name].order.node == node}


def supervisor(ray: FakeRay, pools: Pools = SPLIT, **config: Any) -> Supervisor:
    config.setdefault("admin", AdminConfig(listen=""))
    spec = CellSpec(ClusterConfig(pools=pools, **config), JudgementConfig(), TraceConfig(), "node")
    return Supervisor(spec.packed(), build_actors, stages_of, ray)


def run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test)


async def status_of(cell: Supervisor) -> CellStatus:
    return unpack(await cell.status(), CellStatus)


async def until_ready(cell: Supervisor, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not (await status_of(cell)).ready:  # noqa: ASYNC110  status is a question
            await asyncio.sleep(0.1)


async def until_rolled(control: Control, state: RolloutState, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while True:
            rollout = (await control.report()).rollout
            if rollout is not None and rollout.state is state:
                return
            await asyncio.sleep(0.1)


def generations(ray: FakeRay) -> set[str]:
    return {name.partition(".")[2] for name in ray.living()}
