"""Everything a message holds, as bytes for the rules: itself, its decoded parts, the members of its archives.

The raw message is always first, so that what stands undecoded is found too. Files that read like a mail are taken
apart like one, archives are opened, `DEPTH_MAX` levels deep together. All of it shares one `Allowance`.
"""

from collections.abc import Iterator

from actors.antivirus import archives, parts
from actors.antivirus.archives import Allowance
from actors.model import Message

DEPTH_MAX = 4


def contents(message: Message, allowance: Allowance) -> Iterator[bytes]:
    """The raw message, then whatever is inside it in another form. Raises nothing."""
    raw = message.raw
    yield raw
    for part in parts.decoded(raw, allowance):
        yield from _inside(part, 1, allowance)
    yield from _members(raw, 1, allowance)


def pieces(message: Message) -> Iterator[bytes]:
    """The message cut up for an engine that cannot take it whole: what is not encoded, then each decoded part."""
    raw = message.raw
    allowance = Allowance()
    yield parts.without_base64(raw, parts.regions(raw, allowance))
    yield from parts.decoded(raw, allowance)


def _inside(content: bytes, depth: int, allowance: Allowance) -> Iterator[bytes]:
    yield content
    mail = parts.reads_like_mail(content)
    if not mail and not archives.is_archive(content):
        return
    if depth > DEPTH_MAX:
        allowance.limits.add("depth")
        return
    if mail:
        for part in parts.decoded(content, allowance):
            if not allowance.take_bytes(len(part)):
                return
            yield from _inside(part, depth + 1, allowance)
    yield from _members(content, depth + 1, allowance)


def _members(content: bytes, depth: int, allowance: Allowance) -> Iterator[bytes]:
    for member in archives.members(content, allowance):
        yield from _inside(member, depth, allowance)
