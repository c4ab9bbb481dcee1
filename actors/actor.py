"""What an actor is, and the time it has.

An actor is a plain class that reports facts about a message. It holds no state between messages except caches,
knows neither Ray nor gRPC, asks the world only through the ports given to its constructor, and never decides.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from actors.model import Finding, Lookup, Message, Stage
from actors.ports import Clock, LookupFailed

DNS_QUESTIONS_MAX = 120
"""Of one actor about one message at one stage, answers from the cache included: five signatures and 50 ARC sets, or the
75 questions of SPF, or the eight names of each of seven DMARC walks."""
_SHARE_FOR_LOOKUPS = 0.9


@dataclass(slots=True)
class Budget:
    """The time one examination has, and the record of where it went.

    `deadline_s` is on the clock's monotonic scale; every timeout inside is min(own cap, what is left).
    """

    clock: Clock
    started_s: float
    deadline_s: float
    lookups: list[Lookup] = field(default_factory=list)
    dns_questions: int = 0

    @classmethod
    def lasting(cls, clock: Clock, budget_s: float) -> "Budget":
        """A budget of `budget_s` seconds from now."""
        now_s = clock.monotonic_s()
        return cls(clock, now_s, now_s + budget_s)

    @property
    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.deadline_s - self.clock.monotonic_s())

    def timeout(self, cap_s: float) -> asyncio.Timeout:
        """`async with budget.timeout(2.0):` raises TimeoutError after min(cap, what is left)."""
        return asyncio.timeout(min(cap_s, self.left_s))

    def lookup_timeout(self, cap_s: float) -> asyncio.Timeout:
        """The same for a wait whose end must still be reported: a part of what is left is kept for that."""
        return asyncio.timeout(min(cap_s, self.left_s * _SHARE_FOR_LOOKUPS))

    def ask_dns(self) -> None:
        """Count a question that is to be asked. Raises LookupFailed when there have been too many."""
        if self.dns_questions >= DNS_QUESTIONS_MAX:
            raise LookupFailed(f"more than {DNS_QUESTIONS_MAX} DNS questions about one message")
        self.dns_questions += 1

    def record(self, name: str, started_s: float, detail: str = "") -> None:
        """Note a wait for the outside world that began at `started_s` (monotonic) and has just ended."""
        now_s = self.clock.monotonic_s()
        self.lookups.append(Lookup(name, started_s - self.started_s, now_s - started_s, detail))


class Actor(Protocol):
    """One kind of judgement. Implementations are listed in actors/registry.py."""

    name: str
    """dkim, policy, classifier, antivirus or milter: the pool's name and `Finding.actor`."""
    stages: frozenset[Stage]
    """When it is asked; the message it gets holds what is known at that stage."""

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
        """Report facts. Raises nothing for anything the outside can send; lateness is cut off by the caller."""

    async def close(self) -> None:
        """Give back sockets and caches."""
