"""What learning asks of the world: a journal that several processes share, and that alone says what has happened.

`actors/adapters/redis_journal.py` is it in production, `tests/actors/classifier/learning/memory_journal.py` in tests.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from actors.classifier.learning.bounds import Bounds, Refusal, Spent
from actors.classifier.learning.delta import Position
from actors.classifier.learning.lesson import Lesson, Mark


class JournalAway(Exception):
    """The journal does not answer; what was asked of it may have happened or not."""


class Receipt(StrEnum):
    """What becomes of an example that is not refused."""

    ACCEPTED = "accepted"
    """It waits in the journal, and will be learnt whatever dies."""
    KNOWN = "known"
    """The same was asked before."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What the journal keeps of an example beside its bytes."""

    digest: str
    """By which the message is known again."""
    layers: tuple[str, ...]
    """Those that it teaches, the narrowest first; with the digest that names the example."""
    label: str
    day: int
    source: str
    """Kind and name: whose bounds count."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An example that is to be learnt."""

    id: str
    payload: bytes = field(repr=False)
    holders: int = 1
    """How many trainers have begun with it."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """One delta as it was written down."""

    number: int
    chain: str
    payload: bytes = field(repr=False)


class Journal(Protocol):
    """Raises JournalAway and nothing else."""

    async def submit(self, payload: bytes, subject: Subject, bounds: Bounds) -> Receipt | Refusal:
        """Take an example, unless the same was asked last, or the bounds of its source and day are reached."""

    async def hold(self, holder: str, for_s: float) -> bool:
        """Become the trainer, or stay it, for so long; False while another one is."""

    async def oldest(self, holder: str) -> Waiting | None:
        """The example that is to be learnt next."""

    async def known(self, subject: Subject) -> tuple[Mapping[str, Mark], Spent]:
        """What its layers have learnt from this message before, and what its source has spent on that day."""

    async def commit(self, waiting: Waiting, subject: Subject | None, lesson: Lesson, at: Position) -> bool:
        """Write down what came of an example, all of it or nothing.

        That is the delta behind `at`, the marks, what was spent, and that the example does not wait any more. False:
        nothing was written, for `at` is not the end of the deltas, or the example does not wait.
        """

    async def end(self) -> Position:
        """Where the last delta has led."""

    async def deltas(self, after: int) -> Sequence[Numbered]:
        """Some of those behind this number, in order."""

    async def base(self) -> Position:
        """The position from which the deltas are still there; the snapshots are at least as new."""

    def snapshots(self) -> AsyncIterator[tuple[str, bytes]]:
        """(layer, its bytes)."""

    async def keep(self, layer: str, snapshot: bytes, at: Position) -> bool:
        """Replace the snapshot of a layer; False when `at` is not the end of the deltas."""

    async def rebase(self, at: Position, layers: Sequence[str]) -> bool:
        """Drop the deltas up to `at`, whose layers, these and no others, have their snapshots.

        False when `at` is not the end of the deltas.
        """

    async def close(self) -> None:
        """Give back connections."""
