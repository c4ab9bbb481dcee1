"""Milter connections from one process to the next through the service manager's file descriptor store.

Strategy: an MTA keeps its milter connection for a whole SMTP session and answers a closed one with 451, so a restart
must close none. The old process stops reading, gives each socket to the manager as soon as its state is a value, and
at last one file with all states; the next process finds both among the files it is started with and matches them by
the sockets' cookies. What the MTA sends meanwhile waits in the kernel. A socket is given away before its state here is
dropped: if the manager does not take it, its session simply goes on here.
"""

import logging
import os
import socket
import sys
from asyncio.trsock import TransportSocket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from gateway import snapshot
from gateway.driver import Driver
from gateway.service_manager import FILES_PER_MESSAGE, ManagerStuck, PassedFile, ServiceManager
from gateway.snapshot import BrokenSnapshot, SavedConnection

SESSIONS = "tamis"
"""Names of the files in the store. Of this one there are many in LISTEN_FDNAMES, and the kernel takes 128 kB of it."""
FILES_MAX = 20_000
BODY = "tamis-body-"
"""And the cookie of the connection: the file of a body that is not in memory."""
SNAPSHOT = "tamis-snapshot"
_SO_COOKIE = 57  # <asm-generic/socket.h>; Python has no name for it
_COOKIE_BYTES = 8

log = logging.getLogger(__name__)


class Outgoing:
    """What this process hands over. Methods raise ManagerStuck; what was given before stays given."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._states = os.fdopen(os.memfd_create(SNAPSHOT), "wb")
        self._states.write(snapshot.head())
        self.given = 0
        self._room = min(manager.stored_files_max, FILES_MAX) - 1
        """In the store, beside the file with the states."""

    def give(self, sessions: Iterable[Driver], *, asking: bool) -> None:
        """Give away those that can be (`Driver.snapshot`): as many as the store has room for and a message takes."""
        batch: list[Driver] = []
        for session in sessions:
            if self.full or len(batch) >= FILES_PER_MESSAGE:
                break
            session.read(on=False)
            saved, body = session.snapshot(asking=asking), session.body_file
            descriptor = body.descriptor if body is not None else None
            busy = body is not None and descriptor is None
            if saved is not None and not busy:
                cookie = _cookie(session.socket)
                self._states.write(snapshot.record(cookie, saved))
                self._room -= 1
                if descriptor is not None:
                    self._manager.store(f"{BODY}{cookie}", [descriptor])
                    self._room -= 1
                batch.append(session)
        if batch:
            self._manager.store(SESSIONS, [session.socket.fileno() for session in batch])
            self.given += len(batch)
            for session in batch:
                session.leave()

    @property
    def full(self) -> bool:
        """The store takes no more."""
        return self._room < 2

    def finish(self) -> None:
        """Give the states, and wait until the manager has everything."""
        with self._states as states:
            if self.given:
                states.flush()
                self._manager.store(SNAPSHOT, [states.fileno()])
                self._manager.barrier()


@dataclass(frozen=True, slots=True)
class Incoming:
    """One connection that came from the process before."""

    connection: socket.socket
    saved: SavedConnection | BrokenSnapshot
    """Its state, or why there is none."""
    body_descriptor: int | None = None
    """The file of its body, if that is not in memory."""


def take_over(files: Sequence[PassedFile], manager: ServiceManager) -> Iterator[Incoming]:
    """The connections among the files passed to us; the store forgets them."""
    opened = [socket.socket(fileno=file.descriptor) for file in files if file.name == SESSIONS]
    sockets = {_cookie(connection): connection for connection in opened}
    bodies = {file.name: file.descriptor for file in files if file.name.startswith(BODY)}
    if sockets:
        _forget((SESSIONS, SNAPSHOT, *bodies), manager)
    for descriptor in [file.descriptor for file in files if file.name == SNAPSHOT]:
        with os.fdopen(descriptor, "rb") as states:
            states.seek(0)
            for cookie, saved in _states(states):
                if cookie in sockets:
                    body = bodies.pop(f"{BODY}{cookie}", None) if isinstance(saved, SavedConnection) else None
                    yield Incoming(sockets.pop(cookie), saved, body)
    for unknown in sockets.values():
        yield Incoming(unknown, BrokenSnapshot("no state came with it"))
    for descriptor in bodies.values():
        os.close(descriptor)


def _forget(names: Iterable[str], manager: ServiceManager) -> None:
    """From here on a connection that we close is closed, unless the manager is stuck: then it keeps a copy."""
    try:
        for name in names:
            manager.forget(name)
    except ManagerStuck as stuck:
        log.error("takeover_failed", extra={"fields": {"why": str(stuck)}})  # noqa: TRY400 - its text says all


def listeners(files: Sequence[PassedFile]) -> list[socket.socket]:
    """The listening sockets among the files passed to us (socket activation); what nobody knows is closed."""
    found = []
    for file in files:
        if file.name in (SESSIONS, SNAPSHOT) or file.name.startswith(BODY):
            continue
        try:
            passed = socket.socket(fileno=file.descriptor)
            listening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            listening = 0
        if listening:
            found.append(passed)
        else:
            log.warning("unknown_file", extra={"fields": {"name": file.name}})
            os.close(file.descriptor)
    return found


def _states(file: BinaryIO) -> Iterator[tuple[int, SavedConnection | BrokenSnapshot]]:
    try:
        for cookie, encoded in snapshot.records(file):
            try:
                yield cookie, snapshot.connection_of(encoded)
            except BrokenSnapshot as broken:
                yield cookie, broken
    except BrokenSnapshot as broken:
        log.error("snapshot_broken", extra={"fields": {"why": str(broken)}})  # noqa: TRY400 - its text says all


def _cookie(connection: socket.socket | TransportSocket) -> int:
    return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, _COOKIE_BYTES), sys.byteorder)
