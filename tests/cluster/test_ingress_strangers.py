"""Who connects to an ingress and is no gateway: dropped soon, and the others notice nothing."""

import asyncio
import socket
import time

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, insecure_channel

from cluster.ingress import service
from cluster.ingress.service import serve
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1.filter_service_pb2_grpc import FilterServiceStub
from tests.cluster.session_bench import Bench
from wire.tls import TlsConfig

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 100_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"EHLO stranger\r\n",
    ],
)
async def test_who_is_no_gateway_is_dropped_and_the_others_go_on(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**dict(service._SERVER_OPTIONS), "grpc.server_handshake_timeout_ms": 500}
    monkeypatch.setattr(service, "_SERVER_OPTIONS", tuple(options.items()))
    server, port = await serve(Bench().hall, "127.0.0.1", 0, TlsConfig())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    started_s = time.monotonic()
    try:
        async with asyncio.timeout(10):
            while await reader.read(10_000):
                pass
    except ConnectionResetError:
        pass
    assert time.monotonic() - started_s < 5
    writer.close()
    async with insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(AioRpcError) as caught:
            await FilterServiceStub(channel).Scan(pb.ScanRequest(), timeout=4000)
    assert caught.value.code() is StatusCode.INVALID_ARGUMENT
    await server.stop(0)


async def test_connections_of_strangers_are_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**dict(service._SERVER_OPTIONS), "grpc.max_allowed_incoming_connections": 10}
    monkeypatch.setattr(service, "_SERVER_OPTIONS", tuple(options.items()))
    server, port = await serve(Bench().hall, "127.0.0.1", 0, TlsConfig())
    strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
    closed = 0
    deadline_s = time.monotonic() + 4
    while closed < 20 and time.monotonic() < deadline_s:
        await asyncio.sleep(0.1)
        closed = sum(_is_closed(stranger) for stranger in strangers)
    assert 20 <= closed < 30
    for stranger in strangers:
        stranger.close()
    await server.stop(0)


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
