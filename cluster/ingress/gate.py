"""The gate before the message stage: `Admission` with the clock and the timers of the ingress.

A message that need not wait passes without a timer, a callback or an object of its own. One that waits has half of its
time for that; the rest is for examining it, or for another cell.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from actors.model import Stage
from actors.ports import Clock
from cluster.admission import MESSAGE_COST_BYTES, Admission, Ticket
from cluster.config import OverloadConfig
from cluster.errand import Report, Timer
from cluster.ingress.transaction import Start
from cluster.metrics import DelayCounts
from tamis.filter.v1 import message_pb2

_WAIT_SHARE = 0.5


@dataclass(slots=True, eq=False)
class Place:
    """Where a message is: under way, or waiting with a ticket, or refused."""

    under_way: bool = False
    ticket: "Ticket[Waiting] | None" = None
    timer: Timer | None = None

    def stop_waiting(self) -> None:
        """No turn is due any more. The ticket is let go, since it refers to this place."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.ticket = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What happens to a message that waits."""

    place: Place
    begin: Callable[[frozenset[str]], None]
    """Its turn has come; without these actors."""


_UNDER_WAY = Place(under_way=True)
"""Of every message that passed at once."""


class Gate:
    """Lets messages pass, at once or in turn. Every message that has a place must `leave` it in the end."""

    def __init__(
        self,
        config: OverloadConfig,
        replica_tasks_max: int,
        clock: Clock,
        call_later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self.delays = DelayCounts()
        """How long messages waited."""
        self.shed = 0
        """Messages that were examined without the optional actors."""
        self.refused = 0
        self._admission: Admission[Waiting] = Admission(config)
        self._optional = frozenset(config.shed)
        self._replica_tasks_max = replica_tasks_max
        self._clock = clock
        self._call_later = call_later
        self._beginning = False

    @property
    def behind(self) -> bool:
        """Whether the replicas are so late with messages that nothing should be asked of them ahead of time."""
        return self._admission.behind

    @property
    def waiting(self) -> int:
        """Messages that wait now."""
        return self._admission.waiting

    def resize(self, replicas: int) -> None:
        """So many replicas examine messages."""
        self._admission.window.resize(replicas, self._replica_tasks_max)
        self._begin_waiting()

    def pass_now(self, start: Start) -> Place | None:
        """A place under way, if the message need not wait."""
        if not self._admission.enter(tenants_of(start.message.envelope), cost_of(start), self._clock.monotonic_s()):
            return None
        self.delays.add(0)
        return _UNDER_WAY

    def wait(
        self, place: Place, start: Start, begin: Callable[[frozenset[str]], None], refuse: Callable[[str], None]
    ) -> None:
        """Wait for a turn: `begin` or `refuse` is called once, unless the message leaves before."""
        now_s = self._clock.monotonic_s()
        tenants = tenants_of(start.message.envelope)
        place.ticket = self._admission.queue(Waiting(place, begin), tenants, cost_of(start), now_s)
        if place.ticket is None:
            self.refused += 1
            refuse("more mail of this tenant waits than can be examined in time")
            return
        wait_s = max(0.0, (start.deadline_s - now_s) * _WAIT_SHARE)

        def give_up() -> None:
            self.refused += 1
            refuse(f"no turn within {wait_s:.1f} s")

        place.timer = self._call_later(wait_s, give_up)
        self._begin_waiting()

    def leave(self, place: Place, reports: Iterable[Report] = ()) -> None:
        """The message is over, or its client has gone; `reports` are what its actors told."""
        if place.under_way:
            self._admission.left(self._clock.monotonic_s(), *times_s(reports))
            self._begin_waiting()
        elif place.ticket is not None:
            self._admission.withdraw(place.ticket)
            place.stop_waiting()

    def _begin_waiting(self) -> None:
        """Begin all for whom there is room; what they call may come back here."""
        if self._beginning or not self._admission.waiting:
            return
        self._beginning = True
        try:
            while (turn := self._admission.turn(self._clock.monotonic_s())) is not None:
                place = turn.item.place
                place.under_way = True
                place.stop_waiting()
                self.delays.add(round(turn.waited_s * 1e6))
                self.shed += turn.shed
                turn.item.begin(self._optional if turn.shed else frozenset())
        finally:
            self._beginning = False


def cost_of(start: Start) -> int:
    """What the message counts in the turns of its tenant."""
    return MESSAGE_COST_BYTES + len(start.message.header_block) + len(start.body)


def tenants_of(envelope: message_pb2.Envelope) -> Sequence[str]:
    """Whose mail it is: the sender's tenant of outbound mail, else those of its recipients."""
    recipients = envelope.recipients
    if envelope.direction == message_pb2.DIRECTION_OUTBOUND or not recipients:
        return (envelope.tenant,)
    if len(recipients) == 1:
        return (recipients[0].tenant,)
    return tuple({recipient.tenant: None for recipient in recipients})


def times_s(reports: Iterable[Report]) -> tuple[float, float | None]:
    """How long the message was with its replicas, and how much of that it waited for a core, on the way, there or back.

    Examining itself does not count: that may be a wait for DNS. None when none of them said how long it took.
    """
    taken_s, queue_s = 0.0, -1.0
    for report in reports:
        if report.timing is not None and report.stage is Stage.MESSAGE:
            report_s = report.ended_s - report.started_s
            taken_s = max(taken_s, report_s)
            queue_s = max(queue_s, report_s - report.timing.run_us / 1e6, 0.0)
    return taken_s, None if queue_s < 0 else queue_s
