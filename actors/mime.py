"""The text of a MIME message for those who judge content: total, capped, and the same for every caller.

Strategy: only the fields that MIME needs go into the parser, in front of the body, and what parsers stumble over is
straightened first: transfer encodings that are folded or have comments, more encoded words or boundaries than any
honest mail has. Then fast_mail_parser; and when it raises or finds nothing in a body that has something (a wrong
boundary, a flaw in base64), the standard library on a capped head, which repairs as mail clients do. What even that
cannot read is text as it stands. libraries.md section 2 has the figures; the antivirus has its own way (parts.py).
"""

import binascii
import codecs
import contextlib
import email
import email.message
import email.policy
import re
from dataclasses import dataclass

import fast_mail_parser

from actors.model import Message
from wire.message import unfold

HEADER_BYTES_MAX = 256 * 1024
BODY_BYTES_MAX = 1024 * 1024
"""Of a longer body only the head is parsed: text stands before attachments."""
FALLBACK_BYTES_MAX = 256 * 1024
FALLBACK_PARTS_MAX = 1000
"""The standard library takes 15 us for a part of 6 bytes: of more lines like boundaries only the head is parsed."""
TEXT_CHARS_MAX = 64 * 1024
PARTS_MAX = 500
MESSAGE_DEPTH_MAX = 3
ENCODED_WORDS_MAX = 1000
"""More in a body are broken up before parsing: 80,000 cost fast_mail_parser seconds."""
BOUNDARIES_MAX = 20
"""Boundaries that a body may declare; every level of nesting costs both parsers the whole body once more."""
_HEADER_VALUE_BYTES_MAX = 2048

_MIME_FIELDS = (b"mime-version", b"content-type", b"content-transfer-encoding", b"content-disposition")
_NOT_CHARSETS = frozenset(("idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"))
"""Codecs of Python that no mail may name: they cost quadratic time or write what is not in the mail."""
_ENCODINGS = (b"base64", b"quoted-printable", b"x-uuencode", b"x-uue", b"uuencode", b"7bit", b"8bit", b"binary")
_ENCODING_FIELD = re.compile(rb"content-transfer-encoding[ \t]{0,100}+:((?:[^\r\n]|\r?\n[ \t]){0,200}+)")
_BOUNDARY = re.compile(rb"boundary(?=[ \t*0-9]{0,20}+=)")
_COMMENT = re.compile(rb"\([^()]{0,100}+\)")
_CONTENT_FIELD = re.compile(
    rb"(?im)^(content-[a-z-]{1,30}+[ \t]{0,100}+:(?:[^\r\n]|\r?\n[ \t]){0,500}+)(?:[^\r\n]|\r?\n[ \t])++"
)
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


def mail_text(message: Message) -> MailText:
    """Text of a message. Raises nothing, whatever the bytes are; costs at most some 0.3 s."""
    return _text_of(_mime_fields(message), message.body[:BODY_BYTES_MAX], 0)


def attachments(message: Message) -> list[bytes]:
    """Decoded contents of the parts that are neither text nor made of parts; what is broken is left out. Total."""
    body = _straightened(message.body[:BODY_BYTES_MAX])
    contents = []
    try:
        mail = fast_mail_parser.parse_email(_mime_fields(message) + b"\r\n" + body, mode="lazy")
    except fast_mail_parser.ParseError:
        return []
    for part in mail.attachments[:PARTS_MAX]:
        if _role(part.mimetype.lower()) == "other":
            with contextlib.suppress(fast_mail_parser.ParseError):
                contents.append(part.content)
    return contents


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
    """The first field of each name that MIME needs, unfolded."""
    if len(message.header_block) > HEADER_BYTES_MAX:
        message = Message(header_block=message.header_block[:HEADER_BYTES_MAX])
    by_name = message.fields_by_name
    fields = {name: unfold(by_name[name][0][1][:_HEADER_VALUE_BYTES_MAX]) for name in _MIME_FIELDS if name in by_name}
    if odd := fields.get(b"content-transfer-encoding"):
        fields[b"content-transfer-encoding"] = _encoding_name(odd)
    return b"".join(name + b": " + value + b"\r\n" for name, value in fields.items())


def _encoding_name(value: bytes) -> bytes:
    """The transfer encoding in a field's value, without comments, quotes and parameters; the value when it has none."""
    lower = _COMMENT.sub(b"", value.lower())
    return next((name for name in _ENCODINGS if name in lower), value)


def _straightened(body: bytes) -> bytes:
    """The body with plain transfer encodings, and without more encoded words and boundaries than are parsed."""
    if body.count(b"=?") > ENCODED_WORDS_MAX:
        body = body.replace(b"=?", b"= ")
    lower = body.lower()
    edits = []
    if b"content-transfer-encoding" in lower:
        for field in _ENCODING_FIELD.finditer(lower):
            plain = b"content-transfer-encoding: " + _encoding_name(field[1]).strip()
            if field[0] != plain and lower[max(0, field.start() - 1) : field.start()] in (b"", b"\n"):
                edits.append((*field.span(), plain))
    if b"boundary" in lower:
        edits += [(*match.span(), b"no-boundary") for match in _BOUNDARY.finditer(lower)][BOUNDARIES_MAX:]
    if not edits:
        return body
    pieces = []
    end = 0
    for start, next_end, replacement in sorted(edits):
        pieces += [body[end:start], replacement]
        end = max(end, next_end)
    return b"".join(pieces) + body[end:]


def _text_of(fields: bytes, body: bytes, depth: int) -> MailText:
    body = _straightened(body)
    try:
        text = _from_parsed(fast_mail_parser.parse_email(fields + b"\r\n" + body, mode="lazy"), depth)
    except fast_mail_parser.ParseError:
        text = None
    if text and (text.plain.strip() or text.html.strip() or not _may_hold_text(text, body)):
        return text
    return _from_stdlib(fields, _head_for_fallback(body))


def _head_for_fallback(body: bytes) -> bytes:
    """As much of a body as the standard library can read in time, with its long MIME fields cut off."""
    body = body[:FALLBACK_BYTES_MAX]
    if body.count(b"\n--") > FALLBACK_PARTS_MAX:
        body = b"\n--".join(body.split(b"\n--", FALLBACK_PARTS_MAX)[:-1])
    return _CONTENT_FIELD.sub(rb"\1", body)


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
