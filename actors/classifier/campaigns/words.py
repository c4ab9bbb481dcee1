"""The words of a text as numbers, folded so that what is made anew for each recipient, or to hide, changes few of them.

Strategy: one table maps every code point to what it counts as, everything else is vectorised. Case, accents, letters
that look like Latin ones and mathematical alphabets become plain letters; punctuation and zero-width characters vanish
inside words ("V.I.A.G.R.A"). A word between white space that holds a digit, @, / or a backslash is left out whole:
amounts, codes, addresses, URLs. Where no spaces part words (ideographs, kana) each character is a word. A word's number
is a polynomial of its code points modulo 2^32; differences of one cumulated sum give them all at once.
"""

import functools
import itertools
import unicodedata
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

TEXT_CHARS_MAX: Final = 32 * 1024
"""Of longer texts the head is read."""

_SPACE: Final = 0x20
_MARK: Final = 0x30
"""Stands for what makes a word to be left out."""
_NOTHING: Final = 0
_IDEOGRAPHS: Final = (0x2E80, 0xAC00)
"""First code point of the scripts without spaces, and the one behind (Hangul has them)."""
_TABLE_CODES: Final = 0x20000
"""Code points above count as the last one."""
_FOLDED: Final = ((0, 0x3400), (0xFE00, 0x10000), (0x1D400, 0x1D800))
"""Ranges of code points that are not simply themselves."""
_LOOKALIKES: Final = str.maketrans(
    "авекмнорстухіјѕһԁԛԝӏ" + "αβεηικνορτυχγω" + "ıɡɑɩʏß",
    "abekmhopctyxijshdqwl" + "abenikvoptuxyw" + "igaiyb",
)
"""Cyrillic and Greek small letters for which Latin ones may be read; a language of theirs is renamed consistently."""
_FACTOR: Final = 0x9E3779B1


def words(*texts: str) -> list[NDArray[np.uint32]]:
    """Of each text the number of each word, in order; of all together the first TEXT_CHARS_MAX characters. Total."""
    pieces = [_folded(f" {text[:TEXT_CHARS_MAX]} ") for text in texts]
    folded: NDArray[Any] = np.concatenate(pieces)[:TEXT_CHARS_MAX]
    spaces = folded == _SPACE
    if folded.dtype == np.uint8:
        begins = np.flatnonzero(spaces)
    else:
        begins = np.flatnonzero(spaces | (folded >= _IDEOGRAPHS[0]) & (folded < _IDEOGRAPHS[1]))
    powers, inverses = _powers()
    # The polynomial of a word is that of the text up to its end, less that up to its beginning, shifted to power 0.
    sums = np.cumsum(folded * powers[: len(folded)], dtype=np.uint32)[begins]
    numbers = (sums[1:] - sums[:-1]) * inverses[begins[:-1]]
    kept = (begins[1:] - begins[:-1] > 1) | ~spaces[begins[:-1]]
    marks = np.searchsorted(begins, np.flatnonzero(folded == _MARK)) - 1
    kept[marks[marks < len(kept)]] = False
    ends = np.searchsorted(begins[:-1][kept], [0, *itertools.accumulate(map(len, pieces))]).tolist()
    found = numbers[kept]
    return [found[begin:end] for begin, end in itertools.pairwise(ends)]


def _folded(text: str) -> NDArray[np.uint8] | NDArray[np.uint32]:
    """What each code point counts as, without those that are nothing."""
    if text.isascii():
        return np.frombuffer(text.encode().translate(*_ascii_table()), np.uint8)
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), "<u4")
    folded = _table().take(codes, mode="clip")
    something: NDArray[np.uint32] = folded[folded != _NOTHING]
    return something


@functools.cache
def _ascii_table() -> tuple[bytes, bytes]:
    """The same for bytes: (what each counts as, those that are nothing)."""
    meanings = bytes(_meaning(chr(code)) for code in range(128)) + bytes(128)
    return meanings, bytes(code for code in range(128) if meanings[code] == _NOTHING)


@functools.cache
def _table() -> NDArray[np.uint32]:
    table = np.arange(_TABLE_CODES, dtype=np.uint32)
    for begin, end in _FOLDED:
        table[begin:end] = [_meaning(chr(code)) for code in range(begin, end)]
    return table


def _meaning(character: str) -> int:
    kind = unicodedata.category(character)
    if kind[0] == "Z" or kind == "Cc":
        return _SPACE
    if kind[0] == "N" or character in "@/\\":
        return _MARK
    if kind[0] in "CMPS":
        return _NOTHING
    parts = [part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)]
    plain = (parts[0] if len(parts) == 1 else character).lower().translate(_LOOKALIKES)
    return ord(plain[0])


@functools.cache
def _powers() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """(powers of the factor, powers of its inverse) modulo 2^32, as many as a text may need."""
    powers, inverses = (
        np.cumprod([np.uint32(1), *[np.uint32(factor)] * (TEXT_CHARS_MAX - 1)], dtype=np.uint32)
        for factor in (_FACTOR, pow(_FACTOR, -1, 1 << 32))
    )
    return powers, inverses
