"""A stand-in for systemd, for tests and benches: one service, its listening sockets, its notify socket, its fd store.

Strategy: one thread owns the process and the notify socket, as PID 1 does: it takes messages only from the process that
runs, keeps files under their FDNAME, closes the pipe of a BARRIER, kills a service whose watchdog is silent, and starts
it again whenever it ends (Restart=always), with the listening sockets and everything stored as LISTEN_FDS.
"""

import array
import fcntl
import os
import select
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

TURN_S = 0.005
FILES_PER_MESSAGE = 253
# The pid of the service is known only to itself: sh puts it where sd_listen_fds(3) looks.
SET_PID = 'LISTEN_PID=$$ exec "$@"'


class ManagedService:
    """Context manager: the service runs, and runs again whenever it ends."""

    def __init__(  # noqa: PLR0913 - what a unit file says
        self,
        command: Sequence[str],
        listeners: Mapping[str, socket.socket],
        log: Path,
        *,
        watchdog_s: float = 0.0,
        stored_files_max: int = 8192,
        cwd: Path | None = None,
    ) -> None:
        self.pid = 0
        self.starts = 0
        self.ready = 0
        """How often READY=1 was said."""
        self.said: list[str] = []
        """Every assignment heard, STATUS and WATCHDOG included."""
        self.exits: list[int] = []
        self.store: list[tuple[str, int]] = []
        """Name and our descriptor of each stored file."""
        self._command = command
        self._listeners = dict(listeners)
        self._log = log
        self._watchdog_s = watchdog_s
        self._stored_files_max = stored_files_max
        self._cwd = cwd or Path.cwd()
        self._dir = Path(tempfile.mkdtemp(prefix="tamis-manager-", dir="/tmp"))
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._notify.bind(str(self._dir / "notify"))
        self._heard_s = 0.0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.wait_ready(1)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        os.kill(self.pid, signal.SIGKILL)
        self._thread.join(10)
        for _, descriptor in self.store:
            os.close(descriptor)
        self._notify.close()
        (self._dir / "notify").unlink()
        self._dir.rmdir()

    def signal(self, number: signal.Signals) -> None:
        """As `systemctl kill --kill-whom=main`."""
        os.kill(self.pid, number)

    def restart(self, timeout_s: float = 30.0) -> float:
        """As `systemctl restart`; seconds from the signal until the next process is ready."""
        began_s = time.monotonic()
        wanted = self.starts + 1
        self.signal(signal.SIGTERM)
        self._wait(lambda: self.starts >= wanted, timeout_s)
        self.wait_ready(wanted, timeout_s)
        return time.monotonic() - began_s

    def wait_ready(self, times: int, timeout_s: float = 30.0) -> None:
        """Until the service has been ready so often."""
        self._wait(lambda: self.ready >= times, timeout_s)

    def _wait(self, condition: "object", timeout_s: float) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):  # type: ignore[arg-type]
                raise TimeoutError(f"the service does not get there: {self._log.read_text()[-2000:]}")

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._spawn()
        watch = select.poll()
        watch.register(self._notify, select.POLLIN)
        while True:
            for _ in watch.poll(TURN_S * 1000):
                self._hear()
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            with self._changed:
                if ended:
                    self.exits.append(os.waitstatus_to_exitcode(status))
                    self._drop_messages()
                    if self._closing:
                        return
                    self._spawn()
                elif self._watchdog_s and self.ready and time.monotonic() - self._heard_s > self._watchdog_s:
                    os.kill(self.pid, signal.SIGABRT)
                    os.kill(self.pid, signal.SIGCONT)
                    self._heard_s = time.monotonic()
                self._changed.notify_all()

    def _spawn(self) -> None:
        passed = [(name, listening.fileno()) for name, listening in self._listeners.items()] + self.store
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self._dir / "notify"),
            "FDSTORE": str(self._stored_files_max),
            "LISTEN_FDS": str(len(passed)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in passed),
        }
        if self._watchdog_s:
            environment["WATCHDOG_USEC"] = str(int(self._watchdog_s * 1e6))
        # First out of the way of the numbers they are to have.
        above = 3 + len(passed)
        moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above) for _, descriptor in passed]
        actions: list[tuple[object, ...]] = [
            (os.POSIX_SPAWN_OPEN, 2, str(self._log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        ]
        actions += [(os.POSIX_SPAWN_DUP2, descriptor, 3 + number) for number, descriptor in enumerate(moved)]
        # As in systemd, the store keeps its copies until the service says FDSTOREREMOVE.
        shell = ["/bin/sh", "-c", f"cd {self._cwd} && {SET_PID}", "sh", *self._command]
        self.pid = os.posix_spawn(shell[0], shell, environment, file_actions=actions)
        for descriptor in moved:
            os.close(descriptor)
        self._heard_s = time.monotonic()
        self.starts += 1

    def _hear(self) -> None:
        descriptors = array.array("i")
        room = socket.CMSG_SPACE(FILES_PER_MESSAGE * descriptors.itemsize) + socket.CMSG_SPACE(12)
        message, ancillary, _, _ = self._notify.recvmsg(65_536, room, socket.MSG_DONTWAIT)
        sender = 0
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                sender = struct.unpack("3i", data)[0]
        with self._changed:
            if sender == self.pid:
                self._take(dict(line.split("=", 1) for line in message.decode().splitlines()), descriptors)
            else:
                _close(descriptors)
            self._changed.notify_all()

    def _take(self, assignments: dict[str, str], descriptors: array.array) -> None:  # type: ignore[type-arg]
        self.said += [f"{key}={value}" for key, value in assignments.items()]
        self._heard_s = time.monotonic() if "WATCHDOG" in assignments else self._heard_s
        name = assignments.get("FDNAME", "stored")
        if "FDSTOREREMOVE" in assignments:
            _close([descriptor for known, descriptor in self.store if known == name])
            self.store = [(known, descriptor) for known, descriptor in self.store if known != name]
        if "FDSTORE" in assignments:
            for descriptor in descriptors:
                if len(self.store) < self._stored_files_max:
                    self.store.append((name, descriptor))
                else:
                    os.close(descriptor)
        else:
            # Of a BARRIER this is the answer.
            _close(descriptors)
        if "READY" in assignments:
            self.ready += 1
            self._heard_s = time.monotonic()

    def _drop_messages(self) -> None:
        """What a process said last and nobody had read when it ended is lost."""
        while True:
            try:
                _, ancillary, _, _ = self._notify.recvmsg(65_536, 4096, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    _close(array.array("i", data))


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
