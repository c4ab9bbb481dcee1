"""The load of a chaos run: messages of known worth, sent by the milter protocol at a steady rate, whatever happens.

Strategy: open loop. Message n is due at n / rate and begins then; only when MESSAGES_OPEN_MAX are under way it has to
wait. Each is a milter connection of its own, as Postfix makes them, with a queue id that both ends know it by.
"""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.milter_load import make_unique
from bench.samples import CLIENT_IP, SampleMaker
from cli.edits import Mail
from cli.mail_file import prepare
from cli.mta import MtaOutcome, Timeouts, deliver
from cli.mta_stages import Client, Manner
from tests.chaos.ledger import Sent

CLAMD_ONLY = b"TAMIS-CHAOS-CLAMD-ONLY"
"""What the clamd of a chaos run knows as malware, and nobody else."""
BLOCKED = "blocked.example"
"""A sender's domain that only the gateway's local rules refuse, and only when the cluster is away."""
MESSAGES_OPEN_MAX = 2000
LARGE_BYTES = 3_000_000
LARGE_EVERY = 97
CLIENT = Client(ip=CLIENT_IP)
TIMEOUTS = Timeouts(connect_s=30.0, command_s=60.0, content_s=90.0, message_s=150.0)
"""Far above what is promised: what is late must be seen as late, not as lost."""


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


class Load:
    """Sends until it is stopped; `sent` grows as answers come."""

    def __init__(self, milters: Sequence[str], kinds: Sequence[Specimen], run: str) -> None:
        self.sent: list[Sent] = []
        self.lag_s = 0.0
        """The latest that this process was with a message: what it measures is not truer than that."""
        self._milters = milters
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

    async def _send(self) -> None:
        number = next(self._numbers)
        queue_id = f"{self._run}{number:06X}"
        kind = (
            self._kinds[-1] if number % LARGE_EVERY == LARGE_EVERY - 1 else self._kinds[number % (len(self._kinds) - 1)]
        )
        mail = make_unique(kind.mail, queue_id.encode())
        began_s = self.now_s
        manner = Manner(macros={b"i": queue_id.encode()})
        milter = self._milters[number % len(self._milters)]
        outcome = await deliver(milter, mail, CLIENT, manner, TIMEOUTS)
        self.sent.append(sent(queue_id, outcome, (began_s, self.now_s), kind, milter))


def sent(queue_id: str, outcome: MtaOutcome, times_s: tuple[float, float], kind: Specimen, milter: str) -> Sent:
    """What the ledger keeps of an outcome."""
    early = [step.wait_s for step in outcome.steps if step.command != "BODYEOB"]
    return Sent(
        queue_id=queue_id,
        began_s=times_s[0],
        ended_s=times_s[1],
        action="" if outcome.error else outcome.action,
        bytes=len(kind.mail.raw),
        harmful=kind.harmful,
        blocked=kind.blocked,
        milter=milter,
        waited_s=outcome.end_of_message_s,
        early_waited_s=max(early, default=0.0),
        scanned=bool(outcome.added(b"X-Spam-Status") and outcome.added(b"Authentication-Results")),
        degraded=outcome.added(b"X-Tamis-Degraded").decode(errors="replace"),
        unfiltered=outcome.added(b"X-Tamis-Unfiltered").decode(errors="replace"),
        reply=outcome.reply.decode(errors="replace"),
        error=outcome.error,
    )
