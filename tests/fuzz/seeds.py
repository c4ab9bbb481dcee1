"""The seed corpus: what each side says in the dialogs of tests/dialogs, as inputs of properties.check."""

from collections.abc import Iterator
from pathlib import Path

from tests.dialogs.dialog import dialogs, encode
from tests.fuzz.properties import MTA_END
from wire.milter.frames import encode_frame
from wire.milter.writers import REPLY_WRITERS

_WHOLE = b"\x3f\x3f\x3f"
_BYTE_BY_BYTE = b"\0\0\0"
_CONTINUE = b"\0\0\0"
_EDITS = b"\x08\x09\x01"


def seeds() -> Iterator[tuple[str, bytes]]:
    """Name and input."""
    for dialog in dialogs("codec"):
        lines = dialog.lines
        mta = b"".join(encode(line.value) for line in lines if line.side in "MX")
        told = [REPLY_WRITERS[type(line.value)] + (line.value,) for line in lines if line.side == "F"]
        replies = b"".join(encode_frame(code, write(value)) for code, write, value in told)
        for offer in range(8):
            yield f"{dialog.name}-mta-{offer}", bytes([offer]) + _WHOLE + _CONTINUE + b"\3" + mta
        yield f"{dialog.name}-mta-bytes", b"\0" + _BYTE_BY_BYTE + _EDITS + b"\x40" + mta
        yield f"{dialog.name}-filter", bytes([MTA_END]) + _WHOLE + b"\4\0\0" + b"\0" + replies


def write(directory: Path) -> int:
    """The corpus as files; how many."""
    count = 0
    for name, data in seeds():
        (directory / name).write_bytes(data)
        count += 1
    return count
