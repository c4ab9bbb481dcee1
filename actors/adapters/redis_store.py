"""The Store port over Redis or Valkey (6.2+), with a breaker so that a server that is away costs nothing.

Every failure is StoreUnavailable: the caller reports it, and nothing waits longer than [redis] timeout_s. After
`FAILURES_MAX` failures in a row no attempt is made for `PAUSE_S`; then one request tries again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from actors.adapters.clock import SystemClock
from actors.config import RedisConfig
from actors.ports import Clock, StoreUnavailable

FAILURES_MAX = 3
PAUSE_S = 1.0

R = TypeVar("R")


class Breaker:
    """Counts failures in a row and says whether an attempt is worth it; pure, the time is given."""

    def __init__(self, failures_max: int = FAILURES_MAX, pause_s: float = PAUSE_S) -> None:
        self._failures_max = failures_max
        self._pause_s = pause_s
        self._failures = 0
        self._closed_until_s = 0.0

    def allows(self, now_s: float) -> bool:
        """Whether to try now. After the pause one attempt is let through, the others wait for its result."""
        if self._failures < self._failures_max:
            return True
        if now_s < self._closed_until_s:
            return False
        self._closed_until_s = now_s + self._pause_s
        return True

    def succeeded(self) -> None:
        """The attempt had an answer."""
        self._failures = 0

    def failed(self, now_s: float) -> None:
        """The attempt had none."""
        self._failures += 1
        self._closed_until_s = now_s + self._pause_s


class RedisStore:
    """Asks one server by URL; connects when first asked."""

    def __init__(
        self, config: RedisConfig, clock: Clock | None = None, client: redis.asyncio.Redis | None = None
    ) -> None:
        """`config.url` must be set. Raises ValueError when it is no Redis URL."""
        self._timeout_s = config.timeout_s
        self._clock = clock or SystemClock()
        self._breaker = Breaker()
        self._redis = client or redis.asyncio.Redis.from_url(
            config.url,
            protocol=3,
            socket_timeout=config.timeout_s,
            socket_connect_timeout=config.timeout_s,
            retry=Retry(NoBackoff(), 0),
        )

    async def is_member(self, key: str, members: Sequence[bytes]) -> Sequence[bool]:
        """Which of `members` are in the set `key`; a key that does not exist is an empty set."""
        if not members:
            return []
        answers = await self._ask(lambda: cast("Awaitable[list[int]]", self._redis.smismember(key, list(members))))
        return [bool(answer) for answer in answers]

    async def close(self) -> None:
        """Give back connections."""
        await self._redis.aclose()

    async def _ask(self, command: Callable[[], Awaitable[R]]) -> R:
        """One command within the timeout and the breaker. Raises StoreUnavailable."""
        if not self._breaker.allows(self._clock.monotonic_s()):
            raise StoreUnavailable("paused after failures")
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await command()
        except (RedisError, OSError, TimeoutError) as error:
            self._breaker.failed(self._clock.monotonic_s())
            # The text of the error may hold the URL with its password.
            raise StoreUnavailable(type(error).__name__) from error
        self._breaker.succeeded()
        return answer
