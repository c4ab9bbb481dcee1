"""The supervisor: keeps the processes of the cell as the configuration wants them, and tells the ingresses.

Strategy: one keeper per process. It has Ray start the process, asks where it serves, and then waits for its death with
a call that is never answered, pinging now and then; Ray itself restarts what died, the keeper finds it again under its
new address. Every change goes to all ingresses as one table, told to each beside its keeper until that ingress has it.
No call is waited for without a bound, so a process that hangs holds up its own keeper alone, until that kills it.
Nothing of this is on the way of a message: without a supervisor the cell goes on with the table it has.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from cluster.config import listen_address
from cluster.layout import Worker, workers
from cluster.names import NAMESPACE, SUPERVISOR, ingress_name
from cluster.pool import CellSpec, start_host, start_ingress
from cluster.process import prepare_process
from cluster.table import Replica, Table

log = logging.getLogger(__name__)

_PING_EVERY_S = 5.0
_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 5.0
_START_MAX_S = 120.0
"""A process that has not said by then where it serves is killed; the others need seconds."""
_READY_MAX_S = 1.0
_UPDATE_MAX_S = 3.0
_UPDATE_RETRY_S = 1.0
_DRAIN_MAX_S = 5.0
"""Bounds of the control calls; the ingress itself ends a drain after 2 s."""
_FIRST_TABLE_S = 5.0
"""A supervisor that was restarted waits so long for all replicas to say where they are before it tells anybody: a
table without those that are merely busy would take them, and the work they have, from the ingresses."""


@dataclass(frozen=True, slots=True)
class CellStatus:
    """What the supervisor knows now."""

    ready: bool
    """Everything is up, and every ingress can ask every pool."""
    ingresses: tuple[str, ...]
    """host:port of those that serve."""
    replicas: tuple[Replica, ...]
    problems: dict[str, str] = field(default_factory=dict)
    """Why a process is not up, by its name, one line each."""
    hopeless: bool = False
    """A process said itself why it cannot work; nobody expects that to change."""


class Supervisor:
    """Runs as one named actor. `status` also starts the keepers, since Ray restarts it without telling anybody."""

    def __init__(self, spec: CellSpec) -> None:
        prepare_process()
        self._spec = spec
        sizes = {pool: size for pool, size in spec.cluster.pools.sizes.items() if size}
        self._workers = workers(sizes, spec.cluster.pools.layout, spec.cores)
        self._stages = {pool: spec.stages_of(pool, spec.judgement) for pool in sizes}
        self._replicas: dict[str, Replica] = {}
        self._ingresses: dict[str, str] = {}
        """host:port of those that are up, by name."""
        self._problems: dict[str, Exception] = {}
        self._handles: dict[str, ray.actor.ActorHandle[Any]] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._tellable = asyncio.Event()
        self._news: dict[str, asyncio.Event] = {}
        """By ingress: the table has changed since it was told."""

    async def status(self) -> CellStatus:
        """How the cell is, within about a second; an ingress that does not say that it is ready is not."""
        if not self._keepers:
            self._start_keepers()
        complete = self._all_replicas_up() and len(self._ingresses) == self._spec.cluster.ingresses
        ready = complete and not self._problems and all(await asyncio.gather(*map(self._ready, self._ingresses)))
        addresses = tuple(address for _, address in sorted(self._ingresses.items()))
        replicas = tuple(replica for _, replica in sorted(self._replicas.items()))
        problems = {name: _one_line(error) for name, error in self._problems.items()}
        hopeless = any(isinstance(error, RayTaskError) for error in self._problems.values())
        return CellStatus(ready, addresses, replicas, problems, hopeless)

    async def drain(self) -> None:
        """Have the ingresses refuse new transactions; returns when the open ones are over, or soon."""
        await asyncio.gather(*(self._ask(name, "drain", timeout_s=_DRAIN_MAX_S) for name in self._ingresses))

    async def stop(self) -> None:
        """End every process of the cell; the supervisor itself is ended by its caller."""
        for keeper in self._keepers:
            keeper.cancel()
        for name, handle in self._handles.items():
            try:
                ray.kill(handle)
            except RayError as error:
                log.warning("not_killed name=%s error=%s", name, type(error).__name__)

    def _start_keepers(self) -> None:
        host, port = listen_address(self._spec.cluster.listen)
        for worker in self._workers:
            self._keep(worker.name, partial(self._run_host, worker))
        for number in range(self._spec.cluster.ingresses):
            name = ingress_name(number)
            self._keep(name, partial(self._run_ingress, name, host, port + number))
        asyncio.get_running_loop().call_later(_FIRST_TABLE_S, self._tellable.set)

    def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._keepers.append(asyncio.create_task(self._keep_running(name, run)))

    async def _keep_running(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run the process again whenever it is over, at once after it was up, else less and less often."""
        retry_s = _RETRY_FIRST_S
        while True:
            try:
                await run()
            except Exception as error:  # noqa: BLE001  without its keeper a process would never be started again
                self._problems[name] = error
                log.warning("down name=%s problem=%s", name, _one_line(error))
            if self._ingresses.pop(name, None) is not None:
                retry_s = _RETRY_FIRST_S
            if self._replicas.pop(name, None) is not None:
                retry_s = _RETRY_FIRST_S
                self._changed()
            await asyncio.sleep(retry_s)
            retry_s = min(_RETRY_MAX_S, retry_s * 2)

    async def _run_host(self, worker: Worker) -> None:
        name = worker.name
        handle = self._handles[name] = start_host(self._spec, worker)
        self._replicas[name] = await self._started(handle, handle.describe.remote())
        self._up(name)
        self._changed()
        await self._watch(name, handle)

    async def _run_ingress(self, name: str, host: str, port: int) -> None:
        handle = self._handles[name] = start_ingress(self._spec, name, host, port)
        self._ingresses[name] = await self._started(handle, handle.start.remote())
        self._up(name)
        telling = asyncio.create_task(self._tell(name))
        try:
            await self._watch(name, handle)
        finally:
            telling.cancel()

    async def _started(self, handle: "ray.actor.ActorHandle[Any]", answer: "ray.ObjectRef[Any]") -> Any:
        try:
            async with asyncio.timeout(_START_MAX_S):
                return await answer
        except TimeoutError:
            ray.kill(handle, no_restart=False)
            raise TimeoutError(f"did not start within {_START_MAX_S:g} s") from None

    async def _watch(self, name: str, handle: "ray.actor.ActorHandle[Any]") -> None:
        """Return or raise when the process is dead; kill it when its loop does not turn any more."""
        death = asyncio.ensure_future(_result(handle.until_death.remote()))
        try:
            while not death.done():
                await asyncio.wait((death,), timeout=_PING_EVERY_S)
                if death.done():
                    break
                if not await self._answers(handle):
                    log.error("unresponsive name=%s", name)
                    ray.kill(handle, no_restart=False)
                    return
            await death
        finally:
            death.cancel()

    async def _answers(self, handle: "ray.actor.ActorHandle[Any]") -> bool:
        try:
            async with asyncio.timeout(self._spec.cluster.unresponsive_s):
                await handle.ping.remote()
        except TimeoutError:
            return False
        return True

    def _up(self, name: str) -> None:
        self._problems.pop(name, None)
        log.info("up name=%s", name)

    def _all_replicas_up(self) -> bool:
        return len(self._replicas) == len(self._workers)

    def _changed(self) -> None:
        if self._all_replicas_up():
            self._tellable.set()
        for news in self._news.values():
            news.set()

    async def _tell(self, name: str) -> None:
        """Tell one ingress the table, and every change of it, each until the ingress has it."""
        news = self._news[name] = asyncio.Event()
        news.set()
        await self._tellable.wait()
        while True:
            await news.wait()
            news.clear()
            handles = {replica: self._handles[replica] for replica in self._replicas}
            table = Table(self._stages, tuple(self._replicas.values()))
            if not await self._ask(name, "update", table, handles, timeout_s=_UPDATE_MAX_S):
                news.set()
                await asyncio.sleep(_UPDATE_RETRY_S)

    async def _ready(self, name: str) -> bool:
        return bool(await self._ask(name, "ready", timeout_s=_READY_MAX_S))

    async def _ask(self, ingress: str, call: str, *args: object, timeout_s: float) -> object:
        """The answer to a control call; None from an ingress that hangs or goes down: its keeper deals with that."""
        try:
            async with asyncio.timeout(timeout_s):
                return await getattr(self._handles[ingress], call).remote(*args)
        except Exception as error:  # noqa: BLE001  whatever one ingress does, the others are told and asked
            log.warning("control_call_failed name=%s call=%s error=%s", ingress, call, type(error).__name__)
            return None


def start_supervisor(spec: CellSpec) -> "ray.actor.ActorHandle[Any]":
    """The supervisor of the cell, a new one if there is none."""
    # Ray's stubs do not follow `.options`.
    remote_class: Any = ray.remote(Supervisor)
    options = {"name": SUPERVISOR, "namespace": NAMESPACE, "get_if_exists": True, "lifetime": "detached"}
    handle: ray.actor.ActorHandle[Any] = remote_class.options(**options, max_restarts=-1, num_cpus=0).remote(spec)
    return handle


def _one_line(error: Exception) -> str:
    """Type and text of what Ray, one of our processes or we say; of anything else the type alone."""
    if not isinstance(error, RayError | TimeoutError):
        return type(error).__name__
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(cause).__name__}: {cause}".splitlines()[0]


async def _result(reference: "ray.ObjectRef[Any]") -> object:
    return await reference
