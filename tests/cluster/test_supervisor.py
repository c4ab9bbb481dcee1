"""The keepers, with processes that are fakes and a clock that jumps: no Ray."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError, RayError

from actors.config import JudgementConfig
from cluster import supervisor as supervisor_module
from cluster.config import ClusterConfig, Pools
from cluster.layout import Worker
from cluster.pool import CellSpec
from cluster.supervisor import Supervisor
from cluster.table import Replica, Table
from tests.gateway.virtual_time import VirtualLoop
from wire.trace import TraceConfig

SPLIT = Pools(layout="split")
POOLS = ("dkim", "policy", "classifier", "antivirus")


class FakeCall:
    """One method of a handle: `.remote` starts it."""

    def __init__(self, call: Callable[..., Coroutine[Any, Any, object]]) -> None:
        self._call = call

    def remote(self, *args: object) -> Awaitable[object]:
        return asyncio.ensure_future(self._call(*args))


@dataclass(eq=False)
class FakeProcess:
    """A host or an ingress, of which Ray starts a new one under the same handle when it died."""

    name: str
    births: int = 0
    start_s: float = 0.0
    deaf: set[str] = field(default_factory=set)
    """Calls that are never answered; "all" is a process that hangs."""
    tables: list[list[str]] = field(default_factory=list)
    """The replicas of each table that it was told."""
    known: set[str] = field(default_factory=set)
    fails: list[Exception] = field(default_factory=list)
    """What the next updates raise."""

    def __post_init__(self) -> None:
        self._death: asyncio.Future[None] = asyncio.get_running_loop().create_future()

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

    async def on_describe(self) -> Replica:
        await asyncio.sleep(self.start_s)
        self.births += 1
        return Replica(self.name, (self.name.split("-")[0],), f"127.0.0.1:{self.births}", "node")

    async def on_start(self) -> str:
        await asyncio.sleep(self.start_s)
        self.births += 1
        return f"{self.name}:11333"

    async def on_until_death(self) -> None:
        await asyncio.shield(self._death)

    async def on_ping(self) -> None:
        pass

    async def on_ready(self) -> bool:
        return bool(self.tables)

    async def on_drain(self) -> None:
        await asyncio.sleep(2)

    async def on_update(self, table: Table, handles: dict[str, object]) -> bool:
        if self.fails:
            raise self.fails.pop(0)
        self.tables.append([replica.name for replica in table.replicas])
        self.known = set(handles)
        return True


class FakeRay:
    """Starts fake processes and remembers which were killed."""

    def __init__(self) -> None:
        self.processes: dict[str, FakeProcess] = {}
        self.refuses: list[Exception] = []
        """What the next starts raise."""
        self.killed: list[str] = []
        self.slow: dict[str, float] = {}

    def start_host(self, _spec: CellSpec, worker: Worker) -> FakeProcess:
        return self._start(worker.name)

    def start_ingress(self, _spec: CellSpec, name: str, _host: str, _port: int) -> FakeProcess:
        return self._start(name)

    def _start(self, name: str) -> FakeProcess:
        if self.refuses:
            raise self.refuses.pop(0)
        if name not in self.processes:
            self.processes[name] = FakeProcess(name, start_s=self.slow.get(name, 0.0))
        return self.processes[name]

    def kill(self, process: FakeProcess, *, no_restart: bool = True) -> None:
        del no_restart
        self.killed.append(process.name)
        process.die()


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(supervisor_module, "start_host", fake.start_host)
    monkeypatch.setattr(supervisor_module, "start_ingress", fake.start_ingress)
    monkeypatch.setattr(supervisor_module, "prepare_process", lambda: None)
    monkeypatch.setattr(ray, "kill", fake.kill)
    return fake


def supervisor(pools: Pools = SPLIT, **config: Any) -> Supervisor:
    return Supervisor(CellSpec(ClusterConfig(pools=pools, **config), JudgementConfig(), TraceConfig(), "node"))


def run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test)


async def until_ready(cell: Supervisor, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not (await cell.status()).ready:  # noqa: ASYNC110  status is a question
            await asyncio.sleep(0.1)


def test_the_cell_is_ready_when_all_are_up_and_the_ingress_has_the_table(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(pools=Pools(policy=2, layout="split"))
        await until_ready(cell, within_s=1)
        status = await cell.status()
        assert status.ingresses == ("ingress-0:11333",)
        names = {"dkim-0", "policy-0", "policy-1", "classifier-0", "antivirus-0"}
        assert {replica.name for replica in status.replicas} == names
        ingress = fake_ray.processes["ingress-0"]
        assert set(ingress.tables[-1]) == ingress.known == names

    run(test())


def test_one_ingress_that_hangs_is_not_ready_and_the_status_comes_all_the_same(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(ingresses=2)
        await until_ready(cell)
        fake_ray.processes["ingress-1"].deaf = {"ready"}
        async with asyncio.timeout(2):
            assert not (await cell.status()).ready
        fake_ray.processes["ingress-1"].deaf = set()
        await until_ready(cell, within_s=1)

    run(test())


def test_a_hung_ingress_is_killed_and_comes_back(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(ingresses=2, unresponsive_s=10)
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
        cell = supervisor(ingresses=2, unresponsive_s=30)
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
        cell = supervisor()
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
        cell = supervisor()
        await cell.status()
        await asyncio.sleep(0.05)
        status = await cell.status()
        assert set(status.problems) == {f"{pool}-0" for pool in POOLS} | {"ingress-0"}
        assert all(problem.startswith(type(error).__name__) for problem in status.problems.values())
        assert not status.hopeless
        await until_ready(cell)

    run(test())


def test_a_keeper_outlives_a_watch_that_fails(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor()
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
        cell = supervisor()
        await until_ready(cell)
        assert [len(table) for table in fake_ray.processes["ingress-0"].tables] == [4]

    run(test())


def test_a_replica_that_does_not_come_up_holds_the_first_table_back_for_a_bounded_time(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.slow = {"antivirus-0": 60.0}
        cell = supervisor()
        await cell.status()
        await asyncio.sleep(4)
        assert not fake_ray.processes["ingress-0"].tables
        await asyncio.sleep(2)
        assert [len(table) for table in fake_ray.processes["ingress-0"].tables] == [3]

    run(test())


def test_a_process_that_never_says_where_it_serves_is_killed_and_started_again(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.slow = {"antivirus-0": 100_000.0}
        cell = supervisor()
        await cell.status()
        await asyncio.sleep(1)
        fake_ray.processes["antivirus-0"].start_s = 0
        await asyncio.sleep(125)
        assert fake_ray.killed == ["antivirus-0"]
        assert (await cell.status()).ready

    run(test())


def test_draining_waits_for_no_ingress_that_hangs(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor(ingresses=2)
        await until_ready(cell)
        fake_ray.processes["ingress-1"].deaf = {"all"}
        async with asyncio.timeout(6):
            await cell.drain()

    run(test())


def test_stopping_kills_every_process_and_starts_none_again(fake_ray: FakeRay) -> None:
    async def test() -> None:
        cell = supervisor()
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
