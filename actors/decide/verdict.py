"""`decide` and `decide_early`: put the findings in canonical order, ask the rules, write the edits.

Pure and total: any findings in any order give one verdict, the same for the same findings.
"""

import math
from collections.abc import Iterable, Sequence

import msgspec

from actors.config import JudgementConfig
from actors.decide.authres import authentication_results_edits
from actors.decide.dmarc import evaluate_dmarc
from actors.decide.fields import printable
from actors.decide.rules import (
    EARLY_RULES,
    MESSAGE_RULES,
    NOT_DELIVERED,
    Case,
    Ruling,
    first_ruling,
    listing,
    uninspected,
)
from actors.decide.score import score_points
from actors.decide.signing import unsigned
from actors.decide.spam_headers import Judgement, spam_header_edits, stale_fields
from actors.model import (
    CUT,
    PLACE,
    STRESS,
    Action,
    EarlyVerdict,
    Edit,
    ErrorKind,
    Finding,
    Message,
    Outcome,
    Recipient,
    Verdict,
    error_finding,
)

_UNSCORED = frozenset({"allowed"})
"""Rules whose mail is not scored: its score is 0, and its status header names the rule instead of tests."""


def decide(
    findings: Sequence[Finding],
    message: Message,
    config: JudgementConfig,
    *,
    expected: Iterable[str] = (),
) -> Verdict:
    """The verdict on a whole message. An actor in `expected` without any finding counts as failed.

    The findings of the verdict are those given, in canonical order, and the finding `dmarc`.
    """
    known = canonical([*findings, *_silent(findings, expected)])
    dmarc = evaluate_dmarc(known)
    forged, results = authentication_results_edits(known, dmarc, message, config.headers)
    removals = (*forged, *stale_fields(message, config.headers))
    case = Case(known, message, config, dmarc, score_points(known, dmarc, config.policy), removals)
    rule, ruling = first_ruling(MESSAGE_RULES, case)
    if ruling.action not in NOT_DELIVERED and (instead := unsigned(case)) is not None:
        rule, ruling = unsigned.__name__, instead
    judgement = _judgement(case, rule, ruling)
    why, unseen = f"{rule}: {ruling.why}", judgement.uninspected
    cut = listing({finding.actor for finding in known if finding.outcome is Outcome.SKIPPED and finding.detail == CUT})
    return Verdict(
        action=ruling.action,
        reply=ruling.reply,
        score=judgement.score,
        reasons=(
            why,
            *([f"uninspected: {unseen}"] if unseen else []),
            *([f"cut: {cut}"] if cut else []),
            *(point.reason for point in judgement.points),
        ),
        edits=_edits(case, judgement, results),
        degraded=bool(judgement.missing or unseen),
        missing=judgement.missing,
        findings=(*known, dmarc) if dmarc else known,
        quarantine_reason=printable(why) if ruling.action is Action.QUARANTINE else "",
    )


def decide_early(findings: Sequence[Finding], message: Message, config: JudgementConfig) -> EarlyVerdict:
    """The verdict at CONNECT, HELO, MAIL or RCPT: on who sends and on the last recipient, if there is one.

    `findings` are those of the stage, and of the envelope as far as they are there.
    """
    last = message.envelope.recipients[-1:]
    case = Case(canonical(findings), _with_recipients(message, last), config, None, ())
    rule, ruling = first_ruling(EARLY_RULES, case)
    if ruling.action not in (Action.TEMPFAIL, Action.REJECT):
        # Quarantine is for messages; what comes before one is let through to the message stage.
        ruling = Ruling(Action.ACCEPT, ruling.why)
    return EarlyVerdict(ruling.action, ruling.reply, (f"{rule}: {ruling.why}",))


def _judgement(case: Case, rule: str, ruling: Ruling) -> Judgement:
    scored = rule not in _UNSCORED
    score = case.score if scored else 0.0
    return Judgement(
        action=ruling.action,
        score=score,
        is_spam=scored and score >= case.config.policy.add_header_score,
        points=case.points if scored else (),
        missing=tuple(sorted({f.actor for f in case.findings if f.outcome is Outcome.ERROR or _left_out(f)})),
        uninspected=uninspected(case.findings),
        unscored="" if scored else rule,
    )


def _left_out(finding: Finding) -> bool:
    return finding.outcome is Outcome.SKIPPED and finding.detail == STRESS


def _edits(case: Case, judgement: Judgement, results: Sequence[Edit]) -> tuple[Edit, ...]:
    """Deletions of forged fields first, then what we add; nothing for a message that is not delivered."""
    if judgement.action in NOT_DELIVERED:
        return ()
    return (*case.forged, *spam_header_edits(judgement, case.message, case.config), *results)


def _silent(findings: Sequence[Finding], expected: Iterable[str]) -> list[Finding]:
    heard = {finding.actor for finding in findings}
    return [error_finding(actor, actor, ErrorKind.TIMEOUT, "no finding") for actor in expected if actor not in heard]


def canonical(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings in the one order in which they are judged."""
    return tuple(sorted(findings, key=_canonical_key))


def _canonical_key(finding: Finding) -> tuple[object, ...]:
    """Like things as they stand in the message, then every field, so that findings which differ at all have one order.

    NaN stands apart, since it compares with nothing.
    """
    place = finding.facts.get(PLACE, "")
    facts = tuple(sorted(finding.facts.items()))
    not_a_number = math.isnan(finding.score)
    score = 0.0 if not_a_number else finding.score
    numbers = (len(place), place)  # Digits without leading zeros: the longer one is the larger one.
    return finding.actor, finding.name, numbers, finding.outcome, finding.detail, facts, not_a_number, score, finding.ms


def _with_recipients(message: Message, recipients: tuple[Recipient, ...]) -> Message:
    envelope = msgspec.structs.replace(message.envelope, recipients=recipients)
    return Message(envelope, message.header_block, message.body)
