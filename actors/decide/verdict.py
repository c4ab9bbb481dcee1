"""`decide` and `decide_recipient`: put the findings in canonical order, ask the rules, write the edits.

Pure and total: any findings in any order give one verdict, the same for the same findings.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from actors.config import JudgementConfig
from actors.decide.authres import authentication_results_edits
from actors.decide.dmarc import evaluate_dmarc
from actors.decide.rules import MESSAGE_RULES, RECIPIENT_RULES, Case, Ruling, first_ruling
from actors.decide.score import score_points
from actors.decide.spam_headers import Judgement, spam_header_edits
from actors.model import (
    PLACE,
    Action,
    Edit,
    ErrorKind,
    Finding,
    Message,
    Outcome,
    Recipient,
    RecipientVerdict,
    Verdict,
    error_finding,
)

_NOT_DELIVERED = (Action.TEMPFAIL, Action.DISCARD, Action.REJECT)
_UNSCORED = frozenset({"allowed"})
"""Rules whose mail is not scored: the score is 0 and no spam header is written."""


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
    known = _canonical([*findings, *_silent(findings, expected)])
    dmarc = evaluate_dmarc(known)
    case = Case(known, message, config, dmarc, score_points(known, dmarc, config.policy))
    rule, ruling = first_ruling(MESSAGE_RULES, case)
    points = () if rule in _UNSCORED else case.points
    score = 0.0 if rule in _UNSCORED else case.score
    missing = tuple(sorted({f.actor for f in known if f.outcome is Outcome.ERROR}))
    is_spam = rule not in _UNSCORED and score >= config.policy.add_header_score
    judgement = Judgement(ruling.action, score, is_spam, points, missing)
    return Verdict(
        action=ruling.action,
        reply=ruling.reply,
        score=score,
        reasons=(f"{rule}: {ruling.why}", *(point.reason for point in points)),
        edits=_edits(case, judgement),
        degraded=bool(missing),
        missing=missing,
        findings=(*known, dmarc) if dmarc else known,
        quarantine_reason=f"{rule}: {ruling.why}" if ruling.action is Action.QUARANTINE else "",
    )


def decide_recipient(findings: Sequence[Finding], message: Message, config: JudgementConfig) -> RecipientVerdict:
    """The verdict on the last recipient of the envelope, from the findings of the envelope and of this recipient."""
    last = message.envelope.recipients[-1:]
    case = Case(_canonical(findings), _with_recipients(message, last), config, None, ())
    rule, ruling = first_ruling(RECIPIENT_RULES, case)
    if ruling.action not in (Action.TEMPFAIL, Action.REJECT):
        # Quarantine is for messages; a recipient is let through to the message stage.
        ruling = Ruling(Action.ACCEPT, ruling.why)
    return RecipientVerdict(ruling.action, ruling.reply, (f"{rule}: {ruling.why}",))


def _edits(case: Case, judgement: Judgement) -> tuple[Edit, ...]:
    """Deletions of forged fields first, then what we add; nothing for a message that is not delivered."""
    if judgement.action in _NOT_DELIVERED:
        return ()
    forged, results = authentication_results_edits(case.findings, case.dmarc, case.message, case.config.headers)
    stale, headers = spam_header_edits(judgement, case.message, case.config)
    return (*forged, *stale, *headers, *results)


def _silent(findings: Sequence[Finding], expected: Iterable[str]) -> list[Finding]:
    heard = {finding.actor for finding in findings}
    return [error_finding(actor, actor, ErrorKind.TIMEOUT, "no finding") for actor in expected if actor not in heard]


def _canonical(findings: Iterable[Finding]) -> tuple[Finding, ...]:
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
    return replace(message, envelope=replace(message.envelope, recipients=recipients))
