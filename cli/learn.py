"""`tamis learn`: teach the classifier of a running cell with mail files, folders and maildirs.

Strategy: one call a message, one after the other, each answered when the message is safe in Redis. A file that is
refused or cannot be read costs its own line and the exit code 1; the same message with the same label counts once, so
the command may simply be given again.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import grpc
import typer

from cli.admin import (
    EXIT_AWAY,
    EXIT_FAILED,
    EXIT_USAGE,
    RUN_DIR,
    TIMEOUT_S,
    AddressOption,
    Admin,
    AdminError,
    ConfigOption,
    JsonOption,
    RunDirOption,
    TimeoutOption,
    TokenOption,
    find_access,
    run,
)
from cli.progress import progress
from tamis.admin.v1 import admin_service_pb2 as pb

MESSAGE_BYTES_MAX = 768 * 1024
"""What the admin service takes; features look at less."""
_STANDARD_INPUT = Path("-")
_SOURCES = {
    "": pb.SOURCE_UNSPECIFIED,
    "user": pb.SOURCE_USER,
    "tenant": pb.SOURCE_TENANT,
    "trap": pb.SOURCE_TRAP,
    "operator": pb.SOURCE_OPERATOR,
}
_OUTCOMES = {
    pb.LEARN_OUTCOME_ACCEPTED: "accepted",
    pb.LEARN_OUTCOME_KNOWN: "known",
    pb.LEARN_OUTCOME_TOO_MANY: "too_many",
    pb.LEARN_OUTCOME_TOO_MUCH: "too_much",
    pb.LEARN_OUTCOME_BACKLOG: "backlog",
}
_GOOD = ("accepted", "known")
_WHY = {
    "too_many": "this source has taught as many messages today as it may",
    "too_much": "what this source has taught today has moved the weights as far as it may",
    "backlog": "too much waits to be learnt, try again later",
    "unknown": "the cell answers with something that this release does not know",
}
_AGAIN_S = 0.5


class Row(NamedTuple):
    """What became of one file."""

    file: str
    outcome: str
    """accepted, known, too_many, too_much, backlog, unfit or unreadable."""
    error: str = ""


class UsageError(Exception):
    """The options or paths allow nothing; the text is one line."""


def learn(  # noqa: PLR0913  the options of the command
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Mail files, folders of them, maildirs; - is standard input.")
    ],
    *,
    spam: Annotated[bool, typer.Option("--spam", help="They are spam.")] = False,
    ham: Annotated[bool, typer.Option("--ham", help="They are not.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Take back what was learnt from them.")] = False,
    tenant: Annotated[str, typer.Option(help="Whose mail it is; default: everybody's.")] = "",
    user: Annotated[str, typer.Option(metavar="ADDRESS", help="The recipient for whom it is learnt.")] = "",
    source: Annotated[
        str, typer.Option(help="Who says so: user, tenant, trap or operator; default: as --user and --tenant have it.")
    ] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """Teach the classifier of a running cell; it weighs in within seconds, in every process.

    Exits 0 when all is accepted or known, 1 when some is refused or unreadable, 2 for wrong options, 3 when no
    supervisor answers, 4 without a token that may.
    """
    try:
        label = _label(spam=spam, ham=ham, forget=forget)
        kind = _source(source)
        files = list(_files(paths))
    except UsageError as error:
        print(f"tamis learn: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from error
    whose = pb.LearnRequest(label=label, tenant=tenant, user=os.fsencode(user), source=kind)

    def work(admin: Admin) -> bool:
        rows = _teach_all(admin, files, whose, timeout_s)
        return _show_json(rows) if as_json else _show_text(rows, len(files))

    access = lambda: find_access(config, run_dir, address, token_file, timeout_s)  # noqa: E731  as the other commands
    if not run("tamis learn", access, work):
        raise SystemExit(EXIT_FAILED)


def _label(*, spam: bool, ham: bool, forget: bool) -> pb.Label:
    if spam + ham + forget != 1:
        raise UsageError("say one of --spam, --ham and --forget")
    return pb.LABEL_SPAM if spam else pb.LABEL_HAM if ham else pb.LABEL_FORGET


def _source(word: str) -> pb.Source:
    if word not in _SOURCES:
        raise UsageError(f"--source is one of {', '.join(filter(None, _SOURCES))}")
    return _SOURCES[word]


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """The mail files that the paths mean, in a fixed order. Raises UsageError."""
    for path in paths:
        if path == _STANDARD_INPUT or path.is_file():
            yield path
        elif (path / "cur").is_dir() or (path / "new").is_dir():
            # A maildir: what is in tmp is not delivered yet.
            yield from (file for name in ("cur", "new") for file in _below(path / name))
        elif path.is_dir():
            found = list(_below(path))
            if not found:
                raise UsageError(f"{path}: no files in there")
            yield from found
        else:
            raise UsageError(f"{path}: no such file or folder")


def _below(folder: Path) -> list[Path]:
    """The files below, without hidden ones: those belong to programs, such as Dovecot's indexes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _teach_all(admin: Admin, files: Sequence[Path], whose: pb.LearnRequest, timeout_s: float) -> Iterator[Row]:
    """One row a file, as soon as it is decided. Raises AdminError, which ends all."""
    for file in files:
        try:
            message = _read(file)
        except OSError as error:
            yield Row(str(file), "unreadable", error.strerror or str(error))
            continue
        if not message.strip():
            yield Row(str(file), "unreadable", "it is empty")
            continue
        request = pb.LearnRequest(message=message)
        request.MergeFrom(whose)
        try:
            outcome = _teach(admin, request, timeout_s)
        except AdminError as error:
            if not _is_about_the_message(error):
                raise
            yield Row(str(file), "unfit", str(error))
        else:
            yield Row(str(file), outcome, "" if outcome in _GOOD else _WHY[outcome])


def _is_about_the_message(error: AdminError) -> bool:
    cause = error.__cause__
    return isinstance(cause, grpc.Call) and cause.code() is grpc.StatusCode.INVALID_ARGUMENT


def _read(file: Path) -> bytes:
    """As much as is taken. Raises OSError."""
    if file == _STANDARD_INPUT:
        return sys.stdin.buffer.read(MESSAGE_BYTES_MAX)
    with file.open("rb") as opened:
        return opened.read(MESSAGE_BYTES_MAX)


def _teach(admin: Admin, request: pb.LearnRequest, timeout_s: float) -> str:
    """The outcome of one message; a backlog, and Redis, is waited for. Raises AdminError."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            outcome = _OUTCOMES.get(admin.call("Learn", request).outcome, "unknown")
        except AdminError as error:
            # What has no answer may be asked again: it counts once.
            if error.exit_code != EXIT_AWAY or time.monotonic() > deadline_s:
                raise
        else:
            if outcome != "backlog" or time.monotonic() > deadline_s:
                return outcome
        time.sleep(_AGAIN_S)


def _show_json(rows: Iterator[Row]) -> bool:
    good = True
    for row in rows:
        print(json.dumps(row._asdict()), flush=True)
        good = good and row.outcome in _GOOD
    return good


def _show_text(rows: Iterator[Row], total: int) -> bool:
    """A bar while it goes on, a line for each that was not taken, and the counts; whether all were."""
    counts: Counter[str] = Counter()
    refused: list[Row] = []
    with progress() as step:
        for number, row in enumerate(rows, start=1):
            counts[row.outcome] += 1
            if row.outcome not in _GOOD:
                refused.append(row)
            if number == total or sys.stdout.isatty():
                step("taught", number, total)
    for row in refused:
        name = row.file.encode("utf-8", "backslashreplace").decode()
        print(f"tamis learn: {name if name.isprintable() else ascii(name)}: {row.error}", file=sys.stderr)
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "nothing to learn")
    return not refused
