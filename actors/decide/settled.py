"""Whether what is outstanding can still change the action: a verdict need not wait for what cannot.

Strategy: walk the rules in their order, as `decide` does, and collect every action that some completion of the
outstanding actors could lead to; the action is settled when there is one. What an actor could still say is bounded:

- infected: the antivirus and child milters, and nobody else;
- hits (GTUBE, lists), SPF and the DMARC record: policy; what DMARC makes of them: policy and dkim;
- a failure, and what [policy.on_error] makes of it: each of them;
- points: the classifier between its least and most, SPF and DMARC what [policy] says, and any symbol of theirs.

Pure. Unknown actors count as if they could say it all.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence

from actors.config import JudgementConfig, PolicyConfig
from actors.decide.dmarc import evaluate_dmarc
from actors.decide.rules import (
    AUTHOR_RULES,
    NOT_DELIVERED,
    Case,
    Rule,
    authenticated_allowance,
    denied_client,
    denied_helo,
    denied_recipient,
    denied_sender,
    fault,
    gtube,
    infected,
    threshold_reached,
    thresholds,
    unchecked,
)
from actors.decide.score import score_points
from actors.decide.signing import unsigned
from actors.decide.verdict import canonical
from actors.model import Action, Direction, Finding, Message, Outcome

_LISTED: tuple[Rule, ...] = (gtube, denied_client, denied_helo, denied_sender, denied_recipient)
"""What only the policy actor can bring about, and nothing can take back."""
_AUTHENTICATING = frozenset({"policy", "dkim"})
_NEVER_FIND_MALWARE = frozenset({"policy", "dkim", "classifier"})
_TELLING = frozenset({Outcome.INFECTED, Outcome.HIT, Outcome.SPAM})
_DMARC_SYMBOLS = "policy.dmarc"


def is_telling(findings: Iterable[Finding]) -> bool:
    """Whether these make it worth asking `settled`: a cheap look that says no to nearly all honest mail.

    What is still to come can only be cut from mail that is refused or let in by a hit, or is spam already.
    """
    return any(finding.outcome in _TELLING for finding in findings)


def settled(
    findings: Sequence[Finding], outstanding: Collection[str], message: Message, config: JudgementConfig
) -> bool:
    """Whether the verdict may be drawn now: its action is certain, and what it writes is complete.

    `outstanding` are the actors of which an answer is still to come, at whatever stage. Mail that is delivered keeps
    waiting for what Authentication-Results tells, and for whether it is to be signed.
    """
    possible = possible_actions(findings, outstanding, message, config)
    if len(possible) != 1:
        return False
    if next(iter(possible)) in NOT_DELIVERED:
        return True
    tells_results = config.headers.authentication_results and message.envelope.direction is not Direction.OUTBOUND
    waits_for_dkim = "dkim" in outstanding and config.dkim.signing.configured
    return not (waits_for_dkim or (tells_results and _AUTHENTICATING.intersection(outstanding)))


def possible_actions(
    findings: Iterable[Finding], outstanding: Collection[str], message: Message, config: JudgementConfig
) -> frozenset[Action]:
    """Every action that `decide` could choose once the outstanding actors have answered, or failed to.

    Forged fields are left out: too many of them are a rejection whatever anybody says.
    """
    known = canonical(findings)
    dmarc = evaluate_dmarc(known)
    case = Case(known, message, config, dmarc, score_points(known, dmarc, config.policy))
    return frozenset(_if_signed(frozenset(_possible(case, frozenset(outstanding))), case, outstanding))


def _if_signed(possible: frozenset[Action], case: Case, outstanding: Collection[str]) -> Iterator[Action]:
    """What remains of these actions when mail that cannot be signed is not delivered."""
    undelivered = possible.intersection(NOT_DELIVERED)
    yield from undelivered
    if undelivered == possible:
        return
    signing = case.config.dkim.signing
    instead = unsigned(case)
    if instead is not None:
        yield instead.action
    else:
        yield from possible
    if "dkim" in outstanding and signing.signs and signing.on_failure == "tempfail":
        yield from (Action.TEMPFAIL, Action.REJECT)


def _possible(case: Case, outstanding: frozenset[str]) -> Iterator[Action]:
    """The rules in their order; ends at the one that certainly answers."""
    if infected(case):
        yield Action.REJECT
        return
    if outstanding - _NEVER_FIND_MALWARE:
        yield Action.REJECT
    if any(rule(case) for rule in _LISTED):
        yield Action.REJECT
        return
    if "policy" in outstanding:
        yield Action.REJECT
    allowed = authenticated_allowance(case) is not None
    surely_allowed = allowed and ("policy" not in outstanding or case.hit("allow_client") is not None)
    maybe_allowed = allowed or _allowance_may_come(case, outstanding)
    ends = yield from _unchecked(case, outstanding, surely_allowed=surely_allowed, maybe_allowed=maybe_allowed)
    if ends:
        return
    if maybe_allowed:
        yield Action.ACCEPT
    if not surely_allowed:
        yield from _dmarc_and_score(case, outstanding)


def _unchecked(
    case: Case, outstanding: frozenset[str], *, surely_allowed: bool, maybe_allowed: bool
) -> Generator[Action, None, bool]:
    """What failures lead to, those that are known and those that may come; returns whether one certainly does."""
    policy = case.config.policy
    for actor in outstanding:
        if actor == "antivirus" or not surely_allowed:
            yield from _unless_ignored(getattr(policy.on_error, actor, "ignore"))
    if outstanding - _NEVER_FIND_MALWARE:
        yield from _unless_ignored(policy.on_error.uninspected)
    antivirus = tuple(finding for finding in case.findings if finding.actor == "antivirus")
    others = () if surely_allowed else tuple(f for f in case.findings if f.actor != "antivirus")
    certain = unchecked(Case(antivirus, case.message, case.config, None, ()))
    ruling = unchecked(Case(antivirus + others, case.message, case.config, None, ()))
    for one in (certain, ruling) if maybe_allowed else (ruling,):
        if one is not None:
            yield one.action
    return (certain if maybe_allowed else ruling) is not None


def _unless_ignored(answer: str) -> Iterator[Action]:
    if answer not in ("ignore", "accept"):
        yield Action(answer)


def _allowance_may_come(case: Case, outstanding: frozenset[str]) -> bool:
    lists = case.config.policy.lists
    if "policy" in outstanding and (lists.allow_clients or lists.allow_senders or lists.allow_authors):
        return True
    return "dkim" in outstanding and bool(case.hit("allow_sender") or case.hit("allow_author"))


def _dmarc_and_score(case: Case, outstanding: frozenset[str]) -> Iterator[Action]:
    policy = case.config.policy
    if (policy.dmarc_reject or policy.lists.proven_authors) and _AUTHENTICATING & outstanding:
        yield Action.REJECT
        yield Action.TEMPFAIL
    else:
        ruling = next((ruling for rule in AUTHOR_RULES if (ruling := rule(case)) is not None), None)
        if ruling is not None:
            yield ruling.action
            return
    least, most = _score_bounds(case, outstanding)
    certain = yield from _faults(case, outstanding, least, most)
    if certain:
        return
    for score in (least, most, *(threshold for threshold, _ in thresholds(policy) if least < threshold < most)):
        reached = threshold_reached(score, policy)
        yield Action.ACCEPT if reached is None else reached[1]


def _faults(case: Case, outstanding: frozenset[str], least: float, most: float) -> Generator[Action, None, bool]:
    """What form and signatures lead to; returns whether that is certain. The score may turn quarantine to rejection."""
    policy = case.config.policy
    for actor, answers in (("policy", policy.on_form), ("dkim", policy.on_dkim)):
        if actor in outstanding:
            for key in answers.__struct_fields__:
                yield from _unless_ignored(getattr(answers, key))
    ruling = fault(case)
    if ruling is None:
        return False
    if ruling.action is not Action.QUARANTINE or not 0 < policy.reject_score <= least:
        yield ruling.action
    if ruling.action is Action.QUARANTINE and 0 < policy.reject_score <= most:
        yield Action.REJECT
    return not _AUTHENTICATING & outstanding


def _score_bounds(case: Case, outstanding: frozenset[str]) -> tuple[float, float]:
    """The least and the most that the score can be in the end."""
    choices = list(_choices(case.config.policy, outstanding))
    fixed = 0
    for point in case.points:
        if not _is_movable(point.source, outstanding):
            fixed += point.hundredths
        elif point.source == "spf":
            choices.append([point.hundredths])
    least = fixed + sum(min(0, *hundredths) for hundredths in choices)
    most = fixed + sum(max(0, *hundredths) for hundredths in choices)
    return least / 100, most / 100


def _is_movable(source: str, outstanding: frozenset[str]) -> bool:
    """Whether points of this source may be others in the end, or none."""
    if source == "classifier":
        return source in outstanding
    depends_on_dmarc = source in ("spf", "dmarc") or source.startswith(_DMARC_SYMBOLS)
    return depends_on_dmarc and not _AUTHENTICATING.isdisjoint(outstanding)


def _choices(policy: PolicyConfig, outstanding: frozenset[str]) -> Iterator[list[int]]:
    """For each thing that may add points, or not: how many hundredths it can be."""
    if "classifier" in outstanding:
        yield [round(policy.classifier_points_min * 100), round(policy.classifier_points_max * 100)]
    if not _AUTHENTICATING.isdisjoint(outstanding):
        yield [0, *(round(points * 100) for points in policy.dmarc_points.values())]
    if "policy" in outstanding:
        yield from ([round(points * 100)] for points in policy.spf_points.values())
    for symbol, points in policy.symbol_points.items():
        if symbol.partition(".")[0] in outstanding or _is_movable(symbol, outstanding):
            yield [round(points * 100)]
