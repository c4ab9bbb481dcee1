"""Which messages are examined now, which wait, and in which order: overload control of one ingress.

Strategy: the queue is kept here, where it can be put in order, and not in the replicas or before a core. A `Window`
bounds how many messages are under way. Who finds it open and nobody waiting passes at once. Otherwise messages wait in
a line for each tenant, and the lines take turns by start-time fair queueing (Goyal, Vin, Cheng 1997) over the cost of
messages: who floods waits behind himself. Who had less than his share may catch up first: else mail that a pause of the
machine made wait would be late for long. While all mail is one tenant's there is nothing to put in order and the window
is wider, since replicas work best in large batches (measured: a sixth less CPU a message); but not very wide, since the
first mail of another tenant waits for all that is under way.

A line that is too slow for its tenant's mail goes through three steps, alone: its messages wait; when each of a while
has waited for `delay_s` (a standing queue, as CoDel tells it from a burst, RFC 8289), optional actors are not asked
about them; when that does not help, new ones are refused while the line is that long. All other tenants' mail goes its
usual way.

Pure: no clock, no timers; moments are on one monotonic clock.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cluster.config import OverloadConfig

T = TypeVar("T")

MESSAGE_COST_BYTES = 8 * 1024
"""What a message costs beside its bytes: examining an empty one takes about as long as these."""
WINDOW_PER_REPLICA, WINDOW_PER_REPLICA_ALONE = 2, 32
"""The window never closes below this many messages for each replica, enough to keep it at work; the second while all
mail is one tenant's."""
_WINDOW_FIRST = 64
_PERIOD_S = 0.02
_PERIOD_MESSAGES = 8
"""The window changes at most once in such a time and after so many messages."""
_LINES_MAX = 64
"""Lines from which on it is worth a look which are needed."""
_MUCH_WIDER, _WIDER, _NARROWER = 2.0, 1.25, 0.1
_PERIOD_TURNS = 1.5
_COMPETING_S = 10.0
"""So long after two tenants' mail followed each other they count as competing."""
_ALONE = 8
"""So many times as long as else may a message wait for a core while no tenants compete."""
_BEHIND_SHARE = 0.5
"""Of `replica_queue_ms`."""
_NEWEST_SHARE = 1 / 16
"""Of one message in the average of what the last ones waited."""
_CATCH_UP_COST = 512 * MESSAGE_COST_BYTES
"""So much of what it had less than its share may a tenant have later: about a second of one ingress."""


class Window:
    """How many messages may be under way: as many as the replicas can have at work, and a queue of some time.

    By Little's law that is the number under way now, times the time that a message would take with a queue of that
    length over the time that it takes (the gradient of TCP Vegas and of Netflix's concurrency limits).
    """

    def __init__(self) -> None:
        self._replicas = 1
        self._most = self.size = _WINDOW_FIRST
        self._used = False
        self._taken_s = self._queue_s = 0.0
        self._messages = 0
        self._until_s = 0.0

    def resize(self, replicas: int, each_max: int) -> None:
        """So many replicas there are, and so many tasks each may owe."""
        self._replicas = max(1, replicas)
        self._most = replicas * each_max
        self._set(self.size)

    def full(self) -> None:
        """Somebody has to wait because of it."""
        self._used = True

    def look_now(self) -> None:
        """Another target is in force: the window changes at the next message, by what the last ones told."""
        self._until_s = 0.0

    def passed(self, taken_s: float, queue_s: float, target_s: float, now_s: float, *, alone: bool = False) -> None:
        """A message was under way for so long, and waited so much of it for a core; that should be `target_s`.

        Alone, that is while no tenants compete, both that and the least window are larger.
        """
        self._taken_s += taken_s
        self._queue_s += queue_s
        self._messages += 1
        if now_s < self._until_s or self._messages < _PERIOD_MESSAGES:
            return
        taken_s, queue_s = self._taken_s / self._messages, self._queue_s / self._messages
        target_s *= _ALONE if alone else 1
        if queue_s > target_s:
            self._set(self.size * max(_NARROWER, (taken_s - queue_s + target_s) / taken_s), alone=alone)
        elif self._used and queue_s < target_s / 2:
            self._set(self.size * (_MUCH_WIDER if queue_s < target_s / 4 else _WIDER) + 1, alone=alone)
        self._used, self._taken_s, self._queue_s, self._messages = False, 0.0, 0.0, 0
        # What changes now is seen by those who come now: not before they are over.
        self._until_s = now_s + max(_PERIOD_S, _PERIOD_TURNS * taken_s)

    def _set(self, size: float, *, alone: bool = False) -> None:
        least = (WINDOW_PER_REPLICA_ALONE if alone else WINDOW_PER_REPLICA) * self._replicas
        self.size = round(max(least, min(self._most, size)))


@dataclass(slots=True, eq=False)
class Ticket(Generic[T]):
    """One message that waits."""

    item: T
    line: "Line[T]"
    entered_s: float
    waits: bool = True


@dataclass(slots=True, eq=False)
class Line(Generic[T]):
    """The messages of one tenant that wait."""

    tenant: str
    finish: float = 0.0
    """Virtual time at which what it has been given so far would be done."""
    tickets: deque[Ticket[T]] = field(default_factory=deque)
    slow_since_s: float | None = None
    """Since when each of its messages has waited too long."""

    def oldest(self) -> Ticket[T] | None:
        """The one whose turn comes next; those that have left are forgotten."""
        while self.tickets and not self.tickets[0].waits:
            self.tickets.popleft()
        return self.tickets[0] if self.tickets else None


@dataclass(frozen=True, slots=True)
class Turn(Generic[T]):
    """A message whose turn it is."""

    item: T
    waited_s: float
    shed: bool
    """Without the optional actors."""


class Admission(Generic[T]):
    """Call `enter` for each message, and `queue` when that says no; `left` when it is over, then `turn` until None."""

    def __init__(self, config: OverloadConfig) -> None:
        self._config = config
        self._target_s = config.replica_queue_ms / 1000
        self.window = Window()
        self._tenants: Sequence[str] = ()
        self._competing_until_s = 0.0
        self.under_way = 0
        self.waiting = 0
        self._queue_s = 0.0
        """How long messages waited for a core of late, on average."""
        self._virtual = 0.0
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Ticket[T]]] = []
        self._lines: dict[str, Line[T]] = {}
        self._lines_max = _LINES_MAX

    @property
    def behind(self) -> bool:
        """Whether messages wait so long for a core that nothing should be asked of the replicas ahead of time."""
        return self._queue_s > self._target_s * _BEHIND_SHARE

    def enter(self, tenants: Sequence[str], cost: int, now_s: float) -> bool:
        """Whether a message of these tenants may begin now; it is under way then."""
        if tenants != self._tenants:
            if self._tenants:
                if now_s >= self._competing_until_s:
                    self.window.look_now()
                self._competing_until_s = now_s + _COMPETING_S
            self._tenants = tenants
        if self.waiting or self.under_way >= self.window.size:
            self.window.full()
            return False
        self.under_way += 1
        self._virtual = max(self._virtual, self._charge(self._lines_of(tenants), cost))
        return True

    def queue(self, item: T, tenants: Sequence[str], cost: int, now_s: float) -> Ticket[T] | None:
        """A place in the line of its tenant, of several in the one that is furthest behind; None = it is refused."""
        lines = self._lines_of(tenants)
        line = max(lines, key=lambda one: one.finish)
        if self._is_refused(line, now_s):
            return None
        start = self._charge(lines, cost)
        ticket = Ticket(item, line, now_s)
        line.tickets.append(ticket)
        heapq.heappush(self._heap, (start, next(self._order), ticket))
        self.waiting += 1
        return ticket

    def withdraw(self, ticket: Ticket[T]) -> None:
        """It waits no longer: its client has gone, or its time is over."""
        if ticket.waits:
            self._take(ticket)

    def left(self, now_s: float, taken_s: float = 0.0, queue_s: float | None = None) -> None:
        """A message that was under way is over, after `taken_s`; of that it waited `queue_s` for a core, if known."""
        self.under_way -= 1
        if queue_s is not None:
            self._queue_s += (queue_s - self._queue_s) * _NEWEST_SHARE
            self.window.passed(taken_s, queue_s, self._target_s, now_s, alone=now_s >= self._competing_until_s)

    def turn(self, now_s: float) -> Turn[T] | None:
        """The next message, if there is one and room for it; it is under way then."""
        if self.under_way >= self.window.size:
            return None
        while self._heap:
            start, _, ticket = heapq.heappop(self._heap)
            if not ticket.waits:
                continue
            self._virtual = max(self._virtual, start)
            line, waited_s = ticket.line, now_s - ticket.entered_s
            if waited_s < self._config.delay_s:
                line.slow_since_s = None
            elif line.slow_since_s is None:
                line.slow_since_s = now_s
            shed = self._slow_s(line, now_s) >= self._config.interval_s
            self._take(ticket)
            self.under_way += 1
            return Turn(ticket.item, waited_s, shed)
        return None

    def _lines_of(self, tenants: Sequence[str]) -> list[Line[T]]:
        if len(self._lines) > self._lines_max:
            self._forget_served()
        return [self._lines.setdefault(tenant, Line(tenant)) for tenant in dict.fromkeys(tenants)]

    def _charge(self, lines: Sequence[Line[T]], cost: int) -> float:
        """Virtual time at which a message of that cost begins, which all of the lines pay."""
        earliest = self._virtual - _CATCH_UP_COST
        start = max(earliest, *(line.finish for line in lines))
        for line in lines:
            line.finish = max(earliest, line.finish) + cost / len(lines)
        return start

    def _forget_served(self) -> None:
        """Lines of tenants that have had no more than their share and wait for nothing."""
        self._lines = {
            tenant: line
            for tenant, line in self._lines.items()
            if line.finish > self._virtual - _CATCH_UP_COST or line.oldest() is not None
        }
        self._lines_max = _LINES_MAX + 2 * len(self._lines)

    def _is_refused(self, line: Line[T], now_s: float) -> bool:
        oldest = line.oldest()
        if oldest is None or now_s - oldest.entered_s < self._config.delay_s:
            return False
        return self._slow_s(line, now_s) >= 2 * self._config.interval_s

    def _slow_s(self, line: Line[T], now_s: float) -> float:
        return 0.0 if line.slow_since_s is None else now_s - line.slow_since_s

    def _take(self, ticket: Ticket[T]) -> None:
        """Take it out of its line."""
        ticket.waits = False
        self.waiting -= 1
        if ticket.line.oldest() is None:
            ticket.line.slow_since_s = None
        if not self.waiting:
            self._heap.clear()
