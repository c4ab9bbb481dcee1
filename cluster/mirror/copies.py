"""The copies of live messages that are under way to another cell, from the offer to the line of the report.

Strategy: pure state moved by callbacks on the ingress's loop. An offer is looked at once the live verdict is on its way
out, never before. Each copy has one stream, is told whole within its credit, and ends as exactly one line: compared,
or failed. It is never told again: a mirror may lose copies, it may not add work. Messages, bytes and time are bounded;
what does not fit is dropped and counted.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from actors.model import Message
from actors.ports import Clock
from cluster.errand import Timer
from cluster.ingress.retell import whole_message
from cluster.mirror.difference import Line, compare
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2, verdict_pb2
from wire.sample import sampled
from wire.stream import Credit

ASIDE_S = 0.002
"""An offer waits for this long, so that the frame with the live verdict is written first."""
TELL_DROPPED_S = 10.0
"""What was dropped is told in one line after this time."""
COPY_BYTES = 8192
"""What a copy holds besides the message, about: envelope, verdict and its own state."""

FULL, UNREACHABLE = "full", "unreachable"
LATE, LOST = "late", "lost"


class Stream(Protocol):
    """One open Filter stream to the other cell."""

    def send(self, event: pb.Event, size_bytes: int) -> bool:
        """Queue an event; False when the stream is too far behind."""


@dataclass(frozen=True, slots=True)
class MirrorLimits:
    """From [cluster.mirror]."""

    share: float
    copies_max: int
    held_bytes_max: int
    deadline_s: float


@dataclass(slots=True, eq=False)
class Copy:
    """One message on its way."""

    number: int
    envelope: message_pb2.Envelope
    message: Message
    live: verdict_pb2.Verdict
    live_s: float
    held_bytes: int
    deadline_s: float
    events: Iterator[pb.Event] = field(default_factory=lambda: iter(()))
    stream: Stream | None = None
    timer: Timer | None = None
    waiting: pb.Event | None = None
    """A piece of the body that has no credit yet."""
    credit: Credit = field(default_factory=Credit)
    told_s: float = 0.0
    """When the end of the message was told."""


class Copies:
    """Implements `Mirror` of cluster/ingress/session.py; `record` takes the lines of the report."""

    def __init__(
        self,
        limits: MirrorLimits,
        clock: Clock,
        call_later: Callable[[float, Callable[[], None]], Timer],
        record: Callable[[Line], None],
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._call_later = call_later
        self._record = record
        self._numbers = itertools.count(1)
        self._copies: dict[int, Copy] = {}
        self._streams: dict[Stream, set[int]] = {}
        self._dropped: Counter[str] = Counter()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def connected_streams(self) -> int:
        """Streams that copies may go to."""
        return len(self._streams)

    def wants(self, transaction_id: bytes) -> bool:
        """Whether the message is in the sample."""
        return sampled(transaction_id, self._limits.share)

    def offer(
        self, envelope: message_pb2.Envelope, message: Message, verdict: verdict_pb2.Verdict, verdict_s: float
    ) -> None:
        """Take a copy if there is room."""
        limits = self._limits
        size_bytes = len(message.header_block) + len(message.body) + COPY_BYTES
        if not self._streams:
            self._drop(UNREACHABLE)
            return
        if len(self._copies) >= limits.copies_max or self.held_bytes + size_bytes > limits.held_bytes_max:
            self._drop(FULL)
            return
        deadline_s = self._clock.monotonic_s() + limits.deadline_s
        copy = Copy(next(self._numbers), envelope, message, verdict, verdict_s, size_bytes, deadline_s)
        self._copies[copy.number] = copy
        self.held_bytes += size_bytes
        copy.timer = self._call_later(ASIDE_S, lambda: self._tell(copy))

    # --- the streams ---------------------------------------------------------------------------------------------

    def connected(self, stream: Stream) -> None:
        """Copies may go there."""
        self._streams[stream] = set()

    def lost(self, stream: Stream) -> None:
        """It broke: what was on it gets no verdict."""
        for number in self._streams.pop(stream, ()):
            self._fail(self._copies[number], LOST)

    def heard(self, stream: Stream, answer: pb.Answer) -> None:
        """The other cell answered; what names no copy of this stream has crossed the end of one."""
        copy = self._copies.get(answer.transaction)
        if copy is None or copy.stream is not stream:
            return
        kind = answer.WhichOneof("kind")
        if kind == "verdict":
            self._compare(copy, answer.verdict)
        elif kind == "refused":
            self._fail(copy, _REFUSALS.get(answer.refused.reason, "internal"))
        elif kind == "credit":
            copy.credit.grant(answer.credit.body_bytes)
            self._go_on(copy)

    # --- one copy ------------------------------------------------------------------------------------------------

    def _tell(self, copy: Copy) -> None:
        """Begin to tell it, on the stream with the fewest."""
        if not self._streams:
            self._end(copy)
            self._drop(UNREACHABLE)
            return
        copy.stream = min(self._streams, key=lambda stream: len(self._streams[stream]))
        self._streams[copy.stream].add(copy.number)
        left_s = copy.deadline_s - self._clock.monotonic_s()
        copy.timer = self._call_later(left_s, lambda: self._give_up(copy))
        message = copy.message
        copy.events = whole_message(
            copy.envelope, message.header_block, message.body, left_s, number=copy.number, mirrored=True
        )
        self._go_on(copy)

    def _go_on(self, copy: Copy) -> None:
        """Tell what the credit covers."""
        while (event := copy.waiting or next(copy.events, None)) is not None and copy.stream is not None:
            copy.waiting = None
            if len(event.body) > copy.credit.left_bytes:
                copy.waiting = event
                return
            copy.credit.spend(len(event.body))
            if event.HasField("end_of_message"):
                copy.told_s = self._clock.monotonic_s()
            if not copy.stream.send(event, event.ByteSize()):
                self._end(copy)
                self._drop(FULL)
                return

    def _compare(self, copy: Copy, verdict: verdict_pb2.Verdict) -> None:
        mirrored_s = self._clock.monotonic_s() - copy.told_s if copy.told_s else 0.0
        difference = compare(copy.live, copy.live_s * 1000, verdict, mirrored_s * 1000)
        self._end(copy)
        self._record(self._line(copy, difference=difference))

    def _give_up(self, copy: Copy) -> None:
        if copy.stream is not None:
            abort = pb.Event(transaction=copy.number, abort=pb.Abort())
            copy.stream.send(abort, abort.ByteSize())
        self._fail(copy, LATE)

    def _fail(self, copy: Copy, why: str) -> None:
        self._end(copy)
        self._record(self._line(copy, failed=why))

    def _line(self, copy: Copy, **what: object) -> Line:
        envelope = copy.envelope
        return Line(round(self._clock.unix_s(), 3), envelope.transaction_id.hex(), envelope.queue_id, **what)  # type: ignore[arg-type]

    def _end(self, copy: Copy) -> None:
        del self._copies[copy.number]
        self.held_bytes -= copy.held_bytes
        if copy.timer is not None:
            copy.timer.cancel()
        if copy.stream is not None:
            self._streams.get(copy.stream, set()).discard(copy.number)

    def _drop(self, why: str) -> None:
        if not self._dropped:
            self._call_later(TELL_DROPPED_S, self._tell_dropped)
        self._dropped[why] += 1

    def _tell_dropped(self) -> None:
        dropped, self._dropped = dict(self._dropped), Counter()
        self._record(Line(round(self._clock.unix_s(), 3), dropped=dropped))


_REFUSALS = {
    pb.Refused.REASON_OVERLOADED: "overloaded",
    pb.Refused.REASON_DRAINING: "draining",
    pb.Refused.REASON_MALFORMED: "malformed",
}
