"""What four 50 MB mails in flight cost small ones: `python -m bench.fairness [--rounds 5]`.

Strategy: gateway, fake ingress, senders of large mail and sender of small mail are processes of their own, so that none
waits for another's loop. Rounds without and with large mail alternate; the medians of the rounds' p50 and p99 of end of
message are compared. Small mail comes at a fixed pace, below what the gateway can do.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench.figures import show
from bench.gateway_cpu import cpu_s, mail_of, pss_bytes, start_gateway
from bench.ingress import IngressProcess
from tests.gateway.mta import Heard, Mail, Mta
from wire.milter import events as ev
from wire.milter import parse_listen

LARGE = ("senders", "large-bytes", "line-mb-per-s")
"""The options of the sender of large mail."""


async def connect(address: str) -> tuple[Mta, asyncio.StreamWriter]:
    endpoint = parse_listen(address)
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    mta = Mta(writer.write, lambda: reader.read(65_536))
    await mta.open()
    return mta, writer


async def send_large(address: str, options: argparse.Namespace) -> None:
    """Large mail on so many connections, one after the other, for ever, as fast as one line brings it."""
    body = ev.Body(os.urandom(65_535))
    chunk_s = options.senders * len(body.chunk) / (options.line_mb_per_s * 1e6)

    async def sender() -> None:
        mta, writer = await connect(address)
        while True:
            await mta.envelope(Mail())
            await mta.say(ev.EndOfHeaders())
            mta.flush()
            began_s = time.perf_counter()
            for number in range(options.large_bytes // len(body.chunk)):
                await asyncio.sleep(began_s + number * chunk_s - time.perf_counter())
                writer.write(mta.codec.send(body))
                await writer.drain()
            writer.write(mta.codec.send(ev.EndOfBody()))
            await mta.hear_verdict(Heard())
            await mta.say(ev.Abort())

    await asyncio.gather(*(sender() for _ in range(options.senders)))


async def send_small(address: str, options: argparse.Namespace) -> list[float]:
    """Small mail from some sessions at a pace; how long each end of message took, in seconds."""
    waits_s: list[float] = []
    until_s = time.perf_counter() + options.seconds

    async def session(number: int) -> None:
        mta, writer = await connect(address)
        await asyncio.sleep(number * options.pause_ms / 1000 / options.sessions)
        while time.perf_counter() < until_s:
            mail = mail_of(options.bytes, number)
            heard = Heard(await mta.envelope(mail))
            await mta.content(mail)
            began_s = time.perf_counter()
            await mta.hear_verdict(heard)
            waits_s.append(time.perf_counter() - began_s)
            await mta.say(ev.Abort())
            await asyncio.sleep(options.pause_ms / 1000)
        writer.close()

    await asyncio.gather(*(session(number) for number in range(options.sessions)))
    return waits_s


@contextmanager
def child(*arguments: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", *arguments])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def queued_s(pid: int) -> float:
    """How long the threads of a process could have run and had no core: what the machine adds to every figure."""
    return sum(int(stat.read_text().split()[1]) for stat in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def measured(address: str, pid: int, options: argparse.Namespace) -> tuple[float, float]:
    """One round: p50 and p99 in ms."""
    cpu_before_s, queued_before_s = cpu_s(pid), queued_s(pid)
    quantiles = statistics.quantiles(uvloop.run(send_small(address, options)), n=100)
    p50_ms, p99_ms = quantiles[49] * 1000, quantiles[98] * 1000
    busy, queued = (cpu_s(pid) - cpu_before_s) / options.seconds, (queued_s(pid) - queued_before_s) / options.seconds
    print(
        f"p50 {p50_ms:.2f} ms  p99 {p99_ms:.2f} ms  gateway {busy:.0%} of a core, waits for one {queued:.0%}  "
        f"PSS {pss_bytes(pid) / 1e6:.0f} MB",
        file=sys.stderr,
        flush=True,
    )
    return p50_ms, p99_ms


def run(options: argparse.Namespace) -> None:
    large = ["bench.fairness", *(f"--{name}={getattr(options, name.replace('-', '_'))}" for name in LARGE)]
    rounds: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder, IngressProcess() as ingress:
        gateway, address, _ = start_gateway(Path(folder), [ingress.target], log_level="warning")
        try:
            uvloop.run(send_small(address, options))
            for _ in range(options.rounds):
                rounds["without"].append(measured(address, gateway.pid, options))
                with child(*large, f"--to={address}"):
                    time.sleep(0.5)
                    rounds["with"].append(measured(address, gateway.pid, options))
                time.sleep(0.5)
        finally:
            gateway.terminate()
            gateway.wait()
    medians = {kind: [statistics.median(column) for column in zip(*rows, strict=True)] for kind, rows in rounds.items()}
    figures = {f"{kind}_large_ms": {"p50": round(p50, 2), "p99": round(p99, 2)} for kind, (p50, p99) in medians.items()}
    ratio = round(medians["with"][1] / medians["without"][1], 2)
    show(figures | {"p99_ratio": ratio}, as_json=options.json)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--pause-ms", type=float, default=50.0)
    parser.add_argument("--bytes", type=int, default=6000)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--large-bytes", type=int, default=50_000_000)
    parser.add_argument("--line-mb-per-s", type=float, default=100.0, help="all large mail together: a gigabit line")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--to", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.to:
        uvloop.run(send_large(options.to, options))
    else:
        run(options)


if __name__ == "__main__":
    main()
