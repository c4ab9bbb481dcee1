"""A header section as it leaves: after the edits of a verdict, as gateway and MTA carry them out. Pure.

The order is that of gateway/replies.py: changes, then deletes (of one name the last first), both counted in the message
as received, then what is added, in the verdict's order. What each does is what Postfix does: a change of a field that
is not there adds it, a delete of one does nothing, an index beyond the end means the end, and one blank stands between
the colon and a value of ours.
"""

from collections.abc import Iterable, Sequence

from actors.model import AddHeader, ChangeHeader, DeleteHeader, Edit, InsertHeader, ReplaceBody
from wire.message import parse_header_block
from wire.milter import folds_to_crlf

Field = tuple[bytes, bytes]


def leaving_header_block(header_block: bytes, edits: Sequence[Edit]) -> bytes:
    """The header section (CRLF line ends) with all edits of fields made."""
    fields = list(parse_header_block(header_block))
    for edit in edits:
        if isinstance(edit, ChangeHeader):
            place = _place(fields, edit.name, edit.occurrence)
            if place is None:
                fields.append(_written(edit.name, edit.value))
            else:
                fields[place] = _written(edit.name, edit.value)
    deletes = [edit for edit in edits if isinstance(edit, DeleteHeader)]
    for delete in sorted(deletes, key=lambda one: one.occurrence, reverse=True):
        place = _place(fields, delete.name, delete.occurrence)
        if place is not None:
            del fields[place]
    for edit in edits:
        if isinstance(edit, AddHeader):
            fields.append(_written(edit.name, edit.value))
        elif isinstance(edit, InsertHeader):
            fields.insert(edit.index, _written(edit.name, edit.value))
    return b"".join(b"%b:%b\r\n" % field if field[0] else b"%b\r\n" % field[1] for field in fields)


def new_body(edits: Iterable[Edit]) -> bytes | None:
    """The body that replaces the one that came; None when that stays."""
    return next((edit.body for edit in edits if isinstance(edit, ReplaceBody)), None)


def _place(fields: Sequence[Field], name: bytes, occurrence: int) -> int | None:
    """Where the how-manieth field of this name (from 1) stands."""
    wanted = name.lower()
    for place, (found, _) in enumerate(fields):
        if found.lower() == wanted:
            occurrence -= 1
            if not occurrence:
                return place
    return None


def _written(name: bytes, value: bytes) -> Field:
    return name, b" " + folds_to_crlf(value)
