"""The side-by-side bench; see bench/peers/__init__.py."""

import argparse
import json
import os
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.peers import corpus, rounds
from bench.peers.filters import FILTERS, Filter
from bench.peers.processes import Missing
from bench.peers.table import NOT_YET, ONLY_OURS, medians, table
from bench.run import yardstick_ms

SLOW_FILTERS = ("tamis", "rspamd")
"""Filters whose waiting for DNS is measured."""


def main() -> int:
    """All rounds, the filters in turn; 1 when a round of ours was not whole."""
    args = _arguments()
    chosen = [one for one in FILTERS if one.name in args.filters]
    log = Console(stderr=True, quiet=args.json)
    mails = corpus.mixed(args.corpora)
    zone = corpus.zone(args.corpora, mails)
    gathered: dict[str, dict[str, list[rounds.Figures]]] = defaultdict(lambda: defaultdict(list))
    rest_mb: dict[str, list[float]] = defaultdict(list)
    yardsticks_ms = []
    try:
        for number in range(args.rounds):
            # Another part of the corpus each time, the same one for all filters.
            shifted = mails[number * 100 :] + mails[: number * 100]
            material = rounds.Material(args.corpora, shifted, zone, args.tamis)
            for one in chosen:
                yardsticks_ms.append(yardstick_ms())
                local = rounds.measure(one, _local(args), material)
                rest_mb[one.name].append(local.rest_pss_mb)
                for kind, figures in zip(("one_session", "saturation"), local.loads, strict=True):
                    gathered[one.name][kind].append(figures)
                if one.name in SLOW_FILTERS and number < args.slow_rounds:
                    slow = rounds.measure(one, _slow(args), material)
                    gathered[one.name]["slow_dns"].append(slow.loads[0])
                log.print(_line(number, one, gathered[one.name]))
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    results = {
        "rounds": args.rounds,
        "cores": os.cpu_count(),
        "yardstick_ms": round(min(yardsticks_ms), 1),
        "filters": {
            one.name: {
                "version": one.version(),
                "rest_pss_mb": round(min(rest_mb[one.name]), 1),
                **{kind: medians(figures) for kind, figures in gathered[one.name].items()},
            }
            for one in chosen
        },
        "not_yet": NOT_YET,
    }
    results["ratios"] = _ratios(results["filters"])
    _show(results, as_json=args.json)
    whole = all(figures.valid for every in gathered.get("tamis", {}).values() for figures in every)
    return 0 if whole else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", type=Path, default=Path(os.environ.get("TAMIS_CORPORA", ".test-data")))
    parser.add_argument("--filters", nargs="+", default=[one.name for one in FILTERS])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=5, help="rounds in which slow DNS is measured, too")
    parser.add_argument("--messages", type=int, default=1600, help="of one saturation")
    parser.add_argument("--one-session-messages", type=int, default=300)
    parser.add_argument("--slow-messages", type=int, default=240, help="with slow DNS")
    parser.add_argument("--sessions", type=int, default=32, help="of one saturation")
    parser.add_argument("--tamis", default="", help="further sections of our configuration, TOML")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _local(args: argparse.Namespace) -> rounds.Plan:
    loads = (rounds.Load(1, args.one_session_messages), rounds.Load(args.sessions, args.messages))
    return replace(rounds.LOCAL, loads=loads)


def _slow(args: argparse.Namespace) -> rounds.Plan:
    (load,) = rounds.SLOW.loads
    return replace(rounds.SLOW, loads=(replace(load, messages=args.slow_messages),))


def _line(number: int, one: Filter, gathered: dict[str, list[rounds.Figures]]) -> str:
    full, alone = gathered["saturation"][-1], gathered["one_session"][-1]
    slow = gathered.get("slow_dns")
    text = (
        f"round {number + 1} {one.name}: {full.messages_per_s:.0f}/s, {full.cpu_ms:.2f} ms CPU, p50 {full.p50_ms:.1f}"
    )
    text += f", one session {alone.p50_ms:.1f} ms ({alone.cpu_ms:.2f} ms CPU)"
    return text + (f", slow DNS p50 {slow[-1].p50_ms:.1f} ms" if slow else "")


def _ratios(filters: dict[str, Any]) -> dict[str, float]:
    """Ours against rspamd's."""
    if not {"tamis", "rspamd"} <= filters.keys():
        return {}
    ours, theirs = filters["tamis"]["saturation"], filters["rspamd"]["saturation"]
    return {
        "cpu": round(ours["cpu_ms"] / theirs["cpu_ms"], 3),
        "messages_per_s": round(ours["messages_per_s"] / theirs["messages_per_s"], 2),
    }


def _show(results: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(results))
        return
    console = Console(width=180)
    console.print(table(results))
    for name, value in results["ratios"].items():
        console.print(f"ours / rspamd, {name}: {value}")
    console.print(f"yardstick {results['yardstick_ms']} ms\nrspamd checks, Tamis does not yet:", *NOT_YET, sep="\n  ")
    console.print("Tamis does, rspamd's default modules do not:", *ONLY_OURS, sep="\n  ")


if __name__ == "__main__":
    sys.exit(main())
