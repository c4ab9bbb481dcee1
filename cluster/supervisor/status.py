"""How the cell is, from what the keepers know: what `tamis up` waits for. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ray.exceptions import RayTaskError

from cluster.supervisor.keeper import Keeper, one_line
from cluster.supervisor.placement import Wanted
from cluster.supervisor.state import INGRESS, Phase
from cluster.table import Replica


@dataclass(frozen=True, slots=True)
class CellStatus:
    """What the supervisor knows now."""

    ready: bool
    """Everything is up, and every ingress can ask every pool."""
    ingresses: tuple[str, ...]
    """host:port of those that serve."""
    replicas: tuple[Replica, ...]
    problems: dict[str, str] = field(default_factory=dict)
    """Why a process is not up, by its name, or what the cell has no place for; one line each."""
    hopeless: bool = False
    """A process said itself why it cannot work; nobody expects that to change."""
    settled: bool = False
    """Everything that has a place is up: more will not come by waiting."""


def status_of(keepers: Iterable[Keeper], wanted: Wanted, *, all_ready: bool) -> CellStatus:
    """`all_ready`: the ingresses have said so."""
    known = sorted(keepers, key=lambda keeper: keeper.name)
    up = [keeper for keeper in known if keeper.process.phase is Phase.UP]
    problems = {keeper.name: one_line(keeper.problem) for keeper in known if keeper.problem is not None}
    settled = len(up) >= sum(wanted.processes.values()) > 0 and not problems
    ingresses = dict.fromkeys(keeper.address for keeper in up if keeper.process.group == INGRESS)
    replicas = tuple(keeper.replica for keeper in up if keeper.replica is not None)
    hopeless = any(isinstance(keeper.problem, RayTaskError) for keeper in known)
    return CellStatus(
        settled and all_ready, tuple(ingresses), replicas, {**problems, **wanted.missing}, hopeless, settled
    )
