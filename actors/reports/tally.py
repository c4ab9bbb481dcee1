"""Counts judged messages for DMARC reports: in memory for some seconds, then in Redis, all that came meanwhile at once.

No message waits for it. What does not fit in memory, and what Redis does not take, is dropped and counted; nothing is
told twice, so no message counts twice for that. A process that is killed takes at most FLUSH_S with it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from actors.model import Message, Verdict
from actors.ports import Clock, ReportStore, StoreUnavailable
from actors.reports.config import DmarcReportConfig
from actors.reports.observe import observe
from actors.reports.row import Counts, Published, Row

FLUSH_S = 5.0
ROWS_WAITING_MAX = 10_000
"""Distinct rows in memory between two flushes, about 1 kB each."""

_log = logging.getLogger(__name__)


class Timer(Protocol):
    """What `call_later` gives back."""

    def cancel(self) -> None:
        """Do not call."""


CallLater = Callable[[float, Callable[[], None]], Timer]


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
        self._store = store
        self._excluded = tuple(f".{domain}" for domain in config.exclude_domains)
        self._clock = clock
        self._call_later = call_later
        self._waiting: dict[str, dict[str, tuple[Published, Counter[Row]]]] = {}
        self._rows = 0
        self._timer: Timer | None = None
        self._flushing: asyncio.Task[None] | None = None

    def note(self, verdict: Verdict, message: Message) -> None:
        """Count a message whose verdict has left, if the owner of its author domain wants reports. Returns at once."""
        seen = observe(verdict, message)
        if seen is None or f".{seen[0].domain}".endswith(self._excluded):
            return
        published, row = seen
        by_domain = self._waiting.setdefault(day_of(self._clock.unix_s()), {})
        _, rows = by_domain.get(published.domain) or (published, Counter[Row]())
        if row not in rows:
            if self._rows >= ROWS_WAITING_MAX:
                self.dropped += 1
                return
            self._rows += 1
        rows[row] += 1
        by_domain[published.domain] = published, rows
        if self._timer is None:
            self._timer = self._call_later(FLUSH_S, self._begin_flush)

    async def close(self) -> None:
        """Send what waits, and give back connections."""
        if self._timer is not None:
            self._timer.cancel()
        if self._flushing is not None:
            await self._flushing
        await self._flush()
        await self._store.close()

    def _begin_flush(self) -> None:
        self._timer = None
        if self._flushing is not None and not self._flushing.done():
            self._timer = self._call_later(FLUSH_S, self._begin_flush)  # Redis is slow: what waits has a bound
            return
        self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        waiting, self._waiting, self._rows = self._waiting, {}, 0
        for day, by_domain in waiting.items():
            counts = {domain: Counts(published, dict(rows)) for domain, (published, rows) in by_domain.items()}
            messages = sum(rows.total() for _, rows in by_domain.values())
            try:
                dropped = await self._store.add(day, counts)
            except StoreUnavailable as error:
                # Some of it may be there: it is not told again, since nothing may be counted twice.
                _log.warning("dmarc_counts_dropped messages=%d error=%s", messages, error)
                dropped = messages
            self.dropped += dropped
            self.counted += messages - dropped


def day_of(unix_s: float) -> str:
    """The UTC day as reports name it: "20261122"."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y%m%d")
