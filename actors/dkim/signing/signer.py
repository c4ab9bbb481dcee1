"""What the dkim actor does about mail that is ours: decide when it comes, sign when it leaves.

At MESSAGE the decision is made and told (`plan`), the keys are brought into memory and the body is hashed, all while
other actors are at work. At SIGN the message comes as it leaves, with the finding of before instead of its body, and
the decision is made again: so any replica can sign, and neither keys nor where they are have to travel.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from actors.actor import Budget
from actors.dkim.canonical import BodyHashes
from actors.dkim.signing.author import AuthorError, author_of
from actors.dkim.signing.body_hash import BodyHashError, body_of, hash_facts
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import Decision, Disposition, decide_signing, decide_without_signing_table
from actors.dkim.signing.private_key import PrivateKeyError
from actors.dkim.signing.resign import claimed_domains, unvouched
from actors.dkim.signing.sign import Signer, SigningError, sign, signed_names
from actors.dkim.signing.source import Signing, SigningSource
from actors.dkim.signing.tables import SigningRequest, TableError, is_for_any_domain
from actors.model import (
    NO_FACTS,
    OURS,
    SEALING,
    SIGNATURE,
    SIGNING,
    UNVERIFIED,
    ErrorKind,
    Finding,
    Message,
    Outcome,
    Stage,
    error_finding,
)
from actors.ports import Clock

if TYPE_CHECKING:
    from actors.dkim.sealer import MailSealer

_LISTED_MAX = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with a message when it comes."""

    verifies: bool
    findings: tuple[Finding, ...] = ()
    resign_key: str = ""
    """The key of the KeyTable that signs it although it is not ours (ResignMailTo), if it is worth it."""
    resign_all: bool = False
    """It is, whatever its own signatures are worth, unless its author may be of the key's organization."""


class MailSigner:
    """Decides and signs, by what `source` says now."""

    def __init__(
        self, config: SigningConfig, source: SigningSource, clock: Clock, sealer: "MailSealer | None" = None
    ) -> None:
        """Without `sealer` nothing gets an ARC set."""
        self._sealer = sealer
        self._signs = config.signs
        self._options = config.options()
        self._source = source
        self._clock = clock

    async def plan(self, stage: Stage, message: Message, budget: Budget) -> Plan:
        """Whether to verify, and a finding `signing` unless that is all. Raises nothing.

        Its outcome is pass for mail that will be signed, skipped for mail that is left alone or lacks an author,
        permerror for mail that has to be signed and never can be, error when it cannot be said now of mail that may be
        ours. A finding `suspicious` is about a stranger who uses a domain of ours.
        """
        try:
            signing = await self._source.current()
        except TableError as error:
            # Whose mail it is nobody knows here.
            return Plan(verifies=True, findings=(error_finding("dkim", SIGNING, ErrorKind.UNREACHABLE, str(error)),))
        try:
            decision = await decide_signing(message, _macros(message), signing.rules, signing.tables)
        except TableError as error:
            without = decide_without_signing_table(message, _macros(message), signing.rules)
            if without is None:
                return Plan(verifies=False, findings=(_failed(ErrorKind.UNREACHABLE, str(error)),))
            decision = without
        match decision.disposition:
            case Disposition.SIGN:
                try:
                    signed_names(message.fields_by_name, self._options)
                except SigningError as error:
                    return Plan(verifies=False, findings=(_never(str(error)),))
                await _loaded(decision.requests, signing, budget)
                hashes = self._hashes(message) if stage is Stage.MESSAGE else {}
                return Plan(verifies=False, findings=(_will_sign(decision, hashes),))
            case Disposition.IGNORE:
                return Plan(verifies=False, findings=(_left_alone(decision, message),))
        findings = (_suspicious(decision),) if decision.suspicious else ()
        if self._signs and (step := decision.without_author) is not None:
            findings = (_not_signed(step.text, step.rule),)
        return Plan(
            verifies=True, findings=findings, resign_key=decision.resign_key, resign_all=signing.rules.resign_all
        )

    async def goes_on(
        self, plan: Plan, message: Message, verified: Sequence[Finding], budget: Budget
    ) -> tuple[Finding, ...]:
        """The findings `signing` and `sealing` about mail that was verified and goes on to others. Raises nothing."""
        try:
            signing = await self._source.current()
        except TableError:
            return ()  # `plan` has told.
        sealing = self._sealer.plan(message, verified, signing) if self._sealer is not None else ()
        passed = any(one.name == "dkim" and one.outcome is Outcome.PASS for one in verified)
        if not plan.resign_key or not (passed or plan.resign_all):
            return sealing
        try:
            request = await self._forwarder(plan.resign_key, message, verified, signing)
        except (AuthorError, SigningError) as error:
            return (*sealing, _not_signed(str(error), "ResignMailTo"))
        except TableError as error:
            return (*sealing, _failed(ErrorKind.UNREACHABLE, str(error)))
        await _loaded([request], signing, budget)
        facts = {
            "disposition": str(Disposition.SIGN),
            "rule": "ResignMailTo",
            "keys": _names([request]),
            "resign": plan.resign_key,
            **self._hashes(message),
        }
        return (*sealing, Finding("dkim", SIGNING, Outcome.PASS, detail="to be signed: ResignMailTo", facts=facts))

    async def _forwarder(
        self, key: str, message: Message, verified: Sequence[Finding], signing: Signing
    ) -> SigningRequest:
        """Who signs what goes on. Raises TableError, and AuthorError or SigningError for what nobody signs."""
        claimed = claimed_domains(message.fields_by_name)
        if not claimed:
            raise AuthorError("its author cannot be told")
        signed_names(message.fields_by_name, self._options)
        request = await _resigning(key, message, signing)
        if author := unvouched(claimed, request.domain, verified):
            raise AuthorError(f"no signature that passes vouches for {author}")
        return request

    async def sign(self, message: Message, budget: Budget) -> tuple[Finding, ...]:
        """Sign and seal a message as it leaves, as `known` says: one finding for each field, in order. Raises nothing.

        What fails is a finding `signing` (or `sealing`) with the outcome error; what could be made stands beside it.
        """
        try:
            signing = await self._source.current()
        except TableError as error:
            return (_failed(ErrorKind.UNREACHABLE, str(error)),)
        asked = {finding.name for finding in message.known}
        made = await self._signed(message, signing, budget) if SIGNING in asked else ()
        if SEALING not in asked or self._sealer is None:
            return made
        block = b"".join(
            f"{one.facts['field']}: {one.facts['value']}\r\n".encode() for one in made if one.name == SIGNATURE
        )
        signed = Message(message.envelope, block + message.header_block, message.body, message.known)
        sealed = await self._sealer.seal(signed, self._time_s(message), signing, budget)
        return (*sealed, *made)

    async def _signed(self, message: Message, signing: Signing, budget: Budget) -> tuple[Finding, ...]:
        resign_key = _facts(message).get("resign", "")
        try:
            if resign_key:
                requests: Sequence[SigningRequest] = [await _resigning(resign_key, message, signing)]
            else:
                requests = await _requests(message, signing)
        except AuthorError as error:
            return (_never(str(error)),)
        except TableError as error:
            return (_failed(ErrorKind.UNREACHABLE, str(error)),)
        keys = await _loaded(requests, signing, budget)
        signers = [one for one in keys if isinstance(one, Signer)]
        failures = [one for one in keys if isinstance(one, Finding)]
        try:
            body = body_of(message, relaxed=self._options.relaxed_body)
            values = sign(message.fields_by_name, body, signers, self._options, self._time_s(message))
        except BodyHashError as error:
            return (_failed(ErrorKind.UNREACHABLE, str(error)),)
        except SigningError as error:
            return (_never(str(error)),)
        made = [_signature(signer, value) for signer, value in zip(signers, values, strict=True)]
        return (*made, *failures)

    async def close(self) -> None:
        """Give back what the source holds."""
        await self._source.close()

    def _hashes(self, message: Message) -> dict[str, str]:
        return hash_facts(BodyHashes(message.body), [self._options.relaxed_body])

    def _time_s(self, message: Message) -> float:
        """t= is the time of receipt, unless that lies ahead: told again to another replica, mail is signed the same."""
        now_s = self._clock.unix_s()
        return min(message.envelope.received_at_s or now_s, now_s)


def _macros(message: Message) -> Mapping[str, str]:
    """The MTA's macros, those included that stand elsewhere in the envelope."""
    envelope, client = message.envelope, message.envelope.client
    told = {
        "daemon_name": envelope.daemon_name,
        "j": envelope.mta_name,
        "i": envelope.queue_id,
        "auth_type": client.auth_type,
        "auth_authen": client.auth_user.decode("utf-8", "replace"),
        "tls_version": client.tls_version,
    }
    return {**{name: value for name, value in told.items() if value}, **envelope.macros}


def _facts(message: Message) -> Mapping[str, str]:
    """What was found when it came."""
    return next((finding.facts for finding in message.known if finding.name == SIGNING), NO_FACTS)


async def _requests(message: Message, signing: Signing) -> Sequence[SigningRequest]:
    """The decision again, on the message as it leaves. Raises TableError, also when it is another one by now."""
    decision = await decide_signing(message, _macros(message), signing.rules, signing.tables)
    if decision.disposition is not Disposition.SIGN:
        raise TableError(f"not to be signed any more: {decision.deciding.text}")
    return decision.requests


async def _resigning(key: str, message: Message, signing: Signing) -> SigningRequest:
    """Raises TableError, and AuthorError where the key is for any author's domain."""
    try:
        author_domain = author_of(message.fields_by_name, signing.rules.sender_headers).domain
    except AuthorError:
        if any(map(is_for_any_domain, await signing.tables.keys.find([key]))):
            raise
        author_domain = ""
    return await signing.tables.named(key, author_domain)


async def _loaded(requests: Sequence[SigningRequest], signing: Signing, budget: Budget) -> list[Signer | Finding]:
    """The key of each request, all asked for at the same time, or the finding that says why there is none."""
    return list(await asyncio.gather(*(_signer(request, signing, budget) for request in requests)))


async def _signer(request: SigningRequest, signing: Signing, budget: Budget) -> Signer | Finding:
    started_s = budget.clock.monotonic_s()
    name = f"d={request.domain} s={request.selector}"
    try:
        key = await signing.keys.key(request.key)
    except PrivateKeyError as error:
        return _failed(ErrorKind.UNREACHABLE, f"key of {name}: {error}")
    finally:
        budget.record("dkim.key", started_s, name)
    return Signer(request.domain, request.selector, key, request.identity)


def _signature(signer: Signer, value: bytes) -> Finding:
    facts = {
        "field": "DKIM-Signature",
        "value": value.decode().removeprefix(" "),
        "header.d": signer.domain,
        "header.s": signer.selector,
        "header.a": signer.key.algorithm,
    }
    return Finding("dkim", SIGNATURE, Outcome.PASS, detail="signed", facts=facts)


def _will_sign(decision: Decision, hashes: Mapping[str, str]) -> Finding:
    facts = {"disposition": str(Disposition.SIGN), "rule": decision.deciding.rule, "keys": _names(decision.requests)}
    return Finding(
        "dkim", SIGNING, Outcome.PASS, detail=f"to be signed: {decision.deciding.text}", facts={**facts, **hashes}
    )


def _left_alone(decision: Decision, message: Message) -> Finding:
    facts = {"disposition": str(Disposition.IGNORE), "rule": decision.deciding.rule}
    if decision.of_origin:
        facts[OURS] = "yes"
    if signatures := message.fields_by_name.get(b"dkim-signature"):
        facts[UNVERIFIED] = str(len(signatures))
    return Finding("dkim", SIGNING, Outcome.SKIPPED, detail=f"left alone: {decision.deciding.text}", facts=facts)


def _not_signed(why: str, rule: str) -> Finding:
    """Of mail that is verified."""
    facts = {"disposition": str(Disposition.VERIFY), "rule": rule}
    return Finding("dkim", SIGNING, Outcome.SKIPPED, detail=f"not signed: {why}", facts=facts)


def _suspicious(decision: Decision) -> Finding:
    return Finding("dkim", "suspicious", Outcome.HIT, detail=f"a stranger sends as {decision.author}")


def _never(why: str) -> Finding:
    """Of mail that has to be signed, and for which it would be of no use to come again."""
    facts = {"disposition": str(Disposition.SIGN)}
    return Finding("dkim", SIGNING, Outcome.PERMERROR, detail=f"cannot be signed: {why}", facts=facts)


def _failed(kind: ErrorKind, detail: str) -> Finding:
    """Of mail that is ours for certain."""
    failure = error_finding("dkim", SIGNING, kind, detail)
    return msgspec.structs.replace(failure, facts={"disposition": str(Disposition.SIGN)})


def _names(requests: Iterable[SigningRequest]) -> str:
    return " ".join(f"{one.domain}/{one.selector}" for one in list(requests)[:_LISTED_MAX])
