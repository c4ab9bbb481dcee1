"""Kinds of messages for which figures are told apart: size, HTML or not, script and language of the text. Pure."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Final

from turbohtml.detect import detect_language

from actors.html import html_text
from actors.mime import mail_text
from actors.model import Message

_SIZES: Final = ((2, "below 2 kB"), (10, "2 to 10 kB"), (50, "10 to 50 kB"))
_SIZE_ABOVE: Final = "above 50 kB"
_SAMPLE_CHARS: Final = 4000
"""So much text tells its language; more takes longer."""
_TEXT_CHARS_MIN: Final = 100
_CONFIDENT: Final = 0.8
_COMMON: Final = 0.01
"""Of all messages; what fewer have in common is told as `other`."""


def slices_of(messages: Sequence[Message]) -> dict[str, list[str]]:
    """What each message is, by kind of slice; rare names are `other`."""
    rows = [_kinds(message) for message in messages]
    return {kind: _common([row[kind] for row in rows]) for kind in (rows[0] if rows else ())}


def _kinds(message: Message) -> dict[str, str]:
    text = mail_text(message)
    seen = f"{text.plain[:_SAMPLE_CHARS]}\n{html_text(text.html)[:_SAMPLE_CHARS] if text.html else ''}"
    letters = [char for char in seen[:_SAMPLE_CHARS] if char.isalpha()]
    return {
        "size": _size(len(message.header_block) + len(message.body)),
        "text": "HTML" if text.html else "plain text",
        "script": _script(letters),
        "language": _language(seen, len(letters)),
    }


def _size(count: int) -> str:
    return next((name for kilobytes, name in _SIZES if count < kilobytes * 1000), _SIZE_ABOVE)


def _script(letters: Sequence[str]) -> str:
    """The first word of the Unicode name that most letters share: LATIN, CYRILLIC, CJK, HANGUL, ..."""
    names = Counter(unicodedata.name(letter, "unnamed").partition(" ")[0] for letter in letters)
    return names.most_common(1)[0][0].capitalize() if names else "no letters"


def _language(text: str, letters: int) -> str:
    if letters < _TEXT_CHARS_MIN:
        return "too short to tell"
    match = detect_language(text)
    return match.name if match.name is not None and match.confidence >= _CONFIDENT else "not clear"


def _common(names: list[str]) -> list[str]:
    counts = Counter(names)
    return [name if counts[name] >= _COMMON * len(names) else "other" for name in names]
