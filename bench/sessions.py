"""Memory of a gateway that holds many sessions: `python -m bench.sessions [--sessions 2000] [--bytes 6000]`.

Strategy: a gateway process, an ingress that accepts everything, and MTAs that each play one message of ordinary size
and then stay in the envelope of a second one, as clients of a busy relay do. PSS is read before and while all are
open; at the end each session finishes its message, so that none was merely forgotten.
"""

import argparse
import asyncio
import resource
import tempfile
from collections.abc import Awaitable, Iterable
from pathlib import Path

import uvloop

from bench.figures import show
from bench.gateway_cpu import mail_of, pss_bytes, start_gateway
from bench.ingress import IngressProcess
from tests.gateway.mta import Heard, Mta
from wire.milter import TcpAddress, parse_listen
from wire.milter import events as ev

AT_ONCE = 50
FILES_BESIDE = 100


class Client:
    """One session, kept open."""

    def __init__(self, number: int, size_bytes: int) -> None:
        self._mail = mail_of(size_bytes, number)

    async def open(self, address: TcpAddress) -> None:
        """A whole message, and the envelope of the next."""
        reader, self._writer = await asyncio.open_connection(address.host, address.port)
        self._mta = Mta(self._writer.write, lambda: reader.read(65_536))
        await self._mta.open()
        await self._mta.message(self._mail)
        await self._mta.say(ev.Abort())
        await self._mta.envelope(self._mail)

    async def finish(self) -> bool:
        """The rest of the second message; whether it was accepted."""
        heard = Heard()
        await self._mta.content(self._mail)
        await self._mta.hear_verdict(heard)
        self._writer.close()
        return isinstance(heard.final, ev.Accept)


async def in_turn(work: Iterable[Awaitable[bool | None]]) -> list[bool | None]:
    """All of it, some at a time."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(piece: Awaitable[bool | None]) -> bool | None:
        async with free:
            return await piece

    return await asyncio.gather(*map(one, work))


async def run(options: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="tamis-sessions-", dir="/tmp") as folder, IngressProcess() as ingress:
        gateway, milter, _ = await asyncio.to_thread(start_gateway, Path(folder), ingress.target)
        try:
            address = parse_listen(milter)
            assert isinstance(address, TcpAddress)
            empty = pss_bytes(gateway.pid)
            clients = [Client(number, options.bytes) for number in range(options.sessions)]
            await in_turn(client.open(address) for client in clients)
            held = pss_bytes(gateway.pid)
            accepted = await in_turn(client.finish() for client in clients)
        finally:
            gateway.terminate()
            await asyncio.to_thread(gateway.wait)
    return {
        "sessions": options.sessions,
        "accepted_at_the_end": sum(map(bool, accepted)),
        "pss_mb_empty": round(empty / 1e6, 1),
        "pss_mb": round(held / 1e6, 1),
        "kb_per_session": round((held - empty) / options.sessions / 1000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--bytes", type=int, default=6000, help="of each message")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, options.sessions + FILES_BESIDE), hard), hard))
    figures = uvloop.run(run(options))
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
