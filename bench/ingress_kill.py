"""An ingress dies by SIGKILL under SMTP load, again and again: what the clients of a real Postfix see of it.

    python -m bench.ingress_kill [--kills 10] [--rate 30]

Strategy: one gateway, two ingress processes that take some time over each verdict, Postfix and the open-loop load.
First a stretch without kills, whose median latency is what a mail takes; then every few seconds one ingress is
killed, the two in turn, and comes back a second later on the same port. What counts is the mails that were on their
way at a kill: their codes, and how much longer they took than that median.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.figures import show
from bench.gateway_cpu import start_gateway
from bench.ingress import IngressProcess
from bench.postfix import Postfix
from bench.smtp_load import (
    Load,
    Options,
    Sent,
    arrivals,
    figures,
    generated,
    own_postfix,
    percentiles_ms,
    wait_for_arrivals,
)

VERDICT_MS = 250.0
"""How long an ingress takes: long enough that each kill meets mail."""
QUIET_S = 8.0
KILL_EVERY_S = 3.0
BACK_AFTER_S = 1.0


async def kill_in_turn(ingresses: Sequence[IngressProcess], kills: int, began_s: float) -> list[float]:
    """When each kill was, in seconds since `began_s`."""
    times: list[float] = []
    for number in range(kills):
        await asyncio.sleep(KILL_EVERY_S - BACK_AFTER_S)
        ingress = ingresses[number % len(ingresses)]
        times.append(time.perf_counter() - began_s)
        await asyncio.to_thread(ingress.kill)
        await asyncio.sleep(BACK_AFTER_S)
        await asyncio.to_thread(ingress.start)
    return times


async def stretch(
    postfix: Postfix, options: argparse.Namespace, seconds: float, ingresses: Sequence[IngressProcess], kills: int
) -> tuple[list[Sent], list[float]]:
    """A load of so many seconds, with kills; what was sent, and when the kills were."""
    target = Options("127.0.0.1", postfix.port, options.rate, options.concurrency, per_connection=5)
    load = Load(target, generated(round(seconds * options.rate), 6000, f"{time.time_ns():x}"))
    running = asyncio.create_task(load.run())
    await asyncio.sleep(0)
    times = await kill_in_turn(ingresses, kills, load.began_s)
    await running
    return load.sent, times


def on_their_way(sent: Sequence[Sent], kills_s: Sequence[float]) -> list[Sent]:
    """The mails that were due and not answered at a kill."""
    return [mail for mail in sent if any(mail.due_s <= kill_s <= mail.end_s for kill_s in kills_s)]


def summary(quiet: Sequence[Sent], sent: Sequence[Sent], kills_s: Sequence[float]) -> dict[str, object]:
    """The figures of the run with kills against the quiet one."""
    median_ms = percentiles_ms(mail.latency_s for mail in quiet)["p50"]
    hit = on_their_way(sent, kills_s)
    added = percentiles_ms(max(0.0, mail.latency_s - median_ms / 1000) for mail in hit)
    return {
        "kills": len(kills_s),
        "quiet_latency_p50_ms": median_ms,
        "on_their_way_at_a_kill": len(hit),
        "added_delay_ms": added,
        "replies_451": sum(mail.code == 451 for mail in (*quiet, *sent)),
        "replies_other_than_250": sum(mail.code != 250 for mail in (*quiet, *sent)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rate", type=float, default=30.0, help="mails per second")
    parser.add_argument("--concurrency", type=int, default=40, help="SMTP connections at a time")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    with (
        IngressProcess(VERDICT_MS) as one,
        IngressProcess(VERDICT_MS) as two,
        tempfile.TemporaryDirectory(prefix="tamis-kill-", dir="/tmp") as folder,
    ):
        gateway, milter, _ = start_gateway(Path(folder), [one.target, two.target])
        try:
            with own_postfix(milter) as postfix:
                quiet, _ = uvloop.run(stretch(postfix, options, QUIET_S, (), 0))
                seconds = options.kills * KILL_EVERY_S + BACK_AFTER_S
                sent, kills_s = uvloop.run(stretch(postfix, options, seconds, (one, two), options.kills))
                accepted = sum(mail.code == 250 for mail in (*quiet, *sent))
                arrived = wait_for_arrivals(postfix, accepted)
        finally:
            gateway.terminate()
            gateway.wait()
    numbers = figures(sent) | summary(quiet, sent, kills_s) | arrivals([*quiet, *sent], arrived)
    show(numbers, as_json=options.json)
    return 1 if numbers["replies_other_than_250"] or numbers["lost"] or numbers["duplicated"] else 0


if __name__ == "__main__":
    sys.exit(main())
