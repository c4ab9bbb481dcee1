"""The load of a chaos run: messages of known worth, sent at a steady rate, whatever happens.

Strategy: open loop. Message n is due at n / rate and begins then; only when MESSAGES_OPEN_MAX are under way it has to
wait. How a message travels is the site's own: by the milter protocol (by_milter.py), or by SMTP (by_smtp.py).
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.samples import SampleMaker
from cli.edits import Mail
from cli.mail_file import prepare
from tests.chaos.ledger import Sent

CLAMD_ONLY = b"TAMIS-CHAOS-CLAMD-ONLY"
"""What the clamd of a chaos run knows as malware, and nobody else."""
BLOCKED = "blocked.example"
"""A sender's domain that only the gateway's local rules refuse, and only when the cluster is away."""
MESSAGES_OPEN_MAX = 2000
LARGE_BYTES = 3_000_000
LARGE_EVERY = 97


@dataclass(frozen=True, slots=True)
class Specimen:
    """One kind of message."""

    mail: Mail
    harmful: bool
    blocked: bool = False


def specimens(maker: SampleMaker) -> list[Specimen]:
    """Three harmless and two harmful small ones, and last the large one."""
    samples = {sample.name: sample for sample in maker.samples()}
    to = [b"reader@recipient.example"]
    order, note, eicar = (samples[name] for name in ("signed order", "personal note", "EICAR attachment"))
    for_clamd = note.raw + b"\r\n" + CLAMD_ONLY + b"\r\n"
    line = b"A line of a large message that travels by way of the object store.\r\n"
    large = note.raw + line * (LARGE_BYTES // len(line))
    return [
        Specimen(prepare(order.raw, order.sender, to).as_mail(), harmful=False),
        Specimen(prepare(note.raw, note.sender, to).as_mail(), harmful=False),
        Specimen(prepare(eicar.raw, eicar.sender, to).as_mail(), harmful=True),
        Specimen(prepare(for_clamd, note.sender, to).as_mail(), harmful=True),
        Specimen(prepare(note.raw, b"someone@" + BLOCKED.encode(), to).as_mail(), harmful=False, blocked=True),
        Specimen(prepare(large, note.sender, to).as_mail(), harmful=False),
    ]


class Way(Protocol):
    """How messages reach the filter."""

    async def send(self, number: int, serial: str, kind: Specimen, now_s: Callable[[], float]) -> Sent:
        """The message of this serial, until it has an answer."""

    async def settled(self, sent: Sequence[Sent]) -> list[Sent]:
        """What became of them in the end, once all have an answer."""


class Load:
    """Sends until it is stopped; `sent` grows as answers come."""

    def __init__(self, way: Way, kinds: Sequence[Specimen], run: str) -> None:
        self.sent: list[Sent] = []
        self.lag_s = 0.0
        """The latest that this process was with a message: what it measures is not truer than that."""
        self._way = way
        self._kinds = kinds
        self._run = run
        self._numbers = itertools.count()
        self._began_s = time.monotonic()
        self._open: set[asyncio.Task[None]] = set()

    @property
    def now_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began_s

    async def at_rate(self, per_s: float) -> None:
        """Send so many messages a second until cancelled."""
        start_s = self.now_s
        for number in itertools.count():
            due_s = start_s + number / per_s
            if (wait_s := due_s - self.now_s) > 0:
                await asyncio.sleep(wait_s)
            self.lag_s = max(self.lag_s, self.now_s - due_s)
            while len(self._open) >= MESSAGES_OPEN_MAX:
                await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(self._send())
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def as_fast_as_it_goes(self, sessions: int, seconds: float) -> float:
        """Messages a second that so many sessions get through."""
        end_s, before = self.now_s + seconds, len(self.sent)

        async def session() -> None:
            while self.now_s < end_s:
                await self._send()

        began_s = self.now_s
        async with asyncio.TaskGroup() as group:
            for _ in range(sessions):
                group.create_task(session())
        return (len(self.sent) - before) / (self.now_s - began_s)

    async def over(self) -> None:
        """Wait for what is under way; every message has an answer, or a reason why not, by then."""
        while self._open:
            await asyncio.wait(self._open)
        self.sent = await self._way.settled(self.sent)

    async def _send(self) -> None:
        number = next(self._numbers)
        large = number % LARGE_EVERY == LARGE_EVERY - 1
        kind = self._kinds[-1] if large else self._kinds[number % (len(self._kinds) - 1)]
        self.sent.append(await self._way.send(number, f"{self._run}{number:06X}", kind, lambda: self.now_s))
