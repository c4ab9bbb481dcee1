"""The members of archives and compressed files, one level at a time, with every byte counted.

Strategy: nothing an archive says about itself is believed. Members are read in pieces against an `Allowance` that a
whole message shares; what it does not allow is left out and noted in `Allowance.limits`, never dropped in silence.
Only the standard library: zip (and what is built on it: OOXML, jar), gzip, tar.
"""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

ENTRIES_MAX = 100
TOTAL_BYTES_MAX = 20 * 1024 * 1024
RATIO_MAX = 200
RATIO_FREE_BYTES = 1024 * 1024
"""Below this size the ratio does not count: a small file of blanks is no bomb."""
ZIP_DIRECTORY_BYTES_MAX = 256 * 1024
"""zipfile reads the whole central directory at once, at 46 bytes and 5 us an entry."""
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
)
"""What zipfile, tarfile and zlib raise for bytes that are not what they claim."""
_PIECE_BYTES = 64 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22
_ZIP_COMMENT_BYTES_MAX = 65535
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_TAR_MAGIC_AT = 257


@dataclass(slots=True)
class Allowance:
    """What unpacking one message may still cost, and why something was left out."""

    entries: int = ENTRIES_MAX
    total_bytes: int = TOTAL_BYTES_MAX
    limits: set[str] = field(default_factory=set)
    """encrypted, damaged, unsupported, depth, entries, size, ratio."""

    def take_entry(self) -> bool:
        """Whether one more member may be read."""
        if self.entries <= 0:
            self.limits.add("entries")
            return False
        self.entries -= 1
        return True


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def is_archive(content: bytes) -> bool:
    """Whether `members` would look inside."""
    return _opener(content) is not None


def members(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    """The unpacked members of `content`, nothing when it is no archive. Raises nothing for bad archives."""
    opener = _opener(content)
    if opener is not None:
        yield from opener(content, allowance)


def _opener(content: bytes) -> Callable[[bytes, Allowance], Iterator[bytes]] | None:
    if content.startswith(_GZIP_MAGIC):
        return _gzip_members
    if content[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return _tar_members
    # A zip is known by its end: what stands in front (a self-extractor, junk against scanners) is of no account.
    if content.rfind(_ZIP_END, -_ZIP_END_BYTES - _ZIP_COMMENT_BYTES_MAX) >= 0:
        return _zip_members
    return None


def _zip_members(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    end = content.rfind(_ZIP_END, -_ZIP_END_BYTES - _ZIP_COMMENT_BYTES_MAX)
    if int.from_bytes(content[end + 12 : end + 16], "little") > ZIP_DIRECTORY_BYTES_MAX:
        allowance.limits.add("entries")
        return
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except BROKEN:
        allowance.limits.add("damaged")
        return
    for info in archive.infolist():
        if info.is_dir():
            continue
        if not allowance.take_entry():
            return
        if info.flag_bits & 1:
            allowance.limits.add("encrypted")
        elif info.compress_type not in _ZIP_METHODS:
            allowance.limits.add("unsupported")
        else:
            yield _zip_member(archive, info, allowance)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, allowance: Allowance) -> bytes:
    try:
        with archive.open(info) as member:
            return _read_counted(member, info.compress_size, allowance)
    except BROKEN:
        allowance.limits.add("damaged")
        return b""


def _tar_members(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for info in archive:
                if not allowance.take_entry():
                    return
                member = archive.extractfile(info) if info.isreg() else None
                if member is not None:
                    yield _read_counted(member, len(content), allowance)
    except BROKEN:
        allowance.limits.add("damaged")


def _gzip_members(content: bytes, allowance: Allowance) -> Iterator[bytes]:
    # Not the module gzip: it reads a name in the header byte by byte, and a file may be nothing but a name.
    rest = content
    while rest.startswith(_GZIP_MAGIC) and allowance.take_entry():
        source = _Inflating(rest)
        yield _read_counted(source, len(content), allowance)
        if not source.ended:
            if not allowance.limits & {"size", "ratio"}:
                allowance.limits.add("damaged")
            return
        rest = source.rest


class _Inflating:
    """One gzip member as a file to read."""

    def __init__(self, content: bytes) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._tail = content

    @property
    def ended(self) -> bool:
        return self._zlib.eof

    @property
    def rest(self) -> bytes:
        return self._zlib.unused_data

    def read(self, size: int, /) -> bytes:
        piece = self._zlib.decompress(self._tail, size)
        self._tail = self._zlib.unconsumed_tail
        return piece


def _read_counted(source: _Source, compressed_bytes: int, allowance: Allowance) -> bytes:
    """What `source` gives until its end or a limit; a broken end leaves what was read before it."""
    pieces = []
    read_bytes = 0
    ratio_bytes_max = max(RATIO_FREE_BYTES, compressed_bytes * RATIO_MAX)
    try:
        while piece := source.read(_PIECE_BYTES):
            read_bytes += len(piece)
            allowance.total_bytes -= len(piece)
            pieces.append(piece)
            if allowance.total_bytes < 0:
                allowance.limits.add("size")
                break
            if read_bytes > ratio_bytes_max:
                allowance.limits.add("ratio")
                break
    except BROKEN:
        allowance.limits.add("damaged")
    return b"".join(pieces)
