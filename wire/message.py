"""The text of a message (RFC 5322): a mail file as it was on the wire, and the fields of its header section. Pure.

Strategy: any bytes give a result, in linear time. What an MTA would not take for a header section is body, as Postfix
has it: the empty line goes before the first line that cannot be a field.
"""

import re
from dataclasses import dataclass, field

UNFILTERED_FIELD = b"X-Tamis-Unfiltered"
"""The gateway's mark on mail that passed without a verdict; nobody else may set it."""
_BARE_LF = re.compile(rb"(?<!\r)\n")
_FIELD_NAME = re.compile(rb"[!-9;-~]++[ \t]*+:")
"""RFC 5322 section 2.2, with the white space before the colon that section 4.5 still allows."""
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
"""A line end that no folded line follows (RFC 5322 section 2.2.3)."""
_EMPTY_LINES = re.compile(rb"(?:\r\n){2,}+")


@dataclass(frozen=True, slots=True)
class MessageText:
    """One message: `header_block` without the empty line at its end, `body` after it."""

    header_block: bytes = field(repr=False)
    body: bytes = field(repr=False)


def split_message(raw: bytes) -> MessageText:
    """A mail file as the message on the wire: no mbox "From " line, CRLF line ends, header section and body apart.

    The first line tells which line ends a file has. Where it is LF, each bare LF becomes CRLF; a file of CRLF lines is
    left as it is, and so is a bare CR everywhere: a signature may cover it (RFC 6376 section 5.3).
    """
    text = raw.partition(b"\n")[2] if raw.startswith(b"From ") else raw
    if not text[: text.find(b"\n") + 1].endswith(b"\r\n"):
        text = _BARE_LF.sub(b"\r\n", text)
    header_end = _header_end(text)
    header_block, body = text[:header_end], text[header_end:]
    if header_block and not header_block.endswith(b"\r\n"):
        header_block += b"\r\n"
    return MessageText(header_block, body.removeprefix(b"\r\n"))


def _header_end(text: bytes) -> int:
    """Offset of the first line that is neither a field (RFC 5322 section 2.2) nor a continuation of one."""
    position = 0
    while position < len(text):
        continues = position > 0 and text[position] in b" \t"
        if not (continues or _FIELD_NAME.match(text, position)):
            break
        line_end = text.find(b"\r\n", position)
        if line_end < 0:
            return len(text)
        position = line_end + 2
    return position


def parse_header_block(block: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Split a header section (RFC 5322 section 2.2) into (name, value) pairs; total: any bytes give a result.

    The value keeps its leading space and folding, without final CRLF. A line without a colon that continues nothing
    is a field with an empty name, so that nothing is hidden.
    """
    if b"\r\n\r\n" in block:
        block = _EMPTY_LINES.sub(b"\r\n", block)
    fields: list[tuple[bytes, bytes]] = []
    for line in _FIELD_END.split(block.removeprefix(b"\r\n")):
        name, colon, value = line.partition(b":")
        if colon and b"\r\n" not in name:
            fields.append((name.rstrip(b" \t"), value))
        elif line:
            fields.append((b"", line))
    return tuple(fields)


def unfold(value: bytes) -> bytes:
    """Unfold a field value (RFC 5322 section 2.2.3) and strip surrounding white space."""
    return value.replace(b"\r\n", b"").replace(b"\n", b"").strip(b" \t")
