"""A journal in memory, with the promises of the one in Redis, that dies when a test wants it to."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from actors.classifier.learning.bounds import Bounds, Refusal, Spent, refusal_of
from actors.classifier.learning.delta import Position
from actors.classifier.learning.journal import JournalAway, Numbered, Receipt, Subject, Waiting
from actors.classifier.learning.lesson import Lesson, Mark

WAITING_MAX = 1000


class MemoryJournal:
    """`before` and `after` are called around every commit, `saving` before a snapshot is kept or counts.

    They may raise what a killed process or server would.
    """

    def __init__(self) -> None:
        self.examples: dict[str, bytes] = {}
        self.written: list[Numbered] = []
        self.marks: dict[tuple[str, str], Mark] = {}
        self.layers: dict[str, bytes] = {}
        self.based = Position()
        self.spent: dict[tuple[int, str], Spent] = defaultdict(Spent)
        self.holder = ""
        self.away = False
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.saving: Callable[[], None] = lambda: None
        self._end = Position()
        self._asked: dict[tuple[str, str], str] = {}
        self._begun: dict[str, list[str]] = defaultdict(list)
        self._count = 0

    def _check(self) -> None:
        if self.away:
            raise JournalAway("away")

    async def submit(self, payload: bytes, subject: Subject, bounds: Bounds) -> Receipt | Refusal:
        self._check()
        key, day = (subject.layers[0], subject.digest), (subject.day, subject.source)
        if self._asked.get(key) == subject.label:
            return Receipt.KNOWN
        spent = self.spent[day]
        refusal = refusal_of(spent, bounds, 1, 0.0)
        if refusal is not None:
            return refusal
        if spent.shift >= bounds.shift:
            return Refusal.TOO_MUCH
        if len(self.examples) >= WAITING_MAX:
            return Refusal.BACKLOG
        self._count += 1
        self.examples[f"{self._count:06}"] = payload
        self.spent[day] = Spent(spent.examples + 1, spent.shift)
        self._asked[key] = subject.label
        return Receipt.ACCEPTED

    async def hold(self, holder: str, for_s: float) -> bool:  # noqa: ARG002
        self._check()
        self.holder = self.holder or holder
        return self.holder == holder

    async def oldest(self, holder: str) -> Waiting | None:
        self._check()
        if not self.examples:
            return None
        first = min(self.examples)
        if self._begun[first][-1:] != [holder]:
            self._begun[first].append(holder)
        return Waiting(first, self.examples[first], len(self._begun[first]))

    async def known(self, subject: Subject) -> tuple[Mapping[str, Mark], Spent]:
        self._check()
        found = {name: self.marks.get((name, subject.digest)) for name in subject.layers}
        marks = {name: mark for name, mark in found.items() if mark is not None}
        return marks, self.spent[subject.day, subject.source]

    async def commit(self, waiting: Waiting, subject: Subject | None, lesson: Lesson, at: Position) -> bool:
        self._check()
        self.before()
        if at != self._end or waiting.id not in self.examples:
            return False
        del self.examples[waiting.id]
        if lesson.delta:
            self._end = at.after(lesson.delta)
            self.written.append(Numbered(self._end.number, self._end.chain, lesson.delta))
        if subject is not None:
            for name, mark in lesson.marks.items():
                self.marks.pop((name, subject.digest), None)
                if mark is not None:
                    self.marks[name, subject.digest] = mark
            spent = self.spent[subject.day, subject.source]
            self.spent[subject.day, subject.source] = Spent(spent.examples, spent.shift + lesson.shift)
            if lesson.refusal is not None:
                self._asked.pop((subject.layers[0], subject.digest), None)
        self.after()
        return True

    async def end(self) -> Position:
        self._check()
        return self._end

    async def deltas(self, after: int) -> Sequence[Numbered]:
        self._check()
        return [delta for delta in self.written if delta.number > after][:7]

    async def base(self) -> Position:
        self._check()
        return self.based

    async def snapshots(self) -> AsyncIterator[tuple[str, bytes]]:
        self._check()
        for item in tuple(self.layers.items()):
            yield item

    async def keep(self, layer: str, snapshot: bytes, at: Position) -> bool:
        self._check()
        if at != self._end:
            return False
        self.saving()
        self.layers[layer] = snapshot
        return True

    async def rebase(self, at: Position, layers: Sequence[str]) -> bool:
        self._check()
        if at != self._end:
            return False
        self.saving()
        self.based = at
        self.layers = {name: data for name, data in self.layers.items() if name in layers}
        self.written = [delta for delta in self.written if delta.number > at.number]
        return True

    def forget_last(self, count: int) -> None:
        """What a failover to a replica that was behind does."""
        del self.written[len(self.written) - count :]
        last = self.written[-1] if self.written else None
        self._end = Position(last.number, last.chain) if last is not None else self.based

    def wipe(self) -> None:
        """FLUSHALL."""
        fresh = MemoryJournal()
        self.__dict__.update(fresh.__dict__)

    async def close(self) -> None:
        """Nothing to give back."""
