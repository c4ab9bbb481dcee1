"""Where two texts part that should be the same, and what typically makes such a difference. Pure.

Strategy: what two texts have in common at their beginning and at their end encloses the difference. A typical cause is
a change that another form would not have shown: both texts are brought into each such form, the most particular first,
until they are equal. All of it is linear.
"""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from actors.dkim.canonical import Field, relaxed_body, relaxed_field

SHOWN_BYTES_MAX = 100

_BEFORE_BYTES = 30
"""Of a long line, what is shown before its first difference."""
_CRLF = b"\r\n"
_WHITE_SPACE = b" \t\r\n"


class Cause(StrEnum):
    """What typically makes such a difference."""

    UNKNOWN = ""
    ADDED = "the field was added"
    REMOVED = "the field was removed"
    SUBJECT_TAG = "a tag was put into the subject"
    REFOLDED = "the field was folded anew, or its white space changed"
    CONVERTED = "the text was encoded anew, as from 8bit to quoted-printable"
    FOOTER = "text was appended, such as a footer"
    CUT = "the end was cut off"
    INSERTED = "text was inserted"
    LINE_ENDS = "line ends (CRLF, LF, CR) were changed"
    TRAILING_SPACE = "white space at ends of lines was changed"
    WHITE_SPACE = "white space inside lines was changed"
    FROM_ESCAPED = "a line that begins with From got a > before it"
    REWRAPPED = "lines were wrapped anew, or white space came or went"


class Difference(msgspec.Struct, frozen=True):
    """Two canonical texts differ from byte `start` (0 = first) up to, not including, the end in each."""

    start: int
    received_end: int
    original_end: int
    received: str
    """The line in question, escaped as in Python, of at most SHOWN_BYTES_MAX bytes; empty where there is none."""
    original: str
    cause: Cause


def field_difference(received: Field | None, original: Field | None, *, relaxed: bool) -> Difference | None:
    """Of a header field, as canonical `name:value` without its final CRLF; None when there is none."""
    texts = _field_text(received, relaxed=relaxed), _field_text(original, relaxed=relaxed)
    if texts[0] == texts[1]:
        return None
    return _difference(texts, 0, (len(texts[0]), len(texts[1])), _field_cause(received, original))


def body_difference(received: bytes, original: bytes) -> Difference | None:
    """Of two canonical bodies; None when there is none."""
    if received == original:
        return None
    start = _common_beginning(received, original)
    line_start, _ = line_of(received, start)
    # The difference may be the second byte of a line end.
    ends = [_line_end(text, max(line_start, start - 1)) for text in (received, original)]
    return _difference((received, original), line_start, (ends[0], ends[1]), _body_cause(received, original))


def line_of(text: bytes, at: int) -> tuple[int, int]:
    """(offset of the line that holds the byte `at`, its number from 1); a line ends with CRLF."""
    before = text.rfind(_CRLF, 0, at)
    return (before + len(_CRLF) if before >= 0 else 0), text.count(_CRLF, 0, at) + 1


def _difference(texts: tuple[bytes, bytes], line_start: int, line_ends: tuple[int, int], cause: Cause) -> Difference:
    start = _common_beginning(*texts)
    common = _common_beginning(texts[0][start:][::-1], texts[1][start:][::-1])
    shown_from = max(line_start, start - _BEFORE_BYTES)
    received, original = (
        _shown(text[shown_from : min(end, shown_from + SHOWN_BYTES_MAX)])
        for text, end in zip(texts, line_ends, strict=True)
    )
    return Difference(start, len(texts[0]) - common, len(texts[1]) - common, received, original, cause)


def _common_beginning(one: bytes, other: bytes) -> int:
    """How many bytes they have in common; each byte is compared some two times, not in a loop of ours."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _line_end(text: bytes, start: int) -> int:
    end = text.find(_CRLF, start)
    return len(text) if end < 0 else end + len(_CRLF)


def _shown(text: bytes) -> str:
    return text.decode("latin-1").encode("unicode_escape").decode()


def _field_text(field: Field | None, *, relaxed: bool) -> bytes:
    return b"" if field is None else b"%b:%b" % (relaxed_field(field) if relaxed else field)


def _field_cause(received: Field | None, original: Field | None) -> Cause:
    if received is None or original is None:
        return Cause.REMOVED if received is None else Cause.ADDED
    now, before = _squeezed(received[1]), _squeezed(original[1])
    name = original[0].lower()
    if now == before:
        return Cause.REFOLDED
    if name == b"subject" and _without_tag(now) == before:
        return Cause.SUBJECT_TAG
    if name == b"content-transfer-encoding" or (now.isascii() and not before.isascii()):
        return Cause.CONVERTED
    return Cause.UNKNOWN


def _body_cause(received: bytes, original: bytes) -> Cause:
    for cause, form in _FORMS.items():
        if form(received) == form(original):
            return cause
    if received.startswith(original.removesuffix(_CRLF)):
        return Cause.FOOTER
    if original.startswith(received.removesuffix(_CRLF)):
        return Cause.CUT
    if received.isascii() and not original.isascii():
        return Cause.CONVERTED
    start = _common_beginning(received, original)
    return Cause.INSERTED if received.endswith(original[start:]) else Cause.UNKNOWN


def _squeezed(text: bytes) -> bytes:
    return text.translate(None, _WHITE_SPACE)


def _without_tag(subject: bytes) -> bytes:
    head, _, rest = subject.partition(b"[")
    return head + rest.partition(b"]")[2]


def _with_lf(text: bytes) -> bytes:
    return text.replace(_CRLF, b"\n").replace(b"\r", b"\n").rstrip(b"\n")


def _without_trailing_space(text: bytes) -> bytes:
    return _CRLF.join(line.rstrip(b" \t") for line in text.split(_CRLF)).rstrip(_CRLF)


def _without_escapes(text: bytes) -> bytes:
    return (_CRLF + text).replace(b"\r\n>From ", b"\r\nFrom ")


_FORMS: dict[Cause, Callable[[bytes], bytes]] = {
    Cause.LINE_ENDS: _with_lf,
    Cause.TRAILING_SPACE: _without_trailing_space,
    Cause.WHITE_SPACE: relaxed_body,
    Cause.FROM_ESCAPED: _without_escapes,
    Cause.REWRAPPED: _squeezed,
}
"""In which form a change of this cause is none."""
