"""The text of a MIME message for those who judge content: total, capped, and the same for every caller.

Strategy: only the fields that MIME needs go into the parser, in front of the body, since fast_mail_parser is quadratic
in encoded words and the header section is read elsewhere. Caps come first; then fast_mail_parser; and when it raises
or finds nothing in a body that has something (a wrong boundary, a flaw in base64), the standard library, which
repairs as mail clients do. What even that cannot read is text as it stands. libraries.md section 2 has the figures.
"""

import binascii
import codecs
import email
import email.message
import email.policy
import re
from dataclasses import dataclass
from typing import NamedTuple

import fast_mail_parser

from actors.model import Message, parse_header_block

HEADER_BYTES_MAX = 256 * 1024
BODY_BYTES_MAX = 1024 * 1024
"""Of a longer body only the head is parsed: text stands before attachments."""
FALLBACK_BYTES_MAX = 256 * 1024
"""The standard library takes 15 us for a part of 6 bytes: this bounds a body of nothing but parts."""
TEXT_CHARS_MAX = 64 * 1024
PARTS_MAX = 500
MESSAGE_DEPTH_MAX = 3
ENCODED_WORDS_MAX = 1000
"""More in a body go to the standard library, which does not decode them: 80,000 cost fast_mail_parser seconds."""
_HEADER_VALUE_BYTES_MAX = 2048

_MIME_FIELDS = frozenset((b"mime-version", b"content-type", b"content-transfer-encoding", b"content-disposition"))
_NOT_CHARSETS = frozenset(("idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"))
"""Codecs of Python that no mail may name: they cost quadratic time or write what is not in the mail."""
_ENCODED_WORD = re.compile(rb"=\?([!#-'*+\-./0-9A-Za-z^_`{|}~]{1,60}+)\?([bBqQ])\?([!->@-~ ]{0,2000}+)\?=")
_BETWEEN_ENCODED_WORDS = re.compile(rb"(?<=\?=)[ \t\r\n]{1,100}+(?==\?)")
_Q_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class MailText:
    """What a reader of the message may get to see, not more than TEXT_CHARS_MAX characters of each kind."""

    plain: str
    """text/plain parts in order, and bodies without any type."""
    html: str
    """Source of the text/html parts in order."""
    part_types: tuple[str, ...]
    """Content types of the parts that are not body text, lower case."""
    repaired: bool
    """The message is broken MIME: it took the standard library, or no parser could read it."""


class Part(NamedTuple):
    """A leaf of the MIME tree."""

    content: bytes
    encoded: bool
    """Whether it stands in the message in another form (base64, quoted-printable, uuencode)."""


def mail_text(message: Message) -> MailText:
    """Text of a message. Raises nothing, whatever the bytes are; costs at most some 150 ms."""
    return _text_of(_mime_fields(message), message.body[:BODY_BYTES_MAX], 0)


def decoded_parts(message: Message) -> list[Part] | None:
    """Every leaf of the MIME tree, embedded messages included; None when no parser can read the structure.

    Raises nothing; costs some 1 s for 30 MB.
    """
    fields = _mime_fields(message)
    try:
        parts = _decoded_by_parser(fields, message.body)
    except fast_mail_parser.ParseError:
        parts = []
    if parts:
        return parts
    walked = _walk(fields, message.body)
    contents = [(part, part.get_payload(decode=True)) for part in walked]
    parts = [
        Part(content, encoded="content-transfer-encoding" in part)
        for part, content in contents
        if isinstance(content, bytes)
    ]
    return parts if walked else None


def decode_encoded_words(value: bytes) -> str:
    """The text of an unstructured field (RFC 2047), whose first 2 KB are looked at; total.

    Unknown charsets and undecodable bytes read as latin-1, so that nothing disappears.
    """
    value = value[:_HEADER_VALUE_BYTES_MAX]
    if b"=?" not in value:
        return _decode(value, "utf-8")
    value = _BETWEEN_ENCODED_WORDS.sub(b"", value)
    pieces = []
    end = 0
    for match in _ENCODED_WORD.finditer(value):
        pieces.append(_decode(value[end : match.start()], "utf-8"))
        charset, encoding, text = match.groups()
        content = _lenient_base64(text) if encoding in b"bB" else _q_decode(text)
        pieces.append(_decode(content, charset.partition(b"*")[0].decode("ascii")))
        end = match.end()
    pieces.append(_decode(value[end:], "utf-8"))
    return "".join(pieces)


def _mime_fields(message: Message) -> bytes:
    block = message.header_block
    headers = message.headers if len(block) <= HEADER_BYTES_MAX else parse_header_block(block[:HEADER_BYTES_MAX])
    fields = [
        name + b":" + value[:_HEADER_VALUE_BYTES_MAX] + b"\r\n"
        for name, value in headers
        if name.lower() in _MIME_FIELDS
    ]
    return b"".join(fields[: len(_MIME_FIELDS) * 2])


def _text_of(fields: bytes, body: bytes, depth: int) -> MailText:
    text = None
    if body.count(b"=?") <= ENCODED_WORDS_MAX:
        try:
            text = _from_parsed(fast_mail_parser.parse_email(fields + b"\r\n" + body, mode="lazy"), depth)
        except fast_mail_parser.ParseError:
            text = None
    if text and (text.plain.strip() or text.html.strip() or not _may_hold_text(text, body)):
        return text
    return _from_stdlib(fields, body[:FALLBACK_BYTES_MAX])


def _may_hold_text(found: MailText, body: bytes) -> bool:
    """Whether a body in which no text was found is worth a second look: nothing at all came of it, or it says so."""
    if not found.part_types:
        return bool(body.strip())
    return b"text/" in body[:FALLBACK_BYTES_MAX].lower()


def _role(kind: str) -> str:
    """What a content type is to a reader: html, plain, message, multipart or other.

    RFC 2045 section 5.2: what is no valid type counts as text/plain.
    """
    if kind.startswith("text/html"):
        return "html"
    if kind.startswith("text") or "/" not in kind:
        return "plain"
    if kind == "message/rfc822":
        return "message"
    return "multipart" if kind.startswith("multipart/") else "other"


def _from_parsed(mail: fast_mail_parser.PyLazyMail, depth: int) -> MailText:
    plain = [text[:TEXT_CHARS_MAX] for text in mail.text_plain[:PARTS_MAX]]
    html = [text[:TEXT_CHARS_MAX] for text in mail.text_html[:PARTS_MAX]]
    types = []
    for part in mail.attachments[:PARTS_MAX]:
        kind = part.mimetype.lower()
        types.append(kind)
        role = _role(kind)
        if role in ("html", "plain"):
            (html if role == "html" else plain).append(_decode(part.content[:TEXT_CHARS_MAX], "utf-8"))
        elif role == "message" and depth < MESSAGE_DEPTH_MAX:
            head, _, body = part.content.partition(b"\r\n\r\n")
            inner = _text_of(_mime_fields(Message(header_block=head)), body, depth + 1)
            plain.append(inner.plain)
            html.append(inner.html)
            types.extend(inner.part_types)
    return MailText(_joined(plain), _joined(html), tuple(types), repaired=False)


def _decoded_by_parser(fields: bytes, body: bytes) -> list[Part]:
    if body.count(b"=?") > ENCODED_WORDS_MAX:
        return []
    parts = []
    for part in fast_mail_parser.walk(fast_mail_parser.parse_email_tree(fields + b"\r\n" + body, mode="lazy")):
        if part.children or part.content is None:
            continue
        encoded = any(name.lower() == "content-transfer-encoding" for name in part.headers)
        parts.append(Part(part.content, encoded))
    return parts


def _from_stdlib(fields: bytes, body: bytes) -> MailText:
    plain: list[str] = []
    html: list[str] = []
    types: list[str] = []
    for part in _walk(fields, body)[:PARTS_MAX]:
        kind = part.get_content_type()
        role = _role(kind)
        if role in ("html", "plain"):
            (html if role == "html" else plain).append(_text_of_part(part))
        elif not part.is_multipart():
            # A multipart whose boundary never comes has its text here and nowhere else.
            plain += [str(part.get_payload())[:TEXT_CHARS_MAX]] if role == "multipart" else []
            types.append(kind)
    if not plain and not html and not types:
        plain = [_decode(body[:TEXT_CHARS_MAX], "utf-8")]
    return MailText(_joined(plain), _joined(html), tuple(types), repaired=True)


def _walk(fields: bytes, body: bytes) -> list[email.message.Message]:
    """Parts as the standard library sees them; none where it gives up, as on nesting deeper than its stack."""
    try:
        mail = email.message_from_bytes(fields + b"\r\n" + body, policy=email.policy.compat32)
        return list(mail.walk())
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError):
        return []


def _text_of_part(part: email.message.Message) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    return _decode(content[:TEXT_CHARS_MAX], part.get_content_charset("utf-8"))


def _joined(texts: list[str]) -> str:
    return "\n".join(texts)[:TEXT_CHARS_MAX]


def _decode(content: bytes, charset: str) -> str:
    try:
        if codecs.lookup(charset).name in _NOT_CHARSETS:
            charset = "latin-1"
        return content.decode(charset)
    except (LookupError, ValueError):
        return content.decode("latin-1")


def _lenient_base64(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text + b"==")
    except binascii.Error:
        return text


def _q_decode(text: bytes) -> bytes:
    return _Q_HEX.sub(lambda match: bytes((int(match[1], 16),)), text.replace(b"_", b" "))
