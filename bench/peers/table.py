"""Medians of all rounds, and the table that shows the filters side by side."""

import dataclasses
from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.table import Table

from bench.peers.rounds import Figures

NOT_YET = (
    "DNS block and allow lists of IPs, domains and URLs (rbl, surbl)",
    "fuzzy hashes (needs rspamd's servers: not reachable in this bench either)",
    "Bayes that learns (ours is trained beforehand)",
    "phishing: displayed against real links (phishing)",
    "header and body rules (regexp, ~800), composites",
    "HELO, PTR and host name checks (hfilter, once_received)",
    "attachment types against their names (mime_types)",
    "mailing list, forged recipients, MID and date rules",
    "reputation, replies, history in Redis",
    "ASN, multimaps, URL redirectors, mx_check (off by default), neural (untrained by default)",
)
"""What rspamd's default modules check and Tamis does not yet."""
ONLY_OURS = (
    "archives unpacked and yara-x rules run on attachments",
    "a deadline per message, and a verdict that says what is missing",
)


def medians(figures: Sequence[Figures]) -> dict[str, Any]:
    """The median of every number; counts of what must not be are added up, processes are those of the last round."""
    told: dict[str, Any] = {}
    for field in dataclasses.fields(Figures):
        values = [getattr(one, field.name) for one in figures]
        if field.name in ("unanswered", "tempfailed", "degraded"):
            told[field.name] = sum(values)
        elif field.name == "cpu_ms_by_process":
            told[field.name] = {name: ms for name, ms in values[-1].items() if ms >= 0.01}
        else:
            told[field.name] = round(median(values), 3)
    return told


def table(results: dict[str, Any]) -> Table:
    """One row per filter."""
    shown = Table(title=f"medians of {results['rounds']} alternating rounds, mixed corpus, {results['cores']} cores")
    for name in ("filter", "messages/s", "CPU ms", "end of message, 32 sessions", "1 session", "slow DNS, far client"):
        shown.add_column(name)
    for name in ("PSS (RSS) MB", "DKIM pass", "spam found", "ham mistaken", "degraded"):
        shown.add_column(name)
    for name, row in results["filters"].items():
        full, one, slow = row["saturation"], row["one_session"], row.get("slow_dns")
        shown.add_row(
            f"{name} {row['version']}",
            f"{full['messages_per_s']:.0f}",
            f"{full['cpu_ms']:.2f}",
            _waits(full),
            _waits(one),
            _waits(slow) if slow else "-",
            f"{full['pss_mb']:.0f} ({full['rss_mb']:.0f})",
            f"{full['dkim_pass']:.1%}",
            f"{full['spam_found']:.1%}",
            f"{full['ham_mistaken']:.1%}",
            str(full["degraded"] + full["tempfailed"] + full["unanswered"]),
        )
    return shown


def _waits(row: dict[str, Any]) -> str:
    return " · ".join(f"{row[key]:.1f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
