"""/healthz, /readyz and /metrics for operators: as much HTTP/1.1 as a probe needs, one request per connection."""

import asyncio
import contextlib
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.metrics import Metrics

REQUEST_BYTES_MAX = 8192
REQUEST_S = 5.0

Response = tuple[str, str, bytes]
_TEXT = "text/plain; charset=utf-8"


def respond(request_line: bytes, *, ready: str, metrics: Metrics) -> Response:
    """Status, content type and body for a request line; `ready` is empty or says why not. Pure but for the metrics."""
    parts = request_line.split()
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
        return "400 Bad Request", _TEXT, b"bad request\n"
    method, path = parts[0], parts[1].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        return "405 Method Not Allowed", _TEXT, b"only GET\n"
    if path == b"/healthz":
        return "200 OK", _TEXT, b"ok\n"
    if path == b"/readyz":
        return ("503 Service Unavailable", _TEXT, f"{ready}\n".encode()) if ready else ("200 OK", _TEXT, b"ready\n")
    if path == b"/metrics":
        return "200 OK", CONTENT_TYPE_LATEST, generate_latest(metrics.registry)
    return "404 Not Found", _TEXT, b"not found\n"


class OpsServer:
    """The listener."""

    def __init__(self, metrics: Metrics, why_not_ready: Callable[[], str]) -> None:
        self._metrics = metrics
        self._why_not_ready = why_not_ready

    async def start(self, host: str, port: int) -> str:
        """Listen; returns host:port as bound. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=REQUEST_BYTES_MAX)
        bound = self._server.sockets[0].getsockname()
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that leaves, stalls, or sends more than a probe would is not worth a line.
        with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                request_line = head.partition(b"\r\n")[0]
                status, kind, body = respond(request_line, ready=self._why_not_ready(), metrics=self._metrics)
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                )
                if not request_line.startswith(b"HEAD"):
                    writer.write(body)
                await writer.drain()
        writer.close()
