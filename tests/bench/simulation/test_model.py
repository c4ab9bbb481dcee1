"""The core against closed forms of queueing theory, and its writers against the product's rules."""

import random

import pytest

from bench.simulation.model import SLICE_S, Clock, Machine, Process, Writer
from wire.stream import CROWDED_S, FRAME_ITEMS_MAX

CUSTOMERS = 40_000
SERVICE_S = SLICE_S
"""Mean demand of a customer."""


def sojourn_s(servers: int, load: float, service_s: "random.Random | None", *, shared: bool = False) -> float:
    """Mean time in the system of a queue with Poisson arrivals, in mean services."""
    rng = random.Random(7)
    clock = Clock()
    machine = Machine(clock, servers if shared else 10 * servers)
    processes = [Process(machine) for _ in range(servers)]
    waiting: list[tuple[float, float]] = []
    times_s: list[float] = []

    def arrive(left: int) -> None:
        demand_s = SERVICE_S * (service_s.expovariate(1.0) if service_s else 1.0)
        if shared:
            start(Process(machine), (clock.now_s, demand_s))
        else:
            waiting.append((clock.now_s, demand_s))
            for process in processes:
                serve(process)
        if left:
            clock.after(SERVICE_S * rng.expovariate(load * servers), arrive, left - 1)

    def serve(process: Process) -> None:
        if waiting and not process.waiting:
            start(process, waiting.pop(0))

    def start(process: Process, customer: tuple[float, float]) -> None:
        came_s, demand_s = customer
        process.do(demand_s, done, process, came_s)

    def done(process: Process, came_s: float) -> None:
        times_s.append(clock.now_s - came_s)
        # It counts as busy until its piece is over.
        clock.after(0.0, serve, process)

    clock.after(0.0, arrive, CUSTOMERS - 1)
    clock.run()
    assert len(times_s) == CUSTOMERS
    return sum(times_s) / CUSTOMERS / SERVICE_S


def test_m_m_1() -> None:
    assert sojourn_s(1, 0.7, random.Random(1)) == pytest.approx(1 / (1 - 0.7), rel=0.08)


def test_m_d_1() -> None:
    # Pollaczek-Khinchine without variance of the service.
    assert sojourn_s(1, 0.7, None) == pytest.approx(1 + 0.7 / (2 * (1 - 0.7)), rel=0.08)


def test_m_m_3() -> None:
    # Erlang C for three servers at 70 %: P(wait) = 0.4923, mean wait = P / (c - a).
    assert sojourn_s(3, 0.7, random.Random(1)) == pytest.approx(1 + 0.4923 / (3 - 2.1), rel=0.08)


def test_m_m_2_with_shared_cores() -> None:
    # 1 / (1 - rho^2), first come first served as well as with equal shares.
    assert sojourn_s(2, 0.7, random.Random(1), shared=True) == pytest.approx(1 / (1 - 0.7**2), rel=0.08)


def test_processes_take_turns_on_the_cores() -> None:
    clock = Clock()
    machine = Machine(clock, 2)
    ended_s: dict[str, float] = {}
    for name, demand_s in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        Process(machine).do(demand_s, lambda name=name: ended_s.setdefault(name, clock.now_s))
    clock.run()
    # Three at two thirds of a core each, then two at a whole one.
    assert ended_s == pytest.approx({"a": 1.5, "b": 2.5, "c": 3.5}, abs=2 * SLICE_S)


def test_a_short_piece_waits_for_no_more_than_a_slice_of_each_long_one() -> None:
    clock = Clock()
    machine = Machine(clock, 1)
    ended_s: list[float] = []
    Process(machine).do(1.0, lambda: None)
    clock.after(0.1, Process(machine).do, 0.001, lambda: ended_s.append(clock.now_s))
    clock.run()
    assert ended_s[0] <= 0.1 + SLICE_S + 0.001 + 1e-9


def test_a_slower_machine_takes_longer_from_then_on() -> None:
    clock = Clock()
    machine = Machine(clock, 1)
    ended_s: list[float] = []

    def slow_down() -> None:
        machine.speed = 0.5

    Process(machine).do(2.0, lambda: ended_s.append(clock.now_s))
    clock.after(1.0, slow_down)
    clock.run()
    assert ended_s == [pytest.approx(3.0, abs=SLICE_S)]


def test_being_idle_costs_after_the_last_piece() -> None:
    clock = Clock()
    process = Process(Machine(clock, 1), wake_s=1.0)
    ended_s: list[float] = []
    process.do(1.0, lambda: ended_s.append(clock.now_s))
    process.do(1.0, lambda: ended_s.append(clock.now_s))
    clock.after(2.5, process.do, 1.0, lambda: ended_s.append(clock.now_s))
    clock.run()
    # The third comes while the process becomes idle, and is done behind that.
    assert ended_s == pytest.approx([1.0, 2.0, 4.0])
    assert process.wakes == 1
    assert process.cpu_s == pytest.approx(5.0)


def test_pieces_vary_around_their_demand() -> None:
    clock = Clock()
    rng = random.Random(1)
    process = Process(Machine(clock, 1, lambda: rng.expovariate(1.0)))
    for _ in range(2000):
        process.do(0.001, lambda: None)
    clock.run()
    assert process.cpu_s == pytest.approx(2.0, rel=0.05)


def test_a_dead_process_does_nothing_more() -> None:
    clock = Clock()
    process = Process(Machine(clock, 1))
    done: list[str] = []
    process.do(1.0, done.append, "first")
    process.do(1.0, done.append, "second")
    clock.after(1.5, process.die)
    clock.run()
    process.do(1.0, done.append, "third")
    clock.run()
    assert done == ["first"]


def frames_of(gap_s: float, items: int) -> list[int]:
    """Sizes of the frames that a writer makes of items that come at this distance; a frame takes 10 ms."""
    clock = Clock()
    process = Process(Machine(clock, 1))
    frames: list[int] = []
    writer: Writer[int] = Writer(process, 0.01, lambda frame: frames.append(len(frame)))
    for number in range(items):
        clock.after(number * gap_s, process.do, 0.0, writer.send, number, 100)
    clock.run()
    assert sum(frames) == items
    return frames


def test_an_idle_stream_sends_each_item_alone() -> None:
    assert frames_of(0.02, 20) == [1] * 20


def test_a_busy_stream_sends_in_one_frame_what_came_meanwhile() -> None:
    frames = frames_of(0.001, 100)
    assert frames[0] == 1
    assert max(frames) >= 9
    assert len(frames) < 15


def test_after_a_crowded_frame_the_next_one_waits_for_company() -> None:
    clock = Clock()
    process = Process(Machine(clock, 1))
    left_s: list[float] = []
    writer: Writer[int] = Writer(process, 0.0, lambda _frame: left_s.append(clock.now_s), crowd_items=2)
    for at_s, items in ((0.0, 1), (0.1, 1), (0.2, 2), (0.2005, 1), (0.201, 1), (0.3, 1)):
        for number in range(items):
            clock.after(at_s, process.do, 0.0, writer.send, number, 100)
    clock.run()
    assert left_s == pytest.approx([0.0, 0.1, 0.2, 0.2 + CROWDED_S, 0.3])


def test_a_frame_has_the_products_bounds() -> None:
    assert max(frames_of(0.0, 1000)) == FRAME_ITEMS_MAX
