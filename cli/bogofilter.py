"""bogofilter as a learner beside ours: Debian's program with a word list of its own, which nobody else sees.

Its settings are those that it has without a file of settings. A spamicity comes with 16 digits, since the six that it
prints otherwise make many scores equal which are not.
"""

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from actors.model import Message

PROGRAM: Final = "bogofilter"
TIMEOUT_S: Final = 900.0
"""It takes milliseconds; on a machine that gives others precedence it may stand still for minutes."""
_CHUNK: Final = 200
_FORMAT: Final = "--terse-format=%1.1c %.16f"
_EXIT_ERROR: Final = 3
_EDGE: Final = sys.float_info.epsilon / 2
"""What is nearer to 0 or 1 cannot be told from them."""


class BogofilterError(Exception):
    """The program failed; the text is one line of it."""


def is_installed() -> bool:
    """Whether Debian's package is here."""
    return shutil.which(PROGRAM) is not None


class Bogofilter:
    """A `Learner`, and the same for many messages at once. Every call may raise BogofilterError."""

    def __init__(self, directory: Path) -> None:
        """`directory` is empty and holds the word list from now on."""
        self._command = [PROGRAM, "-C", "-d", str(directory)]
        self._mail = directory / "mail"
        self._learned = False

    def score(self, message: Message) -> float:
        """Log-odds of its spamicity; 0 as long as nothing has been learned."""
        # Without any word list the program complains.
        return self._log_odds(self._run(("-t", _FORMAT), mail_of(message)), 1)[0] if self._learned else 0.0

    def learn(self, message: Message, spam: bool) -> None:  # noqa: FBT001  as Learner has it
        """Register the message in the word list."""
        self._run(("-s" if spam else "-n",), mail_of(message))
        self._learned = True

    def learn_all(self, messages: Sequence[tuple[Message, bool]], advance: Callable[[int], None]) -> None:
        """As `learn` for each; `advance` hears how many are done."""
        for begin in range(0, len(messages), _CHUNK):
            chunk = messages[begin : begin + _CHUNK]
            for label, option in ((True, "-s"), (False, "-n")):
                files = self._written([message for message, spam in chunk if spam == label])
                if files:
                    self._run((option, "-b"), files)
            self._learned = True
            advance(begin + len(chunk))

    def score_all(self, messages: Sequence[Message], advance: Callable[[int], None]) -> list[float]:
        """As `score` for each, nothing being learned in between."""
        scores: list[float] = []
        for begin in range(0, len(messages), _CHUNK):
            chunk = messages[begin : begin + _CHUNK]
            scores += self._log_odds(self._run(("-t", _FORMAT, "-b"), self._written(chunk)), len(chunk))
            advance(len(scores))
        return scores

    def _written(self, messages: Sequence[Message]) -> bytes:
        """The messages as files; their names as the program reads them."""
        self._mail.mkdir(exist_ok=True)
        paths = [self._mail / str(number) for number in range(len(messages))]
        for path, message in zip(paths, messages, strict=True):
            path.write_bytes(mail_of(message))
        return b"".join(b"%b\n" % str(path).encode() for path in paths)

    def _run(self, options: tuple[str, ...], given: bytes) -> bytes:
        try:
            done = subprocess.run(  # noqa: S603  fixed words
                [*self._command, *options], input=given, capture_output=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BogofilterError(f"{PROGRAM}: {error}") from error
        if done.returncode >= _EXIT_ERROR or done.returncode < 0:
            told = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
            raise BogofilterError(f"{PROGRAM} ended with {done.returncode}: {told}")
        return done.stdout

    def _log_odds(self, printed: bytes, count: int) -> list[float]:
        try:
            spamicities = [float(line.split()[1]) for line in printed.splitlines()]
        except (IndexError, ValueError) as error:
            raise BogofilterError(f"{PROGRAM} printed what is no score: {printed[:80]!r}") from error
        if len(spamicities) != count:
            raise BogofilterError(f"{PROGRAM} scored {len(spamicities)} of {count} messages")
        edged = [min(1 - _EDGE, max(_EDGE, spamicity)) for spamicity in spamicities]
        return [math.log(spamicity / (1 - spamicity)) for spamicity in edged]


def mail_of(message: Message) -> bytes:
    """The message as a file of the system: its lines end in LF."""
    return (message.header_block + b"\r\n" + message.body).replace(b"\r\n", b"\n")
