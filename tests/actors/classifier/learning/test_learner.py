"""The learner over a journal in memory: whatever dies when, everything counts once and all get the same weights."""

import asyncio
import contextlib
import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.classifier.learning import learner as learners
from actors.classifier.learning.bounds import Refusal
from actors.classifier.learning.config import LearningConfig
from actors.classifier.learning.door import submit
from actors.classifier.learning.example import Label
from actors.classifier.learning.journal import JournalAway, Receipt
from actors.classifier.learning.learner import Learner
from actors.classifier.learning.weights import Weights
from actors.model import Message
from tests.actors.classifier.learning.lessons import Even, example, read
from tests.actors.classifier.learning.memory_journal import MemoryJournal
from tests.fakes import NOW_S, FakeClock

CONFIG = LearningConfig()


class Killed(BaseException):
    """The process is gone."""


def process(journal: MemoryJournal, *, trains: bool = True, reads=read) -> Learner:
    return Learner(journal, reads, CONFIG, FakeClock(), Even() if trains else None)


def same(one: Weights, other: Weights) -> bool:
    return (
        one.position == other.position
        and one.layers.keys() == other.layers.keys()
        and all(
            np.array_equal(layer.table, other.layers[name].table) and layer.taught == other.layers[name].taught
            for name, layer in one.layers.items()
        )
    )


async def teach(journal, text, label=Label.SPAM, config=CONFIG, **whose):
    return await submit(journal, config, example(text, label, **whose))


async def test_what_is_taught_is_learnt_by_one_and_had_by_all():
    journal = MemoryJournal()
    one, two = process(journal), process(journal)
    assert await teach(journal, "cheap watches") is Receipt.ACCEPTED
    await one.turn()
    await two.turn()
    assert one.weights.position.number == 1
    assert same(one.weights, two.weights)
    assert one.counters()["learning_learnt"] == 1
    assert "learning_learnt" not in two.counters()


async def test_the_same_again_is_known_and_counts_for_no_bound():
    journal = MemoryJournal()
    config = msgspec.structs.replace(CONFIG, user_examples_per_day=2)
    anna = {"user": "anna@a.example", "config": config}
    assert await teach(journal, "cheap watches", **anna) is Receipt.ACCEPTED
    assert await teach(journal, "cheap watches", **anna) is Receipt.KNOWN
    assert await teach(journal, "cheap watches", Label.HAM, **anna) is Receipt.ACCEPTED
    assert await teach(journal, "other words", **anna) is Refusal.TOO_MANY
    assert await teach(journal, "other words", **anna, at_s=NOW_S + 86_400) is Receipt.ACCEPTED
    assert await teach(journal, "other words", user="bob@a.example", config=config) is Receipt.ACCEPTED


async def test_who_has_moved_the_weights_far_enough_is_refused_and_may_try_tomorrow():
    journal = MemoryJournal()
    config = msgspec.structs.replace(CONFIG, tenant_shift_per_day=9.0)
    one = Learner(journal, read, config, FakeClock(), Even())
    for text in ("some words", "more of these", "nothing alike here"):
        assert await teach(journal, text, tenant="acme", config=config) is Receipt.ACCEPTED
    await one.turn()
    assert one.counters() | {} == {"learning_applied": 2, "learning_learnt": 2, "learning_too_much": 1}
    assert sum(abs(spent.shift) for spent in journal.spent.values()) <= 9.0
    assert (
        await teach(journal, "nothing alike here", tenant="acme", config=config, at_s=NOW_S + 86_400)
        is Receipt.ACCEPTED
    )
    await one.turn()
    assert one.counters()["learning_learnt"] == 3


async def test_two_users_of_a_tenant_teach_it_the_same_message_once():
    journal = MemoryJournal()
    one = process(journal)
    for user in ("anna@a.example", "bob@a.example"):
        await teach(journal, "cheap watches", user=user, tenant="acme")
    await one.turn()
    assert len(one.weights.layers) == 3
    assert one.weights.layers["t:acme"].taught == 1


async def test_a_message_that_crashes_the_features_is_refused_at_once():
    def crashing(_message: Message):
        raise ZeroDivisionError

    journal = MemoryJournal()
    one = process(journal, reads=crashing)
    await teach(journal, "anything")
    await one.turn()
    assert one.counters() == {"learning_crashes": 1}
    assert not journal.examples


async def test_a_message_that_kills_trainers_is_given_up_after_some_of_them():
    def killing(_message: Message):
        raise Killed

    journal = MemoryJournal()
    await teach(journal, "deadly")
    await teach(journal, "harmless words")
    for _ in range(learners.HOLDERS_MAX):
        journal.holder = ""
        with pytest.raises(Killed):
            await process(journal, reads=killing).turn()
    journal.holder = ""
    survivor = process(journal)
    await survivor.turn()
    assert survivor.counters() == {"learning_crashes": 1, "learning_learnt": 1, "learning_applied": 1}


async def test_what_waits_and_is_no_example_is_refused():
    journal = MemoryJournal()
    journal.examples["000000"] = b"garbage"
    one = process(journal)
    await one.turn()
    assert one.counters() == {"learning_unreadable": 1}
    assert not journal.examples


async def test_snapshots_let_deltas_go_and_a_new_process_begins_with_them(monkeypatch):
    monkeypatch.setattr(learners, "SNAPSHOT_DELTAS", 5)
    journal = MemoryJournal()
    one = process(journal)
    for number in range(12):
        await teach(journal, f"words of number{number}", tenant=f"tenant{number % 3}")
        await one.turn()
    assert journal.based.number == 10
    assert len(journal.written) == 2
    journal.holder = ""
    two = process(journal)
    await two.turn()
    assert same(one.weights, two.weights)


async def test_a_snapshot_that_is_newer_than_where_the_deltas_begin_has_learnt_them_already(monkeypatch):
    monkeypatch.setattr(learners, "SNAPSHOT_DELTAS", 3)
    journal = MemoryJournal()
    one = process(journal)
    for number in range(3):
        await teach(journal, f"words of number{number}", tenant=f"tenant{number % 2}")
    await one.turn()
    for number in range(3, 6):
        await teach(journal, f"words of number{number}", tenant=f"tenant{number % 2}")
    saved = itertools.count()

    def die_before_the_end():
        if next(saved) == 2:
            raise Killed

    journal.saving = die_before_the_end
    with pytest.raises(Killed):
        await one.turn()
    assert (journal.based.number, len(journal.layers), len(journal.written)) == (3, 2, 3)
    late = process(journal, trains=False)
    await late.turn()
    assert same(one.weights, late.weights)


async def test_large_deltas_are_replaced_by_snapshots_sooner(monkeypatch):
    monkeypatch.setattr(learners, "SNAPSHOT_BYTES", 100)
    journal = MemoryJournal()
    one = process(journal)
    await teach(journal, " ".join(f"word{number}" for number in range(50)))
    await one.turn()
    assert (journal.based.number, journal.written) == (1, [])
    await one.turn()
    assert one.counters()["learning_snapshots"] == 1


async def test_a_journal_that_has_forgotten_the_last_deltas_is_read_anew():
    journal = MemoryJournal()
    one, two = process(journal), process(journal, trains=False)
    for text in ("one thing", "another thing", "a third"):
        await teach(journal, text)
    await one.turn()
    await two.turn()
    journal.forget_last(2)
    await teach(journal, "something else")
    for _ in range(2):
        await one.turn()
        await two.turn()
    assert one.weights.position.number == 2
    assert same(one.weights, two.weights)


async def test_a_journal_that_was_emptied_empties_the_weights():
    journal = MemoryJournal()
    one = process(journal)
    await teach(journal, "one thing")
    await one.turn()
    journal.wipe()
    await one.turn()
    assert not one.weights.layers


async def test_a_message_waits_for_the_weights_no_longer_than_it_may():
    journal = MemoryJournal()
    journal.away = True
    one = process(journal)
    await one.ready(0.01)
    assert not one.weights.layers
    journal.away = False
    await one.close()


async def test_it_ends_also_when_the_client_library_swallows_the_cancellation():
    class Swallowing(MemoryJournal):
        async def end(self):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return await super().end()

    one = process(Swallowing())
    await one.ready(0.01)
    async with asyncio.timeout(5):
        await one.close()


# --- whatever is killed when ---------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("teach"), st.integers(0, 5), st.sampled_from([*Label]), st.integers(0, 2)),
        st.tuples(st.just("turn"), st.integers(0, 2)),
        st.tuples(st.just("kill before"), st.integers(0, 2)),
        st.tuples(st.just("kill after"), st.integers(0, 2)),
        st.tuples(st.just("no answer"), st.integers(0, 2)),
        st.tuples(st.just("kill saving"), st.integers(0, 2), st.integers(0, 3)),
        st.tuples(st.just("lease ends")),
    ),
    max_size=40,
)
TEXTS = ("cheap watches", "free money now", "meeting at noon", "board minutes", "watches at noon", "free board")
WHOSE = ({}, {"tenant": "acme"}, {"user": "anna@a.example", "tenant": "acme"})


async def play(events, *, disturbed: bool):
    """Three processes through these events; without disturbance the same is taught and one process learns it.

    At the end a process begins that has only what the journal has.
    """
    journal = MemoryJournal()
    learner_count = 3
    running = [process(journal) for _ in range(learner_count)]

    def die() -> None:
        raise Killed

    def lose() -> None:
        raise JournalAway("no answer")

    for kind, *rest in events:
        if kind == "teach":
            text, label, whose = rest
            await teach(journal, TEXTS[text], label, **WHOSE[whose])
        elif not disturbed:
            continue
        elif kind == "lease ends":
            journal.holder = ""
        else:
            which, *later = rest
            journal.before = die if kind == "kill before" else lambda: None
            saved = itertools.count()
            journal.saving = lambda: die() if later == [next(saved)] else None  # noqa: B023  it is called at once
            journal.after = {"kill after": die, "no answer": lose}.get(kind, lambda: None)
            try:
                await running[which].turn()
            except Killed:
                running[which] = process(journal)
            except JournalAway:
                pass
            journal.before = journal.after = journal.saving = lambda: None
    journal.holder = ""
    running.append(process(journal, trains=False))
    for one in (*running, *running):
        await one.turn()
    return journal, running


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_whatever_is_killed_when_everything_counts_once_and_all_agree(events):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learners, "SNAPSHOT_DELTAS", 3)
        check(events)


def check(events):
    calm_journal, (calm, *_) = asyncio.run(play(events, disturbed=False))
    journal, running = asyncio.run(play(events, disturbed=True))
    assert not journal.examples
    assert all(same(one.weights, calm.weights) for one in running)
    assert journal.marks == calm_journal.marks
    assert journal.spent == calm_journal.spent
