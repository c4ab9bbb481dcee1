"""`tamis mirror report`: where the verdicts of the live cell and of the mirrored one differ."""

import json
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.mirror.report_file import BEFORE
from cluster.mirror.summary import Summary, matrix

if TYPE_CHECKING:
    from rich.console import Console

EXIT_NOTHING = 1
EXIT_USAGE = 2


class What(StrEnum):
    """What is wanted."""

    REPORT = "report"


def mirror(
    what: Annotated[What, typer.Argument(help="report: compare the verdicts.")],
    places: Annotated[
        list[Path] | None, typer.Argument(help="Report files, or directories of them; default: report_dir of --config.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration with [cluster.mirror].")] = None,
    *,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many differing findings and reasons to list.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare what a mirrored cell says with what the live one said."""
    del what  # there is one
    try:
        files = list(report_files(places or [_report_dir(config)]))
    except ValueError as error:
        print(f"tamis mirror: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_USAGE) from None
    summary = Summary()
    for path in files:
        try:
            with path.open("rb") as lines:
                summary.read(lines)
        except OSError as error:
            print(f"tamis mirror: {path}: {error.strerror}", file=sys.stderr)
            raise typer.Exit(EXIT_USAGE) from None
    if as_json:
        print(json.dumps(summary.figures(top)))
    else:
        show(summary, top)
    if not summary.compared:
        raise typer.Exit(EXIT_NOTHING)


def report_files(places: Iterable[Path]) -> Iterator[Path]:
    """Files as they are named, and those of directories with the ones before. Raises ValueError."""
    for place in places:
        if place.is_dir():
            yield from sorted([*place.glob("*.jsonl"), *place.glob(f"*.jsonl{BEFORE}")])
        elif place.exists():
            yield place
        else:
            raise ValueError(f"{place} is not there")


def _report_dir(config: Path | None) -> Path:
    from cli.config import load_config
    from wire.config import ConfigError

    try:
        directory = load_config(config).cluster.mirror.report_dir
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if not directory:
        raise ValueError("say which files, or a --config with [cluster.mirror] report_dir")
    return Path(directory)


def show(summary: Summary, top: int) -> None:
    """The figures as tables."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    figures: dict[str, Any] = summary.figures(top)
    share = figures["same_action_share"]
    console.print(
        f"{summary.compared} messages compared, {summary.same_action} with the same action"
        + (f" ({share:.2%})" if share is not None else "")
    )
    for name, counts in (("copies without a verdict", figures["failed"]), ("copies never sent", figures["dropped"])):
        if counts:
            console.print(f"{name}: " + ", ".join(f"{why} {count}" for why, count in counts.items()))
    if summary.unreadable:
        console.print(f"lines that are none of the report: {summary.unreadable}")
    if summary.compared:
        _tables(console, summary, figures)


def _tables(console: "Console", summary: Summary, figures: dict[str, Any]) -> None:
    from rich.table import Table

    names, rows = matrix(summary.actions)
    actions = Table("live \\ mirrored", *names, title="Actions")
    for name, row in zip(names, rows, strict=True):
        cells = [str(count) if count else "" for count in row]
        actions.add_row(name, *cells)
    degraded = figures["degraded"]
    numbers = Table("", "p1", "p5", "p50", "p95", "p99", title="Numbers")
    for name, key in (
        ("score, mirrored minus live", "score_mirrored_minus_live"),
        ("live verdict, ms", "live_ms"),
        ("mirrored verdict, ms", "mirrored_ms"),
    ):
        given = figures[key]
        numbers.add_row(name, *(_number(given.get(column)) for column in ("p1", "p5", "p50", "p95", "p99")))
    findings = Table("finding", "live", "mirrored", "messages", title="Findings that differ most often")
    for finding in figures["findings"]:
        findings.add_row(finding["name"], finding["live"], finding["mirrored"], str(finding["messages"]))
    reasons = Table("reason", "given only by", "messages", title="Reasons that differ most often")
    for reason in figures["reasons"]:
        reasons.add_row(reason["name"], reason["given_by"], str(reason["messages"]))
    for table in (actions, numbers, findings, reasons):
        if table.row_count:
            console.print(table)
    console.print("degraded: " + ", ".join(f"{side.replace('_', ' ')} {count}" for side, count in degraded.items()))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
