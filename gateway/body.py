"""The body of one message as it is kept until the verdict: in memory, its beginning perhaps in a file. Pure.

Strategy: bytes come at the end and are read by their offset, as often as an ingress has to hear of them. Whoever writes
to the file (gateway/spool.py) says with `moved` how much of the memory it took over. What lies in the file is not there
at once: `piece` gives None, and after `fetch` it gives a window of it.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

FETCH_BYTES = 256 * 1024
"""What is read from the file at once: what an ingress takes before it grants more."""


class BodyFile(Protocol):
    """Where the beginning of a body lies."""

    def read(self, offset: int, size_bytes: int, done: Callable[[bytes | None], None]) -> None:
        """Call `done` with the bytes there, from the loop; with None when they cannot be read."""

    def close(self) -> None:
        """Nobody needs it any more."""

    @property
    def descriptor(self) -> int | None:
        """Of the open file, to be duplicated; None while it is at work or when there is none."""


class Body:
    """Bytes that come once and are read piece by piece."""

    __slots__ = (
        "_chunks",
        "_cursor",
        "_cursor_start",
        "_fetching",
        "_window",
        "_window_start",
        "file",
        "size_bytes",
        "stored_bytes",
        "unreadable",
    )

    def __init__(self) -> None:
        self.size_bytes = 0
        self.stored_bytes = 0
        """How many of them, from the first on, are in `file` and no longer in memory."""
        self.file: BodyFile | None = None
        self.unreadable = False
        """The file could not be read: there is no body any more."""
        self._chunks: list[bytes] = []
        self._cursor = 0
        self._cursor_start = 0
        """The chunk that was read last and its offset; who reads on need not search."""
        self._window = b""
        self._window_start = 0
        self._fetching = False

    @property
    def memory_bytes(self) -> int:
        """Of the body in memory, but for the window."""
        return self.size_bytes - self.stored_bytes

    def append(self, chunk: bytes) -> None:
        """The body goes on; `chunk` is not empty."""
        self._chunks.append(chunk)
        self.size_bytes += len(chunk)

    def piece(self, offset: int, bytes_max: int) -> bytes | None:
        """At least one byte from `offset` on, at most `bytes_max`; None when it has to be fetched first.

        `offset` is below `size_bytes`, `bytes_max` at least 1. Pieces are as large as they came.
        """
        if offset < self.stored_bytes:
            start = offset - self._window_start
            if not 0 <= start < len(self._window):
                return None
            piece = self._window[start : start + bytes_max]
            if start + len(piece) == len(self._window):
                self._window = b""
            return piece
        if offset < self._cursor_start:
            self._cursor, self._cursor_start = 0, self.stored_bytes
        chunk = self._chunks[self._cursor]
        while offset >= self._cursor_start + len(chunk):
            self._cursor += 1
            self._cursor_start += len(chunk)
            chunk = self._chunks[self._cursor]
        start = offset - self._cursor_start
        return chunk if not start and len(chunk) <= bytes_max else chunk[start : start + bytes_max]

    def fetch(self, offset: int, then: Callable[[], None]) -> None:
        """Bring what lies in the file at `offset` into memory; `then` is called when `piece` should be asked again."""
        if self._fetching or self.file is None:
            return

        def done(window: bytes | None) -> None:
            self._fetching = False
            if self.file is None:
                return
            self.unreadable = not window
            self._window, self._window_start = window or b"", offset
            then()

        self._fetching = True
        self.file.read(offset, min(FETCH_BYTES, self.stored_bytes - offset), done)

    def in_memory(self) -> list[bytes]:
        """The chunks that are not in the file."""
        return list(self._chunks)

    def moved(self, chunks: int) -> None:
        """The first `chunks` of `in_memory` are in the file now."""
        if self.file is None:
            return
        self.stored_bytes += sum(map(len, self._chunks[:chunks]))
        del self._chunks[:chunks]
        self._cursor, self._cursor_start = 0, self.stored_bytes

    def resume(self, stored_bytes: int, chunks: Iterable[bytes]) -> None:
        """Go on with the body of another process, whose file comes apart."""
        self.size_bytes = self.stored_bytes = self._cursor_start = stored_bytes
        for chunk in chunks:
            self.append(chunk)

    def release(self) -> None:
        """It is no longer kept; the body is empty then."""
        self._chunks.clear()
        self._window = b""
        self.size_bytes = self.stored_bytes = self._cursor = self._cursor_start = 0
        file, self.file = self.file, None
        if file is not None:
            file.close()
