"""Tables, lists and keys of a running cell: what is in the files now, as far as it can be read.

A file is looked at once in a few seconds at most, in a thread, when mail asks: a slow disk holds nobody for longer than
`PATIENCE_S`. When one of the tables and lists has changed, all are opened anew, so that they fit each other. What can
no longer be read leaves the last good state in force; each such trouble is one line in the log, its end another one.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from actors.adapters.dkim_files import KeyFiles, files_of
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.options import key_is_path
from actors.dkim.signing.private_key import KeySource, PrivateKey, PrivateKeyError
from actors.dkim.signing.source import Signing
from actors.dkim.signing.tables import SigningTables, TableError
from actors.ports import Clock

log = logging.getLogger(__name__)

EVERY_S = 3.0
"""How often files are looked at."""
LISTS_S = 60.0
"""How often lists are read, changed or not: one may be where no file tells of a change."""
PATIENCE_S = 0.05
"""So long mail waits for a look at the files; then what was there before holds."""
KEYS_MAX = 10_000
"""Keys in memory; the one that was looked at longest ago goes."""

State = Sequence[tuple[int, ...] | None]
"""Of each file what tells that it has changed; None for one that is not there."""


class Opened(KeySource, Protocol):
    """Everything that [dkim.signing] names, opened."""

    tables: SigningTables

    async def rules(self) -> SigningRules:
        """Who is signed for, read now. Raises TableError."""

    async def close(self) -> None:
        """Give back connections."""


Open = Callable[[], Opened]
"""Opens it: may take its time, and is called in a thread. Raises TableError."""


class WatchedSigning:
    """Implements actors.dkim.signing.source.SigningSource."""

    def __init__(self, config: SigningConfig, open_all: Open, clock: Clock) -> None:
        self._open = open_all
        self._clock = clock
        self._files = files_of(config)
        self._keys = WatchedKeys(KeyFiles(config.key_bits_min, require_safe=config.require_safe_keys), clock)
        self._opened: Opened | None = None
        self._stale: Opened | None = None
        """What was opened before: mail that is under way may still ask it, until the next look."""
        self._known: Signing | None = None
        self._state: State = ()
        self._looked_s: float | None = None
        self._lists_s = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._problem = ""

    async def current(self) -> Signing:
        """What holds now. Raises TableError when it could never be read."""
        now_s = self._clock.monotonic_s()
        if self._looking is None and (self._looked_s is None or now_s - self._looked_s >= EVERY_S):
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=PATIENCE_S if self._known is not None else None)
        if self._known is None:
            raise TableError(self._problem)
        return self._known

    async def close(self) -> None:
        """Give back what was opened."""
        for opened in (self._stale, self._opened):
            if opened is not None:
                await opened.close()

    async def _look(self) -> None:
        stale, self._stale = self._stale, None
        try:
            if stale is not None:
                await stale.close()
            state = await asyncio.to_thread(_state_of, self._files)
            changed = state != self._state or bool(self._problem) or self._known is None
            if changed or self._clock.monotonic_s() - self._lists_s >= LISTS_S:
                await self._read_again(anew=changed)
                self._state = state
        finally:
            self._looked_s = self._clock.monotonic_s()
            self._looking = None

    async def _read_again(self, *, anew: bool) -> None:
        before, opened = self._opened, self._opened
        try:
            if opened is None or anew:
                # In a thread: a large table takes a second.
                opened = await asyncio.to_thread(self._open)
            rules = await opened.rules()
        except TableError as error:
            if str(error) != self._problem:
                log.error("signing_tables readable=no kept=%s: %s", self._known is not None, error)  # noqa: TRY400
            self._problem = str(error)
            self._stale = opened if opened is not before else None
        else:
            if self._problem:
                log.warning("signing_tables readable=yes")
            self._problem, self._lists_s, self._opened = "", self._clock.monotonic_s(), opened
            self._keys.others = opened
            self._known = Signing(rules, opened.tables, self._keys)
            self._stale = before if opened is not before else None


class WatchedKeys:
    """A KeySource: keys in files, looked at once in a few seconds; one that can no longer be read is kept."""

    def __init__(self, files: KeyFiles, clock: Clock) -> None:
        self.others: KeySource = files
        """Asked for what is not in a file."""
        self._files = files
        self._clock = clock
        self._kept: dict[str, tuple[float, PrivateKey]] = {}
        """By the KeyTable's text: when the file was looked at, and what was there. The oldest first."""
        self._problems: set[str] = set()

    async def key(self, text: str) -> PrivateKey:
        """The key in the file of this path, or the key that `text` is. Raises PrivateKeyError."""
        if not key_is_path(text):
            return await self.others.key(text)
        now_s = self._clock.monotonic_s()
        kept = self._kept.get(text)
        if kept is not None and now_s - kept[0] < EVERY_S:
            return kept[1]
        try:
            key = await asyncio.to_thread(self._files.read, Path(text))
        except PrivateKeyError as error:
            if kept is None:
                raise
            key = kept[1]
            if text not in self._problems:
                log.error("signing_key readable=no kept=True: %s", error)  # noqa: TRY400  names the file
            self._problems.add(text)
        else:
            self._problems.discard(text)
        self._kept.pop(text, None)
        self._kept[text] = now_s, key
        if len(self._kept) > KEYS_MAX:
            del self._kept[next(iter(self._kept))]
        return key


def _state_of(files: Sequence[Path]) -> State:
    return [_state(path) for path in files]


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
