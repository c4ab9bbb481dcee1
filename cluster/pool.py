"""The one place where ray.remote meets a class: hosts of scoring actors, and ingresses.

The processes are thin: they build what the plain modules offer, answer the supervisor's control calls and know no
message. Both start on the first control call, since Ray runs `__init__` again, and nothing else, when it restarts one.
"""

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.actor import Actor
from actors.adapters.clock import SystemClock
from actors.config import JudgementConfig
from actors.model import Stage
from actors.ports import Clock
from actors.registry import build_actors, stages_of
from cluster.bodies import BodyShelf
from cluster.config import ClusterConfig
from cluster.dispatch import Dispatcher
from cluster.errand import DispatchLimits
from cluster.host import ReplicaHost
from cluster.ingress.service import serve
from cluster.ingress.session import Hall
from cluster.ingress.transaction import Limits
from cluster.layout import Worker
from cluster.mirror.stream import LiveMirror
from cluster.names import NAMESPACE
from cluster.object_store import ObjectStoreBodies
from cluster.process import prepare_process
from cluster.replica_stream import ReplicaStream
from cluster.table import Replica, Table
from cluster.telemetry import Tracer
from wire.memory import settle_collector
from wire.trace import SpanRecord, TraceConfig

ActorFactory = Callable[[Sequence[str], JudgementConfig, Clock], Sequence[Actor]]
_LOOPBACK = "127.0.0.1"
_DRAIN_CHECKS = 40
_DRAIN_CHECK_S = 0.05
_TIMER_SLACK_S = 0.1


@dataclass(frozen=True, slots=True)
class CellSpec:
    """Everything that the processes of a cell are built from."""

    cluster: ClusterConfig
    judgement: JudgementConfig
    trace: TraceConfig
    node: str
    """Ray's id of the node that everything runs on: streams stay on loopback until they are encrypted."""
    build: ActorFactory = build_actors
    stages_of: Callable[[str, JudgementConfig], frozenset[Stage]] = stages_of
    """When the actor of a pool is asked."""
    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Of that node."""


class Process:
    """What both kinds of process have: control calls that do not depend on the work."""

    async def ping(self) -> None:
        """Answer, which says that the loop turns."""

    async def until_death(self) -> None:
        """Never answer: the caller learns at once when the process dies."""
        await asyncio.Event().wait()


class HostProcess(Process):
    """One replica."""

    def __init__(self, spec: CellSpec, worker: Worker) -> None:
        prepare_process()
        self._spec = spec
        self._worker = worker
        # The ingress gives no task more time than that.
        self._shelf = BodyShelf(age_max_s=spec.cluster.end_of_message_s)
        self._starting: asyncio.Task[Replica] | None = None

    async def describe(self) -> Replica:
        """Serve, and say where. Raises what building the actors raises."""
        if self._starting is None or (self._starting.done() and self._starting.exception()):
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def hold_body(self, body_id: bytes, body: bytes) -> None:
        """A large body that a task will name."""
        self._shelf.put(body_id, body)
        asyncio.get_running_loop().call_later(self._shelf.age_max_s + _TIMER_SLACK_S, self._shelf.drop_old)

    async def _start(self) -> Replica:
        clock = SystemClock()
        name, actors = self._worker.name, self._worker.actors
        built = self._spec.build(actors, self._spec.judgement, clock)
        host = ReplicaHost(built, name, clock, self._shelf, self._spec.cluster.replica_running_max)
        address = await host.start(_LOOPBACK)
        self._host = host
        return Replica(name, actors, address, self._spec.node)


class IngressProcess(Process):
    """One ingress."""

    def __init__(self, spec: CellSpec, name: str, host: str, port: int) -> None:
        prepare_process()
        self._spec = spec
        self._name = name
        self._host = host
        self._port = port
        self._starting: asyncio.Task[str] | None = None

    async def start(self) -> str:
        """Serve on the port that was fixed beforehand, so that it survives a restart; returns host:port."""
        if self._starting is None or (self._starting.done() and self._starting.exception()):
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def update(self, table: Table, handles: "dict[str, ray.actor.ActorHandle[Any]]") -> bool:
        """A new table of replicas, and the actors themselves by name, whose look-up would block the loop of the mail.

        True: it is in force.
        """
        self._bodies.know(handles)
        self._hall.update(table)
        return True

    async def ready(self) -> bool:
        """Whether every pool can be asked."""
        return self._hall.dispatcher.has_pools and self._hall.dispatcher.all_ready()

    async def drain(self) -> None:
        """Refuse new transactions; returns when the open ones are over, or after a short grace."""
        self._hall.draining = True
        for _ in range(_DRAIN_CHECKS):
            if not self._hall.transactions:
                return
            await asyncio.sleep(_DRAIN_CHECK_S)

    async def _start(self) -> str:
        config = self._spec.cluster
        loop = asyncio.get_running_loop()
        clock = SystemClock()
        limits = DispatchLimits(config.replica_tasks_max, config.replica_wait_s)
        self._bodies = ObjectStoreBodies(config.body_by_reference_bytes, config.object_store_mb * 2**20 // 2)
        self._hall = Hall(
            dispatcher=Dispatcher(ReplicaStream, clock, loop.call_later, limits, self._spec.node),
            judgement=self._spec.judgement,
            clock=clock,
            call_later=loop.call_later,
            bodies=self._bodies,
            tracer=Tracer(self._span_sender(), self._spec.trace.slow_ms, random.getrandbits),
            limits=Limits(
                config.recipients_max,
                config.header_bytes_max,
                config.message_bytes_max,
                config.early_s,
                config.end_of_message_s,
            ),
            transactions_max=config.transactions_max,
            held_bytes_max=config.held_bytes_max,
            stress_skips=frozenset(config.stress_skips),
        )
        if config.mirror.to:
            self._mirror = LiveMirror(config.mirror, self._name, clock, loop.call_later)
            self._hall.mirror = self._mirror.copies
        self._server, port = await serve(self._hall, self._host, self._port, config.tls)
        settle_collector()
        return f"{self._host}:{port}"

    def _span_sender(self) -> Callable[[list[SpanRecord]], None] | None:
        if not self._spec.trace.otlp_endpoint:
            return None
        from wire.export import SpanExport  # noqa: PLC0415  the SDK is loaded only where it is used

        self._export = SpanExport(self._spec.trace, "tamis-ingress", self._name)
        return self._export.send


def start_host(spec: CellSpec, worker: Worker) -> "ray.actor.ActorHandle[Any]":
    """The actor of this name, a new one if there is none."""
    return _start(HostProcess, worker.name, spec, spec, worker)


def start_ingress(spec: CellSpec, name: str, host: str, port: int) -> "ray.actor.ActorHandle[Any]":
    """The actor of this name, a new one if there is none."""
    return _start(IngressProcess, name, spec, spec, name, host, port)


def _start(cls: type[Process], name: str, spec: CellSpec, *args: object) -> "ray.actor.ActorHandle[Any]":
    # Ray's stubs do not follow `.options`.
    remote_class: Any = ray.remote(cls)
    handle: ray.actor.ActorHandle[Any] = remote_class.options(
        name=name,
        namespace=NAMESPACE,
        get_if_exists=True,
        # The supervisor may die and come back: what it started goes on meanwhile.
        lifetime="detached",
        max_restarts=-1,
        num_cpus=0,
        max_concurrency=1000,
        scheduling_strategy=NodeAffinitySchedulingStrategy(spec.node, soft=False),
    ).remote(*args)
    return handle
