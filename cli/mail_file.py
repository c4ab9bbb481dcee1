"""Mail files of any origin as the MTA would hand them over: CRLF line ends, no mbox line, header and body apart."""

import re
from dataclasses import dataclass
from pathlib import Path

_ANGLE_ADDRESS = re.compile(rb"<([^<>\r\n]{0,998})>")
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class MailFile:
    """One message: `header_block` without its final empty line, `body` after it, both with CRLF line ends."""

    header_block: bytes
    body: bytes


def read_mail_file(path: Path) -> MailFile:
    """Read one message from a file. Raises OSError."""
    return split_message(path.read_bytes())


def split_message(raw: bytes) -> MailFile:
    """Normalise line ends, drop an mbox "From " line, split at the first empty line.

    A header section that never ends is all header; a text whose first line is no header field is all body, as an
    MTA would see it: Postfix puts the empty line before the first line that cannot be a field.
    """
    text = _LINE_END.sub(b"\r\n", raw)
    if text.startswith(b"From "):
        text = text.partition(b"\r\n")[2]
    if text.startswith(b"\r\n"):
        return MailFile(b"", text[2:])
    header_end = _header_end(text)
    header_block, body = text[:header_end], text[header_end:]
    if header_block and not header_block.endswith(b"\r\n"):
        header_block += b"\r\n"
    return MailFile(header_block, body.removeprefix(b"\r\n"))


def _header_end(text: bytes) -> int:
    """Offset of the first line that is neither a field (RFC 5322 section 2.2) nor a continuation of one."""
    position = 0
    while position < len(text):
        line_end = text.find(b"\r\n", position)
        line = text[position : line_end if line_end >= 0 else len(text)]
        name, colon, _ = line.partition(b":")
        is_field = bool(colon) and bool(name.strip(b" \t")) and b" " not in name.strip(b" \t")
        is_continuation = line[:1] in (b" ", b"\t") and position > 0
        if not line or not (is_field or is_continuation):
            break
        if line_end < 0:
            return len(text)
        position = line_end + 2
    return position


def return_path(header_block: bytes) -> bytes:
    """The envelope sender that a delivering MTA wrote into Return-Path, or empty."""
    for line in header_block.split(b"\r\n"):
        if line[:12].lower() == b"return-path:":
            match = _ANGLE_ADDRESS.search(line)
            return match[1].strip() if match else line[12:].strip()
    return b""


def topmost_received_date(header_block: bytes) -> bytes:
    """The date of the topmost Received field (after its last semicolon), or empty."""
    unfolded = header_block.replace(b"\r\n\t", b" ").replace(b"\r\n ", b" ")
    for line in unfolded.split(b"\r\n"):
        if line[:9].lower() == b"received:":
            return line.rpartition(b";")[2].strip()
    return b""
