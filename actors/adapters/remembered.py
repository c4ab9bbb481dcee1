"""Answers of a service kept for a time, and asked for once however many wait for them."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from actors.adapters.ttl_cache import TtlCache
from actors.ports import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """At most `entries_max` answers; "there is none" is an answer too, what `ask` raises is not."""

    def __init__(self, clock: Clock, ttl_s: Callable[[V], float], entries_max: int) -> None:
        """`ttl_s` says how long an answer is kept."""
        self._clock = clock
        self._ttl_s = ttl_s
        self._kept: TtlCache[K, tuple[V]] = TtlCache(entries_max, entries_max)
        self._asked: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """The answer that is kept or that `ask` gives. Raises what `ask` does, which has a bound of its own."""
        kept = self._kept.get(key, self._clock.monotonic_s())
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
            self._kept.put(key, (value,), self._clock.monotonic_s(), self._ttl_s(value), size_bytes=1)
            return value
        finally:
            del self._asked[key]


def _retrieve(task: asyncio.Task[V]) -> None:
    """All who waited may have gone; asyncio is not to complain of a failure that nobody saw."""
    if not task.cancelled():
        task.exception()
