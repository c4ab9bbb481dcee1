"""Everything a message holds, as bytes for the rules: itself, its decoded parts, the members of its archives.

The raw message is always first, so that what stands undecoded is found even when MIME is broken; parts follow when
something in the message is encoded; archives are opened `ARCHIVE_DEPTH_MAX` levels deep. All of it shares one
`Allowance`.
"""

from collections.abc import Iterator

from actors import mime
from actors.antivirus import archives
from actors.antivirus.archives import Allowance
from actors.model import Message

ARCHIVE_DEPTH_MAX = 2
PARTS_MAX = 20_000
"""Lines that look like a boundary; a message of more is hostile and its parts are not taken apart."""

_SIGNS = (b"base64", b"quoted-printable", b"uue", b"pk\x03\x04", b"\x1f\x8b")
"""Without any of these in its lower case, a message holds nothing that is not in its raw bytes."""


def contents(message: Message, allowance: Allowance) -> Iterator[bytes]:
    """The raw message, then whatever is inside it in another form. Raises nothing."""
    raw = message.raw
    yield raw
    lower = raw.lower()
    if not any(sign in lower for sign in _SIGNS):
        return
    if message.body.count(b"\n--") > PARTS_MAX:
        allowance.limits.add("entries")
        return
    parts = mime.decoded_parts(message)
    if parts is None:
        allowance.limits.add("damaged")
        return
    for part in parts:
        if part.encoded:
            yield part.content
        yield from _inside(part.content, 1, allowance)


def _inside(content: bytes, depth: int, allowance: Allowance) -> Iterator[bytes]:
    if not archives.is_archive(content):
        return
    if depth > ARCHIVE_DEPTH_MAX:
        allowance.limits.add("depth")
        return
    for member in archives.members(content, allowance):
        yield member
        yield from _inside(member, depth + 1, allowance)
