"""What RFC 5322 forbids, as readers differ in what they make of it: a field twice, a CR or LF alone. Pure."""

from collections.abc import Sequence

from actors.model import Message

_ONCE = (
    b"date",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"bcc",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"subject",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
"""At most one of each (RFC 5322 section 3.6, RFC 2045 section 3); of From `author.py` tells."""


def repeated_fields(message: Message) -> Sequence[str]:
    """The names (lower case) of the fields that are there more often than they may be."""
    fields = message.fields_by_name
    return [name.decode() for name in _ONCE if len(fields.get(name, ())) > 1]


def has_bare_line_ends(message: Message) -> bool:
    """Whether a CR or LF stands alone (RFC 5322 section 2.3): to some it ends a line, or the mail (SMTP smuggling)."""
    return any(not text.count(b"\r") == text.count(b"\n") == text.count(b"\r\n") for text in _texts(message))


def _texts(message: Message) -> tuple[bytes, bytes]:
    return message.header_block, message.body
