"""A cell that gets another spam model: it judges beside the old one first; processes are fakes, no Ray."""

import asyncio

import pytest

from cluster.admin.control import RolloutState
from cluster.config import CanaryConfig, Pools
from cluster.supervisor.control import Control
from tests.cluster.fake_ray import (
    ANEW,
    FakeRay,
    generations,
    run,
    status_of,
    supervisor,
    until_ready,
    until_rolled,
)


def test_the_report_says_by_which_model_a_replica_judges(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.models = {1: "0f1e2d3c"}
        cell = supervisor(fake_ray)
        await until_ready(cell)
        models = {process.name: process.model for process in (await Control(cell).report()).processes}
        assert models["classifier-0"] == "0f1e2d3c"
        assert set(models.values()) == {"", "0f1e2d3c"}

    run(test())


def test_a_new_model_is_watched_beside_the_old_one_and_then_replaces_it(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.models, fake_ray.spam_shares = {1: "old", 2: "new"}, {"old": 0.5, "new": 0.55}
        cell = supervisor(fake_ray, Pools(classifier=2, layout="split"), canary=CanaryConfig(messages=400))
        await until_ready(cell)
        control = Control(cell)
        await control.start_rollout(ANEW)
        await asyncio.sleep(20)
        classifiers = {name for name in fake_ray.living() if name.startswith("classifier")}
        assert classifiers == {"classifier-0", "classifier-1", "classifier-0.2"}, "one new one beside all old ones"
        rollout = (await control.report()).rollout
        assert rollout is not None
        assert rollout.watching.startswith("classifier-0.2 beside the old model for ")
        assert rollout.watching.endswith(" of 400 messages, 55.0% spam, the old 50.0%")
        await until_rolled(control, RolloutState.DONE, within_s=120)
        assert generations(fake_ray) == {"2"}
        rollout = (await control.report()).rollout
        assert rollout is not None
        assert not rollout.watching

    run(test())


def test_a_new_model_that_says_otherwise_stops_the_rollout_and_the_old_ones_are_all_there(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.models, fake_ray.spam_shares = {1: "old", 2: "new"}, {"old": 0.5, "new": 1.0}
        cell = supervisor(fake_ray, Pools(classifier=2, layout="split"))
        await until_ready(cell)
        control = Control(cell)
        await control.start_rollout(ANEW)
        await until_rolled(control, RolloutState.STOPPED)
        rollout = (await control.report()).rollout
        assert rollout is not None
        assert rollout.problem.startswith("classifier-0.2: spam: 100.0% of ")
        await asyncio.sleep(5)
        assert {name for name in fake_ray.living() if name.startswith("classifier")} == {"classifier-0", "classifier-1"}
        assert (await status_of(cell)).ready
        assert await control.roll_back() == 1
        await until_rolled(control, RolloutState.DONE)
        assert generations(fake_ray) == {""}

    run(test())


def test_the_way_back_to_the_old_model_is_not_watched(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.models, fake_ray.spam_shares = {1: "old", 2: "new"}, {"old": 0.5, "new": 0.5}
        cell = supervisor(fake_ray, canary=CanaryConfig(messages=100))
        await until_ready(cell)
        control = Control(cell)
        await control.start_rollout(ANEW)
        await until_rolled(control, RolloutState.DONE)
        fake_ray.spam_shares["old"] = 0.0
        await control.roll_back()
        await until_rolled(control, RolloutState.DONE, within_s=4)
        assert generations(fake_ray) == {""}

    run(test())


@pytest.mark.parametrize(("models", "watch_s"), [({1: "same", 2: "same"}, 600.0), ({1: "old", 2: "new"}, 0.0)])
def test_the_same_model_is_not_watched_and_none_is_with_watch_s_0(
    fake_ray: FakeRay, models: dict[int, str], watch_s: float
) -> None:
    async def test() -> None:
        fake_ray.models = models
        cell = supervisor(fake_ray, canary=CanaryConfig(watch_s=watch_s))
        await until_ready(cell)
        control = Control(cell)
        await control.start_rollout(ANEW)
        await until_rolled(control, RolloutState.DONE, within_s=4)

    run(test())


def test_a_supervisor_that_was_restarted_goes_on_watching(fake_ray: FakeRay) -> None:
    async def test() -> None:
        fake_ray.models, fake_ray.spam_shares = {1: "old", 2: "new"}, {"old": 0.5, "new": 0.5}
        config = CanaryConfig(messages=10_000, watch_s=60.0)
        cell = supervisor(fake_ray, canary=config)
        await until_ready(cell)
        await Control(cell).start_rollout(ANEW)
        await asyncio.sleep(20)
        for task in (*cell._working, *(keeper._keeping for keeper in cell.keepers.values())):
            task.cancel()
        again = supervisor(fake_ray, canary=config)
        await status_of(again)
        await asyncio.sleep(45)
        assert "classifier-0" in fake_ray.living(), "the watch has begun anew"
        await until_rolled(Control(again), RolloutState.DONE)

    run(test())
