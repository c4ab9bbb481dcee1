"""The file of the report: JSON lines, written by a thread of its own, of bounded size.

Strategy: the loop of the mail only puts lines into a bounded queue, so that a slow or hanging disk costs lines of the
report and nothing else. When the file has half of what it may have it becomes the one before (`.1`), which is
overwritten the next time. A disk that does not write is told once.
"""

import logging
import queue
import threading
from pathlib import Path

import msgspec

from cluster.mirror.difference import Line

log = logging.getLogger(__name__)

QUEUE_MAX = 10_000
BEFORE = ".1"


class ReportFile:
    """`record` takes a line at once; `close` writes what waits."""

    def __init__(self, path: Path, bytes_max: int, queue_max: int = QUEUE_MAX) -> None:
        self._path = path
        self._half_bytes = bytes_max // 2
        self._queue: queue.Queue[Line | None] = queue.Queue(queue_max)
        self._thread = threading.Thread(target=self._run, name="mirror-report", daemon=True)
        self._failing = False
        self.lost = 0
        """Lines that were not written: the disk was too slow, or does not write."""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def record(self, line: Line) -> None:
        """Queue a line; without room it is lost."""
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.lost += 1

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits, as far as that is possible in this time."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            lines = [line]
            last = False
            while not self._queue.empty():
                more = self._queue.get()
                last = last or more is None
                if more is not None:
                    lines.append(more)
            self._write(lines)
            if last:
                return

    def _write(self, lines: list[Line]) -> None:
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size + len(text) > self._half_bytes:
                self._path.replace(f"{self._path}{BEFORE}")
            with self._path.open("ab") as file:
                file.write(text)
        except OSError as error:
            self.lost += len(lines)
            if not self._failing:
                log.warning("mirror_report_not_written path=%s why=%s", self._path, error.strerror)
            self._failing = True
            return
        self._failing = False
