"""Framing, adaptive writer and credit of the multiplexed streams: gateway to ingress and ingress to actors.

Strategy: a sender puts items into an `Outbox` without waiting; the writer takes whatever waits as one frame. An idle
stream thus sends an item at once and alone, a busy one sends what came meanwhile, and within a few turns of the loop,
as the next frame: lowest latency when idle, largest frames under load, no timer. Every bound is counted before
an item is kept. What large mail has to tell goes behind all else, in small frames.

Body bytes need credit per transaction: the receiver grants what it can hold, so one large mail cannot fill the
memory of the other side, nor the way there. Used by gateway/link.py, cluster/ingress and cluster's actor hosts alike.

Between processes of one cell frames travel over plain connections: `frame_head` and `FrameCutter`, length first.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

FRAME_ITEMS_MAX = 256
FRAME_BYTES_MAX = 512 * 1024
"""A frame closes at this size; one larger item still travels, alone."""
BULK_FRAME_BYTES_MAX = 128 * 1024
"""A frame with bulk in it closes at this size."""
GRPC_MESSAGE_BYTES_MAX = 160 * 1024 * 1024
"""Set on both ends of every channel: above any message that `message_bytes_max` lets in."""
INITIAL_BODY_CREDIT_BYTES = 256 * 1024
"""Body bytes a transaction may send before the first Credit; most mail never needs one."""
GATHER_TICKS = 2
"""Turns of the loop that a frame waits for what is already on its way: 40 us on an idle loop; on a busy one they halve
the number of frames (measured with 32 milter sessions: 2.7 frames of tasks per message before, 1.3 after)."""
CROWDED_S = 0.002
"""After a crowded frame the next one waits so long where frames are dear to both ends: between gateway and ingress, by
gRPC. Not inside the cell: there few messages may be under way, and a wait would leave cores idle."""
CROWD_OF_EVENTS, CROWD_OF_ANSWERS = 8, 3
"""Items from which on a frame is crowded: of a few messages, which have several events and one answer each."""
_HEAD_BYTES = 4
OUTBOX_ITEMS_MAX = 65_536
OUTBOX_BYTES_MAX = 256 * 1024 * 1024

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", GRPC_MESSAGE_BYTES_MAX),
    # A peer that hangs or is gone is noticed within 4 s even when nothing is sent: soon enough that a transaction gets
    # its verdict elsewhere within `end_of_message_budget_s`. The answer to a ping may take ping_timeout (60 s by
    # default); gRPC 1.85 does not look at keepalive_timeout.
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A server takes pings that come sooner for an attack (GOAWAY, too_many_pings), and it counts pings that measure the
    # bandwidth too: without the second line an idle stream was ended after half a minute.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    # A proxy of the environment is for the web, not for these streams.
    ("grpc.enable_http_proxy", 0),
)


class Outbox(Generic[T]):
    """A bounded queue whose content leaves in frames, bulk behind everything else. Pure: no waiting, no I/O."""

    __slots__ = ("_bulk", "_bytes_max", "_items", "_items_max", "waiting_bytes")

    def __init__(self, items_max: int = OUTBOX_ITEMS_MAX, bytes_max: int = OUTBOX_BYTES_MAX) -> None:
        self._items: deque[tuple[T, int]] = deque()
        self._bulk: deque[tuple[T, int]] = deque()
        self._items_max = items_max
        self._bytes_max = bytes_max
        self.waiting_bytes = 0

    def __len__(self) -> int:
        return len(self._items) + len(self._bulk)

    def put(self, item: T, size_bytes: int, *, bulk: bool = False) -> bool:
        """Queue an item; False when a bound would be passed (an empty outbox takes any one item).

        What follows a bulk item and must not overtake it is bulk too.
        """
        full = len(self) >= self._items_max or self.waiting_bytes + size_bytes > self._bytes_max
        if full and len(self):
            return False
        (self._bulk if bulk else self._items).append((item, size_bytes))
        self.waiting_bytes += size_bytes
        return True

    def take(self) -> list[T]:
        """The next frame: everything that waits, in order, up to the frame's bounds; at least one item if any.

        Bulk fills it up to a lower bound, since what is put meanwhile waits for this frame; one item of it always goes.
        """
        frame: list[T] = []
        frame_bytes = 0
        while self._items and len(frame) < FRAME_ITEMS_MAX:
            item, size_bytes = self._items[0]
            if frame and frame_bytes + size_bytes > FRAME_BYTES_MAX:
                break
            self._items.popleft()
            frame.append(item)
            frame_bytes += size_bytes
        first = len(frame)
        while self._bulk and (len(frame) == first or self._fits(frame, frame_bytes + self._bulk[0][1])):
            item, size_bytes = self._bulk.popleft()
            frame.append(item)
            frame_bytes += size_bytes
        self.waiting_bytes -= frame_bytes
        return frame

    @staticmethod
    def _fits(frame: list[T], bulk_frame_bytes: int) -> bool:
        return len(frame) < FRAME_ITEMS_MAX and bulk_frame_bytes <= BULK_FRAME_BYTES_MAX


class AdaptiveWriter(Generic[T]):
    """Writes an outbox to a stream, frame by frame, through an injected `write`.

    A frame of `crowd_items` or more is crowded; by default none is.
    """

    def __init__(
        self,
        write: Callable[[list[T]], Awaitable[object]],
        outbox: Outbox[T] | None = None,
        crowd_items: int = FRAME_ITEMS_MAX + 1,
    ) -> None:
        self._write = write
        self._crowd_items = crowd_items
        self._outbox: Outbox[T] = outbox if outbox is not None else Outbox()
        self._ready = asyncio.Event()

    @property
    def waiting_bytes(self) -> int:
        """Bytes queued and not yet handed to `write`."""
        return self._outbox.waiting_bytes

    def send(self, item: T, size_bytes: int, *, bulk: bool = False) -> bool:
        """Queue an item without waiting; False when the stream is too far behind."""
        accepted = self._outbox.put(item, size_bytes, bulk=bulk)
        if accepted:
            self._ready.set()
        return accepted

    async def run(self) -> None:
        """Write frames until cancelled; what `write` raises ends it and belongs to the owner of the stream."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            while len(self._outbox):
                for _ in range(GATHER_TICKS):
                    await asyncio.sleep(0)
                frame = self._outbox.take()
                await self._write(frame)
                if len(frame) >= self._crowd_items and self.waiting_bytes < BULK_FRAME_BYTES_MAX:
                    await asyncio.sleep(CROWDED_S)


class FrameTooLong(Exception):
    """The peer announces more than is allowed; the conversation cannot go on."""


def frame_head(payload_bytes: int) -> bytes:
    """What stands before a payload on a plain connection: its length, u32 big endian."""
    return payload_bytes.to_bytes(_HEAD_BYTES, "big")


class FrameCutter:
    """Bytes of a plain connection in, whole payloads out. Pure; keeps one unfinished frame between two calls."""

    def __init__(self, payload_bytes_max: int) -> None:
        self._payload_bytes_max = payload_bytes_max
        self._pending = bytearray()

    def receive(self, data: bytes) -> list[bytes]:
        """The payloads that are complete now, in order. Raises FrameTooLong as soon as a head announces too much."""
        pending = self._pending
        pending += data
        payloads: list[bytes] = []
        start = 0
        while len(pending) - start >= _HEAD_BYTES:
            payload_start = start + _HEAD_BYTES
            payload_bytes = int.from_bytes(pending[start:payload_start], "big")
            if payload_bytes > self._payload_bytes_max:
                raise FrameTooLong(f"{payload_bytes} bytes")
            if len(pending) < payload_start + payload_bytes:
                break
            start = payload_start + payload_bytes
            payloads.append(bytes(memoryview(pending)[payload_start:start]))
        del pending[:start]
        return payloads


class Credit:
    """Body bytes that one transaction may still send (sender's side)."""

    __slots__ = ("left_bytes",)

    def __init__(self, initial_bytes: int = INITIAL_BODY_CREDIT_BYTES) -> None:
        self.left_bytes = initial_bytes

    def grant(self, body_bytes: int) -> None:
        """The receiver allows more."""
        self.left_bytes += body_bytes

    def spend(self, wanted_bytes: int) -> int:
        """How many of `wanted_bytes` may go now; they are taken off the credit."""
        allowed = min(wanted_bytes, self.left_bytes)
        self.left_bytes -= allowed
        return allowed
