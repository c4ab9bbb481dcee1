"""`tamis dmarc`: `report` makes the aggregate reports about a day (RFC 9990) and sends them; `show` tells the counts.

A day is sent once: every address that has its report is marked, so the command may run again, on any node, by cron.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

from cli.config import TamisConfig, load_config_with_redis
from cli.progress import progress
from wire.config import ConfigError

if TYPE_CHECKING:
    from actors.reports.row import Counts
    from cli.dmarc_run import Result

EXIT_FAILED = 1
EXIT_USAGE = 2
SETTLED_S = 60
"""After the end of a day: until then the ingresses may still count what came in its last seconds."""

ConfigOption = Annotated[Path | None, typer.Option(help="Configuration file, with [dmarc_report] and [redis].")]
DayOption = Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="The day, in UTC; default: yesterday.")]
DomainOption = Annotated[str, typer.Option(help="Only this Policy Domain.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object.")]
RunDirOption = Annotated[Path, typer.Option(help="Run directory of `tamis up`: its Redis serves without [redis] url.")]


def report(  # noqa: PLR0913  the options of the command
    *,
    config: ConfigOption = None,
    day: DayOption = "",
    domain: DomainOption = "",
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the files there; nothing is sent.")] = None,
    smtp: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Send them by mail through this server; default: [dmarc_report] smtp."),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make and check them, say where they would go.")] = False,
    as_json: JsonOption = False,
    dns_zone: Annotated[Path | None, typer.Option(help="Answer DNS from this file, ask no name server.")] = None,
    run_dir: RunDirOption = Path(".run"),
) -> None:
    """Make the reports about a day, and send or write them.

    Exits 0 when every report is where it is wanted, 1 when some are not (run it again), 2 for wrong options.
    """
    if sum((to is not None, bool(smtp), dry_run)) > 1:
        _end("say one of --to DIR, --smtp HOST:PORT and --dry-run", EXIT_USAGE)
    settings, chosen = _settings(config, run_dir), _day(day)
    if to is None and not dry_run:
        smtp = smtp or settings.dmarc_report.smtp
        if not smtp:
            _end("say one of --to DIR, --smtp HOST:PORT and --dry-run, or set [dmarc_report] smtp", EXIT_USAGE)
    if not settings.dmarc_report.domain:
        _end("[dmarc_report] domain is empty: in whose name?", EXIT_USAGE)
    over = datetime(chosen.year, chosen.month, chosen.day, tzinfo=UTC) + timedelta(days=1)
    if not dry_run and time.time() < over.timestamp() + SETTLED_S:
        _end(f"{chosen} is not over yet, in UTC: only --dry-run", EXIT_USAGE)
    from cli.dmarc_run import Job, run

    job = Job(settings, f"{chosen:%Y%m%d}", domain.lower(), to, _server(smtp) if smtp else None, dns_zone)
    try:
        with contextlib.nullcontext(_say_nothing) if as_json else progress() as step:
            result = asyncio.run(run(job, step))
    except ValueError as error:
        _end(str(error), EXIT_USAGE)
    except OSError as error:
        _end(f"{error.filename}: {error.strerror}", EXIT_FAILED)
    if as_json:
        print(json.dumps({"day": job.day, "reports": result.reports, "problems": result.problems}))
    else:
        _show_result(result)
    if result.problems:
        raise SystemExit(EXIT_FAILED)


def show(
    *,
    config: ConfigOption = None,
    day: DayOption = "",
    domain: DomainOption = "",
    as_json: JsonOption = False,
    run_dir: RunDirOption = Path(".run"),
) -> None:
    """Show what was counted on a day: its domains, or the rows of one.

    Exits 0, 1 when nothing was counted, 2 for wrong options.
    """
    from actors.ports import StoreUnavailable
    from cli.dmarc_run import counted

    settings, chosen = _settings(config, run_dir), _day(day)
    try:
        figures = _rows_of if domain else _figures_of
        found = asyncio.run(counted(settings, f"{chosen:%Y%m%d}", domain.lower(), figures))
    except StoreUnavailable as error:
        _end(f"Redis does not answer: {error}", EXIT_FAILED)
    if as_json:
        print(json.dumps({"day": f"{chosen:%Y%m%d}", "domains": found}))
    elif domain:
        _show_rows([row for one in found for row in one["rows"]])
    else:
        _show_domains(found)
    if not found:
        raise SystemExit(EXIT_FAILED)


VERBS: dict[str, Callable[..., None]] = {"report": report, "show": show}


def _settings(path: Path | None, run_dir: Path) -> TamisConfig:
    try:
        return load_config_with_redis(path, run_dir)
    except ConfigError as error:
        _end(str(error), EXIT_USAGE)


def _day(text: str) -> date:
    if not text:
        return (datetime.now(UTC) - timedelta(days=1)).date()
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        _end(f"--day {text}: not such as 2026-11-22", EXIT_USAGE)


def _server(text: str) -> tuple[str, int]:
    from actors.reports.config import read_server

    try:
        return read_server(text)
    except ValueError as error:
        _end(f"--smtp: {error}", EXIT_USAGE)


def _say_nothing(_text: str, _over: int, _total: int) -> None:
    """A step of work whose result is JSON."""


def _show_result(result: "Result") -> None:
    from rich.table import Table
    from rich.text import Text

    from cli.status import console

    table = Table("domain", "messages", "rows", "bytes", "where")
    for entry in result.reports:
        told = [f"{one['outcome']} {one['address']} {one['why']}".strip() for one in entry.get("deliveries", [])] or [
            entry["file"] if "deliveries" not in entry else "nobody wants it any more"
        ]
        numbers = [str(entry[key]) for key in ("messages", "rows", "gzip_bytes")]
        table.add_row(Text(entry["domain"]), *numbers, Text("\n".join(told)))
    console().print(table)
    for problem in result.problems:
        print(f"tamis dmarc: {problem}", file=sys.stderr)


def _figures_of(counts: "Counts") -> dict[str, Any]:
    """What was counted about a domain, as numbers."""
    return msgspec.structs.asdict(counts.published) | {
        "messages": sum(counts.rows.values()),
        "passed": sum(messages for row, messages in counts.rows.items() if "pass" in (row.dkim, row.spf)),
        "dropped": counts.dropped,
        "rows": len(counts.rows),
    }


def _rows_of(counts: "Counts") -> dict[str, Any]:
    """The same with the rows themselves."""
    told = [msgspec.structs.asdict(row) | {"messages": messages} for row, messages in sorted(counts.rows.items())]
    return _figures_of(counts) | {"rows": told}


def _show_rows(rows: Sequence[dict[str, Any]]) -> None:
    names = ("source_ip", "header_from", "envelope_from", "envelope_to", "dkim", "spf", "disposition", "messages")
    _show_table(rows, names)


def _show_domains(domains: Sequence[dict[str, Any]]) -> None:
    _show_table(domains, ("domain", "p", "messages", "passed", "rows", "dropped"))


def _show_table(lines: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from cli.status import console

    table = Table(*names)
    for line in lines:
        table.add_row(*(Text(str(line[name])) for name in names))
    console().print(table)


def _end(message: str, code: int) -> NoReturn:
    print(f"tamis dmarc: {message}", file=sys.stderr)
    raise SystemExit(code)
