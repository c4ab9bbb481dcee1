"""The discrete-event core: a clock, machines whose cores are shared by processes, and their adaptive writers. Pure.

Strategy: one heap of (time, number, call). A process does one piece of work after the other, as an event loop does, on
one core at a time. When no core is free it waits for one, in order, and who has had a core for a slice goes behind
those who wait. Becoming idle and starting again costs a process CPU, after what it did last, and some time passes
before an idle one begins; one that is not idle finds more to do at once. Frames are made by the product's own `Outbox`,
so that they grow under load as they do in the product.

A general library (SimPy 4.1) takes 3.2 s for the 300,000 customers of M/M/1 that take a heap 0.3 s, and knows no
processes that share cores.
"""

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from wire.stream import CROWDED_S, FRAME_ITEMS_MAX, GATHER_TICKS, Outbox

T = TypeVar("T")
Call = Callable[..., object]

SLICE_S = 0.003
"""For so long a process has its core when others wait for it: Linux's base slice on two cores, up to the next tick."""
_ROUNDING_S = 1e-12


class Clock:
    """Simulated time in seconds and what is to happen when."""

    __slots__ = ("_heap", "_number", "events", "now_s")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Call, tuple[Any, ...]]] = []
        self._number = 0
        self.events = 0
        """Handled so far."""
        self.now_s = 0.0

    def after(self, delay_s: float, call: Call, *args: object) -> None:
        """Call in so many seconds; what is due at the same time is called in the order of asking."""
        self._number += 1
        heapq.heappush(self._heap, (self.now_s + delay_s, self._number, call, args))

    def step(self) -> bool:
        """The next call; False when there is none."""
        if not self._heap:
            return False
        self.now_s, _, call, args = heapq.heappop(self._heap)
        self.events += 1
        call(*args)
        return True

    def run(self, until_s: float = float("inf")) -> None:
        """Until nothing is left or the next is due after that time."""
        while self._heap and self._heap[0][0] <= until_s:
            self.step()


class Machine:
    """Cores, and the processes that wait for one."""

    __slots__ = ("_free", "_waiting", "clock", "speed", "vary")

    def __init__(self, clock: Clock, cores: int, vary: Callable[[], float] = lambda: 1.0) -> None:
        """Each piece of work takes `vary()` times its demand."""
        self.clock = clock
        self._free = cores
        self.speed = 1.0
        """How fast all cores are from their next slice on, 1.0 being what demands are meant for."""
        self._waiting: deque[Process] = deque()
        self.vary = vary

    def wake(self, process: "Process", notice_s: float) -> None:
        """An idle process has something to do, and notices after so long."""
        self.clock.after(notice_s, self._ready, process)

    def _ready(self, process: "Process") -> None:
        if self._free:
            self._free -= 1
            self._compute(process, SLICE_S)
        else:
            self._waiting.append(process)

    def _compute(self, process: "Process", slice_s: float) -> None:
        """Until the piece is done or the slice over."""
        stretch_s = min(process.left_s / self.speed, slice_s)
        self.clock.after(stretch_s, self._stop, process, stretch_s * self.speed, slice_s - stretch_s)

    def _stop(self, process: "Process", done_s: float, slice_left_s: float) -> None:
        process.left_s -= done_s
        if process.left_s <= _ROUNDING_S:
            process.left_s = 0.0
            process.finished()
        if process.left_s and slice_left_s:
            self._compute(process, slice_left_s)
            return
        if process.left_s:
            self._waiting.append(process)
        if self._waiting:
            self._compute(self._waiting.popleft(), SLICE_S)
        else:
            self._free += 1


class Process:
    """One event loop: pieces of work in order, one core at most."""

    __slots__ = (
        "_calls",
        "_current",
        "_machine",
        "_notice_s",
        "_wake_s",
        "alive",
        "cpu_s",
        "frames",
        "left_s",
        "wakes",
    )

    def __init__(self, machine: Machine, wake_s: float = 0.0, notice_s: float = 0.0) -> None:
        """`wake_s` is CPU, `notice_s` passes before an idle one begins."""
        self._machine = machine
        self._wake_s = wake_s
        self._notice_s = notice_s
        self.left_s = 0.0
        """Of the current piece."""
        self._calls: deque[tuple[float, Call, tuple[Any, ...]]] = deque()
        self._current: tuple[Call, tuple[Any, ...]] | None = None
        self.alive = True
        self.wakes = 0
        """How often it was idle and had something to do."""
        self.frames = 0
        """Read or written; counted by those who do."""
        self.cpu_s = 0.0
        """Computed, or begun."""

    @property
    def waiting(self) -> int:
        """Pieces of work that are not done."""
        return len(self._calls) + (self._current is not None)

    def do(self, demand_s: float, call: Call, *args: object) -> None:
        """Compute for so long after all that waits, then call. A dead process does nothing."""
        if not self.alive:
            return
        if self._current is not None:
            self._calls.append((demand_s, call, args))
            return
        self.wakes += 1
        self._begin(demand_s, call, args)
        self._machine.wake(self, self._notice_s)

    def later(self, delay_s: float, call: Call, *args: object) -> None:
        """A timer: no CPU before it rings, and none for its ringing."""
        self._machine.clock.after(delay_s, call, *args)

    def die(self) -> None:
        """What waits is lost; what is being computed uses its core to the end, and nobody hears of it."""
        self.alive = False
        self._calls.clear()

    def finished(self) -> None:
        """The machine's: the current piece is done."""
        while self._current is not None:
            call, args = self._current
            if self.alive:
                call(*args)
            if not self._calls:
                self._rest(call)
                return
            demand_s, call, args = self._calls.popleft()
            if demand_s > 0:
                self._begin(demand_s, call, args)
                return
            self._current = call, args

    def _rest(self, last: Call) -> None:
        """Nothing more to do: become idle, which may take time."""
        if self._wake_s and last is not _nothing:
            self._begin(self._wake_s, _nothing, ())
        else:
            self._current = None

    def _begin(self, demand_s: float, call: Call, args: tuple[Any, ...]) -> None:
        self._current = call, args
        self.left_s = demand_s * self._machine.vary()
        self.cpu_s += self.left_s


def _nothing() -> None:
    """The last piece of work before a process is idle."""


class Writer(Generic[T]):
    """`wire.stream.AdaptiveWriter` in simulated time: what waits for a process leaves in frames.

    A turn of the loop is everything that waits for the process; the one in which the writer is woken is the first.
    After a frame of `crowd_items` or more it waits for company.
    """

    __slots__ = ("_crowd_items", "_deliver", "_frame_s", "_outbox", "_process", "_writing")

    def __init__(
        self,
        process: Process,
        frame_s: float,
        deliver: Callable[[list[T]], object],
        crowd_items: int = FRAME_ITEMS_MAX + 1,
    ) -> None:
        self._process = process
        self._frame_s = frame_s
        self._deliver = deliver
        self._crowd_items = crowd_items
        self._outbox: Outbox[T] = Outbox()
        self._writing = False

    def send(self, item: T, size_bytes: int) -> None:
        """Queue an item; it leaves some turns of the loop later, with what came meanwhile."""
        if not self._outbox.put(item, size_bytes):
            raise OverflowError("an outbox is full: the model has no answer to that")
        if not self._writing:
            self._writing = True
            self._process.do(0.0, self._gather, GATHER_TICKS - 1)

    def _gather(self, ticks: int) -> None:
        if ticks:
            self._process.do(0.0, self._gather, ticks - 1)
            return
        self._process.frames += 1
        self._process.do(self._frame_s, self._write, self._outbox.take())

    def _write(self, frame: list[T]) -> None:
        self._deliver(frame)
        if len(frame) >= self._crowd_items:
            self._process.later(CROWDED_S, self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if len(self._outbox):
            self._process.do(0.0, self._gather, GATHER_TICKS - 1)
        else:
            self._writing = False
