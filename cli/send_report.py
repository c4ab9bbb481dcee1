"""How `tamis send` tells an outcome: a row, its steps, the message after the edits, a diff, or one JSON object."""

import difflib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cli.edits import Mail
from cli.mta import MtaOutcome, Step
from cli.send_options import Show
from wire.milter import events as ev
from wire.milter.names import negotiation_text

SCORE_HEADER = b"X-Spam-Score"
DIFF_LINES_MAX = 20_000
"""Longer messages are not compared line by line: that takes time by the square."""
_COLUMNS = "{:<32} {:<10} {:>8} {:>5} {:>9}  {}"
_COLOURS = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}
_PLAIN = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class View:
    """What is told of each message."""

    json_lines: bool = False
    replies: bool = False
    message: bool = False
    diff: bool = False
    colour: bool = False

    @classmethod
    def chosen(cls, shows: Sequence[Show], *, diff: bool, json_lines: bool) -> "View":
        """From the options; colour only for people who watch (https://no-color.org)."""
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        return cls(json_lines, Show.REPLIES in shows, Show.MESSAGE in shows, diff, colour)

    def head(self) -> str:
        """What stands before the first message."""
        return "" if self.json_lines else _COLUMNS.format("file", "action", "score", "edits", "ms", "reply")

    def tell(self, path: Path, before: Mail, outcome: MtaOutcome) -> str:
        """All of one message, without a final line end."""
        if self.json_lines:
            return json.dumps(describe(path, outcome))
        parts = [_row(path, outcome)]
        if self.replies:
            parts += [line for step in outcome.steps for line in _step_lines(step)]
        if self.diff:
            parts += [_coloured(line) if self.colour else line for line in diff(before, outcome.mail)]
        if self.message:
            parts.append(_text(outcome.message).replace("\r\n", "\n"))
        return "\n".join(parts)


def describe(path: Path, outcome: MtaOutcome) -> dict[str, object]:
    r"""One message's outcome as plain data; bytes as UTF-8 text with `\xHH` for what is none."""
    return {
        "file": str(path),
        "action": outcome.action,
        "score": _score(outcome),
        "reply": _text(outcome.reply),
        "edits": [describe_edit(edit) for edit in outcome.edits],
        "rejected_recipients": [[_text(address), _text(why)] for address, why in outcome.rejected_recipients],
        "ms": round(outcome.end_of_message_s * 1000, 2),
        "stages": [
            {
                "command": step.command,
                "ms": round(step.wait_s * 1000, 2),
                "replies": [_reply_text(reply) for reply in step.replies],
            }
            for step in outcome.steps
        ],
        "error": outcome.error,
    }


def describe_edit(edit: ev.Edit) -> dict[str, object]:
    """An edit by the name and the fields of its class."""
    described: dict[str, object] = {"edit": type(edit).__name__}
    for name, value in msgspec.structs.asdict(edit).items():
        described[name] = _text(value) if isinstance(value, bytes) else value
    return described


def diff(before: Mail, after: Mail) -> list[str]:
    """Unified diff of envelope and message; one line when nothing changed or when it is too long to compare."""
    old, new = _lines(before), _lines(after)
    if old == new:
        return ["(no change)"]
    if max(len(old), len(new)) > DIFF_LINES_MAX:
        return [f"(too long to compare: {len(before.raw)} bytes before, {len(after.raw)} bytes after)"]
    return list(difflib.unified_diff(old, new, "before", "after", lineterm=""))


def _lines(mail: Mail) -> list[str]:
    envelope = [f"MAIL FROM:<{_text(mail.sender)}>", *(f"RCPT TO:<{_text(address)}>" for address in mail.recipients)]
    return [*envelope, *_text(mail.raw).replace("\r\n", "\n").split("\n")]


def _coloured(line: str) -> str:
    colour = _COLOURS.get(line[:1])
    return f"{colour}{line}{_PLAIN}" if colour else line


def _row(path: Path, outcome: MtaOutcome) -> str:
    score = _score(outcome)
    return _COLUMNS.format(
        str(path)[-32:],
        outcome.action or "error",
        "" if score is None else f"{score:g}",
        len(outcome.edits),
        f"{outcome.end_of_message_s * 1000:.1f}",
        outcome.error or _one_line(outcome.reply),
    ).rstrip()


def _step_lines(step: Step) -> Iterator[str]:
    *before, answer = step.replies
    yield f"  {step.command:<9} {step.wait_s * 1000:>9.1f} ms  {_reply_text(answer)}"
    for reply in before:
        yield f"  {'':<9} {'':>9}     {_reply_text(reply)}"


def _reply_text(reply: ev.Reply) -> str:
    match reply:
        case ev.Negotiated(version, actions, steps):
            return negotiation_text(version, actions, steps)
        case ev.ReplaceBody(chunk):
            return f"ReplaceBody {len(chunk)} bytes"
        case ev.AddHeader(name, value):
            return f"AddHeader {_one_line(name)}:{_one_line(value)}"
        case ev.InsertHeader(number, name, value) | ev.ChangeHeader(number, name, value):
            return f"{type(reply).__name__} {number} {_one_line(name)}:{_one_line(value)}"
    values = msgspec.structs.astuple(reply)
    return " ".join([type(reply).__name__, *(_one_line(value) for value in values if value)])


def _score(outcome: MtaOutcome) -> float | None:
    try:
        return float(outcome.added(SCORE_HEADER))
    except ValueError:
        return None


def _one_line(value: bytes) -> str:
    return _text(value).replace("\r\n", " / ").replace("\n", " / ").replace("\t", " ")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
