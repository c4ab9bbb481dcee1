"""Breaks a cell under load, one thing after the other, and holds the books at both ends against each other.

    python -m tests.chaos [--short] [--only NAME ...] [--rate MESSAGES_PER_S]

Prints a line for each scenario: ok or short, what went wrong by kind, the worst verdict time, the count of 451, by how
much the latest answer was over its deadline (over_s), how long mail was not served as before (struck_s), how much of
that after the fault was over (recovery_s), and when every process was back (whole_s). lag_s is how late the load itself
was at most: nothing is measured truer than that. Needs root, clamd and Postfix.
"""

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from functools import partial

import uvloop

from bench import postfix
from tests.chaos import network, servers
from tests.chaos.cell import Cell
from tests.chaos.load import Load, specimens
from tests.chaos.mail_host import MailHost
from tests.chaos.nodes import Nodes
from tests.chaos.run import Result, Site, run
from tests.chaos.scenarios import (
    APART_SCENARIOS,
    MAIL_SCENARIOS,
    NODE_SCENARIOS,
    SCENARIOS,
    Scenario,
)

CAPACITY_S = 6.0
SESSIONS = 16
SHARE = 0.7
"""Of capacity, at which everything happens."""


async def capacity(cell: Site) -> float:
    """Messages a second that this machine gets through now; a short run before it warms the caches."""
    load = Load(cell.way, specimens(cell.maker), secrets.token_hex(3).upper())
    await load.as_fast_as_it_goes(SESSIONS, CAPACITY_S / 2)
    return await load.as_fast_as_it_goes(SESSIONS, CAPACITY_S)


async def play(scenarios: Sequence[Scenario], cell: Site, rate: float) -> list[Result]:
    """Run the scenarios in one cell; each prints its line."""
    if not rate:
        full = await capacity(cell)
        rate = full * SHARE
        print(f"      capacity {full:.0f} messages/s, load {rate:.0f}", flush=True)
    cell.ended(), cell.judged()
    kinds = specimens(cell.maker)
    results = []
    for scenario in scenarios:
        result = await run(scenario, cell, kinds, rate)
        results.append(result)
        print(result.line(), *(f"      {problem}" for problem in result.problems), sep="\n", flush=True)
    return results


PLACES = (
    (SCENARIOS, Cell),
    (APART_SCENARIOS, partial(Cell, apart=True)),
    (NODE_SCENARIOS, Nodes),
    (MAIL_SCENARIOS, MailHost),
)
"""What is broken where."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the form for CI, at most 3 minutes")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[])
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second, instead of 70 %% of capacity")
    args = parser.parse_args()
    if reason := servers.why_not() or network.why_not() or postfix.why_not():
        parser.error(reason)
    results: list[Result] = []
    began_s = time.monotonic()
    for scenarios, place in PLACES:
        if chosen := [
            one for one in scenarios if (one.name in args.only if args.only else one.short or not args.short)
        ]:
            with place() as site:
                results += uvloop.run(play(chosen, site, args.rate))
    short = [result.scenario.name for result in results if result.problems]
    messages = sum(result.figures.messages for result in results)
    total = f"{len(results)} scenarios, {messages} messages in {time.monotonic() - began_s:.0f} s"
    print(f"{'short' if short else 'ok':<5} {total}", *short)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
