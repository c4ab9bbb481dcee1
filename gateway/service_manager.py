"""The service manager above this process, systemd or its like: what it hands us, what we tell it.

Strategy: systemd's own protocols, which are a few lines each (sd_listen_fds(3), sd_notify(3)). News are datagrams that
may be lost (a watchdog's next ping comes anyway); files to keep are sent with waiting, and `barrier` tells when the
manager has them. Without a manager every method does nothing.
"""

import array
import asyncio
import os
import select
import socket
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

FIRST_FILE = 3
"""SD_LISTEN_FDS_START."""
FILES_PER_MESSAGE = 200
"""The kernel takes 253 files in one message (SCM_MAX_FD)."""
STORE_S = 5.0
"""A manager that does not take a message for this long is stuck."""


class ManagerStuck(Exception):
    """The service manager does not take what it is told."""


@dataclass(frozen=True, slots=True)
class PassedFile:
    """A file that the manager opened or kept for us; `name` is its FileDescriptorName= or FDNAME=."""

    name: str
    descriptor: int


def passed_files(environment: MutableMapping[str, str], pid: int) -> list[PassedFile]:
    """The files of LISTEN_FDS, closed on exec; the variables are removed, since a child has none of them."""
    count_text = environment.pop("LISTEN_FDS", "")
    wanted_pid = environment.pop("LISTEN_PID", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if wanted_pid != str(pid) or not count_text.isdecimal():
        return []
    files = []
    for number in range(int(count_text)):
        os.set_inheritable(FIRST_FILE + number, False)
        files.append(PassedFile(names[number] if number < len(names) else "", FIRST_FILE + number))
    return files


class ServiceManager:
    """NOTIFY_SOCKET and what the manager promised beside it."""

    def __init__(self, notify_address: str = "", watchdog_s: float = 0.0, stored_files_max: int = 0) -> None:
        self.watchdog_s = watchdog_s
        """It kills us when it hears nothing for so long; 0 = it does not watch."""
        self.stored_files_max = stored_files_max if notify_address else 0
        """How many files it keeps for the next process; 0 = none."""
        self._socket: socket.socket | None = None
        if notify_address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # An abstract address is written with @ for its NUL.
            self._socket.connect("\0" + notify_address[1:] if notify_address[0] == "@" else notify_address)
            self._socket.setblocking(False)

    @classmethod
    def of_environment(cls, environment: MutableMapping[str, str], pid: int) -> "ServiceManager":
        """As the environment says; the variables are removed. Raises OSError when the manager cannot be reached.

        FDSTORE, the size of the file descriptor store, is set by systemd 254 and later; before, our unit sets it.
        """
        notify_address = environment.pop("NOTIFY_SOCKET", "")
        watchdog_pid = environment.pop("WATCHDOG_PID", str(pid))
        watchdog_us = environment.pop("WATCHDOG_USEC", "")
        stored = environment.pop("FDSTORE", "")
        watched = watchdog_pid == str(pid) and watchdog_us.isdecimal()
        return cls(notify_address, int(watchdog_us) / 1e6 if watched else 0.0, int(stored) if stored.isdecimal() else 0)

    def tell(self, *assignments: str) -> None:
        """News such as READY=1 or STATUS=...; lost when the manager is busy or gone."""
        if self._socket is not None:
            try:
                self._socket.send("\n".join(assignments).encode())
            except OSError:
                # The manager restarts itself, or its queue is full: what it must know is told again or with waiting.
                return

    def tell_ready(self, status: str) -> None:
        """Started, or reloaded."""
        self.tell("READY=1", f"STATUS={status}")

    def tell_reloading(self) -> None:
        """A reload begins; `tell_ready` ends it."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def store(self, name: str, descriptors: Sequence[int]) -> None:
        """Have files kept under one name. Raises ManagerStuck."""
        for start in range(0, len(descriptors), FILES_PER_MESSAGE):
            piece = descriptors[start : start + FILES_PER_MESSAGE]
            self._send_with_files(f"FDSTORE=1\nFDNAME={name}", piece)

    def forget(self, name: str) -> None:
        """Have the files of this name closed: this process has them now. Raises ManagerStuck."""
        self._send_with_files(f"FDSTOREREMOVE=1\nFDNAME={name}", ())

    def barrier(self) -> None:
        """Wait until the manager has read everything that it was told. Raises ManagerStuck."""
        reading, writing = os.pipe()
        try:
            try:
                self._send_with_files("BARRIER=1", (writing,))
            finally:
                os.close(writing)
            watch = select.poll()
            watch.register(reading, 0)
            if not watch.poll(STORE_S * 1000):
                raise ManagerStuck(f"no answer to BARRIER within {STORE_S:g} s")
        finally:
            os.close(reading)

    async def keep_watchdog_quiet(self) -> None:
        """Tell it at half of its time that the event loop turns; a loop that is stuck is killed."""
        while self.watchdog_s:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 2)

    def _send_with_files(self, text: str, descriptors: Sequence[int]) -> None:
        if self._socket is None:
            return
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self._socket.settimeout(STORE_S)
        try:
            self._socket.sendmsg([text.encode()], rights)
        except OSError as error:
            raise ManagerStuck(f"{text.partition('=')[0]}: {error.strerror or error}") from error
        finally:
            self._socket.setblocking(False)
