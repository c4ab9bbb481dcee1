import asyncio
from contextlib import asynccontextmanager

import pytest

from actors.adapters.breaker import Breaker, State
from actors.adapters.clamd import FRAME_BYTES, ClamdScanner, open_connection, parse_reply
from actors.config import AntivirusConfig
from actors.ports import MessageTooLong, ScannerUnavailable, ScanResult
from tests.fakes import turn_until


class FakeWriter:
    """Keeps what is written; `break_after` bytes it behaves like a socket that the peer has closed."""

    def __init__(self, break_after: int | None = None) -> None:
        self.data = bytearray()
        self.closed = False
        self._break_after = break_after

    def write(self, data) -> None:
        self.data += data

    async def drain(self) -> None:
        if self._break_after is not None and len(self.data) > self._break_after:
            raise BrokenPipeError

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class LostWriter(FakeWriter):
    """The peer reset the connection as soon as it stood; uvloop's transport then raises what is no OSError."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = True

    def write(self, _data) -> None:
        raise RuntimeError("the handler is closed")


def daemon(reply: bytes | None, break_after: int | None = None):
    """A connect function whose daemon answers `reply` and closes; None = refused."""
    writer = FakeWriter(break_after)

    async def connect(_address: str):
        if reply is None:
            raise ConnectionRefusedError
        reader = asyncio.StreamReader(limit=4096)
        reader.feed_data(reply)
        reader.feed_eof()
        return reader, writer

    return connect, writer


def scanner(connect, *addresses: str, bytes_max: int = 1000_000) -> ClamdScanner:
    config = AntivirusConfig(clamd=addresses or ("unix:/clamd",), clamd_stream_bytes_max=bytes_max)
    return ClamdScanner(config, connect)


def frames(data: bytes) -> list[bytes]:
    assert data.startswith(b"zINSTREAM\0")
    data = data.removeprefix(b"zINSTREAM\0")
    found = []
    while data:
        length = int.from_bytes(data[:4], "big")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


async def test_a_clean_message_is_sent_in_frames_and_the_connection_is_closed():
    connect, writer = daemon(b"stream: OK\0")
    message = bytes(range(256)) * 2500
    assert await scanner(connect).scan(message) == ScanResult("")
    sent = frames(bytes(writer.data))
    assert b"".join(sent) == message
    assert [len(frame) for frame in sent] == [FRAME_BYTES, FRAME_BYTES, len(message) - 2 * FRAME_BYTES, 0]
    assert writer.closed


async def test_a_daemon_that_dies_between_connection_and_first_byte_is_unavailable_and_the_next_one_is_asked():
    async def connect(address: str):
        reader = asyncio.StreamReader()
        if address == "unix:/dying":
            reader.set_exception(ConnectionResetError())
            return reader, LostWriter()
        reader.feed_data(b"stream: OK\0")
        return reader, FakeWriter()

    with pytest.raises(ScannerUnavailable, match="connection broke off"):
        await scanner(connect, "unix:/dying").scan(b"x")
    assert await scanner(connect, "unix:/dying", "unix:/well").scan(b"x") == ScanResult("")


async def test_an_empty_message_is_only_the_end_of_the_stream():
    connect, writer = daemon(b"stream: OK\0")
    await scanner(connect).scan(b"")
    assert frames(bytes(writer.data)) == [b""]


async def test_a_signature_is_reported():
    connect, _ = daemon(b"stream: Win.Test.EICAR_HDB-1 FOUND\0")
    assert (await scanner(connect).scan(b"x")).signature == "Win.Test.EICAR_HDB-1"


async def test_a_message_that_is_too_long_is_never_sent():
    connect, writer = daemon(b"stream: OK\0")
    with pytest.raises(MessageTooLong, match="11 bytes"):
        await scanner(connect, bytes_max=10).scan(b"x" * 11)
    assert not writer.data
    await scanner(connect, bytes_max=11).scan(b"x" * 11)


async def test_the_next_daemon_is_asked_when_one_is_away():
    asked = []
    good, _ = daemon(b"stream: OK\0")

    async def connect(address: str):
        asked.append(address)
        if address == "unix:/first":
            raise FileNotFoundError
        return await good(address)

    assert await scanner(connect, "unix:/first", "127.0.0.1:3310").scan(b"x") == ScanResult("")
    assert asked == ["unix:/first", "127.0.0.1:3310"]


async def test_a_daemon_that_stays_away_is_not_tried_any_more_until_it_answers_ping():
    up, asked = set(), []
    breakers = []

    async def connect(address: str):
        asked.append(address)
        if address == "dead:1" and address not in up:
            raise ConnectionRefusedError
        reader = asyncio.StreamReader(limit=4096)
        writer = FakeWriter()
        writer.write = lambda data: reader.feed_data(b"PONG\0" if data == b"zPING\0" else b"")  # type: ignore[method-assign]
        reader.feed_data(b"" if address in up else b"stream: OK\0")
        return reader, writer

    def make_breaker() -> Breaker:
        breakers.append(Breaker(failures_max=2, pause_s=0.0))
        return breakers[-1]

    config = AntivirusConfig(clamd=("dead:1", "good:1"))
    tried = ClamdScanner(config, connect, make_breaker)
    for _ in range(2):
        assert await tried.scan(b"x") == ScanResult("")
    await turn_until(lambda: breakers[0].state is State.OPEN)
    asked.clear()
    scan = asyncio.create_task(tried.scan(b"x"))
    assert await scan == ScanResult("")
    assert asked.count("good:1") == 1
    up.add("dead:1")
    await turn_until(lambda: breakers[0].state is State.CLOSED)
    await tried.close()


async def test_when_no_daemon_answers_a_scan_fails_at_once():
    breaker = Breaker(failures_max=1)
    breaker.failed()
    breaker.probed(answered=False)
    connect, writer = daemon(b"stream: OK\0")
    tried = ClamdScanner(AntivirusConfig(clamd=("dead:1",)), connect, lambda: breaker)
    with pytest.raises(ScannerUnavailable, match="dead:1: does not answer"):
        await tried.scan(b"x")
    assert not writer.data


@pytest.mark.parametrize(("suspicious_s", "suspected"), [(0.0, True), (60.0, False)])
async def test_a_scan_that_was_given_up_after_long_is_held_against_the_daemon(monkeypatch, suspicious_s, *, suspected):
    monkeypatch.setattr("actors.adapters.clamd.SUSPICIOUS_S", suspicious_s)
    breaker = Breaker(failures_max=1)

    async def connect(_address: str):
        return asyncio.StreamReader(limit=4096), FakeWriter()

    tried = ClamdScanner(AntivirusConfig(clamd=("slow:1",)), connect, lambda: breaker)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await tried.scan(b"x")
    assert (breaker.state is State.SUSPECTED) == suspected
    await tried.close()


async def test_when_all_are_away_each_is_named():
    connect, _ = daemon(None)
    with pytest.raises(ScannerUnavailable, match=r"unix:/a: cannot connect: ConnectionRefusedError; b:1: cannot"):
        await scanner(connect, "unix:/a", "b:1").scan(b"x")


async def test_the_reply_to_a_stream_that_clamd_closed_early_is_still_read():
    connect, _ = daemon(b"INSTREAM size limit exceeded. ERROR\0", break_after=100)
    with pytest.raises(MessageTooLong, match="StreamMaxLength"):
        await scanner(connect).scan(b"x" * 600_000)


async def test_a_connection_that_never_comes_gives_way_to_the_next(monkeypatch):
    monkeypatch.setattr("actors.adapters.clamd.CONNECT_TIMEOUT_S", 0.01)
    good, _ = daemon(b"stream: OK\0")

    async def connect(address: str):
        if address == "hang:1":
            await asyncio.Event().wait()
        return await good(address)

    assert await scanner(connect, "hang:1", "good:1").scan(b"x") == ScanResult("")


async def test_a_connection_that_stands_when_the_loop_was_busy_is_taken(monkeypatch):
    monkeypatch.setattr("actors.adapters.clamd.CONNECT_TIMEOUT_S", 0.0)
    good, _ = daemon(b"stream: OK\0")

    async def connect(address: str):
        for _ in range(5):
            await asyncio.sleep(0)
        return await good(address)

    assert await scanner(connect).scan(b"x") == ScanResult("")


async def test_a_daemon_that_hangs_leaves_time_for_the_next():
    good, _ = daemon(b"stream: OK\0")

    async def connect(address: str):
        if address == "hang:1":
            return asyncio.StreamReader(limit=4096), FakeWriter()
        return await good(address)

    config = AntivirusConfig(clamd=("hang:1", "good:1"), clamd_timeout_s=0.02)
    async with asyncio.timeout(5):
        assert await ClamdScanner(config, connect).scan(b"x") == ScanResult("")


async def test_a_daemon_that_hangs_and_answers_no_ping_is_left_by_all_that_wait_for_it(monkeypatch):
    monkeypatch.setattr("actors.adapters.clamd.SUSPICIOUS_S", 0.0)
    monkeypatch.setattr("actors.adapters.clamd.PING_TIMEOUT_S", 0.0)
    good, asked = daemon(b"stream: OK\0")[0], []

    async def connect(address: str):
        asked.append(address)
        if address == "hang:1":
            return asyncio.StreamReader(limit=4096), FakeWriter()
        return await good(address)

    tried = ClamdScanner(AntivirusConfig(clamd=("hang:1", "good:1"), clamd_timeout_s=3600.0), connect)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*(tried.scan(b"x") for _ in range(4))) == [ScanResult("")] * 4
        assert asked.count("hang:1") == 5, "four scans and one ping"
        assert await tried.scan(b"x") == ScanResult("")
    assert asked.count("good:1") == 5
    await tried.close()


async def test_a_daemon_that_is_slow_and_answers_ping_has_its_time(monkeypatch):
    monkeypatch.setattr("actors.adapters.clamd.SUSPICIOUS_S", 0.0)
    pings, slow = 0, asyncio.StreamReader(limit=4096)

    async def connect(address: str):
        assert address == "slow:1"
        reader, writer = asyncio.StreamReader(limit=4096), FakeWriter()

        def write(data: bytes) -> None:
            nonlocal pings
            if data == b"zPING\0":
                pings += 1
                reader.feed_data(b"PONG\0")

        writer.write = write  # type: ignore[method-assign]
        return (reader if pings else slow), writer

    tried = ClamdScanner(AntivirusConfig(clamd=("slow:1", "other:1"), clamd_timeout_s=3600.0), connect)
    scan = asyncio.create_task(tried.scan(b"x"))
    await turn_until(lambda: pings == 1)
    slow.feed_data(b"stream: OK\0")
    assert await scan == ScanResult("")
    await tried.close()


async def test_the_callers_timeout_is_not_swallowed_and_the_connection_is_closed():
    writer = FakeWriter()

    async def connect(_address: str):
        return asyncio.StreamReader(limit=4096), writer

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await scanner(connect).scan(b"x")
    assert writer.closed


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (b"", "closed without a reply"),
        (b"stream: OK", "clamd said 'stream: OK'"),
        (b"stream: OK\nstream: OK\0", "clamd said"),
        (b"stream:  FOUND\0", "clamd said"),
        (b"UNKNOWN COMMAND\0", "UNKNOWN COMMAND"),
        (b"stream: \xff\xfe FOUND\0", "clamd said"),
        (b"stream: Access denied. ERROR\0", "Access denied"),
        (b"x" * 5000, "a reply of more than 4096 bytes"),
    ],
)
async def test_anything_but_a_verdict_is_unavailable(reply, what):
    connect, _ = daemon(reply)
    with pytest.raises(ScannerUnavailable, match=what):
        await scanner(connect).scan(b"x")


def test_replies_are_read_strictly():
    assert parse_reply(b"stream: OK\0") == ScanResult("")
    assert parse_reply(b"stream: A B FOUND\0") == ScanResult("A B")


@pytest.mark.parametrize("address", ["", "clamd", ":3310", "host:", "host:x"])
async def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(ValueError, match="clamd address"):
        await open_connection(address)


async def test_an_address_that_the_connection_refuses_is_unavailable_not_a_crash():
    async def connect(address: str):
        raise ValueError(address)

    with pytest.raises(ScannerUnavailable, match="cannot connect: ValueError"):
        await scanner(connect).scan(b"x")


@asynccontextmanager
async def fake_clamd(start):
    """A clamd on a real socket that finds the word "virus"."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(10) == b"zINSTREAM\0"
        message = b""
        while length := int.from_bytes(await reader.readexactly(4), "big"):
            message += await reader.readexactly(length)
        writer.write(b"stream: Test.Virus FOUND\0" if b"virus" in message else b"stream: OK\0")
        writer.close()

    server = await start(serve)
    async with server:
        yield server


@pytest.mark.live
async def test_live_over_tcp_and_unix_sockets(run_dir):
    path = run_dir / "clamd.ctl"
    async with (
        fake_clamd(lambda serve: asyncio.start_server(serve, "127.0.0.1", 0)) as tcp,
        fake_clamd(lambda serve: asyncio.start_unix_server(serve, path)),
    ):
        port = tcp.sockets[0].getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"unix:{path}"):
            live = ClamdScanner(AntivirusConfig(clamd=(address,)))
            assert (await live.scan(b"a" * 1_000_000 + b"virus")).signature == "Test.Virus"
            assert (await live.scan(b"a" * 1_000_000)).signature == ""
