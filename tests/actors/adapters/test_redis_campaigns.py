import random
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import redis
import redis.asyncio

from actors.actor import Budget
from actors.adapters import redis_campaigns
from actors.adapters.clock import SystemClock
from actors.adapters.redis_campaigns import CANDIDATES_MAX, RedisCampaigns
from actors.classifier.campaigns.campaign import BAND_BYTES, SIGNATURE_BYTES, Campaign, Fingerprint
from actors.classifier.campaigns.campaigns import Campaigns
from actors.classifier.campaigns.config import CampaignConfig
from actors.classifier.campaigns.fingerprint import fingerprint
from actors.config import RedisConfig
from actors.model import Message, Outcome
from actors.ports import StoreUnavailable
from tests.actors.classifier.campaigns.mutations import MUTATIONS, mail, template
from tests.live.redis_servers import RedisProcess, Servers, until

pytestmark = pytest.mark.live
SCOPE = "shared"
SPAM = mail(template(1))
COPIES = [mail(mutate(template(1), random.Random(2))) for mutate in MUTATIONS.values()]
SHORT = mail("please see what is in the file that came".split())  # noqa: SIM905  a sentence
NOW_S = 1_800_000_000.0
Make = Callable[..., RedisCampaigns]


@pytest.fixture
def server() -> Iterator[RedisProcess]:
    process = RedisProcess()
    try:
        yield process.start()
    finally:
        process.remove()


@pytest.fixture
async def make(server: RedisProcess) -> AsyncIterator[Make]:
    made: list[RedisCampaigns] = []

    def store(**settings: object) -> RedisCampaigns:
        config = CampaignConfig(redis_prefix="t", **settings)  # type: ignore[arg-type]
        made.append(RedisCampaigns(RedisConfig(url=f"redis://{server.address}", timeout_s=10.0), config))
        return made[-1]

    yield store
    for one in made:
        await one.close()


def keys(server: RedisProcess) -> list[bytes]:
    with redis.Redis(port=server.port) as client:
        found: list[bytes] = client.keys()  # type: ignore[assignment]
    return found


def campaign(message: Message, number: int = 1, last_s: float = NOW_S) -> Campaign:
    return Campaign(f"{number:016x}", fingerprint(message), 0, last_s, last_s)


async def found(known: Campaigns, message: Message) -> list[Outcome]:
    return [finding.outcome for finding in await known.find(message, Budget.lasting(SystemClock(), 5))]


@pytest.mark.parametrize("message", [SPAM, SHORT], ids=["text", "little text"])
async def test_what_is_reported_comes_back_and_goes_again_without_a_trace(make, server, message):
    store = make()
    assert await store.report(SCOPE, campaign(message), b"m1") == 1
    assert await store.report(SCOPE, campaign(message, last_s=NOW_S + 9), b"m2") == 2
    assert await store.report(SCOPE, campaign(message, last_s=NOW_S + 9), b"m2") == 2
    kept = Campaign(f"{1:016x}", fingerprint(message), 2, NOW_S, NOW_S + 9)
    assert await store.near(SCOPE, fingerprint(message)) == [kept]
    assert await store.recent(SCOPE, 10) == [kept]
    assert await store.near("tenant=a", fingerprint(message)) == []
    assert await store.near(SCOPE, fingerprint(mail(template(8)))) == []
    assert await store.remove(SCOPE, [kept.id, "f" * 16]) == 1
    assert await store.near(SCOPE, fingerprint(message)) == []
    assert keys(server) == []


async def test_a_report_sets_the_end_of_every_key_anew(make, server):
    store, ttl_s = make(expire_days=3), 3 * 86_400
    for message in (b"m1", b"m2"):
        await store.report(SCOPE, campaign(SPAM), message)
        with redis.Redis(port=server.port) as client:
            left_s = {key: client.ttl(key) for key in keys(server)}
            assert len(left_s) == len(fingerprint(SPAM).keys) + 3
            assert all(ttl_s - 600 < seconds <= ttl_s for seconds in left_s.values()), left_s
            for key in left_s:
                client.expire(key, 1000)


async def test_what_nobody_reports_again_is_gone_after_its_time(make, server, monkeypatch):
    monkeypatch.setattr(redis_campaigns, "DAY_S", 1)
    store = make(expire_days=1)
    await store.report(SCOPE, campaign(SPAM), b"m1")
    until(lambda: keys(server) == [], "keys are left")
    assert await store.near(SCOPE, fingerprint(SPAM)) == []


async def test_two_nodes_see_within_seconds_what_one_was_told(make):
    here, there = (Campaigns(CampaignConfig(redis_prefix="t"), make(), SystemClock()) for _ in range(2))
    assert [await found(there, copy) for copy in COPIES] == [[]] * len(COPIES)
    reported_s = time.monotonic()
    await here.report(SPAM)
    assert [await found(there, copy) for copy in COPIES] == [[Outcome.HIT]] * len(COPIES)
    await there.forget(COPIES[0])
    assert [await found(here, copy) for copy in COPIES] == [[]] * len(COPIES)
    assert time.monotonic() - reported_s < 5


async def test_a_campaign_that_ends_leaves_the_keys_that_another_has_taken(make):
    store = make()
    for number in (1, 2):
        await store.report(SCOPE, campaign(SPAM, number), b"m")
    await store.remove(SCOPE, [f"{1:016x}"])
    assert [one.id for one in await store.near(SCOPE, fingerprint(SPAM))] == [f"{2:016x}"]


async def test_of_too_many_the_one_that_was_reported_longest_ago_makes_room(make, server):
    store = make(campaigns_max=3)
    for number in range(5):
        await store.report(SCOPE, campaign(mail(template(number)), number, NOW_S - abs(number - 1)), b"m")
    assert [one.id for one in await store.recent(SCOPE, 10)] == [f"{number:016x}" for number in (1, 2, 4)]
    before = len(keys(server))
    await store.remove(SCOPE, [f"{number:016x}" for number in range(5)])
    assert before > 3 * 40
    assert keys(server) == []


async def test_no_more_reports_are_told_apart_than_a_bound_says(make, monkeypatch):
    monkeypatch.setattr(redis_campaigns, "REPORTS_MAX", 3)
    store = make()
    assert [await store.report(SCOPE, campaign(SPAM), bytes([n])) for n in range(5)] == [1, 2, 3, 3, 3]


async def test_those_with_most_in_common_come_back_and_not_many(make):
    store, mark, noise = make(), fingerprint(SPAM), random.Random(1)
    begin = 0
    for shared in range(1, 9):
        end = begin + shared * BAND_BYTES
        before, behind = noise.randbytes(begin), noise.randbytes(SIGNATURE_BYTES - end)
        partial = Fingerprint(before + mark.signature[begin:end] + behind)
        await store.report(SCOPE, Campaign(f"{shared:016x}", partial, 0, NOW_S, NOW_S), b"m")
        begin = end
    assert [one.id for one in await store.near(SCOPE, mark)] == [f"{shared:016x}" for shared in (8, 7, 6, 5)]
    assert CANDIDATES_MAX == 4


async def test_what_others_wrote_there_is_not_believed(make, server):
    store = make()
    await store.report(SCOPE, campaign(SPAM), b"m")
    (record,) = (key for key in keys(server) if b"}:c" in key)
    with redis.Redis(port=server.port) as client:
        sound = client.hgetall(record)
        for field, value in ((b"s", b"short"), (b"s", b""), (b"e", b"x" * 16), (b"l", b"nan"), (b"f", b"x")):
            assert len(await store.near(SCOPE, fingerprint(SPAM))) == 1
            client.hset(record, field, value)
            assert await store.near(SCOPE, fingerprint(SPAM)) == []
            client.hset(record, mapping=sound)  # type: ignore[arg-type]
        client.delete(record)
    assert await store.near(SCOPE, fingerprint(SPAM)) == []
    assert await store.recent(SCOPE, 10) == []


async def test_a_server_that_is_away_costs_its_timeout_and_then_nothing(server):
    server.kill()
    config = CampaignConfig(redis_prefix="t")
    store = RedisCampaigns(RedisConfig(url=f"redis://{server.address}", timeout_s=0.2), config)
    began_s = time.monotonic()
    for _ in range(50):
        with pytest.raises(StoreUnavailable):
            await store.near(SCOPE, Fingerprint(exact=b"x" * 16))
    assert time.monotonic() - began_s < 2
    await store.close()


async def test_a_cluster_keeps_a_scope_together():
    with Servers() as servers:
        nodes = servers.cluster()
        url = f"redis+cluster://{nodes[0].address}"
        store = RedisCampaigns(RedisConfig(url=url, timeout_s=5.0), CampaignConfig(redis_prefix="t"))
        try:
            for scope in ("shared", "tenant=a/ü", "tenant="):
                assert await store.report(scope, campaign(SPAM), b"m") == 1
                assert len(await store.near(scope, fingerprint(COPIES[0]))) == 1
                assert await store.remove(scope, [f"{1:016x}"]) == 1
        finally:
            await store.close()
