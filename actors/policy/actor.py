"""The policy actor: envelope facts while the client types, DMARC and content facts at the end.

Each stage reports its facts once: SPF and the client's and sender's lists at ENVELOPE, recipient lists at RECIPIENT,
nothing at HEADERS (what DMARC needs of DNS is asked for, so that the caches are warm), the rest at MESSAGE. While the
MTA waits, at CONNECT, HELO, MAIL and RECIPIENT, every deny list is asked about what is known by then: an earlier
stage may not have been asked, or not have answered in time.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from actors.actor import Budget
from actors.config import JudgementConfig
from actors.decide.dmarc import applicable_policy
from actors.dkim.chosen import chosen_signatures, signing_domain
from actors.domains import ascii_domain
from actors.model import Direction, Envelope, ErrorKind, Finding, Message, Outcome, Stage, error_finding
from actors.policy.author import Authors, domain_of, read_authors
from actors.policy.dmarc import DISCOVERY_LIMIT_S, TREE_WALK, Organizations, discover, unanswered
from actors.policy.form import form_flaws
from actors.policy.gtube import has_gtube
from actors.policy.lists import AddressList, NameList, NetworkList, address_keys
from actors.policy.spf import DETAIL_CHARS_MAX, check_spf, is_for_anybody
from actors.policy.suffixes import PublicSuffixes
from actors.policy.timed import TimedResolver
from actors.ports import Clock, Counting, Resolver, Store, StoreUnavailable

_SHOWN_ASKED_MAX = 4
"""Domains that a From without one author domain may show: all of them are asked about (RFC 9989 section 11.5)."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one shared list is asked: whether it holds one of `members`."""

    name: str
    """Of the finding; the list's is the plural."""
    members: Sequence[str]
    facts: dict[str, str]
    """Of the finding."""


class PolicyActor:
    """Reports spf, spf_anybody, dmarc_record, gtube, lists, and of form from_*, shown_author and those of `form.py`."""

    name = "policy"
    stages = frozenset(Stage) - {Stage.SIGN}

    def __init__(self, config: JudgementConfig, resolver: Resolver, store: Store | None, clock: Clock) -> None:
        """Raises ValueError when a client list holds what is no address; `store` is asked only with a redis_prefix."""
        lists = config.policy.lists
        self._resolver = resolver
        self._store = store if lists.redis_prefix else None
        self._clock = clock
        self._redis_prefix = lists.redis_prefix
        public_suffixes = config.policy.dmarc_public_suffixes
        self._organizations: Organizations = PublicSuffixes() if public_suffixes else TREE_WALK
        self._rejects = config.policy.dmarc_reject
        self._guards = self._rejects or bool(lists.proven_authors)
        self._dkim = config.dkim
        self._clients = {
            "allow_client": NetworkList(lists.allow_clients),
            "deny_client": NetworkList(lists.deny_clients),
        }
        self._senders = {
            "allow_sender": AddressList(lists.allow_senders),
            "deny_sender": AddressList(lists.deny_senders),
        }
        self._authors = {
            "allow_author": AddressList(map(_author_entry, lists.allow_authors)),
            "proven_author": AddressList(map(_author_entry, lists.proven_authors)),
        }
        self._denied_helos = NameList(lists.deny_helos)
        self._denied_recipients = AddressList(lists.deny_recipients)

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
        """The facts of this stage; see the module's text."""
        match stage:
            case Stage.CONNECT | Stage.HELO | Stage.MAIL:
                return await self._denied_parties(message.envelope, budget)
            case Stage.ENVELOPE:
                return await self._envelope(message.envelope, budget)
            case Stage.RECIPIENT:
                return await self._recipient(message.envelope, budget)
            case Stage.HEADERS:
                await self._dmarc_record(message, read_authors(message), budget)  # for the caches; reported at MESSAGE
                return []
            case Stage.MESSAGE:
                return await self._message(message, budget)
            case Stage.SIGN:
                return []

    def counters(self) -> Mapping[str, int]:
        """The resolver's, if it counts."""
        return self._resolver.counters() if isinstance(self._resolver, Counting) else {}

    async def close(self) -> None:
        """Give back the ports' sockets."""
        await self._resolver.close()
        if self._store is not None:
            await self._store.close()

    async def _envelope(self, envelope: Envelope, budget: Budget) -> list[Finding]:
        """SPF and the lists; the store is asked while SPF asks DNS."""
        resolver = TimedResolver(self._resolver, budget)
        if self._store is None:
            return [*_spf_findings(await check_spf(envelope, resolver, budget)), *self._listed_here(envelope)]
        async with asyncio.TaskGroup() as group:
            listed = group.create_task(self._ask_store(_parties(envelope), budget))
            spf = await check_spf(envelope, resolver, budget)
        return [*_spf_findings(spf), *self._listed_here(envelope), *listed.result()]

    async def _denied_parties(self, envelope: Envelope, budget: Budget) -> list[Finding]:
        """What can refuse whoever sends; asked again at each stage, since SPF may keep the envelope's answer."""
        return self._denied_here(envelope) + await self._ask_store(_parties(envelope), budget)

    async def _recipient(self, envelope: Envelope, budget: Budget) -> list[Finding]:
        """All that can refuse this recipient."""
        if not envelope.recipients:
            return []
        address = _address_text(envelope.recipients[-1].address)
        denied = self._denied_here(envelope)
        entry = self._denied_recipients.match(address)
        questions = _parties(envelope)
        if entry is not None:
            denied.append(_listed("deny_recipient", entry, recipient=address))
        else:
            questions.append(Question("deny_recipient", [*address_keys(address)], {"recipient": address}))
        return denied + await self._ask_store(questions, budget)

    def _denied_here(self, envelope: Envelope) -> list[Finding]:
        return [finding for finding in self._listed_here(envelope) if not finding.name.startswith("allow_")]

    def _listed_here(self, envelope: Envelope) -> list[Finding]:
        """What the configured lists say of the client, of its HELO and of the envelope sender, as far as known."""
        findings = []
        ip, sender = envelope.client.ip, _address_text(envelope.sender)
        for name, networks in self._clients.items():
            entry = networks.match(ip)
            if entry is not None:
                findings.append(_listed(name, entry, ip=ip))
        helo = _address_text(envelope.client.helo)
        entry = self._denied_helos.match(helo)
        if entry is not None:
            findings.append(_listed("deny_helo", entry, helo=helo))
        for name, addresses in self._senders.items():
            entry = addresses.match(sender)
            if entry is not None:
                findings.append(_listed(name, entry, sender=sender, domain=domain_of(envelope.sender)))
        return findings

    async def _message(self, message: Message, budget: Budget) -> list[Finding]:
        findings = [Finding("policy", "gtube", Outcome.HIT)] if has_gtube(message.body) else []
        findings += form_flaws(message)
        authors = read_authors(message)
        if authors.flaw:
            findings.append(Finding("policy", authors.flaw, Outcome.HIT))
        for name, listed in self._authors.items():
            entry = listed.match(authors.domain)
            if entry is not None:
                findings.append(_listed(name, entry, domain=authors.domain))
        findings.append(await self._dmarc_record(message, authors, budget))
        if (authors.others or authors.truncated) and message.envelope.direction is Direction.INBOUND:
            findings += await self._shown(authors, budget)
        return findings

    async def _shown(self, authors: Authors, budget: Budget) -> list[Finding]:
        """The finding shown_author: From shows a domain that must not be shown unproven, and DMARC cannot judge it.

        One of `proven_authors`, unless the same entry covers the one author domain, which DMARC judges; or with
        `dmarc_reject`, when there is no one author domain, one that publishes reject (RFC 9989 section 11.5). Either
        may be among what was not read. A temperror when DNS does not tell.
        """
        proven = self._authors["proven_author"]
        judged = proven.match(authors.domain)
        for domain in authors.others:
            entry = proven.match(domain)
            if entry is not None and entry != judged:
                return [_listed("shown_author", entry, domain=domain)]
        if self._guards and authors.truncated:
            return [_shown_author(next(iter(authors.others), ""), "more than is read")]
        if self._rejects and not authors.domain:
            return await self._rejecting(authors.others, budget)
        return []

    async def _rejecting(self, shown: Sequence[str], budget: Budget) -> list[Finding]:
        """The same for one of these domains that publishes reject, or because they are too many to be asked about."""
        if len(shown) > _SHOWN_ASKED_MAX:
            return [_shown_author(shown[0], f"and {len(shown) - 1} other domains")]
        # Each in its own time: a stranger's slow name must not hide what another publishes.
        found = await asyncio.gather(*(self._discovered(domain, (), budget) for domain in shown))
        for record in found:
            if applicable_policy(record.facts) == "reject":
                return [_shown_author(record.facts["domain"], "publishes reject")]
        silent = (record for record in found if record.outcome is Outcome.TEMPERROR)
        return [_shown_author(record.facts["domain"], record.detail, Outcome.TEMPERROR) for record in silent][:1]

    async def _discovered(self, domain: str, identifiers: Sequence[str], budget: Budget) -> Finding:
        try:
            async with budget.lookup_timeout(DISCOVERY_LIMIT_S):
                return await discover(domain, identifiers, TimedResolver(self._resolver, budget), self._organizations)
        except TimeoutError:
            return unanswered(domain)

    async def _dmarc_record(self, message: Message, authors: Authors, budget: Budget) -> Finding:
        envelope = message.envelope
        if envelope.direction is not Direction.INBOUND:
            return Finding("policy", "dmarc_record", Outcome.SKIPPED, detail="not received from outside")
        author = authors.domain
        if not author:
            return Finding("policy", "dmarc_record", Outcome.PERMERROR, detail="not exactly one author domain")
        signatures = message.fields_by_name.get(b"dkim-signature", ())
        identifiers = {
            *(signing_domain(signatures[place][1]) for place in chosen_signatures(message, self._dkim)),
            domain_of(envelope.sender or envelope.client.helo),
        }
        found = await self._discovered(author, sorted(identifiers - {""}), budget)
        return msgspec.structs.replace(found, facts={**found.facts, "ambiguous": "yes"}) if authors.flaw else found

    async def _ask_store(self, questions: Sequence[Question], budget: Budget) -> list[Finding]:
        """A finding for each question whose shared set holds one of its members."""
        asked = [question for question in questions if any(question.members)]
        if self._store is None or not asked:
            return []
        started_s = self._clock.monotonic_s()
        keys = [(f"{self._redis_prefix}:{one.name}s", [member.encode() for member in one.members]) for one in asked]
        try:
            answers = await self._store.are_members(keys)
        except StoreUnavailable as error:
            return [error_finding("policy", one.name, ErrorKind.UNREACHABLE, str(error)) for one in asked]
        finally:
            budget.record("redis", started_s, ", ".join(one.name for one in asked))
        findings = []
        for question, held in zip(asked, answers, strict=True):
            entry = next((member for member, there in zip(question.members, held, strict=True) if there), None)
            if entry is not None:
                findings.append(_listed(question.name, entry, **question.facts))
        return findings


def _spf_findings(spf: Finding) -> Sequence[Finding]:
    return (spf, Finding("policy", "spf_anybody", Outcome.HIT, detail=spf.detail)) if is_for_anybody(spf) else (spf,)


def _parties(envelope: Envelope) -> list[Question]:
    """What the shared lists are asked about whoever sends."""
    ip, sender = envelope.client.ip, _address_text(envelope.sender)
    return [
        Question("deny_client", [ip], {"ip": ip}),
        Question("deny_sender", [*address_keys(sender)], {"sender": sender}),
    ]


def _listed(name: str, entry: str, **facts: str) -> Finding:
    return Finding("policy", name, Outcome.HIT, detail=f"listed as {entry}"[:DETAIL_CHARS_MAX], facts=facts)


def _author_entry(text: str) -> str:
    """An entry as author domains come: as A-labels."""
    return text if text.isascii() else ascii_domain(text.removeprefix("@"))


def _shown_author(domain: str, why: str, outcome: Outcome = Outcome.HIT) -> Finding:
    return Finding("policy", "shown_author", outcome, detail=why, facts={"domain": domain})


def _address_text(address: bytes) -> str:
    return address.decode("utf-8", "backslashreplace").lower()
