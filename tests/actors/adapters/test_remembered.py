import asyncio

import pytest

from actors.adapters.remembered import OUTLIVES_S, RETRY_S, Remembered, Room
from tests.fakes import FakeClock, turn_until


class Away(Exception):
    pass


class Asked:
    """Counts; answers when told to."""

    def __init__(self, answer: str | Exception | None = "a") -> None:
        self.answer = answer
        self.times = 0
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self) -> str | None:
        self.times += 1
        await self.may.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", ["a", None])
async def test_an_answer_is_kept_for_its_time_also_when_there_is_none(answer: str | None) -> None:
    clock, asked = FakeClock(), Asked(answer)
    kept: Remembered[str, str | None] = Remembered(clock, 10.0, Room(5), away=Away)
    assert [await kept.get("k", asked) for _ in range(3)] == [answer] * 3
    assert asked.times == 1
    clock.advance(10.0)
    assert await kept.get("k", asked) == answer
    assert asked.times == 2


async def test_a_failure_is_not_kept() -> None:
    kept: Remembered[str, str | None] = Remembered(FakeClock(), 10.0, Room(5), away=Away)
    with pytest.raises(OSError, match="gone"):
        await kept.get("k", Asked(OSError("gone")))
    assert await kept.get("k", Asked()) == "a"


async def test_those_who_wait_share_one_question_and_one_may_give_up() -> None:
    asked = Asked()
    asked.may.clear()
    kept: Remembered[str, str | None] = Remembered(FakeClock(), 10.0, Room(5), away=Away)
    waiting = [asyncio.create_task(kept.get("k", asked)) for _ in range(3)]
    await turn_until(lambda: asked.times == 1)
    waiting[0].cancel()
    asked.may.set()
    assert await asyncio.gather(*waiting[1:]) == ["a", "a"]
    assert asked.times == 1


async def test_closing_waits_for_what_is_asked() -> None:
    asked = Asked()
    asked.may.clear()
    kept: Remembered[str, str | None] = Remembered(FakeClock(), 10.0, Room(5), away=Away)
    waiting = asyncio.create_task(kept.get("k", asked))
    await turn_until(lambda: asked.times == 1)
    closing = asyncio.create_task(kept.close())
    asked.may.set()
    await closing
    assert waiting.done()
    assert await waiting == "a"


async def test_a_bound_holds_for_what_is_kept() -> None:
    kept: Remembered[int, str | None] = Remembered(FakeClock(), 10.0, Room(2), away=Away)
    asked = Asked()
    for key in (1, 2, 3, 1):
        await kept.get(key, asked)
    assert asked.times == 4


async def test_what_was_known_holds_while_the_service_is_away() -> None:
    clock, asked = FakeClock(), Asked("a")
    kept: Remembered[str, str | None] = Remembered(clock, 10.0, Room(5), away=Away)
    await kept.get("k", asked)
    asked.answer = Away("gone")
    clock.advance(10.0)
    assert [await kept.get("k", asked) for _ in range(3)] == ["a"] * 3
    assert asked.times == 2, "it is asked again now and then only"
    with pytest.raises(Away, match="gone"):
        await kept.get("other", asked)
    clock.advance(RETRY_S)
    asked.answer = "b"
    assert await kept.get("k", asked) == "b"
    asked.answer = Away("gone")
    clock.advance(10.0 + OUTLIVES_S)
    with pytest.raises(Away, match="gone"):
        await kept.get("k", asked)


async def test_what_was_known_outlives_its_time_by_an_hour() -> None:
    clock, asked = FakeClock(), Asked("a")
    kept: Remembered[str, str | None] = Remembered(clock, 86_400.0, Room(5), away=Away)
    await kept.get("k", asked)
    asked.answer = Away("gone")
    clock.advance(86_400.0 + OUTLIVES_S - 1)
    assert await kept.get("k", asked) == "a"
    clock.advance(RETRY_S)
    with pytest.raises(Away, match="gone"):
        await kept.get("k", asked)


async def test_a_failure_that_is_an_answer_ends_what_was_known_and_is_kept_for_seconds() -> None:
    clock, asked = FakeClock(), Asked("a")
    kept: Remembered[str, str | None] = Remembered(clock, 10.0, Room(5), away=Away, kept_failures=(OSError,))
    await kept.get("k", asked)
    asked.answer = OSError("no such")
    clock.advance(10.0)
    for _ in range(3):
        with pytest.raises(OSError, match="no such"):
            await kept.get("k", asked)
    assert asked.times == 2
    clock.advance(RETRY_S)
    asked.answer = "b"
    assert await kept.get("k", asked) == "b"


async def test_a_bound_holds_for_the_bytes_that_are_kept() -> None:
    kept: Remembered[int, str | None] = Remembered(
        FakeClock(), 10.0, Room(100, 10, lambda answer: len(answer or "")), away=Away
    )
    asked = Asked("four")
    for key in (1, 2, 3, 1, 3):
        await kept.get(key, asked)
    assert asked.times == 4


async def test_with_a_ttl_of_zero_each_asks_and_what_was_known_still_holds() -> None:
    asked = Asked("a")
    kept: Remembered[str, str | None] = Remembered(FakeClock(), 0.0, Room(5), away=Away)
    assert [await kept.get("k", asked) for _ in range(2)] == ["a", "a"]
    assert asked.times == 2
    asked.answer = Away("gone")
    assert await kept.get("k", asked) == "a"
