"""The Scanner port over clamd's INSTREAM command (clamd(8)), on unix sockets and TCP.

One connection per scan, as clamd works: `zINSTREAM`, then frames of a 32-bit length and data, a zero length, one
reply. Own code since the libraries send 1 KB frames (libraries.md section 9: 632 ms instead of 8 for 5 MB). The
daemons are tried in the order given; the caller's timeout covers the whole, each attempt before the last has its share
of it, so that a daemon that is gone or hangs leaves time for the next. A scan that takes long has the daemon asked for
a PING: one that does not answer it is left by all who wait for it, as long as there is another, and is not tried any
more, like one that is gone for several scans in a row, until it answers PING.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial

from actors.adapters.breaker import Breaker, Guard
from actors.config import AntivirusConfig
from actors.ports import MessageTooLong, ScannerUnavailable, ScanResult

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[str], Awaitable[Connection]]

CONNECT_TIMEOUT_S = 1.0
CONNECT_TURNS = 10
"""Turns of the event loop that a late connection still gets: when rules kept the loop busy, it stands already."""
PING_TIMEOUT_S = 2.0
SUSPICIOUS_S = 1.0
"""After so long a daemon has to answer PING; a scan that is given up then is held against it."""
FRAME_BYTES = 256 * 1024
REPLY_BYTES_MAX = 4096
_TOO_LONG = b"INSTREAM size limit exceeded."
_VERDICT = re.compile(rb"stream: (?:OK|([ -~]{1,256}) FOUND)\0")


class ClamdScanner:
    """clamd, whichever of the configured daemons answers first in order."""

    def __init__(
        self,
        config: AntivirusConfig,
        connect: Connect | None = None,
        make_breaker: Callable[[], Breaker] = Breaker,
    ) -> None:
        self._bytes_max = config.clamd_stream_bytes_max
        self._timeout_s = config.clamd_timeout_s
        self._connect = connect or open_connection
        self._guards = {
            address: Guard(f"clamd {address}", partial(self._answers, address), PING_TIMEOUT_S, make_breaker())
            for address in config.clamd
        }

    async def scan(self, message: bytes) -> ScanResult:
        """Scan the bytes of a message. Raises MessageTooLong, or ScannerUnavailable when no daemon gave a verdict."""
        if len(message) > self._bytes_max:
            raise MessageTooLong(f"{len(message)} bytes, clamd_stream_bytes_max is {self._bytes_max}")
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._timeout_s
        failures = [f"{address}: does not answer" for address, guard in self._guards.items() if guard.open]
        asked = [address for address, guard in self._guards.items() if not guard.open]
        for number, address in enumerate(asked, start=1):
            remaining = len(asked) - number + 1
            share_s = (until_s - loop.time()) / remaining if remaining > 1 else None
            try:
                async with asyncio.timeout(share_s) as limit:
                    if share_s is None:
                        return await self._guarded_scan(address, message)
                    with self._guards[address].doubted(limit, SUSPICIOUS_S):
                        return await self._guarded_scan(address, message)
            except MessageTooLong:
                raise
            except ScannerUnavailable as error:
                failures.append(f"{address}: {error}")
            except TimeoutError:
                failures.append(f"{address}: no answer in time")
        raise ScannerUnavailable("; ".join(failures) or "no clamd configured")

    async def close(self) -> None:
        """Nothing is kept open between scans."""
        for guard in self._guards.values():
            await guard.close()

    async def _guarded_scan(self, address: str, message: bytes) -> ScanResult:
        """Scan there and note whether it answered."""
        guard, started_s = self._guards[address], asyncio.get_running_loop().time()
        try:
            result = await self._scan_at(address, message)
        except MessageTooLong:
            guard.succeeded()
            raise
        except ScannerUnavailable:
            guard.failed()
            raise
        except asyncio.CancelledError:
            # Whoever gave up, after so long it may be because of the daemon; its PING tells.
            if asyncio.get_running_loop().time() - started_s >= SUSPICIOUS_S:
                guard.failed()
            raise
        guard.succeeded()
        return result

    async def _scan_at(self, address: str, message: bytes) -> ScanResult:
        reader, writer = await self._opened(address)
        try:
            return parse_reply(await _converse(reader, writer, message))
        finally:
            writer.close()

    async def _opened(self, address: str) -> Connection:
        """Raises ScannerUnavailable."""
        try:
            return await _within(CONNECT_TIMEOUT_S, self._connect(address))
        except TimeoutError as error:
            raise ScannerUnavailable(f"no connection within {CONNECT_TIMEOUT_S:g} s") from error
        except (OSError, ValueError) as error:
            raise ScannerUnavailable(f"cannot connect: {type(error).__name__}") from error

    async def _answers(self, address: str) -> bool:
        """Whether the daemon answers PING."""
        try:
            reader, writer = await self._opened(address)
        except ScannerUnavailable:
            return False
        try:
            _begin(writer, b"zPING\0")
            return await reader.readuntil(b"\0") == b"PONG\0"
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return False
        finally:
            writer.close()


async def _within(timeout_s: float, connecting: Awaitable[Connection]) -> Connection:
    """The connection, or TimeoutError; time in which the event loop did not turn is not held against it."""
    task = asyncio.ensure_future(connecting)
    try:
        await asyncio.wait((task,), timeout=timeout_s)
        for _ in range(CONNECT_TURNS):
            if task.done():
                return task.result()
            await asyncio.sleep(0)
        raise TimeoutError
    finally:
        task.cancel()


async def open_connection(address: str) -> Connection:
    """Connect to "unix:PATH", "host:port" or "[IPv6]:port". Raises OSError, or ValueError for another form."""
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"), limit=REPLY_BYTES_MAX)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"clamd address {address!r} is neither unix:PATH nor host:port")
    return await asyncio.open_connection(host.strip("[]"), int(port), limit=REPLY_BYTES_MAX)


def parse_reply(reply: bytes) -> ScanResult:
    """The verdict in a whole reply with its NUL.

    Raises MessageTooLong when clamd's own StreamMaxLength is less than ours, ScannerUnavailable for any other error
    and for anything unknown.
    """
    if reply.startswith(_TOO_LONG):
        raise MessageTooLong("clamd's StreamMaxLength is less than clamd_stream_bytes_max")
    match = _VERDICT.fullmatch(reply)
    if not match:
        text = reply.rstrip(b"\0\n")[:100].decode("ascii", "backslashreplace")
        raise ScannerUnavailable(f"clamd said {text!r}" if text else "clamd closed without a reply")
    return ScanResult((match[1] or b"").decode("ascii"))


def _begin(writer: asyncio.StreamWriter, command: bytes) -> None:
    """Raises OSError, also for a connection that is lost already: there uvloop raises RuntimeError."""
    if writer.is_closing():
        raise ConnectionResetError
    writer.write(command)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> bytes:
    broken = ""
    try:
        _begin(writer, b"zINSTREAM\0")
        view = memoryview(message)
        for start in range(0, len(message), FRAME_BYTES):
            frame = view[start : start + FRAME_BYTES]
            writer.write(len(frame).to_bytes(4, "big"))
            writer.write(frame)
            await writer.drain()
        writer.write(b"\0\0\0\0")
        await writer.drain()
    except OSError as error:
        # clamd closes early when the stream is too long for it; the reply that says so may still be there.
        broken = type(error).__name__
    try:
        return await reader.readuntil(b"\0")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        raise ScannerUnavailable(f"a reply of more than {REPLY_BYTES_MAX} bytes") from error
    except OSError as error:
        raise ScannerUnavailable(f"connection broke off: {broken or type(error).__name__}") from error
