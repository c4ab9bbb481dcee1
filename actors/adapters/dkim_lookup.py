"""A Table of DKIM signing that a service holds: looked up name by name, never loaded, kept for a time.

What is asked for is what opendkim.conf(5) has for tables that are no patterns: all names under which a table may speak
of an author, in one question. A service that is away costs a few timeouts, then nothing (actors/adapters/breaker.py):
every look-up of what is not known fails at once until it is back, also when it has been away since the start. What is
known holds for an hour more (actors/adapters/remembered.py).
"""

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

from actors.adapters.breaker import Guard
from actors.adapters.remembered import Remembered, Room
from actors.dkim.signing.tables import Entry, TableUnavailable
from actors.ports import Clock

KEPT_MAX = 50_000
"""Answers that are kept of a table: the mail of strangers asks, too."""
KEPT_BYTES_MAX = 32 * 1024 * 1024
_ANSWER_BYTES = 512
"""What an answer takes beside its entries, with its place in the cache."""
_ENTRY_BYTES = 200
"""What an entry takes beside its text."""
WHOLE_TIMEOUT_S = 60.0
"""For commands that go through all of a table."""


class SourceDown(Exception):
    """The service has no answer; the text is the reason, without names of users, passwords or values."""


class TableSource(Protocol):
    """One table of a service. Raises SourceDown and nothing else."""

    name: str
    """For errors and the log."""

    async def rows(self, names: Sequence[str]) -> Sequence[Entry]:
        """What stands under these names, in any order; names in other case may come, too."""

    async def all_rows(self) -> Sequence[Entry]:
        """All of it."""

    async def answers(self) -> bool:
        """Whether the service answers at all."""

    async def close(self) -> None:
        """Give back connections."""


class LookedUpTable:
    """A Table over a source."""

    def __init__(self, source: TableSource, clock: Clock, timeout_s: float, ttl_s: float) -> None:
        self._source = source
        self._timeout_s = timeout_s
        self._found: Remembered[bytes, Sequence[Entry]] = Remembered(
            clock, ttl_s, Room(KEPT_MAX, KEPT_BYTES_MAX, _size_bytes), away=TableUnavailable
        )
        self._guard = Guard(source.name, source.answers, timeout_s)

    async def find(self, names: Sequence[str]) -> Sequence[Entry]:
        """What stands under these names, as they are or in lower case, in their order. Raises TableUnavailable."""
        # The names themselves would be the most of what is kept.
        digest = blake2b("\0".join(names).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return await self._found.get(digest, lambda: self._find(names)) if names else ()

    async def entries(self) -> Sequence[Entry]:
        """All of it, asked anew. Raises TableUnavailable."""
        try:
            async with asyncio.timeout(WHOLE_TIMEOUT_S):
                return await self._source.all_rows()
        except (SourceDown, TimeoutError) as error:
            raise TableUnavailable(f"{self._source.name}: {str(error) or 'no answer in time'}") from error

    async def close(self) -> None:
        """Give back connections, once those who wait have their answers."""
        await self._found.close()
        await self._guard.close()
        await self._source.close()

    async def _find(self, names: Sequence[str]) -> Sequence[Entry]:
        if self._guard.open:
            raise TableUnavailable(f"{self._source.name}: it does not answer")
        asked = list(dict.fromkeys(form for name in names for form in (name, name.lower())))
        try:
            async with asyncio.timeout(self._timeout_s):
                rows = await self._source.rows(asked)
        except (SourceDown, TimeoutError) as error:
            self._guard.failed()
            raise TableUnavailable(f"{self._source.name}: {str(error) or 'no answer in time'}") from error
        self._guard.succeeded()
        by_name: dict[str, Entry] = {}
        for row in rows:
            by_name.setdefault(row.name.lower(), row)
        return [by_name[name.lower()] for name in names if name.lower() in by_name]


def _size_bytes(entries: Sequence[Entry]) -> int:
    return _ANSWER_BYTES + sum(_ENTRY_BYTES + len(entry.name) + len(entry.value) for entry in entries)
