"""Real failovers under questions: a Sentinel's primary, a primary of a Cluster, a server that loads (E-5, E-6)."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis

from actors.adapters.redis_store import RedisStore
from actors.config import RedisConfig
from actors.ports import StoreUnavailable
from tests.live.redis_servers import Servers

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]
KEYS = [f"deny:{number}" for number in range(50)]
RECOVERY_S = 30.0


@pytest.fixture
def servers() -> Iterator[Servers]:
    with Servers() as running:
        yield running


class Asked:
    """Questions without a pause; every answer must be right."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self.outcomes: Counter[str] = Counter()
        self.worst_s = 0.0

    async def once(self) -> str:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        try:
            answers = await self._store.are_members([(key, [b"bad", b"good"]) for key in KEYS])
        except StoreUnavailable:
            outcome = "unavailable"
        else:
            outcome = "right" if answers == [[True, False]] * len(KEYS) else f"wrong: {answers}"
        self.worst_s = max(self.worst_s, loop.time() - started_s)
        self.outcomes[outcome] += 1
        return outcome

    async def until(self, outcome: str) -> None:
        async with asyncio.timeout(RECOVERY_S):
            while await self.once() != outcome:  # noqa: ASYNC110  a server has no event
                await asyncio.sleep(0.02)

    async def times(self, count: int) -> None:
        for _ in range(count):
            await self.once()


@asynccontextmanager
async def asked(url: str) -> AsyncIterator[Asked]:
    store = RedisStore(RedisConfig(url=url, timeout_s=0.5))
    questions = Asked(store)
    yield questions
    await store.close()
    assert set(questions.outcomes) <= {"right", "unavailable"}
    # One timeout, and what the machine needs besides.
    assert questions.worst_s < 2


def fill(client: "redis.Redis | redis.cluster.RedisCluster") -> None:
    for key in KEYS:
        client.sadd(key, "bad")


async def test_when_sentinels_name_another_primary_it_is_asked_within_seconds(servers: Servers) -> None:
    primary, replica, sentinel = servers.sentinel()
    fill(redis.Redis(port=primary.port))
    redis.Redis(port=primary.port).wait(1, 5000)
    async with asked(f"redis+sentinel://{sentinel.address}/mail") as questions:
        await questions.until("right")
        primary.kill()
        await questions.until("unavailable")
        await questions.until("right")
        assert b"role:master" in replica.ask("INFO", "replication")
        primary.start()
        await questions.times(100)
        assert (await questions.once()) == "right"


async def test_a_primary_that_hangs_is_left_too(servers: Servers) -> None:
    primary, _, sentinel = servers.sentinel()
    fill(redis.Redis(port=primary.port))
    redis.Redis(port=primary.port).wait(1, 5000)
    async with asked(f"redis+sentinel://{sentinel.address}/mail") as questions:
        await questions.until("right")
        primary.send_signal(signal.SIGSTOP)
        await questions.until("unavailable")
        await questions.until("right")
        primary.send_signal(signal.SIGCONT)
        await questions.times(100)
        assert (await questions.once()) == "right"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_cluster_goes_on_when_one_of_its_primaries_dies_or_hangs(
    servers: Servers, number: signal.Signals
) -> None:
    nodes = servers.cluster()
    cluster = redis.cluster.RedisCluster(host="127.0.0.1", port=nodes[0].port)
    fill(cluster)
    await asyncio.sleep(1)  # What was written reaches the replicas.
    async with asked(f"redis+cluster://{nodes[0].address},{nodes[1].address}") as questions:
        await questions.until("right")
        nodes[0].send_signal(number)
        await questions.until("unavailable")
        await questions.until("right")
        nodes[0].send_signal(signal.SIGCONT)
        await questions.times(100)
        assert (await questions.once()) == "right"


async def test_slots_that_move_are_followed(servers: Servers) -> None:
    nodes = servers.cluster()
    fill(redis.cluster.RedisCluster(host="127.0.0.1", port=nodes[0].port))
    await asyncio.sleep(1)
    async with asked(f"redis+cluster://{nodes[0].address}") as questions:
        await questions.until("right")
        # Its replica takes over from each primary, one after the other: every slot is elsewhere then.
        for node in nodes[3:]:
            node.ask("CLUSTER", "FAILOVER")
            await questions.times(20)
        await questions.until("right")
        await questions.times(100)
        assert (await questions.once()) == "right"


async def test_connections_do_not_grow_with_failures(servers: Servers) -> None:
    server = servers.start()
    fill(redis.Redis(port=server.port))
    async with asked(f"redis://{server.address}") as questions:
        await questions.until("right")
        for _ in range(3):
            server.send_signal(signal.SIGSTOP)
            await asyncio.gather(*(questions.once() for _ in range(50)))
            server.send_signal(signal.SIGCONT)
            await questions.until("right")
        info = redis.Redis(port=server.port).info("clients")
        assert info["connected_clients"] <= 10
