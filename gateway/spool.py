"""Bodies that are too large for memory, in files that have no name: nothing is left behind when the process dies.

Strategy: a file belongs to one body. Everything that may wait for the disk happens in a few threads (decision 0005): a
disk that hangs costs the messages that need it, by the failure policy, and nobody else. A lock per file keeps its
closing behind the operation that still uses it. The total is counted before a byte is written. What waits for a
thread has no mail of its own: it is the file's until the thread takes it, so that who gives up lets go of it.
"""

import asyncio
import contextlib
import errno
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import IO, Any

from gateway.body import Body
from gateway.transaction import Failure
from wire.config import Section

THREADS = 4
WAITING_MAX = 1000
"""Pieces of work that wait for a thread; a disk that works takes that many writes of 256 kB within STORE_S."""
STORE_S = 10.0
"""A disk that has not taken a few hundred kilobytes after this time is too slow; Postfix would wait for 30 s."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that pass when there is less to do."""

log = logging.getLogger(__name__)

Run = Callable[[Callable[[], Any]], "asyncio.Future[Any]"]
"""Runs work that may block; the future belongs to the running loop."""


class SpoolConfig(Section, frozen=True):
    """[gateway.spool]: large bodies go to disk when more than half of `held_bytes_max` is used."""

    directory: str = ""
    """Where; needs room for `bytes_max`. The files have no names, so a crash leaves none. Empty = memory only."""
    bytes_max: int = 4 * 1024 * 1024 * 1024
    """All files together; above it new content fails as overloaded."""

    def __post_init__(self) -> None:
        if self.bytes_max < 1:
            raise ValueError("`bytes_max` must be more than 0")


class SpoolFailed(Exception):
    """A body cannot be kept on disk; `failure` is the class of what becomes of its message."""

    def __init__(self, failure: Failure, why: str) -> None:
        super().__init__(why)
        self.failure = failure


class Spool:
    """All files of one gateway."""

    def __init__(self, config: SpoolConfig, run: Run | None = None) -> None:
        self.config = config
        """A reload replaces it; files that are open stay where they are."""
        self.total_bytes = 0
        """In files, or on the way there."""
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._threads = 0
        self.run: Run = run or self._run_in_thread

    async def store(self, body: Body) -> int:
        """Move what the body has in memory to its file; returns its bytes. Raises SpoolFailed."""
        size_bytes = body.memory_bytes
        if self.total_bytes + size_bytes > self.config.bytes_max:
            raise SpoolFailed(Failure.OVERLOADED, "the spool is full")
        if body.file is None and not self.config.directory:
            raise SpoolFailed(Failure.OVERLOADED, "the spool has no directory any more")
        if self._jobs.qsize() >= WAITING_MAX:
            raise SpoolFailed(Failure.OVERLOADED, "the disk is too slow")
        file = body.file if isinstance(body.file, SpoolFile) else SpoolFile(self)
        body.file = file
        file.reserve(size_bytes)
        file.pending = body.in_memory()
        chunks = len(file.pending)
        try:
            async with asyncio.timeout(STORE_S):
                await self.run(file.write)
        except TimeoutError:
            raise SpoolFailed(Failure.OVERLOADED, "the disk is too slow") from None
        except OSError as error:
            failure = Failure.OVERLOADED if error.errno in _FULL else Failure.INTERNAL
            raise SpoolFailed(failure, error.strerror or str(error)) from error
        finally:
            file.pending = []
        body.moved(chunks)
        return size_bytes

    def adopt(self, descriptor: int, size_bytes: int) -> "SpoolFile":
        """The file of a body that another process began."""
        return SpoolFile(self, os.fdopen(descriptor, "r+b", buffering=0), size_bytes)

    def _run_in_thread(self, work: Callable[[], Any]) -> "asyncio.Future[Any]":
        # An executor's threads are waited for when the process ends; these hang as long as the disk does.
        if self._threads < THREADS:
            self._threads += 1
            threading.Thread(target=self._serve, name="spool", daemon=True).start()
        future: Future[Any] = Future()
        self._jobs.put((future, work))
        return asyncio.wrap_future(future)

    def _serve(self) -> None:
        while True:
            future, work = self._jobs.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 - it is for who waits
                    future.set_exception(error)
            del future, work


class SpoolFile:
    """The file of one body: written at its end, read anywhere. `write` and the reading run in threads."""

    def __init__(self, spool: Spool, file: IO[bytes] | None = None, size_bytes: int = 0) -> None:
        self._spool = spool
        self._directory = spool.config.directory
        self.pending: list[bytes] = []
        """What the next `write` appends."""
        self._reserved_bytes = 0
        self._lock = threading.Lock()
        self._file = file
        self._closed = False
        self.reserve(size_bytes)

    @property
    def descriptor(self) -> int | None:
        """See BodyFile."""
        # The loop asks, and a thread may hold the lock for as long as the disk hangs.
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._file.fileno() if self._file is not None else None
        finally:
            self._lock.release()

    def reserve(self, size_bytes: int) -> None:
        """Count bytes that are to be written."""
        self._reserved_bytes += size_bytes
        self._spool.total_bytes += size_bytes

    def write(self) -> None:
        """Append what is pending. Raises OSError; after that the file is of no use."""
        with self._lock:
            chunks, self.pending = self.pending, []
            if self._closed or not chunks:
                return
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
            for chunk in chunks:
                left = memoryview(chunk)
                while left:
                    left = left[self._file.write(left) :]

    def read(self, offset: int, size_bytes: int, done: Callable[[bytes | None], None]) -> None:
        """See BodyFile."""

        def finish(reading: "asyncio.Future[bytes]") -> None:
            error = reading.exception()
            if error is not None:
                log.warning("spool_failed", extra={"fields": {"why": str(error)}})
            done(None if error is not None else reading.result())

        self._spool.run(lambda: self._read(offset, size_bytes)).add_done_callback(finish)

    def close(self) -> None:
        """See BodyFile."""
        self._spool.total_bytes -= self._reserved_bytes
        self._reserved_bytes = 0
        self.pending = []
        self._spool.run(self._close)

    def _read(self, offset: int, size_bytes: int) -> bytes:
        with self._lock:
            return os.pread(self._file.fileno(), size_bytes, offset) if self._file is not None else b""

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            file, self._file = self._file, None
            if file is not None:
                # What the disk has not taken yet is no loss: nobody needs it any more.
                with contextlib.suppress(OSError):
                    file.close()


def probe(config: SpoolConfig) -> None:
    """Raises OSError when the directory cannot be used."""
    if config.directory:
        with tempfile.TemporaryFile(dir=config.directory, buffering=0) as file:
            file.write(b"x")
