"""The resolver: caching and sharing with a name server in memory; test_dns_live.py asks one on loopback."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors.adapters.dns import Answer, DnsResolver
from actors.config import DnsConfig
from actors.ports import LookupFailed, NameNotFound
from tests.fakes import FakeClock, turn_until


class NameserverInMemory:
    """Answers from a table once `open` is set; what is not in it does not exist."""

    def __init__(self, table: dict[tuple[str, str], Answer] | None = None) -> None:
        self.table = table or {}
        self.questions: list[tuple[str, str]] = []
        self.closed = 0
        self.open = asyncio.Event()
        self.open.set()

    async def ask(self, name: str, kind: str) -> Answer:
        self.questions.append((name, kind))
        await self.open.wait()
        return self.table.get((name, kind)) or Answer(missing=NameNotFound(name, nxdomain=True))

    async def close(self) -> None:
        self.closed += 1


TABLE = {
    ("example.org", "TXT"): Answer((b"v=spf1 -all",), ttl_s=300.0),
    ("example.org", "A"): Answer(("192.0.2.1",), ttl_s=0.0),
    ("example.org", "MX"): Answer(((10, "mail.example.org"),), ttl_s=300.0),
    ("1.2.0.192.in-addr.arpa", "PTR"): Answer(("mail.example.org",), ttl_s=300.0),
    ("empty.example.org", "TXT"): Answer(missing=NameNotFound("empty.example.org", nxdomain=False)),
    ("broken.example.org", "TXT"): Answer(failed=LookupFailed("SERVFAIL")),
    ("forever.example.org", "TXT"): Answer((b"x",), ttl_s=2**31 - 1),
}


@pytest.fixture
def nameserver() -> NameserverInMemory:
    return NameserverInMemory(dict(TABLE))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def resolver(nameserver: NameserverInMemory, clock: FakeClock) -> AsyncIterator[DnsResolver]:
    resolver = DnsResolver(DnsConfig(negative_ttl_s=60), clock, nameserver)
    yield resolver
    await resolver.close()


async def test_each_type_comes_in_its_own_shape(resolver: DnsResolver) -> None:
    assert await resolver.txt("example.org") == [b"v=spf1 -all"]
    assert await resolver.addresses("example.org") == ["192.0.2.1"]
    assert await resolver.mx("example.org") == [(10, "mail.example.org")]
    assert await resolver.ptr("192.0.2.1") == ["mail.example.org"]


async def test_an_answer_is_asked_once_in_its_time_whatever_the_case(
    resolver: DnsResolver, nameserver: NameserverInMemory, clock: FakeClock
) -> None:
    await resolver.txt("example.org")
    clock.advance(299.0)
    await resolver.txt("EXAMPLE.ORG.")
    assert len(nameserver.questions) == 1

    clock.advance(1.0)
    await resolver.txt("example.org")
    assert len(nameserver.questions) == 2


async def test_a_ttl_of_zero_is_asked_every_time(resolver: DnsResolver, nameserver: NameserverInMemory) -> None:
    await resolver.addresses("example.org")
    await resolver.addresses("example.org")

    assert len(nameserver.questions) == 2


async def test_no_answer_stays_longer_than_a_day(
    resolver: DnsResolver, nameserver: NameserverInMemory, clock: FakeClock
) -> None:
    await resolver.txt("forever.example.org")
    clock.advance(86_400.0)
    await resolver.txt("forever.example.org")

    assert len(nameserver.questions) == 2


@pytest.mark.parametrize(
    ("records", "questions"),
    [((b"x" * 7000,), 1), ((b"x" * 8200,), 2), ((b"x",) * 1000, 2)],
)
async def test_a_long_answer_is_given_but_not_kept(
    resolver: DnsResolver, nameserver: NameserverInMemory, records: tuple[bytes, ...], questions: int
) -> None:
    nameserver.table["long.example.org", "TXT"] = Answer(records, ttl_s=300.0)
    for _ in range(2):
        assert await resolver.txt("long.example.org") == list(records)

    assert len(nameserver.questions) == questions


@pytest.mark.parametrize(("name", "nxdomain"), [("missing.example.org", True), ("empty.example.org", False)])
async def test_names_that_are_not_there_are_remembered_for_the_negative_ttl(
    resolver: DnsResolver, nameserver: NameserverInMemory, clock: FakeClock, name: str, *, nxdomain: bool
) -> None:
    for wait_s in (0.0, 59.0, 1.0):
        clock.advance(wait_s)
        with pytest.raises(NameNotFound) as caught:
            await resolver.txt(name)
        assert caught.value.nxdomain is nxdomain

    assert len(nameserver.questions) == 2


async def fails_at_once(resolver: DnsResolver, name: str) -> None:
    asking = asyncio.create_task(resolver.txt(name))
    with pytest.raises(LookupFailed):
        await asyncio.wait_for(asking, 1.0)


async def test_a_question_that_failed_is_not_asked_again_for_a_while_that_grows(
    resolver: DnsResolver, nameserver: NameserverInMemory, clock: FakeClock
) -> None:
    asked_at_s = []
    for second in range(100):
        await fails_at_once(resolver, "broken.example.org")
        await turn_until(lambda: not resolver._in_flight)
        if len(nameserver.questions) > len(asked_at_s):
            asked_at_s.append(second)
        clock.advance(1.0)

    assert asked_at_s == [0, 2, 6, 14, 30, 60, 90]


async def test_nobody_waits_for_the_question_that_looks_whether_a_dead_name_is_back(
    resolver: DnsResolver, nameserver: NameserverInMemory, clock: FakeClock
) -> None:
    await fails_at_once(resolver, "broken.example.org")
    clock.advance(2.0)
    nameserver.open.clear()
    for _ in range(3):
        await fails_at_once(resolver, "broken.example.org")
    assert len(nameserver.questions) == 2, "one at a time"

    nameserver.table["broken.example.org", "TXT"] = Answer((b"back",), ttl_s=300.0)
    nameserver.open.set()
    await turn_until(lambda: not resolver._in_flight)
    assert await resolver.txt("broken.example.org") == [b"back"]


async def test_a_failure_of_long_ago_says_nothing(
    resolver: DnsResolver, nameserver: NameserverInMemory, clock: FakeClock
) -> None:
    await fails_at_once(resolver, "broken.example.org")
    nameserver.table["broken.example.org", "TXT"] = Answer((b"back",), ttl_s=300.0)
    clock.advance(4.0)
    assert await resolver.txt("broken.example.org") == [b"back"]


async def test_a_failure_for_want_of_a_name_server_is_not_held_against_the_name(
    resolver: DnsResolver, nameserver: NameserverInMemory
) -> None:
    nameserver.table["broken.example.org", "TXT"] = Answer(failed=LookupFailed("nobody"), unasked=True)
    await fails_at_once(resolver, "broken.example.org")
    nameserver.table["broken.example.org", "TXT"] = Answer((b"back",), ttl_s=300.0)
    assert await resolver.txt("broken.example.org") == [b"back"]


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", ".org", "x" * 64 + ".org", "a." * 130 + "org", "bücher.de", "a b.de"]
)
async def test_names_that_cannot_exist_are_not_asked(
    resolver: DnsResolver, nameserver: NameserverInMemory, name: str
) -> None:
    with pytest.raises(NameNotFound) as caught:
        await resolver.txt(name)

    assert caught.value.nxdomain
    assert nameserver.questions == []


async def test_all_who_ask_at_the_same_time_share_one_question(
    resolver: DnsResolver, nameserver: NameserverInMemory
) -> None:
    answers = await asyncio.gather(*(resolver.txt("example.org") for _ in range(20)))

    assert answers == [[b"v=spf1 -all"]] * 20
    assert len(nameserver.questions) == 1


async def test_what_the_cache_knew_is_counted(resolver: DnsResolver, nameserver: NameserverInMemory) -> None:
    """Each question counts once: answered from the cache, by one that was under way, or by the network."""
    nameserver.open.clear()
    asking = [asyncio.create_task(resolver.txt("example.org")) for _ in range(3)]
    await turn_until(lambda: bool(nameserver.questions))
    nameserver.open.set()
    await asyncio.gather(*asking)
    await resolver.txt_each(["example.org", "Example.ORG", "broken.example.org", "missing.example.org"])
    await resolver.txt_each(["broken.example.org", "missing.example.org", "no..name"])
    assert resolver.counters() == {"dns_from_cache": 4, "dns_shared": 2, "dns_asked": 3, "dns_failed": 1}


async def test_a_cancelled_asker_takes_nothing_from_the_others(
    resolver: DnsResolver, nameserver: NameserverInMemory
) -> None:
    nameserver.open.clear()
    first = asyncio.create_task(resolver.txt("example.org"))
    second = asyncio.create_task(resolver.txt("example.org"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    nameserver.open.set()

    assert await second == [b"v=spf1 -all"]
    assert len(nameserver.questions) == 1


async def test_several_names_are_asked_before_the_first_answer(
    resolver: DnsResolver, nameserver: NameserverInMemory
) -> None:
    nameserver.open.clear()
    names = ["example.org", "none.example.org", "broken.example.org", "EXAMPLE.org", "no good name"]
    asking = asyncio.create_task(resolver.txt_each(names))
    await turn_until(lambda: len(nameserver.questions) == 3)
    nameserver.open.set()
    found, missing, failed, again, impossible = await asking
    assert (found, again) == ([b"v=spf1 -all"], [b"v=spf1 -all"])
    assert isinstance(missing, NameNotFound)
    assert isinstance(failed, LookupFailed)
    assert isinstance(impossible, NameNotFound)
    assert len(nameserver.questions) == 3
    assert list(await resolver.txt_each(["example.org", "none.example.org"])) == [[b"v=spf1 -all"], missing]
    assert len(nameserver.questions) == 3


async def test_one_who_asked_several_names_and_left_takes_nothing_from_the_others(
    resolver: DnsResolver, nameserver: NameserverInMemory
) -> None:
    nameserver.open.clear()
    leaving = asyncio.create_task(resolver.txt_each(["example.org"]))
    staying = asyncio.create_task(resolver.txt("example.org"))
    await turn_until(lambda: bool(nameserver.questions))
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    nameserver.open.set()
    assert await staying == [b"v=spf1 -all"]


async def test_the_answer_is_kept_even_when_nobody_waits_any_more(
    resolver: DnsResolver, nameserver: NameserverInMemory
) -> None:
    nameserver.open.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await resolver.txt("example.org")
    nameserver.open.set()

    assert await resolver.txt("example.org") == [b"v=spf1 -all"]
    assert await resolver.txt("example.org") == [b"v=spf1 -all"]
    assert len(nameserver.questions) == 1


async def test_the_cache_is_bounded(nameserver: NameserverInMemory, clock: FakeClock) -> None:
    resolver = DnsResolver(DnsConfig(cache_entries=10), clock, nameserver)
    for number in range(100):
        with pytest.raises(NameNotFound):
            await resolver.txt(f"{number}.example.org")

    assert len(resolver._cache) == 10


async def test_closing_ends_questions_in_flight_as_failures(
    resolver: DnsResolver, nameserver: NameserverInMemory
) -> None:
    nameserver.open.clear()
    asking = asyncio.create_task(resolver.txt("example.org"))
    asking_each = asyncio.create_task(resolver.txt_each(["example.org"]))
    await asyncio.sleep(0)
    await resolver.close()

    with pytest.raises(LookupFailed):
        await asking
    assert [type(answer) for answer in await asking_each] == [LookupFailed]
    await resolver.close()
    assert nameserver.closed == 2
