"""What the supervisor knows of its cell, as values: the part that outlives it, and how that is written down.

Every process that should exist is noted before it is started, and forgotten after it is killed. So whoever reads the
notes after a death of the supervisor finds every process again by its name, and none that nobody knows.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum

INGRESS = "ingress"
"""The group of the ingresses; every other group is of replicas."""
FIRST_GENERATION = 1


class Phase(Enum):
    """Where a process is, as far as anybody has to decide something."""

    UNPROVEN = "unproven"
    """It starts, or is down, or has not judged its probe yet."""
    UP = "up"
    DRAINING = "draining"
    """It gets nothing new and ends when it owes nothing."""


class RolloutPhase(Enum):
    """How far the last rollout is."""

    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


@dataclass(slots=True)
class Process:
    """One process that should exist."""

    group: str
    """Processes alike: the name of an actor, that of processes with all actors, or INGRESS."""
    actors: tuple[str, ...]
    node: str
    number: int
    """Unique among the processes of the group and generation; taken over by the process that replaces it."""
    index: int
    """Which one of its group on its node; an ingress's port hangs on it."""
    generation: int = FIRST_GENERATION
    phase: Phase = Phase.UNPROVEN
    failed: str = ""
    """Why it will never be proven, as far as anybody can say; empty while there is hope."""
    model: str = ""
    """Version of the model that it judges by, once it has said so."""

    @property
    def name(self) -> str:
        """Under which Ray knows it, unique in the cell: "classifier-0", in later generations "classifier-0.2"."""
        suffix = f".{self.generation}" if self.generation != FIRST_GENERATION else ""
        return f"{self.group}-{self.number}{suffix}"


@dataclass(slots=True)
class Rollout:
    """The rollout that runs, or the last one."""

    generation: int
    phase: RolloutPhase
    why: str
    problem: str = ""
    watched: bool = False
    """The first replica with another model is watched before others follow."""
    passed: set[str] = field(default_factory=set)
    """Groups whose first replica was watched long enough."""


@dataclass(slots=True)
class CellState:
    """What outlives the supervisor."""

    settings: dict[int, bytes]
    """Of every generation that has a process, or may be gone back to; packed (cluster/spec.py)."""
    generation: int = FIRST_GENERATION
    """That new processes should be of."""
    previous: int = 0
    """The one to go back to; 0 = none."""
    last: int = FIRST_GENERATION
    """The highest number that was given to a generation."""
    rollout: Rollout | None = None
    processes: list[Process] = field(default_factory=list)
    drained: set[str] = field(default_factory=set)
    """Nodes that an operator wants empty."""
    draining: bool = False
    """The ingresses refuse new transactions, as an operator wants."""
    replicas: dict[str, int] = field(default_factory=dict)
    """What scaling wants of each actor, in the whole cell."""

    @property
    def starting_generation(self) -> int:
        """Of which a process is that is missing: that of a rollout which was stopped is not proven."""
        stopped = self.rollout is not None and self.rollout.phase is RolloutPhase.STOPPED
        return self.previous if stopped and self.previous else self.generation

    @property
    def canaries(self) -> list[Process]:
        """New replicas with another model than old ones of their group, which are watched before others follow."""
        rollout = self.rollout
        if rollout is None or not (rollout.watched and self.rolling):
            return []
        old_models: dict[str, set[str]] = defaultdict(set)
        for process in self.processes:
            if process.generation != self.generation and process.phase is not Phase.DRAINING and process.model:
                old_models[process.group].add(process.model)
        return [
            process
            for process in self.processes
            if process.generation == self.generation
            and process.phase is Phase.UP
            and process.model
            and process.group not in rollout.passed
            and old_models[process.group] - {process.model}
        ]

    @property
    def rolling(self) -> bool:
        """A rollout is replacing processes."""
        return self.rollout is not None and self.rollout.phase is RolloutPhase.RUNNING
