"""Which processes a program has started, and which of them are left when it has ended."""

import contextlib
import time

import psutil


class Family:
    """A process and all that descend from it; look again before the end, whoever was seen once is remembered."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seen: set[psutil.Process] = set()
        self.look()

    def __len__(self) -> int:
        return len(self._seen)

    def look(self) -> None:
        """Remember who descends from the process now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._pid)
            self._seen |= {root, *root.children(recursive=True)}

    def alive(self) -> list[psutil.Process]:
        """Those that were seen and still run."""
        return [process for process in self._seen if _runs(process)]

    def left(self, grace_s: float) -> list[str]:
        """Names of those that still run when the grace is over; they are killed then."""
        deadline_s = time.monotonic() + grace_s
        while (alive := self.alive()) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        names = []
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                names.append(f"{process.name()} ({process.pid})")
                process.kill()
        return sorted(names)


def _runs(process: psutil.Process) -> bool:
    try:
        # is_running() knows a process that only has the same number.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
