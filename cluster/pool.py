"""The one place where ray.remote meets a class: hosts of scoring actors, and ingresses.

The processes are thin: they build what the plain modules offer, answer the supervisor's control calls and know no
message. Both start on the first control call, since Ray runs `__init__` again, and nothing else, when it restarts one.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.adapters.clock import SystemClock
from actors.registry import build_tally
from actors.reports.tally import Tally
from cluster.bodies import BodyShelf
from cluster.dispatch import Dispatcher
from cluster.errand import DispatchLimits
from cluster.host import ReplicaHost
from cluster.ingress.gate import Gate
from cluster.ingress.hall import Hall
from cluster.ingress.service import serve
from cluster.ingress.transaction import Limits
from cluster.metrics import ProcessFigures, Sample
from cluster.mirror.stream import LiveMirror
from cluster.names import NAMESPACE
from cluster.object_store import ObjectStoreBodies
from cluster.probe import probe_ingress, probe_replica
from cluster.process import own_memory_bytes, prepare_process, thread_times
from cluster.ray_config import LOOPBACK, tls_of_node
from cluster.replica_stream import Dialer, ReplicaStream
from cluster.spec import ActorFactory, CellSpec, Order, pack, unpack
from cluster.table import Replica, Table
from cluster.telemetry import Tracer
from cluster.tls import StreamTls
from wire.memory import settle_collector
from wire.tls import on_loopback
from wire.trace import SpanRecord

_TIMER_SLACK_S = 0.1
_LEAVE_GRACE_S = 0.5
"""How long an ingress that ends goes on with what is open. Gateways tell the rest anew; so long new mail waits."""


class Process:
    """What both kinds of process have: control calls that do not depend on the work."""

    def __init__(self, order: bytes, build: ActorFactory) -> None:
        prepare_process()
        self._order = unpack(order, Order)
        self._spec = CellSpec.unpacked(self._order.spec, build)

    async def ping(self) -> None:
        """Answer, which says that the loop turns."""

    async def until_death(self) -> None:
        """Never answer: the caller learns at once when the process dies."""
        await asyncio.Event().wait()


class HostProcess(Process):
    """One replica."""

    def __init__(self, order: bytes, build: ActorFactory) -> None:
        super().__init__(order, build)
        # The ingress gives no task more time than that.
        self._shelf = BodyShelf(age_max_s=self._spec.cluster.end_of_message_s)
        self._starting: asyncio.Task[Replica] | None = None

    async def describe(self) -> bytes:
        """Serve, and say where: a Replica. Raises what building the actors raises."""
        if self._starting is None or (self._starting.done() and self._starting.exception()):
            self._starting = asyncio.create_task(self._start())
        return pack(await asyncio.shield(self._starting))

    async def probe(self, budget_s: float) -> str:
        """Examine a tiny message on the way of every other one; what is wrong, empty when nothing is."""
        replica = await asyncio.shield(self._starting) if self._starting is not None else None
        if replica is None:
            return "not started"
        examined = self._host.examined
        return await probe_replica(replica, budget_s, lambda: self._host.examined > examined)

    async def owes(self) -> int:
        """Tasks that wait for an answer."""
        return self._host.owes

    async def figures(self) -> bytes:
        """What there is to say of it in numbers: ProcessFigures."""
        host, (busy_s, starved_s) = self._host, thread_times()
        sample = Sample(time.monotonic(), busy_s, starved_s, host.examined, host.errors, tuple(host.delays.counts))
        return pack(ProcessFigures(host.owes, own_memory_bytes(), sample, host.counters, host.judged))

    async def hold_body(self, body_id: bytes, body: bytes) -> None:
        """A large body that a task will name."""
        self._shelf.put(body_id, body)
        asyncio.get_running_loop().call_later(self._shelf.age_max_s + _TIMER_SLACK_S, self._shelf.drop_old)

    async def _start(self) -> Replica:
        clock, order = SystemClock(), self._order
        built = self._spec.build(order.actors, self._spec.judgement, clock)
        self._host = ReplicaHost(built, order.name, clock, self._shelf, self._spec.cluster.replica_running_max)
        replica = Replica(order.name, order.actors, order.address, order.node, model=self._host.model)
        return await serve_replica(self._host, replica)


class IngressProcess(Process):
    """One ingress."""

    def __init__(self, order: bytes, build: ActorFactory) -> None:
        super().__init__(order, build)
        self._table = Table()
        self._serving: asyncio.Task[str] | None = None
        self._flush: Callable[[], None] = lambda: None
        self._tally: Tally | None = None

    async def prepare(self) -> None:
        """Build everything but the server: it takes no mail before it knows the replicas."""
        if not hasattr(self, "_hall"):
            self._build()

    async def start(self) -> str:
        """Serve on the port that was fixed beforehand, so that it survives a restart; returns host:port."""
        if self._serving is None or (self._serving.done() and self._serving.exception()):
            self._serving = asyncio.create_task(self._serve())
        return await asyncio.shield(self._serving)

    async def update(self, table: bytes, handles: "dict[str, ray.actor.ActorHandle[Any]]") -> bool:
        """A new Table, and the actors themselves by name, whose look-up would block the loop of the mail.

        True: it is in force.
        """
        self._table = Table.unpacked(table)
        self._bodies.know(handles)
        self._hall.draining = self._table.draining
        self._hall.update(self._table)
        return True

    async def ready(self) -> bool:
        """Whether every pool can be asked."""
        return self._hall.dispatcher.has_pools and self._hall.dispatcher.all_ready()

    async def probe(self, budget_s: float) -> str:
        """Judge a tiny message on the way of every other one; what is wrong, empty when nothing is."""
        return await probe_ingress(self._hall, self._table, budget_s)

    async def figures(self) -> bytes:
        """What there is to say of it in numbers: ProcessFigures."""
        gate = self._hall.gate
        counters = {"waiting": gate.waiting, "shed": gate.shed, "refused": gate.refused}
        if self._spec.judgement.dkim.signing.signs:
            counters |= {"signed": self._hall.signed, "unsigned": self._hall.unsigned}
        if self._tally is not None:
            counters |= {"dmarc_counted": self._tally.counted, "dmarc_dropped": self._tally.dropped}
            counters["dmarc_replayed"] = self._tally.replayed
        return pack(ProcessFigures(self._hall.transactions, own_memory_bytes(), counters=counters))

    async def leave(self) -> None:
        """Take no connection any more, and soon end those there are: their gateways go on elsewhere."""
        self._hall.draining = True
        if self._serving is not None:
            await self._serving
            await self._server.stop(_LEAVE_GRACE_S)
        if self._tally is not None:
            await self._tally.close()
        # The spans of the last second wait to be sent, which blocks.
        await asyncio.to_thread(self._flush)

    async def _serve(self) -> str:
        order, config = self._order, self._spec.cluster
        self._server, port = await serve(self._hall, order.address, order.port, config.tls)
        settle_collector()
        return f"{order.address}:{port}"

    def _build(self) -> None:
        config = self._spec.cluster
        loop = asyncio.get_running_loop()
        clock = SystemClock()
        # What is to be signed cannot do without dkim, however much there is to do.
        needed = {"dkim"} if self._spec.judgement.dkim.signing.signs else set()
        shed = tuple(actor for actor in config.overload.shed if actor not in needed)
        overload = msgspec.structs.replace(config.overload, shed=shed)
        limits = DispatchLimits(config.replica_tasks_max, config.replica_wait_s)
        dialer = Dialer(self._order.node, node_tls())
        self._bodies = ObjectStoreBodies(config.body_by_reference_bytes, config.object_store_mb * 2**20 // 2)
        self._hall = Hall(
            dispatcher=Dispatcher(
                partial(ReplicaStream, dialer=dialer), clock, loop.call_later, limits, self._order.node
            ),
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
            gate=Gate(overload, config.replica_tasks_max, clock, loop.call_later),
            transactions_max=config.transactions_max,
            held_bytes_max=config.held_bytes_max,
            stress_skips=frozenset(config.stress_skips) - needed,
        )
        if config.mirror.to:
            self._mirror = LiveMirror(config.mirror, self._order.name, clock, loop.call_later)
            self._hall.mirror = self._mirror.copies
        self._tally = build_tally(self._spec.judgement, clock, loop.call_later)
        self._hall.tally = self._tally

    def _span_sender(self) -> Callable[[list[SpanRecord]], None] | None:
        if not self._spec.trace.otlp_endpoint:
            return None
        from wire.export import SpanExport  # noqa: PLC0415  the SDK is loaded only where it is used

        export = SpanExport(self._spec.trace, "tamis-ingress", self._order.name)
        self._flush = export.close
        return export.send


async def serve_replica(host: ReplicaHost, replica: Replica) -> Replica:
    """Have it listen, and say where. `replica.address` is the IP of its node.

    On loopback that is all; else others come in by TLS, if the node has certificates, and the node itself by loopback.
    """
    if on_loopback(replica.address):
        return replace(replica, address=await host.start(replica.address))
    local = await host.start(LOOPBACK)
    tls = node_tls()
    return replace(replica, address=await host.start(replica.address, tls) if tls is not None else local, local=local)


def node_tls() -> StreamTls | None:
    """With the certificates of this node; None when it has none. Raises TlsError."""
    config = tls_of_node(os.environ)
    return StreamTls(config) if config.configured else None


def start_process(order: Order, build: ActorFactory) -> "ray.actor.ActorHandle[Any]":
    """The process of this name, a new one if there is none."""
    # Ray's stubs do not follow `.options`.
    remote_class: Any = ray.remote(HostProcess if order.actors else IngressProcess)
    handle: ray.actor.ActorHandle[Any] = remote_class.options(
        name=order.name,
        namespace=NAMESPACE,
        get_if_exists=True,
        # The supervisor may die and come back: what it started goes on meanwhile.
        lifetime="detached",
        max_restarts=-1,
        num_cpus=0,
        max_concurrency=1000,
        scheduling_strategy=NodeAffinitySchedulingStrategy(order.node, soft=False),
    ).remote(pack(order), build)
    return handle
