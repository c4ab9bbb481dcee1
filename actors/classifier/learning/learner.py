"""Keeps the weights of one process up to date, and trains while no other process does.

Strategy: a turn every half second. It follows the deltas; what does not fit together is read anew beside the weights
that are in use. Then whoever holds the lease takes the examples one by one. The lease only saves work: that an example
counts once is the journal's doing, whoever believes to be the trainer.
"""

import asyncio
import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping

from actors.classifier.learning.bounds import Refusal
from actors.classifier.learning.commonness import Commonness
from actors.classifier.learning.config import LearningConfig
from actors.classifier.learning.delta import BEGINNING, Position
from actors.classifier.learning.door import subject_of
from actors.classifier.learning.example import ExampleError, check_example, decode_example
from actors.classifier.learning.journal import Journal, JournalAway, Waiting
from actors.classifier.learning.layers import Layer, Slots
from actors.classifier.learning.lesson import Case, Done, Lesson, Limits, learn
from actors.classifier.learning.scope import contributions
from actors.classifier.learning.weights import OutOfStep, Weights
from actors.model import Envelope, Message
from actors.ports import Clock

log = logging.getLogger(__name__)

EVERY_S = 0.5
LEASE_S = 2.5
"""A trainer that dies is replaced after that."""
HOLDERS_MAX = 5
"""An example that so many trainers have begun with, and none ended, is not tried again."""
SNAPSHOT_DELTAS = 1000
SNAPSHOT_BYTES = 16 << 20
"""Of deltas since the last snapshots; one is mostly 5 to 30 kB."""
FIRST_WAIT_S = 2.0
"""How long the first message waits for the weights."""
_YIELD_EVERY = 20
_NOTED_EVERY = 4
"""A share of the mail says as well how common its slots are."""

Read = Callable[[Message], tuple[Slots, float]]
"""The slots of a message, and the log-odds that the model gives it."""


class Learner:
    """The layers of one process. Begins to work when it is first asked."""

    def __init__(
        self, journal: Journal, read: Read, config: LearningConfig, clock: Clock, commonness: Commonness | None
    ) -> None:
        """`commonness` is what a trainer needs to know of the mail; without it this one only follows."""
        # Twice what a trainer lets them take.
        self._bytes_max = 2 * config.memory_mb << 20
        self.weights = Weights(self._bytes_max)
        self._journal = journal
        self._read = read
        self._config = config
        self._clock = clock
        self._holder = secrets.token_hex(8)
        self._commonness = commonness
        self._counts: Counter[str] = Counter()
        self._turning: asyncio.Task[None] | None = None
        self._followed = asyncio.Event()
        self._judged = 0
        self._unsaved_bytes = 0
        self._away = False
        self._closing = False

    async def ready(self, wait_s: float) -> None:
        """Begin, and give the weights this long to come; then mail is judged with those that there are."""
        if self._turning is None:
            self._turning = asyncio.create_task(self._work())
        if not self._followed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(FIRST_WAIT_S, wait_s)):
                    await self._followed.wait()
            self._followed.set()

    def contributions(self, slots: Slots, envelope: Envelope) -> tuple[tuple[str, float], ...]:
        """What the layers add to the log-odds of a message that is judged, by name for people."""
        self._judged += 1
        if self._commonness is not None and self._judged % _NOTED_EVERY == 0 and not envelope.mirrored:
            self._commonness.note(slots)
        return contributions(self.weights, slots, envelope)

    def counters(self) -> Mapping[str, int]:
        """What it has done since it began."""
        return {f"learning_{name}": count for name, count in self._counts.items()}

    async def close(self) -> None:
        """Stop, and give back connections. What is being learnt is learnt by another."""
        self._closing = True  # redis-py now and then swallows the cancellation (its timeouts of 0 s).
        if self._turning is not None:
            self._turning.cancel()
            await asyncio.gather(self._turning, return_exceptions=True)
        await self._journal.close()

    async def turn(self) -> None:
        """Follow, and train if nobody else does. Raises JournalAway."""
        await self.follow()
        self._followed.set()
        if self._commonness is not None and await self._journal.hold(self._holder, LEASE_S):
            await self._train(self._commonness)

    async def follow(self) -> None:
        """Apply the deltas that are new. Raises JournalAway."""
        end = await self._journal.end()
        if end == self.weights.position:
            return
        try:
            await self._apply(self.weights, end)
        except OutOfStep as error:
            if self.weights.position != BEGINNING:
                log.warning("learning_reread why=%s", error)
            await self._reread()

    async def _work(self) -> None:
        while not self._closing:
            try:
                await self.turn()
                if self._away:
                    log.warning("learning_journal away=no")
                self._away = False
            except JournalAway as error:
                if not self._away:
                    log.warning("learning_journal away=yes why=%s", error)
                self._away = True
                self._counts["away"] += 1
            except Exception:
                # What this process has goes on judging mail; others may train.
                log.exception("learning_turn_failed")
            await asyncio.sleep(EVERY_S)

    async def _apply(self, weights: Weights, end: Position) -> None:
        """Up to `end` at least. Raises OutOfStep and JournalAway."""
        if end.number <= weights.position.number:
            raise OutOfStep(f"the journal ends at {end.number}, not at {weights.position.number}")
        while weights.position.number < end.number:
            deltas = await self._journal.deltas(weights.position.number)
            if not deltas:
                raise OutOfStep(f"delta {weights.position.number + 1} is gone")
            for count, delta in enumerate(deltas, start=1):
                weights.apply(delta.number, delta.chain, delta.payload)
                self._counts["applied"] += 1
                self._unsaved_bytes += len(delta.payload)
                if count % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)

    async def _reread(self) -> None:
        """Everything from the snapshots on; the weights in use stay until it is whole. Raises JournalAway."""
        weights = Weights(self._bytes_max, await self._journal.base())
        async for name, data in self._journal.snapshots():
            try:
                weights.put(name, Layer.from_bytes(name, data))
            except ValueError:
                log.error("learning_snapshot_unfit layer=%r", name)  # noqa: TRY400  there is nothing to trace
        self._unsaved_bytes = 0
        end = await self._journal.end()
        if end != weights.position:
            try:
                await self._apply(weights, end)
            except OutOfStep as error:
                log.warning("learning_reread_again why=%s", error)  # Snapshots were taken meanwhile: at the next turn.
                return
        self.weights = weights
        self._counts["reread"] += 1

    # --- the trainer -------------------------------------------------------------------------------------------------

    async def _train(self, commonness: Commonness) -> None:
        """Learn what waits, as long as the lease certainly lasts. Raises JournalAway."""
        until_s = self._clock.monotonic_s() + LEASE_S / 2
        while self._clock.monotonic_s() < until_s:
            waiting = await self._journal.oldest(self._holder)
            if waiting is None or not await self._teach(waiting, commonness):
                break
        base = await self._journal.base()
        unsaved = self.weights.position.number - base.number
        if unsaved >= SNAPSHOT_DELTAS or (unsaved and self._unsaved_bytes >= SNAPSHOT_BYTES):
            await self._snapshot(base)

    async def _teach(self, waiting: Waiting, commonness: Commonness) -> bool:
        """One example; False when the journal has gone on without this process. Raises JournalAway."""
        at, subject = self.weights.position, None
        lesson = Lesson(Done.REFUSED, refusal=Refusal.CRASHES)
        if waiting.holders <= HOLDERS_MAX:
            try:
                example = decode_example(waiting.payload)
                shares = check_example(example)
            except ExampleError:
                lesson = Lesson(Done.REFUSED, refusal=Refusal.UNREADABLE)
            else:
                subject = subject_of(example, shares)
                known, spent = await self._journal.known(subject)
                limits = Limits(self._config.bounds(example.kind), spent, self._config.memory_mb << 20)
                try:
                    slots, base = self._read(example.message)
                    commonness.note(slots)
                    rates = commonness.rates(slots)
                    lesson = learn(self.weights, Case(slots, rates, base, example.label, shares, known), limits)
                except Exception:
                    log.exception("learning_crashed")  # It stays CRASHES: the same bytes would crash again.
        if not await self._journal.commit(waiting, subject, lesson, at):
            return False
        if lesson.delta:
            after = at.after(lesson.delta)
            self.weights.apply(after.number, after.chain, lesson.delta)
            self._counts["applied"] += 1
            self._unsaved_bytes += len(lesson.delta)
        self._counts[lesson.refusal or lesson.done] += 1
        if lesson.refusal is not None:
            kind = subject.source.partition(":")[0] if subject is not None else "?"
            log.info("learning_refused why=%s source=%s", lesson.refusal, kind)
        return True

    async def _snapshot(self, base: Position) -> None:
        """Write down the layers that have learnt since the last time, then drop the deltas that made them."""
        at = self.weights.position
        for name, layer in tuple(self.weights.layers.items()):
            if layer.taught <= base.number:
                continue
            # There may be many: nobody else trains meanwhile.
            if not await self._journal.hold(self._holder, LEASE_S):
                return
            if not await self._journal.keep(name, layer.to_bytes(), at):
                return
        self._unsaved_bytes = 0
        if await self._journal.rebase(at, tuple(self.weights.layers)):
            self._counts["snapshots"] += 1
