"""The resolver with c-ares against a name server on loopback; test_dns.py has its cache."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors.adapters.dns import AresNameserver, DnsResolver
from actors.config import DnsConfig
from bench.nameserver import Nameserver, txt_rdata
from tests.fakes import FakeClock

pytestmark = pytest.mark.live

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


async def test_ares_tells_nxdomain_from_nodata(live_nameserver: Nameserver) -> None:
    nameserver = AresNameserver(DnsConfig(nameservers=(f"localhost:{live_nameserver.port}",)))
    missing = (await nameserver.ask("missing.example.net", "TXT")).missing
    empty = (await nameserver.ask("silent.example.org", "TXT")).missing
    await nameserver.close()

    assert missing is not None
    assert missing.nxdomain
    assert empty is not None
    assert not empty.nxdomain


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


async def test_a_name_server_that_cannot_be_named_is_a_failure() -> None:
    nameserver = AresNameserver(DnsConfig(nameservers=("no-such-host.invalid:53",)))

    assert (await nameserver.ask("example.org", "TXT")).failed is not None
    await nameserver.close()


async def test_many_questions_at_once_open_one_channel(live_nameserver: Nameserver) -> None:
    nameserver = AresNameserver(DnsConfig(nameservers=(f"127.0.0.1:{live_nameserver.port}",)))
    answers = await asyncio.gather(*(nameserver.ask("example.org", "A") for _ in range(50)))
    await nameserver.close()

    assert all(answer.records for answer in answers)
