"""The lines of `make accept-cluster` that are numbers: each check runs a benchmark and holds its figures to the bounds.

Rounds are fewer here than where figures are quoted (bench/RESULTS.md), so that all of it fits the time.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.impaired import DEADLINE_S
from tests.acceptance import commands
from tests.acceptance.main import find_corpora
from tests.acceptance.report import Report

PEERS = ("--filters", "tamis", "rspamd", "--rounds", "3", "--messages", "650", "--one-session-messages", "150")
SLOW_DNS = ("--slow-rounds", "1", "--slow-messages", "120")
IMPAIRED = ("--rounds", "1", "--messages", "1000")
NODES = ("--rounds", "2", "--messages", "500")
FLOODS: Mapping[str, tuple[str, ...]] = {
    "tenant_flood_p99_ratio": ("--rounds", "2", "--seconds", "5"),
    "tenant_flood_p99_ratio_slow_dns": ("--rounds", "3", "--seconds", "5", "--slow-dns"),
}
RAY_BYTES_PER_MESSAGE_MAX = 500
"""What GCS and raylets may have more than at rest, per message; a message through one of them is thousands of bytes."""
SIMULATION_ERROR_MAX = 0.20


def corpora() -> Path:
    """The test material. Raises AssertionError on a stranger's machine."""
    found = find_corpora()
    if found is None:
        raise AssertionError("no corpora")
    return found


def peers(report: Report) -> None:
    """Side by side with rspamd; our figures count only when every verdict of ours was whole."""
    place = ("--corpora", str(corpora()))
    results = commands.figures("bench.peers", *place, *PEERS, *SLOW_DNS, timeout_s=report.time_s(330.0))
    command = "python -m bench.peers"
    ours, ratios = results["filters"]["tamis"], results["ratios"]
    whole = all(not any(_spoilt(ours[kind])) for kind in ("saturation", "one_session", "slow_dns"))
    lines = (
        ("cpu_share_of_rspamd", ratios["cpu"], "<=0.333", ratios["cpu"] <= 1 / 3),
        ("throughput_times_rspamd", ratios["messages_per_s"], ">=2.5", ratios["messages_per_s"] >= 2.5),
        _p50("end_of_message_p50_one_session_ms", ours["one_session"], 6.0),
        _p50("end_of_message_p50_slow_dns_ms", ours["slow_dns"], 50.0),
    )
    for name, figure, bound, kept in lines:
        shown = figure if whole else f"{figure}_not_whole"
        report.result(name, shown, bound, command, ok=kept and whole)


def _p50(name: str, row: dict[str, Any], bound_ms: float) -> tuple[str, float, str, bool]:
    return name, row["p50_ms"], f"<={bound_ms:g}", row["p50_ms"] <= bound_ms


def _spoilt(row: dict[str, Any]) -> tuple[int, ...]:
    return row["degraded"], row["tempfailed"], row["unanswered"]


def impaired(report: Report) -> None:
    """A dead list, a stopped clamd and a slow Redis at once."""
    numbers = commands.figures("bench.impaired", "--corpora", str(corpora()), *IMPAIRED, timeout_s=report.time_s(150.0))
    command = "python -m bench.impaired"
    answered = numbers["impaired_unanswered"] == 0 == numbers["impaired_tempfailed"]
    p99_s = max(numbers["impaired_p99_s"], numbers["impaired_first_p99_s"])
    report.result("impaired_p99_s", p99_s, f"<={DEADLINE_S:g}", command, ok=answered and 0 < p99_s <= DEADLINE_S)
    share = numbers["throughput_share"]
    report.result("impaired_throughput_share", share, ">=0.8", command, ok=answered and share >= 0.8)


def memory(report: Report) -> None:
    """At rest, and what a replica more takes."""
    numbers = commands.figures("bench.memory", timeout_s=report.time_s(90.0))
    command = "python -m bench.memory"
    report.at_most("up_at_rest_pss_mb", numbers["at_rest_pss_mb"], 1200, command)
    report.at_most("further_replica_pss_mb", numbers["further_replica_pss_mb"], 120, command)


def three_nodes(report: Report) -> None:
    """Three local nodes against one that has their cores alone, and against three cells of one on the same cores."""
    numbers = commands.figures("bench.nodes", *NODES, timeout_s=report.time_s(180.0))
    command = "python -m bench.nodes"
    answered = numbers["unanswered"] == 0
    for key in ("cpu_ratio", "cpu_ratio_to_three_cells"):
        report.result(f"three_nodes_{key}", numbers[key], "<=1.15", command, ok=answered and numbers[key] <= 1.15)
    off, of_ray = numbers["share_off_percent"], numbers["ray_bytes_per_message"]
    report.result("three_nodes_share_deviation", f"{off}_%", "<=10", command, ok=answered and off <= 10)
    bound = f"<={RAY_BYTES_PER_MESSAGE_MAX}_bytes"
    unmet = of_ray <= RAY_BYTES_PER_MESSAGE_MAX
    report.result("three_nodes_messages_through_head", f"{of_ray}_bytes", bound, command, ok=answered and unmet)


def tenants(report: Report) -> None:
    """One tenant floods ten times; the other's p99, which counts only when all of his mail was examined."""
    for name, options in FLOODS.items():
        numbers = commands.figures("bench.tenants", *options, timeout_s=report.time_s(180.0))
        ratio, lost = numbers["p99_ratio"], numbers["a_not_examined"]
        shown = f"{ratio}_and_{lost}_not_examined" if lost else ratio
        command = " ".join(["python -m bench.tenants", *options])
        report.result(name, shown, "<=1.5", command, ok=0 < ratio <= 1.5 and not lost)


def simulation(report: Report) -> None:
    """The largest error of the committed model against loads and failures that it was not fitted to."""
    done = commands.run(sys.executable, "-m", "bench.simulation", "check", "--json")
    rows = [row for row in json.loads(done.stdout) if not row["fit"]]
    errors = {(row["load"], key): value for row in rows for key, value in row.items() if key.startswith("error_")}
    (load, figure), worst = max(errors.items(), key=lambda item: abs(item[1]))
    shown = f"{worst:+.2f}_{figure.removeprefix('error_')}_{load}_of_{len(errors)}"
    kept = abs(worst) <= SIMULATION_ERROR_MAX
    report.result("simulation_error", shown, f"<={SIMULATION_ERROR_MAX}", "python -m bench.simulation check", ok=kept)


NUMBERS = (simulation, memory, peers, impaired, tenants, three_nodes)
