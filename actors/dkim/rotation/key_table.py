"""A KeyTable as rotation needs it: who uses which key, and its text with one entry pointed to another key.

Only selector and key of the one line change; comments, blanks and all other lines stay as they are.
"""

import os.path
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actors.dkim.rotation.state import KeyPlace
from actors.dkim.signing.options import key_is_path
from actors.dkim.signing.tables import (
    Entry,
    SigningRequest,
    TableError,
    is_for_any_domain,
    parse_entries,
    parse_key_entry,
)


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One entry that rotation can change."""

    name: str
    domain: str
    place: KeyPlace


class KeyTableView:
    """The entries of a KeyTable by what they use. Raises TableError for entries that cannot be read."""

    def __init__(
        self, entries: Sequence[Entry], beside: Sequence[Entry] = (), real: Callable[[str], str] = os.path.normpath
    ) -> None:
        """`beside` is what signs without standing in the table: it uses records and keys, and is not rotated.

        `real` gives the file that a path leads to: keys are the same when their files are.
        """
        self._real = real
        self.left_out: dict[str, str] = {}
        """Names of entries that are not rotated, and why."""
        self._entries: dict[str, TableEntry] = {}
        self._of_record: dict[tuple[str, str], list[str]] = {}
        self._of_key: dict[str, list[str]] = {}
        self._for_any: list[Entry] = []
        for entry in entries:
            if entry.name.lower() in self._entries or entry.name.lower() in self.left_out:
                continue  # The first of two counts.
            if is_for_any_domain(entry):
                self._for_any.append(entry)
                self.left_out[entry.name.lower()] = "is for the author's domain, whichever it is"
            else:
                self._add(entry.name, parse_key_entry(entry))
        for entry in beside:
            self._use(entry.name, parse_key_entry(entry))

    def _use(self, name: str, request: SigningRequest) -> None:
        self._of_record.setdefault((request.domain, request.selector.lower()), []).append(name)
        if key_is_path(request.key):
            self._of_key.setdefault(self._real(request.key), []).append(name)

    def _add(self, name: str, request: SigningRequest) -> None:
        self._use(name, request)
        if key_is_path(request.key):
            place = KeyPlace(request.selector, request.key)
            self._entries[name.lower()] = TableEntry(name, request.domain, place)
        else:
            self.left_out[name.lower()] = "its key is not in a file: only those are rotated"

    @property
    def entries(self) -> list[TableEntry]:
        """All that can be rotated, in the table's order."""
        return list(self._entries.values())

    def entry(self, name: str) -> TableEntry | None:
        """The entry of this name, in any case."""
        return self._entries.get(name.lower())

    def selectors(self, domain: str) -> set[str]:
        """Selectors that are in use for a domain, in lower case as DNS compares them."""
        used = {selector for of, selector in self._of_record if of == domain}
        return used | {parse_key_entry(entry, domain).selector.lower() for entry in self._for_any}

    def users_of_record(self, domain: str, selector: str) -> list[str]:
        """Names of the entries that sign with this domain and selector."""
        found = list(self._of_record.get((domain, selector.lower()), ()))
        for entry in self._for_any:
            request = parse_key_entry(entry, domain)
            if (request.domain, request.selector.lower()) == (domain, selector.lower()):
                found.append(entry.name)
        return found

    def users_of_key(self, domain: str, path: str) -> list[str]:
        """Names of the entries that sign with the key in this file."""
        file = self._real(path)
        of_all = [entry.name for entry in self._for_any if self._real(parse_key_entry(entry, domain).key) == file]
        return [*self._of_key.get(file, ()), *of_all]


def pointed_to(text: str, name: str, old: KeyPlace, new: KeyPlace) -> str:
    """The text of a KeyTable whose first entry `name` has the place `new` instead of `old`. Raises TableError.

    Unchanged when it has it already. What is written is read again and compared before anybody gets it.
    """
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        entry = next(iter(parse_entries(line, "")), None)
        if entry is not None and entry.name.lower() == name.lower():
            place = _place(entry)
            if place.is_same(new):
                return text
            if not place.is_same(old):
                raise TableError(f"the KeyTable's entry {name} names another key than was there before")
            lines[number] = _with_place(line, entry, new)
            changed = "".join(lines)
            _check(text, changed, number, new)
            return changed
    raise TableError(f"the KeyTable has no entry {name} any more")


def _with_place(line: str, entry: Entry, new: KeyPlace) -> str:
    """The line with other second and third parts of its value."""
    start = line.index(entry.name) + len(entry.name)
    start = line.index(entry.value, start)
    domain = entry.value.partition(":")[0]
    return f"{line[:start]}{domain}:{new.selector}:{new.key}{line[start + len(entry.value) :]}"


def _check(before: str, after: str, number: int, new: KeyPlace) -> None:
    lines_before, lines_after = before.splitlines(), after.splitlines()
    changed = parse_entries(lines_after[number], "")
    if len(changed) != 1 or _place(changed[0]) != new:
        raise TableError("the KeyTable cannot hold the name of the new key")
    del lines_before[number], lines_after[number]
    if lines_before != lines_after:
        raise TableError("the KeyTable would change elsewhere, too")


def _place(entry: Entry) -> KeyPlace:
    request = parse_key_entry(entry)
    return KeyPlace(request.selector, request.key)
