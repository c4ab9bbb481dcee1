"""Mail files of any origin as the MTA would hand them over, with the envelope that the command line or they tell."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.edits import Mail
from wire.message import parse_header_block, split_message, unfold
from wire.milter import strip_brackets

_ANGLE_ADDRESS = re.compile(rb"<([^<>\r\n]{0,998})>")


@dataclass(frozen=True, slots=True)
class MailFile:
    """One message ready to be sent or scanned; addresses have no brackets."""

    sender: bytes
    recipients: tuple[bytes, ...]
    header_block: bytes = field(repr=False)
    """Without the empty line at its end, CRLF line ends."""
    body: bytes = field(repr=False)

    def as_mail(self) -> Mail:
        """The same by fields, for the MTA's side of a milter."""
        return Mail(self.sender, self.recipients, parse_header_block(self.header_block), self.body)


def read_mail_file(path: Path, sender: bytes | None = None, recipients: Sequence[bytes] = ()) -> MailFile:
    """Prepare one message from a file. Raises OSError."""
    return prepare(path.read_bytes(), sender, recipients)


def prepare(raw: bytes, sender: bytes | None = None, recipients: Sequence[bytes] = ()) -> MailFile:
    """A message of any line ends with its envelope; the sender is the Return-Path unless one is given."""
    text = split_message(raw)
    envelope_sender = return_path(text.header_block) if sender is None else sender
    return MailFile(
        strip_brackets(envelope_sender), tuple(map(strip_brackets, recipients)), text.header_block, text.body
    )


def return_path(header_block: bytes) -> bytes:
    """The envelope sender that a delivering MTA wrote into Return-Path, or empty."""
    for line in header_block.split(b"\r\n"):
        if line[:12].lower() == b"return-path:":
            match = _ANGLE_ADDRESS.search(line)
            return match[1].strip() if match else line[12:].strip()
    return b""


def dates(header_block: bytes) -> Iterator[bytes]:
    """When the message came, best first: the date of the topmost Received field (after its last semicolon), Date."""
    fields = parse_header_block(header_block)
    received = (unfold(value).rpartition(b";")[2].strip() for name, value in fields if name.lower() == b"received")
    yield from itertools.islice(received, 1)
    yield from (unfold(value) for name, value in fields if name.lower() == b"date")
