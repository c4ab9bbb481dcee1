"""The resolver: caching and sharing with a name server in memory; c-ares against a name server on loopback."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors.adapters.dns import Answer, AresNameserver, DnsResolver
from actors.config import DnsConfig
from actors.ports import LookupFailed, NameNotFound
from bench.nameserver import Nameserver, txt_rdata
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


LONG_TEXT = b"v=DKIM1; p=" + b"A" * 3000
LIVE_ZONE = {
    ("example.org", "TXT"): ['"v=spf1 " "-all"', '"other"'],
    ("example.org", "A"): ["192.0.2.1", "192.0.2.2"],
    ("example.org", "AAAA"): ["2001:db8::1"],
    ("example.org", "MX"): ["10 mail.example.org."],
    ("silent.example.org", "MX"): ["0 ."],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["mail.example.org."],
    ("long.example.org", "TXT"): [txt_rdata(LONG_TEXT)],
}


@pytest.fixture
async def live_nameserver() -> AsyncIterator[Nameserver]:
    nameserver = Nameserver(LIVE_ZONE)
    await nameserver.start()
    yield nameserver
    nameserver.stop()


@pytest.mark.live
async def test_ares_reads_every_type_and_long_answers_over_tcp(live_nameserver: Nameserver) -> None:
    resolver = DnsResolver(DnsConfig(nameservers=(f"127.0.0.1:{live_nameserver.port}",)), FakeClock())
    assert sorted(await resolver.txt("example.org")) == [b"other", b"v=spf1 -all"]
    assert sorted(await resolver.addresses("example.org")) == ["192.0.2.1", "192.0.2.2"]
    assert await resolver.addresses("example.org", ipv6=True) == ["2001:db8::1"]
    assert await resolver.mx("example.org") == [(10, "mail.example.org")]
    assert await resolver.mx("silent.example.org") == [(0, ".")]
    assert await resolver.ptr("192.0.2.1") == ["mail.example.org"]
    assert await resolver.txt("long.example.org") == [LONG_TEXT]
    await resolver.close()


@pytest.mark.live
async def test_ares_tells_nxdomain_from_nodata(live_nameserver: Nameserver) -> None:
    nameserver = AresNameserver(DnsConfig(nameservers=(f"localhost:{live_nameserver.port}",)))
    missing = (await nameserver.ask("missing.example.net", "TXT")).missing
    empty = (await nameserver.ask("silent.example.org", "TXT")).missing
    await nameserver.close()

    assert missing is not None
    assert missing.nxdomain
    assert empty is not None
    assert not empty.nxdomain


@pytest.mark.live
async def test_a_name_server_that_is_silent_or_away_is_a_failure_within_the_cap() -> None:
    silent = Nameserver(LIVE_ZONE, delay_s=(60.0, 60.0))
    await silent.start()
    for server in (f"127.0.0.1:{silent.port}", "127.0.0.1:1"):
        nameserver = AresNameserver(DnsConfig(nameservers=(server,), timeout_s=0.2))
        async with asyncio.timeout(5.0):
            assert (await nameserver.ask("example.org", "TXT")).failed is not None
        await nameserver.close()
    silent.stop()


async def until(nameserver: AresNameserver, *, unasked: bool) -> None:
    """Ask until questions fail without being asked, or are asked again."""
    async with asyncio.timeout(5.0):
        while (await nameserver.ask("example.org", "A")).unasked is not unasked:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.live
async def test_when_no_name_server_answers_questions_fail_at_once_until_one_does() -> None:
    server = Nameserver(LIVE_ZONE, delay_s=(60.0, 60.0))
    await server.start()
    nameserver = AresNameserver(DnsConfig(nameservers=(f"127.0.0.1:{server.port}",), timeout_s=0.2))
    answers = await asyncio.gather(*(nameserver.ask(f"{number}.example.org", "A") for number in range(8)))
    assert not any(answer.unasked for answer in answers)
    await until(nameserver, unasked=True)
    began_s = asyncio.get_running_loop().time()
    for _ in range(100):
        assert (await nameserver.ask("example.org", "A")).unasked
    assert asyncio.get_running_loop().time() - began_s < 0.2

    server.delay_s = (0.0, 0.0)
    await until(nameserver, unasked=False)
    assert (await nameserver.ask("example.org", "A")).records
    await nameserver.close()
    server.stop()


@pytest.mark.live
async def test_a_dead_list_is_not_waited_for_and_nothing_else_fails() -> None:
    server = Nameserver(LIVE_ZONE, silent=("list.dead.example",))
    await server.start()
    nameserver = AresNameserver(DnsConfig(nameservers=(f"127.0.0.1:{server.port}",), timeout_s=0.2))
    for number in range(100):
        answer = await nameserver.ask(f"{number}.2.0.192.list.dead.example", "A")
        assert answer.failed
        if answer.unasked:
            break
    assert answer.unasked
    assert (await nameserver.ask("example.org", "A")).records
    assert (await nameserver.ask("other.dead.example", "A")).missing, "its parent's zone is well"

    server.silent = ()
    async with asyncio.timeout(5.0):
        while (await nameserver.ask("x.list.dead.example", "A")).unasked:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await nameserver.close()
    server.stop()


@pytest.mark.live
async def test_the_second_name_server_answers_when_the_first_is_dead_and_soon_without_a_wait(
    live_nameserver: Nameserver,
) -> None:
    silent = Nameserver(LIVE_ZONE, delay_s=(60.0, 60.0))
    await silent.start()
    servers = (f"127.0.0.1:{silent.port}", f"127.0.0.1:{live_nameserver.port}")
    nameserver = AresNameserver(DnsConfig(nameservers=servers, timeout_s=1.5))
    waits_s = []
    for _ in range(10):
        began_s = asyncio.get_running_loop().time()
        assert (await nameserver.ask("example.org", "A")).records
        waits_s.append(asyncio.get_running_loop().time() - began_s)
    assert sorted(waits_s)[7] < 0.4, waits_s
    await nameserver.close()
    silent.stop()


@pytest.mark.live
async def test_a_name_server_that_cannot_be_named_is_a_failure() -> None:
    nameserver = AresNameserver(DnsConfig(nameservers=("no-such-host.invalid:53",)))

    assert (await nameserver.ask("example.org", "TXT")).failed is not None
    await nameserver.close()


@pytest.mark.live
async def test_many_questions_at_once_open_one_channel(live_nameserver: Nameserver) -> None:
    nameserver = AresNameserver(DnsConfig(nameservers=(f"127.0.0.1:{live_nameserver.port}",)))
    answers = await asyncio.gather(*(nameserver.ask("example.org", "A") for _ in range(50)))
    await nameserver.close()

    assert all(answer.records for answer in answers)
