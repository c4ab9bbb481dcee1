"""cluster/door.py and the streams that come through it, over loopback: who is let in, and what becomes of strangers."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from cluster import door as module
from cluster.door import Door
from cluster.frame_stream import FrameStream
from cluster.replica_stream import Dialer
from cluster.table import Replica
from cluster.tls import StreamTls
from tests.certificates import Authority
from wire.tls import TlsConfig

pytestmark = pytest.mark.live


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """The cell runs on uvloop, whose TLS is its own."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


class Inside:
    """What is behind the door: streams that answer each frame with the same."""

    def __init__(self) -> None:
        self.streams: list[FrameStream] = []

    def open_stream(self) -> FrameStream:
        stream = FrameStream(lambda payload: self._answer(stream, payload))
        self.streams.append(stream)
        return stream

    @property
    def open(self) -> int:
        return sum(not stream.lost.done() for stream in self.streams)

    def _answer(self, stream: FrameStream, payload: bytes) -> None:
        self._writing = asyncio.create_task(stream.write(payload))


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TlsConfig:
    return authority.issue(tmp_path / "node", "node")


@asynccontextmanager
async def behind(tls: TlsConfig | None) -> AsyncIterator[tuple[Inside, str]]:
    inside = Inside()
    door = Door(inside.open_stream, StreamTls(tls) if tls is not None else None)
    yield inside, door.open("127.0.0.1")
    door.close()
    for stream in inside.streams:
        stream.close()


async def until(condition: object) -> None:
    async with asyncio.timeout(5):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0.005)


async def talk(address: str, data: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """Say this, and hear everything until the other end closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    try:
        async with asyncio.timeout(5):
            writer.write(data)
            await writer.drain()
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def echoed(dialer: Dialer, replica: Replica) -> bytes:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with asyncio.timeout(5):
        stream = await dialer.connect(replica, heard.put_nowait)
        assert await heard.get() == b""
        await stream.write(b"x" * 100_000)
        answer = await heard.get()
    stream.close()
    return answer


def dropped(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for record in caplog.records if (text := record.getMessage()).startswith("stranger_dropped")]


async def test_another_node_of_the_cell_is_let_in(files: TlsConfig) -> None:
    async with behind(files) as (_, address):
        replica = Replica("dkim-0", ("dkim",), address, "there", local="127.0.0.1:9")
        assert await echoed(Dialer("here", StreamTls(files)), replica) == b"x" * 100_000


async def test_on_its_own_node_a_replica_is_asked_without_encryption() -> None:
    async with behind(None) as (_, address):
        replica = Replica("dkim-0", ("dkim",), "10.1.0.5:9", "here", local=address)
        assert await echoed(Dialer("here"), replica) == b"x" * 100_000


async def test_without_certificates_at_both_ends_no_stream_leaves_the_node(files: TlsConfig) -> None:
    theirs = Replica("dkim-0", ("dkim",), "10.1.0.5:9", "there", local="127.0.0.1:9")
    bare = Replica("dkim-0", ("dkim",), "127.0.0.1:9", "there", local="127.0.0.1:9")
    for dialer, replica in ((Dialer("here"), theirs), (Dialer("here", StreamTls(files)), bare)):
        with pytest.raises(OSError, match="no certificates between these nodes"):
            await dialer.connect(replica, lambda _: None)


async def test_who_shows_no_certificate_or_another_authority_s_is_dropped_with_a_line(
    files: TlsConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Authority("stranger").issue(tmp_path / "stranger", "stranger")
    nobody = ssl.create_default_context(cafile=files.authority)
    theirs = ssl.create_default_context(cafile=files.authority)
    theirs.load_cert_chain(stranger.certificate, stranger.key)
    async with behind(files) as (inside, address):
        for context in (nobody, theirs):
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                assert await talk(address, b"\0\0\0\0", context)
        await until(lambda: len(dropped(caplog)) == 2)
        assert inside.open == 0
    assert "certificate" in dropped(caplog)[0]
    assert all("peer=127.0.0.1" in line for line in dropped(caplog))


async def test_the_other_end_must_be_who_was_dialled(authority: Authority, files: TlsConfig, tmp_path: Path) -> None:
    other = authority.issue(tmp_path / "other", "other", "10.1.0.9")
    async with behind(other) as (_, address):
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            await echoed(Dialer("here", StreamTls(files)), Replica("dkim-0", (), address, "there", local="x:1"))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"EHLO stranger\r\n", b"\0\0\0\4none", b"\xff" * 5000])
async def test_plain_talk_at_the_encrypted_door_is_no_handshake(
    files: TlsConfig, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with behind(files) as (inside, address):
        await talk(address, data)
        await until(lambda: len(dropped(caplog)) == 1)
        assert inside.open == 0


@pytest.mark.parametrize("kind", ["encrypted", "plain"])
async def test_who_says_nothing_is_dropped_when_his_time_is_over(
    files: TlsConfig, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_S", 0.2)
    monkeypatch.setattr(module, "FIRST_FRAME_S", 0.2)
    async with behind(files if kind == "encrypted" else None) as (inside, address):
        assert await talk(address, b"") == b""
        await until(lambda: len(dropped(caplog)) == 1)
        assert inside.open == 0


async def test_silent_strangers_are_a_bounded_number_and_the_cell_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "HANDSHAKES_MAX", 3)
    monkeypatch.setattr(module, "FIRST_FRAME_S", 1.0)
    async with behind(None) as (inside, address):
        friend = await Dialer().connect(Replica("dkim-0", (), address, ""), lambda _: None)
        await until(lambda: inside.streams and inside.streams[0].heard.done())
        host, _, port = address.rpartition(":")
        strangers = [socket.create_connection((host, int(port))) for _ in range(10)]
        await until(lambda: len(dropped(caplog)) >= 7)
        assert sum("too many connections" in line for line in dropped(caplog)) == 7
        assert inside.open == 4
        assert not friend.lost.done()
        await until(lambda: inside.open == 1)
        assert await echoed(Dialer(), Replica("dkim-0", (), address, "")) == b"x" * 100_000
        for stranger in strangers:
            stranger.close()


async def test_certificates_are_replaced_without_a_new_start(
    files: TlsConfig, caplog: pytest.LogCaptureFixture
) -> None:
    tls = StreamTls(files)
    async with behind(files) as (_, address):
        replica = Replica("dkim-0", (), address, "there", local="x:1")
        stream = await Dialer("here", tls).connect(replica, lambda _: None)
        other = Authority("next")
        other.issue(Path(files.certificate).parent, "node")
        with caplog.at_level(logging.INFO):
            assert await echoed(Dialer("here", tls), replica) == b"x" * 100_000
        assert not stream.lost.done()
        stream.close()
    taken = [record for record in caplog.records if record.getMessage().startswith("tls_files_taken")]
    assert len(taken) == 2
