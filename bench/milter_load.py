"""A milter load: real mail from many sessions at once against any milter address.

    python -m bench.milter_load --to inet:11332@127.0.0.1 --corpus DIR_OR_FILE... --sessions 32 --pid PID

Strategy: each session is an SMTP client after the other, each message a milter connection of its own, as Postfix makes
them. With --rate clients come by themselves instead (open loop, Poisson), however many are there already. Every message
is unique: a fresh Message-ID, or, where a DKIM signature covers that field, a fresh field that no signature covers. CPU
counts whole process trees, ended children included; the load generator's own CPU stands apart.
"""

import argparse
import asyncio
import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import uvloop

from bench.figures import percentile
from bench.process_tree import TreeUsage, tree_usage
from cli.edits import Mail
from cli.mail_file import read_mail_file
from cli.mta import MtaOutcome, Timeouts, deliver
from cli.mta_stages import Client

TIMEOUTS = Timeouts(connect_s=10.0, command_s=30.0, content_s=60.0, message_s=120.0)
FILES_MAX = 20_000
UNIQUE_FIELD = b"X-Bench"

_SIGNED = re.compile(rb"(?:^|;)[ \t\r\n]*h[ \t\r\n]*=([^;]*)")
_SIGNATURES = (b"dkim-signature", b"arc-message-signature")


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for."""

    to: str
    corpus: tuple[Path, ...]
    sessions: int
    messages: int
    seconds: float
    pids: tuple[int, ...]
    client: Client
    rate_per_s: float = 0.0
    """Of arriving clients; 0: as many sessions as said, each with the next message when it has an answer."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured."""

    outcomes: list[MtaOutcome]
    wall_s: float
    own_cpu_s: float
    usage: TreeUsage

    def numbers(self) -> dict[str, object]:
        """Every figure with its unit in its name."""
        answered = [outcome for outcome in self.outcomes if not outcome.error]
        waits_ms = sorted(outcome.end_of_message_s * 1000 for outcome in answered if outcome.end_of_message_s)
        count = max(len(self.outcomes), 1)
        return {
            "messages": len(self.outcomes),
            "unanswered": len(self.outcomes) - len(answered),
            "seconds": round(self.wall_s, 2),
            "messages_per_s": round(len(self.outcomes) / self.wall_s, 1),
            "end_of_message_ms": {f"p{p:g}": _percentile(waits_ms, p) for p in (50, 95, 99)},
            "actions": dict(Counter(outcome.action or "error" for outcome in self.outcomes)),
            "errors": dict(Counter(outcome.error for outcome in self.outcomes if outcome.error).most_common(3)),
            "cpu_ms_per_message": round(self.usage.cpu_s * 1000 / count, 3),
            "cpu_ms_per_message_by_process": {
                name: round(cpu_s * 1000 / count, 3) for name, cpu_s in self.usage.cpu_s_by_name.items()
            },
            "pss_mb": round(self.usage.pss_bytes / 1e6, 1),
            "pss_mb_by_process": {name: round(size / 1e6, 1) for name, size in self.usage.pss_bytes_by_name.items()},
            "load_generator_cpu_ms_per_message": round(self.own_cpu_s * 1000 / count, 3),
        }


def read_corpus(places: Sequence[Path]) -> list[Mail]:
    """All mail files below the places, in order of their names."""
    files = [
        file
        for place in places
        for file in (sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place])
    ]
    mails = []
    for file in files[:FILES_MAX]:
        mail = read_mail_file(file, recipients=[b"recipient@example.org"]).as_mail()
        if mail.fields:
            mails.append(mail if mail.sender else replace(mail, sender=b"bench@example.com"))
    return mails


def make_unique(mail: Mail, serial: bytes) -> Mail:
    """The same mail as another message; no field that a signature covers is touched."""
    signed = signed_names(mail)
    fields = mail.fields
    if b"message-id" not in signed:
        fresh = (b"Message-ID", b" <%b@bench.example.org>" % serial)
        fields = tuple(fresh if name.lower() == b"message-id" else (name, value) for name, value in fields)
        fields = fields if fresh in fields else (*fields, fresh)
    unique = UNIQUE_FIELD
    while unique.lower() in signed:
        unique += b"-Unsigned"
    return replace(mail, fields=(*fields, (unique, b" " + serial)))


def signed_names(mail: Mail) -> frozenset[bytes]:
    """Lower-case names of all fields that any DKIM or ARC signature covers (RFC 6376 section 3.5, h=)."""
    names: set[bytes] = set()
    for name, value in mail.fields:
        if name.lower() in _SIGNATURES:
            for match in _SIGNED.finditer(value):
                names.update(part.strip(b" \t\r\n").lower() for part in match[1].split(b":"))
    return frozenset(names)


async def load(
    options: Options, mails: Sequence[Mail], heard: Callable[[int, MtaOutcome], None] = lambda _number, _outcome: None
) -> tuple[list[MtaOutcome], float]:
    """Send until count or time is used up; outcomes and wall seconds. `heard` gets each with its number and edits."""
    run = os.urandom(6).hex().encode()
    outcomes: list[MtaOutcome] = []
    start = time.perf_counter()
    numbers = takewhile(lambda _: time.perf_counter() - start <= options.seconds, range(options.messages))

    async def message(number: int) -> None:
        mail = make_unique(mails[number % len(mails)], b"%b.%d" % (run, number))
        outcome = await deliver(options.to, mail, options.client, timeouts=TIMEOUTS)
        heard(number, outcome)
        outcomes.append(replace(outcome, mail=Mail(b"", (), (), b""), edits=(), steps=()))

    async def session() -> None:
        for number in numbers:
            await message(number)

    async with asyncio.TaskGroup() as group:
        if options.rate_per_s:
            due_s = start
            for number in numbers:
                due_s += random.expovariate(options.rate_per_s)
                await asyncio.sleep(due_s - time.perf_counter())
                group.create_task(message(number))
        else:
            for _ in range(options.sessions):
                group.create_task(session())
    return outcomes, time.perf_counter() - start


def measure(options: Options) -> Report:
    """One run."""
    mails = read_corpus(options.corpus)
    if not mails:
        raise SystemExit("no mail found in " + " ".join(map(str, options.corpus)))
    before = tree_usage(options.pids)
    own_start = time.process_time()
    outcomes, wall_s = uvloop.run(load(options, mails))
    own_cpu_s = time.process_time() - own_start
    return Report(outcomes, wall_s, own_cpu_s, tree_usage(options.pids).since(before))


def _percentile(sorted_values: Sequence[float], percent: float) -> float | None:
    value = percentile(sorted_values, percent)
    return None if value is None else round(value, 2)


def _options() -> tuple[Options, bool]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="inet:11332@127.0.0.1", help="milter address")
    parser.add_argument("--corpus", nargs="+", type=Path, required=True, help="mail files or folders of them")
    parser.add_argument("--sessions", type=int, default=32, help="SMTP clients at a time")
    parser.add_argument("--rate", type=float, default=0.0, help="clients per second that come by themselves")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=600.0, help="start no message after this time")
    parser.add_argument("--pid", nargs="*", type=int, default=[], help="measure the process trees below these")
    parser.add_argument("--client-delay-ms", type=float, default=0.0, help="pause before each SMTP command")
    parser.add_argument("--client-ip", default="192.0.2.1")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    args = parser.parse_args()
    if min(args.sessions, args.messages) < 1:
        parser.error("--sessions and --messages are at least 1")
    client = Client(ip=args.client_ip, delay_s=args.client_delay_ms / 1000)
    options = Options(
        args.to,
        tuple(args.corpus),
        args.sessions,
        args.messages,
        args.seconds,
        tuple(args.pid),
        client,
        args.rate,
    )
    return options, args.json


def main() -> int:
    options, as_json = _options()
    report = measure(options)
    numbers = report.numbers()
    if as_json:
        print(json.dumps(numbers))
    else:
        for name, value in numbers.items():
            shown = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else value
            print(f"{name:<36} {shown}")
    return 1 if numbers["unanswered"] else 0


if __name__ == "__main__":
    sys.exit(main())
