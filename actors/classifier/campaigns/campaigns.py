"""Campaigns of reported spam: mail is compared with them, and reports of users and operators make and unmake them.

A message belongs to the campaign whose fingerprint is the most similar to its own, if that is similar enough. A report
of a message counts for the campaign that it belongs to, or begins one; forgetting a message ends every campaign that it
is similar to, on all nodes at once: that is for mail that was reported by mistake.
"""

import asyncio
import itertools
from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import xxhash

from actors.actor import Budget
from actors.classifier.campaigns.campaign import Campaign, Fingerprint
from actors.classifier.campaigns.config import CampaignConfig, Scope
from actors.classifier.campaigns.fingerprint import fingerprint, similarity
from actors.model import Direction, Envelope, ErrorKind, Finding, Message, Outcome, error_finding
from actors.ports import CampaignStore, Clock, StoreUnavailable

ACTOR: Final = "classifier"
NAME: Final = "campaign"
"""Of the finding."""
TENANTS_MAX: Final = 8
"""Of one message whose campaigns are asked about; together, in one round trip."""


class Match(msgspec.Struct, frozen=True):
    """A campaign that a message belongs to."""

    campaign: Campaign
    similarity: float


class Reported(msgspec.Struct, frozen=True):
    """What became of a report."""

    campaign: str
    """Its id."""
    reports: int
    """Different messages of it, this one among them."""
    similarity: float
    """To the message that was reported first: 1 for a campaign that begins with this one."""


class Campaigns:
    """Compares with what the store has, and adds to it. `find` is for the actor, the rest for commands and learning."""

    def __init__(self, config: CampaignConfig, store: CampaignStore, clock: Clock) -> None:
        """Makes the tables of the fingerprint ready, so that no message waits for them."""
        self._config = config
        self._store = store
        self._clock = clock
        fingerprint(Message(body="\u00e9".encode()))

    async def find(self, message: Message, budget: Budget) -> Sequence[Finding]:
        """The finding "campaign" of a message that belongs to one that was reported often enough; else none.

        Facts: campaign (id), similarity, reports. An error when the store does not answer in time.
        """
        began_s = self._clock.monotonic_s()
        mark = fingerprint(message)
        if not mark:
            return ()
        asked_s = self._clock.monotonic_s()
        try:
            async with budget.lookup_timeout(budget.left_s):
                matches = await self._matches(mark, self._scopes(message.envelope))
        except StoreUnavailable as error:
            return (error_finding(ACTOR, NAME, ErrorKind.UNREACHABLE, str(error)),)
        except TimeoutError:
            return (error_finding(ACTOR, NAME, ErrorKind.TIMEOUT),)
        finally:
            budget.record("redis", asked_s, NAME)
        counting = [match for match in matches if match.campaign.reports >= self._config.reports_min]
        ms = (self._clock.monotonic_s() - began_s) * 1000
        return [_finding(match, ms) for match in counting[:1]]

    async def matches(self, message: Message, tenant: str = "") -> Sequence[Match]:
        """The campaigns that a message is similar to, the most similar first. Raises StoreUnavailable."""
        mark = fingerprint(message)
        return await self._matches(mark, (self._scope(tenant),)) if mark else ()

    async def report(self, message: Message, tenant: str = "") -> Reported | None:
        """Somebody says that this is spam; the same bytes count once. None: there is too little text in it.

        Raises StoreUnavailable.
        """
        mark, scope = fingerprint(message), self._scope(tenant)
        if not mark:
            return None
        now_s = self._clock.unix_s()
        matches = await self._matches(mark, (scope,))
        match = matches[0] if matches else Match(Campaign(_id_of(mark), mark, 0, now_s, now_s), 1.0)
        campaign = msgspec.structs.replace(match.campaign, last_s=now_s)
        reports = await self._store.report(scope, campaign, _digest(message))
        return Reported(campaign.id, reports, match.similarity)

    async def forget(self, message: Message, tenant: str = "") -> Sequence[str]:
        """Somebody says that this is no spam: the ids of the campaigns that are no more. Raises StoreUnavailable."""
        ids = [match.campaign.id for match in await self.matches(message, tenant)]
        if ids:
            await self._store.remove(self._scope(tenant), ids)
        return ids

    async def end(self, tenant: str, ids: Sequence[str]) -> int:
        """End campaigns by their ids; how many of them there were. Raises StoreUnavailable."""
        return await self._store.remove(self._scope(tenant), ids)

    async def recent(self, tenant: str, count: int) -> Sequence[Campaign]:
        """So many at most that a tenant's mail is compared with, reported last first. Raises StoreUnavailable."""
        return await self._store.recent(self._scope(tenant), count)

    async def close(self) -> None:
        """Give back the store's connections."""
        await self._store.close()

    def _scope(self, tenant: str) -> str:
        return f"tenant={tenant}" if self._config.scope is Scope.TENANT else Scope.SHARED.value

    def _scopes(self, envelope: Envelope) -> Collection[str]:
        """Outbound mail is its sender's; any other belongs to all tenants of its recipients, as it is judged once."""
        if self._config.scope is Scope.SHARED or envelope.direction is Direction.OUTBOUND or not envelope.recipients:
            return (self._scope(envelope.tenant),)
        tenants = dict.fromkeys(recipient.tenant for recipient in envelope.recipients)
        return [self._scope(tenant) for tenant in itertools.islice(tenants, TENANTS_MAX)]

    async def _matches(self, mark: Fingerprint, scopes: Collection[str]) -> Sequence[Match]:
        near = itertools.chain(*await asyncio.gather(*(self._store.near(scope, mark) for scope in scopes)))
        compared = [Match(campaign, similarity(mark, campaign.fingerprint)) for campaign in near]
        similar = [match for match in compared if match.similarity >= self._config.similarity_min]
        return sorted(similar, key=lambda match: (-match.similarity, -match.campaign.reports, match.campaign.id))


def _finding(match: Match, ms: float) -> Finding:
    campaign, share = match.campaign, f"{match.similarity:.2f}"
    facts = {"campaign": campaign.id, "similarity": share, "reports": str(campaign.reports)}
    detail = f"{share} like campaign {campaign.id}, reported {campaign.reports} times"
    return Finding(ACTOR, NAME, Outcome.HIT, match.similarity, detail, ms, facts)


def _id_of(mark: Fingerprint) -> str:
    return xxhash.xxh3_64_hexdigest(mark.signature + mark.exact)


def _digest(message: Message) -> bytes:
    digest = xxhash.xxh3_64(message.header_block)
    digest.update(message.body)
    return digest.digest()
