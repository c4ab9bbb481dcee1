"""Counts judged messages for DMARC reports: in memory for a second, then in Redis, all that came meanwhile at once.

No message waits for it. A transaction that a gateway told two ingresses, since the first did not answer, counts once:
its id is claimed before. What does not fit in memory, and what Redis does not take, is dropped and counted; nothing is
told twice, so no message counts twice for that. A process that is killed takes at most FLUSH_S with it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Protocol

from actors.model import Message, Verdict
from actors.ports import Clock, ReportStore, StoreUnavailable
from actors.reports.config import DmarcReportConfig
from actors.reports.observe import observe
from actors.reports.row import Counts, Published, Row

FLUSH_S = 1.0
"""Flushes of few messages cost more of each: bench/dmarc_reports.py."""
ROWS_WAITING_MAX = 10_000
"""Distinct rows in memory between two flushes, about 1 kB each."""
MESSAGES_WAITING_MAX = 100_000
"""Their ids, about 60 bytes each."""

_log = logging.getLogger(__name__)


class Timer(Protocol):
    """What `call_later` gives back."""

    def cancel(self) -> None:
        """Do not call."""


CallLater = Callable[[float, Callable[[], None]], Timer]
_ByDomain = dict[str, tuple[Published, dict[Row, list[bytes]]]]
"""By Policy Domain, the transactions of each row."""


class Tally:
    """Note every judged message; `close` sends what is left."""

    def __init__(
        self,
        store: ReportStore,
        config: DmarcReportConfig,
        clock: Clock,
        call_later: CallLater,
    ) -> None:
        self.counted = 0
        """Messages that are in Redis."""
        self.dropped = 0
        """Messages that could not be counted."""
        self.replayed = 0
        """Transactions that were counted already."""
        self._store = store
        self._config = config
        self._clock = clock
        self._call_later = call_later
        self._waiting: dict[str, _ByDomain] = {}
        """By day."""
        self._rows = 0
        self._messages = 0
        self._timer: Timer | None = None
        self._flushing: asyncio.Task[None] | None = None

    def note(self, verdict: Verdict, message: Message) -> None:
        """Count a message whose verdict has left, if the owner of its author domain wants reports. Returns at once."""
        seen = observe(verdict, message)
        if seen is None or self._config.excludes(seen[0].domain):
            return
        published, row = seen
        by_domain = self._waiting.setdefault(day_of(self._clock.unix_s()), {})
        _, rows = by_domain.get(published.domain) or (published, dict[Row, list[bytes]]())
        if self._messages >= MESSAGES_WAITING_MAX or (row not in rows and self._rows >= ROWS_WAITING_MAX):
            self.dropped += 1
            return
        self._rows += row not in rows
        self._messages += 1
        rows.setdefault(row, []).append(message.envelope.transaction_id)
        by_domain[published.domain] = published, rows
        if self._timer is None:
            self._timer = self._call_later(FLUSH_S, self._begin_flush)

    async def close(self) -> None:
        """Send what waits, and give back connections."""
        if self._timer is not None:
            self._timer.cancel()
        if self._flushing is not None:
            await self._flushing
        await self.flush()
        await self._store.close()

    def _begin_flush(self) -> None:
        self._timer = None
        if self._flushing is not None and not self._flushing.done():
            self._timer = self._call_later(FLUSH_S, self._begin_flush)  # Redis is slow: what waits has a bound
            return
        self._flushing = asyncio.create_task(self.flush())

    async def flush(self) -> None:
        """Send what waits."""
        waiting, self._waiting, self._rows, self._messages = self._waiting, {}, 0, 0
        for day, by_domain in waiting.items():
            noted = [one for _, rows in by_domain.values() for row in rows.values() for one in row]
            try:
                fresh = iter(await self._store.claim(noted))
                counts = _counts(by_domain, fresh)
                messages = sum(sum(one.rows.values()) for one in counts.values())
                dropped = await self._store.add(day, counts) if counts else 0
            except StoreUnavailable as error:
                # Some of it may be there: it is not told again, since nothing may be counted twice.
                _log.warning("dmarc_counts_dropped messages=%d error=%s", len(noted), error)
                self.dropped += len(noted)
                continue
            self.replayed += len(noted) - messages
            self.dropped += dropped
            self.counted += messages - dropped


def _counts(by_domain: _ByDomain, fresh: Iterator[bool]) -> dict[str, Counts]:
    """How many transactions of each row are `fresh`, which is told in their order; rows and domains without one go."""
    counts = {}
    for domain, (published, rows) in by_domain.items():
        counted = {row: sum(next(fresh) for _ in transactions) for row, transactions in rows.items()}
        if any(counted.values()):
            counts[domain] = Counts(published, {row: messages for row, messages in counted.items() if messages})
    return counts


def day_of(unix_s: float) -> str:
    """The UTC day as reports name it: "20261122"."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y%m%d")
