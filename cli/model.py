"""`tamis model`: what a model file is (show), and how the second model of a cell compares with its first (report)."""

import json
import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from actors.classifier.comparison import SHIFTS, Comparison, comparisons
from cli.admin import (
    RUN_DIR,
    TIMEOUT_S,
    AddressOption,
    Admin,
    ConfigOption,
    JsonOption,
    RunDirOption,
    TimeoutOption,
    TokenOption,
    find_access,
    run,
)
from cli.status import console, plain

EXIT_NOTHING = 1
EXIT_REFUSED = 1


def show(
    file: Annotated[Path | None, typer.Argument(help="A .safetensors model; default: the shipped one.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Check a model as a replica does when it loads it, and show its version and card.

    Exits 0 when a cell of this release takes it, 1 when not.
    """
    from actors.classifier import model

    path = file or model.SHIPPED_MODEL
    try:
        _, card = model.load(path)
    except model.ModelError as error:
        print(f"tamis model show: {error}", file=sys.stderr)
        raise SystemExit(EXIT_REFUSED) from None
    version, values = model.version_of(card), msgspec.to_builtins(card)
    if as_json:
        print(json.dumps({"version": version, "card": values}))
        return
    table = Table("version", version, box=None, pad_edge=False)
    for name, value in _flat(values):
        table.add_row(name, plain(str(value)))
    console().print(table)


def report(  # noqa: PLR0913  the options of the command
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """Compare what [classifier] shadow_model would have said with what the model said, since the replicas began.

    Exits 0 when messages were compared, 1 when none were, 2 for wrong options, 3 when no supervisor answers, 4 without
    a token that may.
    """

    def work(admin: Admin) -> None:
        found = comparisons(admin.status().cell.counters)
        rows = [_figures(live, shadow, comparison) for (live, shadow), comparison in sorted(found.items())]
        if as_json:
            print(json.dumps(rows))
        else:
            for row in rows:
                _show(console(), row)
        if not any(row["messages"] for row in rows):
            print("tamis model report: nothing is compared; see [classifier] shadow_model", file=sys.stderr)
            raise SystemExit(EXIT_NOTHING)

    run("tamis model report", lambda: find_access(config, run_dir, address, token_file, timeout_s), work)


VERBS = {"show": show, "report": report}


def _figures(live: str, shadow: str, comparison: Comparison) -> dict[str, Any]:
    """One comparison as plain values; shares are None of nothing."""
    messages, agreed = comparison.messages, comparison.both_spam + comparison.both_ham
    return {
        "live": live,
        "shadow": shadow,
        "messages": messages,
        **asdict(comparison),
        "shift_bounds": SHIFTS,
        "agreement": agreed / messages if messages else None,
        "shadow_ms": comparison.shadow_us / 1000 / messages if messages else None,
    }


def _show(out: Console, row: dict[str, Any]) -> None:
    out.print(f"live model {plain(row['live'])}, shadow {plain(row['shadow'])}: {row['messages']} messages compared")
    if not row["messages"]:
        return
    table = Table("", "messages", "share", box=None, pad_edge=False)
    for title, count in (
        ("both say spam", row["both_spam"]),
        ("both say ham", row["both_ham"]),
        ("only the shadow says spam: false positives to be, or spam that is missed", row["only_shadow_spam"]),
        ("only the live model says spam: spam to be missed, or false positives that end", row["only_live_spam"]),
        ("the shadow failed", row["failed"]),
    ):
        table.add_row(title, str(count), f"{count / row['messages']:.2%}")
    shifts = Table("probability, shadow less live", "messages", "share", box=None, pad_edge=False)
    bounds = ["", *(f"{bound:+g}" for bound in SHIFTS), ""]
    for (low, high), count in zip(pairwise(bounds), row["shifts"], strict=True):
        shifts.add_row(_between(low, high), str(count), f"{count / row['messages']:.2%}")
    out.print(table, "", shifts, "")
    out.print(f"agreement {row['agreement']:.2%}; the shadow takes {row['shadow_ms']:.3f} ms a message", "")


def _between(low: str, high: str) -> str:
    if low and high:
        return f"{low} to {high}"
    return f"{low} or more" if low else f"below {high}"


def _flat(values: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Names and values, those of objects inside with both names."""
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        rows += _flat(value, f"{before}{name}.") if isinstance(value, dict) else [(before + name, value)]
    return rows
