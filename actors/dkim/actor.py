"""The DKIM actor: reads the signatures of a message, asks for their keys all at once, reports one fact for each.

At the headers stage it only asks for the keys, so that they are in the resolver's cache when the body has come. Mail
that is ours is signed instead, when it leaves: `MailSigner` says which that is.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from actors.actor import Budget
from actors.config import DkimConfig
from actors.dkim import dkimpy
from actors.dkim.arc import Chain, ChainError, read_chain, verify_chain
from actors.dkim.canonical import BodyHashes, Field
from actors.dkim.chosen import chosen_signatures
from actors.dkim.key import KeyRecordError, PublicKey, first_usable_key
from actors.dkim.signature import (
    Signature,
    SignatureError,
    address_text,
    domain_text,
    field_tags,
    parse_signature,
    selector_text,
)
from actors.dkim.verify import Evidence, Verified, coverage_problem, verify
from actors.dkim.vouching import vouched_author
from actors.domains import ascii_domains
from actors.model import KEY, NO_KEY, PLACE, TEST_KEY, VOUCHED, Finding, Message, Outcome, Stage
from actors.ports import Clock, Counting, LookupFailed, NameNotFound, Resolver

if TYPE_CHECKING:
    from actors.dkim.signing.signer import MailSigner

_UNIQUE_SIGNATURE_BYTES = 8
"""RFC 6008 section 3: header.b holds at least so many characters, and as many as make it unique."""
_SKIPPED_MAX = 20
_FACT_CHARS_MAX = 320
"""The longest mail address (RFC 5321 section 4.5.3.1: 64 + 1 + 255)."""

Keys = Mapping[str, PublicKey | Verified]
"""By key name: the key, or what its absence makes of every signature that needs it."""


class _Candidate(msgspec.Struct, frozen=True):
    """A DKIM-Signature field and what was read of it."""

    place: int
    """Which DKIM-Signature it is, from the top."""
    field: Field
    tags: Mapping[bytes, bytes]
    signature: Signature | Verified


class DkimActor:
    """Verifies DKIM signatures and ARC chains, or signs. Implements actors.actor.Actor."""

    name = "dkim"

    def __init__(
        self,
        config: DkimConfig,
        resolver: Resolver,
        clock: Clock,
        lookup_timeout_s: float = 2.0,
        signer: "MailSigner | None" = None,
    ) -> None:
        """Without `signer` all mail is verified, and nothing else."""
        dkimpy.install()
        self.stages = frozenset({Stage.HEADERS, Stage.MESSAGE} | ({Stage.SIGN} if signer else set()))
        self._signer = signer
        self._config = config
        self._resolver = resolver
        self._clock = clock
        self._lookup_timeout_s = lookup_timeout_s

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> tuple[Finding, ...]:
        """One finding `dkim` per signature ("none" without any), one finding `arc` when there are ARC fields.

        About signing what `MailSigner` finds; mail that is signed or left alone is not verified.
        """
        if self._signer is None:
            return await self._verified(stage, message, budget)
        if stage is Stage.SIGN:
            return await self._signer.sign(message, budget)
        plan = await self._signer.plan(stage, message, budget)
        verified = await self._verified(stage, message, budget) if plan.verifies else ()
        if stage is not Stage.MESSAGE:
            return ()
        further = await self._signer.goes_on(plan, message, verified, budget) if plan.verifies else ()
        return (*verified, *plan.findings, *further)

    async def _verified(self, stage: Stage, message: Message, budget: Budget) -> tuple[Finding, ...]:
        signatures = message.fields_by_name.get(b"dkim-signature", ())
        candidates = [_read(place, signatures[place]) for place in chosen_signatures(message, self._config)]
        chain = _chain_or_failure(message)
        names = {one.signature.key_name for one in candidates if isinstance(one.signature, Signature)}
        if isinstance(chain, Chain):
            names |= chain.key_names
        keys = await self._lookup(names, budget)
        if stage is not Stage.MESSAGE:
            return ()
        now_s = message.envelope.received_at_s or self._clock.unix_s()
        evidence = Evidence(message.fields_by_name, BodyHashes(message.body), now_s, self._config)
        unique = _unique_length([one.tags for one in candidates])
        findings = [
            Finding(
                "dkim",
                "dkim",
                judged.outcome,
                detail=judged.reason,
                facts=_facts(one.tags, unique) | {PLACE: str(one.place)} | ({KEY: judged.key} if judged.key else {}),
            )
            for one in candidates
            for judged in [_judge(one, keys, evidence)]
        ]
        findings += _unverified([one.place for one in candidates], len(signatures))
        if not findings:
            findings.append(Finding("dkim", "unsigned", Outcome.NONE, detail="no signature"))
        if chain is not None:
            findings.append(_judge_chain(chain, keys, evidence))
        return tuple(findings)

    def counters(self) -> Mapping[str, int]:
        """The resolver's, if it counts."""
        return self._resolver.counters() if isinstance(self._resolver, Counting) else {}

    async def close(self) -> None:
        """Give back the resolver's sockets, and the signer's."""
        await self._resolver.close()
        if self._signer is not None:
            await self._signer.close()

    async def _lookup(self, names: Iterable[str], budget: Budget) -> Keys:
        """Ask for all keys at the same time; each name gets a key or a verdict."""
        ordered = sorted(names)
        answers = await asyncio.gather(*(self._key(name, budget) for name in ordered))
        return dict(zip(ordered, answers, strict=True))

    async def _key(self, name: str, budget: Budget) -> PublicKey | Verified:
        started_s = budget.clock.monotonic_s()
        try:
            budget.ask_dns()
            async with budget.lookup_timeout(self._lookup_timeout_s):
                records = await self._resolver.txt(name)
            return first_usable_key(records)
        except NameNotFound:
            return Verified(Outcome.PERMERROR, "no key record", NO_KEY)
        except KeyRecordError as error:
            return Verified(Outcome.PERMERROR, str(error))
        except (LookupFailed, TimeoutError):
            return Verified(Outcome.TEMPERROR, "key lookup failed")
        finally:
            budget.record("dns.query", started_s, f"TXT {name}")


def _unverified(chosen: Sequence[int], count: int) -> list[Finding]:
    """One finding for each signature beyond the cap, up to a bound: thousands must cost nothing here and later."""
    skipped = count - len(chosen)
    if not skipped:
        return []
    detail = f"beyond the first {len(chosen)} signatures"
    places = islice((place for place in range(count) if place not in chosen), _SKIPPED_MAX)
    findings = [Finding("dkim", "dkim", Outcome.SKIPPED, detail=detail, facts={PLACE: str(place)}) for place in places]
    if skipped > _SKIPPED_MAX:
        more = f"{skipped - _SKIPPED_MAX} more signatures"
        findings.append(Finding("dkim", "unverified", Outcome.SKIPPED, detail=more))
    return findings


def _read(place: int, field: Field) -> _Candidate:
    tags: Mapping[bytes, bytes] = {}
    try:
        tags = field_tags(field[1])
        return _Candidate(place, field, tags, parse_signature(tags))
    except SignatureError as error:
        return _Candidate(place, field, tags, Verified(Outcome.PERMERROR, str(error)))


def _judge(candidate: _Candidate, keys: Keys, evidence: Evidence) -> Verified:
    signature = candidate.signature
    if isinstance(signature, Verified):
        return signature
    key = keys[signature.key_name]
    if isinstance(key, Verified):
        return key
    judged = verify(signature, key, candidate.field, evidence)
    if judged.outcome is Outcome.PASS:
        return coverage_problem(signature, evidence.fields, evidence.config) or judged
    if key.testing:
        return Verified(judged.outcome, f"{judged.reason} (the key is in test mode)", TEST_KEY)
    return judged


def _chain_or_failure(message: Message) -> Chain | Verified | None:
    try:
        return read_chain(message.fields_by_name)
    except ChainError as error:
        return Verified(Outcome.FAIL, str(error))


def _judge_chain(chain: Chain | Verified, keys: Keys, evidence: Evidence) -> Finding:
    if isinstance(chain, Verified):
        return Finding("dkim", "arc", chain.outcome, detail=chain.reason)
    found = {name: key for name in chain.key_names if isinstance(key := keys[name], PublicKey)}
    missing = [key for name in sorted(chain.key_names) if isinstance(key := keys[name], Verified)]
    if any(problem.outcome is Outcome.TEMPERROR for problem in missing):
        judged = Verified(Outcome.TEMPERROR, "key lookup failed")
    elif missing:
        judged = Verified(Outcome.FAIL, missing[0].reason)
    else:
        judged = verify_chain(chain, found, evidence)
    facts = {"header.d": chain.sealer, "sets": str(len(chain.seals))}
    if judged.outcome is Outcome.PASS and evidence.config.trusted_sealers:
        author = vouched_author(chain, ascii_domains(evidence.config.trusted_sealers))
        facts |= {VOUCHED: author} if author else {}
    return Finding("dkim", "arc", judged.outcome, detail=judged.reason, facts=facts)


def _facts(tags: Mapping[bytes, bytes], unique: int) -> dict[str, str]:
    """What Authentication-Results and DMARC need (RFC 8601 section 2.7.1, RFC 6008); only plain ASCII tags."""
    domain = domain_text(tags.get(b"d", b"")).lower()
    wanted = {
        "header.d": domain,
        "header.s": selector_text(tags.get(b"s", b"")),
        "header.a": domain_text(tags.get(b"a", b"")),
        "header.b": _signature_text(tags)[:unique].decode("ascii", "replace"),
        "header.i": address_text(tags.get(b"i", b"")) or (f"@{domain}" if domain else ""),
    }
    return {
        name: value
        for name, value in wanted.items()
        if value and len(value) <= _FACT_CHARS_MAX and value.isascii() and value.isprintable()
    }


def _unique_length(all_tags: list[Mapping[bytes, bytes]]) -> int:
    """How many characters of b= tell different signatures apart, at least eight."""
    texts = {_signature_text(tags) for tags in all_tags}
    for length in range(_UNIQUE_SIGNATURE_BYTES, _FACT_CHARS_MAX):
        if len({text[:length] for text in texts}) == len(texts):
            return length
    return _FACT_CHARS_MAX


def _signature_text(tags: Mapping[bytes, bytes]) -> bytes:
    return tags.get(b"b", b"").translate(None, b" \t\r\n")
