"""The table of what is broken, for how long, and what the mail may notice of it (ARCHITECTURE section 9)."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.cell import Cell
from tests.chaos.faults import Fault, Gone, Killed, Stopped
from tests.chaos.servers import Server


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of the table."""

    name: str
    fault: Callable[[Cell], Fault]
    hold_s: float
    """From the fault to its healing."""
    tempfails: bool = False
    """Whether a 451 is allowed: where no peer is left. Never more than while the fault and its recovery last."""
    recovery_s: float = 15.0
    """Within this time after the fault is over, or after a kill, mail is served as before and nothing is missing."""
    short: bool = False
    """Part of the short form."""


def _all(role: str) -> Callable[[Cell], Callable[[], list[int]]]:
    return lambda cell: lambda: cell.processes()[role]


def _one(role: str) -> Callable[[Cell], Callable[[], list[int]]]:
    return lambda cell: lambda: cell.processes()[role][:1]


def _killed(find: Callable[[Cell], Callable[[], list[int]]]) -> Callable[[Cell], Fault]:
    return lambda cell: Killed(find(cell))


def _stopped(find: Callable[[Cell], Callable[[], list[int]]]) -> Callable[[Cell], Fault]:
    return lambda cell: Stopped(find(cell))


def _servers(*pick: Callable[[Cell], Server]) -> Callable[[Cell], Callable[[], list[int]]]:
    return lambda cell: lambda: [one(cell).pid for one in pick]


def _first_clamd(cell: Cell) -> Server:
    return cell.clamds[0]


def _second_clamd(cell: Cell) -> Server:
    return cell.clamds[1]


def _resolver(cell: Cell) -> Server:
    return cell.resolver


SCENARIOS = (
    Scenario("ingress-killed", _killed(_one("ingress")), 0.0, short=True),
    Scenario("ingress-stopped", _stopped(_one("ingress")), 8.0),
    Scenario("worker-killed", _killed(_one("worker")), 0.0, short=True),
    Scenario("worker-stopped", _stopped(_one("worker")), 8.0, short=True),
    Scenario("supervisor-killed", _killed(_one("supervisor")), 0.0, short=True),
    Scenario("supervisor-stopped", _stopped(_one("supervisor")), 8.0),
    Scenario("redis-killed", _killed(_one("redis")), 0.0, short=True),
    Scenario("redis-stopped", _stopped(_one("redis")), 6.0, short=True),
    Scenario("clamd-killed", lambda cell: Gone(cell.clamds[0]), 4.0),
    Scenario("clamd-stopped", _stopped(_servers(_first_clamd)), 6.0, short=True),
    Scenario("clamds-killed", lambda cell: Gone(*cell.clamds), 4.0, tempfails=True),
    Scenario("clamds-stopped", _stopped(_servers(_first_clamd, _second_clamd)), 6.0, tempfails=True),
    Scenario("resolver-killed", lambda cell: Gone(cell.resolver), 4.0),
    Scenario("resolver-stopped", _stopped(_servers(_resolver)), 6.0, short=True),
    Scenario("raylet-stopped", _stopped(_one("raylet")), 8.0),
    Scenario("gcs-stopped", _stopped(_one("gcs")), 8.0),
    Scenario("gateway-stopped", _stopped(_one("gateway")), 4.0, tempfails=True),
    Scenario("workers-killed", _killed(_all("worker")), 0.0, tempfails=True, recovery_s=30.0),
    Scenario("ingresses-killed", _killed(_all("ingress")), 0.0, tempfails=True, recovery_s=30.0),
)
