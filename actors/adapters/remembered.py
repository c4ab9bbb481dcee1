"""Answers of a service kept for a time, asked for once however many wait for them, and used on while it is away."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from actors.adapters.ttl_cache import TtlCache
from actors.ports import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

OUTLIVES_S = 3600.0
"""So long after it was given an answer holds when the service cannot say another."""
RETRY_S = 5.0
"""So often at most it is asked meanwhile for the same."""


class Remembered(Generic[K, V]):
    """At most `entries_max` answers, each for `ttl_s`; "there is none" is an answer, too."""

    def __init__(
        self,
        clock: Clock,
        ttl_s: float,
        entries_max: int,
        *,
        away: type[Exception],
        kept_failures: tuple[type[Exception], ...] = (),
    ) -> None:
        """`ask` raises `away` when the service cannot say; `kept_failures` are answers for RETRY_S."""
        self._clock = clock
        self._ttl_s = ttl_s
        self._away = away
        self._kept_failures = kept_failures
        self._kept: TtlCache[K, tuple[V] | Exception] = TtlCache(entries_max, entries_max)
        self._before: TtlCache[K, tuple[V]] = TtlCache(entries_max, entries_max)
        self._asked: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """The answer that is kept or that `ask` gives. Raises what `ask` does, which has a bound of its own."""
        kept = self._kept.get(key, self._clock.monotonic_s())
        if isinstance(kept, Exception):
            raise type(kept)(str(kept))
        if kept is not None:
            return kept[0]
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._ask(key, ask))
            task.add_done_callback(_retrieve)
        # Who gives up does not take the answer from the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for what is being asked: mail may still need it, and each question has a bound."""
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        try:
            value = await ask()
        except (self._away, *self._kept_failures) as error:
            now_s = self._clock.monotonic_s()
            before = self._before.get(key, now_s) if isinstance(error, self._away) else None
            if before is not None:
                self._kept.put(key, before, now_s, RETRY_S, size_bytes=1)
                return before[0]
            if isinstance(error, self._kept_failures):
                self._kept.put(key, error, now_s, RETRY_S, size_bytes=1)
            raise
        else:
            now_s = self._clock.monotonic_s()
            self._kept.put(key, (value,), now_s, self._ttl_s, size_bytes=1)
            self._before.put(key, (value,), now_s, OUTLIVES_S, size_bytes=1)
            return value
        finally:
            del self._asked[key]


def _retrieve(task: asyncio.Task[V]) -> None:
    """All who waited may have gone; asyncio is not to complain of a failure that nobody saw."""
    if not task.cancelled():
        task.exception()
