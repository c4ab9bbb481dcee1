"""What a message and its mutated copies have in common: a MinHash signature, or a digest where there is little text.

Strategy: the pairs of neighbouring words of subject and body (as a reader sees them: HTML where there is some) are a
set; its MinHash signature (Broder 1997) tells how much two sets have in common, as the share of equal rows. Rows are
joined to bands (locality-sensitive hashing): similar signatures nearly surely have a band in common, others hardly
ever, so that bands can be the keys of a store. What the field To calls the recipient is left out before. Of a message
with few words what is left of it has to be equal: words, hosts that are linked, attachments.
"""

import re
import struct
from collections.abc import Iterable
from typing import Final

import numpy as np
import rensa
import xxhash
from numpy.typing import NDArray

from actors.classifier.campaigns.campaign import ROWS, Fingerprint
from actors.classifier.campaigns.words import words
from actors.html import html_text
from actors.mime import MailText, attachments, decode_encoded_words, mail_text
from actors.model import Message

VERSION: Final = f"1.{rensa.RMinHash.ALGORITHM_VERSION}"
"""Of ours and of rensa's: changes whenever the same message would give another fingerprint."""
PAIRS_MIN: Final = 30
"""A text of fewer different pairs of words has no signature: a list's footer would be most of it."""
EXACT_WORDS_MIN: Final = 8
"""Fewer words and hosts together, and no attachment, and the message has no fingerprint at all."""
ATTACHMENT_BYTES_MIN: Final = 4096
"""Smaller ones (pixels, icons, cards) tell nothing."""

_SEED: Final = 6
_PAIR_FACTOR: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_PAIR_SHIFT: Final = np.uint64(29)
_RECIPIENT_CHARS_MAX: Final = 256
_NAMES_MAX: Final = 8
_ADDRESS_MARKS: Final = str.maketrans('@.<>,"_+-', " " * 9)
_HOST: Final = re.compile(r"https?://([a-z0-9.-]{1,253}+)", re.IGNORECASE)
_HOSTS_MAX: Final = 20


def fingerprint(message: Message) -> Fingerprint:
    """Of a message; an empty one where there is too little of it. Total."""
    text = mail_text(message)
    called = _first(message, b"to")[:_RECIPIENT_CHARS_MAX].translate(_ADDRESS_MARKS)
    names, found = words(called, f"{_first(message, b'subject')}\n{seen(text)}")
    others = np.ones(len(found), np.bool_)
    for name in names[:_NAMES_MAX]:
        others &= found != name
    found = found[others]
    pairs = _pairs(found)
    if _distinct(pairs) >= PAIRS_MIN:
        return Fingerprint(signature=_signature(pairs))
    return Fingerprint(exact=_exact(message, text, found))


def seen(text: MailText) -> str:
    """What a reader sees of a body: HTML where there is some."""
    return html_text(text.html) if text.html.strip() else text.plain


def similarity(one: Fingerprint, other: Fingerprint) -> float:
    """Estimate of the Jaccard similarity of two texts, 0 to 1 (standard error 0.045 at most); 1 for equal digests."""
    if one.signature and other.signature:
        rows, others = (np.frombuffer(each.signature, "<u4") for each in (one, other))
        return float((rows == others).mean())
    return float(bool(one.exact) and one.exact == other.exact)


def _pairs(found: NDArray[np.uint32]) -> NDArray[np.uint64]:
    mixed = found[:-1] * _PAIR_FACTOR + found[1:]
    return mixed ^ (mixed >> _PAIR_SHIFT)


def _distinct(numbers: NDArray[np.uint64]) -> int:
    ordered = np.sort(numbers)
    return len(ordered) and 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def _signature(pairs: NDArray[np.uint64]) -> bytes:
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(pairs, [0, len(pairs)], ROWS, _SEED)
    return struct.pack(f"<{ROWS}I", *matrix.to_rows()[0])


def _exact(message: Message, text: MailText, found: NDArray[np.uint32]) -> bytes:
    hosts = sorted({host.lower() for host in _found_hosts(f"{text.html} {text.plain}")})
    files = sorted(
        xxhash.xxh3_128_digest(content)
        for content in (attachments(message) if text.part_types else ())
        if len(content) >= ATTACHMENT_BYTES_MIN
    )
    if not files and len(found) + len(hosts) < EXACT_WORDS_MIN:
        return b""
    pieces = found.astype("<u4").tobytes(), " ".join(hosts).encode(), b"".join(files)
    return xxhash.xxh3_128_digest(b"\n".join(pieces))


def _found_hosts(text: str) -> Iterable[str]:
    for number, match in enumerate(_HOST.finditer(text)):
        if number >= _HOSTS_MAX:
            return
        yield match[1]


def _first(message: Message, name: bytes) -> str:
    """The text of the first field of this name."""
    fields = message.fields_by_name.get(name)
    return decode_encoded_words(fields[0][1]) if fields else ""
