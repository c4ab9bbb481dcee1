"""What the streams of one ingress share: its ports, its settings and its bounds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from actors.config import JudgementConfig
from actors.model import Message, Stage, Verdict
from actors.ports import Clock
from cluster.dispatch import Dispatcher
from cluster.errand import SharedBody, Timer
from cluster.ingress.gate import Gate
from cluster.ingress.transaction import Limits
from cluster.table import Table
from cluster.telemetry import Tracer
from tamis.filter.v1 import message_pb2, verdict_pb2

_EARLY = (Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RECIPIENT)


class Bodies(Protocol):
    """Where large bodies are put for the replicas of the node."""

    def share(self, body: bytes) -> SharedBody | None:
        """Put a body there; None when it is small or there is no room: it then travels in the stream."""


class Stream(Protocol):
    """A stream of a gateway."""

    def announce(self) -> None:
        """Tell it at which stages it need not wait."""


class Mirror(Protocol):
    """Sends some of the mail to another cell and compares what that one says."""

    def wants(self, transaction_id: bytes) -> bool:
        """Whether it would take a copy of this message."""

    def offer(
        self, envelope: message_pb2.Envelope, message: Message, verdict: verdict_pb2.Verdict, verdict_s: float
    ) -> None:
        """Take a copy of a message whose verdict has left, `verdict_s` after its end. Returns at once."""


class Tally(Protocol):
    """Counts judged messages for reports to the owners of domains."""

    def note(self, verdict: Verdict, message: Message) -> None:
        """Count a message whose verdict has left. Returns at once."""


@dataclass(slots=True)
class Hall:
    """What the streams of one ingress share: its ports, its settings and its bounds."""

    dispatcher: Dispatcher
    judgement: JudgementConfig
    clock: Clock
    call_later: Callable[[float, Callable[[], None]], Timer]
    bodies: Bodies
    tracer: Tracer
    limits: Limits
    gate: Gate
    transactions_max: int
    held_bytes_max: int
    stress_skips: frozenset[str] = frozenset()
    """Actors that are not asked about mail of a gateway under stress."""
    mirror: Mirror | None = None
    tally: Tally | None = None
    draining: bool = False
    signed: int = 0
    """Messages that left with signatures of ours."""
    unsigned: int = 0
    """Those that should have, and could not be signed: refused for now, or passed and marked."""
    transactions: int = 0
    held_bytes: int = 0
    streams: set[Stream] = field(default_factory=set)
    """Those of gateways, which are told what changes."""

    def update(self, table: Table) -> None:
        """Another table of replicas is in force."""
        before = self.early_stages()
        self.dispatcher.update(table)
        self.gate.resize(sum(not replica.draining for replica in table.replicas))
        if self.early_stages() != before:
            for stream in self.streams:
                stream.announce()

    def early_stages(self) -> list[Stage] | None:
        """The stages with a waiting MTA at which somebody is asked; None while no table says so."""
        if not self.dispatcher.has_pools:
            return None
        return [stage for stage in _EARLY if self.dispatcher.has_stage(stage)]
