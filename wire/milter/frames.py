"""Frames of the milter protocol: u32 length (big endian, counting the command), command byte, payload.

Strategy: bytes are appended to one bytearray and read at an offset; consumed bytes are dropped in large steps, so that
no packet costs a move of what follows it. The claimed length is judged as soon as its four bytes are there, before
anything of the payload is kept.
"""

from struct import Struct
from typing import Final

from wire.milter.errors import RemoteProtocolError

_HEAD: Final = Struct("!IB")
_LENGTH_BYTES: Final = 4
_COMPACT_BYTES: Final = 64 * 1024


def encode_frame(command: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return _HEAD.pack(len(payload) + 1, command) + payload


class FrameReader:
    """Cuts a byte stream into (command, payload) frames."""

    __slots__ = ("_buffer", "_offset", "payload_bytes_max")

    def __init__(self, payload_bytes_max: int) -> None:
        self._buffer = bytearray()
        self._offset = 0
        self.payload_bytes_max = payload_bytes_max

    @property
    def waiting_bytes(self) -> int:
        """Bytes received and not yet returned in a frame."""
        return len(self._buffer) - self._offset

    def waiting(self) -> bytes:
        """Those bytes, for another reader."""
        return bytes(self._buffer[self._offset :])

    def feed(self, data: bytes) -> None:
        """Store received bytes."""
        self._buffer += data

    def next_frame(self) -> tuple[int, bytes] | None:
        """The next whole frame, None while it is incomplete. Raises RemoteProtocolError for a length out of bounds."""
        buffer = self._buffer
        start = self._offset
        waiting = len(buffer) - start
        if waiting <= _LENGTH_BYTES:
            if waiting == _LENGTH_BYTES:
                self._check(int.from_bytes(buffer[start : start + _LENGTH_BYTES]))
            if not waiting or start >= _COMPACT_BYTES:
                self._drop_consumed()
            return None
        length, command = _HEAD.unpack_from(buffer, start)
        if not 0 < length <= self.payload_bytes_max + 1:
            self._check(length)
        end = start + _LENGTH_BYTES + length
        if waiting < _LENGTH_BYTES + length:
            if start >= _COMPACT_BYTES:
                self._drop_consumed()
            return None
        self._offset = end
        return command, bytes(buffer[start + 5 : end])

    def take_run(self, command: int, between: bytes) -> list[bytes]:
        """The payloads of the frames that come next, as far as they are complete and of this command.

        `between` is a frame that may stand before each of them and is skipped.
        """
        data = bytes(memoryview(self._buffer)[self._offset :])
        skip_bytes = len(between)
        start = 0
        data_bytes = len(data)
        last_head = data_bytes - _HEAD.size
        length_max = self.payload_bytes_max + 1
        payloads: list[bytes] = []
        while start <= last_head:
            if skip_bytes and data.startswith(between, start):
                start += skip_bytes
                continue
            length, found = _HEAD.unpack_from(data, start)
            end = start + _LENGTH_BYTES + length
            if found != command or end > data_bytes or not 0 < length <= length_max:
                break  # for next_frame to judge
            payloads.append(data[start + 5 : end])
            start = end
        self._offset += start
        return payloads

    def _drop_consumed(self) -> None:
        del self._buffer[: self._offset]
        self._offset = 0

    def _check(self, length: int) -> None:
        if length == 0:
            raise RemoteProtocolError("frame of length zero")
        if length > self.payload_bytes_max + 1:
            raise RemoteProtocolError(f"frame claims {length} bytes, at most {self.payload_bytes_max + 1} are allowed")
