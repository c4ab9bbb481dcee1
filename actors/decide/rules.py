"""The rules that settle a message or a stage before it, each a small function named as it appears in the reason.

A rule reads a `Case` and answers a `Ruling`, or None when it has nothing to say; the first that answers settles the
matter. Public texts (`Reply`) are generic; what was found is in the reason, which stays in our logs.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from actors.config import JudgementConfig, PolicyConfig
from actors.decide.dkim import dkim_failures
from actors.decide.dmarc import UNANSWERED, is_forgiven, is_ours_or_peers
from actors.decide.score import Points
from actors.model import Action, DeleteHeader, Direction, Finding, Message, Outcome, Reply

MALWARE = Reply(554, "5.7.1", "Message refused: malware found")
SPAM = Reply(550, "5.7.1", "Message refused as spam")
DENIED = Reply(550, "5.7.1", "Access denied")
RECIPIENT_DENIED = Reply(550, "5.7.1", "Recipient refused")
UNAUTHENTICATED = Reply(550, "5.7.1", "Message refused by the DMARC policy of its author domain")
UNANSWERED_AUTHOR = Reply(451, "4.7.1", "Message cannot be authenticated now, try again later")
FORGED_AUTHOR = Reply(550, "5.7.26", "Message refused: its author could not be authenticated")
"""Enhanced code of RFC 7372 section 3.3."""
UNSIGNED = Reply(550, "5.7.20", "Message refused: it has no acceptable DKIM signature")
"""Enhanced code of RFC 7372 section 3.1."""
MALFORMED = Reply(550, "5.6.0", "Message refused: it is not in the form of RFC 5322")
FORGED = Reply(554, "5.6.0", "Message refused: its header is not acceptable")
UNCHECKED = Reply(550, "5.7.1", "Message refused: it could not be checked")
TRY_LATER = Reply(451, "4.7.1", "Service unavailable, try again later")

FORGED_FIELDS_MAX = 1000
"""Header fields under our names that a message may bring. Each costs an edit, and a gateway takes 4,096 of these: more
must not keep the verdict from being carried out."""
UNINSPECTED = "uninspected"
"""Name of the antivirus actor's finding (outcome skipped) about parts of a message that it could not look into."""

NOT_DELIVERED = (Action.TEMPFAIL, Action.DISCARD, Action.REJECT)
_SEVEREST_FIRST = ("reject", "quarantine", "tempfail")
_BETTER_LATER_FIRST = ("tempfail", "reject", "discard", "quarantine")
_FORM = {
    "fields_repeated": "fields",
    "from_missing": "fields",
    "date_missing": "fields",
    "bare_line_ends": "line_ends",
    "from_multiple": "from_multiple",
    "from_malformed": "from_malformed",
}
"""Findings of the policy actor to keys of [policy.on_form]."""
_NAMED_MAX = 5
_NAME_CHARS_MAX = 200


class Case(msgspec.Struct, frozen=True):
    """Everything a rule may look at."""

    findings: tuple[Finding, ...]
    """In canonical order."""
    message: Message
    config: JudgementConfig
    dmarc: Finding | None
    points: tuple[Points, ...]
    forged: tuple[DeleteHeader, ...] = ()
    """The fields under our names that came with the message."""

    @property
    def score(self) -> float:
        """Sum of the points, exact to hundredths."""
        return sum(point.hundredths for point in self.points) / 100

    def hit(self, name: str, outcome: Outcome = Outcome.HIT) -> Finding | None:
        """The policy actor's finding of this name with this outcome."""
        for finding in self.findings:
            if finding.name == name and finding.outcome is outcome and finding.actor == "policy":
                return finding
        return None


class Ruling(msgspec.Struct, frozen=True):
    """What a rule wants done, and why (private)."""

    action: Action
    why: str
    reply: Reply | None = None


Rule = Callable[[Case], Ruling | None]


def infected(case: Case) -> Ruling | None:
    """Malware is refused, whoever sends it."""
    names = {f.detail or f.name for f in case.findings if f.outcome is Outcome.INFECTED}
    return Ruling(Action.REJECT, listing(names), MALWARE) if names else None


def gtube(case: Case) -> Ruling | None:
    """The Generic Test for Unsolicited Bulk Email is always spam."""
    return Ruling(Action.REJECT, "GTUBE test string", SPAM) if case.hit("gtube") else None


def denied_client(case: Case) -> Ruling | None:
    """The client's address is on a deny list."""
    hit = case.hit("deny_client")
    return Ruling(Action.REJECT, hit.detail, DENIED) if hit else None


def denied_helo(case: Case) -> Ruling | None:
    """The name that the client gave is on a deny list."""
    hit = case.hit("deny_helo")
    return Ruling(Action.REJECT, hit.detail, DENIED) if hit else None


def denied_sender(case: Case) -> Ruling | None:
    """The envelope sender is on a deny list."""
    hit = case.hit("deny_sender")
    return Ruling(Action.REJECT, hit.detail, DENIED) if hit else None


def denied_recipient(case: Case) -> Ruling | None:
    """Every recipient that the message still has is on a deny list; one refused at RCPT is not among them."""
    denied = {
        f.facts.get("recipient", "")
        for f in case.findings
        if f.name == "deny_recipient" and f.outcome is Outcome.HIT and f.actor == "policy"
    }
    if not denied:
        return None
    recipients = {address_text(recipient.address) for recipient in case.message.envelope.recipients}
    return Ruling(Action.REJECT, listing(denied), RECIPIENT_DENIED) if recipients <= denied else None


def forged_header(case: Case) -> Ruling | None:
    """More forged fields than can be removed."""
    count = len(case.forged)
    return Ruling(Action.REJECT, f"{count} fields under our names", FORGED) if count > FORGED_FIELDS_MAX else None


def unchecked(case: Case) -> Ruling | None:
    """An actor gave no answer, or not about all, and [policy.on_error] says more than ignore; the severest counts."""
    failed: dict[str, set[str]] = {}
    for actor, answer in _answers_to_errors(case):
        failed.setdefault(answer, set()).add(actor)
    parts = uninspected(case.findings)
    for answer in _SEVEREST_FIRST:
        why = [f"{', '.join(sorted(failed[answer]))} gave no answer"] if answer in failed else []
        if parts and case.config.policy.on_error.uninspected == answer:
            why.append(f"antivirus did not look into: {parts}")
        if why:
            reply = {"tempfail": TRY_LATER, "reject": UNCHECKED}.get(answer)
            return Ruling(Action(answer), "; ".join(why), reply)
    return None


def _answers_to_errors(case: Case) -> Iterator[tuple[str, str]]:
    """(actor, what its failure means). Mail on an allow list skips scoring, never the antivirus."""
    exempt = authenticated_allowance(case) is not None
    for finding in case.findings:
        if finding.outcome is Outcome.ERROR and (finding.actor == "antivirus" or not exempt):
            yield finding.actor, getattr(case.config.policy.on_error, finding.actor, "ignore")


def uninspected(findings: Iterable[Finding]) -> str:
    """What the antivirus could not look into, as one line; "" when it saw everything."""
    return listing(
        {
            finding.detail or "a part"
            for finding in findings
            if finding.actor == "antivirus" and finding.name == UNINSPECTED and finding.outcome is Outcome.SKIPPED
        }
    )


def allowed(case: Case) -> Ruling | None:
    """The client, or the sender if authenticated, is on an allow list."""
    why = authenticated_allowance(case)
    return Ruling(Action.ACCEPT, why) if why is not None else None


def authenticated_allowance(case: Case) -> str | None:
    """Why this mail skips scoring: the client's address, or a sender proven by SPF or DKIM, or an author by DMARC.

    A name that anyone can write is never enough: what is forged of a domain on the list is scored like all other mail.
    """
    client = case.hit("allow_client")
    if client is not None:
        return client.detail
    author, dmarc = case.hit("allow_author"), case.dmarc
    if author is not None and dmarc is not None and dmarc.outcome is Outcome.PASS:
        return f"{author.detail}, DMARC pass"
    sender = case.hit("allow_sender")
    if sender is None:
        return None
    domain = sender.facts.get("domain", "")
    for finding in case.findings:
        if finding.outcome is not Outcome.PASS:
            continue
        if finding.actor == "policy" and finding.name == "spf" and finding.facts.get("smtp.mailfrom") == domain:
            return f"{sender.detail}, SPF pass"
        if finding.actor == "dkim" and finding.name == "dkim":
            signer = finding.facts.get("header.d", "").lower()
            if signer and (domain == signer or domain.endswith("." + signer)):
                return f"{sender.detail}, DKIM pass for {signer}"
    return None


def forged_author(case: Case) -> Ruling | None:
    """DMARC failed for an author that has to be proven."""
    hit, dmarc = case.hit("proven_author"), case.dmarc
    if hit is None or dmarc is None or dmarc.outcome is not Outcome.FAIL or is_forgiven(dmarc):
        return None
    return Ruling(Action.REJECT, f"{hit.detail}, DMARC fail", FORGED_AUTHOR)


def ambiguous_author(case: Case) -> Ruling | None:
    """From shows a domain that must not be shown unproven, beside another or in a form that cannot be judged."""
    hit = case.hit("shown_author")
    if hit is None or is_ours_or_peers(case.findings):
        return None
    return Ruling(Action.REJECT, _shows(hit), FORGED_AUTHOR)


def _shows(shown_author: Finding) -> str:
    return f"From shows {': '.join(filter(None, (shown_author.facts.get('domain'), shown_author.detail)))}"


def dmarc_rejected(case: Case) -> Ruling | None:
    """DMARC failed, the domain's owner asks to reject, and [policy] dmarc_reject agrees."""
    dmarc = case.dmarc
    if not case.config.policy.dmarc_reject or dmarc is None or dmarc.outcome is not Outcome.FAIL:
        return None
    if dmarc.facts.get("policy.dmarc") != "reject" or is_forgiven(dmarc):
        return None
    return Ruling(Action.REJECT, f"{dmarc.facts.get('header.from', '')} publishes reject", UNAUTHENTICATED)


def author_unanswered(case: Case) -> Ruling | None:
    """DNS does not let DMARC be decided for an author whose failure would be refused: who sends tries again.

    Else who writes a signature whose key is served by nobody, or serves his own names slowly, passes by both rules
    above. What we did not check ourselves is not held for that: an actor's failure is `unchecked`, under stress all
    such mail would be held, and what is ours or a peer's was let be on purpose.
    """
    shown = case.hit("shown_author", Outcome.TEMPERROR)
    if shown is not None and not is_ours_or_peers(case.findings):
        return Ruling(Action.TEMPFAIL, _shows(shown), UNANSWERED_AUTHOR)
    dmarc = case.dmarc
    if dmarc is None or UNANSWERED not in dmarc.facts or is_forgiven(dmarc):
        return None
    hit = case.hit("proven_author")
    if hit is not None:
        return Ruling(Action.TEMPFAIL, f"{hit.detail}, DMARC temperror", UNANSWERED_AUTHOR)
    if not case.config.policy.dmarc_reject or dmarc.facts.get("policy.dmarc") != "reject":
        return None
    author = dmarc.facts.get("header.from", "")
    return Ruling(Action.TEMPFAIL, f"{author} publishes reject, DMARC temperror", UNANSWERED_AUTHOR)


def faulty(case: Case) -> Ruling | None:
    """Form or signatures are at fault, and [policy.on_form] or [policy.on_dkim] says more than accept.

    Who is only to be quarantined for it is refused all the same when the score says so.
    """
    ruling = fault(case)
    if ruling is not None and ruling.action is Action.QUARANTINE:
        reached = threshold_reached(case.score, case.config.policy)
        return None if reached is not None and reached[1] is Action.REJECT else ruling
    return ruling


def fault(case: Case) -> Ruling | None:
    """The same whatever the score is."""
    if case.message.envelope.direction is not Direction.INBOUND:
        return None
    policy = case.config.policy
    flaws = {f.name for f in case.findings if f.actor == "policy" and f.outcome is Outcome.HIT and f.name in _FORM}
    answers = {flaw: getattr(policy.on_form, _FORM[flaw]) for flaw in flaws}
    answers |= {failure: getattr(policy.on_dkim, failure) for failure in dkim_failures(case.findings)}
    for action in _BETTER_LATER_FIRST:
        why = [name for name, answer in answers.items() if answer == action]
        if why:
            refusal = MALFORMED if flaws.intersection(why) else UNSIGNED
            return Ruling(Action(action), listing(why), {"tempfail": TRY_LATER, "reject": refusal}.get(action))
    return None


def score_reached(case: Case) -> Ruling | None:
    """The score against the thresholds."""
    reached = threshold_reached(case.score, case.config.policy)
    if reached is None:
        return None
    threshold, action = reached
    return Ruling(action, f"{case.score:.2f} of {threshold:.2f}", SPAM if action is Action.REJECT else None)


def threshold_reached(score: float, policy: PolicyConfig) -> tuple[float, Action] | None:
    """The severest threshold that the score reaches, and its action; a threshold of 0 is switched off."""
    for threshold, action in thresholds(policy):
        if threshold > 0 and score >= threshold:
            return threshold, action
    return None


def thresholds(policy: PolicyConfig) -> tuple[tuple[float, Action], ...]:
    """Scores and their actions, severest first."""
    return (
        (policy.reject_score, Action.REJECT),
        (policy.quarantine_score, Action.QUARANTINE),
        (policy.rewrite_subject_score, Action.REWRITE_SUBJECT),
        (policy.add_header_score, Action.ADD_HEADER),
    )


AUTHOR_RULES: tuple[Rule, ...] = (forged_author, ambiguous_author, dmarc_rejected, author_unanswered)
"""What may follow from DMARC, or from a From that it cannot judge."""
MESSAGE_RULES: tuple[Rule, ...] = (
    infected,
    gtube,
    denied_client,
    denied_helo,
    denied_sender,
    denied_recipient,
    forged_header,
    unchecked,
    allowed,
    *AUTHOR_RULES,
    faulty,
    score_reached,
)
EARLY_RULES: tuple[Rule, ...] = (denied_client, denied_helo, denied_sender, denied_recipient, unchecked)


def first_ruling(rules: tuple[Rule, ...], case: Case) -> tuple[str, Ruling]:
    """The name and the ruling of the first rule that answers; the default is to accept."""
    for rule in rules:
        ruling = rule(case)
        if ruling is not None:
            return rule.__name__, ruling
    return "default", Ruling(Action.ACCEPT, "no rule objected")


def address_text(address: bytes) -> str:
    """An envelope address as facts carry it: lower case, valid Unicode whatever the bytes were."""
    return address.decode("utf-8", "backslashreplace").lower()


def listing(names: Iterable[str]) -> str:
    """The first names and how many there are besides: reasons are lines of a log."""
    ordered = sorted(names)
    shown = ", ".join(name[:_NAME_CHARS_MAX] for name in ordered[:_NAMED_MAX])
    return f"{shown} and {len(ordered) - _NAMED_MAX} more" if len(ordered) > _NAMED_MAX else shown
