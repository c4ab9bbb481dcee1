import asyncio

import pytest

from gateway.metrics import Metrics
from gateway.ops import REQUEST_BYTES_MAX, OpsServer, respond


@pytest.mark.parametrize(
    ("line", "ready", "status"),
    [
        (b"GET /healthz HTTP/1.1", "no ingress", "200 OK"),
        (b"GET /readyz HTTP/1.1", "", "200 OK"),
        (b"GET /readyz?verbose HTTP/1.0", "", "200 OK"),
        (b"GET /readyz HTTP/1.1", "draining", "503 Service Unavailable"),
        (b"GET /metrics HTTP/1.1", "", "200 OK"),
        (b"HEAD /healthz HTTP/1.1", "", "200 OK"),
        (b"GET /nothing HTTP/1.1", "", "404 Not Found"),
        (b"POST /healthz HTTP/1.1", "", "405 Method Not Allowed"),
        (b"\xff\0 garbage", "", "400 Bad Request"),
        (b"", "", "400 Bad Request"),
    ],
)
def test_every_request_line_has_its_status(line: bytes, ready: str, status: str) -> None:
    assert respond(line, ready=ready, metrics=Metrics())[0] == status


def test_metrics_name_what_is_counted() -> None:
    metrics = Metrics()
    metrics.transactions["reject"].inc()
    _, kind, body = respond(b"GET /metrics HTTP/1.1", ready="", metrics=metrics)
    assert kind.startswith("text/plain")
    assert b'tamis_gateway_transactions_total{action="reject"} 1.0' in body
    assert b"tamis_gateway_end_of_message_seconds_bucket" in body


def test_why_the_gateway_is_not_ready_is_told() -> None:
    assert respond(b"GET /readyz HTTP/1.1", ready="no ingress", metrics=Metrics())[2] == b"no ingress\n"


EOF = b"the client has left"


class MemoryWriter:
    """What the listener writes to one client."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        return

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ([b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], b"HTTP/1.1 200 OK\r\n"),
        ([b"GET / HTTP/1.1\r\nA: " + b"x" * 2 * REQUEST_BYTES_MAX], b""),
        ([b"GET / HTTP/1.1\r\nA: " + b"x" * 2 * REQUEST_BYTES_MAX + b"\r\n\r\n"], b""),
        ([b"GET / HT", EOF], b""),
        ([b"GET / HT"], b""),
    ],
    ids=["a request", "an endless head", "a head that is too long", "a client that leaves", "a client that stalls"],
)
async def test_whatever_a_client_sends_its_connection_is_closed_without_an_exception(
    pieces: list[bytes], answer: bytes
) -> None:
    reader, writer = asyncio.StreamReader(limit=REQUEST_BYTES_MAX), MemoryWriter()
    for piece in pieces:
        if piece is EOF:
            reader.feed_eof()
        else:
            reader.feed_data(piece)
    await OpsServer(Metrics(), lambda: "")._serve(reader, writer)  # type: ignore[arg-type]
    assert writer.closed
    assert writer.written.startswith(answer)
    assert bool(writer.written) == bool(answer)
