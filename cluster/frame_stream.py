"""One connection between two processes of a cell: frames both ways (decision 0004).

Strategy: an asyncio protocol, so that a frame that arrives is handled in the callback that read it, without a task or
a thread in between. Reading never stops: what comes in is bounded by its owner. Writing waits while the kernel's
buffer is full.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from google.protobuf.message import DecodeError

from wire.stream import GRPC_MESSAGE_BYTES_MAX, FrameCutter, FrameTooLong, frame_head

log = logging.getLogger(__name__)

_WRITE_BUFFER_BYTES = 1024 * 1024


class FrameStream(asyncio.Protocol):
    """A connection of either side; `receive` gets each payload and may raise DecodeError."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive
        self._cutter = FrameCutter(GRPC_MESSAGE_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is over."""
        self.heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the first frame has come, or the connection is over."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's: the connection stands."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name.
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """asyncio's: bytes came."""
        try:
            for payload in self._cutter.receive(data):
                if not self.heard.done():
                    self.heard.set_result(None)
                self._receive(payload)
        except (FrameTooLong, DecodeError) as error:
            log.warning("frame_refused error=%s", type(error).__name__)
            self.close()

    def pause_writing(self) -> None:
        """asyncio's: the peer does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """asyncio's: it reads again."""
        self._writable.set()

    def connection_lost(self, _error: Exception | None) -> None:
        """asyncio's: it is over, whoever wanted it."""
        self._writable.set()
        for end in (self.lost, self.heard):
            if not end.done():
                end.set_result(None)

    async def write(self, payload: bytes) -> None:
        """Send one frame; returns when there is room for the next. On a lost connection it is dropped."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.writelines((frame_head(len(payload)), payload))
        await self._writable.wait()

    def offer(self, payload: bytes) -> None:
        """Send one frame if there is room for it now."""
        if self._transport is not None and self._writable.is_set() and not self._transport.is_closing():
            self._transport.writelines((frame_head(len(payload)), payload))

    def close(self) -> None:
        """Give the connection up; what was not sent is lost. One that never stood is over, too."""
        if self._transport is not None:
            self._transport.abort()
        else:
            self.connection_lost(None)
