"""actors/adapters/breaker.py: when a dependency is given up, and how it comes back."""

import asyncio

import pytest

from actors.adapters.breaker import PAUSE_MAX_S, Breaker, Guard, State
from tests.fakes import turn_until


def opened(breaker: Breaker) -> Breaker:
    while not breaker.failed():
        pass
    breaker.probed(answered=False)
    return breaker


def test_failures_in_a_row_make_a_suspect_and_an_answer_in_between_does_not() -> None:
    breaker = Breaker(failures_max=2)
    assert not breaker.failed()
    breaker.succeeded()
    assert not breaker.failed()
    assert breaker.failed()
    assert breaker.state is State.SUSPECTED


def test_a_suspect_is_probed_once_however_much_fails_meanwhile() -> None:
    breaker = Breaker(failures_max=1)
    assert [breaker.failed() for _ in range(5)] == [True, False, False, False, False]


def test_a_probe_that_is_answered_clears_the_suspect() -> None:
    breaker = Breaker(failures_max=1)
    breaker.failed()
    assert breaker.probed(answered=True) is None
    assert breaker.state is State.CLOSED
    assert breaker.failed()


def test_while_it_is_open_the_pauses_between_probes_grow_to_a_bound() -> None:
    breaker = Breaker(failures_max=1, pause_s=0.5)
    breaker.failed()
    assert [breaker.probed(answered=False) for _ in range(5)] == [0.5, 1.0, 2.0, PAUSE_MAX_S, PAUSE_MAX_S]
    assert breaker.state is State.OPEN
    breaker.probed(answered=True)
    breaker.failed()
    assert breaker.probed(answered=False) == 0.5


def test_a_late_answer_is_proof_of_life_and_a_probe_that_fails_after_it_counts_for_nothing() -> None:
    breaker = opened(Breaker())
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert breaker.probed(answered=False) is None
    assert breaker.state is State.CLOSED


class Dependency:
    """Answers its probe when it is up; each probe waits for `turn`."""

    def __init__(self) -> None:
        self.up = False
        self.probes = 0
        self.hangs = False

    async def probe(self) -> bool:
        self.probes += 1
        if self.hangs:
            await asyncio.Event().wait()
        return self.up


@pytest.fixture
def dependency() -> Dependency:
    return Dependency()


async def test_a_dependency_that_is_down_opens_its_guard_and_comes_back_without_being_asked(
    dependency: Dependency,
) -> None:
    guard = Guard("it", dependency.probe, 1.0, Breaker(failures_max=2, pause_s=0.0))
    guard.failed()
    assert dependency.probes == 0
    guard.failed()
    guard.failed()
    assert not guard.open, "the probe has not failed yet"
    await turn_until(lambda: guard.open)
    dependency.up = True
    await turn_until(lambda: not guard.open)
    await guard.close()


async def test_what_only_the_questions_of_messages_meet_does_not_open_a_guard(dependency: Dependency) -> None:
    dependency.up = True
    guard = Guard("it", dependency.probe, 1.0, Breaker(failures_max=1))
    for _ in range(10):
        guard.failed()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not guard.open
    await guard.close()


async def test_a_probe_that_hangs_has_failed_after_its_timeout(dependency: Dependency) -> None:
    dependency.hangs = True
    guard = Guard("it", dependency.probe, 0.0, Breaker(failures_max=1, pause_s=60.0))
    guard.failed()
    await turn_until(lambda: guard.open)
    await guard.close()
    assert dependency.probes == 1
