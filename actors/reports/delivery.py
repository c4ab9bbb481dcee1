"""Sends the reports of a day: each to each of its addresses once, whatever happens in between.

An address is marked in the store as soon as it has the report: who is killed between the two sends that one again, with
the same id and file name, by which its reader knows it for a duplicate. One run at a time has the right to send the
reports of a day. Only who has it asks whether an address is marked, and keeps it while the server takes the mail, by
asking again every RENEW_S; a run that was killed loses it after HOLD_S.
"""

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from actors.ports import Clock, LookupFailed, ReportStore, Resolver, StoreUnavailable
from actors.reports.config import DmarcReportConfig
from actors.reports.destinations import Destination, destinations
from actors.reports.mail import make_mail
from actors.reports.report import Report

HOLD_S = 300.0
RENEW_S = 60.0
"""So often in HOLD_S that a Redis that is away for a while costs no right."""


class HeldError(Exception):
    """Another run has the right to send the reports of this day."""


class PostError(Exception):
    """The mail was not taken; the text is one line that says why."""


class Post(Protocol):
    """Takes mail. Raises PostError and nothing else."""

    async def send(self, sender: str, recipient: str, mail: bytes) -> None:
        """Hand one message over; it is delivered, or at least kept safe, when this returns."""


class Outcome(StrEnum):
    """What became of a report for one address."""

    SENT = "sent"
    ALREADY = "already"
    """It has the report from before."""
    REFUSED = "refused"
    """Nothing goes there, today or later."""
    FAILED = "failed"
    """Not now: another run will try again."""
    WOULD = "would send"
    """A dry run."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One address of one report."""

    address: str
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True, slots=True)
class Courier:
    """Everything that sending needs; without `post` nothing is sent nor marked."""

    config: DmarcReportConfig
    store: ReportStore
    resolver: Resolver
    clock: Clock
    holder: str
    """Who this run is; no other has the same."""
    post: Post | None = None
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One mail after the other, each marked before the next leaves, however many reports are delivered at a time."""

    async def deliver(self, report: Report) -> list[Delivery]:
        """Send a report wherever it is wanted and not yet there. Raises HeldError and StoreUnavailable."""
        await self._hold(report.day)
        try:
            wanted = await self._wanted(report.domain)
        except LookupFailed:
            return [Delivery("", Outcome.FAILED, "DNS gave no answer about the domain's record")]
        return [await self._send(report, self._allowed(one)) for one in wanted]

    async def _wanted(self, domain: str) -> tuple[Destination, ...]:
        """As the operator says, else as the domain's record does. Raises LookupFailed."""
        named = self.config.destinations.get(domain)
        if named is not None:
            return tuple(map(Destination, named))
        return await destinations(domain, self.resolver)

    def _allowed(self, one: Destination) -> Destination:
        if one.refused or one.address not in self.config.exclude_addresses:
            return one
        return Destination(one.address, refused="[dmarc_report] exclude_addresses")

    async def _send(self, report: Report, one: Destination) -> Delivery:
        if one.refused:
            return Delivery(one.address, Outcome.FAILED if one.later else Outcome.REFUSED, one.refused)
        async with self.sending:
            await self._hold(report.day)
            if one.address in await self.store.sent(report.day, report.domain):
                return Delivery(one.address, Outcome.ALREADY)
            if self.post is None:
                return Delivery(one.address, Outcome.WOULD)
            mail = make_mail(self.config, report, one.address, self.clock.unix_s())
            if len(mail) > self.config.mail_bytes_max:
                why = f"the mail has {len(mail)} bytes: [dmarc_report] mail_bytes_max"
                return Delivery(one.address, Outcome.REFUSED, why)
            try:
                await self._keep(report.day, self.post.send(self.config.contact, one.address, mail))
            except PostError as error:
                return Delivery(one.address, Outcome.FAILED, str(error))
            await self.store.mark_sent(report.day, report.domain, one.address)
        return Delivery(one.address, Outcome.SENT)

    async def _keep(self, day: str, answer: Awaitable[None]) -> None:
        """Keep the right to send until the server has answered. Raises PostError."""
        sending = asyncio.ensure_future(answer)
        try:
            while not (await asyncio.wait((sending,), timeout=RENEW_S))[0]:
                # What is on its way stays so: whether the right is lost for what follows shows before the next mail.
                with contextlib.suppress(StoreUnavailable):
                    await self.store.hold(day, self.holder, HOLD_S)
            await sending
        finally:
            sending.cancel()

    async def _hold(self, day: str) -> None:
        """Before it is asked who has the report already: nobody else may be sending it meanwhile."""
        if self.post is not None and not await self.store.hold(day, self.holder, HOLD_S):
            raise HeldError
