"""Tables, lists and keys of a running cell: what is in the files now, as far as it can be read.

A file is looked at once in a few seconds at most, in a thread, when mail asks: a slow disk holds nobody for longer than
`PATIENCE_S`. What has changed is read again, in a thread too, and all of it holds from the same moment on; answers and
keys that services gave stay. Where one of the tables can no longer be read the last good ones stay in force, and so do
the lists where one of them cannot: neither holds up the other. It is tried again when it changes; each such trouble is
one line in the log and one more for each hour that it lasts, its end another one.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from actors.adapters.dkim_files import KEYS_MAX, FileState, KeyFiles, file_state, files_of
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.options import key_is_path
from actors.dkim.signing.private_key import KeySource, PrivateKey, PrivateKeyError
from actors.dkim.signing.source import Signing
from actors.dkim.signing.tables import SigningTables, TableError, TableUnavailable
from actors.ports import Clock

log = logging.getLogger(__name__)

EVERY_S = 3.0
"""How often files are looked at."""
LISTS_S = 60.0
"""How often lists are asked for, changed or not: one may be where no file tells of a change."""
PATIENCE_S = 0.05
"""So long mail waits for a look at the files; then what was there before holds."""
TOLD_AGAIN_S = 3600.0
"""How often the log says the same while it lasts."""


class Opened(KeySource, Protocol):
    """Everything that [dkim.signing] names, opened."""

    tables: SigningTables

    async def refresh(self) -> None:
        """Read what has changed of the tables. Raises TableError."""

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
        self._known: Signing | None = None
        self._state: Sequence[FileState | None] = ()
        self._looked_s: float | None = None
        self._read_again_s = 0.0
        """From then on all is read, changed or not."""
        self._looking: asyncio.Task[None] | None = None
        self._problem = ""
        self._told_s = 0.0

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
        if self._opened is not None:
            await self._opened.close()

    async def _look(self) -> None:
        try:
            state = await asyncio.to_thread(_states, self._files)
            if state != self._state or self._clock.monotonic_s() >= self._read_again_s:
                pause_s = await self._read()
                self._state, self._read_again_s = state, self._clock.monotonic_s() + pause_s
        finally:
            self._looked_s = self._clock.monotonic_s()
            self._looking = None

    async def _read(self) -> float:
        """Read what has changed; in how many seconds again when nothing changes."""
        problems: list[TableError] = []
        rules = self._known.rules if self._known is not None else None
        try:
            if self._opened is None:
                # In a thread: a large table takes a second.
                self._keys.others = self._opened = await asyncio.to_thread(self._open)
            else:
                await self._opened.refresh()
        except TableError as error:
            problems.append(error)
        if self._opened is not None:
            try:
                rules = await self._opened.rules()
            except TableError as error:
                problems.append(error)
            if rules is not None:
                self._known = Signing(rules, self._opened.tables, self._keys)
        self._tell("; ".join(map(str, problems)))
        return EVERY_S if any(isinstance(one, TableUnavailable) for one in problems) else LISTS_S

    def _tell(self, problem: str) -> None:
        now_s = self._clock.monotonic_s()
        if problem and (problem != self._problem or now_s - self._told_s >= TOLD_AGAIN_S):
            log.error("signing_tables readable=no kept=%s: %s", self._known is not None, problem)
            self._told_s = now_s
        elif self._problem and not problem:
            log.warning("signing_tables readable=yes")
        self._problem = problem


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


def _states(files: Sequence[Path]) -> Sequence[FileState | None]:
    return [file_state(path) for path in files]
