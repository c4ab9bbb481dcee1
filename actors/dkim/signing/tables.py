"""KeyTable and SigningTable as OpenDKIM reads them (opendkim.conf(5)): from an author's address to signing requests.

A `Table` answers for several names at once, so that a store on the network is asked in one round trip. A table of
patterns ("refile") looks at the first name alone, which is the full address; every other kind gives what stands under
each name, and the names come in OpenDKIM's order. So the rest is the same for all kinds.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from actors.dkim.signing.options import key_is_named
from actors.domains import ascii_domain

ADDRESS_CHARS_MAX = 320
"""RFC 5321 section 4.5.3.1, with room: a longer address is in no table."""
SUPERDOMAIN_LABELS_MAX = 16
"""A name above the author's domain has no more labels when it is looked up: a stranger's domain of 127 would ask for
254 names, and no table speaks of such."""
_NAME_CHARS_MAX = 253


class TableError(Exception):
    """A table cannot be read, or says what cannot be; the text is the reason."""


class TableUnavailable(TableError):
    """The service that holds a table does not answer now: no reason not to start."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a table: a name or a pattern, and its value (its parts separated by colons)."""

    name: str
    value: str
    line: int = field(default=0, compare=False)
    """Of the file it stands in; 0 = in none."""

    @property
    def place(self) -> str:
        """For errors: without what a file has in the place of a name, which may be a line of somebody's PEM."""
        return f"in line {self.line}" if self.line else self.name


class Table(Protocol):
    """A data set of names and values: a file, patterns in a file, a list, Redis, SQL.

    Each method raises TableError when the table cannot be read now.
    """

    async def find(self, names: Sequence[str]) -> Sequence[Entry]:
        """What stands under these names (any case), in the order of the names.

        A table of patterns gives every pattern that matches the first name, in its own order.
        """

    async def entries(self) -> Sequence[Entry]:
        """All of it, for commands that go through every key."""


class NamedTable:
    """A Table in memory whose entries are names. The first of two entries of the same name counts."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = tuple(entries)
        self._by_name: dict[str, Entry] = {}
        for entry in entries:
            self._by_name.setdefault(entry.name.lower(), entry)

    def __len__(self) -> int:
        """How many entries."""
        return len(self._entries)

    async def find(self, names: Sequence[str]) -> Sequence[Entry]:
        """The entries of these names."""
        return self.find_now(names)

    async def entries(self) -> Sequence[Entry]:
        """In the order of the file."""
        return self._entries

    def find_now(self, names: Sequence[str]) -> Sequence[Entry]:
        """`find`, without waiting."""
        return [entry for name in names if (entry := self._by_name.get(name.lower())) is not None]

    def first_of(self, names: Iterable[str]) -> Entry | None:
        """The entry of the first of these names that has one."""
        return next((entry for name in names if (entry := self._by_name.get(name.lower())) is not None), None)


class PatternTable:
    """A Table in memory whose names may hold "*" for any text.

    A pattern without "*" is found as a name is, any other by what stands before its first "*" and after its last one:
    a text is compared with the patterns that have both of its ends, so it costs a look-up for each length of an end.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = tuple(entries)
        self._exact: dict[str, list[int]] = {}
        self._by_ends: dict[tuple[str, str], list[int]] = {}
        for place, entry in enumerate(entries):
            pattern = entry.name.lower()
            first, star, rest = pattern.partition("*")
            if star:
                self._by_ends.setdefault((first, rest.rpartition("*")[2]), []).append(place)
            else:
                self._exact.setdefault(pattern, []).append(place)
        self._firsts = _by_length(first for first, _ in self._by_ends)
        self._lasts = _by_length(last for _, last in self._by_ends)

    def __len__(self) -> int:
        """How many entries."""
        return len(self._entries)

    async def find(self, names: Sequence[str]) -> Sequence[Entry]:
        """The entries whose pattern matches the first name."""
        return self.find_now(names)

    async def entries(self) -> Sequence[Entry]:
        """In the order of the file."""
        return self._entries

    def find_now(self, names: Sequence[str]) -> Sequence[Entry]:
        """`find`, without waiting."""
        if not names:
            return []
        text = names[0].lower()
        lasts = [last for length, known in self._lasts if (last := text[len(text) - length :]) in known]
        places = [
            place
            for length, known in self._firsts
            if (first := text[:length]) in known
            for last in lasts
            for place in self._by_ends.get((first, last), ())
            if matches(self._entries[place].name.lower(), text)
        ]
        return [self._entries[place] for place in sorted([*self._exact.get(text, ()), *places])]

    def first_of(self, names: Iterable[str]) -> Entry | None:
        """The first entry that matches the first of these names that any matches."""
        return next((found[0] for name in names if (found := self.find_now([name]))), None)


def _by_length(ends: Iterable[str]) -> list[tuple[int, set[str]]]:
    """The different texts of each length."""
    of_length: dict[int, set[str]] = {}
    for end in ends:
        of_length.setdefault(len(end), set()).add(end)
    return list(of_length.items())


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text is the pattern with "*" for any text; time grows with their product at most."""
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    last = others.pop()
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    place, end = len(first), len(text) - len(last)
    for part in others:
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True


@dataclass(frozen=True, slots=True)
class Address:
    """The author's address, whose domain selects the keys."""

    local: str
    domain: str
    """A-labels in lower case."""

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    def table_names(self) -> list[str]:
        """Under which names a table may speak of it, in OpenDKIM's order (opendkim.conf(5), SigningTable)."""
        return [str(self), self.domain, *self._superdomain_names(), f"{self.local}@*", "*"]

    def _superdomain_names(self) -> Iterator[str]:
        for above in _superdomains(self.domain):
            yield f"{self.local}@.{above}"
            yield f".{above}"


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """One signature that the tables ask for."""

    name: str
    """The key's name in the KeyTable."""
    domain: str
    """d=."""
    selector: str
    key: str
    """Where the key is, or the key itself: `key_is_named` tells which. Never shown."""
    identity: str = ""
    """i=; empty = none."""
    matched: str = ""
    """The entry of the SigningTable that asks for it."""

    def __repr__(self) -> str:
        return f"SigningRequest({self.name!r}, {self.domain!r}, {self.selector!r}, i={self.identity!r})"


@dataclass(frozen=True, slots=True)
class SigningTables:
    """Both tables and how many of the matches are used."""

    signing: Table
    keys: Table
    multiple: bool = False
    """Every match makes a signature (MultipleSignatures), else the first alone."""

    async def requests(self, author: Address) -> tuple[SigningRequest, ...]:
        """What is asked for mail of this author, in order. Raises TableError, also for a name the KeyTable lacks."""
        if len(str(author)) > ADDRESS_CHARS_MAX:
            return ()
        found = list(await self.signing.find(author.table_names()))
        if not self.multiple:
            del found[1:]
        return tuple([await self._request(entry, author) for entry in found])

    async def named(self, name: str, author_domain: str = "") -> SigningRequest:
        """What the KeyTable has under this name. Raises TableError."""
        keys = await self.keys.find([name])
        if not keys:
            raise TableError(f"the key {name} is wanted, which the KeyTable lacks")
        return parse_key_entry(Entry(name, keys[0].value, keys[0].line), author_domain)

    async def _request(self, entry: Entry, author: Address) -> SigningRequest:
        name, _, identity = (part.strip() for part in entry.value.partition(":"))
        name = author.domain if name == "%" else name
        if not name:
            raise TableError(f"the SigningTable names no key for the entry {entry.place}")
        parsed = await self.named(name, author.domain)
        return SigningRequest(
            name, parsed.domain, parsed.selector, parsed.key, identity.replace("%", author.domain), entry.name
        )


def parse_key_entry(entry: Entry, author_domain: str = "") -> SigningRequest:
    """One entry of a KeyTable, `domain:selector:key`; "%" is the author's domain. Raises TableError."""
    parts = [part.strip() for part in entry.value.split(":", 2)]
    if len(parts) != 3 or not all(parts):
        raise TableError(f"the KeyTable's entry {entry.place} is not DOMAIN:SELECTOR:KEY")
    domain, selector, key = parts
    domain = author_domain if domain == "%" else ascii_domain(domain)
    if not is_name(domain):
        raise TableError(f"the KeyTable's entry {entry.place} has no domain")
    if not is_name(selector):
        raise TableError(f"the KeyTable's entry {entry.place} has no selector")
    if key_is_named(key):
        if "%" in key and not author_domain:
            raise TableError(f"the KeyTable's entry {entry.place} is for the author's domain, which is not known here")
        key = key.replace("%", author_domain)
    return SigningRequest(entry.name, domain, selector, key)


def domain_names(domain: str) -> Iterator[str]:
    """The domain itself, then those above it with the leading dot: how a list of recipients may speak of it."""
    yield domain
    yield from (f".{above}" for above in _superdomains(domain))


def _superdomains(domain: str) -> Iterator[str]:
    """The names above a domain that may be looked up, the longest first."""
    labels = domain.rsplit(".", SUPERDOMAIN_LABELS_MAX)[1:]
    return (".".join(labels[first:]) for first in range(len(labels)))


def is_for_any_domain(entry: Entry) -> bool:
    """Whether an entry of a KeyTable means as many keys as there are authors' domains ("%")."""
    domain, _, key = (part.strip() for part in (*entry.value.split(":", 2), "", "")[:3])
    return domain == "%" or ("%" in key and key_is_named(key))


def is_name(text: str) -> bool:
    """Whether text can stand as d= or s=: labels of a domain name, in which the underscore is in use, too.

    Nothing else may get into a tag list, the name of a key file or a question to DNS.
    """
    labels = text.split(".")
    plain = text.isascii() and len(text) <= _NAME_CHARS_MAX
    return plain and all(label.replace("-", "").replace("_", "").isalnum() for label in labels)


def parse_entries(text: str, name: str) -> list[Entry]:
    """The lines of a file: name, white space, value; "#" begins a comment. Raises TableError ("file:line: what")."""
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].strip().split(None, 1)
        if not words:
            continue
        if not words[0].isprintable():
            raise TableError(f"{name}:{number}: not text")
        entries.append(Entry(words[0], words[1] if len(words) > 1 else "", number))
    return entries


def parse_list(text: str) -> list[Entry]:
    """A comma-separated list; an element may be NAME=VALUE."""
    pairs = (item.strip().partition("=") for item in text.split(","))
    return [Entry(name.strip(), value.strip()) for name, _, value in pairs if name.strip()]
