"""`tamis send`: plays the MTA against any milter address and shows verdict and edits of each mail file.

Needs no more than the gateway extra on the mail host.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cli.edits import Mail
from cli.mail_file import read_mail_file
from cli.mta import Client, MtaOutcome, deliver
from wire.milter import AddressError, parse_listen
from wire.milter import events as ev

Play = Callable[[Mail], Awaitable[MtaOutcome]]
Show = Callable[[Path, MtaOutcome], str]

SCORE_HEADER = b"X-Spam-Score"
_COLUMNS = "{:<32} {:<10} {:>8} {:>5} {:>9}  {}"


def send(  # noqa: PLR0913, PLR0917 - the options of a command
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Mail files; directories are not expanded.")],
    to: Annotated[str, typer.Option(help="Milter: inet:PORT@HOST, inet6:PORT@HOST or unix:PATH.")] = (
        "inet:11332@127.0.0.1"
    ),
    sender: Annotated[str | None, typer.Option(help="Envelope sender; default: Return-Path of the file.")] = None,
    recipient: Annotated[list[str] | None, typer.Option(help="Envelope recipient; may be repeated.")] = None,
    client_ip: Annotated[str, typer.Option(help="IP address of the SMTP client.")] = "192.0.2.1",
    helo: Annotated[str, typer.Option(help="HELO name of the SMTP client.")] = "mail.example.com",
    macro: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Further macro; may be repeated.")] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a message.")] = False,  # noqa: FBT002
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Messages at a time.")] = 1,
) -> None:
    """Play the MTA: send mail files to a milter, show verdict and edits.

    Exits 0 when every message got an answer, 1 when some got none, 2 when it was asked for something impossible.
    """
    try:
        parse_listen(to)
    except AddressError as error:
        _refuse(str(error))
    mails = [_read(path, sender, recipient or ["recipient@example.org"]) for path in files]
    macros = dict(_macro(text) for text in macro or [])
    play = partial(deliver, to, client=Client(ip=client_ip, helo=os.fsencode(helo)), macros=macros)
    if not json_lines:
        print(_COLUMNS.format("file", "action", "score", "edits", "ms", "reply"))
    show = _json_line if json_lines else _row
    if asyncio.run(_send_all(list(zip(files, mails, strict=True)), play, show, concurrency)):
        sys.exit(1)


def _read(path: Path, sender: str | None, recipients: list[str]) -> Mail:
    try:
        to = [os.fsencode(address) for address in recipients]
        return read_mail_file(path, None if sender is None else os.fsencode(sender), to).as_mail()
    except OSError as error:
        _refuse(f"{path}: {error.strerror}")


def _macro(text: str) -> tuple[bytes, bytes]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        _refuse(f"--macro {text!r}: write NAME=VALUE")
    return os.fsencode(name), os.fsencode(value)


def _refuse(text: str) -> NoReturn:
    print(f"tamis send: {text}", file=sys.stderr)
    sys.exit(2)


async def _send_all(mails: list[tuple[Path, Mail]], play: Play, show: Show, concurrency: int) -> int:
    """Send and print in the order of the files; how many got no answer."""
    free = asyncio.Semaphore(concurrency)

    async def one(mail: Mail) -> MtaOutcome:
        async with free:
            return await play(mail)

    unanswered = 0
    async with asyncio.TaskGroup() as group:
        tasks = [(path, group.create_task(one(mail))) for path, mail in mails]
        for path, task in tasks:
            outcome = await task
            unanswered += outcome.error != ""
            print(show(path, outcome), flush=True)
    return unanswered


def describe(path: Path, outcome: MtaOutcome) -> dict[str, object]:
    r"""One message's outcome as plain data; bytes as UTF-8 text with `\xHH` for what is none."""
    return {
        "file": str(path),
        "action": outcome.action,
        "score": _score(outcome),
        "reply": _text(outcome.reply),
        "edits": [_describe_edit(edit) for edit in outcome.edits],
        "rejected_recipients": [[_text(address), _text(why)] for address, why in outcome.rejected_recipients],
        "ms": round(outcome.end_of_message_s * 1000, 2),
        "error": outcome.error,
    }


def _json_line(path: Path, outcome: MtaOutcome) -> str:
    return json.dumps(describe(path, outcome))


def _row(path: Path, outcome: MtaOutcome) -> str:
    score = _score(outcome)
    return _COLUMNS.format(
        str(path)[-32:],
        outcome.action or "error",
        "" if score is None else f"{score:g}",
        len(outcome.edits),
        f"{outcome.end_of_message_s * 1000:.1f}",
        outcome.error or _text(outcome.reply).replace("\r\n", " / "),
    ).rstrip()


def _score(outcome: MtaOutcome) -> float | None:
    try:
        return float(outcome.added(SCORE_HEADER))
    except ValueError:
        return None


def _describe_edit(edit: ev.Edit) -> dict[str, object]:
    described: dict[str, object] = {"edit": type(edit).__name__}
    for item in fields(edit):
        value = getattr(edit, item.name)
        described[item.name] = _text(value) if isinstance(value, bytes) else value
    return described


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
