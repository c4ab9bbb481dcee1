"""cluster/admission.py: who may begin, who waits, and whose turn it is."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.admission import MESSAGE_COST_BYTES, Admission, Ticket, Window
from cluster.config import OverloadConfig

CONFIG = OverloadConfig(delay_s=2.0, interval_s=5.0)
COST = MESSAGE_COST_BYTES


def full(config: OverloadConfig = CONFIG) -> Admission[str]:
    """One whose window is closed."""
    admission: Admission[str] = Admission(config)
    admission.under_way = admission.window.size
    return admission


def queue(admission: Admission[str], item: str, tenant: str, cost: int = COST, now_s: float = 0.0) -> Ticket[str]:
    ticket = admission.queue(item, [tenant], cost, now_s)
    assert ticket is not None
    return ticket


def served(admission: Admission[str], count: int, now_s: float = 0.0) -> list[str]:
    """Whose turn it is when so many leave, one after the other."""
    items = []
    for _ in range(count):
        admission.left(now_s)
        turn = admission.turn(now_s)
        items.append(turn.item if turn else "")
    return items


def test_who_finds_room_and_nobody_waiting_passes_at_once() -> None:
    admission: Admission[str] = Admission(CONFIG)
    assert all(admission.enter(["a"], COST, 0.0) for _ in range(admission.window.size))
    assert not admission.enter(["a"], COST, 0.0)
    admission.left(0.0)
    assert admission.enter(["a"], COST, 0.0)


def test_nobody_overtakes_those_who_wait() -> None:
    admission = full()
    queue(admission, "first", "a")
    admission.left(0.0)
    assert not admission.enter(["a"], COST, 0.0)
    turn = admission.turn(0.0)
    assert turn is not None
    assert turn.item == "first"
    assert admission.turn(0.0) is None


def test_lines_take_turns_however_long_one_of_them_is() -> None:
    admission = full()
    for number in range(100):
        queue(admission, f"flood {number}", "flooding")
    for number in range(3):
        queue(admission, f"calm {number}", "calm")
    order = served(admission, 8)
    assert [item for item in order if item.startswith("calm")] == ["calm 0", "calm 1", "calm 2"]
    assert [item for item in order if item.startswith("flood")] == [f"flood {number}" for number in range(5)]
    assert order.index("calm 0") <= 1


def test_who_comes_into_a_flood_is_the_next_but_one() -> None:
    admission = full()
    for number in range(1000):
        queue(admission, f"flood {number}", "flooding")
    served(admission, 300)
    queue(admission, "calm", "calm")
    assert "calm" in served(admission, 2)


def test_who_had_less_than_his_share_catches_up_before_the_flood_goes_on() -> None:
    admission = full()
    for number in range(1000):
        queue(admission, f"flood {number}", "flooding")
    served(admission, 600)
    for number in range(600):
        queue(admission, f"calm {number}", "calm")
    order = [item.split()[0] for item in served(admission, 600)]
    assert order[:510] == ["calm"] * 510
    assert Counter(order[520:]) == {"calm": 40, "flood": 40}, "and has no more than that"


def test_what_passed_at_once_counts_too_when_shares_are_compared() -> None:
    admission: Admission[str] = Admission(CONFIG)
    for _ in range(100):
        assert admission.enter(["flooding"], COST, 0.0)
        admission.left(0.0)
    admission.under_way = admission.window.size
    for number in range(50):
        queue(admission, f"flood {number}", "flooding")
        queue(admission, f"calm {number}", "calm")
    assert [item.split()[0] for item in served(admission, 50)] == ["calm"] * 50


def test_large_messages_cost_as_much_as_they_are() -> None:
    admission = full()
    for number in range(50):
        queue(admission, f"large {number}", "large", 10 * COST)
        queue(admission, f"small {number}", "small")
    order = Counter(item.split()[0] for item in served(admission, 44))
    assert order == {"large": 4, "small": 40}


def test_a_message_for_several_tenants_waits_with_the_one_that_is_furthest_behind() -> None:
    admission = full()
    for number in range(5):
        queue(admission, f"flood {number}", "flooding")
    admission.queue("both", ["calm", "flooding"], COST, 0.0)
    assert served(admission, 6)[-1] == "both"


def test_who_has_left_the_line_has_no_turn() -> None:
    admission = full()
    tickets = [queue(admission, f"{number}", "a") for number in range(4)]
    admission.withdraw(tickets[0])
    admission.withdraw(tickets[2])
    admission.withdraw(tickets[2])
    assert served(admission, 3) == ["1", "3", ""]
    assert admission.waiting == 0


def test_replicas_are_behind_when_many_messages_waited_and_not_when_one_did() -> None:
    admission: Admission[str] = Admission(CONFIG)
    may_s = CONFIG.replica_queue_ms / 1000

    def pass_by(messages: int, queue_s: float) -> bool:
        for _ in range(messages):
            admission.enter(["a"], COST, 0.0)
            admission.left(0.0, 0.1, queue_s)
        return admission.behind

    assert not pass_by(1, may_s)
    assert not pass_by(100, 0.4 * may_s)
    assert pass_by(30, may_s)
    assert not pass_by(30, 0.0)


def overload(admission: Admission[str], seconds: float, tenant: str = "a", each_waits_s: float = 3.0) -> float:
    """The line of a tenant with every message waiting so long, for so many seconds; the moment after."""
    now_s = 100.0
    line: list[float] = []
    until_s = now_s + seconds + each_waits_s
    while now_s < until_s:
        if admission.queue("x", [tenant], COST, now_s) is not None:
            line.append(now_s)
        if line and now_s - line[0] >= each_waits_s:
            line.pop(0)
            admission.left(now_s)
            assert admission.turn(now_s) is not None
        now_s += 0.1
    return now_s


@pytest.mark.parametrize(
    ("slow_for_s", "waits_s", "shed", "refused"),
    [
        (4.0, 3.0, False, False),
        (6.0, 3.0, True, False),
        (11.0, 3.0, True, True),
        (30.0, 1.9, False, False),
    ],
)
def test_a_slow_line_is_first_borne_then_relieved_then_closed(
    slow_for_s: float, waits_s: float, *, shed: bool, refused: bool
) -> None:
    admission = full()
    now_s = overload(admission, slow_for_s, each_waits_s=waits_s)
    assert (admission.queue("one more", ["a"], COST, now_s) is None) == refused
    assert admission.queue("of another", ["b"], COST, now_s) is not None, "the line of another tenant is open"
    turns = []
    for _ in range(2):
        admission.left(now_s)
        turns.append(admission.turn(now_s))
    by_item = {turn.item: turn.shed for turn in turns if turn}
    assert by_item == {"x": shed, "of another": False}


def test_a_line_that_was_quick_once_is_not_slow_any_more() -> None:
    admission = full()
    now_s = overload(admission, 11.0)
    while admission.waiting:
        admission.left(now_s)
        admission.turn(now_s)
    ticket = admission.queue("later", ["a"], COST, now_s)
    assert ticket is not None
    admission.left(now_s)
    turn = admission.turn(now_s + 30.0)
    assert turn is not None
    assert not turn.shed


def test_tenants_that_wait_for_nothing_are_forgotten_although_another_always_waits() -> None:
    admission = full()
    for number in range(5000):
        queue(admission, "flood", "flooding")
        queue(admission, "x", f"tenant {number}")
        served(admission, 2)
        queue(admission, "flood", "flooding")
    assert len(admission._lines) < 200
    served(admission, admission.waiting)
    assert not admission._heap


# --- the window ------------------------------------------------------------------------------------------------------

TARGET_S = 0.01


def drive(window: Window, taken_s: float, queue_s: float, *, used: bool = True, now_s: float = 0.0) -> None:
    for _ in range(1000):
        if used:
            window.full()
        now_s += 0.01
        window.passed(taken_s, queue_s, TARGET_S, now_s)


def test_the_window_widens_only_while_it_is_used_and_within_what_replicas_may_owe() -> None:
    window = Window()
    drive(window, 0.01, 0.001, used=False)
    assert window.size == 64
    window.resize(replicas=4, each_max=1024)
    drive(window, 0.01, 0.001, now_s=100.0)
    assert window.size == 4096


def test_the_window_narrows_while_messages_wait_and_keeps_the_replicas_at_work() -> None:
    window = Window()
    window.resize(replicas=4, each_max=1024)
    drive(window, 0.1, 0.05)
    assert window.size == 8


def test_one_look_is_enough_to_narrow_a_window_that_is_much_too_wide() -> None:
    window = Window()
    window.resize(replicas=4, each_max=1024)
    window.size = 1000
    for _ in range(8):
        window.passed(1.0, 0.9, TARGET_S, 1.0)
    assert window.size == 110


def test_a_window_whose_target_is_another_one_does_not_wait_to_be_changed() -> None:
    window = Window()
    window.resize(replicas=1, each_max=1024)
    for moment_s in (1.0, 1.1):
        for _ in range(8):
            window.passed(0.5, 0.4, 0.4, moment_s)
    assert window.size == 64
    window.look_now()
    window.passed(0.5, 0.4, 0.04, 1.2)
    assert window.size == 18


def test_slow_look_ups_do_not_narrow_the_window() -> None:
    window = Window()
    window.resize(replicas=1, each_max=1024)
    drive(window, 2.0, 0.001)
    assert window.size == 1024


@pytest.mark.parametrize(("tenants", "size"), [(["a"], 1024), (["a", "b"], 4)])
def test_the_window_is_narrow_only_while_tenants_compete(tenants: list[str], size: int) -> None:
    admission: Admission[str] = Admission(CONFIG)
    admission.window.resize(replicas=1, each_max=1024)
    for number in range(3000):
        now_s = number / 100
        admission.window.full()
        if admission.enter([tenants[number % len(tenants)]], COST, now_s):
            admission.left(now_s, 0.1, 0.02)
    assert admission.window.size == size


# --- properties ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 20)), min_size=1, max_size=60), st.integers(0, 2**32))
def test_every_message_has_exactly_one_turn_in_the_order_of_its_line(mail: list[tuple[str, int]], seed: int) -> None:
    rng = random.Random(seed)
    admission = full()
    waiting, turns = list(enumerate(mail)), []
    while waiting or admission.waiting:
        if waiting and rng.random() < 0.6:
            number, (tenant, cost) = waiting.pop(0)
            queue(admission, f"{tenant}{number}", tenant, cost * COST)
        else:
            turns += [item for item in served(admission, 1) if item]
    assert sorted(turns) == sorted(f"{tenant}{number}" for number, (tenant, _) in enumerate(mail))
    for tenant in "abc":
        own = [int(item[1:]) for item in turns if item[0] == tenant]
        assert own == sorted(own)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4))
def test_two_lines_that_never_run_dry_get_the_same_whatever_their_messages_weigh(a: int, b: int, lead: int) -> None:
    admission = full()
    for number in range(300):
        queue(admission, "a", "a", a * COST)
        if number >= lead:
            queue(admission, "b", "b", b * COST)
    given_to: Counter[str] = Counter()
    for item in served(admission, 200):
        given_to[item] += {"a": a, "b": b}[item]
    # Goyal, Vin, Cheng 1997, theorem 1: they differ by at most the largest message of each.
    assert abs(given_to["a"] - given_to["b"]) <= a + b
