"""What is under way: asks, errands, and the seats they sit on. Values without behaviour, and the ports of dispatch.

An `Ask` is one stage of one transaction, an `Errand` one task of it on one replica for as many pools as that replica
belongs to, a `Seat` one replica as the dispatcher sees it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from actors.model import ErrorKind, Finding, Stage
from cluster.table import Replica
from tamis.filter.v1 import examine_service_pb2 as pb


class Link(Protocol):
    """A stream to one replica. Calls `Dispatcher.ready`, `broken` and `result` as things happen."""

    def send(self, task: pb.Task, size_bytes: int) -> bool:
        """Queue a task; False when the stream is too far behind."""

    def cancel(self, task: int) -> None:
        """Say that nobody waits for the task any more."""

    def close(self) -> None:
        """Give the stream up; nothing is called back afterwards."""


class SharedBody(Protocol):
    """A large body that lies in the node's object store."""

    body_id: bytes
    """Unique in the cell."""

    def hand_to(self, replica: str) -> None:
        """Give the replica its reference, ahead of the task that names it."""


class Timer(Protocol):
    """A pending call."""

    def cancel(self) -> None:
        """Do not call."""


class Payload(msgspec.Struct, frozen=True):
    """What a stage sends to its pools: serialised once, the same bytes for all."""

    message: bytes
    shared: SharedBody | None = None
    body_bytes: int = 0
    """Size of the shared body, for the balance of load."""
    known: tuple[Finding, ...] = ()
    """See `Message.known`."""


class Report(msgspec.Struct, frozen=True):
    """What became of one task."""

    actor: str
    stage: Stage
    findings: tuple[Finding, ...]
    timing: pb.Timing | None
    """The replica's own account; None when no answer came."""
    started_s: float
    ended_s: float
    """When it was asked and when it was over, on the ingress's monotonic clock."""
    failed: ErrorKind | None = None


@dataclass(slots=True)
class Route:
    """The way of one transaction through the pools."""

    replicas: dict[str, str] = field(default_factory=dict)
    """By pool, the replica that had it at an earlier stage."""
    skips: frozenset[str] = frozenset()
    """Pools that are not asked about it."""
    envelope_waits: bool = False
    """The envelope was not asked about ahead of time: it is with the message."""
    heard: Callable[[Report], None] | None = None
    """Told of each report that leaves others of its stage due."""


@dataclass(slots=True, eq=False)
class Ask:
    """One stage of one transaction on its way."""

    stage: Stage
    payload: Payload
    route: Route
    deadline_s: float
    started_s: float
    budget_ms: int
    """What an actor gets that is asked now."""
    done: Callable[["Ask"], None] | None
    reports: list[Report] = field(default_factory=list)
    pending: dict[str, "Errand"] = field(default_factory=dict)
    """By pool; several may be one errand."""
    timer: Timer | None = None

    @property
    def envelope_too(self) -> bool:
        """What there is to say at ENVELOPE is said here."""
        return self.stage is Stage.MESSAGE and self.route.envelope_waits


@dataclass(slots=True, eq=False)
class Errand:
    """One task of an ask: on a replica, or waiting for one, then for a single pool."""

    number: int
    ask: Ask
    pools: list[str]
    """Those that have not answered."""
    size_bytes: int
    """What it weighs on a replica."""
    seat: "Seat | None" = None
    breaks: int = 0
    wait: Timer | None = None


@dataclass(slots=True, eq=False)
class Seat:
    """One replica as the dispatcher sees it, in every pool that it belongs to."""

    replica: Replica
    link: Link | None = None
    ready: bool = False
    """Its stream is up."""
    outstanding: dict[int, Errand] = field(default_factory=dict)
    outstanding_bytes: int = 0
    suspects: list[Errand] = field(default_factory=list)
    """Those of `outstanding` that were there when a stream broke."""
    proven: int = 0
    """Suspects that it has answered since it broke itself."""
    silent: bool = False
    """It takes tasks and says nothing: nobody's choice while there is another one."""


@dataclass(slots=True, eq=False)
class Pool:
    """The seats of one actor and the errands that wait for one."""

    stages: frozenset[Stage] = frozenset()
    seats: list[Seat] = field(default_factory=list)
    waiting: deque[Errand] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """From [cluster]."""

    replica_tasks_max: int
    replica_wait_s: float
