"""What is done to a cell: each fault is a small object that goes in and, where it can, comes out again."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from bench.stack import Stack
from tests.chaos.network import Network
from tests.chaos.switch import Weather

ORDERED_S = 120.0
ENDED_S = 30.0
"""Within which `tamis up` has to notice and to end."""


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


class Startable(Protocol):
    """A program that can be started again, where it was."""

    @property
    def pids(self) -> Sequence[int]:
        """Of all its processes."""

    def start(self) -> None:
        """Returns when it is back at work, or on its way."""


class Gone:
    """Programs that die and stay away until somebody starts them again."""

    def __init__(self, *servers: Startable) -> None:
        self._servers = servers

    def inject(self) -> None:
        for pid in [pid for server in self._servers for pid in server.pids]:
            with contextlib.suppress(ProcessLookupError):  # it went with its parent
                os.kill(pid, signal.SIGKILL)

    def heal(self) -> None:
        for server in self._servers:
            server.start()


class Weathered:
    """The network is slow, lossy or cut, and then fine again."""

    def __init__(self, network: Network, weather: Weather) -> None:
        self._network = network
        self._weather = weather

    def inject(self) -> None:
        self._network.set(self._weather)

    def heal(self) -> None:
        self._network.set(Weather())


class FullDisk:
    """Not a byte is left on a disk."""

    def __init__(self, disk: Path) -> None:
        self._filler = disk / "filler"

    def inject(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as filler:
            while filler.write(bytes(1 << 20)):
                pass
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            while filler.write(b"x"):
                pass

    def heal(self) -> None:
        self._filler.unlink()


class OtherTime:
    """The clock of the wall jumps by so many seconds, and later back."""

    def __init__(self, clock: Path, seconds: int) -> None:
        self._clock = clock
        self._seconds = seconds

    def inject(self) -> None:
        self._clock.write_text(f"{self._seconds}\n")

    def heal(self) -> None:
        self._clock.write_text("0\n")


class Ordered:
    """Something that an operator does, waits for, and perhaps takes back."""

    def __init__(self, command: Sequence[str], undo: Sequence[str] = ()) -> None:
        self._command = command
        self._undo = undo
        self._process: subprocess.Popen[bytes] | None = None

    def inject(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def heal(self) -> None:
        """Raises RuntimeError when the command says that it did not succeed."""
        if self._process is not None and self._process.wait(ORDERED_S):
            raise RuntimeError(f"{' '.join(self._command)}: exit code {self._process.returncode}")
        if self._undo:
            subprocess.run(self._undo, stdout=subprocess.DEVNULL, timeout=ORDERED_S, check=True)


class Crashed:
    """`tamis up` on its own machine loses what it cannot do without, ends, and a service manager runs it again."""

    def __init__(self, stack: Stack, find: Callable[[], Sequence[int]]) -> None:
        self._stack = stack
        self._killed = Killed(find)

    def inject(self) -> None:
        self._killed.inject()

    def heal(self) -> None:
        """Raises TimeoutExpired when it does not end."""
        self._stack.launch_again(ENDED_S)
