"""`tamis campaign`: what was reported as spam, whose mutated copies are found on every node; report, forget, show.

Folders are read with all that is below them, so a maildir will do. Each file costs two round trips to Redis; one that
cannot be read costs its own line and the exit code 1, never the others.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cli.config import load_config_with_redis
from cli.mail_file import read_mail_file
from cli.progress import progress
from wire.config import ConfigError

if TYPE_CHECKING:
    from actors.classifier.campaigns.campaigns import Campaigns
    from actors.model import Message

EXIT_FAILED = 1
EXIT_USAGE = 2
LITTLE_TEXT = "too little text for a fingerprint"

FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Mail files, or folders of them.")]
MaybeFilesArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILE...]", help="Mail files, or folders of them.")
]
ConfigOption = Annotated[Path | None, typer.Option(help="Configuration file, with [classifier.campaigns] and [redis].")]
TenantOption = Annotated[
    str, typer.Option(help="Whose campaigns, where `scope` is tenant; default: the default tenant's.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object for each line.")]
RunDirOption = Annotated[Path, typer.Option(help="Run directory of `tamis up`: its Redis serves without [redis] url.")]

Line = dict[str, Any]
Work = Callable[["Campaigns", "Message"], Awaitable[Line]]


def report(
    files: FilesArgument,
    *,
    tenant: TenantOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
    run_dir: RunDirOption = Path(".run"),
) -> None:
    """Say that these are spam: mail like them is found from now on. The same file counts once.

    Exits 0, 1 when some could not be read or have too little text, 2 for wrong options.
    """

    async def work(campaigns: "Campaigns", message: "Message") -> Line:
        told = await campaigns.report(message, tenant)
        if told is None:
            return {"problem": LITTLE_TEXT}
        return {"campaign": told.campaign, "reports": told.reports, "similarity": round(told.similarity, 2)}

    _show(
        _for_each(_connect(config, run_dir), files, work),
        ("campaign", "reports", "similarity"),
        as_json=as_json,
    )


def forget(  # noqa: PLR0913  the options of the command
    files: MaybeFilesArgument = None,
    *,
    campaign: Annotated[list[str] | None, typer.Option("--id", help="End the campaign of this id.")] = None,
    tenant: TenantOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
    run_dir: RunDirOption = Path(".run"),
) -> None:
    """Say that these are no spam: every campaign that they are similar to ends, on all nodes.

    Exits 0, 1 when some could not be read or an id is of no campaign, 2 for wrong options.
    """
    if bool(files) == bool(campaign):
        _end("give either files or --id", EXIT_USAGE)

    async def work(campaigns: "Campaigns", message: "Message") -> Line:
        return {"campaigns": list(await campaigns.forget(message, tenant))}

    known = _connect(config, run_dir)
    if files:
        _show(_for_each(known, files, work), ("campaigns",), as_json=as_json)
        return
    ended = _run(known, lambda: known.end(tenant, campaign or ()))
    if as_json:
        print(json.dumps({"ended": ended}))
    if ended < len(set(campaign or ())):
        _end(f"{len(set(campaign or ())) - ended} of these ids are of no campaign", EXIT_FAILED)


def show(  # noqa: PLR0913  the options of the command
    files: MaybeFilesArgument = None,
    *,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Campaigns to show, reported last first.")] = 50,
    tenant: TenantOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
    run_dir: RunDirOption = Path(".run"),
) -> None:
    """Show the campaigns that there are, or those that files are similar to.

    Exits 0, 1 when some could not be read, 2 for wrong options.
    """

    async def work(campaigns: "Campaigns", message: "Message") -> Line:
        matches = await campaigns.matches(message, tenant)
        return {"campaigns": [f"{one.campaign.id} {one.similarity:.2f}" for one in matches]}

    known = _connect(config, run_dir)
    if files:
        _show(_for_each(known, files, work), ("campaigns",), as_json=as_json)
        return
    lines = [
        {
            "campaign": one.id,
            "reports": one.reports,
            "first": _time(one.first_s),
            "last": _time(one.last_s),
            "by": "words in common" if one.fingerprint.signature else "equal words",
        }
        for one in _run(known, lambda: known.recent(tenant, count))
    ]
    _show(lines, ("campaign", "reports", "first", "last", "by"), as_json=as_json)


VERBS: dict[str, Callable[..., None]] = {"report": report, "forget": forget, "show": show}


def _connect(path: Path | None, run_dir: Path) -> "Campaigns":
    """Connects when first asked."""
    from actors.adapters.clock import SystemClock
    from actors.registry import build_campaigns

    try:
        settings = load_config_with_redis(path, run_dir)
    except ConfigError as error:
        _end(str(error), EXIT_USAGE)
    campaigns = build_campaigns(settings.judgement(), SystemClock())
    if campaigns is None:
        _end("[classifier.campaigns] redis_prefix is empty: nothing is compared with campaigns", EXIT_USAGE)
    return campaigns


def _run(known: "Campaigns", work: Callable[[], Awaitable[Any]]) -> Any:
    """What comes of it; the connections are given back. Ends the command when Redis does not answer."""
    from actors.ports import StoreUnavailable

    async def closing() -> Any:
        try:
            return await work()
        finally:
            await known.close()

    try:
        return asyncio.run(closing())
    except StoreUnavailable as error:
        _end(f"Redis does not answer: {error}", EXIT_FAILED)


def _for_each(known: "Campaigns", files: Iterable[Path], work: Work) -> Sequence[Line]:
    """A line for each file."""
    from actors.model import Message

    paths = [path for file in files for path in _files_below(file)]

    async def one_after_the_other() -> Sequence[Line]:
        lines: list[Line] = []
        with progress() if sys.stdout.isatty() else contextlib.nullcontext(_say_nothing) as step:
            for number, path in enumerate(paths):
                step("mail", number, len(paths))
                try:
                    mail = read_mail_file(path)
                except OSError as error:
                    lines.append({"file": str(path), "problem": error.strerror})
                    continue
                message = Message(header_block=mail.header_block, body=mail.body)
                lines.append({"file": str(path)} | await work(known, message))
            step("mail", len(paths), len(paths))
        return lines

    found: Sequence[Line] = _run(known, one_after_the_other)
    return found


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(one for one in path.rglob("*") if one.is_file())
    else:
        yield path


def _say_nothing(_text: str, _over: int, _total: int) -> None:
    """A step of work that nobody watches."""


def _show(lines: Sequence[Line], names: Sequence[str], *, as_json: bool) -> None:
    """The lines, the problems apart; ends the command when there are problems."""
    problems = [line for line in lines if "problem" in line]
    if as_json:
        for line in lines:
            print(json.dumps(line))
    else:
        _show_table([line for line in lines if "problem" not in line], names)
        for line in problems:
            print(f"tamis campaign: {line['file']}: {line['problem']}", file=sys.stderr)
    if problems:
        raise SystemExit(EXIT_FAILED)


def _show_table(lines: Sequence[Line], names: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from cli.status import console

    columns = ("file", *names) if any("file" in line for line in lines) else names
    table = Table(*columns)
    for line in lines:
        cells = (line[name] for name in columns)
        table.add_row(*(Text("\n".join(cell) if isinstance(cell, list) else str(cell)) for cell in cells))
    console().print(table)


def _time(unix_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def _end(message: str, code: int) -> NoReturn:
    print(f"tamis campaign: {message}", file=sys.stderr)
    raise SystemExit(code)
