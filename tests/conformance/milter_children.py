"""What the child filters of a scenario make of its message together, as the edits of one verdict.

Strategy: each child in turn works on what the one before it left. Of header fields the difference to the message as
the MTA sent it is taken, so that an edit of another child's edit is one edit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cli.edits import Fields
from tamis.filter.v1 import verdict_pb2 as pb
from tests.conformance.milter_scenarios import Option

LEADING_SPACE = "header-value-with-leading-space"


ENVELOPE_EDITS: Mapping[str, Callable[[bytes], pb.Edit]] = {
    "add-recipient": lambda address: pb.Edit(add_recipient=pb.AddRecipient(address=address)),
    "delete-recipient": lambda address: pb.Edit(delete_recipient=address),
    "change-from": lambda address: pb.Edit(change_sender=pb.ChangeSender(address=address)),
}


@dataclass
class Field:
    name: bytes
    raw: bytes
    """From right after the colon."""
    occurrence: int = 0
    """In the message as sent, from 1; 0 = added."""
    changed: bool = False


def edits(fields: Fields, children: Iterable[Sequence[Option]]) -> tuple[list[pb.Edit], str]:
    """The edits, and the reason for quarantine, empty = none."""
    left = [Field(name, raw, _occurrence(fields[: place + 1], name)) for place, (name, raw) in enumerate(fields)]
    gone: list[Field] = []
    others: list[pb.Edit] = []
    body, reason = b"", ""
    for options in children:
        space = "" if ("negotiate-flags", LEADING_SPACE) in options else " "
        for name, value in options:
            if name in ENVELOPE_EDITS:
                others.append(ENVELOPE_EDITS[name](value.encode()))
            else:
                _edit_fields(left, gone, (name, value), space)
        # Bodies replace each other, pieces of one child are one body.
        body = b"".join(value.encode() for name, value in options if name == "replace-body") or body
        reason = dict(options).get("quarantine", reason)
    if body:
        others.append(pb.Edit(replace_body=body))
    return [*_header_edits(left, gone), *others], reason


def _edit_fields(left: list[Field], gone: list[Field], option: Option, space: str) -> None:
    """One option of a child; others than these are conditions, answers, and how the child is run."""
    match option:
        case ("add-header", value):
            name, raw = _field(value, space)
            # Before the first field of that name, as Sendmail, else at the end.
            place = next((place for place, field in enumerate(left) if field.name == name), len(left))
            left.insert(place, Field(name, raw))
        case ("insert-header", value):
            index, _, rest = value.partition(":")
            left.insert(int(index), Field(*_field(rest, space)))
        case ("change-header" | "delete-header", value):
            _change(left, gone, value, space)


def _header_edits(left: Sequence[Field], gone: Iterable[Field]) -> list[pb.Edit]:
    made = [
        pb.Edit(delete_header=pb.DeleteHeader(name=field.name, occurrence=field.occurrence))
        for field in gone
        if field.occurrence
    ]
    last_old = max((place for place, field in enumerate(left) if field.occurrence), default=-1)
    for place, field in enumerate(left):
        value = field.raw.removeprefix(b" ")
        if field.occurrence and field.changed:
            change = pb.ChangeHeader(name=field.name, occurrence=field.occurrence, value=value)
            made.append(pb.Edit(change_header=change))
        elif not field.occurrence and place < last_old:
            made.append(pb.Edit(insert_header=pb.InsertHeader(index=place, name=field.name, value=value)))
        elif not field.occurrence:
            made.append(pb.Edit(add_header=pb.AddHeader(name=field.name, value=value)))
    return made


def _change(left: list[Field], gone: list[Field], text: str, space: str) -> None:
    """NAME:OCCURRENCE:VALUE; no value deletes."""
    name, occurrence, *value = text.split(":", 2)
    same = [place for place, field in enumerate(left) if field.name == name.encode()]
    place = same[int(occurrence) - 1]
    if value:
        left[place] = replace(left[place], raw=(space + value[0]).encode(), changed=True)
    else:
        gone.append(left.pop(place))


def _field(text: str, space: str) -> tuple[bytes, bytes]:
    name, _, value = text.partition(":")
    return name.encode(), (space + value).encode()


def _occurrence(fields: Fields, name: bytes) -> int:
    return sum(one == name for one, _ in fields)
