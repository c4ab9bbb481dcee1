"""What is done to a cell: each fault is a small object that goes in and, where it can, comes out again."""

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from typing import Protocol

from tests.chaos.servers import Server


class Fault(Protocol):
    """Something that breaks."""

    def inject(self) -> None:
        """Break it."""

    def heal(self) -> None:
        """Undo what does not mend itself."""


class Killed:
    """SIGKILL; who looks after the processes starts them again."""

    def __init__(self, find: Callable[[], Sequence[int]]) -> None:
        self._find = find

    def inject(self) -> None:
        for pid in self._find():
            os.kill(pid, signal.SIGKILL)

    def heal(self) -> None:
        """Nothing: that is what is tested."""


class Stopped:
    """SIGSTOP, then SIGCONT for those that are still there: a machine that swaps, a disk that hangs, a long pause."""

    def __init__(self, find: Callable[[], Sequence[int]]) -> None:
        self._find = find
        self._stopped: list[int] = []

    def inject(self) -> None:
        self._stopped = list(self._find())
        for pid in self._stopped:
            os.kill(pid, signal.SIGSTOP)

    def heal(self) -> None:
        for pid in self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Gone:
    """Servers of others that die and stay away until somebody starts them again."""

    def __init__(self, *servers: Server) -> None:
        self._servers = servers

    def inject(self) -> None:
        for server in self._servers:
            os.kill(server.pid, signal.SIGKILL)

    def heal(self) -> None:
        for server in self._servers:
            server.start()
