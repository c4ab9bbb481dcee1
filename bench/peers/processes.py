"""Foreign servers: started in the foreground, waited for until they are ready, stopped with all their children."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.family import Family

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


class Missing(Exception):
    """A program is not installed; the text says which and what brings it."""


class StartFailed(Exception):
    """A server did not get ready; the text holds the end of its output."""


def program(name: str) -> str:
    """Path of a Debian program. Raises Missing."""
    path = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    if path is None:
        raise Missing(f"{name} is not installed: tests/services/install peers")
    return path


def free_port() -> int:
    """A port that was free just now, for TCP and UDP on loopback."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                udp.bind(tcp.getsockname())
                return int(tcp.getsockname()[1])


class Server:
    """One server in the foreground; its output goes to NAME.log in `directory`."""

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as log:
            # In our own session: with a scheduling group of its own each would get as much as everybody else here.
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.pid = self._process.pid
        self._name = name
        self._family = Family(self.pid)

    def wait_listening(self, port: int) -> None:
        """Until the TCP port takes connections. Raises StartFailed."""
        self.wait_until(lambda: _takes_connections(port), f"{port} takes connections")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Until the condition holds. Raises StartFailed."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise StartFailed(f"{self._name}: not so that {what}: {self.tail}")
            time.sleep(0.05)

    @property
    def tail(self) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-1500:]

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to whatever is left of it and its children."""
        self._family.look()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._family.left(1.0)


def _takes_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
