"""What may be asked of a cell, between the admin service and the supervisor.

Strategy: a change states what is wanted and returns at once, refused or accepted; what becomes of it is read from the
next `report`. So nobody who runs a cell needs to know of streams, and a client that goes away stops nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from actors.config import JudgementConfig
from cluster.config import ClusterConfig, Pools
from wire.trace import TraceConfig


class NodeState(Enum):
    """Whether a node takes work."""

    UP = "up"
    DRAINING = "draining"
    """No new process is placed there, and those that it has are being moved."""
    DRAINED = "drained"
    """Nothing of ours runs there any more: it can be switched off."""
    AWAY = "away"
    """Ray does not hear of it."""


class ProcessState(Enum):
    """Where a process is between its start and its end."""

    STARTING = "starting"
    PROVING = "proving"
    """It serves, but has not judged its proof message yet; it gets no mail."""
    UP = "up"
    DRAINING = "draining"
    """It finishes what it has."""
    DOWN = "down"
    """It is to be started again; `problem` says what was wrong."""


class RolloutState(Enum):
    """How far the last rollout is."""

    RUNNING = "running"
    STOPPED = "stopped"
    """By an operator, or since what it started did not prove itself (`problem`): old and new work side by side."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node of the cell."""

    node: str
    """Ray's id."""
    name: str
    """What an operator calls it, such as its host name."""
    address: str
    state: NodeState
    cores: float
    head: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One process: an ingress, or a replica with its actors."""

    name: str
    """Unique in the cell, "classifier-0"."""
    actors: tuple[str, ...]
    """Those it runs; none in an ingress."""
    node: str
    """Ray's id; empty while it has no place."""
    address: str
    """host:port; empty while it serves nowhere."""
    state: ProcessState
    generation: int
    """Of the rollout that started it."""
    outstanding: int = 0
    """Tasks that a replica owes to all ingresses, transactions that are open at an ingress."""
    age_s: float = 0.0
    """Since it was started."""
    restarts: int = 0
    """How often it was started again because it died."""
    memory_bytes: int = 0
    """What is its own (PSS or RSS less what it shares); 0 = not known yet."""
    problem: str = ""
    """One line; why it is down or not ready."""
    model: str = ""
    """Version of the model that it judges by; empty: by none."""


@dataclass(frozen=True, slots=True)
class PoolReport:
    """All replicas that run one actor."""

    actor: str
    up: int
    wanted: int
    why: str = ""
    """Why so many are wanted, "min of [cluster.pools]", "queue delay 40 ms"; one line."""
    queue_delay_ms: float = 0.0
    """How long tasks wait in the replicas now, about the 95th percentile."""
    outstanding: int = 0


@dataclass(frozen=True, slots=True)
class RolloutReport:
    """The rollout that runs, or the last one."""

    generation: int
    """What it brings; the first processes of a cell are generation 1."""
    state: RolloutState
    why: str
    """As given with the change, one line."""
    replaced: int
    total: int
    """Processes to replace."""
    problem: str = ""
    watching: str = ""
    """What a new replica has judged that others wait for, one line; empty when none is watched."""


@dataclass(frozen=True, slots=True)
class CellReport:
    """Everything that an operator may want to know about a cell, without a secret in it."""

    ready: bool
    """Everything is up, and every ingress can ask every pool."""
    draining: bool
    """The ingresses refuse new transactions, as an operator wanted."""
    generation: int
    config_version: str
    """`wire.config.version_of` the settings that new processes get."""
    nodes: tuple[NodeReport, ...] = ()
    processes: tuple[ProcessReport, ...] = ()
    pools: tuple[PoolReport, ...] = ()
    rollout: RolloutReport | None = None
    """None: there was none yet."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """What is missing, by the name of the process, pool or node; one line each."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """What the ingresses counted since they began, summed, by metric name: refused, shed, limited, mirrored, ..."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the processes of a cell are built from."""

    cluster: ClusterConfig
    judgement: JudgementConfig
    trace: TraceConfig


@dataclass(frozen=True, slots=True)
class Change:
    """What a rollout brings. Without anything it starts every process anew, for a new release or model file."""

    why: str
    judgement: JudgementConfig | None = None
    """New settings of actors and `decide`."""
    pools: Pools | None = None
    """New sizes; those alone replace nothing."""
    cluster: ClusterConfig | None = None
    """New settings of the processes; its pools are those that run."""

    @property
    def replaces(self) -> bool:
        """Whether processes are replaced; new sizes alone only start and end some."""
        return self.pools is None or self.judgement is not None or self.cluster is not None


class Refused(Exception):
    """The cell does not do what was asked, and nothing has changed; the text is one line for the operator."""


class UnknownNode(Refused):
    """There is no such node."""


class NotNow(Refused):
    """It may be possible a little later."""


class CellControl(Protocol):
    """A running cell. Calls return within a few seconds, whatever else happens in the cell."""

    async def report(self) -> CellReport:
        """How the cell is now."""

    def settings(self) -> Settings:
        """What new processes get now: of the generation that a rollout under way brings."""

    async def drain(self, *, draining: bool) -> None:
        """Have all ingresses refuse new transactions, or take them again. Kept for ingresses that start later."""

    async def drain_node(self, node: str, *, draining: bool) -> None:
        """Move everything away from the node of this Ray id, or let it take work again. Raises Refused."""

    async def start_rollout(self, change: Change) -> int:
        """Begin to replace processes, new one proven before the old one ends; returns the generation of new processes.

        Raises Refused: a rollout runs already, or the cell cannot have what is asked for.
        """

    async def stop_rollout(self) -> None:
        """Replace no further process; what is replaced stays. Raises Refused when none runs."""

    async def roll_back(self) -> int:
        """Begin a rollout to the settings before the last one, also while that one runs; returns the generation.

        Raises Refused when there is nothing to go back to.
        """
