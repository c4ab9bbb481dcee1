"""The Store port over Redis or Valkey (6.2+), behind a breaker so that a server that is away costs nothing.

Every failure is StoreUnavailable: the caller reports it, and nothing waits longer than [redis] timeout_s. A server that
is merely slow costs one round trip and no queue: questions leave in pipelines, at once while a connection is free, else
with the next that is, all that came meanwhile together. So a process needs few connections however slow the server is.
They need no greeting (RESP2): a new one costs no further trip unless the URL has a password or a database. No command
names two keys, so a Cluster may have them anywhere.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence

from redis.exceptions import RedisError

from actors.adapters.breaker import Breaker, Guard
from actors.adapters.redis_client import Client, redis_client, reread_map
from actors.config import RedisConfig
from actors.ports import StoreUnavailable

CONNECTIONS_MAX = 8
"""Of one process: a question waits for an eighth of a round trip until one is free, on average."""
PIPELINE_MAX = 500
"""Questions in one pipeline."""

Question = tuple[str, Sequence[bytes]]
"""(key of a set, possible members)."""


class RedisStore:
    """Asks the server, the Sentinels' primary or the Cluster of a URL; connects when first asked."""

    def __init__(self, config: RedisConfig, client: Client | None = None, breaker: Breaker | None = None) -> None:
        """`config.url` must be set. Raises ValueError when it is no Redis URL."""
        self._timeout_s = config.timeout_s
        self._redis = client or redis_client(config)
        self._guard = Guard("redis", self._answers, config.timeout_s, breaker)
        self._waiting: deque[tuple[Question, asyncio.Future[list[int]]]] = deque()
        self._pipelines: set[asyncio.Task[None]] = set()
        self._mending: asyncio.Task[None] | None = None

    async def are_members(self, questions: Sequence[Question]) -> Sequence[Sequence[bool]]:
        """For each (key, members): which are in the set; a key that does not exist is an empty set."""
        if self._guard.open:
            raise StoreUnavailable("it does not answer")
        answers = [self._asked(question) for question in questions if question[1]]
        try:
            async with asyncio.timeout(self._timeout_s):
                found = iter(await asyncio.gather(*answers))
        except TimeoutError as error:
            raise StoreUnavailable("no answer in time") from error
        return [[bool(answer) for answer in next(found)] if members else [] for _, members in questions]

    async def close(self) -> None:
        """Give back connections; questions under way end as failures."""
        await self._guard.close()
        for task in (*self._pipelines, self._mending):
            if task is not None:
                task.cancel()
        await asyncio.gather(*self._pipelines, return_exceptions=True)
        await self._redis.aclose()

    def _asked(self, question: Question) -> asyncio.Future[list[int]]:
        answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if len(self._pipelines) < CONNECTIONS_MAX:
            pipeline = asyncio.create_task(self._send_waiting())
            self._pipelines.add(pipeline)
            pipeline.add_done_callback(self._pipelines.discard)
        return answer

    async def _send_waiting(self) -> None:
        """Send pipelines over one connection until nothing waits."""
        while batch := [self._waiting.popleft() for _ in range(min(PIPELINE_MAX, len(self._waiting)))]:
            try:
                answers = await self._pipelined([question for question, _ in batch])
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

    async def _pipelined(self, questions: Sequence[Question]) -> list[list[int]]:
        """The answers to one pipeline within the timeout. Raises StoreUnavailable."""
        pipeline = self._redis.pipeline(transaction=False)
        for key, members in questions:
            pipeline.smismember(key, list(members))
        try:
            async with asyncio.timeout(self._timeout_s):
                answers: list[list[int]] = await pipeline.execute()
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
