"""CPU of the gateway alone per message: `python -m bench.gateway_cpu [--sessions 32] [--messages 4000] [--bytes 6000]`.

Strategy: a gateway process, and in this process a fake ingress that accepts everything over real gRPC and MTAs that
play one message after the other, each with its own queue id. What counts is the gateway's own CPU time (user and
system, all threads) between the first and the last message; end-of-message times are seen from the MTA.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.figures import show
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import FakeIngress, serve, verdict
from tests.gateway.mta import Heard, Mail, Mta
from wire.milter import events as ev
from wire.milter import parse_listen

TICKS = os.sysconf("SC_CLK_TCK")
EDITS = (
    pb.Edit(insert_header=pb.InsertHeader(index=0, name=b"Authentication-Results", value=b"mx.example; spf=pass")),
    pb.Edit(add_header=pb.AddHeader(name=b"X-Spam-Score", value=b"1.2")),
    pb.Edit(add_header=pb.AddHeader(name=b"X-Spam-Status", value=b"No, score=1.2 required=5.0 tests=A,B,C")),
)


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pss_bytes(pid: int, part: str = "Pss") -> int:
    """Proportional set size, or a part of it, e.g. Pss_Anon."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) * 1024 for row in rows if row.startswith(f"{part}:"))


def mail_of(size_bytes: int, number: int) -> Mail:
    headers = tuple((b"X-Field-%d" % index, b" " + b"v" * 60) for index in range(20))
    body = (b"x" * 70 + b"\r\n") * max(1, (size_bytes - 20 * 75) // 72)
    return Mail(headers=headers, body=body, queue_id=b"%010d" % number)


async def session(address: str, numbers: "asyncio.Queue[int]", size_bytes: int, waits_s: list[float]) -> None:
    endpoint = parse_listen(address)
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    mta = Mta(writer.write, lambda: reader.read(65_536))
    await mta.open()
    while not numbers.empty():
        mail = mail_of(size_bytes, numbers.get_nowait())
        heard = Heard(await mta.envelope(mail))
        await mta.content(mail)
        began_s = time.perf_counter()
        await mta.hear_verdict(heard)
        waits_s.append(time.perf_counter() - began_s)
        if not isinstance(heard.final, ev.Accept):
            raise SystemExit(f"unexpected reply {heard.final}")
        await mta.say(ev.Abort())
    writer.write(mta.codec.send(ev.Quit()))
    writer.close()


async def load(address: str, sessions: int, messages: int, size_bytes: int) -> list[float]:
    numbers: asyncio.Queue[int] = asyncio.Queue()
    for number in range(messages):
        numbers.put_nowait(number)
    waits_s: list[float] = []
    await asyncio.gather(*(session(address, numbers, size_bytes, waits_s) for _ in range(sessions)))
    return waits_s


def start_gateway(
    folder: Path,
    ingress: str | Sequence[str],
    log_level: str = "info",
    *,
    listen: str = "inet:0@127.0.0.1",
    settings: str = "",
) -> tuple["subprocess.Popen[bytes]", str, float]:
    """A gateway process, its milter address and how long it took to listen, in seconds."""
    ready, config = folder / "ready", folder / "tamis.toml"
    targets = [ingress] if isinstance(ingress, str) else list(ingress)
    config.write_text(
        f'[gateway]\nlisten = ["{listen}"]\ningress = {json.dumps(targets)}\nops_listen = ""\n'
        f'log_level = "{log_level}"\n{settings}'
    )
    began_s = time.perf_counter()
    command = [sys.executable, "-m", "gateway", "--config", str(config), "--ready-file", str(ready)]
    gateway = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not ready.exists():
        time.sleep(0.005)
    return gateway, json.loads(ready.read_text())["milter"], time.perf_counter() - began_s


async def run(folder: Path, options: argparse.Namespace) -> None:
    server, target = await serve(FakeIngress(verdict(pb.ACTION_ADD_HEADER, edits=EDITS)))
    gateway, address, start_s = await asyncio.to_thread(start_gateway, folder, target, options.log_level)
    await load(address, options.sessions, 200, options.bytes)
    cpu_before_s, began_s = cpu_s(gateway.pid), time.perf_counter()
    waits_s = await load(address, options.sessions, options.messages, options.bytes)
    took_s, used_s = time.perf_counter() - began_s, cpu_s(gateway.pid) - cpu_before_s
    quantiles = statistics.quantiles(waits_s, n=100)
    figures = {
        "sessions": options.sessions,
        "messages": options.messages,
        "message_bytes": options.bytes,
        "gateway_cpu_ms_per_message": round(used_s / options.messages * 1000, 3),
        "messages_per_s": round(options.messages / took_s),
        "end_of_message_ms": {"p50": round(quantiles[49] * 1000, 2), "p99": round(quantiles[98] * 1000, 2)},
        "start_s": round(start_s, 2),
        "pss_mb": round(pss_bytes(gateway.pid) / 1e6),
    }
    show(figures, as_json=options.json)
    gateway.terminate()
    await asyncio.to_thread(gateway.wait)
    await server.stop(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--bytes", type=int, default=6000)
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(Path(folder), options))


if __name__ == "__main__":
    main()
