"""DNS from a file: `tamis scan --dns-zone FILE` and the tests, where no real name may be asked.

One record a line, `name TYPE rdata`, for TXT, A, AAAA, MX, PTR and CNAME; names in any case, a final dot is optional.
After `$ORIGIN name` those without a final dot are below it, and @ is it; `$TTL` says nothing here. The quoted strings
of a TXT are joined, in brackets or without; a TXT without quotes is the rest of the line. A line that starts with # or
; is a comment, and so is what follows a ; after other rdata. A name without the asked type is NODATA, and so is one
that only has names below it (RFC 8020); every other name is NXDOMAIN.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path

from actors.adapters.names import question_name, reverse_name
from actors.ports import LookupFailed, NameNotFound, TxtAnswer

TYPES = ("TXT", "A", "AAAA", "MX", "PTR", "CNAME")

_CNAMES_MAX = 8
_RECORD = re.compile(r"(\S++)\s++(?:\d++\s++)?(?:IN\s++)?(\S++)\s++(.+)", re.IGNORECASE | re.DOTALL)
"""As in master files (RFC 1035 section 5.1) TTL and class may stand before the type; both are ignored."""
_OPENED = re.compile(r'(?:\(\s*+)?(?=")')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"\s*+')
_ESCAPE = re.compile(r"\\(\d{3}|.)")

Records = dict[str, dict[str, list[str]]]


class ZoneResolver:
    """A Resolver that knows exactly the records it was given."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._parents = {parent for owner in records for parent in _parents(owner)}

    @classmethod
    def from_file(cls, path: Path) -> "ZoneResolver":
        """Read a zone file. Raises ValueError ("file:line: what") for a bad line and OSError."""
        return cls.from_text(path.read_text(encoding="utf-8", errors="surrogateescape"), str(path))

    @classmethod
    def from_text(cls, text: str, name: str = "zone") -> "ZoneResolver":
        """Read the text of a zone file. Raises ValueError ("name:line: what")."""
        return cls(parse_zone(text.split("\n"), name))

    async def txt(self, name: str) -> Sequence[bytes]:
        """TXT records."""
        return [record.encode("utf-8", "surrogateescape") for record in self._lookup(name, "TXT")]

    async def txt_each(self, names: Sequence[str]) -> Sequence[TxtAnswer]:
        """TXT records of several names."""
        return await each_in_turn(self.txt, names)

    async def addresses(self, name: str, *, ipv6: bool = False) -> Sequence[str]:
        """A or AAAA records."""
        return self._lookup(name, "AAAA" if ipv6 else "A")

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        """(preference, exchange) pairs."""
        pairs = (record.split() for record in self._lookup(name, "MX"))
        return [(int(preference), exchange) for preference, exchange in pairs]

    async def ptr(self, ip: str) -> Sequence[str]:
        """Names of an address."""
        return self._lookup(reverse_name(ip), "PTR")

    async def close(self) -> None:
        """Nothing to give back."""

    def _lookup(self, name: str, kind: str) -> list[str]:
        owner = question_name(name)
        for _ in range(_CNAMES_MAX):
            records = self._records.get(owner)
            if records is None:
                raise NameNotFound(name, nxdomain=owner not in self._parents)
            if kind in records:
                return list(records[kind])
            if "CNAME" not in records:
                raise NameNotFound(name, nxdomain=False)
            owner = records["CNAME"][0]
        raise LookupFailed(f"more than {_CNAMES_MAX} CNAMEs from {name}")


def parse_zone(lines: Iterable[str], file_name: str) -> Records:
    """Records by owner name and type. Raises ValueError ("file:line: what")."""
    records: Records = {}
    origin = ""
    for number, line in enumerate(lines, start=1):
        text = line.strip().removeprefix("\ufeff")
        if not text or text[0] in "#;":
            continue
        try:
            if text[0] == "$":
                origin = _origin_after(text, origin)
                continue
            owner, kind, rdata = _parse_record(text, origin)
        except ValueError as error:
            raise ValueError(f"{file_name}:{number}: {error}") from error
        except NameNotFound as error:
            raise ValueError(f"{file_name}:{number}: not a domain name: {error}") from error
        records.setdefault(owner, {}).setdefault(kind, []).append(rdata)
    return records


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.partition(".")[2]
        yield name


def _origin_after(directive: str, origin: str) -> str:
    """The origin that holds after a line such as $ORIGIN (RFC 1035 section 5.1)."""
    words = directive.partition(";")[0].split()
    match words[0].upper(), words[1:]:
        case "$ORIGIN", ["."]:
            return ""
        case "$ORIGIN", [name]:
            return _whole(name, origin)
        case "$TTL", [_]:
            return origin
    raise ValueError("a directive is `$ORIGIN name` or `$TTL seconds`")


def _whole(name: str, origin: str) -> str:
    if not origin or name.endswith("."):
        return question_name(name)
    return origin if name == "@" else question_name(f"{name}.{origin}")


def _parse_record(text: str, origin: str) -> tuple[str, str, str]:
    match = _RECORD.match(text)
    if match is None:
        raise ValueError("a record is `name TYPE rdata`")
    owner, kind, rdata = _whole(match[1], origin), match[2].upper(), match[3]
    if kind != "TXT":
        rdata = rdata.partition(";")[0].rstrip()
    match kind:
        case "TXT":
            return owner, kind, _text(rdata)
        case "A":
            return owner, kind, str(ipaddress.IPv4Address(rdata))
        case "AAAA":
            return owner, kind, str(ipaddress.IPv6Address(rdata))
        case "MX":
            preference, *exchange = rdata.split()
            if not (preference.isascii() and preference.isdigit() and len(exchange) == 1):
                raise ValueError("the rdata of MX is `preference exchange`")
            # RFC 7505: the exchange "." says that the domain takes no mail.
            target = "." if exchange == ["."] else _whole(exchange[0], origin)
            return owner, kind, f"{preference} {target}"
        case "PTR" | "CNAME":
            return owner, kind, _whole(rdata, origin)
    raise ValueError(f"unknown type {kind}; known are {', '.join(TYPES)}")


def _text(rdata: str) -> str:
    opened = _OPENED.match(rdata)
    if opened is None:
        return rdata
    strings, end = [], opened.end()
    while match := _QUOTED.match(rdata, end):
        strings.append(_ESCAPE.sub(_unescape, match[1]))
        end = match.end()
    rest = rdata[end:]
    if "(" in opened[0]:
        bracket, rest = rest[:1], rest[1:].lstrip()
        if bracket != ")":
            raise ValueError("a bracket is not closed on its line")
    if rest and not rest.startswith(";"):
        raise ValueError("a quoted string is not closed")
    return "".join(strings)


def _unescape(match: re.Match[str]) -> str:
    r"""RFC 1035 section 5.1: \X is X, \DDD is the byte of that number."""
    escaped = match[1]
    return bytes((int(escaped),)).decode("utf-8", "surrogateescape") if len(escaped) == 3 else escaped


async def each_in_turn(txt: Callable[[str], Awaitable[Sequence[bytes]]], names: Sequence[str]) -> list[TxtAnswer]:
    """`Resolver.txt_each` of a resolver that answers at once."""
    answers: list[TxtAnswer] = []
    for name in names:
        try:
            answers.append(await txt(name))
        except (NameNotFound, LookupFailed) as error:
            answers.append(error)
    return answers
