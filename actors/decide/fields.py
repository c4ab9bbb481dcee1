"""Text for header fields that we write: printable ASCII, folded, impossible to inject into.

Every value that came from outside passes `printable` or `pvalue`; every field body is laid out by `fold`.
"""

import re
from collections.abc import Iterable, Sequence

from actors.model import Message

LINE_CHARS = 100
"""Lines are folded before they grow beyond this (RFC 5322 section 2.1.1: should be 78, must be 998)."""
VALUE_CHARS_MAX = 255
"""A single value is cut here; the longest domain name has 253."""

_FOLDED_NAME = re.compile(rb"([!-9;-~]++)[ \t]*+\r\n[ \t\r\n]*+:")
_PLAIN = re.compile(r"(?=.)[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]*+(?:@[0-9A-Za-z.\-]++)?\Z")


def field_name(name: bytes, value: bytes) -> bytes:
    """The lower-case name of a field of `Message.headers`, also of a line that is folded before its colon.

    Such a line is no field (RFC 5322 section 4.5.8) and has no name there, but a tolerant reader may see one.
    """
    folded = None if name else _FOLDED_NAME.match(value)
    return (folded[1] if folded else name).lower()


def fields_named(message: Message, name: bytes) -> Sequence[tuple[bytes, bytes]]:
    """The fields whose `field_name` is `name` (lower case), in order.

    Most mail has no field of a name that only a filter writes: its header section is not even read for that.
    """
    if name not in message.header_block_lower:
        return ()
    if b"" not in message.fields_by_name:
        return message.fields_by_name.get(name, ())
    return [field for field in message.headers if field_name(*field) == name]


def printable(text: str, chars_max: int = VALUE_CHARS_MAX) -> str:
    """`text` cut to `chars_max`, each character outside printable ASCII replaced by "?"."""
    text = text[:chars_max]
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def pvalue(text: str) -> str:
    """`text` as the value of a property (RFC 8601 section 2.2): bare when it is a token or address, else quoted."""
    if len(text) <= VALUE_CHARS_MAX and _PLAIN.match(text):
        return text
    return quoted(text)


def quoted(text: str) -> str:
    """`text` as a quoted-string (RFC 5322 section 3.2.4)."""
    escaped = printable(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def fold(name: str, lines: Iterable[Sequence[str]]) -> bytes:
    """The body of field `name` from words that must not be broken; each sequence begins a line of its own.

    Words are joined by one space, lines begin with a tab. Words are at most a few hundred printable characters,
    so no line comes near 998 octets.
    """
    rows: list[str] = []
    width = len(name) + 2
    for words in lines:
        row = ""
        for word in words:
            if row and width + len(row) + 1 + len(word) > LINE_CHARS:
                rows.append(row)
                row, width = word, 1
            else:
                row = f"{row} {word}" if row else word
        rows.append(row)
        width = 1
    return "\r\n\t".join(rows).encode("ascii")
