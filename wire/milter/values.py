"""Pure helpers between the bytes of the protocol and the values of a mail, and what no value may hold."""

import re
from collections.abc import Sequence
from typing import Final

from wire.milter import constants as c
from wire.milter import events as ev

FIELD_NAME: Final = re.compile(rb"[!-9;-~]+")
"""RFC 5322 section 2.2: printable ASCII but the colon."""
BROKEN_VALUE: Final = re.compile(rb"[\0\r]|\n(?![ \t])")
"""What would end a header value on the wire or in the message: NUL, CR, or LF that is no fold."""
BROKEN_LINE: Final = re.compile(rb"[\0\r\n]")
"""What would end a line or a string."""
_REPLY_TEXT_BYTES_MAX: Final = 480  # RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets with its code
_UNPRINTABLE: Final = re.compile(r"[^ -~]")


def strip_brackets(address: bytes) -> bytes:
    """An envelope address without its angle brackets; other bytes stay as they are."""
    return address[1:-1] if address[:1] == b"<" and address[-1:] == b">" else address


def client_ip(event: ev.Connect) -> str:
    """The client's IP address, "" for a local client. Sendmail writes `IPv6:` before it, Postfix `unknown` for it."""
    if event.family not in (c.SMFIA_INET, c.SMFIA_INET6):
        return ""
    address = event.address
    if address[:5].lower() == b"ipv6:":
        address = address[5:]
    return address.decode("ascii", "replace")


def folds_to_crlf(value: bytes) -> bytes:
    """A header value of the MTA (folds are LF) as it is in the message (folds are CRLF)."""
    return value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def folds_to_lf(value: bytes) -> bytes:
    """A header value of a message (folds are CRLF) as an MTA wants it in an edit (folds are LF)."""
    return value.replace(b"\r\n", b"\n")


def format_reply(code: int, enhanced: str, lines: str | Sequence[str]) -> bytes:
    """The text of a ReplyCode; total: unprintable characters become `?`, long lines are cut, no line is one line."""
    texts = [lines] if isinstance(lines, str) else list(lines)
    last = len(texts) - 1
    rows = [
        f"{code}{' ' if number >= last else '-'}{enhanced} {_UNPRINTABLE.sub('?', text)[:_REPLY_TEXT_BYTES_MAX]}"
        for number, text in enumerate(texts or [""])
    ]
    return "\r\n".join(rows).encode("ascii")
