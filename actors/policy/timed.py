"""The Resolver of one examination: counts its questions, and notes for the trace how long each made us wait."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from actors.actor import Budget
from actors.ports import LookupFailed, Resolver, TxtAnswer

WAIT_S_MIN = 0.0005
"""A shorter wait was an answer from the cache and is not worth a span."""

R = TypeVar("R")


class TimedResolver:
    """Asks `resolver` as often as `budget` allows, and records the waits there as dns.query."""

    def __init__(self, resolver: Resolver, budget: Budget) -> None:
        self._resolver = resolver
        self._budget = budget

    async def txt(self, name: str) -> Sequence[bytes]:
        """See the port."""
        return await self._timed(lambda: self._resolver.txt(name), "TXT", name)

    async def txt_each(self, names: Sequence[str]) -> Sequence[TxtAnswer]:
        """See the port; they were asked at the same time, so they are one wait. Those beyond the limit have failed."""
        failed: list[TxtAnswer] = []
        asked: list[str] = []
        for name in names:
            try:
                self._budget.ask_dns()
                asked.append(name)
            except LookupFailed as error:
                failed.append(error)
        return [*await self._waiting(self._resolver.txt_each(asked), "TXT", " ".join(asked)), *failed]

    async def addresses(self, name: str, *, ipv6: bool = False) -> Sequence[str]:
        """See the port."""
        return await self._timed(lambda: self._resolver.addresses(name, ipv6=ipv6), "AAAA" if ipv6 else "A", name)

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        """See the port."""
        return await self._timed(lambda: self._resolver.mx(name), "MX", name)

    async def ptr(self, ip: str) -> Sequence[str]:
        """See the port."""
        return await self._timed(lambda: self._resolver.ptr(ip), "PTR", ip)

    async def close(self) -> None:
        """The resolver belongs to the actor, which closes it."""

    async def _timed(self, question: Callable[[], Awaitable[R]], kind: str, name: str) -> R:
        self._budget.ask_dns()
        return await self._waiting(question(), kind, name)

    async def _waiting(self, question: Awaitable[R], kind: str, name: str) -> R:
        started_s = self._budget.clock.monotonic_s()
        try:
            return await question
        finally:
            if self._budget.clock.monotonic_s() - started_s >= WAIT_S_MIN:
                self._budget.record("dns.query", started_s, f"{kind} {name}")
