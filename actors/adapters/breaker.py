"""Whether a dependency is worth asking: a breaker, and the guard that keeps one with a probe.

Strategy: a dependency that gives no answer to several questions in a row, or takes long for one that may go elsewhere,
is suspected, and probed with a cheap question of its own. Only when that has no answer either the breaker opens, so
that no message can open it with what it asks for: a domain whose servers are dead, a file that takes long. While it is
open everybody is told at once instead of waiting, and one probe at a time asks whether the dependency is back; no
message waits for that, and none is needed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from enum import Enum

_log = logging.getLogger(__name__)

FAILURES_MAX = 3
PAUSE_S = 0.5
PAUSE_MAX_S = 4.0


class State(Enum):
    """Closed: ask. Suspected: ask, while a probe is under way. Open: do not ask; it is probed now and then."""

    CLOSED = "closed"
    SUSPECTED = "suspected"
    OPEN = "open"


class Breaker:
    """Pure: what was answered goes in, whether to ask and how long until the next probe comes out."""

    def __init__(self, failures_max: int = FAILURES_MAX, pause_s: float = PAUSE_S) -> None:
        self.state = State.CLOSED
        self._failures_max = failures_max
        self._failures = 0
        self._first_pause_s = self._pause_s = pause_s

    def succeeded(self) -> None:
        """A question had an answer, also one that was asked before the breaker opened."""
        self.state = State.CLOSED
        self._failures = 0
        self._pause_s = self._first_pause_s

    def failed(self) -> bool:
        """A question had no answer. True: the dependency is suspected from now on, probe it."""
        self._failures += 1
        if self.state is not State.CLOSED or self._failures < self._failures_max:
            return False
        self.state = State.SUSPECTED
        return True

    def doubted(self) -> bool:
        """A question takes long. True: the dependency is suspected from now on, probe it."""
        if self.state is not State.CLOSED:
            return False
        self.state = State.SUSPECTED
        return True

    def probed(self, *, answered: bool) -> float | None:
        """What came of a probe. Seconds until the next one; None when there need not be any."""
        if answered or self.state is State.CLOSED:
            self.succeeded()
            return None
        self.state = State.OPEN
        pause_s = self._pause_s
        self._pause_s = min(PAUSE_MAX_S, pause_s * 2)
        return pause_s


class Guard:
    """A breaker with its probe, for the adapter of one dependency. Used inside a running loop only."""

    def __init__(
        self, name: str, probe: Callable[[], Awaitable[bool]], timeout_s: float, breaker: Breaker | None = None
    ) -> None:
        """`probe` asks the dependency, within `timeout_s`, and says whether it answered. `name` is for the log."""
        self._name = name
        self._probe = probe
        self._timeout_s = timeout_s
        self._breaker = breaker or Breaker()
        self._probing: asyncio.Task[None] | None = None
        self._limits: set[asyncio.Timeout] = set()

    @property
    def open(self) -> bool:
        """Whether to fail at once instead of asking."""
        return self._breaker.state is State.OPEN

    def succeeded(self) -> None:
        """The dependency has answered."""
        self._breaker.succeeded()

    def failed(self) -> None:
        """It has not."""
        self._probe_if(suspected=self._breaker.failed())

    @contextlib.contextmanager
    def doubted(self, limit: asyncio.Timeout, after_s: float) -> Iterator[None]:
        """For a question that may go elsewhere: it is probed after so long, and without an answer the limit is over."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(after_s, lambda: self._probe_if(suspected=self._breaker.doubted()))
        self._limits.add(limit)
        try:
            yield
        finally:
            timer.cancel()
            self._limits.discard(limit)

    def stop(self) -> None:
        """Stop probing, without a wait for its end."""
        if self._probing is not None:
            self._probing.cancel()

    async def close(self) -> None:
        """Stop probing."""
        self.stop()
        if self._probing is not None:
            await asyncio.gather(self._probing, return_exceptions=True)

    def _probe_if(self, *, suspected: bool) -> None:
        if suspected and (self._probing is None or self._probing.done()):
            self._probing = asyncio.create_task(self._keep_probing())

    async def _keep_probing(self) -> None:
        down = False
        while (pause_s := self._breaker.probed(answered=await self._answers())) is not None:
            for limit in self._limits:
                if not limit.expired():
                    limit.reschedule(0.0)
            if not down:
                _log.warning("dependency_down name=%s", self._name)
                down = True
            await asyncio.sleep(pause_s)
        if down:
            _log.warning("dependency_up name=%s", self._name)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._probe()
        except TimeoutError:
            return False
