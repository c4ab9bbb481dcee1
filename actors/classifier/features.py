"""What the model sees of a message: hashed byte 5-grams of several views of it, in one vectorised pass.

Strategy: the views (body, subject, sender, shape of the header section, HTML source) are laid end to end in one
buffer and folded by a byte table (case, digits, white space); every window of five bytes is hashed together with its
view into 2^19 slots. Of the header section only an allow-list of fields is read: what collectors, lists, filters and
our own gateway add can then never become evidence.
"""

import bisect
import itertools
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actors.html import html_text
from actors.mime import decode_encoded_words, mail_text
from actors.model import Message
from wire.message import unfold

VERSION: Final = 1
"""Changes whenever the same message would give other slots; a model of another version is refused."""
SLOT_BITS: Final = 19
SLOTS: Final = 1 << SLOT_BITS
GRAM_BYTES: Final = 5
TEXT_BYTES_MAX: Final = 48 * 1024
HTML_BYTES_MAX: Final = 16 * 1024
VIEWS: Final = ("", "subject:", "from:", "header:", "html:")
"""What evidence from each view begins with, in the order of the buffer."""

_VALUE_FIELDS: Final = (
    b"x-mailer",
    b"user-agent",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"x-priority",
    b"x-msmail-priority",
    b"importance",
    b"x-mimeole",
)
"""Fields whose value says how the message was made; copied into the shape, shortened."""
_PRESENT_FIELDS: Final = (b"cc", b"in-reply-to", b"references", b"reply-to", b"organization")
_READ_FIELDS: Final = frozenset(
    (b"subject", b"from", b"to", b"date", b"message-id", *_VALUE_FIELDS, *_PRESENT_FIELDS),
)
_VALUE_BYTES_MAX: Final = 200
_BOUNDARY: Final = re.compile(rb"boundary\s{0,10}+=[^;]{0,200}+", re.IGNORECASE)
_RUNS: Final = ((re.compile(rb"[0-9]++"), b"n"), (re.compile(rb"[A-Z]++"), b"A"), (re.compile(rb"[a-z]++"), b"a"))

_SPACE: Final = 0x20
_VIEW_SALTS: Final = np.arange(1, len(VIEWS) + 2, dtype=np.uint32) * np.uint32(0xC2B2AE3D)
_FACTOR: Final = np.uint32(0x9E3779B1)
_MIXER: Final = np.uint32(0x85EBCA77)
_HALF: Final = np.uint32(15)
_SURPLUS: Final = np.uint32(32 - SLOT_BITS)
_SHOWN_WORD: Final = re.compile(rb"[a-z0$%'-]{0,20}[a-z]{3}[a-z0$%'-]{0,20}")
_MARKS: Final = b""".,;:!?()<>[]"'*_=-"""
_WORD_BYTES_MAX: Final = 32
_CANDIDATES: Final = 8
"""Words looked at for each that is shown: URLs and rulers are strong evidence but no words."""


def _folding() -> bytes:
    """Letters lower case, digits all alike, control characters and white space as space; the rest as it is."""
    return bytes(
        ord("0") if 0x30 <= byte <= 0x39 else _SPACE if byte < _SPACE or byte == 0x7F else byte
        for byte in bytes(range(256)).lower()
    )


_FOLDING: Final = _folding()


@dataclass(frozen=True)
class Grams:
    """The windows of one message in order."""

    text: NDArray[np.uint32]
    """Folded bytes of all views, white space single; GRAM_BYTES - 1 longer than `slots`."""
    slots: NDArray[np.uint32]
    """Slot of the window that begins at each byte of `text`, repetitions included."""
    view_ends: NDArray[np.intp]
    """Where each of VIEWS ends in `text`."""

    @cached_property
    def distinct(self) -> NDArray[np.uint32]:
        """The slots in ascending order, each once: the binary features of the message."""
        ordered = np.sort(self.slots)
        first = np.empty(len(ordered), np.bool_)
        first[0] = True
        np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
        distinct: NDArray[np.uint32] = ordered[first]
        return distinct

    def strongest_words(self, contributions: NDArray[np.float32], count: int) -> list[str]:
        """The words whose windows contribute most, strongest first, each once; printable ASCII with their view.

        `contributions` has one value for each of `slots`; words that contribute nothing or less are left out.
        """
        spaces = np.flatnonzero(self.text[: len(self.slots)] == _SPACE)
        if not len(spaces):
            return []
        # A word's windows begin at the space before it and end before the next.
        sums = np.add.reduceat(contributions, spaces)
        strongest = np.argsort(sums)[: -1 - count * _CANDIDATES : -1]
        text = self.text.astype(np.uint8).tobytes()
        view_ends = self.view_ends.tolist()
        words: dict[str, None] = {}
        for begin in spaces[strongest[sums[strongest] > 0]].tolist():
            word = text[begin + 1 : begin + _WORD_BYTES_MAX].partition(b" ")[0].strip(_MARKS)
            if _SHOWN_WORD.fullmatch(word):
                words[VIEWS[bisect.bisect_right(view_ends, begin)] + word.decode("ascii")] = None
                if len(words) == count:
                    break
        return list(words)


def grams(message: Message) -> Grams:
    """Hash a message. Total: any bytes give at least one window."""
    views = _views(message)
    # A space before and after each view, so that its first and last words look like any other; the end is padding.
    buffer = b" " + b" ".join(views) + b" " * GRAM_BYTES
    raw = np.frombuffer(buffer.translate(_FOLDING), np.uint8)
    # Of several spaces the last stays: it is the one that belongs to the view that follows.
    space = raw == _SPACE
    kept = np.empty(len(raw), np.bool_)
    np.logical_and(space[:-1], space[1:], out=kept[:-1])
    np.logical_not(kept[:-1], out=kept[:-1])
    kept[-GRAM_BYTES:] = True
    wide = raw[kept].astype(np.uint32)
    count = len(wide) - GRAM_BYTES + 1
    hashes = wide[:count].copy()
    for offset in range(1, GRAM_BYTES):
        hashes *= _FACTOR
        hashes += wide[offset : offset + count]
    begins = [0, *itertools.accumulate(len(view) + 1 for view in views)]
    lengths = np.add.reduceat(kept, begins, dtype=np.intp)
    hashes ^= np.repeat(_VIEW_SALTS, lengths)[:count]
    hashes ^= hashes >> _HALF
    hashes *= _MIXER
    hashes >>= _SURPLUS
    return Grams(wide, hashes, lengths.cumsum())


def _views(message: Message) -> list[bytes]:
    fields = _read_fields(message)
    text = mail_text(message)
    body = f"{text.plain}\n{html_text(text.html)}" if text.html else text.plain
    return [
        _encoded(body, TEXT_BYTES_MAX),
        _encoded(decode_encoded_words(fields.get(b"subject", b"")), TEXT_BYTES_MAX),
        _encoded(decode_encoded_words(fields.get(b"from", b"")), TEXT_BYTES_MAX),
        _shape(fields),
        _encoded(text.html, HTML_BYTES_MAX),
    ]


def _encoded(text: str, bytes_max: int) -> bytes:
    return text[:bytes_max].encode("utf-8", "replace")[:bytes_max]


def _read_fields(message: Message) -> dict[bytes, bytes]:
    """The first field of each name that is read at all."""
    return {name: fields[0][1] for name, fields in message.fields_by_name.items() if name in _READ_FIELDS}


def _shape(fields: dict[bytes, bytes]) -> bytes:
    """How the header section is made, as words: fields present, values of technical ones, forms of ids and dates."""
    words = [b"has-" + name for name in fields]
    words += [_BOUNDARY.sub(b"", unfold(fields[name][:_VALUE_BYTES_MAX])) for name in _VALUE_FIELDS if name in fields]
    words.append(b"to%d" % min(5, fields[b"to"].count(b"@")) if b"to" in fields else b"nobody")
    words.append(b"id" + _form(fields.get(b"message-id", b"").strip().partition(b"@")[0]))
    words.append(b"zone" + fields.get(b"date", b"").strip()[-12:].replace(b" ", b""))
    return b" ".join(words)


def _form(value: bytes) -> bytes:
    """The pattern of an identifier: runs of digits, capitals and small letters as one letter each."""
    form = value[:_VALUE_BYTES_MAX]
    for runs, letter in _RUNS:
        form = runs.sub(letter, form)
    return form[:40]
