"""The author domain: which domains the From field names (RFC 5322 section 3.6.2), read by one linear pass.

A tolerant reader: comments, quoted strings, routes and groups are stepped over, whatever else stands there. What two
readers could read differently (several fields, several domains, another address in a display name without quotes) is
reported as such, so that DMARC never judges one address while the user is shown another.
"""

import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from actors.domains import ascii_domain
from actors.model import Message

FIELD_BYTES_MAX = 8 * 1024
"""A longer From field is not read: no mail program writes one."""

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|\\.|["()<>,;:]|[^"()<>,;:\\]++|\\', re.DOTALL)
_AFTER_AT = re.compile(r"@\s*+([^\s@]*+)")
_SHOWN_DOMAIN = re.compile(r"@\s*+([\w.\-\u3002\uff0e\uff61]++)")
_ENCODED_WORD = re.compile(r"=\?[^?\s]*+\?([bq])\?([!->@-~]*+)\?=", re.IGNORECASE | re.ASCII)
_NO_DOT = re.compile(r"[\w\-]*+")
_UNREADABLE_BYTES_MAX = 128 * 1024
"""Of a field that cannot be read, for what looks like an address: Postfix takes 102,400 of one by default."""
_SHOWN_READ_MAX = 1000
"""Texts that look like domains of a field; of those with a dot `DOMAINS_MAX`."""
DOMAINS_MAX = 20
"""Of one field; the second one already makes it ambiguous."""
_FIELDS_READ_MAX = 3
"""Of several From fields: the first ones and the last, which is what mail programs show."""


@dataclass(slots=True)
class _Reader:
    """Collects the domains of one field; `plain` is what stands outside angle brackets."""

    domains: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    """Domains of what looks like an address in the names of mailboxes and groups, or encoded in place of a mailbox."""
    plain: str = ""
    angle: str | None = None
    has_angle: bool = False

    def end_mailbox(self) -> None:
        if self.has_angle:
            self.end_name()
        else:
            self.domains += _address_domains(self.plain)
            self.shown += _encoded_domains(self.plain)
        self.plain, self.has_angle = "", False

    def end_name(self) -> None:
        self.shown += _SHOWN_DOMAIN.findall(self.plain)
        self.plain = ""

    def end_angle(self) -> None:
        if self.angle:
            self.domains += _address_domains(self.angle) or [""]
        self.angle = None

    def piece(self, piece: str) -> None:
        """One piece outside comments."""
        if self.angle is not None:
            self._inside_angle(piece)
        elif piece == "<":
            self.angle, self.has_angle = "", True
        elif piece in (",", ";"):
            self.end_mailbox()
        elif piece == ":":
            self.end_name()  # it was the name of a group
        elif piece[0] not in '">':
            self.plain += piece.removeprefix("\\")

    def _inside_angle(self, piece: str) -> None:
        if piece == ">":
            self.end_angle()
        elif piece == ":":
            self.angle = ""  # it was a route (RFC 5322 section 4.4)
        elif piece[0] not in '"<':
            self.angle = (self.angle or "") + piece.removeprefix("\\")


def _address_domains(text: str) -> list[str]:
    """What stands behind the @ of an address; several when there are several @, none when there is none."""
    return [text.rpartition("@")[2]] if text.count("@") == 1 else _AFTER_AT.findall(text)


def _encoded_domains(text: str) -> list[str]:
    """Domains of addresses in encoded words, which are none (RFC 2047 section 5) except to readers who decode first."""
    domains = []
    for encoding, encoded in _ENCODED_WORD.findall(text):
        try:
            base64 = encoding in "bB"
            decoded = binascii.a2b_base64(encoded + "==") if base64 else binascii.a2b_qp(encoded, header=True)
        except binascii.Error:
            continue
        domains += _SHOWN_DOMAIN.findall(decoded.decode("utf-8", "replace"))
    return domains


class Author(msgspec.Struct, frozen=True):
    """The distinct domains of a From field as A-labels in lower case, in order."""

    domains: tuple[str, ...] = ()
    """Of its addresses; "" for an unusable one."""
    shown: tuple[str, ...] = ()
    """Others, of what looks like an address in a name without quotes, or anywhere in a field that cannot be read: a
    reader may take it for the author's."""


class Authors(msgspec.Struct, frozen=True):
    """What all From fields of a message say together (RFC 9989 section 5.3.1)."""

    flaw: str
    """from_missing, from_multiple, from_malformed, or "" when exactly one author domain is shown."""
    domain: str = ""
    """The one author domain; "" when there is none, or more than one."""
    others: tuple[str, ...] = ()
    """Further domains that are shown: some reader may take one of them for the author's."""


def read_authors(message: Message) -> Authors:
    """The one author domain, or why there is none, and what is shown besides.

    DMARC judges messages with exactly one author domain. When a name shows another one beside it, DMARC may fail for
    the author's, but not pass: what is wrong is told along with the domain.
    """
    fields = message.header_values(b"from")
    if not fields:
        return Authors("from_missing")
    author = read_author(fields[0])
    if len(fields) > 1 or len(author.domains) > 1:
        read = map(read_author, dict.fromkeys((*fields[: _FIELDS_READ_MAX - 1], fields[-1])))
        shown = dict.fromkeys(domain for one in read for domain in (*one.domains, *one.shown) if domain)
        return Authors("from_multiple", others=tuple(shown))
    if not author.domains or not author.domains[0]:
        return Authors("from_malformed", others=author.shown)
    return Authors("from_multiple" if author.shown else "", author.domains[0], author.shown)


def read_author(value: bytes) -> Author:
    """The domains of one From field's body, unfolded; only `shown` ones when quotes or comments do not end."""
    if len(value) > FIELD_BYTES_MAX:
        return _unreadable(value)
    reader, depth = _Reader(), 0
    for match in _PIECE.finditer(value.decode("utf-8", "replace")):
        piece = match[0]
        if depth:
            depth += {"(": 1, ")": -1}.get(piece, 0)
        elif piece == "(":
            depth = 1
        elif piece == '"':
            return _unreadable(value)
        elif piece != ")":
            reader.piece(piece)
    if depth:
        return _unreadable(value)
    reader.end_angle()
    reader.end_mailbox()
    # Distinct before they are cut: the same domain, however often, hides none behind it.
    domains = dict.fromkeys(islice(dict.fromkeys(map(ascii_domain, dict.fromkeys(reader.domains))), DOMAINS_MAX))
    shown = [*reader.shown, *(_looking_like_addresses(value) if "" in domains else ())]
    return Author(tuple(domains), tuple(domain for domain in _clean(shown) if domain not in domains))


def _unreadable(value: bytes) -> Author:
    return Author(shown=_clean(_looking_like_addresses(value)))


def _looking_like_addresses(value: bytes) -> Iterable[str]:
    text = value[:_UNREADABLE_BYTES_MAX].decode("utf-8", "replace")
    return (match[1] for match in _SHOWN_DOMAIN.finditer(text))


def _clean(shown: Iterable[str]) -> tuple[str, ...]:
    distinct = dict.fromkeys(islice(shown, _SHOWN_READ_MAX))
    named = (text for text in distinct if not _NO_DOT.fullmatch(text))
    found = dict.fromkeys(ascii_domain(text.strip("-_.")) for text in islice(named, DOMAINS_MAX))
    return tuple(domain for domain in found if domain)


def domain_of(address: bytes) -> str:
    """The domain of an envelope address, as `ascii_domain`."""
    return ascii_domain(address.decode("utf-8", "replace").rpartition("@")[2])
