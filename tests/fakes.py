"""Fakes of the ports for tests of actors: a clock moved by hand, DNS from text, a store and a scanner in memory."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from actors.actor import Budget
from actors.adapters.zone import ZoneResolver, each_in_turn
from actors.classifier.campaigns.campaign import Campaign, Fingerprint
from actors.ports import (
    LookupFailed,
    ScannerUnavailable,
    ScanResult,
    StoreUnavailable,
    TxtAnswer,
)
from actors.reports.row import Counts

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


class FakeCampaignStore:
    """Campaigns in memory; `available = False` is a Redis that is away, `hangs` one that never answers."""

    def __init__(self) -> None:
        self.scopes: dict[str, dict[str, tuple[Campaign, set[bytes]]]] = {}
        self.available = True
        self.hangs = False
        self.asked = 0
        self.closed = False

    async def near(self, scope: str, mark: Fingerprint) -> Sequence[Campaign]:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        return [one for one in await self.recent(scope, 100) if set(one.fingerprint.keys) & set(mark.keys)]

    async def report(self, scope: str, campaign: Campaign, message: bytes) -> int:
        self._answer()
        _, messages = self.scopes.setdefault(scope, {}).get(campaign.id, (campaign, set()))
        self.scopes[scope][campaign.id] = (campaign, messages | {message})
        return len(messages | {message})

    async def remove(self, scope: str, ids: Sequence[str]) -> int:
        self._answer()
        return sum(self.scopes.get(scope, {}).pop(one, None) is not None for one in ids)

    async def recent(self, scope: str, count: int) -> Sequence[Campaign]:
        self._answer()
        kept = self.scopes.get(scope, {}).values()
        all_of_them = [msgspec.structs.replace(campaign, reports=len(messages)) for campaign, messages in kept]
        return sorted(all_of_them, key=lambda one: -one.last_s)[:count]

    async def close(self) -> None:
        self.closed = True

    def _answer(self) -> None:
        if not self.available:
            raise StoreUnavailable("away")


class FakeReportStore:
    """Counts in memory; `available = False` is a Redis that is away, `room` how many rows it takes."""

    def __init__(self) -> None:
        self.days: dict[str, dict[str, Counts]] = {}
        self.marks: dict[tuple[str, str], list[str]] = {}
        self.holder = ""
        self.available = True
        self.room = 1000
        self.closed = False
        self.claimed: set[bytes] = set()

    async def claim(self, transactions: Sequence[bytes]) -> Sequence[bool]:
        self._answer()
        answer = []
        for one in transactions:
            answer.append(not one or one not in self.claimed)
            self.claimed.add(one)
        return answer

    async def add(self, day: str, counts: Mapping[str, Counts]) -> int:
        self._answer()
        dropped = 0
        for domain, new in counts.items():
            kept = self.days.setdefault(day, {}).get(domain, Counts(new.published, {}))
            rows = dict(kept.rows)
            for row, messages in new.rows.items():
                if row in rows or len(rows) < self.room:
                    rows[row] = rows.get(row, 0) + messages
                else:
                    dropped += messages
            self.days[day][domain] = Counts(new.published, rows, kept.dropped + dropped)
        return dropped

    async def domains(self, day: str) -> Sequence[str]:
        self._answer()
        return sorted(self.days.get(day, {}))

    async def counts(self, day: str, domain: str) -> Counts | None:
        self._answer()
        return self.days.get(day, {}).get(domain)

    async def sent(self, day: str, domain: str) -> Sequence[str]:
        self._answer()
        return self.marks.get((day, domain), [])

    async def mark_sent(self, day: str, domain: str, address: str) -> None:
        self._answer()
        self.marks.setdefault((day, domain), []).append(address)

    async def hold(self, _day: str, holder: str, _for_s: float) -> bool:
        self._answer()
        self.holder = self.holder or holder
        return self.holder == holder

    async def let_go(self, _day: str, holder: str) -> None:
        self._answer()
        self.holder = "" if self.holder == holder else self.holder

    async def close(self) -> None:
        self.closed = True

    def _answer(self) -> None:
        if not self.available:
            raise StoreUnavailable("away")


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
