"""The milter listeners and the sessions they opened: the only owner of sockets for mail.

Strategy: every connection is a `Driver`; the server counts them, closes those that stay silent too long with one sweep
over all instead of a timer each, and drains: stop accepting, let transactions finish, leave when a connection has been
quiet between transactions, cut what is left when the time is over.
"""

import asyncio
import errno
import logging
import socket
from pathlib import Path

from gateway.config import GatewayConfig, unix_mode
from gateway.driver import Driver
from gateway.judge import Services
from wire.milter import TcpAddress, UnixAddress, parse_listen

BACKLOG = 4096
SWEEP_S = 5.0
DRAIN_SWEEP_S = 0.1
DRAIN_QUIET_S = 1.0
"""While draining, a connection that has been quiet between transactions for this long is closed."""

log = logging.getLogger(__name__)


class ListenError(Exception):
    """An address cannot be listened on; the text is one line for the operator."""


class Server:
    """All milter connections of this process."""

    def __init__(self, config: GatewayConfig, services: Services) -> None:
        self._config = config
        self._services = services
        self._listeners: list[asyncio.Server] = []
        self._unix_paths: list[Path] = []
        self._sessions: set[Driver] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self.draining = False
        services.telemetry.metrics.sessions.set_function(lambda: len(self._sessions))
        services.telemetry.metrics.held_bytes.set_function(lambda: services.held.total)

    async def start(self) -> list[str]:
        """Listen on all addresses; returns them with their real ports. Raises ListenError."""
        bound = [await self._listen(text) for text in self._config.listen]
        self._sweeper = asyncio.create_task(self._sweep())
        return bound

    async def drain(self, grace_s: float) -> None:
        """Stop accepting and leave when nothing is in flight any more, at the latest after `grace_s`."""
        self.draining = True
        for listener in self._listeners:
            listener.close()
        for path in self._unix_paths:
            path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + grace_s
        while self._sessions and loop.time() < until_s:
            self._close_quiet(loop.time())
            await asyncio.sleep(DRAIN_SWEEP_S)
        for session in list(self._sessions):
            session.close("drain_over")
        if self._sweeper is not None:
            self._sweeper.cancel()

    def driver(self) -> Driver:
        """The protocol of one new connection."""
        return Driver(self._services, self._opened, self._sessions.discard)

    def sweep(self, now_s: float) -> None:
        """Close connections on which the MTA has fallen silent."""
        config = self._config
        for session in list(self._sessions):
            silent_s = session.silent_for_s(now_s)
            if silent_s > config.read_timeout_s and session.mid_frame:
                session.close("read_timeout")
            elif silent_s > config.idle_timeout_s:
                session.close("idle")

    def _close_quiet(self, now_s: float) -> None:
        for session in list(self._sessions):
            if session.between_transactions and session.silent_for_s(now_s) > DRAIN_QUIET_S:
                session.close("drained")

    def _opened(self, session: Driver) -> bool:
        if self.draining or len(self._sessions) >= self._config.sessions_max:
            return False
        self._sessions.add(session)
        return True

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep(loop.time())

    async def _listen(self, text: str) -> str:
        address = parse_listen(text)
        loop = asyncio.get_running_loop()
        try:
            if isinstance(address, UnixAddress):
                path = Path(address.path)
                _remove_dead_socket(path)
                listener = await loop.create_unix_server(self.driver, address.path, backlog=BACKLOG)
                self._unix_paths.append(path)
                _set_mode(path, self._config.socket_mode)
                bound = str(address)
            else:
                listener = await loop.create_server(self.driver, address.host, address.port, backlog=BACKLOG)
                bound = str(TcpAddress(address.host, listener.sockets[0].getsockname()[1]))
        except OSError as error:
            raise ListenError(f"{text}: cannot listen: {error.strerror or error}") from error
        self._listeners.append(listener)
        return bound


def _set_mode(path: Path, mode: str) -> None:
    path.chmod(unix_mode(mode))


def _remove_dead_socket(path: Path) -> None:
    """Remove a socket file that nobody listens on any more. Raises OSError when somebody does."""
    if not path.exists():
        return
    if not path.is_socket():
        raise FileExistsError(errno.EEXIST, "exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "Address already in use")
