"""Commands to Redis or Valkey (6.2+) in pipelines, behind a breaker so that a server that is away costs nothing.

Every failure is StoreUnavailable: the caller reports it, and nothing waits longer than [redis] timeout_s. A server that
is merely slow costs one round trip and no queue: commands leave in pipelines, at once while a connection is free, else
with the next that is, all that came meanwhile together. So a process needs few connections however slow the server is.
They need no greeting (RESP2): a new one costs no further trip unless the URL has a password or a database.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from actors.adapters.breaker import Breaker, Guard
from actors.adapters.redis_client import Client, redis_client, reread_map
from actors.config import RedisConfig
from actors.ports import StoreUnavailable

CONNECTIONS_MAX = 8
"""Of one process: a command waits for an eighth of a round trip until one is free, on average."""
PIPELINE_MAX = 500
"""Commands in one pipeline."""

Command = Callable[[Any], object]
"""Adds one command to redis-py's pipeline; its keys are of one hash slot, so a Cluster may have them anywhere."""


class RedisPipelines:
    """Asks the server, the Sentinels' primary or the Cluster of a URL; connects when first asked."""

    def __init__(self, config: RedisConfig, client: Client | None = None, breaker: Breaker | None = None) -> None:
        """`config.url` must be set. Raises ValueError when it is no Redis URL."""
        self._timeout_s = config.timeout_s
        self._redis = client or redis_client(config)
        self._guard = Guard("redis", self._answers, config.timeout_s, breaker)
        self._waiting: deque[tuple[Command, asyncio.Future[Any]]] = deque()
        self._pipelines: set[asyncio.Task[None]] = set()
        self._mending: asyncio.Task[None] | None = None

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The answer to each. Raises StoreUnavailable."""
        if self._guard.open:
            raise StoreUnavailable("it does not answer")
        answers = [self._asked(command) for command in commands]
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.gather(*answers)
        except TimeoutError as error:
            raise StoreUnavailable("no answer in time") from error

    async def close(self) -> None:
        """Give back connections; commands under way end as failures."""
        await self._guard.close()
        for task in (*self._pipelines, self._mending):
            if task is not None:
                task.cancel()
        await asyncio.gather(*self._pipelines, return_exceptions=True)
        await self._redis.aclose()

    def _asked(self, command: Command) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if len(self._pipelines) < CONNECTIONS_MAX:
            pipeline = asyncio.create_task(self._send_waiting())
            self._pipelines.add(pipeline)
            pipeline.add_done_callback(self._pipelines.discard)
        return answer

    async def _send_waiting(self) -> None:
        """Send pipelines over one connection until nothing waits."""
        while batch := [self._waiting.popleft() for _ in range(min(PIPELINE_MAX, len(self._waiting)))]:
            try:
                answers = await self._pipelined([command for command, _ in batch])
            except (StoreUnavailable, asyncio.CancelledError) as error:
                told = error if isinstance(error, StoreUnavailable) else StoreUnavailable("the store was closed")
                for _, waiting in batch:
                    if not waiting.done():
                        waiting.set_exception(told)
                if told is not error:
                    raise
            else:
                for (_, waiting), answer in zip(batch, answers, strict=True):
                    if not waiting.done():
                        waiting.set_result(answer)

    async def _pipelined(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to one pipeline within the timeout. Raises StoreUnavailable."""
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            command(pipeline)
        try:
            async with asyncio.timeout(self._timeout_s):
                answers: list[Any] = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._guard.failed()
            self._mend()
            # The text of the error may hold the URL with its password.
            raise StoreUnavailable(type(error).__name__) from error
        self._guard.succeeded()
        return answers

    def _mend(self) -> None:
        """After a failure: a Cluster may have other primaries now."""
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._reread_map())

    async def _reread_map(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await reread_map(self._redis)

    async def _answers(self) -> bool:
        self._mend()
        try:
            await self._redis.ping()
        except (RedisError, OSError):
            return False
        return True
