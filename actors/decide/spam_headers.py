"""X-Spam-Flag, -Score, -Status and X-Tamis-Degraded, and the Subject tag; incoming fields of these names go.

Anyone can write "X-Spam-Status: No" into mail, and filters behind us believe these fields: so all that came with the
message are deleted, from the last to the first, and ours are appended.
"""

import re
from collections.abc import Iterator

import msgspec

from actors.config import HeadersConfig, JudgementConfig
from actors.decide.fields import fields_named, fold, printable
from actors.decide.score import Points
from actors.model import Action, AddHeader, ChangeHeader, DeleteHeader, Edit, Message
from wire.message import UNFILTERED_FIELD

_SYMBOLS_MAX = 50
_UNINSPECTED_CHARS_MAX = 200
SUBJECT_BYTES_MAX = 2000
"""A Subject that we rewrite is cut here; nobody reads so far."""
_NO_COMMENT = str.maketrans("()\\", "   ")
_BARE_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class Judgement(msgspec.Struct, frozen=True):
    """What the spam headers tell."""

    action: Action
    score: float
    is_spam: bool
    points: tuple[Points, ...]
    missing: tuple[str, ...]
    """Actors that gave no answer."""
    uninspected: str = ""
    """What the antivirus could not look into."""
    unscored: str = ""
    """The rule by which this mail is not scored."""


def spam_header_edits(judgement: Judgement, message: Message, config: JudgementConfig) -> tuple[Edit, ...]:
    """What is added, and the Subject's change."""
    headers = config.headers
    additions: list[Edit] = [
        AddHeader(name.encode("ascii"), value)
        for name, value in _fields(judgement, headers, config.policy.add_header_score)
        if name
    ]
    if judgement.action is Action.REWRITE_SUBJECT:
        additions += _tagged_subject(message, headers.subject_tag)
    return tuple(additions)


def stale_fields(message: Message, headers: HeadersConfig) -> Iterator[DeleteHeader]:
    """Every field that came with the message under one of our names, of each name the last occurrence first."""
    ours = {n.lower().encode("ascii") for n in (headers.flag, headers.score, headers.status, headers.degraded) if n}
    ours.add(UNFILTERED_FIELD.lower())
    return reversed(
        [
            DeleteHeader(name or lower, occurrence)
            for lower in sorted(ours)
            for occurrence, (name, _) in enumerate(fields_named(message, lower), start=1)
        ]
    )


def _fields(judgement: Judgement, headers: HeadersConfig, required: float) -> Iterator[tuple[str, bytes]]:
    if judgement.is_spam:
        yield headers.flag, b"YES"
    yield headers.score, f"{judgement.score:.2f}".encode("ascii")
    yield headers.status, _status(judgement, headers.status, required)
    if judgement.missing or judgement.uninspected:
        yield headers.degraded, fold(headers.degraded, [[*_unchecked(judgement)]])


def _unchecked(judgement: Judgement) -> Iterator[str]:
    """The words of the degraded header: actors that failed, and in a comment what the antivirus did not look into."""
    for actor in judgement.missing:
        if actor != "antivirus" or not judgement.uninspected:
            yield printable(actor)
    if judgement.uninspected:
        text = printable(judgement.uninspected, _UNINSPECTED_CHARS_MAX).translate(_NO_COMMENT)
        yield from f"antivirus ({' '.join(text.split())})".split(" ")


def _status(judgement: Judgement, name: str, required: float) -> bytes:
    answer = "Yes" if judgement.is_spam else "No"
    tests = [f"{printable(point.source)}={point.hundredths / 100:.2f}" for point in judgement.points[:_SYMBOLS_MAX]]
    listed = [f"{test}," for test in tests[:-1]] + tests[-1:]
    if judgement.unscored:
        listed = [judgement.unscored]
    if listed:
        listed[0] = f"tests=[{listed[0]}"
        listed[-1] += "]"
    else:
        listed = ["tests=[]"]
    return fold(name, [[f"{answer},", f"score={judgement.score:.2f}", f"required={required:.2f}", *listed]])


def _tagged_subject(message: Message, tag: str) -> Iterator[Edit]:
    """The Subject with the tag before it, cut to SUBJECT_BYTES_MAX; its folding is kept, bare CR and LF are not."""
    prefix = printable(tag).encode("ascii")
    subject = next((value for _, value in message.fields_by_name.get(b"subject", ())), None)
    if subject is None:
        yield AddHeader(b"Subject", prefix.rstrip())
        return
    subject = _BARE_LINE_END.sub(b"", subject).lstrip(b" \t")
    if not subject.startswith(prefix):
        yield ChangeHeader(b"Subject", 1, prefix + subject[:SUBJECT_BYTES_MAX].rstrip(b" \t\r\n"))
