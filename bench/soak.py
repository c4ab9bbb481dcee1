"""Soak: a million short sessions through one gateway process, to see whether its memory stays where it is.

    python -m bench.soak [--sessions 1000000] [--connections 24] [--write bench/soak.json]

Strategy: a session is what an SMTP client with one small mail makes of a milter connection: connect, negotiate,
CONNECT, HELO, MAIL, RCPT with its answer, content, verdict, QUIT. Everything that is said is encoded once; the load
is two plain processes that only count frames, over a unix socket. PSS, CPU and open files of the gateway are read
every few seconds; the slope of PSS over sessions is a least-squares line after the warm-up. The result names the
commit and the trees of gateway/ and wire/, so that acceptance can tell whether it still holds.
"""

import argparse
import asyncio
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import cast

import uvloop

from bench.figures import show
from bench.gateway_cpu import cpu_s, pss_bytes, start_gateway
from bench.ingress import IngressProcess
from wire.milter import MtaConnection, UnixAddress, parse_listen
from wire.milter import constants as c
from wire.milter import events as ev

PROJECT = Path(__file__).resolve().parents[1]
RESULT = PROJECT / "bench" / "soak.json"
TREES = ("gateway", "wire")
PROCESSES = 2
SAMPLE_S = 5.0
PROGRESS_S = 20.0
WARM_UP_SHARE = 0.2
"""Sessions before the line is fitted: caches fill and the allocator finds its size."""
SESSION_S = 60.0
SLOPE_MAX = 2.0
"""Bytes of its own per session that still count as none: two megabytes per million."""


def encoded() -> tuple[bytes, bytes, bytes, bytes]:
    """What the MTA says: offer, envelope up to RCPT, content up to end of message, QUIT."""
    mta = MtaConnection()
    offer = mta.send(ev.Negotiate(c.VERSION_MAX, c.ALL_ACTIONS, c.OFFERED_STEPS))
    mta.receive_data(
        _frame(b"O" + b"".join(n.to_bytes(4) for n in (6, c.ALL_ACTIONS, c.WANTED_STEPS & c.OFFERED_STEPS)))
    )
    mta.next_event()
    said = [
        ev.Macros(c.SMFIC_CONNECT, ((b"j", b"mx.recipient.example"), (b"{daemon_name}", b"smtpd"))),
        ev.Connect(b"mail.shop.example", c.SMFIA_INET, 54321, b"192.0.2.7"),
        ev.Helo(b"mail.shop.example"),
        ev.Macros(c.SMFIC_MAIL, ((b"{mail_addr}", b"anna@shop.example"),)),
        ev.Mail(b"<anna@shop.example>", (b"SIZE=1500",)),
        ev.Macros(c.SMFIC_RCPT, ((b"i", b"4SOAK"), (b"{rcpt_addr}", b"reader@recipient.example"))),
        ev.Recipient(b"<reader@recipient.example>"),
    ]
    envelope = b"".join(map(mta.send, said))
    mta.receive_data(_frame(b"c"))
    mta.next_event()
    headers = [ev.Header(b"X-Field-%d" % number, b" " + b"v" * 50) for number in range(8)]
    content = [ev.Data(), *headers, ev.EndOfHeaders(), ev.Body(b"hello, reader\r\n" * 60)]
    message = b"".join(map(mta.send, [*content, ev.Macros(c.SMFIC_BODYEOB, ((b"i", b"4SOAK"),)), ev.EndOfBody()]))
    return offer, envelope, message, _frame(b"Q")


def _frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4) + payload


class Session(asyncio.Protocol):
    """One milter connection; `done` tells whether the message was accepted."""

    SAID = encoded()

    def __init__(self, done: "asyncio.Future[bool]") -> None:
        self._done = done
        self._heard = b""
        self._stage = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Offer."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._transport.write(self.SAID[0])

    def data_received(self, data: bytes) -> None:
        """Count frames."""
        self._heard += data
        while len(self._heard) >= 5:
            end = 4 + int.from_bytes(self._heard[:4])
            if len(self._heard) < end:
                return
            letter, self._heard = self._heard[4:5], self._heard[end:]
            self._take(letter)

    def _take(self, letter: bytes) -> None:
        if letter in b"himp":
            return  # an edit or a sign of life
        self._stage += 1
        if letter not in (b"O", b"c", b"ca")[min(self._stage, 3) - 1] or self._stage > 3:
            self._end(accepted=False)
        elif self._stage == 3:
            self._transport.write(self.SAID[3])
            self._end(accepted=True)
        else:
            self._transport.write(self.SAID[self._stage])

    def connection_lost(self, _error: Exception | None) -> None:
        """Too early, unless all was said."""
        self._end(accepted=False)

    def _end(self, *, accepted: bool) -> None:
        if not self._done.done():
            self._done.set_result(accepted)
            self._transport.close()


def drive(path: str, sessions: int, connections: int, done: "Synchronized[int]", failed: "Synchronized[int]") -> None:
    """One load process: `sessions` sessions, `connections` at a time."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        numbers = iter(range(sessions))

        async def one_after_the_other() -> None:
            for _ in numbers:
                accepted = loop.create_future()
                try:
                    async with asyncio.timeout(SESSION_S):
                        await loop.create_unix_connection(lambda future=accepted: Session(future), path)
                        ok = await accepted
                except (OSError, TimeoutError):
                    ok = False
                    await asyncio.sleep(0.05)
                done.value += 1
                failed.value += not ok

        await asyncio.gather(*(one_after_the_other() for _ in range(connections)))

    uvloop.run(run())


@dataclass(frozen=True, slots=True)
class Sample:
    """The gateway at one moment."""

    sessions: int
    pss_bytes: int
    own_bytes: int
    """The anonymous part of PSS: what is mapped from files is shared with whatever else runs Python just now."""
    files: int


def sample(pid: int, sessions: int) -> Sample:
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Sample(sessions, pss_bytes(pid), pss_bytes(pid, "Pss_Anon"), files)


def slope(points: Sequence[tuple[int, int]]) -> float:
    """Bytes per session: least squares over (sessions, bytes). Needs two of different sessions, else 0."""
    count = max(len(points), 1)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def run(sessions: int, connections: int) -> dict[str, object]:
    """One soak; its figures."""
    with tempfile.TemporaryDirectory(prefix="tamis-soak-", dir="/tmp") as folder, IngressProcess() as ingress:
        listen = f"unix:{folder}/milter.sock"
        gateway, milter, _ = start_gateway(Path(folder), ingress.target, listen=listen)
        try:
            address = parse_listen(milter)
            assert isinstance(address, UnixAddress)
            return measure(gateway.pid, address.path, sessions, connections)
        finally:
            gateway.terminate()
            gateway.wait()


def measure(pid: int, path: str, sessions: int, connections: int) -> dict[str, object]:
    context = multiprocessing.get_context("spawn")
    counters = [(context.Value("q", 0, lock=False), context.Value("q", 0, lock=False)) for _ in range(PROCESSES)]
    share = [sessions // PROCESSES + (number < sessions % PROCESSES) for number in range(PROCESSES)]
    workers = [
        context.Process(
            target=drive, args=(path, share[n], max(1, connections // PROCESSES), *counters[n]), daemon=True
        )
        for n in range(PROCESSES)
    ]
    before = sample(pid, 0)
    cpu_before_s, began_s = cpu_s(pid), time.monotonic()
    for worker in workers:
        worker.start()
    samples: list[Sample] = []
    told_s = began_s
    while any(worker.is_alive() for worker in workers):
        workers[0].join(SAMPLE_S)
        samples.append(sample(pid, sum(done.value for done, _ in counters)))
        if time.monotonic() - told_s >= PROGRESS_S:
            told_s = time.monotonic()
            progress(samples[-1], sessions, told_s - began_s)
        if not workers[0].is_alive():
            for worker in workers[1:]:
                worker.join(SAMPLE_S)
    took_s = time.monotonic() - began_s
    time.sleep(1)
    last = sample(pid, sum(done.value for done, _ in counters))
    settled = [s for s in samples if s.sessions >= sessions * WARM_UP_SHARE] or [last]
    return {
        "sessions": last.sessions,
        "failed": sum(failed.value for _, failed in counters),
        "seconds": round(took_s, 1),
        "sessions_per_s": round(last.sessions / took_s),
        "gateway_cpu_ms_per_session": round((cpu_s(pid) - cpu_before_s) / max(last.sessions, 1) * 1000, 3),
        "pss_mb_start": round(before.pss_bytes / 1e6, 2),
        "pss_mb_after_warm_up": round(settled[0].pss_bytes / 1e6, 2),
        "pss_mb_end": round(last.pss_bytes / 1e6, 2),
        "pss_slope_bytes_per_session": round(slope([(s.sessions, s.pss_bytes) for s in settled]), 3),
        "own_mb_after_warm_up": round(settled[0].own_bytes / 1e6, 2),
        "own_mb_end": round(last.own_bytes / 1e6, 2),
        "own_slope_bytes_per_session": round(slope([(s.sessions, s.own_bytes) for s in settled]), 3),
        "files_start": before.files,
        "files_end": last.files,
        "samples": len(settled),
    }


def progress(now: Sample, sessions: int, elapsed_s: float) -> None:
    rate = now.sessions / elapsed_s
    left_s = (sessions - now.sessions) / rate if rate else 0
    print(
        f"{now.sessions:>9} sessions  {rate:6.0f}/s  PSS {now.pss_bytes / 1e6:.1f} MB  files {now.files}  "
        f"{left_s / 60:.1f} min left",
        file=sys.stderr,
        flush=True,
    )


def provenance() -> dict[str, object]:
    """Date, commit and the trees that were soaked."""
    trees = {folder: git("rev-parse", f"HEAD:{folder}") for folder in TREES}
    changed = git("status", "--porcelain", *TREES)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "trees": trees,
        "uncommitted": bool(changed),
    }


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=24, help="at a time")
    parser.add_argument(
        "--write", type=Path, help=f"also write the figures there, as `make soak` does to {RESULT.name}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    figures = provenance() | run(options.sessions, options.connections)
    if options.write:
        options.write.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures, as_json=options.json)
    return 1 if figures["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
