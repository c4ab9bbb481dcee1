"""The supervisor: keeps the processes of the cell as the configuration wants them, and tells the ingresses.

Strategy: one keeper per process. It has Ray start the process, asks where it serves, and then waits for its death with
a call that is never answered, pinging now and then; Ray itself restarts what died, the keeper finds it again under its
new address, and every change goes to all ingresses as one table. Nothing of this is on the way of a message: without
a supervisor the cell goes on with the table it has.
"""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from cluster.config import listen_address, pool_sizes
from cluster.names import NAMESPACE, SUPERVISOR, ingress_name, replica_name
from cluster.pool import CellSpec, start_host, start_ingress
from cluster.process import prepare_process
from cluster.table import Replica, Table

log = logging.getLogger(__name__)

_PING_EVERY_S = 5.0
_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 5.0


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
        self._sizes = {pool: size for pool, size in pool_sizes(spec.cluster.pools).items() if size}
        self._replicas: dict[str, Replica] = {}
        self._ingresses: dict[str, tuple[ray.actor.ActorHandle[Any], str]] = {}
        self._problems: dict[str, Exception] = {}
        self._handles: dict[str, ray.actor.ActorHandle[Any]] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def status(self) -> CellStatus:
        """How the cell is."""
        if not self._keepers:
            self._start_keepers()
        complete = len(self._replicas) == sum(self._sizes.values())
        complete = complete and len(self._ingresses) == self._spec.cluster.ingresses
        ready = complete and not self._problems and all(await asyncio.gather(*self._ingress_readiness()))
        addresses = tuple(address for _, (_, address) in sorted(self._ingresses.items()))
        replicas = tuple(replica for _, replica in sorted(self._replicas.items()))
        problems = {name: _one_line(error) for name, error in self._problems.items()}
        hopeless = any(isinstance(error, RayTaskError) for error in self._problems.values())
        return CellStatus(ready, addresses, replicas, problems, hopeless)

    async def drain(self) -> None:
        """Have the ingresses refuse new transactions; returns when the open ones are over, or soon."""
        await asyncio.gather(*(_quietly(handle.drain.remote()) for handle, _ in self._ingresses.values()))

    async def stop(self) -> None:
        """End every process of the cell; the supervisor itself is ended by its caller."""
        for keeper in self._keepers:
            keeper.cancel()
        for handle in self._handles.values():
            ray.kill(handle)

    def _start_keepers(self) -> None:
        host, port = listen_address(self._spec.cluster.listen)
        for pool, size in self._sizes.items():
            for number in range(size):
                self._keep(self._keep_host(pool, replica_name(pool, number)))
        for number in range(self._spec.cluster.ingresses):
            self._keep(self._keep_ingress(ingress_name(number), host, port + number))

    def _keep(self, keeper: "Awaitable[None]") -> None:
        self._keepers.append(asyncio.ensure_future(keeper))

    async def _keep_host(self, pool: str, name: str) -> None:
        retry_s = _RETRY_FIRST_S
        while True:
            try:
                handle = self._handles[name] = start_host(self._spec, pool, name)
                self._replicas[name] = await handle.describe.remote()
                self._up(name)
                retry_s = _RETRY_FIRST_S
                await self._push()
                await self._watch(name, handle)
            except (RayActorError, RayTaskError) as error:
                self._down(name, error)
            if self._replicas.pop(name, None) is not None:
                await self._push()
            await asyncio.sleep(retry_s)
            retry_s = min(_RETRY_MAX_S, retry_s * 2)

    async def _keep_ingress(self, name: str, host: str, port: int) -> None:
        retry_s = _RETRY_FIRST_S
        while True:
            try:
                handle = self._handles[name] = start_ingress(self._spec, name, host, port)
                self._ingresses[name] = handle, await handle.start.remote()
                self._up(name)
                retry_s = _RETRY_FIRST_S
                await self._push()
                await self._watch(name, handle)
            except (RayActorError, RayTaskError) as error:
                self._down(name, error)
            self._ingresses.pop(name, None)
            await asyncio.sleep(retry_s)
            retry_s = min(_RETRY_MAX_S, retry_s * 2)

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

    def _down(self, name: str, error: Exception) -> None:
        self._problems[name] = error
        log.warning("down name=%s problem=%s", name, _one_line(error))

    async def _push(self) -> None:
        """Tell every ingress the table; one that is dying hears it when it is back."""
        stages = {pool: self._spec.stages_of(pool, self._spec.judgement) for pool in self._sizes}
        table = Table(stages, tuple(self._replicas.values()))
        await asyncio.gather(*(_quietly(handle.update.remote(table)) for handle, _ in self._ingresses.values()))

    def _ingress_readiness(self) -> "list[Awaitable[object]]":
        return [_quietly(handle.ready.remote()) for handle, _ in self._ingresses.values()]


def start_supervisor(spec: CellSpec) -> "ray.actor.ActorHandle[Any]":
    """The supervisor of the cell, a new one if there is none."""
    # Ray's stubs do not follow `.options`.
    remote_class: Any = ray.remote(Supervisor)
    options = {"name": SUPERVISOR, "namespace": NAMESPACE, "get_if_exists": True, "lifetime": "detached"}
    handle: ray.actor.ActorHandle[Any] = remote_class.options(**options, max_restarts=-1, num_cpus=0).remote(spec)
    return handle


def _one_line(error: Exception) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(cause).__name__}: {cause}".splitlines()[0]


async def _result(reference: "ray.ObjectRef[Any]") -> object:
    return await reference


async def _quietly(reference: "ray.ObjectRef[Any]") -> object:
    """The answer of a control call, None from a process that is going down: its keeper deals with that."""
    try:
        return await reference
    except (RayActorError, RayTaskError):
        log.info("control_call_failed", exc_info=True)
        return None
