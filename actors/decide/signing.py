"""Signing as the verdict sees it: which mail has to be signed, what a failure means, and the fields on top. Pure.

`unsigned` is a rule over all others: it speaks of mail that would be delivered, so that spam is refused as ever.
Whose mail it is the dkim actor knows; where it gave no answer, the direction has to do, which the gateway tells: what
authenticated users and outbound daemons send, and what is handed in on the host, may have been ours to sign. Mail that
comes in from a client of InternalHosts by an inbound daemon passes then, marked as not checked by dkim: to hold all
inbound mail for its sake would make every failure of dkim one of the whole cell.
"""

from collections.abc import Iterable, Sequence

import msgspec

from actors.decide.rules import NOT_DELIVERED, Case, Ruling
from actors.model import (
    SEAL,
    SEALING,
    SIGNATURE,
    SIGNING,
    Action,
    Direction,
    ErrorKind,
    Finding,
    InsertHeader,
    Message,
    Outcome,
    Reply,
    Verdict,
    error_finding,
    is_unheard,
)

CANNOT_SIGN = Reply(451, "4.7.0", "Message cannot be signed now, try again later")
NEVER_SIGNED = Reply(550, "5.6.0", "Message refused: it has to be signed and never can be")


def unsigned(case: Case) -> Ruling | None:
    """Mail of ours cannot be signed, and [dkim.signing] on_failure does not let it pass.

    What can never be signed is refused at once: the sender learns now, and not after days, what his mail lacks.
    """
    signing = case.config.dkim.signing
    if not signing.signs or signing.on_failure != "tempfail":
        return None
    never = (finding for finding in case.findings if _never(finding))
    if (finding := next(never, None)) is not None:
        return Ruling(Action.REJECT, finding.detail, NEVER_SIGNED)
    may_be_ours = case.message.envelope.direction is not Direction.INBOUND
    for finding in case.findings:
        about_signing = finding.actor == "dkim" and finding.name != SEALING
        if about_signing and _fails(finding) and (may_be_ours or _is_ours(finding)):
            return Ruling(Action.TEMPFAIL, finding.detail, CANNOT_SIGN)
    return None


def _fails(finding: Finding) -> bool:
    return finding.outcome is Outcome.ERROR or is_unheard(finding)


def _never(finding: Finding) -> bool:
    return finding.actor == "dkim" and finding.outcome is Outcome.PERMERROR and _is_ours(finding)


def _is_ours(finding: Finding) -> bool:
    return finding.name == SIGNING and finding.facts.get("disposition") == "sign"


def to_be_signed(verdict: Verdict, message: Message) -> tuple[Finding, ...]:
    """What the dkim actor said of mail that is delivered and has to be signed or sealed; empty for any other.

    A mirrored copy is not delivered by anybody: that it would be signed is told, and that is what is compared.
    """
    if verdict.action in NOT_DELIVERED or message.envelope.mirrored:
        return ()
    return tuple(
        finding
        for finding in verdict.findings
        if finding.actor == "dkim" and finding.name in (SIGNING, SEALING) and finding.outcome is Outcome.PASS
    )


def signing_failures(found: Sequence[Finding], verdict: Verdict) -> list[Finding]:
    """What went wrong when it was signed, as findings about that; an actor without any answer failed, too."""
    sealed_only = not any(finding.name == SIGNING for finding in verdict.findings)
    failures = [finding for finding in found if finding.outcome is Outcome.ERROR or _never(finding)]
    answered = any(finding.name == SIGNATURE or (sealed_only and finding.name in (SEAL, SEALING)) for finding in found)
    if not failures and not answered:
        failures = [error_finding("dkim", "dkim", ErrorKind.TIMEOUT, "no signature")]
    return [_failure(finding, sealed_only=sealed_only) for finding in failures]


def _failure(finding: Finding, *, sealed_only: bool) -> Finding:
    if sealed_only or finding.name == SEALING:
        return msgspec.structs.replace(finding, name=SEALING)
    return msgspec.structs.replace(finding, name=SIGNING, facts={"disposition": "sign"})


def with_signatures(verdict: Verdict, found: Iterable[Finding]) -> Verdict:
    """The verdict with the fields that sign it on top of all its edits, the first one topmost."""
    if verdict.action in NOT_DELIVERED:
        return verdict
    fields = [
        InsertHeader(0, finding.facts["field"].encode(), finding.facts["value"].encode())
        for finding in found
        if finding.name in (SIGNATURE, SEAL)
    ]
    return msgspec.structs.replace(verdict, edits=(*verdict.edits, *reversed(fields)))


def lacks_signature(verdict: Verdict) -> bool:
    """Whether mail should have been signed that could not be."""
    failed = (Outcome.ERROR, Outcome.PERMERROR)
    return any(finding.name == SIGNING and finding.outcome in failed for finding in verdict.findings)
