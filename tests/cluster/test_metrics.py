"""cluster/metrics.py: from what processes count to what a pool did."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.metrics import BUCKETS, DelayCounts, PoolMetrics, Sample, delay_percentile_s, pool_metrics
from cluster.process import thread_times


def sample(at_s: float, busy_s: float, tasks: int = 0, errors: int = 0, delays_us: tuple[int, ...] = ()) -> Sample:
    counts = DelayCounts()
    for delay_us in delays_us:
        counts.add(delay_us)
    return Sample(at_s, busy_s, 0.0, tasks, errors, tuple(counts.counts))


def test_a_pool_is_as_busy_as_its_replicas_on_average_and_does_what_they_do_together() -> None:
    quick = (sample(100.0, 7.0, 10, 1), sample(110.0, 16.0, 110, 1))
    idle = (sample(5000.0, 0.5, 900, 3), sample(5010.0, 1.5, 920, 8))
    assert pool_metrics(60.0, [quick, idle]) == PoolMetrics(60.0, 2, 0.5, 0.0, 0.0, 12.0, 0.5)


def test_waiting_for_a_core_is_being_busy_too_but_nobody_is_busier_than_always() -> None:
    old = Sample(0.0, 0.0, 0.0, 0, 0, (0,) * BUCKETS)
    starved = Sample(10.0, 3.0, 2.0, 0, 0, (0,) * BUCKETS)
    assert pool_metrics(0.0, [(old, starved)]).busy == pytest.approx(0.5)
    assert pool_metrics(0.0, [(old, Sample(10.0, 8.0, 9.0, 0, 0, (0,) * BUCKETS))]).busy == 1.0


def test_a_process_that_was_started_anew_says_nothing_until_it_has_two_samples() -> None:
    restarted = (sample(100.0, 50.0, 1000), sample(110.0, 1.0, 3))
    unmoved = (sample(100.0, 50.0), sample(100.0, 50.0))
    assert pool_metrics(0.0, [restarted, unmoved]).replicas == 0
    assert pool_metrics(0.0, [restarted, (sample(0.0, 0.0), sample(1.0, 0.25))]).busy == 0.25


def test_the_delays_of_all_replicas_count_together_and_only_those_in_between() -> None:
    old = sample(0.0, 0.0, delays_us=(30_000_000,) * 50)
    new = sample(1.0, 0.0, delays_us=(30_000_000,) * 50 + (100,) * 90)
    slow = (sample(0.0, 0.0), sample(1.0, 0.0, delays_us=(60_000,) * 10))
    metrics = pool_metrics(0.0, [(old, new), slow])
    assert metrics.queue_p50_s < 128e-6
    assert 0.032 < metrics.queue_p95_s < 0.066


@given(st.lists(st.integers(0, 40_000_000), min_size=1), st.floats(1, 100))
def test_a_percentile_is_the_delay_to_a_factor_of_two(delays_us: list[int], percent: float) -> None:
    counts = DelayCounts()
    for delay_us in delays_us:
        counts.add(delay_us)
    exact_us = sorted(delays_us)[max(0, -(-len(delays_us) * percent // 100).__int__() - 1)]
    found_us = delay_percentile_s(counts.counts, percent) * 1e6
    assert found_us <= max(64, 2 * exact_us)
    assert found_us >= min(exact_us, 2**24) / 2 or exact_us < 64


def test_the_time_of_a_thread_grows_with_its_work() -> None:
    before_s, _ = thread_times()
    sum(range(3_000_000))
    after_s, starved_s = thread_times()
    assert after_s > before_s
    assert starved_s >= 0
