import asyncio
from collections.abc import Callable

import msgspec
import pytest

from actors.reports import tally as module
from actors.reports.tally import FLUSH_S, Tally, day_of
from tests.actors.reports.samples import CONFIG, DAY, PASSED, ROW, message, record, row, verdict
from tests.fakes import FakeClock, FakeReportStore, turn_until


class Timers:
    """Calls what is due when the test says so."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> "Timers":
        self.due.append((delay_s, call))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def ring(self) -> None:
        due, self.due = self.due, []
        for _, call in due:
            call()


class Bench:
    def __init__(self, **config: object) -> None:
        self.clock, self.store, self.timers = FakeClock(), FakeReportStore(), Timers()
        settings = msgspec.structs.replace(CONFIG, **config)
        self.tally = Tally(self.store, settings, self.clock, self.timers.call_later)

    def note(self, ip: str = "192.0.2.1", transaction_id: bytes = b"") -> None:
        self.tally.note(verdict(*PASSED), message(ip, transaction_id=transaction_id))

    async def flush(self) -> None:
        self.timers.ring()
        told = self.tally.counted + self.tally.dropped
        await turn_until(lambda: self.tally.counted + self.tally.dropped > told)


async def test_what_is_alike_is_one_row_and_leaves_together_after_some_seconds() -> None:
    bench = Bench()
    for ip in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        bench.note(ip)
    assert not bench.store.days
    assert [delay_s for delay_s, _ in bench.timers.due] == [FLUSH_S]
    await bench.flush()
    assert bench.store.days[DAY]["example.org"].rows == {ROW: 2, row(source_ip="192.0.2.2"): 1}
    bench.note()
    await bench.flush()
    assert bench.store.days[DAY]["example.org"].rows[ROW] == 3
    assert (bench.tally.counted, bench.tally.dropped) == (4, 0)


async def test_a_message_counts_on_the_day_on_which_it_was_judged() -> None:
    bench = Bench()
    bench.note()
    bench.clock.advance(86_400)
    bench.note()
    await bench.flush()
    assert {day: kept["example.org"].rows for day, kept in bench.store.days.items()} == {
        DAY: {ROW: 1},
        "20260102": {ROW: 1},
    }


async def test_without_redis_counts_are_dropped_and_counted_and_nothing_else_happens() -> None:
    bench = Bench()
    bench.store.available = False
    bench.note()
    bench.note()
    await bench.flush()
    assert (bench.tally.counted, bench.tally.dropped) == (0, 2)
    bench.store.available = True
    bench.note()
    await bench.flush()
    assert bench.store.days[DAY]["example.org"].rows == {ROW: 1}, "what was dropped is not told later"


async def test_what_finds_no_room_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.store.room = 1
    monkeypatch.setattr(module, "ROWS_WAITING_MAX", 2)
    for number in range(4):
        bench.note(f"192.0.2.{number}")
    bench.note("192.0.2.0")
    assert bench.tally.dropped == 2
    await bench.flush()
    assert (bench.tally.counted, bench.tally.dropped) == (2, 3)


async def test_a_transaction_that_was_replayed_counts_once_for_all_ingresses() -> None:
    first, second = Bench(), Bench()
    second.store = first.store
    second.tally = Tally(first.store, CONFIG, second.clock, second.timers.call_later)
    first.note(transaction_id=b"a")
    await first.flush()
    second.note(transaction_id=b"a")
    second.note(transaction_id=b"b")
    second.note("192.0.2.2", transaction_id=b"b")
    await second.flush()
    assert first.store.days[DAY]["example.org"].rows == {ROW: 2}
    assert (first.tally.counted, second.tally.counted, second.tally.replayed, second.tally.dropped) == (1, 1, 2, 0)


async def test_replays_alone_are_no_counts() -> None:
    bench = Bench()
    bench.store.claimed = {b"a"}
    bench.note(transaction_id=b"a")
    bench.timers.ring()
    await turn_until(lambda: bench.tally.replayed == 1)
    assert not bench.store.days


async def test_so_many_messages_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(module, "MESSAGES_WAITING_MAX", 2)
    for _ in range(3):
        bench.note()
    assert bench.tally.dropped == 1
    await bench.flush()
    bench.note()
    await bench.flush()
    assert (bench.tally.counted, bench.tally.dropped) == (3, 1)


async def test_memory_is_bounded_again_after_each_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(module, "ROWS_WAITING_MAX", 1)
    bench.note("192.0.2.1")
    await bench.flush()
    bench.note("192.0.2.2")
    await bench.flush()
    assert (bench.tally.counted, bench.tally.dropped) == (2, 0)


async def test_a_slow_redis_is_not_asked_twice_at_a_time() -> None:
    bench = Bench()
    gate, calls = asyncio.Event(), 0
    add = bench.store.add

    async def slow(day: str, counts: object) -> int:
        nonlocal calls
        calls += 1
        await gate.wait()
        return await add(day, counts)  # type: ignore[arg-type]

    bench.store.add = slow  # type: ignore[method-assign, assignment]
    bench.note()
    bench.timers.ring()
    await turn_until(lambda: calls == 1)
    bench.note()
    bench.timers.ring()
    await asyncio.sleep(0)
    assert calls == 1
    assert len(bench.timers.due) == 1, "it is tried again later"
    gate.set()
    await bench.tally.close()
    assert bench.store.days[DAY]["example.org"].rows == {ROW: 2}
    assert bench.store.closed


async def test_closing_sends_what_waits() -> None:
    bench = Bench()
    bench.note()
    await bench.tally.close()
    assert bench.store.days[DAY]["example.org"].rows == {ROW: 1}
    assert bench.store.closed
    assert not bench.timers.due


@pytest.mark.parametrize(("excluded", "counted"), [("example.org", 0), ("org", 0), ("le.org", 1), ("x.example.org", 1)])
async def test_excluded_domains_are_not_counted(excluded: str, counted: int) -> None:
    bench = Bench(exclude_domains=(excluded,))
    bench.note()
    await bench.tally.close()
    assert bench.tally.counted == counted


async def test_the_policy_seen_last_is_told() -> None:
    bench = Bench()
    bench.note()
    bench.tally.note(verdict(record(p="none"), *PASSED[1:]), message())
    await bench.flush()
    assert bench.store.days[DAY]["example.org"].published.p == "none"


def test_a_day_is_a_utc_day() -> None:
    assert (day_of(1_767_225_599.9), day_of(1_767_225_600.0)) == ("20251231", "20260101")
