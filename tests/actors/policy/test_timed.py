from collections.abc import Sequence

import pytest

from actors.actor import DNS_QUESTIONS_MAX
from actors.policy.timed import TimedResolver
from actors.ports import LookupFailed, NameNotFound
from tests.fakes import FakeClock, FakeResolver, budget


class Slow(FakeResolver):
    """Every TXT question takes so long on a clock that is moved by hand."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds

    async def txt(self, name: str) -> Sequence[bytes]:
        self._clock.advance(self._seconds)
        return await super().txt(name)


async def test_a_wait_is_recorded_although_nothing_was_found() -> None:
    clock = FakeClock()
    spent = budget(clock)
    with pytest.raises(NameNotFound):
        await TimedResolver(Slow(clock, 0.02), spent).txt("x.example")
    (lookup,) = spent.lookups
    assert (lookup.name, lookup.detail) == ("dns.query", "TXT x.example")
    assert lookup.duration_s == pytest.approx(0.02)


async def test_questions_asked_at_the_same_time_are_one_wait() -> None:
    clock = FakeClock()
    spent = budget(clock)
    answers = await TimedResolver(Slow(clock, 0.02), spent).txt_each(["x.example", "y.example"])
    assert [type(answer) for answer in answers] == [NameNotFound, NameNotFound]
    assert [lookup.detail for lookup in spent.lookups] == ["TXT x.example y.example"]


async def test_an_answer_from_the_cache_is_no_wait() -> None:
    spent = budget()
    resolver = TimedResolver(FakeResolver("x.example A 192.0.2.1\nx.example MX 5 m.example"), spent)
    assert await resolver.addresses("x.example") == ["192.0.2.1"]
    assert await resolver.mx("x.example") == [(5, "m.example")]
    assert spent.lookups == []


async def test_questions_beyond_the_limit_fail_without_being_asked() -> None:
    resolver, limited = FakeResolver('a.example TXT "x"'), budget()
    asked = TimedResolver(resolver, limited)
    limited.dns_questions = DNS_QUESTIONS_MAX - 2
    first, *others = await asked.txt_each(["a.example", "b.example", "c.example"])
    assert first == [b"x"]
    assert [type(other) for other in others] == [NameNotFound, LookupFailed]
    for question in (
        asked.txt("d.example"),
        asked.mx("e.example"),
        asked.ptr("192.0.2.1"),
        asked.addresses("f.example"),
    ):
        with pytest.raises(LookupFailed, match="more than 120 DNS questions"):
            await question
    assert resolver.questions == [("a.example", "TXT"), ("b.example", "TXT")]
