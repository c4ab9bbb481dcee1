"""Whether a new model may go on, from counts alone. Pure."""

import random

import pytest

from cluster.config import CanaryConfig
from cluster.metrics import Judged
from cluster.supervisor.canary import Canaries, against, z_score
from cluster.supervisor.state import CellState, Phase, Process, Rollout, RolloutPhase

CONFIG = CanaryConfig(messages=400, watch_s=100.0)


@pytest.mark.parametrize(
    ("new", "old", "says"),
    [
        (Judged(200, 100), Judged(200, 100), ""),
        (
            Judged(200, 200),
            Judged(200, 100),
            "spam: 100.0% of 200 messages, of the old model 50.0% of 200 at the same time",
        ),
        (Judged(200, 0), Judged(200, 100), "spam: 0.0% of 200 messages"),
        (Judged(50, 50), Judged(50, 0), "spam: 100.0% of 50"),
        (Judged(49, 49), Judged(500, 0), ""),
        (Judged(500, 500), Judged(49, 0), ""),
        (Judged(100, 60), Judged(100, 45), ""),
        (Judged(1000, 600), Judged(1000, 450), "spam: 60.0% of 1000"),
        (Judged(100_000, 55_000), Judged(100_000, 50_000), ""),
        (Judged(200, 90, 20), Judged(200, 100, 0), "errors: 10.0% of 200 messages, of the old model 0.0% of 200"),
        (Judged(200, 100, 0), Judged(200, 90, 20), ""),
        (Judged(0), Judged(0), ""),
    ],
    ids=[
        "the same",
        "all spam",
        "no spam",
        "as few as may be",
        "too few new ones",
        "too few old ones",
        "may be chance",
        "is no chance",
        "within the bound",
        "errors",
        "fewer errors",
        "nothing",
    ],
)
def test_what_speaks_against_a_model(new: Judged, old: Judged, says: str) -> None:
    found = against(new, old, CONFIG)
    assert found.startswith(says)
    assert bool(found) is bool(says)


def test_the_z_score_is_that_of_the_textbook() -> None:
    # Pooled: p = 130/500; z = 0.1 / sqrt(0.26 * 0.74 * (1/200 + 1/300)).
    assert z_score(64, 200, 66, 300) == pytest.approx(2.4974, abs=1e-4)
    assert z_score(0, 10, 0, 10) == z_score(10, 10, 10, 10) == 0.0


def test_two_models_that_say_the_same_of_chance_mail_are_hardly_ever_told_apart() -> None:
    random_ = random.Random(6)
    stopped = 0
    for _ in range(500):
        share, new, old = random_.uniform(0.02, 0.98), Judged(), Judged()
        for _ in range(50):
            new += Judged(40, sum(random_.random() < share for _ in range(40)))
            old += Judged(40, sum(random_.random() < share for _ in range(40)))
            if against(new, old, CanaryConfig()):
                stopped += 1
                break
    assert stopped <= 2, "of 500 rollouts with 50 looks each"


def rolling(*, old: int = 1) -> CellState:
    processes = [
        Process("worker", ("classifier",), "a", number, number, 1, Phase.UP, model="old") for number in range(old)
    ]
    canary = Process("worker", ("classifier",), "a", 0, 0, 2, Phase.UP, model="new")
    rollout = Rollout(2, RolloutPhase.RUNNING, "test", watched=True)
    return CellState({1: b"", 2: b""}, 2, 1, 2, rollout, [*processes, canary])


def test_a_group_passes_after_so_many_messages() -> None:
    state, canaries = rolling(old=2), Canaries()
    assert not canaries.look(
        0.0, state, {"worker-0": Judged(5000), "worker-1": Judged(70), "worker-0.2": Judged()}, CONFIG
    )
    counts = {"worker-0": Judged(5100, 50), "worker-1": Judged(170, 50), "worker-0.2": Judged(100, 50)}
    assert not canaries.look(5.0, state, counts, CONFIG)
    assert canaries.progress(CONFIG) == (
        "worker-0.2 beside the old model for 5 of 100 s, 100 of 400 messages, 50.0% spam, the old 50.0%"
    )
    counts = {"worker-0": Judged(5400, 200), "worker-1": Judged(470, 200), "worker-0.2": Judged(400, 200)}
    (decided,) = canaries.look(10.0, state, counts, CONFIG)
    assert decided.startswith("passed worker-0.2 beside the old model for 10 of 100 s, 400 of 400 messages")
    assert state.rollout is not None
    assert state.rollout.passed == {"worker"}
    assert not state.canaries
    assert not canaries.progress(CONFIG)


def test_a_group_without_mail_passes_after_its_time() -> None:
    state, canaries = rolling(), Canaries()
    assert not canaries.look(0.0, state, {}, CONFIG)
    assert not canaries.look(99.0, state, {}, CONFIG)
    assert canaries.look(100.0, state, {}, CONFIG)
    assert state.rollout is not None
    assert state.rollout.passed == {"worker"}


def test_what_old_replicas_said_before_or_elsewhere_does_not_count() -> None:
    state, canaries = rolling(), Canaries()
    state.processes.append(Process("worker", ("classifier",), "b", 1, 0, 1, Phase.UP, model="old"))
    before = {"worker-0": Judged(9000, 9000), "worker-1": Judged(), "worker-0.2": Judged()}
    canaries.look(0.0, state, before, CONFIG)
    counts = {"worker-0": Judged(9200, 9010), "worker-1": Judged(200, 200), "worker-0.2": Judged(200, 190)}
    (decided,) = canaries.look(5.0, state, counts, CONFIG)
    assert decided.startswith("failed")
    (failed,) = [process for process in state.processes if process.failed]
    assert (failed.name, failed.failed.partition(":")[0]) == ("worker-0.2", "spam")


def test_the_first_look_at_a_canary_says_something_already() -> None:
    state, canaries = rolling(), Canaries()
    canary = state.processes.pop()
    assert not canaries.look(0.0, state, {"worker-0": Judged(9000, 9000)}, CONFIG)
    state.processes.append(canary)
    (decided,) = canaries.look(5.0, state, {"worker-0": Judged(9100, 9000), "worker-0.2": Judged(100, 100)}, CONFIG)
    assert decided.startswith("failed")


def test_a_process_that_was_started_anew_or_says_nothing_counts_nothing_twice() -> None:
    state, canaries = rolling(), Canaries()
    canaries.look(0.0, state, {"worker-0": Judged(100), "worker-0.2": Judged(10)}, CONFIG)
    canaries.look(5.0, state, {"worker-0": Judged(110)}, CONFIG)
    canaries.look(10.0, state, {"worker-0": Judged(30), "worker-0.2": Judged(3)}, CONFIG)
    canaries.look(15.0, state, {"worker-0": Judged(40), "worker-0.2": Judged(13)}, CONFIG)
    assert ", 20 of 400 messages, " in canaries.progress(CONFIG)


def test_nothing_is_watched_when_the_rollout_is_not_to_be_or_is_over() -> None:
    for rollout in (
        None,
        Rollout(2, RolloutPhase.RUNNING, "test"),
        Rollout(2, RolloutPhase.STOPPED, "test", watched=True),
        Rollout(2, RolloutPhase.RUNNING, "test", watched=True, passed={"worker"}),
    ):
        state = rolling()
        assert state.canaries
        state.rollout = rollout
        assert not state.canaries
