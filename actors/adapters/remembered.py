"""Answers of a service kept for a time, asked for once however many wait for them, and used on while it is away."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from actors.adapters.ttl_cache import TtlCache
from actors.ports import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

OUTLIVES_S = 3600.0
"""So long beyond its TTL an answer holds when the service cannot say another."""
RETRY_S = 5.0
"""So often at most it is asked meanwhile for the same."""


@dataclass(frozen=True, slots=True)
class _Answer(Generic[V]):
    """What was said, or the failure that is an answer; asked again from `until_s` on."""

    value: V | Exception
    until_s: float
    outlives_s: float
    """Until then it holds when the service cannot say."""


@dataclass(frozen=True, slots=True)
class Room(Generic[V]):
    """How many answers are kept, and of how many bytes together."""

    entries_max: int
    bytes_max: int = 0
    size_bytes: Callable[[V], int] = lambda _: 0
    """Of an answer; 0 = not counted."""


class Remembered(Generic[K, V]):
    """Answers as far as there is room, each for `ttl_s`; "there is none" is an answer, too."""

    def __init__(
        self,
        clock: Clock,
        ttl_s: float,
        room: Room[V],
        *,
        away: type[Exception],
        kept_failures: tuple[type[Exception], ...] = (),
    ) -> None:
        """`ask` raises `away` when the service cannot say; `kept_failures` are answers for RETRY_S."""
        self._clock = clock
        self._ttl_s = ttl_s
        self._away = away
        self._kept_failures = kept_failures
        self._size_bytes = room.size_bytes
        self._kept: TtlCache[K, _Answer[V]] = TtlCache(room.entries_max, room.bytes_max)
        self._asked: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """The answer that is kept or that `ask` gives. Raises what `ask` does, which has a bound of its own."""
        now_s = self._clock.monotonic_s()
        kept = self._kept.get(key, now_s)
        if kept is not None and now_s < kept.until_s:
            if isinstance(kept.value, Exception):
                raise type(kept.value)(str(kept.value))
            return kept.value
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
            before = self._kept.get(key, now_s) if isinstance(error, self._away) else None
            if before is not None and not isinstance(before.value, Exception):
                self._keep(key, replace(before, until_s=now_s + RETRY_S), now_s)
                return before.value
            if isinstance(error, self._kept_failures):
                self._keep(key, _Answer(error, now_s + RETRY_S, now_s + RETRY_S), now_s)
            raise
        else:
            now_s = self._clock.monotonic_s()
            until_s = now_s + self._ttl_s
            self._keep(key, _Answer(value, until_s, until_s + OUTLIVES_S), now_s)
            return value
        finally:
            del self._asked[key]

    def _keep(self, key: K, answer: _Answer[V], now_s: float) -> None:
        size_bytes = 0 if isinstance(answer.value, Exception) else self._size_bytes(answer.value)
        self._kept.put(key, answer, now_s, answer.outlives_s - now_s, size_bytes=size_bytes)


def _retrieve(task: asyncio.Task[V]) -> None:
    """All who waited may have gone; asyncio is not to complain of a failure that nobody saw."""
    if not task.cancelled():
        task.exception()
