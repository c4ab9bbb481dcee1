"""Fakes of the ports for tests of actors: a clock moved by hand, DNS from text, a store and a scanner in memory."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from actors.actor import Budget
from actors.adapters.zone import ZoneResolver, each_in_turn
from actors.ports import (
    LookupFailed,
    ScannerUnavailable,
    ScanResult,
    StoreUnavailable,
    TxtAnswer,
)

NOW_S = 1_767_225_600.0
"""2026-01-01T00:00:00Z: the time of fakes that were given none."""


class FakeClock:
    """Stands still until `advance`."""

    def __init__(self, unix_s: float = NOW_S) -> None:
        self._unix_s = unix_s
        self._monotonic_s = 1000.0

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def unix_s(self) -> float:
        return self._unix_s

    def advance(self, seconds: float) -> None:
        self._unix_s += seconds
        self._monotonic_s += seconds


class FakeResolver:
    """A ZoneResolver over text that counts its questions and fails for the names in `failing` ("*" = all)."""

    def __init__(self, zone: str = "", failing: Iterable[str] = ()) -> None:
        self._zone = ZoneResolver.from_text(zone)
        self._failing = frozenset(failing)
        self.questions: list[tuple[str, str]] = []
        self.rounds: list[list[str]] = []
        """Names that were asked at the same time."""
        self.closed = False

    async def txt(self, name: str) -> Sequence[bytes]:
        self._ask(name, "TXT")
        return await self._zone.txt(name)

    async def txt_each(self, names: Sequence[str]) -> Sequence[TxtAnswer]:
        self.rounds.append(list(names))
        return await each_in_turn(self.txt, names)

    async def addresses(self, name: str, *, ipv6: bool = False) -> Sequence[str]:
        self._ask(name, "AAAA" if ipv6 else "A")
        return await self._zone.addresses(name, ipv6=ipv6)

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        self._ask(name, "MX")
        return await self._zone.mx(name)

    async def ptr(self, ip: str) -> Sequence[str]:
        self._ask(ip, "PTR")
        return await self._zone.ptr(ip)

    async def close(self) -> None:
        self.closed = True

    def _ask(self, name: str, kind: str) -> None:
        self.questions.append((name, kind))
        if "*" in self._failing or name in self._failing:
            raise LookupFailed(name)


class FakeStore:
    """Sets in memory; `available = False` is a Redis that is away."""

    def __init__(self, sets: Mapping[str, Iterable[bytes]] | None = None) -> None:
        self._sets = {key: frozenset(members) for key, members in (sets or {}).items()}
        self.available = True
        self.asked = 0
        self.closed = False

    async def are_members(self, questions: Sequence[tuple[str, Sequence[bytes]]]) -> Sequence[Sequence[bool]]:
        self.asked += 1
        if not self.available:
            raise StoreUnavailable("away")
        return [[member in self._sets.get(key, ()) for member in members] for key, members in questions]

    async def close(self) -> None:
        self.closed = True


class FakeScanner:
    """Says what `judge` makes of the bytes: a signature, "" for clean, None for an engine that is away."""

    def __init__(self, judge: Callable[[bytes], str | None] = lambda _: "") -> None:
        self._judge = judge
        self.scanned: list[bytes] = []
        self.closed = False

    async def scan(self, message: bytes) -> ScanResult:
        self.scanned.append(message)
        signature = self._judge(message)
        if signature is None:
            raise ScannerUnavailable("away")
        return ScanResult(signature)

    async def close(self) -> None:
        self.closed = True


async def turn_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until what runs beside the test has got so far. Raises TimeoutError."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  what is waited for knows no event
            await asyncio.sleep(0)


def budget(clock: FakeClock | None = None, seconds: float = 5.0) -> Budget:
    """A budget of so many seconds on a clock that stands still."""
    return Budget.lasting(clock or FakeClock(), seconds)
