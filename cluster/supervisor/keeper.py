"""The keeper of one process: starts it, proves it, watches it, and starts it again.

Strategy: Ray starts the process and, when it died, starts it anew under the same handle; the keeper asks where it
serves, has it work on a probe message, and then waits for its death with a call that is never answered. Now and then it
pings, which finds a loop that does not turn, and probes, which finds a process that answers but cannot work; both are
killed. A process that was up is started again at once, one that was not less and less often.

An ingress is told the table of replicas, and every change of it, each until it has it; before the first it takes no
mail. No call is waited for without a bound, so that a process that hangs holds up its own keeper alone.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Collection, Mapping
from typing import Any, Protocol

from ray.exceptions import RayError, RayTaskError

from cluster.spec import CellSpec, Order, unpack
from cluster.supervisor.placement import NodeView
from cluster.supervisor.state import INGRESS, Phase, Process
from cluster.table import Replica

log = logging.getLogger(__name__)

Handle = Any
"""A `ray.actor.ActorHandle`."""

_PING_EVERY_S = 5.0
_PROOF_BUDGET_S = 15.0
"""The first message loads what the actors put off."""
_PROBE_BUDGET_S = 5.0
_PROBE_FAILURES_MAX = 2
"""In a row, of a process that had worked."""
_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 5.0
_START_MAX_S = 120.0
"""A process that has not said by then where it serves is killed; the others need seconds."""
_STARTS_MAX = 3
"""A process of a rollout that did not come up so often is given up."""
_UPDATE_MAX_S = 3.0
_UPDATE_RETRY_S = 1.0


class ProbeFailed(Exception):
    """A process runs and does not work; the text says how, one line."""


class RayPort(Protocol):
    """What the supervisor asks of Ray. Everything raises RayError, or what Ray raises instead."""

    async def start(self, order: Order, spec: CellSpec) -> Handle:
        """The process of this name, a new one if there is none."""

    async def kill(self, handle: Handle, *, restart: bool) -> None:
        """End a process; whether Ray starts it anew."""

    async def nodes(self) -> Collection[NodeView]:
        """All nodes that Ray has heard of."""

    async def load(self) -> bytes | None:
        """What was saved last."""

    async def save(self, state: bytes | None) -> None:
        """Keep this where it outlives the supervisor; None deletes it."""


class Cell(Protocol):
    """What a keeper asks of the supervisor."""

    def changed(self) -> None:
        """A process has come up or gone."""

    def table(self, node: str) -> tuple[bytes, Mapping[str, Handle]]:
        """The table for the ingresses of this node, packed, and the handles of its replicas by name."""

    async def tellable(self) -> None:
        """Wait until there is a table worth telling."""


class Keeper:
    """Keeps one process; `process` is the supervisor's own note of it, whose phase the keeper moves."""

    def __init__(self, process: Process, spec: CellSpec, order: Order, ray: RayPort, cell: Cell) -> None:
        self.process = process
        self.name = process.name
        self.handle: Handle = None
        self.replica: Replica | None = None
        """Once a replica has said where it serves."""
        self.address = ""
        """host:port, once it serves."""
        self.problem: Exception | None = None
        self.starts = 0
        self.started_s = time.monotonic()
        self.news = asyncio.Event()
        """The table has changed since the ingress was told."""
        self.told = 0
        """How often the table had changed when the ingress took it over."""
        self.changes = 0
        self._taken = asyncio.Event()
        self.proving = False
        """It serves, and has not worked on its probe yet."""
        self.gone = False
        """It is in no table any more."""
        self.spec = spec
        self._order = order
        self._ray = ray
        self._cell = cell
        self._keeping = asyncio.create_task(self._keep())

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self.starts - 1)

    def table_changed(self) -> None:
        """Tell it to the ingress."""
        self.changes += 1
        self.news.set()

    async def has_table(self, changes: int) -> None:
        """Wait until the ingress has taken over this change of the table."""
        while self.told < changes:
            self._taken.clear()
            await self._taken.wait()

    async def end(self, *, leave: bool = False) -> None:
        """Kill the process, and keep it no more; an ingress is asked to leave first."""
        self._keeping.cancel()
        try:
            if self.handle is None:
                self.handle = await self._ray.start(self._order, self.spec)
            if leave:
                await self.ask("leave")
            await self._ray.kill(self.handle, restart=False)
        except Exception as error:  # noqa: BLE001  Ray raises Exception itself for one that it has forgotten
            log.warning("not_killed name=%s error=%s", self.name, type(error).__name__)

    async def ask(self, call: str, *args: object, timeout_s: float = _UPDATE_MAX_S) -> Any:
        """The answer to a control call; None from a process that hangs or goes down: the keeping deals with that."""
        if self.handle is None:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                return await getattr(self.handle, call).remote(*args)
        except Exception as error:  # noqa: BLE001  whatever one process does, the others are told and asked
            log.warning("control_call_failed name=%s call=%s error=%s", self.name, call, type(error).__name__)
            return None

    async def _keep(self) -> None:
        """Run the process again whenever it is over, at once after it was up, else less and less often."""
        retry_s = _RETRY_FIRST_S
        while True:
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001  without its keeper a process would never be started again
                self._note(error)
            if self.address:
                retry_s = _RETRY_FIRST_S
            self._down()
            await asyncio.sleep(retry_s)
            retry_s = min(_RETRY_MAX_S, retry_s * 2)

    async def _run(self) -> None:
        self.starts += 1
        handle = self.handle = await self._ray.start(self._order, self.spec)
        self.started_s = time.monotonic()
        if self.process.group != INGRESS:
            self.replica = unpack(await self._started(handle.describe.remote()), Replica)
            self.process.model = self.replica.model
            await self._prove()
            await self._watch(self.replica.address)
            return
        await self._started(handle.prepare.remote())
        self.told = 0
        telling = asyncio.create_task(self._tell())
        try:
            await self._cell.tellable()
            await self._started(self.has_table(1))
            await self._prove()
            await self._watch(await self._started(handle.start.remote()))
        finally:
            telling.cancel()

    async def _started(self, answer: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(_START_MAX_S):
                return await answer
        except TimeoutError:
            await self._ray.kill(self.handle, restart=True)
            raise TimeoutError(f"did not start within {_START_MAX_S:g} s") from None

    async def _prove(self) -> None:
        """Raises ProbeFailed. What does not work is killed: another try of the same process would prove nothing."""
        self.proving = True
        try:
            problem = await self._probe(_PROOF_BUDGET_S)
        finally:
            self.proving = False
        if problem:
            await self._ray.kill(self.handle, restart=True)
            raise ProbeFailed(problem)

    async def _probe(self, budget_s: float) -> str:
        async with asyncio.timeout(budget_s + self.spec.cluster.unresponsive_s):
            return str(await self.handle.probe.remote(budget_s))

    async def _watch(self, address: str) -> None:
        """Return or raise when the process is dead; kill it when its loop does not turn, or its work fails."""
        self._up(address)
        death = asyncio.ensure_future(_result(self.handle.until_death.remote()))
        failures = 0
        try:
            while not death.done():
                await asyncio.wait((death,), timeout=_PING_EVERY_S)
                if death.done():
                    break
                problem = await self._ping_and_probe()
                failures = failures + 1 if problem else 0
                if problem == "unresponsive" or failures >= _PROBE_FAILURES_MAX:
                    log.error("unresponsive name=%s problem=%s", self.name, problem)
                    await self._ray.kill(self.handle, restart=True)
                    raise ProbeFailed(problem)
            await death
        finally:
            death.cancel()

    async def _ping_and_probe(self) -> str:
        """What is wrong; "unresponsive" when the loop does not turn."""
        try:
            async with asyncio.timeout(self.spec.cluster.unresponsive_s):
                await self.handle.ping.remote()
            return await self._probe(_PROBE_BUDGET_S)
        except TimeoutError:
            return "unresponsive"

    async def _tell(self) -> None:
        """Tell the ingress the table, and every change of it, each until the ingress has it."""
        self.table_changed()
        await self._cell.tellable()
        while True:
            await self.news.wait()
            self.news.clear()
            changes = self.changes
            table, handles = self._cell.table(self.process.node)
            if await self.ask("update", table, handles):
                self.told = changes
                self._taken.set()
            else:
                self.news.set()
                await asyncio.sleep(_UPDATE_RETRY_S)

    def _up(self, address: str) -> None:
        self.address = address
        self.problem = None
        if self.process.phase is Phase.UNPROVEN:
            self.process.phase = Phase.UP
        log.info("up name=%s", self.name)
        self._cell.changed()

    def _note(self, error: Exception) -> None:
        self.problem = error
        log.warning("down name=%s problem=%s", self.name, one_line(error))
        if isinstance(error, RayTaskError | ProbeFailed) or self.starts >= _STARTS_MAX:
            self.process.failed = one_line(error)

    def _down(self) -> None:
        self.replica, self.address = None, ""
        if self.process.phase is Phase.UP:
            self.process.phase = Phase.UNPROVEN
        self._cell.changed()


def one_line(error: Exception) -> str:
    """Type and text of what Ray, one of our processes or we say; of anything else the type alone."""
    if isinstance(error, ProbeFailed):
        return str(error)
    if not isinstance(error, RayError | TimeoutError):
        return type(error).__name__
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(cause).__name__}: {cause}".splitlines()[0]


async def _result(reference: Awaitable[object]) -> object:
    return await reference
