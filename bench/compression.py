"""Bytes between gateway and ingress for each `[gateway] compression`: `python -m bench.compression --corpus DIR`.

Strategy: a relay that counts stands between the gateway and an ingress that accepts everything; the same real mails are
played for each setting, and the gateway's own CPU stands beside the bytes.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import uvloop

from bench.figures import show
from bench.gateway_cpu import cpu_s, start_gateway
from bench.ingress import IngressProcess
from bench.milter_load import make_unique, read_corpus
from cli.edits import Mail
from cli.mta import deliver_in_turn

SETTINGS = ("none", "gzip", "deflate")
CONNECTIONS = 8
READ_BYTES = 256 * 1024


class Relay:
    """Passes bytes on to one target, both ways, and counts those that go there."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self.sent_bytes = 0
        self._relaying: set[asyncio.Task[object]] = set()

    async def start(self) -> str:
        """Listen; host:port."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening; returns when both ends of every connection are gone."""
        self._server.close()
        await asyncio.gather(*self._relaying)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._relaying.add(task)
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        await asyncio.gather(self._pump(reader, far_writer, count=True), self._pump(far_reader, writer, count=False))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                self.sent_bytes += len(data) if count else 0
                writer.write(data)
                await writer.drain()
        writer.close()


async def measure(setting: str, target: str, mails: Sequence[Mail]) -> dict[str, object]:
    """One setting."""
    relay = Relay(target)
    with tempfile.TemporaryDirectory(prefix="tamis-compression-", dir="/tmp") as folder:
        through = await relay.start()
        gateway, milter, _ = await asyncio.to_thread(
            start_gateway, Path(folder), through, settings=f'compression = "{setting}"\n'
        )
        try:
            unique = [make_unique(mail, b"%d" % number) for number, mail in enumerate(mails)]
            shares = [unique[start::CONNECTIONS] for start in range(CONNECTIONS)]
            before_s, before_bytes = cpu_s(gateway.pid), relay.sent_bytes
            outcomes = await asyncio.gather(*(deliver_in_turn(milter, share) for share in shares))
            used_s, used_bytes = cpu_s(gateway.pid) - before_s, relay.sent_bytes - before_bytes
        finally:
            gateway.terminate()
            await asyncio.to_thread(gateway.wait)
            await relay.close()
    return {
        "unanswered": sum(outcome.action != "accept" for share in outcomes for outcome in share),
        "bytes_per_message": round(used_bytes / len(mails)),
        "gateway_cpu_ms_per_message": round(used_s / len(mails) * 1000, 3),
    }


async def run(mails: Sequence[Mail]) -> dict[str, object]:
    """All settings over the same mails."""
    figures: dict[str, object] = {"messages": len(mails), "mail_bytes": sum(len(m.raw) for m in mails) // len(mails)}
    with IngressProcess() as ingress:
        for setting in SETTINGS:
            figures[setting] = await measure(setting, ingress.target, mails)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", nargs="+", type=Path, required=True, help="mail files or folders of them")
    parser.add_argument("--messages", type=int, default=600)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    mails = read_corpus(options.corpus)
    figures = uvloop.run(run(mails[:: max(1, len(mails) // options.messages)][: options.messages]))
    show(figures, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
