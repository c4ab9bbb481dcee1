"""What stands in OpenDKIM's tables and lists, line by line, and which lines are of no use. Pure.

A remark tells the place of a line and never what stands there, not even its name: who breaks a key over several lines
of a KeyTable has it for names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from actors.dkim.signing.tables import Entry, TableError, parse_entries, parse_key_entry

_AUTHOR_DOMAIN = "author.example"
"""In place of "%": any domain will do."""
_MACRO = re.compile(r"[A-Za-z0-9_]+")


class TableNotHere(TableError):
    """The file cannot be opened here: it may be on another machine."""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry and where it stands."""

    entry: Entry
    place: str = ""
    """FILE:LINE; empty in a list that stands in the setting itself."""


def lines_of(text: str, name: str) -> list[Line]:
    """The lines of a file that hold something. Raises TableError, which names the line."""
    return [Line(entry, f"{name}:{entry.line}") for entry in parse_entries(text, name)]


def key_problems(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Place and reason of each line of a KeyTable that names no key."""
    problems = []
    for line in lines:
        try:
            parse_key_entry(line.entry, _AUTHOR_DOMAIN)
        except TableError as error:
            reason = str(error).removeprefix(f"the KeyTable's entry {line.entry.place} ")
            problems.append((line.place, reason))
    return problems


def macro_names(lines: Sequence[Line]) -> list[str]:
    """The macros of a MacroList, without braces. Raises TableError, which names the line."""
    names = []
    for number, line in enumerate(lines, start=1):
        name = line.entry.name.strip("{}")
        if not _MACRO.fullmatch(name):
            where, form = f"{line.place}:", "a line is NAME, or NAME VALUE|VALUE"
            if not line.place:
                where, form = f"element {number}", "an element is NAME, or NAME=VALUE|VALUE"
            raise TableError(f"{where} is no name of a macro, and makes no mail ours there, either; {form}")
        names.append(name)
    return names
