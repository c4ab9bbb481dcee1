"""Processes that `tamis up` starts: tied to its life, restarted when they die, and none left behind at the end.

A child is started through a one-line tether that asks the kernel for SIGKILL when its parent dies and then becomes
the program, so even a killed `up` leaves nothing running; a warden looks after those Ray processes that would wait a
minute for a dead Ray. While `up` lives it is the reaper of all its descendants (PR_SET_CHILD_SUBREAPER): whoever loses
its own parent becomes its child and is found at the end.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TETHER = (
    f"import ctypes, os, sys; ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGKILL)}); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)
# Waits until nobody holds the other end of its standard input any more, that is, until `up` is gone; then kills those
# of its session that have a file open below the directories, until none is left. A log shipper is of another session.
_WARDEN = """
import glob, os, signal, sys, time
directories = tuple(os.path.join(directory, "") for directory in sys.argv[1:])
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.stdin.buffer.read()
def ours(pid):
    try:
        if pid == os.getpid() or os.getsid(pid) != os.getsid(0):
            return False
    except OSError:
        return False
    for fd in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            if os.readlink(fd).startswith(directories):
                return True
        except OSError:
            pass
    return False
while pids := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if ours(pid)]:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    time.sleep(0.2)
"""
_POLL_S = 0.02
_OF_THE_MANAGER = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "FDSTORE")


class Child:
    """One program. Start it from the main thread: the kernel ties it to the thread that forked."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.command = tuple(command)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run the program; its output goes where ours goes."""
        tethered = [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *self.command]
        # A service manager above us watches over us, not over our children.
        environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_MANAGER}
        self._process = subprocess.Popen(tethered, stdin=subprocess.DEVNULL, env=environment)  # noqa: S603  our own programs

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process is not None else 0

    def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after the grace."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Warden:
    """Outlives a killed `up` and kills what still works in its directories."""

    def __init__(self, *directories: Path) -> None:
        command = [sys.executable, "-I", "-S", "-c", _WARDEN, *map(str, directories)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603  our own program

    def dismiss(self) -> None:
        """Nothing is left to look after."""
        self._process.kill()
        self._process.wait()


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_descendants(grace_s: float) -> list[str]:
    """Wait for what is left below this process, then kill it; returns the names of those that had to be killed."""
    deadline_s = time.monotonic() + grace_s
    while _descendants() and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    killed: list[str] = []
    while left := _descendants():
        for pid, name in left.items():
            killed.append(name)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    return killed


def _descendants() -> dict[int, str]:
    """Living processes below this one, by pid; the dead among our own children are reaped on the way."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(errors="replace")
        except OSError:
            continue  # It ended meanwhile.
        # pid (name) state ppid ...; the name may hold anything, the last parenthesis ends it (proc(5)).
        name, _, rest = text.partition("(")[2].rpartition(")")
        state, parent = rest.split()[:2]
        if state != "Z":
            parents[int(stat.parent.name)] = int(parent)
            names[int(stat.parent.name)] = name
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return {pid: names[pid] for pid in below - {os.getpid()}}
