"""Tables that a service holds: OpenDKIM's order, one question, and a service that is away."""

import asyncio
import tracemalloc
from collections.abc import Sequence

import pytest

from actors.adapters.breaker import FAILURES_MAX
from actors.adapters.dkim_lookup import LookedUpTable, SourceDown
from actors.dkim.signing.tables import Address, Entry, NamedTable, SigningTables, TableUnavailable, parse_entries
from tests.fakes import FakeClock, turn_until

_SIGNING = """
* k0
joe@* k1
.com k2
joe@.example.com k5
Foo.Example.com k6:@%
joe@foo.example.com k7
"""
_KEYS = "\n".join(f"K{n} d{n}.example:s{n}:/keys/{n}" for n in range(9))


class FakeSource:
    """Rows in memory, in an order of their own; away when told."""

    name = "fake"

    def __init__(self, text: str = "") -> None:
        self._rows = parse_entries(text, "fake")[::-1]
        self.questions: list[Sequence[str]] = []
        self.trouble: str = ""
        self.closed = False

    async def rows(self, names: Sequence[str]) -> Sequence[Entry]:
        self.questions.append(names)
        await self._meet_trouble()
        return [row for row in self._rows if row.name in names]

    async def all_rows(self) -> Sequence[Entry]:
        await self._meet_trouble()
        return self._rows

    async def answers(self) -> bool:
        return not self.trouble

    async def close(self) -> None:
        self.closed = True

    async def _meet_trouble(self) -> None:
        if self.trouble == "silent":
            await asyncio.Event().wait()
        if self.trouble:
            raise SourceDown(self.trouble)


def table(source: FakeSource, timeout_s: float = 1.0, ttl_s: float = 60.0) -> LookedUpTable:
    return LookedUpTable(source, FakeClock(), timeout_s, ttl_s)


JOE = Address("joe", "foo.example.com")


@pytest.mark.parametrize(
    "author", [JOE, Address("ann", "foo.example.com"), Address("x", "y.org"), Address("joe", "z.com")]
)
@pytest.mark.parametrize("multiple", [True, False])
async def test_the_same_is_found_as_in_a_file(author: Address, multiple: bool) -> None:  # noqa: FBT001
    lower = _SIGNING.replace("Foo.E", "foo.e")
    looked_up = SigningTables(table(FakeSource(lower)), table(FakeSource(_KEYS.lower())), multiple)
    in_file = SigningTables(*(NamedTable(parse_entries(text, "t")) for text in (lower, _KEYS.lower())), multiple)
    assert await looked_up.requests(author) == await in_file.requests(author)


async def test_all_names_are_one_question_and_the_answer_is_kept() -> None:
    source = FakeSource(_SIGNING)
    found = table(source)
    first = await found.find(JOE.table_names())
    assert [entry.value for entry in first] == ["k7", "k5", "k2", "k1", "k0"]
    assert await found.find(JOE.table_names()) == first
    assert len(source.questions) == 1
    assert await found.find(["nobody"]) == []
    assert await found.find(["nobody"]) == []
    assert len(source.questions) == 2
    assert await found.find([]) == ()


async def test_names_are_asked_for_as_they_are_and_in_lower_case() -> None:
    source = FakeSource("K1 a\nk2 b")
    assert [entry.value for entry in await table(source).find(["K1", "K2"])] == ["a", "b"]


@pytest.mark.parametrize(("trouble", "reason"), [("OperationalError", "fake: OperationalError"), ("silent", "in time")])
async def test_a_service_that_is_away_is_an_error_in_time(trouble: str, reason: str) -> None:
    source = FakeSource(_SIGNING)
    source.trouble = trouble
    found = table(source, 0.01)
    for _ in range(2):
        with pytest.raises(TableUnavailable, match=reason):
            await found.find(["a.example"])
    assert len(source.questions) == 2, "a failure is not kept"
    source.trouble = ""
    assert await found.find(JOE.table_names())
    await found.close()
    assert source.closed


async def test_a_service_that_stays_away_is_not_asked_until_a_probe_has_an_answer() -> None:
    source = FakeSource(_SIGNING)
    source.trouble = "OperationalError"
    found = table(source)
    for number in range(FAILURES_MAX):
        with pytest.raises(TableUnavailable, match="OperationalError"):
            await found.find([f"a{number}.example"])

    def gives_up_at_once() -> bool:
        return found._guard.open

    await turn_until(gives_up_at_once)
    with pytest.raises(TableUnavailable, match="does not answer"):
        await found.find(["b.example"])
    assert len(source.questions) == FAILURES_MAX
    await found.close()


async def test_all_of_a_table_is_asked_for_anew() -> None:
    source = FakeSource("a k1\n")
    assert await table(source).entries() == [Entry("a", "k1")]
    source.trouble = "Gone"
    with pytest.raises(TableUnavailable, match="fake: Gone"):
        await table(source).entries()


async def test_strangers_whose_domains_have_many_labels_take_little_memory() -> None:
    found = table(FakeSource())
    found._source.rows = nothing  # type: ignore[method-assign]  FakeSource keeps the questions
    authors = [Address(f"{'l' * 50}{number:06d}", ".".join(["a"] * 127)) for number in range(100)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for author in authors:
        await found.find(author.table_names())
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / len(authors) < 2000


async def nothing(_: Sequence[str]) -> Sequence[Entry]:
    return []
