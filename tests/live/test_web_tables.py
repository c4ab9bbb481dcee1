"""Tables and lists of DKIM signing at a web server on loopback."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from actors.adapters import dkim_http
from actors.adapters.dkim_http import HttpTable
from actors.adapters.dkim_sources import SigningSources
from actors.adapters.remembered import OUTLIVES_S, RETRY_S
from actors.config import RedisConfig
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.http_place import parse_http_place
from actors.dkim.signing.tables import Address, Entry, TableUnavailable
from cli.addresses import free_port
from tests.certificates import Authority
from tests.fakes import FakeClock

pytestmark = pytest.mark.live

TTL_S = 60.0
ANSWERED_S = 20.0
"""Mail waits so long in a test that has an answer."""
EXAMPLE = [Entry("example.org", "main")]


def page(text: str, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(text)}", *headers]
    return "\r\n".join([*lines, "", text]).encode()


class Web:
    """Answers each request with `answer`."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Web"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        except asyncio.IncompleteReadError:
            return
        writer.write(self.answer)
        if not self.answer.endswith(b"held"):
            writer.close()


@asynccontextmanager
async def table(
    port: int, clock: FakeClock, timeout_s: float = ANSWERED_S, url: str = "", ttl_s: float = TTL_S
) -> AsyncIterator[HttpTable]:
    one = HttpTable(parse_http_place(url or f"http://127.0.0.1:{port}/t"), clock, timeout_s, ttl_s)
    try:
        yield one
    finally:
        await one.close()


async def test_tables_and_lists_are_files_at_a_web_server(tmp_path: Path) -> None:
    text = "# remark\nexample.org main\nmain example.org:2026a:./k\n192.0.2.0/24\n"
    async with Web(page(text)).running() as web:
        place = f"http://127.0.0.1:{web.port}/all"
        settings = SigningConfig(key_table=place, signing_table=place, internal_hosts=place, table_timeout_s=ANSWERED_S)
        sources = SigningSources(settings, RedisConfig(), FakeClock(), tmp_path)
        (request,) = await sources.tables.requests(Address("joe", "example.org"))
        assert (request.domain, request.selector, request.key) == ("example.org", "2026a", "./k")
        rules = await sources.rules()
        assert [bool(rules.internal_hosts.match("", ip)) for ip in ("192.0.2.7", "127.0.0.1")] == [True, False]
        await sources.close()
    assert len(web.requests) == 1
    assert web.requests[0].startswith("GET /all HTTP/1.1\r\n")


async def test_it_is_fetched_again_beside_the_mail_and_only_if_it_has_changed() -> None:
    clock = FakeClock()
    async with Web(page("example.org main\n", 'ETag: "1"')).running() as web, table(web.port, clock) as one:
        assert await one.find(["EXAMPLE.org", "none"]) == EXAMPLE
        web.answer = page("", status="304 Not Modified")
        assert await one.entries() == tuple(EXAMPLE)
        assert len(web.requests) == 1
        clock.advance(TTL_S)
        assert await one.entries() == tuple(EXAMPLE)
        assert 'If-None-Match: "1"' in web.requests[1]
        assert "If-Modified-Since" not in web.requests[1]
        web.answer = page("example.net main\n", "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT")
        clock.advance(TTL_S)
        # Nobody waits for it.
        assert await one.find(["example.org"]) == EXAMPLE
        assert await one.entries() == (Entry("example.net", "main"),)
        clock.advance(TTL_S)
        await one.entries()
        assert "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT" in web.requests[3]


async def test_what_is_known_outlives_its_time_while_the_server_is_away(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    async with Web(page("example.org main\n")).running() as web, table(web.port, clock) as one:
        await one.find(["example.org"])
        web.answer = page("", status="500 Oops")
        clock.advance(TTL_S)
        assert await one.entries() == tuple(EXAMPLE)
        clock.advance(OUTLIVES_S)
        with pytest.raises(TableUnavailable, match=rf"^http://127.0.0.1:{web.port}/t: status 500$"):
            await one.find(["example.org"])
        asked = len(web.requests)
        web.answer = page("example.org main\n")
        with pytest.raises(TableUnavailable):
            await one.find(["example.org"])
        assert len(web.requests) == asked
        clock.advance(RETRY_S)
        assert await one.find(["example.org"]) == EXAMPLE
    told = [line.split()[1:3] for line in caplog.messages if "signing_table" in line]
    assert told == [["fetched=no", "known=True"], ["fetched=yes", f"http://127.0.0.1:{web.port}/t"]]


async def test_what_is_kept_for_a_day_is_known_for_a_day() -> None:
    clock = FakeClock()
    async with Web(page("example.org main\n")).running() as web, table(web.port, clock, ttl_s=86_400) as one:
        await one.find(["example.org"])
        clock.advance(2 * OUTLIVES_S)
        assert await one.find(["example.org"]) == EXAMPLE
    assert len(web.requests) == 1


async def test_a_server_may_be_away_at_the_start() -> None:
    clock, web = FakeClock(), Web(page("example.org main\n"))
    web.port = free_port("127.0.0.1")
    async with table(web.port, clock) as one:
        with pytest.raises(TableUnavailable, match="ConnectionRefusedError"):
            await one.find(["example.org"])
        clock.advance(RETRY_S)
        async with web.running():
            assert await one.find(["example.org"]) == EXAMPLE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nexample.org main\n", "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na b c", "IncompleteRead"),
        (b"HTTP/1.0 200 OK\r\n\r\nexample.org main\n", "does not say where it ends"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"a b\n" * 5000, "longer than 9999 bytes"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "status 304"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff", "UnicodeDecodeError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na\x01", "line:1: not text"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "HTTPException"),
        (b"rubbish\r\n\r\n", "BadStatusLine"),
        (b"", "RemoteDisconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nheld", "TimeoutError"),
    ],
)
async def test_an_answer_that_is_not_whole_is_none(answer: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dkim_http, "BYTES_MAX", 9999)
    async with Web(answer).running() as web, table(web.port, FakeClock(), timeout_s=0.5) as one:
        with pytest.raises(TableUnavailable, match=reason):
            await one.entries()


async def test_chunks_are_taken() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nexample.\r\n9\r\norg main\n\r\n0\r\n\r\n"
    async with Web(answer).running() as web, table(web.port, FakeClock()) as one:
        assert await one.find(["example.org"]) == EXAMPLE


async def test_a_server_that_drips_is_left_and_holds_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()

    monkeypatch.setattr(dkim_http, "WHOLE_TIMEOUT_S", 0.3)
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with table(server.sockets[0].getsockname()[1], FakeClock()) as one:
        with pytest.raises(TableUnavailable):
            await one.entries()
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("http")]
    for thread in threads:
        thread.join(ANSWERED_S)
    assert [thread.is_alive() for thread in threads] == [False]
    server.close()


async def test_certificates_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Authority().issue(tmp_path / "tls", "web")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.certificate, files.key)
    async with Web(page("example.org main\n")).running(tls) as web:
        url = f"https://127.0.0.1:{web.port}/"
        async with table(0, FakeClock(), url=url) as one:
            with pytest.raises(TableUnavailable, match="SSLCertVerificationError"):
                await one.find(["example.org"])
        monkeypatch.setenv("SSL_CERT_FILE", files.authority)
        async with table(0, FakeClock(), url=url) as one:
            assert await one.find(["example.org"]) == EXAMPLE
