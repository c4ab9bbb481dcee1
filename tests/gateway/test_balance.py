"""The choice of an ingress, by simulation: transactions last as long as their ingress takes, the clock is a number."""

import heapq
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.balance import (
    EJECTION_MAX_S,
    FAILURES_MAX,
    OVERLOAD_PAUSE_S,
    SLOW_START_S,
    Balance,
    Endpoint,
    Place,
)

MESSAGE_BYTES = 6_000


def endpoints(*weights: float) -> list[Endpoint]:
    return [Endpoint(Place(f"e{number}:1", weight=weight)) for number, weight in enumerate(weights)]


def play(  # noqa: PLR0917
    balance: Balance,
    usable: list[Endpoint],
    placings: int,
    concurrency: int,
    lasts_s: Callable[[Endpoint], float] = lambda _endpoint: 0.01,
    now_s: float = 1000.0,
) -> Counter[str]:
    """`concurrency` sessions, one message after the other; where they went."""
    running: list[tuple[float, int, Endpoint]] = []
    went: Counter[str] = Counter()
    for number in range(placings):
        if len(running) >= concurrency:
            now_s, _, ended = heapq.heappop(running)
            ended.outstanding_bytes -= MESSAGE_BYTES
        chosen = balance.choose(usable, now_s)
        chosen.outstanding_bytes += MESSAGE_BYTES
        went[chosen.place.target] += 1
        heapq.heappush(running, (now_s + lasts_s(chosen), number, chosen))
    for _, _, ended in running:
        ended.outstanding_bytes -= MESSAGE_BYTES
    return went


@given(
    weights=st.lists(st.sampled_from([1.0, 2.0, 3.0, 5.0]), min_size=2, max_size=5),
    concurrency=st.sampled_from([1, 2, 8, 50]),
)
@settings(max_examples=40, deadline=None)
def test_shares_follow_weights_at_any_load(weights: list[float], concurrency: int) -> None:
    usable = endpoints(*weights)
    chance = random.Random(1)
    went = play(Balance(), usable, 2_000, concurrency, lambda _endpoint: chance.uniform(0.005, 0.015))
    for endpoint in usable:
        expected = 2_000 * endpoint.place.weight / sum(weights)
        assert went[endpoint.place.target] == pytest.approx(expected, rel=0.15)


def test_a_slow_ingress_gets_less_and_one_that_hangs_gets_what_it_can_hold() -> None:
    usable = endpoints(1, 1)
    went = play(Balance(), usable, 5_000, 32, lambda endpoint: 0.01 if endpoint is usable[0] else 0.1)
    assert 5 < went["e0:1"] / went["e1:1"] < 20
    hanging = endpoints(1, 1)
    went = play(Balance(), hanging, 5_000, 32, lambda endpoint: 0.01 if endpoint is hanging[0] else 1e6)
    assert went["e1:1"] <= 32


@pytest.mark.parametrize("concurrency", [1, 8, 50])
def test_one_that_comes_back_meets_no_herd_and_has_its_share_after_the_slow_start(concurrency: int) -> None:
    balance, usable = Balance(), endpoints(1, 1, 1, 1)
    play(balance, usable[:3], 5_000, concurrency)
    usable[3].came_back(1000.0)
    at_once = play(balance, usable, 400, concurrency)
    assert at_once["e3:1"] < 400 / 4 / 2
    later = play(balance, usable, 4_000, concurrency, now_s=1000.0 + SLOW_START_S)
    assert later["e3:1"] == pytest.approx(1_000, rel=0.2)


def test_the_slow_start_grows_from_a_tenth_to_all() -> None:
    (endpoint,) = endpoints(2.0)
    assert endpoint.share(0.0) == 2.0
    endpoint.came_back(100.0)
    assert [endpoint.share(100.0 + s) for s in (0.0, 5.0, 10.0, 60.0)] == pytest.approx([0.2, 1.0, 2.0, 2.0])


def test_failures_in_a_row_eject_for_a_time_that_doubles_up_to_a_bound() -> None:
    (endpoint,) = endpoints(1)
    now_s = 0.0
    ejections = []
    for number in range(FAILURES_MAX):
        assert endpoint.failed(now_s) is (number == FAILURES_MAX - 1)
    for _ in range(8):
        ejections.append(endpoint.ejected_until_s - now_s)
        assert not endpoint.willing(now_s)
        assert not endpoint.failed(now_s), "an ejected one is not ejected again by what it still had"
        now_s = endpoint.ejected_until_s
        assert endpoint.willing(now_s)
        assert endpoint.failed(now_s), "one that comes back has one chance"
    assert ejections == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, EJECTION_MAX_S]


def test_a_verdict_ends_the_row_of_failures_and_a_healthy_time_the_doubling() -> None:
    (endpoint,) = endpoints(1)
    for now_s in range(10):
        assert not endpoint.failed(float(now_s))
        endpoint.succeeded(float(now_s))
    for _ in range(FAILURES_MAX):
        endpoint.failed(10.0)
    assert endpoint.ejected_until_s == 11.0
    endpoint.succeeded(12.0)
    for _ in range(FAILURES_MAX):
        endpoint.failed(13.0)
    assert endpoint.ejected_until_s == 15.0, "back for a moment only: the doubling goes on"
    endpoint.succeeded(15.0 + SLOW_START_S + 1)
    for _ in range(FAILURES_MAX):
        endpoint.failed(30.0)
    assert endpoint.ejected_until_s == 31.0


def test_the_last_usable_one_is_used_although_it_is_ejected() -> None:
    balance, usable = Balance(), endpoints(1, 1)
    for endpoint in usable:
        endpoint.ejected_until_s = 10.0
    assert balance.choose(usable, 5.0) in usable
    assert balance.choose(usable[:1], 5.0) is usable[0]
    usable[0].ejected_until_s = 0.0
    assert {balance.choose(usable, 5.0) for _ in range(10)} == {usable[0]}


def test_an_overloaded_one_pauses() -> None:
    balance, usable = Balance(), endpoints(1, 1)
    usable[0].overloaded(5.0)
    assert {balance.choose(usable, 5.0) for _ in range(10)} == {usable[1]}
    assert {balance.choose(usable, 5.0 + OVERLOAD_PAUSE_S) for _ in range(10)} == set(usable)


def test_a_cell_of_higher_priority_number_gets_mail_only_while_no_other_can_be_used() -> None:
    near = Endpoint(Place("near:1", "near", 0))
    far = Endpoint(Place("far:1", "far", 1))
    balance = Balance()
    near.outstanding_bytes = 10**9
    assert balance.choose([near, far], 0.0) is near
    near.overloaded(0.0)
    assert balance.choose([near, far], 0.0) is far
    far.overloaded(0.0)
    assert balance.choose([near, far], 0.0) is near


def test_priorities_of_srv_records_count_within_their_cell_only() -> None:
    first = Endpoint(Place("first:1", "dns", 0, priority=10))
    second = Endpoint(Place("second:1", "dns", 0, priority=20))
    listed = Endpoint(Place("listed:1", "list", 0))
    assert set(play(Balance(), [first, second, listed], 100, 4)) == {"first:1", "listed:1"}
    first.ejected_until_s = 2000.0
    assert set(play(Balance(), [first, second, listed], 100, 4)) == {"second:1", "listed:1"}
