"""What actors may ask of the world. adapters/ answers in production, tests/fakes.py in tests.

A port that is not configured is None in the actor's constructor: its checks are then absent, not errors.
Every call takes its time from the caller's budget (asyncio.timeout around the await); ports add no retries of
their own beyond it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from actors.classifier.campaigns.campaign import Campaign, Fingerprint
from actors.reports.row import Counts


class Clock(Protocol):
    """Time, so that tests can hold it still."""

    def monotonic_s(self) -> float:
        """Seconds that only grow, for budgets and durations."""

    def unix_s(self) -> float:
        """Seconds since 1970, for stamps that leave the process."""


@runtime_checkable
class Counting(Protocol):
    """What counts what it does, for `tamis status`."""

    def counters(self) -> Mapping[str, int]:
        """By name, since it began. Who shares a port tells its counts, so equal names are the same count."""


@runtime_checkable
class Modelled(Protocol):
    """An actor that judges by a model, so that the same code may judge otherwise in the next generation."""

    model_version: str
    """Short, and another one for whatever judges otherwise."""


class NameNotFound(Exception):
    """The name exists nowhere (NXDOMAIN) or has no record of the type (NODATA)."""

    def __init__(self, name: str, *, nxdomain: bool) -> None:
        super().__init__(name)
        self.nxdomain = nxdomain


class LookupFailed(Exception):
    """DNS gave no answer now: SERVFAIL, timeout, refused, unreachable. A temperror, never "not found"."""


TxtAnswer = Sequence[bytes] | NameNotFound | LookupFailed
"""TXT records, or what `Resolver.txt` would have raised."""


class Resolver(Protocol):
    """DNS questions. Names are ASCII (A-labels), without a final dot, any case.

    Each raises NameNotFound or LookupFailed and nothing else; answers may come from a cache that honours TTLs.
    """

    async def txt(self, name: str) -> Sequence[bytes]:
        """TXT records; the strings of one record are joined without a separator (RFC 6376 section 3.6.2.2)."""

    async def txt_each(self, names: Sequence[str]) -> Sequence[TxtAnswer]:
        """`txt` of several names, all asked at the same time; raises nothing."""

    async def addresses(self, name: str, *, ipv6: bool = False) -> Sequence[str]:
        """A (or AAAA) records as text."""

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        """(preference, exchange) pairs."""

    async def ptr(self, ip: str) -> Sequence[str]:
        """Names of an address (reverse lookup)."""

    async def close(self) -> None:
        """Give back sockets."""


class StoreUnavailable(Exception):
    """The store is configured but does not answer now."""


class Store(Protocol):
    """Shared key-value state (Redis or Valkey). Raises StoreUnavailable and nothing else."""

    async def are_members(self, questions: Sequence[tuple[str, Sequence[bytes]]]) -> Sequence[Sequence[bool]]:
        """For each (key, members): which members are in the set of that key. All of it in one round trip."""

    async def close(self) -> None:
        """Give back connections."""


class ReportStore(Protocol):
    """What was counted for DMARC reports, by UTC day ("20261122"). Raises StoreUnavailable and nothing else."""

    async def claim(self, transactions: Sequence[bytes]) -> Sequence[bool]:
        """For each of these ids whether it is new since a minute at least; b"" always is."""

    async def add(self, day: str, counts: Mapping[str, Counts]) -> int:
        """Add to the counts of a day, by Policy Domain; how many messages found no room."""

    async def domains(self, day: str) -> Sequence[str]:
        """The Policy Domains of a day, sorted."""

    async def counts(self, day: str, domain: str) -> Counts | None:
        """What was counted on a day about one; None when it is gone, or cannot be read."""

    async def sent(self, day: str, domain: str) -> Sequence[str]:
        """The addresses that have this report."""

    async def mark_sent(self, day: str, domain: str, address: str) -> None:
        """This address has it."""

    async def hold(self, day: str, holder: str, for_s: float) -> bool:
        """Take, or keep, the right to send the reports of a day; False while another holder has it."""

    async def let_go(self, day: str, holder: str) -> None:
        """Give that right back."""

    async def close(self) -> None:
        """Give back connections."""


class CampaignStore(Protocol):
    """Campaigns of reported spam, by scope. Raises StoreUnavailable and nothing else."""

    async def near(self, scope: str, mark: Fingerprint) -> Sequence[Campaign]:
        """Those whose fingerprints have most keys in common with this one, not many. All of it in one round trip."""

    async def report(self, scope: str, campaign: Campaign, message: bytes) -> int:
        """Keep a campaign, as told at its `last_s`, with a message by its digest; how many messages it has then."""

    async def remove(self, scope: str, ids: Sequence[str]) -> int:
        """Forget these; how many of them there were."""

    async def recent(self, scope: str, count: int) -> Sequence[Campaign]:
        """So many at most, the one that was reported last first."""

    async def close(self) -> None:
        """Give back connections."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What an antivirus engine said: the signature's name, or "" for clean."""

    signature: str


class ScannerUnavailable(Exception):
    """The engine cannot be reached, refused the message or broke off; the text says which."""


class MessageTooLong(ScannerUnavailable):
    """The engine takes no message of this length, now or later."""


class Scanner(Protocol):
    """An antivirus engine that takes a whole message. Raises ScannerUnavailable and nothing else."""

    async def scan(self, message: bytes) -> ScanResult:
        """Scan the bytes of a message."""

    async def close(self) -> None:
        """Give back connections."""
