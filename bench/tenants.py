"""What one tenant's flood costs another: `python -m bench.tenants [--rounds 3] [--json]`.

Strategy: a whole Tamis; tenant A sends at a steady pace, tenant B first as much as A, then ten times as much, which is
more than the cell can examine. Rounds of both kinds alternate; the ratio of A's p99 at the end of message (medians of
the rounds) is the figure. The pace is a share of what the cell examines at most, which is measured first. With
`--slow-dns` every name is asked anew and answered after 20 to 40 ms, as by a resolver that has to ask others.

Each tenant has a sender process of its own, which starts before its time has come, since its start takes as much of the
cores as some hundred messages. Where the kernel lets them, that of A goes first, so that its own waiting for a core is
not measured, and that of B last, as if it were on another machine; its line at the cell is never empty all the same.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import uvloop

from bench.figures import percentile, show
from bench.milter_load import TIMEOUTS, make_unique
from bench.samples import CLIENT_IP, SampleMaker
from bench.stack import Stack, StackOptions
from cli.edits import Mail
from cli.mail_file import prepare
from cli.mta import deliver
from cli.mta_stages import Client

TENANTS = 'tenants = {"a.example" = "a", "b.example" = "b"}'
START_S, WARM_UP_S, MOST_S = 1.5, 3.0, 4.0
"""Of a sender, of the flood before A begins, and of the load that tells what the cell can examine."""
PRIORITIES = {"a": -10, "b": 10}
"""Of the senders."""
SLOW_DNS_S = (0.02, 0.04)
UNCACHED = "cache_entries = 0\nnegative_ttl_s = 0"
ORDINARY = ("signed order", "personal note")


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one tenant's mail in one round."""

    actions: dict[str, int]
    waits_ms: tuple[float, ...]
    """At the end of message, of mail that got a verdict; sorted."""
    seconds: float

    @property
    def per_s(self) -> float:
        """Verdicts a second."""
        return len(self.waits_ms) / self.seconds


def mails_of(tenant: str) -> list[Mail]:
    """Ordinary mail to a tenant."""
    recipients = [f"someone@{tenant}.example".encode()]
    samples = [sample for sample in SampleMaker().samples() if sample.name in ORDINARY]
    return [prepare(sample.raw, sample.sender, recipients).as_mail() for sample in samples]


async def send(options: argparse.Namespace) -> Sent:
    """Send at a pace, or as fast as the sessions allow when there is none; sessions are bounded in any case."""
    mails = mails_of(options.tenant)
    run, client = os.urandom(4).hex().encode(), Client(ip=CLIENT_IP)
    await asyncio.sleep(options.at - time.monotonic())
    waits_ms: list[float] = []
    actions: Counter[str] = Counter()
    began_s = time.perf_counter()
    numbers = iter(range(1 << 40))

    async def session(offset: int) -> None:
        await asyncio.sleep(offset / max(options.rate, options.sessions))
        while time.perf_counter() - began_s < options.seconds:
            number = next(numbers)
            if options.rate:
                await asyncio.sleep(began_s + number / options.rate - time.perf_counter())
            mail = make_unique(mails[number % len(mails)], b"%b.%d" % (run, number))
            outcome = await deliver(options.to, mail, client, timeouts=TIMEOUTS)
            actions[outcome.action or "none"] += 1
            if outcome.action not in ("tempfail", ""):
                waits_ms.append(outcome.end_of_message_s * 1000)

    await asyncio.gather(*(session(offset) for offset in range(options.sessions)))
    return Sent(dict(actions), tuple(sorted(waits_ms)), time.perf_counter() - began_s)


class Sender:
    """A sender in a process of its own."""

    def __init__(self, to: str, tenant: str, **numbers: float) -> None:
        """`numbers` are options of the command: at, rate, sessions, seconds."""
        options = [f"--to={to}", f"--tenant={tenant}", *(f"--{name}={number}" for name, number in numbers.items())]
        self._process = subprocess.Popen([sys.executable, "-m", "bench.tenants", *options], stdout=subprocess.PIPE)
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, PRIORITIES[tenant])

    def result(self) -> Sent:
        """Wait for its end. Raises RuntimeError when it failed."""
        out, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError("a sender failed")
        told = json.loads(out)
        return Sent(told["actions"], tuple(told["waits_ms"]), told["seconds"])


def round_of(to: str, options: argparse.Namespace, rate: float, times: int) -> tuple[Sent, Sent]:
    """A at its pace and B at so many times that, together; what became of both."""
    sessions = min(options.sessions * times, options.flood_sessions)
    at = time.monotonic() + START_S
    flood = Sender(to, "b", at=at, rate=rate * times, sessions=sessions, seconds=options.seconds + WARM_UP_S)
    steady = Sender(to, "a", at=at + WARM_UP_S, rate=rate, sessions=options.sessions, seconds=options.seconds - 1)
    return steady.result(), flood.result()


def p99(sent: Sent) -> float:
    return percentile(sent.waits_ms, 99) or 0.0


def described(sent: Sent) -> str:
    p50 = percentile(sent.waits_ms, 50) or 0.0
    return f"{sent.per_s:.0f}/s p50 {p50:.0f} p99 {p99(sent):.0f} ms {sent.actions}"


def tell(what: str, steady: Sent, flood: Sent) -> None:
    print(
        f"{what}: A {described(steady)}; B {described(flood)}",
        file=sys.stderr,
        flush=True,
    )


def run(options: argparse.Namespace) -> dict[str, object]:
    stack_options = StackOptions(gateway=TENANTS, trace=False)
    if options.slow_dns:
        stack_options = replace(stack_options, dns=UNCACHED, dns_delay_s=SLOW_DNS_S)
    with Stack(SampleMaker().zone(), stack_options) as stack:
        for seconds in (WARM_UP_S, MOST_S):
            most = Sender(stack.milter, "b", sessions=32, seconds=seconds).result()
        rate = most.per_s * options.share
        rounds: dict[int, list[tuple[Sent, Sent]]] = {1: [], options.times: []}
        for _ in range(options.rounds):
            for times, done in rounds.items():
                done.append(round_of(stack.milter, options, rate, times))
                tell(f"B at {times}x", *done[-1])
    medians = {times: statistics.median(p99(steady) for steady, _ in done) for times, done in rounds.items()}
    floods = [flood for _, flood in rounds[options.times]]
    return {
        "messages_per_s_at_most": round(most.per_s, 1),
        "pace_of_a_per_s": round(rate, 1),
        "p99_of_a_ms": {f"b_at_{times}x": round(median, 1) for times, median in medians.items()},
        "p99_ratio": round(medians[options.times] / medians[1], 2),
        "a_not_examined": _not_examined([steady for done in rounds.values() for steady, _ in done]),
        "flood_per_s": round(statistics.median(flood.per_s for flood in floods), 1),
        "flood_p50_ms": round(statistics.median(percentile(flood.waits_ms, 50) or 0 for flood in floods), 1),
        "flood_not_examined": _not_examined(floods),
    }


def _not_examined(all_sent: Sequence[Sent]) -> int:
    return sum(sent.actions.get("tempfail", 0) + sent.actions.get("none", 0) for sent in all_sent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=7.0)
    parser.add_argument("--share", type=float, default=0.3, help="A's pace, of what the cell can examine at most")
    parser.add_argument("--times", type=int, default=10, help="how much more B sends in the rounds with a flood")
    parser.add_argument("--sessions", type=int, default=32, help="of A, and of B for each time its pace")
    parser.add_argument("--flood-sessions", type=int, default=300, help="of B at most")
    parser.add_argument("--slow-dns", action="store_true", help="answers come after 20 to 40 ms, and none is kept")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--to", default="", help=argparse.SUPPRESS)
    parser.add_argument("--tenant", default="", help=argparse.SUPPRESS)
    parser.add_argument("--at", type=float, default=0.0, help=argparse.SUPPRESS)  # of the monotonic clock
    parser.add_argument("--rate", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.to:
        sent = uvloop.run(send(options))
        print(json.dumps({"actions": sent.actions, "waits_ms": sent.waits_ms, "seconds": sent.seconds}))
    else:
        show(run(options), as_json=options.json)


if __name__ == "__main__":
    main()
