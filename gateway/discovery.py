"""Where the ingresses are, kept up to date: what the config lists, and what SRV records say.

Strategy: each name is asked again when its TTL is over, within a floor and a ceiling. A look-up that fails, or an
answer that names nobody, leaves the last answer in force and is told once. Who asks the DNS is injected.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from gateway.balance import Place
from gateway.cells import CellConfig, SrvRecord, places, srv_names

ASK_AGAIN_MIN_S = 5.0
"""Also after a failure."""
ASK_AGAIN_MAX_S = 300.0
ENDPOINTS_MAX = 64
"""Of one name; the rest of an answer is left out."""

Lookup = Callable[[str], Awaitable[tuple[Sequence[SrvRecord], float]]]
"""The SRV records of a name and their TTL in seconds. Raises LookupFailed."""

log = logging.getLogger(__name__)


class LookupFailed(Exception):
    """There is no answer; the text says why, for the log."""


async def no_lookup(name: str) -> tuple[Sequence[SrvRecord], float]:
    """For cells that name nothing to look up."""
    raise LookupFailed(f"{name}: nobody to ask")


class Discovery:
    """Tells `changed` of all places whenever an answer changes them. `run` never ends by itself."""

    def __init__(
        self,
        cells: Sequence[CellConfig],
        lookup: Lookup,
        changed: Callable[[list[Place]], None],
        answers: Mapping[str, Sequence[SrvRecord]] | None = None,
    ) -> None:
        self.answers = dict(answers or {})
        """By name; from an earlier discovery, for the time until the first answer."""
        self._cells = cells
        self._lookup = lookup
        self._changed = changed

    @property
    def places(self) -> list[Place]:
        """What is known now."""
        return places(self._cells, self.answers)

    async def run(self) -> None:
        """Ask for every name, for ever; returns at once when there is none."""
        async with asyncio.TaskGroup() as tasks:
            for name in srv_names(self._cells):
                tasks.create_task(self._follow(name))

    async def _follow(self, name: str) -> None:
        told = ""
        while True:
            try:
                ttl_s = await self._ask(name)
            except LookupFailed as error:
                if told != (told := str(error)):
                    log.warning("lookup_failed", extra={"fields": {"name": name, "why": told}})
                ttl_s = ASK_AGAIN_MIN_S
            else:
                told = ""
            await asyncio.sleep(min(ASK_AGAIN_MAX_S, max(ASK_AGAIN_MIN_S, ttl_s)))

    async def _ask(self, name: str) -> float:
        """Learn what the DNS says now; returns for how long it holds, in seconds."""
        answer, ttl_s = await self._lookup(name)
        if not answer:
            raise LookupFailed("the answer names no ingress")
        records = sorted(answer, key=lambda record: (record.priority, record.target))[:ENDPOINTS_MAX]
        if records != self.answers.get(name):
            self.answers[name] = records
            log.info("ingresses_found", extra={"fields": {"name": name, "ingresses": [r.target for r in records]}})
            self._changed(self.places)
        return ttl_s
