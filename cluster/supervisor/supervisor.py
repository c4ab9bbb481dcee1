"""The supervisor: one Ray actor that takes the steps of `reconcile`, and tells the ingresses.

Strategy: a loop looks at nodes and processes whenever something has changed, and every other second; what it decides
is written down before it is done, so that a supervisor which Ray starts anew goes on where the one before was. Each
process has a keeper. Every change of the replicas goes to all ingresses as one table. Nothing of this is on the way of
a message: without a supervisor, or without the head of Ray, the cell goes on with the table it has.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import ray

from actors.model import Stage
from cluster.admin.service import keep_serving
from cluster.metrics import ProcessFigures
from cluster.names import NAMESPACE, SUPERVISOR
from cluster.process import prepare_process
from cluster.scaling import Bounds
from cluster.spec import ActorFactory, CellSpec, Order, StagesOf, pack, unpack
from cluster.supervisor.canary import Canaries
from cluster.supervisor.control import Control
from cluster.supervisor.keeper import Handle, Keeper, RayPort
from cluster.supervisor.placement import NodeView, Wanted, least, listens_at, place
from cluster.supervisor.ray_cluster import RayCluster
from cluster.supervisor.reconcile import Drain, FinishRollout, Forget, Start, Step, StopRollout, reconcile
from cluster.supervisor.scaler import Scaler
from cluster.supervisor.state import INGRESS, CellState, Phase, Process, RolloutPhase
from cluster.supervisor.status import CellStatus, status_of
from cluster.table import Replica, Table

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0
_READY_MAX_S = 1.0
_MEASURE_EVERY_S = 5.0
_NODES_MAX_S = 5.0
_TABLE_MAX_S = 5.0
"""How long a process that ends waits for the ingresses to know it."""
_OWES_EVERY_S = 0.1
_FIRST_TABLE_S = 5.0
"""A supervisor that was restarted waits so long for all replicas to say where they are before it tells anybody, or
decides anything: a table without those that are merely busy would take them, and their work, from the ingresses."""


class Supervisor:
    """Runs as one named actor. `status` also starts the work, since Ray restarts it without telling anybody."""

    def __init__(self, spec: bytes, build: ActorFactory, stages_of: StagesOf, port: RayPort | None = None) -> None:
        prepare_process()
        self.state = CellState({1: spec})
        self.keepers: dict[str, Keeper] = {}
        self.nodes: Collection[NodeView] = ()
        self.wanted = Wanted({}, {})
        self._build = build
        self._stages_of = stages_of
        self._ray = port or RayCluster()
        self._specs: dict[bytes, CellSpec] = {}
        self._asked: set[str] = set()
        """Actors that have been there: mail waits for them, and is marked when they do not come back."""
        self._saved = b""
        self.scaler = Scaler()
        self.canaries = Canaries()
        self.complaints: dict[str, str] = {}
        """What is wrong with the supervisor itself, by what it concerns."""
        self._working: list[asyncio.Task[None]] = []
        self._retiring: dict[str, asyncio.Task[None]] = {}
        self._change = asyncio.Event()
        self._tellable = asyncio.Event()

    async def status(self) -> bytes:
        """A CellStatus, within about a second."""
        self.begin()
        return pack(await self.look_around())

    async def look_around(self) -> CellStatus:
        """How the cell is; an ingress that does not say that it is ready is not."""
        ingresses = [keeper for keeper in self.keepers.values() if keeper.process.group == INGRESS and keeper.address]
        ready = await asyncio.gather(*(keeper.ask("ready", timeout_s=_READY_MAX_S) for keeper in ingresses))
        return status_of(self.keepers.values(), self.wanted, all_ready=bool(ready) and all(ready))

    async def figures(self) -> dict[str, ProcessFigures]:
        """What the processes say of themselves, by name; of those that answer."""
        keepers = [keeper for keeper in self.keepers.values() if keeper.address]
        answers = await asyncio.gather(*(keeper.ask("figures", timeout_s=_READY_MAX_S) for keeper in keepers))
        packed = zip(keepers, answers, strict=True)
        return {keeper.name: unpack(answer, ProcessFigures) for keeper, answer in packed if answer is not None}

    async def empty(self, node: str) -> bool:
        """Take the work off the node of this Ray id, which is about to leave; whether nothing is left there.

        Nobody is asked whether there is room: it leaves in any case.
        """
        if node not in self.state.drained:
            self.state.drained = self.state.drained | {node}
            self.changed()
        return not any(keeper.process.node == node for keeper in self.keepers.values())

    async def stop(self) -> None:
        """End every process of the cell, the ingresses first; the supervisor itself is ended by its caller."""
        for task in (*self._working, *self._retiring.values()):
            task.cancel()
        for ingresses in (True, False):
            keepers = [keeper for keeper in self.keepers.values() if (keeper.process.group == INGRESS) is ingresses]
            await asyncio.gather(*(keeper.end(leave=ingresses) for keeper in keepers))
        await self._ray.save(None)

    def begin(self) -> None:
        """Start the work, the first time."""
        if not self._working:
            config = self.spec(self.state.generation).cluster
            admin = keep_serving(Control(self), config.admin, config.tls, partial(self._complain, "admin"))
            self._working = [asyncio.create_task(work) for work in (self._work(), self._measure(), admin)]
            asyncio.get_running_loop().call_later(_FIRST_TABLE_S, self._tellable.set)

    def spec(self, generation: int) -> CellSpec:
        """What processes of a generation are built from."""
        packed = self.state.settings[generation]
        if packed not in self._specs:
            self._specs[packed] = CellSpec.unpacked(packed, self._build, self._stages_of)
        return self._specs[packed]

    # --- what keepers ask --------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Something is not as it was: look again, and tell the ingresses."""
        self._change.set()
        replicas = self._replicas()
        if replicas and all(keeper.address for keeper in replicas):
            self._tellable.set()
        for keeper in self.keepers.values():
            keeper.table_changed()

    async def tellable(self) -> None:
        """Wait until there is a table worth telling."""
        await self._tellable.wait()

    def table(self, node: str) -> tuple[bytes, Mapping[str, Handle]]:
        """The table for the ingresses of this node, packed, and the handles of its replicas by name."""
        replicas = {k.name: _entry(k, k.replica) for k in self._replicas() if k.address and k.replica is not None}
        self._asked.update(actor for replica in replicas.values() for actor in replica.actors)
        live = {actor for replica in replicas.values() if not replica.draining for actor in replica.actors}
        addresses = {node.id: node.address for node in self.nodes}
        reached = {
            name: replica
            for name, replica in replicas.items()
            # What listens on loopback of another machine is not there for us.
            if replica.node == node or replica.address.rpartition(":")[0] == addresses.get(replica.node)
        }
        table = Table(self._stages(live), tuple(reached.values()), self.state.draining)
        return pack(table), {name: self.keepers[name].handle for name in reached}

    def _stages(self, live: Collection[str]) -> dict[str, frozenset[Stage]]:
        """When each actor is asked: a new one as soon as it is there, one that goes as long as it is."""
        spec = self.spec(self.state.starting_generation)
        stages = {
            actor: self._stages_of(actor, spec.judgement)
            for actor, size in spec.cluster.pools.sizes.items()
            if size and actor in self._asked
        }
        if self.state.rolling:
            old = self.spec(self.state.previous)
            for actor in live:
                stages[actor] = stages.get(actor, frozenset()) | self._stages_of(actor, old.judgement)
        return stages

    # --- the work ----------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            try:
                await self._resume()
                break
            except Exception as error:  # noqa: BLE001  the head may be away
                log.warning("not_resumed error=%s", type(error).__name__)
                await asyncio.sleep(_LOOK_EVERY_S)
        while True:
            self._change.clear()
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001  the head may be away: what is there goes on
                log.warning("not_reconciled error=%s", type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._change.wait()

    async def _measure(self) -> None:
        """Ask now and then what the replicas have done: how many there should be, and whether a new model may go on."""
        while True:
            await asyncio.sleep(_MEASURE_EVERY_S)
            try:
                figures = await self.figures()
                self._scale(figures)
                self._watch_models(figures)
            except Exception as error:  # noqa: BLE001  what is there goes on
                log.warning("not_measured error=%s", type(error).__name__)

    def _watch_models(self, figures: Mapping[str, ProcessFigures]) -> None:
        now_s, config = asyncio.get_running_loop().time(), self.spec(self.state.generation).cluster.canary
        judged = {name: of_process.judged for name, of_process in figures.items()}
        for decided in self.canaries.look(now_s, self.state, judged, config):
            log.info("canary decided=%s", decided)
            self.changed()

    def _scale(self, measured: Mapping[str, ProcessFigures]) -> None:
        now_s, state = asyncio.get_running_loop().time(), self.state
        samples = {
            name: (self.keepers[name].process.actors, figures.sample)
            for name, figures in measured.items()
            if figures.sample is not None and name in self.keepers
        }
        self.scaler.note(now_s, samples)
        config = self.spec(state.starting_generation).cluster
        if not config.scaling.replicas_max:
            return
        bounds = {
            actor: Bounds(count, max(count, config.scaling.replicas_max))
            for actor, count in least(config, self.nodes, state.drained).items()
        }
        decided = self.scaler.decide(now_s, state.replicas, config.scaling, bounds)
        if decided != state.replicas:
            log.info("scaled replicas=%s", decided)
            state.replicas = decided
            self.changed()

    def _complain(self, what: str, problem: str) -> None:
        self.complaints[what] = problem
        if not problem:
            del self.complaints[what]

    async def _resume(self) -> None:
        """Go on where the supervisor before was, if there was one."""
        saved = await self._ray.load()
        self.nodes = await self._ray.nodes()
        if saved is not None:
            self.state = unpack(saved, CellState)
            for process in self.state.processes:
                process.failed = ""
                if process.phase is Phase.UP:
                    process.phase = Phase.UNPROVEN
        pools = self.spec(self.state.starting_generation).cluster.pools
        self._asked = {actor for actor, size in pools.sizes.items() if size}
        self._follow()
        if self.state.processes:
            log.info("resumed processes=%d generation=%d", len(self.state.processes), self.state.generation)
            await self._tellable.wait()

    async def _look(self) -> None:
        """Decide, write it down, do it."""
        async with asyncio.timeout(_NODES_MAX_S):
            self.nodes = await self._ray.nodes() or self.nodes
        state, alive = self.state, {node.id for node in self.nodes if node.alive}
        config = self.spec(state.starting_generation).cluster
        with_ingress = {process.node for process in state.processes if process.group == INGRESS}
        self.wanted = place(config, self.nodes, state.drained, state.replicas, with_ingress)
        for step in reconcile(self.wanted.processes, state, alive):
            self._take(step)
        await self.save()
        self._follow()

    def _take(self, step: Step) -> None:
        log.info("step kind=%s process=%s", type(step).__name__, getattr(getattr(step, "process", None), "name", ""))
        match step:
            case Start(process):
                self.state.processes.append(process)
            case Drain(process):
                process.phase = Phase.DRAINING
            case Forget(process):
                self.state.processes.remove(process)
            case StopRollout(problem) if self.state.rollout is not None:
                self.state.rollout.phase, self.state.rollout.problem = RolloutPhase.STOPPED, problem
                self._change.set()
            case FinishRollout() if self.state.rollout is not None:
                self.state.rollout.phase = RolloutPhase.DONE

    async def save(self) -> None:
        """Write the state down, if it has changed. Raises what Ray raises."""
        state = self.state
        used = {state.generation, state.previous, *(process.generation for process in state.processes)}
        state.settings = {generation: data for generation, data in state.settings.items() if generation in used}
        packed = pack(state)
        if packed != self._saved:
            await self._ray.save(packed)
            self._saved = packed

    def _follow(self) -> None:
        """Have a keeper for every process that should exist, and for no other."""
        known = {process.name: process for process in self.state.processes}
        for name, process in known.items():
            if name not in self.keepers:
                self.keepers[name] = self._keeper(process)
            if process.phase is Phase.DRAINING and name not in self._retiring:
                self._retiring[name] = asyncio.create_task(self._retire(self.keepers[name]))
                self.changed()
        for name in [name for name in self.keepers if name not in known]:
            self._retiring[name] = asyncio.create_task(self._bury(self.keepers.pop(name)))
            self.changed()

    def _keeper(self, process: Process) -> Keeper:
        spec, nodes = self.spec(process.generation), {node.id: node for node in self.nodes}
        host, port = listens_at(spec.cluster, process, nodes, spec.node)
        packed = self.state.settings[process.generation]
        order = Order(process.name, packed, process.node, process.actors, host, port)
        return Keeper(process, spec, order, self._ray, self)

    async def _retire(self, keeper: Keeper) -> None:
        """End a process that owes nothing any more, or has had all the time that a message has."""
        process = keeper.process
        if process.group != INGRESS:
            await self._told()
            end_s = asyncio.get_running_loop().time() + keeper.spec.cluster.end_of_message_s
            while await keeper.ask("owes") and asyncio.get_running_loop().time() < end_s:  # noqa: ASYNC110  it is asked
                await asyncio.sleep(_OWES_EVERY_S)
            keeper.gone = True
            self.changed()
            await self._told()
        await keeper.end(leave=process.group == INGRESS)
        log.info("retired name=%s", keeper.name)
        del self._retiring[keeper.name], self.keepers[keeper.name]
        self.state.processes.remove(process)
        self.changed()

    async def _bury(self, keeper: Keeper) -> None:
        """Have Ray forget a process whose node is gone, lest a later one of its name be taken for it."""
        await keeper.end()
        del self._retiring[keeper.name]

    async def _told(self) -> None:
        """Wait until every ingress has the table as it is now, or has had its time."""
        ingresses = [keeper for keeper in self.keepers.values() if keeper.process.group == INGRESS and keeper.address]
        try:
            async with asyncio.timeout(_TABLE_MAX_S):
                await asyncio.gather(*(keeper.has_table(keeper.changes) for keeper in ingresses))
        except TimeoutError:
            log.warning("table_not_taken")

    def _replicas(self) -> list[Keeper]:
        return [keeper for keeper in self.keepers.values() if keeper.process.group != INGRESS and not keeper.gone]


def start_supervisor(spec: CellSpec) -> "ray.actor.ActorHandle[Any]":
    """The supervisor of the cell, a new one if there is none."""
    # Ray's stubs do not follow `.options`.
    remote_class: Any = ray.remote(Supervisor)
    options = {"name": SUPERVISOR, "namespace": NAMESPACE, "get_if_exists": True, "lifetime": "detached"}
    handle: ray.actor.ActorHandle[Any] = remote_class.options(**options, max_restarts=-1, num_cpus=0).remote(
        spec.packed(), spec.build, spec.stages_of
    )
    return handle


def _entry(keeper: Keeper, replica: Replica) -> Replica:
    """A replica as the table has it."""
    return replace(replica, draining=keeper.process.phase is Phase.DRAINING)
