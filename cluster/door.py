"""Where a replica takes connections: plain ones on the loopback of its node, from other nodes by mutual TLS.

Strategy: connections are accepted here, one by one, and not by asyncio's server, so that every stranger ends in one
place with one line and costs a bounded amount: so many handshakes at once, so long for each, so many connections in
all, and so long until the first frame. An ingress sends an empty one at once, so who stays silent is none.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

from cluster.frame_stream import FrameStream
from cluster.tls import StreamTls

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 4096
"""Every ingress of the cell has one."""
HANDSHAKES_MAX = 256
"""Connections that have not shown who they are."""
HANDSHAKE_S = 5.0
FIRST_FRAME_S = 5.0
_ACCEPT_RETRY_S = 0.1


class Door:
    """One listening port. `open`, then the address is known; `close` lets nobody in any more."""

    def __init__(self, open_stream: Callable[[], FrameStream], tls: StreamTls | None = None) -> None:
        """`open_stream` gives a stream for each connection that came so far."""
        self._open_stream = open_stream
        self._tls = tls
        self._connections = 0
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None

    def open(self, host: str) -> str:
        """Listen on a free port of this address; returns host:port. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=1024)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))
        port = self._listener.getsockname()[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        """Stop listening; streams that are open stay."""
        for task in (*self._handshakes, self._accepting):
            if task is not None:
                task.cancel()
        if self._listener is not None:
            self._listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listener)
            except OSError as error:
                # Out of files, or the peer has gone already.
                log.warning("accept_failed error=%s", error.strerror)
                await asyncio.sleep(_ACCEPT_RETRY_S)
                continue
            if self._connections >= CONNECTIONS_MAX or len(self._handshakes) >= HANDSHAKES_MAX:
                _drop(peer, "too many connections")
                connection.close()
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections += 1
            handshake = asyncio.create_task(self._let_in(connection, str(peer[0])))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _let_in(self, connection: socket.socket, peer: str) -> None:
        loop = asyncio.get_running_loop()
        context = self._tls.server if self._tls is not None else None
        limit_s = HANDSHAKE_S if context is not None else None
        frames = self._open_stream()
        frames.lost.add_done_callback(self._left)
        try:
            await loop.connect_accepted_socket(lambda: frames, connection, ssl=context, ssl_handshake_timeout=limit_s)
        except OSError as error:
            # ssl.SSLError and the loop's ConnectionAbortedError are OSErrors.
            _drop(peer, _reason(error))
            frames.close()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_FRAME_S):
                await frames.heard
            return
        _drop(peer, "silent")
        frames.close()

    def _left(self, _lost: object) -> None:
        self._connections -= 1


def _drop(peer: object, why: str) -> None:
    log.warning("stranger_dropped peer=%s why=%s", peer, why)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "handshake failed").replace("_", " ").lower()
    return error.strerror or str(error) or type(error).__name__
