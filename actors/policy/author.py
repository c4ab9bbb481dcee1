"""The author domain: which domains the From field names (RFC 5322 section 3.6.2), read by one linear pass.

A tolerant reader: comments, quoted strings, routes and groups are stepped over, whatever else stands there. What two
readers could read differently (several fields, several domains, another address in a display name without quotes) is
reported as such, so that DMARC never judges one address while the user is shown another.
"""

import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import msgspec

from actors.domains import DOTS, ascii_domain
from actors.model import Message

FIELD_BYTES_MAX = 8 * 1024
"""A longer From field is not read: no mail program writes one."""

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|\\.|["()<>,;:]|[^"()<>,;:\\]++|\\', re.DOTALL)
_AFTER_AT = re.compile(r"@\s*+([^\s@]*+)")
_SHOWN_DOMAIN = re.compile(r"@\s*+([\w.\-\u3002\uff0e\uff61]++)")
_ENCODED_WORD = re.compile(r"=\?([^?*\s]*+)[^?\s]*+\?([bq])\?([!->@-~]*+)\?=", re.IGNORECASE | re.ASCII)
_CHARSET = re.compile(
    r"utf-?8|(us-)?ascii|iso-8859-[0-9]{1,2}|windows-125[0-8]|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis|euc-(jp|kr)",
    re.IGNORECASE | re.ASCII,
)
"""Those in which an @ is one byte. Python's codecs are looked up by no other name: they keep each one for ever."""
_COMMENT = re.compile(r"\([^()]*+\)")
_NO_DOT = re.compile(r"[\w\-]*+")
_UNREADABLE_BYTES_MAX = 128 * 1024
"""Of a field that cannot be read, for what looks like an address: Postfix takes 102,400 of one by default."""
_SHOWN_READ_MAX = 1000
"""Texts that look like domains of a field; of those with a dot `DOMAINS_MAX`."""
DOMAINS_MAX = 20
"""Of one field; the second one already makes it ambiguous."""
_OTHERS_READ_MAX = 2
"""Of several different From fields, beside the first: the next and the last, which is what mail programs show."""
CONVERTED_MAX = 10
"""Domains that are not ASCII, of all From fields together: each may cost a millisecond."""
_ENCODED_WORDS_READ_MAX = 50


@dataclass(slots=True)
class _Reader:
    """Collects the domains of one field; `plain` is what stands outside angle brackets."""

    domains: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    """Of what looks like an address in the names of mailboxes and groups."""
    encoded: str = ""
    """Encoded words in place of a mailbox, with what stands there besides."""
    plain: str = ""
    angle: str | None = None
    has_angle: bool = False

    def end_mailbox(self) -> None:
        if self.has_angle:
            self.end_name()
        else:
            self.end_address(self.plain)
            if "=?" in self.plain:
                self.encoded += self.plain
        self.plain, self.has_angle = "", False

    def end_name(self) -> None:
        self.shown += _shown_domains(self.plain)
        self.plain = ""

    def end_angle(self) -> None:
        if self.angle and not self.end_address(self.angle):
            self.domains.append("")
        self.angle = None

    def end_address(self, text: str) -> bool:
        """Whether there was one."""
        joined = _joined_at_dots(text)
        found = _address_domains(joined)
        self.domains += found
        if joined != text:
            self.shown += _SHOWN_DOMAIN.findall(text)  # some reader may stop at the blank
        return bool(found)

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


def _joined_at_dots(text: str) -> str:
    """Without the white space that may stand around the dots of a domain (RFC 5322 section 4.4), in linear time."""
    if len(text.split(maxsplit=1)) > 1:
        for dot in DOTS:
            text = dot.join(part.strip() for part in text.split(dot))
    return text


def _shown_domains(text: str) -> Iterator[str]:
    """Of what looks like an address, as it stands and without white space around dots."""
    for reading in dict.fromkeys((text, _joined_at_dots(text))):
        yield from (match[1] for match in _SHOWN_DOMAIN.finditer(reading))


@dataclass(slots=True)
class _Reading:
    """Bounds the work that the domains of one message's author are."""

    conversions_left: int = CONVERTED_MAX
    truncated: bool = False

    def domains(self, texts: Iterable[str]) -> tuple[str, ...]:
        """The distinct ones among texts, "" for those that are none."""
        found: dict[str, None] = {}
        # Distinct before they are cut: the same domain, however often, hides none behind it.
        for text in dict.fromkeys(texts):
            if not text.isascii():
                if not self.conversions_left:
                    self.truncated = True
                    continue
                self.conversions_left -= 1
            found[ascii_domain(text)] = None
            if len(found) > DOMAINS_MAX:
                self.truncated = True
                return tuple(found)[:DOMAINS_MAX]
        return tuple(found)

    def shown(self, texts: Iterable[str]) -> tuple[str, ...]:
        """The distinct domains among texts that look like some."""
        texts = iter(texts)
        distinct = dict.fromkeys(islice(texts, _SHOWN_READ_MAX))
        self.truncated |= next(texts, None) is not None
        found = self.domains(text.strip("-_.") for text in distinct if not _NO_DOT.fullmatch(text))
        return tuple(domain for domain in found if domain)

    def decoded(self, text: str) -> Sequence[str]:
        """Texts of encoded words, which are no addresses (RFC 2047 section 5) except to readers who decode first."""
        texts: list[str] = []
        for match in _ENCODED_WORD.finditer(text):
            decoded = _decoded(*match.groups()) if len(texts) < _ENCODED_WORDS_READ_MAX else None
            if decoded is None:
                self.truncated = True
                break
            texts.append(decoded)
        return [*texts, "".join(texts)]

    def looking_like_addresses(self, value: bytes) -> Iterator[str]:
        """Domains anywhere in a field, quoted or not, with comments and without."""
        self.truncated |= len(value) > _UNREADABLE_BYTES_MAX
        text = value[:_UNREADABLE_BYTES_MAX].decode("utf-8", "replace").replace('"', "").replace("\\", "")
        for reading in dict.fromkeys((text, _COMMENT.sub("", text), *self.decoded(text))):
            yield from _shown_domains(reading)


def _decoded(charset: str, encoding: str, encoded: str) -> str | None:
    """The text of an encoded word; None when readers may read another one than we."""
    try:
        if not _CHARSET.fullmatch(charset):
            return None
        base64 = encoding in "bB"
        content = binascii.a2b_base64(encoded + "==") if base64 else binascii.a2b_qp(encoded, header=True)
        return content.decode(charset, "replace")
    except (binascii.Error, LookupError):
        return None


class Author(msgspec.Struct, frozen=True):
    """The distinct domains of a From field as A-labels in lower case, in order."""

    domains: tuple[str, ...] = ()
    """Of its addresses; "" for an unusable one."""
    shown: tuple[str, ...] = ()
    """Others, of what looks like an address in a name without quotes, or anywhere in a field that cannot be read: a
    reader may take it for the author's."""
    truncated: bool = False
    """There is more than is read."""


class Authors(msgspec.Struct, frozen=True):
    """What all From fields of a message say together (RFC 9989 section 5.3.1)."""

    flaw: str
    """from_missing, from_multiple, from_malformed, or "" when exactly one author domain is shown."""
    domain: str = ""
    """The one author domain; "" when there is none, or more than one."""
    others: tuple[str, ...] = ()
    """Further domains that are shown: some reader may take one of them for the author's."""
    truncated: bool = False
    """More may be shown than was read."""


def read_authors(message: Message, converted_max: int = CONVERTED_MAX) -> Authors:
    """The one author domain, or why there is none, and what is shown besides.

    DMARC judges messages with exactly one author domain. When a name shows another one beside it, DMARC may fail for
    the author's, but not pass: what is wrong is told along with the domain.

    Of domains that are not ASCII no more than `converted_max` are read.
    """
    fields = message.header_values(b"from")
    if not fields:
        return Authors("from_missing")
    reading = _Reading(converted_max)
    first = _read(fields[0], reading)
    if len(fields) == 1 and len(first.domains) == 1 and first.domains[0] and not first.truncated:
        return Authors("from_multiple" if first.shown else "", first.domains[0], first.shown)
    others = [*dict.fromkeys(fields)][1:]
    further = (*others[: _OTHERS_READ_MAX - 1], *others[_OTHERS_READ_MAX - 1 :][-1:])
    read = (first, *(_read(value, reading) for value in further))
    shown = dict.fromkeys(domain for one in read for domain in (*one.domains, *one.shown) if domain)
    malformed = len(fields) == 1 and first.domains in ((), ("",))
    return Authors(
        "from_malformed" if malformed else "from_multiple",
        others=tuple(shown),
        truncated=reading.truncated or len(others) > len(further),
    )


def read_author(value: bytes) -> Author:
    """The domains of one From field's body, unfolded; only `shown` ones when quotes or comments do not end."""
    return _read(value, _Reading())


def _read(value: bytes, reading: _Reading) -> Author:
    reader = _collected(value)
    if reader is None:
        return Author((), reading.shown(reading.looking_like_addresses(value)), reading.truncated)
    domains = reading.domains(reader.domains)
    texts: list[Iterable[str]] = [reader.shown]
    if reader.encoded:
        texts += map(_shown_domains, reading.decoded(reader.encoded))
    if "" in domains or not domains:
        texts.append(reading.looking_like_addresses(value))
    shown = reading.shown(chain.from_iterable(texts)) if len(texts) > 1 or reader.shown else ()
    return Author(domains, tuple(domain for domain in shown if domain not in domains), reading.truncated)


def _collected(value: bytes) -> _Reader | None:
    """None when quotes or comments do not end, or the field is too long."""
    if len(value) > FIELD_BYTES_MAX:
        return None
    reader, depth = _Reader(), 0
    for match in _PIECE.finditer(value.decode("utf-8", "replace")):
        piece = match[0]
        if depth:
            depth += {"(": 1, ")": -1}.get(piece, 0)
        elif piece == "(":
            depth = 1
        elif piece == '"':
            return None
        elif piece != ")":
            reader.piece(piece)
    if depth:
        return None
    reader.end_angle()
    reader.end_mailbox()
    return reader


def domain_of(address: bytes) -> str:
    """The domain of an envelope address, as `ascii_domain`."""
    return ascii_domain(address.decode("utf-8", "replace").rpartition("@")[2])
