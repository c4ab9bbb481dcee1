"""The members of archives and compressed files, one level at a time, with every byte counted.

Strategy: nothing an archive says about itself is believed. Files are walked from their own beginning, a zip by its
local headers and a tar by its blocks, since directories, names and checksums are what attackers bend; and since
zipfile and tarfile can be made to take seconds for a few hundred bytes. Members are unpacked in pieces against an
`Allowance` that a whole message shares; what is left out is noted in `Allowance.limits`, never dropped in silence.
"""

import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

ENTRIES_MAX = 1000
TOTAL_BYTES_MAX = 20 * 1024 * 1024
FED_BYTES_MAX = 64 * 1024 * 1024
"""Of compressed bytes; counted since a stream may go on without giving anything."""
RATIO_MAX = 200
RATIO_FREE_BYTES = 1024 * 1024
"""Below this size the ratio does not count: a small file of blanks is no bomb."""
LZMA_MEMORY_BYTES_MAX = 128 * 1024 * 1024
_SLOW_PRICE = 2
"""bz2 and LZMA give 20 MB a second and less, zlib many times that: their bytes count so many times."""
_PIECE_BYTES = 64 * 1024
_BROKEN = (zlib.error, lzma.LZMAError, ValueError, OSError, EOFError)
"""What the decompressors raise for bytes that are not what they claim."""


@dataclass(slots=True)
class Allowance:
    """What unpacking one message may still cost, and why something was left out."""

    entries: int = ENTRIES_MAX
    total_bytes: int = TOTAL_BYTES_MAX
    fed_bytes: int = FED_BYTES_MAX
    limits: set[str] = field(default_factory=set)
    """encrypted, damaged, unsupported, depth, entries, size, ratio, timeout, too_large."""

    def take_entry(self) -> bool:
        """Whether one more member may be read."""
        if self.entries <= 0:
            self.limits.add("entries")
            return False
        self.entries -= 1
        return True

    def take_bytes(self, given: int, fed: int = 0) -> bool:
        """Count unpacked and compressed bytes; whether there may be more."""
        self.total_bytes -= given
        self.fed_bytes -= fed
        if self.total_bytes < 0 or self.fed_bytes < 0:
            self.limits.add("size")
            return False
        return True


class _Decompressor(Protocol):
    """bz2.BZ2Decompressor and lzma.LZMADecompressor; zlib's is made one by `_Zlib`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


class _Zlib:
    """zlib.decompressobj in the manner of the other two."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail or data, max_length)
        self.needs_input = len(piece) < max_length and not self._zlib.unconsumed_tail
        return piece


class _Unpacked(NamedTuple):
    content: bytes
    end: int
    """Where the stream ended in the compressed bytes."""
    whole: bool


_Opener = Callable[[bytes, Allowance], Iterator[bytes]]


def is_archive(content: bytes) -> bool:
    """Whether there is something inside, be it readable for `members` or not."""
    return _opener(content) is not None


def members(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    """The unpacked members of `content`, nothing when it is no archive. Raises nothing for bad archives."""
    opener = _opener(content)
    if opener is not None:
        yield from opener(content, allowance)


def _opener(content: bytes) -> _Opener | None:
    for magic, opener in _BY_MAGIC:
        if content.startswith(magic):
            return opener
    if _is_tar_header(content[:_BLOCK_BYTES]):
        return _tar_members
    # A zip may stand anywhere: behind a self-extractor or junk against scanners, in front of more junk.
    return _zip_members if _ZIP_LOCAL in content else None


def _unsupported(_content: bytes, allowance: Allowance) -> Iterator[bytes]:
    allowance.limits.add("unsupported")
    return iter(())


def _gzip(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    return _streams(content, lambda: _Zlib(31), allowance)


def _bzip2(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    return _streams(content, bz2.BZ2Decompressor, allowance)


def _xz(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    return _streams(content, _xz_decompressor, allowance)


_BY_MAGIC: tuple[tuple[bytes, _Opener], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"BZh", _bzip2),
    (b"\xfd7zXZ\0", _xz),
    (b"Rar!\x1a\x07", _unsupported),
    (b"7z\xbc\xaf\x27\x1c", _unsupported),
    (b"MSCF\0\0\0\0", _unsupported),
    (b"\x28\xb5\x2f\xfd", _unsupported),
    (b"\x1f\x9d", _unsupported),
)
"""gzip, bzip2, xz; RAR, 7-Zip, Microsoft cabinet, Zstandard, compress."""


def _streams(content: bytes, make: Callable[[], _Decompressor], allowance: Allowance) -> Iterator[bytes]:
    """A compressed file: its streams belong together, as every tool reads them."""
    magic = content[:2]
    unpacked = []
    at = 0
    while content.startswith(magic, at) and allowance.take_entry():
        stream = _unpack(make(), content, at, allowance)
        unpacked.append(stream.content)
        at = stream.end
        if not stream.whole:
            if not allowance.limits & {"size", "ratio"}:
                allowance.limits.add("damaged")
            break
    yield b"".join(unpacked)


def _xz_decompressor() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY_BYTES_MAX)


def _unpack(
    decompressor: _Decompressor, content: bytes, start: int, allowance: Allowance, prefix: bytes = b""
) -> _Unpacked:
    """What the stream at `start` gives until its end or a limit; a broken end leaves what was read before it."""
    pieces = []
    given = 0
    at = start
    view = memoryview(content)
    price = 1 if isinstance(decompressor, _Zlib) else _SLOW_PRICE
    try:
        if prefix:
            decompressor.decompress(prefix, 0)
        while not decompressor.eof:
            fed = view[at : at + _PIECE_BYTES] if decompressor.needs_input else b""
            if not fed and decompressor.needs_input:
                break
            piece = decompressor.decompress(fed, _PIECE_BYTES)
            at += len(fed)
            given += len(piece)
            pieces.append(piece)
            if not allowance.take_bytes(len(piece) * price, len(fed) * price):
                break
            if given > max(RATIO_FREE_BYTES, (at - start) * RATIO_MAX):
                allowance.limits.add("ratio")
                break
    except _BROKEN:
        return _Unpacked(b"".join(pieces), at, whole=False)
    return _Unpacked(b"".join(pieces), at - len(decompressor.unused_data), decompressor.eof)


# --- zip (APPNOTE.TXT section 4.3.7), and what is built on it: OOXML, jar, apk

_ZIP_LOCAL = b"PK\x03\x04"
_ZIP_HEADER = struct.Struct("<4sHHHHHIIIHH")
_ZIP_ENCRYPTED, _ZIP_DESCRIPTOR = 1, 8
_ZIP_STORED, _ZIP_LZMA, _ZIP_AES = 0, 14, 99
_ZIP_STREAMS: dict[int, Callable[[], _Decompressor]] = {
    8: lambda: _Zlib(-15),
    12: bz2.BZ2Decompressor,
    _ZIP_LZMA: lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=LZMA_MEMORY_BYTES_MAX),
    95: _xz_decompressor,
}
_ZIP_NEXT = re.compile(rb"PK(?:\x01\x02|\x07\x08|\x03\x04)")
_ZIP64_BYTES = 0xFFFFFFFF


def _zip_members(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    at = content.find(_ZIP_LOCAL)
    while at >= 0 and allowance.take_entry():
        member = _zip_member(content, at, allowance)
        if member.content:
            yield member.content
        if "size" in allowance.limits:
            return
        # A member that could not be read may be a decoy in front of one that can.
        at = content.find(_ZIP_LOCAL, member.end if member.whole else at + len(_ZIP_LOCAL))


def _zip_member(content: bytes, at: int, allowance: Allowance) -> _Unpacked:
    header = content[at : at + _ZIP_HEADER.size]
    if len(header) < _ZIP_HEADER.size:
        allowance.limits.add("damaged")
        return _Unpacked(b"", at, whole=False)
    _, _, flags, method, _, _, crc, packed_bytes, _, name_bytes, extra_bytes = _ZIP_HEADER.unpack(header)
    start = at + _ZIP_HEADER.size + name_bytes + extra_bytes
    if method == _ZIP_STORED:
        unpacked = _zip_stored(content, start, flags, packed_bytes, allowance)
    elif method in _ZIP_STREAMS:
        prefix = b""
        if method == _ZIP_LZMA:
            # Version and length in front of the properties, no length behind them: made a file of the old format.
            prefix = content[start + 4 : start + 9] + b"\xff" * 8
            start += 9
        unpacked = _unpack(_ZIP_STREAMS[method](), content, start, allowance, prefix)
    else:
        allowance.limits.add("encrypted" if method == _ZIP_AES else "unsupported")
        return _Unpacked(b"", start, whole=False)
    # The bit alone proves nothing: some set it against scanners, and programs read such members all the same.
    if flags & _ZIP_ENCRYPTED and not (unpacked.whole and zlib.crc32(unpacked.content) == crc):
        allowance.limits.add("encrypted")
    elif not unpacked.whole and not allowance.limits & {"size", "ratio"}:
        allowance.limits.add("damaged")
    return unpacked


def _zip_stored(content: bytes, start: int, flags: int, packed_bytes: int, allowance: Allowance) -> _Unpacked:
    end = start + packed_bytes
    if packed_bytes == _ZIP64_BYTES or (flags & _ZIP_DESCRIPTOR and not packed_bytes):
        found = _ZIP_NEXT.search(content, start)
        end = found.start() if found else len(content)
    given = min(end, start + max(0, allowance.total_bytes) + 1)
    allowance.take_bytes(max(0, given - start))
    return _Unpacked(content[start:given], end, end <= len(content) and given == end)


# --- tar (POSIX ustar, GNU and the old form)

_BLOCK_BYTES = 512
_TAR_WITHOUT_DATA = frozenset(b"123456")
_BASE_256 = 0x80


def _tar_members(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    at = 0
    while at + _BLOCK_BYTES <= len(content):
        header = content[at : at + _BLOCK_BYTES]
        at += _BLOCK_BYTES
        if not _is_tar_header(header):
            if header.count(0) < _BLOCK_BYTES:
                allowance.limits.add("damaged")
            continue
        if not allowance.take_entry():
            return
        size = _tar_number(header[124:136])
        if size is None or header[156] in _TAR_WITHOUT_DATA or not size:
            continue
        if at + size > len(content):
            allowance.limits.add("damaged")
        member = content[at : at + size]
        yield member
        if not allowance.take_bytes(len(member)):
            return
        at += -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _is_tar_header(header: bytes) -> bool:
    """The checksum is right: the sum of all bytes, its own field taken as blanks."""
    wanted = _tar_number(header[148:156]) if len(header) == _BLOCK_BYTES and header[0] else None
    return bool(wanted) and sum(header) - sum(header[148:156]) + 8 * 32 == wanted


def _tar_number(text: bytes) -> int | None:
    """Octal digits, or base 256 behind a first byte of 0x80; None for anything else."""
    if text[0] == _BASE_256:
        return int.from_bytes(text[1:], "big")
    digits = text.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None
