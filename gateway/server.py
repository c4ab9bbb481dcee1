"""The sessions of the milter listeners: the only owner of sockets for mail.

Strategy: every connection is a `Driver`; the server counts them, closes those that stay silent too long with one sweep
over all instead of a timer each, and leaves in one of two ways: it hands its sessions over to the next process, or it
drains: stop accepting, let transactions finish, leave when a connection has been quiet between transactions, cut what
is left when the time is over. Files for new connections never run out: the bound on sessions follows the limit.
"""

import asyncio
import logging
import math
import resource
import socket
from collections.abc import Sequence
from pathlib import Path

from gateway.bounds import Admission, SessionBounds
from gateway.config import GatewayConfig
from gateway.driver import Driver
from gateway.handover import Incoming, Outgoing
from gateway.judge import Services
from gateway.listeners import BACKLOG
from gateway.snapshot import BrokenSnapshot

FILES_BESIDE_SESSIONS = 256
"""File descriptors for listeners, ingresses, logs and probes."""
SWEEP_S = 5.0
DRAIN_SWEEP_S = 0.1
DRAIN_QUIET_S = 1.0
"""While draining, a connection that has been quiet between transactions for this long is closed."""
HAND_OVER_SWEEP_S = 0.01
ANSWER_S = 0.25
"""A question whose answer takes longer than this at a handover is asked again by the next process."""
HAND_OVER_S = 3.0
"""A session that cannot be handed over for so long (an MTA that does not read) drains."""

log = logging.getLogger(__name__)


class Server:
    """All milter connections of this process."""

    def __init__(self, config: GatewayConfig, services: Services) -> None:
        self._listeners: list[asyncio.Server] = []
        self._unix_paths: list[Path] = []
        self._sessions: set[Driver] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._hurried = False
        self.draining = False
        self._files_max = resource.RLIM_INFINITY
        self._bounds = SessionBounds(config.sessions_max, config.stress_share, math.inf)
        self.configure(config, services)
        metrics = services.telemetry.metrics
        metrics.sessions.set_function(lambda: len(self._sessions))
        metrics.stress.set_function(lambda: self._bounds.stressed)
        metrics.held_bytes.set_function(lambda: services.held.total)
        metrics.spool_bytes.set_function(lambda: services.spool.total_bytes)

    @property
    def count(self) -> int:
        """Open sessions."""
        return len(self._sessions)

    def configure(self, config: GatewayConfig, services: Services) -> None:
        """Settings for the sessions that open from now on."""
        self._config = config
        self._services = services
        self._follow_file_limit()

    async def start(self, passed: Sequence[socket.socket], own: Sequence[socket.socket]) -> None:
        """Accept on listening sockets, passed by a service manager or our own."""
        for listening in (*passed, *own):
            await self._accept(listening)
        self._unix_paths = [Path(unix.getsockname()) for unix in own if unix.family == socket.AF_UNIX]
        self._sweeper = asyncio.create_task(self._sweep())

    async def resume(self, incoming: Incoming) -> bool:
        """Go on with a session of the process before; False when its state is of no use, and it is closed."""
        session, connection = self.driver(), incoming.connection
        try:
            if isinstance(incoming.saved, BrokenSnapshot):
                raise incoming.saved
            session.resume(incoming.saved, incoming.body_descriptor)
        except BrokenSnapshot as broken:
            log.warning("session_closed", extra={"fields": {"reason": "not_resumed", "why": str(broken)}})
            self._services.telemetry.metrics.closed.labels("not_resumed").inc()
            connection.close()
            return False
        connection.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: session, connection)
        return True

    async def hand_over(self, outgoing: Outgoing) -> None:
        """Stop accepting and give all sessions away; those that remain read on. Raises ManagerStuck."""
        self._stop_listening()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            while self._sessions and not (outgoing.full or self._hurried) and loop.time() - began_s < HAND_OVER_S:
                # Nothing new is begun from here on; what was accepted in the meantime is there after the pause.
                self._read(on=False)
                await asyncio.sleep(HAND_OVER_SWEEP_S)
                outgoing.give(list(self._sessions), asking=loop.time() - began_s > ANSWER_S)
        finally:
            self._read(on=True)

    async def drain(self, grace_s: float) -> None:
        """Stop accepting and leave when nothing is in flight any more, at the latest after `grace_s`."""
        self.draining = True
        self._stop_listening()
        for path in self._unix_paths:
            path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + grace_s
        while self._sessions and not self._hurried and loop.time() < until_s:
            self._close_quiet(loop.time())
            await asyncio.sleep(DRAIN_SWEEP_S)
        for session in list(self._sessions):
            session.close("drain_over")
        if self._sweeper is not None:
            self._sweeper.cancel()

    def hurry(self) -> None:
        """Leave now."""
        self._hurried = True

    def driver(self) -> Driver:
        """The protocol of one new connection."""
        return Driver(self._services, self._opened, self._gone)

    def sweep(self, now_s: float) -> None:
        """Close connections on which the MTA has fallen silent."""
        config = self._config
        for session in list(self._sessions):
            if session.frame_open_for_s(now_s) > config.read_timeout_s:
                session.close("read_timeout")
            elif session.silent_for_s(now_s) > config.idle_timeout_s:
                session.close("idle")

    def _close_quiet(self, now_s: float) -> None:
        for session in list(self._sessions):
            if session.between_transactions and session.silent_for_s(now_s) > DRAIN_QUIET_S:
                session.close("drained")

    def _opened(self, session: Driver) -> Admission:
        admission = Admission.SERVED if session.resumed else self._bounds.admit(len(self._sessions))
        if admission is Admission.CLOSED or (self.draining and not session.resumed):
            return Admission.CLOSED
        self._sessions.add(session)
        if admission is Admission.SHED:
            self._services.telemetry.metrics.shed.inc()
        self._note_stress()
        return admission

    def _gone(self, session: Driver) -> None:
        self._sessions.discard(session)
        self._note_stress()

    def _note_stress(self) -> None:
        if self._bounds.count(len(self._sessions)):
            stressed = self._services.link.stressed = self._bounds.stressed
            fields = {"sessions": len(self._sessions), "sessions_max": self._bounds.sessions_max}
            log.warning("stress_began" if stressed else "stress_ended", extra={"fields": fields})

    def _read(self, *, on: bool) -> None:
        for session in self._sessions:
            session.read(on=on)

    def _follow_file_limit(self) -> None:
        """A limit that was lowered from outside bounds the sessions: without a file, none could be accepted or told."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        config = self._config
        room = math.inf if limit == resource.RLIM_INFINITY else limit - FILES_BESIDE_SESSIONS
        bounds = SessionBounds(config.sessions_max, config.stress_share, room)
        bounds.stressed = self._bounds.stressed
        self._bounds = bounds
        self._note_stress()
        if limit != self._files_max and bounds.sessions_max < config.sessions_max:
            log.warning("sessions_bounded", extra={"fields": {"limit": limit, "sessions_max": bounds.sessions_max}})
        self._files_max = limit

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            self._follow_file_limit()
            self.sweep(loop.time())

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        create = loop.create_unix_server if listening.family == socket.AF_UNIX else loop.create_server
        self._listeners.append(await create(self.driver, sock=listening, backlog=BACKLOG))

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
