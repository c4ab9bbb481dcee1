"""Which ingress gets the next transaction, and which is left alone for a while. Pure: no clock, no sockets.

Strategy: of the cells and endpoints that can be used those of the lowest priority count; among them the one with the
least outstanding bytes for its weight. What is outstanding says nothing while all are idle, so every placing also costs
a little, and the one that has paid least for its weight is next (start-time fair queueing: nobody saves up credit
while it is away, so an ingress that comes back meets no herd). Failures in a row eject an endpoint for a back-off that
doubles; one that comes back takes ten seconds to get its full share. When nothing better is left an ejected one is
used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

PLACING_BYTES = 32 * 1024
"""What a placing costs: a few typical messages, so that shares follow the weights also when few are under way, and one
that hangs holds a few more than the others at most."""
FAILURES_MAX = 3
"""So many failures in a row eject an endpoint."""
EJECTION_FIRST_S = 1.0
EJECTION_MAX_S = 30.0
SLOW_START_S = 10.0
"""Until an endpoint that came back has its full share."""
SLOW_START_SHARE = 0.1
"""Of its weight when it comes back."""
OVERLOAD_PAUSE_S = 0.5
"""An ingress that refused for overload is the last choice for this long."""


@dataclass(frozen=True, slots=True)
class Place:
    """An ingress as the config or the DNS names it."""

    target: str
    """host:port"""
    cell: str = ""
    cell_priority: int = 0
    """Lower first; a cell is used only while no endpoint of a lower one can be."""
    priority: int = 0
    """The same among the endpoints of the cell (RFC 2782)."""
    weight: float = 1.0
    """Its share among all endpoints, that of its cell included."""


@dataclass(slots=True, eq=False)
class Endpoint:
    """An ingress with what is known of its health and of its work."""

    place: Place
    outstanding_bytes: int = 0
    """Told and not yet judged."""
    failures: int = 0
    """In a row."""
    avoid_until_s: float = -inf
    """Overloaded until then."""
    ejected_until_s: float = -inf
    back_since_s: float = -inf
    """When it came back from an ejection or a lost connection; it may be about to, then this is in the future."""
    paid_bytes: float = 0.0
    """For its placings, divided by its weight at each."""
    _ejection_s: float = field(default=0.0, repr=False)

    def share(self, now_s: float) -> float:
        """The weight that counts now."""
        ramp = (now_s - self.back_since_s) / SLOW_START_S
        return self.place.weight * min(1.0, max(SLOW_START_SHARE, ramp))

    def willing(self, now_s: float) -> bool:
        """Whether it is neither ejected nor overloaded."""
        return now_s >= self.ejected_until_s and now_s >= self.avoid_until_s

    def came_back(self, now_s: float) -> None:
        """It is connected again; what it gets grows slowly."""
        self.back_since_s = max(now_s, self.ejected_until_s)

    def overloaded(self, now_s: float) -> None:
        """It refused a transaction since it has too much to do."""
        self.avoid_until_s = now_s + OVERLOAD_PAUSE_S

    def succeeded(self, now_s: float) -> None:
        """A verdict came."""
        self.failures = 0
        if now_s - self.back_since_s > SLOW_START_S:
            self._ejection_s = 0.0

    def failed(self, now_s: float) -> bool:
        """A stream broke, a verdict did not come, or the ingress failed inside; True when that ejects it."""
        if now_s < self.ejected_until_s:
            return False
        self.failures += 1
        if self.failures < FAILURES_MAX:
            return False
        # Not a clean slate: the first failure after its return ejects it again, for longer.
        self.failures = FAILURES_MAX - 1
        self._ejection_s = min(EJECTION_MAX_S, max(EJECTION_FIRST_S, 2 * self._ejection_s))
        self.ejected_until_s = self.back_since_s = now_s + self._ejection_s
        return True


class Balance:
    """The choice. One for all endpoints of a gateway, since it remembers how far their shares have got."""

    def __init__(self) -> None:
        self._paid_bytes = 0.0
        """What the last one chosen had paid: the least that counts for anybody."""

    def choose(self, usable: Sequence[Endpoint], now_s: float) -> Endpoint:
        """The endpoint for a new transaction, of those that are connected and take some; there is at least one."""
        candidates = _first_in_line(usable, now_s) if len(usable) > 1 else usable
        best, best_bytes = candidates[0], inf
        for endpoint in candidates:
            paid_bytes = max(endpoint.paid_bytes, self._paid_bytes)
            cost_bytes = paid_bytes + endpoint.outstanding_bytes / endpoint.share(now_s)
            if cost_bytes < best_bytes:
                best, best_bytes = endpoint, cost_bytes
        self._paid_bytes = max(best.paid_bytes, self._paid_bytes)
        best.paid_bytes = self._paid_bytes + PLACING_BYTES / best.share(now_s)
        return best


def _first_in_line(usable: Sequence[Endpoint], now_s: float) -> Sequence[Endpoint]:
    """Those of the lowest priority, by cell and within each cell; willing ones only, if there are any."""
    candidates = [endpoint for endpoint in usable if endpoint.willing(now_s)] or usable
    lowest = min(endpoint.place.cell_priority for endpoint in candidates)
    of_cell: dict[str, int] = {}
    for place in (endpoint.place for endpoint in candidates):
        if place.cell_priority == lowest:
            of_cell[place.cell] = min(place.priority, of_cell.get(place.cell, place.priority))
    return [
        endpoint
        for endpoint in candidates
        if endpoint.place.cell_priority == lowest and endpoint.place.priority == of_cell[endpoint.place.cell]
    ]
