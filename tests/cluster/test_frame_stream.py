"""cluster/frame_stream.py over loopback: frames both ways, and an end to what is no conversation."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from google.protobuf.message import DecodeError

from cluster.frame_stream import FrameStream
from wire.stream import frame_head

pytestmark = pytest.mark.live


class Peer:
    """One end, with what it heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._more = asyncio.Event()
        self.frames = FrameStream(self._receive)

    def _receive(self, payload: bytes) -> None:
        if payload == b"nonsense":
            raise DecodeError
        self.heard.append(payload)
        self._more.set()

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(5):
            while len(self.heard) < count:
                self._more.clear()
                await self._more.wait()
        return self.heard


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Peer, Peer, asyncio.Transport]]:
    """(client, server, the client's transport)."""
    loop = asyncio.get_running_loop()
    client, server = Peer(), Peer()
    listener = await loop.create_server(lambda: server.frames, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(lambda: client.frames, *listener.sockets[0].getsockname())
    yield client, server, transport
    client.frames.close()
    listener.close()


async def lost(peer: Peer) -> bool:
    async with asyncio.timeout(5):
        await peer.frames.lost
    return True


async def test_frames_go_both_ways_whole_and_in_order() -> None:
    async with connected() as (client, server, _):
        sent = [b"", b"a", b"b" * 3_000_000, b"c"]
        for payload in sent:
            await client.frames.write(payload)
        assert await server.until(4) == sent
        await server.frames.write(b"answer")
        assert await client.until(1) == [b"answer"]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", frame_head(8) + b"nonsense"])
async def test_what_is_no_frame_of_ours_ends_the_connection(data: bytes) -> None:
    async with connected() as (client, server, transport):
        transport.write(data)
        assert await lost(server)
        assert await lost(client)
        assert server.heard == []


async def test_both_ends_hear_of_the_end_and_writing_then_is_harmless() -> None:
    async with connected() as (client, server, _):
        client.frames.close()
        assert await lost(client)
        assert await lost(server)
        await client.frames.write(b"too late")
        await server.frames.write(b"too late")


async def test_a_writer_waits_for_a_peer_that_does_not_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = Peer()
        address = listener.getsockname()
        _, frames = await asyncio.get_running_loop().create_connection(lambda: peer.frames, *address)
        silent, _ = listener.accept()
        written = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while written < 50:
                    await frames.write(b"x" * 1_000_000)
                    written += 1
        assert written < 50
        silent.close()
        assert await lost(peer)
        await frames.write(b"not for ever")
