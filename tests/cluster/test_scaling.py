"""cluster/scaling.py against pools that are simulated: replicas at work, a queue, and some seconds to start one."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import ScalingConfig
from cluster.metrics import PoolMetrics
from cluster.scaling import MEMORY_S, Bounds, desired

CONFIG = ScalingConfig(replicas_max=64)
BOUNDS = Bounds(1, 64)
EVERY_S = 5.0
START_S = 7.0
DAY_S = 86_400.0

Load = Callable[[float], float]
"""Time in seconds -> work that arrives, in replicas at work."""


@dataclass
class Pool:
    """A pool under a load, scaled by `desired` every five seconds; `sizes` has every size it was told to have."""

    load: Load
    replicas: int = 1
    bounds: Bounds = BOUNDS
    crowded_at: float = 0.95
    """Utilisation from which on tasks wait for 100 ms."""
    now_s: float = 0.0
    changed_s: float = 0.0
    backlog: float = 0.0
    wanted: int = 0
    history: list[PoolMetrics] = field(default_factory=list)
    sizes: list[tuple[float, int]] = field(default_factory=list)

    def run(self, until_s: float) -> None:
        self.wanted = self.wanted or self.replicas
        while self.now_s < until_s:
            self.now_s += EVERY_S
            if self.now_s - self.changed_s >= START_S or self.wanted < self.replicas:
                self.replicas = self.wanted
            self._measure()
            self.history = [one for one in self.history if one.at_s > self.now_s - MEMORY_S]
            wanted = desired(self.wanted, self.changed_s, self.history, CONFIG, self.bounds)
            if wanted != self.wanted:
                self.wanted, self.changed_s = wanted, self.now_s
                self.sizes.append((self.now_s, wanted))

    def _measure(self) -> None:
        self.backlog += (self.load(self.now_s) - self.replicas) * EVERY_S
        busy = min(1.0, self.load(self.now_s) / self.replicas) if self.backlog <= 0 else 1.0
        self.backlog = max(0.0, self.backlog)
        wait_s = self.backlog / self.replicas + (0.1 if busy >= self.crowded_at else 0.0)
        self.history.append(PoolMetrics(self.now_s, self.replicas, busy, wait_s / 2, wait_s, busy * 300, 0.0))

    @property
    def turns(self) -> int:
        """How often it changed its direction."""
        steps = [new - old for (_, old), (_, new) in itertools.pairwise(self.sizes)]
        return sum(one * other < 0 for one, other in itertools.pairwise(steps))


def step(low: float, high: float, at_s: float) -> Load:
    return lambda now_s: high if now_s >= at_s else low


def test_a_step_is_followed_within_a_minute_and_then_nothing_changes() -> None:
    pool = Pool(step(0.3, 5.0, 600))
    pool.run(600)
    assert pool.sizes == []
    pool.run(660)
    needed = math.ceil(5.0 / CONFIG.busy_target)
    assert pool.wanted >= needed
    pool.run(8000)
    assert pool.wanted == needed
    assert pool.turns <= 1, "it may grow beyond for the backlog, and go back once"


def test_a_step_down_is_followed_after_shrink_after_s_and_then_nothing_changes() -> None:
    pool = Pool(step(5.0, 1.0, 2000), replicas=9)
    pool.run(2000 + CONFIG.shrink_after_s - 2 * EVERY_S)
    assert pool.wanted == 9
    pool.run(6000)
    assert pool.wanted == 2
    assert [size for _, size in pool.sizes] == [5, 3, 2]


def test_a_ramp_is_followed_upwards_all_the_way_without_a_backlog() -> None:
    pool = Pool(lambda now_s: 0.5 + now_s / 300, bounds=Bounds(1, 64))
    pool.run(3600)
    sizes = [size for _, size in pool.sizes]
    assert sizes == sorted(sizes)
    assert max(metrics.queue_p95_s for metrics in pool.history) < 0.2
    assert 12.5 / CONFIG.busy_max <= pool.wanted <= 12.5 / CONFIG.busy_target + 1


def test_a_burst_shorter_than_grow_after_s_changes_nothing() -> None:
    pool = Pool(lambda now_s: 2.4 if 300 <= now_s < 305 else 1.0, replicas=2)
    pool.run(2000)
    assert pool.sizes == []


def test_a_sawtooth_is_held_at_its_peak_and_does_not_make_the_pool_swing() -> None:
    pool = Pool(lambda now_s: 1.0 + 4.0 * (now_s % 120) / 120)
    pool.run(4 * 3600)
    assert pool.turns == 0
    assert pool.sizes[-1][0] < 3600
    assert 5.0 / CONFIG.busy_max - 1 <= pool.wanted <= 5.0 / CONFIG.busy_target + 1


def test_a_day_is_followed_up_and_down_once() -> None:
    pool = Pool(lambda now_s: 5.5 - 4.5 * math.cos(2 * math.pi * now_s / DAY_S), replicas=2)
    pool.run(2 * DAY_S)
    assert pool.turns == 3
    peak = max(size for _, size in pool.sizes)
    assert peak <= math.ceil(10.0 / CONFIG.busy_target)
    assert min(size for at_s, size in pool.sizes if at_s > DAY_S / 2) <= 2
    assert max(metrics.queue_p95_s for metrics in pool.history) == 0.0


def test_a_day_of_noise_changes_the_size_seldom() -> None:
    pool = Pool(lambda now_s: 3.0 * (1 + 0.2 * math.sin(now_s * 12.9898) * math.cos(now_s * 78.233)), replicas=5)
    pool.run(DAY_S)
    assert len(pool.sizes) <= 2


def test_a_pool_whose_tasks_wait_long_although_it_is_not_busy_grows_until_they_do_not_and_stays() -> None:
    pool = Pool(lambda _: 3.0, replicas=5, crowded_at=0.45)
    pool.run(3000)
    assert pool.turns == 0
    assert 3.0 / pool.wanted < 0.45
    assert pool.history[-1].queue_p95_s == 0


def test_tasks_that_wait_at_idle_replicas_wait_for_something_else() -> None:
    pool = Pool(lambda _: 0.4, replicas=2, crowded_at=0.1)
    pool.run(3000)
    assert pool.wanted <= 2


def test_a_pool_without_measurements_stays_as_it_is() -> None:
    dead = [PoolMetrics(float(at_s), 0, 0.0, 0.0, 0.0, 0.0, 0.0) for at_s in range(0, 2000, 5)]
    assert desired(4, 0.0, dead, CONFIG, BOUNDS) == 4
    assert desired(4, 0.0, [], CONFIG, BOUNDS) == 4


@pytest.mark.parametrize(("current", "bounds", "expected"), [(9, Bounds(1, 4), 4), (1, Bounds(3, 8), 3)])
def test_new_bounds_count_at_once(current: int, bounds: Bounds, expected: int) -> None:
    assert desired(current, 0.0, [steady(0.0, current, 0.5)], CONFIG, bounds) == expected


def steady(at_s: float, replicas: int, busy: float, queue_s: float = 0.0) -> PoolMetrics:
    return PoolMetrics(at_s, replicas, busy, queue_s, queue_s, 1.0, 0.0)


def constant(replicas: int, busy: float, queue_s: float) -> list[PoolMetrics]:
    return [steady(at_s, replicas, busy, queue_s) for at_s in [EVERY_S * number for number in range(90)]]


busy_shares = st.floats(0.0, 1.0)
queues_s = st.sampled_from([0.0, 0.01, 0.2, 5.0])


@given(st.integers(1, 64), busy_shares, busy_shares, queues_s, queues_s)
def test_more_load_never_wants_fewer_replicas(replicas: int, one: float, other: float, q1: float, q2: float) -> None:
    low, high = sorted((one, other))
    short, long = sorted((q1, q2))
    less = desired(replicas, -1.0, constant(replicas, low, short), CONFIG, BOUNDS)
    assert less <= desired(replicas, -1.0, constant(replicas, high, long), CONFIG, BOUNDS)


@given(
    st.integers(1, 64),
    st.lists(st.tuples(busy_shares, queues_s, st.integers(0, 64)), max_size=100),
    st.integers(1, 20),
    st.integers(0, 44),
    st.floats(-400, 400),
)
def test_any_history_gives_a_size_within_the_bounds_and_a_factor_of_two(
    current: int, moments: Sequence[tuple[float, float, int]], least: int, more: int, changed_s: float
) -> None:
    bounds = Bounds(least, least + more)
    history = [steady(EVERY_S * i, replicas, busy, queue_s) for i, (busy, queue_s, replicas) in enumerate(moments)]
    wanted = desired(current, changed_s, history, CONFIG, bounds)
    assert bounds.least <= wanted <= bounds.most
    if bounds.least <= current <= bounds.most:
        assert current / 2 <= wanted <= current * 2


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 60.0), st.integers(1, 64), st.floats(0.3, 1.0))
def test_under_a_constant_load_a_pool_comes_to_rest(load: float, replicas: int, crowded: float) -> None:
    pool = Pool(lambda _: load, replicas=replicas, crowded_at=crowded)
    pool.run(MEMORY_S)
    assert pool.turns <= 2, "up for the backlog, down, and up once it is known where tasks wait long"
    assert not pool.sizes or pool.sizes[-1][0] < 3000
