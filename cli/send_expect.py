"""What `tamis send` is told to expect, and how an outcome differs from it. Pure but for reading the file.

Strategy: an expected edit is a partial description: keys that it does not name may have any value. Names are compared
without regard to case, values without surrounding space, addresses without brackets.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from cli.mta import MtaOutcome
from cli.send_options import UsageError
from cli.send_report import describe, describe_edit
from wire.milter import events as ev

ACTIONS = ("accept", "reject", "tempfail", "discard", "quarantine")
_KINDS = {kind.__name__: kind.__struct_fields__ for kind in get_args(ev.Edit)}
_HEADER_EDIT = re.compile(r"(?:([0-9]+)[ \t]+)?([!-9;-~]+)(?::(.*))?", re.DOTALL)
_NUMBER_OF = {"InsertHeader": "index", "ChangeHeader": "occurrence"}

PartialEdit = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What every message must come to; None and empty: anything."""

    actions: frozenset[str] = frozenset()
    edits_among: tuple[PartialEdit, ...] = ()
    """Each must be made, in any order, others beside them allowed."""
    edits: tuple[PartialEdit, ...] | None = None
    """Exactly these, in this order."""
    reply: str | None = None


def expectation(actions: Sequence[str] | None, edits_among: Sequence[str] | None, file: Path | None) -> Expectation:
    """From the options. Raises UsageError."""
    actions = actions or ()
    for action in actions:
        if action not in ACTIONS:
            raise UsageError(f"--expect {action!r}: there are {', '.join(ACTIONS)}")
    among = tuple(map(parse_edit, edits_among or ()))
    if file is None:
        return Expectation(frozenset(actions), among)
    try:
        given = json.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"--expect-file {file}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--expect-file {file}: {error}") from error
    return _of_file(file, given, actions, among)


def _of_file(file: Path, given: object, actions: Sequence[str], among: tuple[PartialEdit, ...]) -> Expectation:
    known = describe(file, MtaOutcome()).keys()
    if not isinstance(given, dict) or not given.keys() <= known:
        raise UsageError(f"--expect-file {file}: one JSON object with keys of {', '.join(known)}")
    action, reply, edits = given.get("action"), given.get("reply"), given.get("edits")
    if action is not None and action not in ACTIONS:
        raise UsageError(f"--expect-file {file}: action is one of {', '.join(ACTIONS)}")
    if reply is not None and not isinstance(reply, str):
        raise UsageError(f"--expect-file {file}: reply is a string")
    if edits is not None and not (isinstance(edits, list) and all(map(_is_edit, edits))):
        raise UsageError(f"--expect-file {file}: edits is a list of objects as --json prints them")
    wanted = frozenset(actions) or frozenset({action} if action else ())
    return Expectation(wanted, among, None if edits is None else tuple(edits), reply)


def _is_edit(given: object) -> bool:
    return isinstance(given, dict) and given.get("edit") in _KINDS and given.keys() <= {"edit", *_KINDS[given["edit"]]}


def parse_edit(text: str) -> PartialEdit:
    """`KIND [NUMBER] NAME[: VALUE]` of a header edit, else `KIND [TEXT]`. Raises UsageError."""
    kind, _, rest = text.strip().partition(" ")
    keys = _KINDS.get(kind)
    if keys is None:
        raise UsageError(f"--expect-edit {text!r}: begin with {', '.join(_KINDS)}")
    rest = rest.strip()
    if "name" not in keys:
        return {"edit": kind, keys[0]: rest} if rest else {"edit": kind}
    match = _HEADER_EDIT.fullmatch(rest)
    if not match or (match[1] and kind not in _NUMBER_OF):
        raise UsageError(f"--expect-edit {text!r}: write {kind} NAME: VALUE")
    edit: dict[str, object] = {"edit": kind, "name": match[2]}
    if match[1]:
        edit[_NUMBER_OF[kind]] = int(match[1])
    if match[3] is not None:
        edit["value"] = match[3]
    return edit


def differences(outcome: MtaOutcome, expected: Expectation) -> list[str]:
    """One line for everything that is not as expected; empty when all is."""
    told = outcome.reply.decode("utf-8", "backslashreplace").replace("\r\n", " / ")
    got = f"{outcome.action or 'no answer'} {told or outcome.error}".rstrip()
    wrong: list[str] = []
    if expected.actions and outcome.action not in expected.actions:
        wrong.append(f"expected {' or '.join(sorted(expected.actions))}, got {got}")
    if expected.reply is not None and expected.reply.replace("\r\n", " / ") != told:
        wrong.append(f"expected reply {expected.reply!r}, got {told!r}")
    made = [describe_edit(edit) for edit in outcome.edits]
    wrong += [
        f"expected edit {_edit_text(edit)}, got {_edits_text(made)}"
        for edit in expected.edits_among
        if not any(_matches(edit, other) for other in made)
    ]
    exact = expected.edits
    if exact is not None and not (len(exact) == len(made) and all(map(_matches, exact, made))):
        wrong.append(f"expected edits {_edits_text(exact)}, got {_edits_text(made)}")
    return wrong


def _matches(wanted: PartialEdit, made: PartialEdit) -> bool:
    return all(_plain(key, value) == _plain(key, made.get(key)) for key, value in wanted.items())


def _plain(key: str, value: object) -> object:
    if not isinstance(value, str) or key == "edit":
        return value
    if key == "address":
        return value.removeprefix("<").removesuffix(">")
    text = value.replace("\r\n", "\n").strip()
    return text.lower() if key == "name" else text


def _edit_text(edit: PartialEdit) -> str:
    number = next((f" {edit[key]}" for key in _NUMBER_OF.values() if key in edit), "")
    name = f" {edit['name']}:" if "name" in edit else ""
    rest = "".join(f" {str(edit[key]).strip()!r}" for key in ("value", "address", "args", "reason") if edit.get(key))
    return f"{edit['edit']}{number}{name}{rest}"


def _edits_text(edits: Sequence[PartialEdit]) -> str:
    return ", ".join(map(_edit_text, edits)) or "none"
