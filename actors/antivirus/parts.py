"""What a message, or a file that reads like one, holds in another form: base64, quoted-printable, uuencode.

Strategy: no MIME tree. A tree is what attackers and mail clients read differently (boundaries, nesting, fields that
stand twice) and what costs parsers quadratic time. Instead every Content-Transfer-Encoding field counts wherever it
stands, for what follows its header section; and what nobody declared is found by its looks: runs of base64 lines,
uuencode blocks, compressed files as they are. Decoding is lenient, and too much of it is better than too little.
Everything is linear in the length of the content; what is left out is noted in the `Allowance`.
"""

import binascii
import re
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from actors.antivirus.archives import Allowance

PARTS_MAX = 20_000
"""Encoded parts, uuencode blocks and runs of base64, each."""
BINARY_PARTS_MAX = 16
UU_LINES_MAX = 500_000
FIELDS_MAX = 50_000
SOFT_BREAKS_MAX = 100_000
"""Of quoted-printable with blanks behind them, which is wrong and read all the same."""
PADDINGS_MAX = 1000
"""Where base64 is padded more often, padding is taken for junk."""

_FIELD = re.compile(rb"content-transfer-encoding[ \t\r\n]{0,100}+:((?:[^\r\n]|\r?\n[ \t]){0,500}+)")
_HEAD_END = re.compile(rb"\n\r?\n|\r\r")
_MAIL = re.compile(rb"\s{0,1000}+(?:--[^\r\n]|[!-9;-~]{1,80}+[ \t]*+:)")
_MAIL_SIGNS = (b"content-transfer-encoding", b"\nbegin ")
_BASE64_TEXT = re.compile(rb"[A-Za-z0-9+/= \t\r\n]*+")
_BASE64_RUN = re.compile(rb"\n([A-Za-z0-9+/]{4}[A-Za-z0-9+/=\r\n]{60,}+)")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
_SOFT_BREAK = re.compile(rb"=[ \t]++(?=\r?\n)")
_UU_BEGIN = re.compile(rb"\nbegin [0-7]{3,4} [^\n]{0,1000}+\n")
_UU_END = (b"end\r\n", b"end\n", b"end")
_BINARY = re.compile(rb"\n\r?\n(?=\x1f\x8b\x08|BZh[1-9]1AY&SY|\xfd7zXZ\0|Rar!\x1a\x07|7z\xbc\xaf\x27\x1c|MSCF\0\0\0\0)")


class Region(NamedTuple):
    """What follows a header section that declares an encoding, up to the next such section."""

    start: int
    end: int
    base64_end: int
    """Up to here it is nothing but base64 and blanks; `start` when base64 is not declared."""
    base64: bool
    quoted_printable: bool


def reads_like_mail(content: bytes) -> bool:
    """Whether `decoded` may find something: a header section or a boundary in front, and something encoded behind."""
    if not _MAIL.match(content):
        return False
    lower = content.lower()
    return any(sign in lower for sign in _MAIL_SIGNS)


def decoded(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    """Everything in `content` that stands there in another form, decoded. Raises nothing; linear."""
    found = regions(content, allowance)
    for region in found:
        yield from _decoded_region(content, region, allowance)
    yield from _runs(content, found, allowance)
    yield from _uu_blocks(content, allowance)
    for number, match in enumerate(_BINARY.finditer(content)):
        if number >= BINARY_PARTS_MAX:
            allowance.limits.add("entries")
            return
        yield content[match.end() :]


def without_base64(content: bytes, found: list[Region]) -> bytes:
    """`content` without what the regions hold in base64."""
    ends = [0, *(region.base64_end for region in found)]
    starts = [*(region.start for region in found), len(content)]
    return b"".join(content[end:start] for end, start in zip(ends, starts, strict=True))


def regions(content: bytes, allowance: Allowance) -> list[Region]:
    """The declared encodings of `content`, in order; several fields of one header section all count."""
    lower = content.lower()
    found: list[Region] = []
    start = 0
    for number, field in enumerate(_FIELD.finditer(lower)):
        value = b"".join(field[1].split())
        base64, quoted_printable = b"base64" in value, b"quoted-printable" in value
        if number >= FIELDS_MAX:
            allowance.limits.add("entries")
            break
        if found and field.start() < start:
            base64, quoted_printable = base64 or found[-1].base64, quoted_printable or found[-1].quoted_printable
            found.pop()
        elif len(found) >= PARTS_MAX:
            allowance.limits.add("entries")
            break
        else:
            head_end = _HEAD_END.search(lower, field.end())
            if found:
                found[-1] = found[-1]._replace(end=field.start())
            if not head_end:
                break
            start = head_end.end()
        found.append(Region(start, len(content), start, base64, quoted_printable))
    return [_with_base64_end(content, region) if region.base64 else region for region in found]


def _with_base64_end(content: bytes, region: Region) -> Region:
    text = _BASE64_TEXT.match(content, region.start, region.end)
    return region._replace(base64_end=text.end()) if text else region


def _decoded_region(content: bytes, region: Region, allowance: Allowance) -> Iterator[bytes]:
    if region.base64:
        yield from _from_base64(content[region.start : region.base64_end])
        rest_is_the_next_part = content.startswith(b"--", region.base64_end)
        if not rest_is_the_next_part or _BASE64_RUN.search(content, region.base64_end, region.end):
            yield from _from_base64(content[region.start : region.end])
    if region.quoted_printable:
        text, breaks = _SOFT_BREAK.subn(b"=", content[region.start : region.end], SOFT_BREAKS_MAX)
        if breaks == SOFT_BREAKS_MAX:
            allowance.limits.add("entries")
        yield binascii.a2b_qp(text)


def _runs(content: bytes, found: list[Region], allowance: Allowance) -> Iterator[bytes]:
    """Lines of base64, 64 characters or more together, outside of what is declared and clean."""
    ends = [0, *(region.base64_end for region in found)]
    starts = [*(region.start for region in found), len(content)]
    gaps = (_BASE64_RUN.finditer(content, end, start) for end, start in zip(ends, starts, strict=True))
    for number, run in enumerate(chain.from_iterable(gaps)):
        if number >= PARTS_MAX:
            allowance.limits.add("entries")
            return
        yield from _from_base64(run[1])


def _from_base64(text: bytes) -> Iterator[bytes]:
    """`text` decoded; and once more from the first line of whole quads when words in front have shifted it."""
    if plain := _lenient_base64(text):
        yield plain
    line, newline, rest = text.lstrip()[:1000].partition(b"\n")
    skipped = 0
    while newline and len(line.rstrip()) % 4:
        skipped += len(line) + 1
        line, newline, rest = rest.partition(b"\n")
    if skipped and newline:
        yield _lenient_base64(text.lstrip()[skipped:])


def _lenient_base64(text: bytes) -> bytes:
    text = text.translate(None, _NOT_BASE64).rstrip(b"=")
    pieces = text.split(b"=") if text.count(b"=") <= PADDINGS_MAX else [text.replace(b"=", b"")]
    # A single character behind the last quad holds no byte, and a2b_base64 refuses it.
    return b"".join(binascii.a2b_base64(piece[: len(piece) - (len(piece) % 4 == 1)] + b"==") for piece in pieces)


def _uu_blocks(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    lines_left = UU_LINES_MAX
    begin = _UU_BEGIN.search(content)
    for _ in range(PARTS_MAX):
        if not begin:
            return
        pieces: list[bytes] = []
        at = begin.end() - 1
        while at + 1 < len(content):
            line_end = content.find(b"\n", at + 1)
            line = content[at + 1 : line_end + 1 if line_end >= 0 else len(content)]
            if line.startswith(b"end") and line in _UU_END:
                break
            if lines_left <= 0:
                allowance.limits.add("entries")
                yield b"".join(pieces)
                return
            lines_left -= 1
            pieces.append(_uu_line(line))
            at += len(line)
        yield b"".join(pieces)
        begin = _UU_BEGIN.search(content, at)
    allowance.limits.add("entries")


def _uu_line(line: bytes) -> bytes:
    if line.isspace():
        return b""
    try:
        # What stands behind the promised length is junk that some encoders add.
        return binascii.a2b_uu(line[: 1 + ((line[0] - 32 & 63) + 2) // 3 * 4])
    except binascii.Error:
        return b""
