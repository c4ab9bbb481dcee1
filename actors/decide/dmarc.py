"""DMARC evaluation (RFC 9989): does an authenticated domain align with the author domain, and what if none does.

Pure: the policy actor has looked up the record and the organizational domains (finding `dmarc_record`); what SPF and
DKIM said is in their own findings. `evaluate_dmarc` draws the conclusion once, for rules, score and headers alike.
"""

from collections.abc import Iterable, Mapping

from actors.model import FORGIVEN, OURS, SIGNING, UNVERIFIED, VOUCHED, Finding, Outcome, is_unheard

UNANSWERED = "unanswered"
"""Fact of a finding `dmarc` that is a temperror since DNS did not answer: whoever sends can bring that about."""
ORG_FACT = "org:"
"""Facts `org:DOMAIN` of the finding `dmarc_record`: the organizational domain of DOMAIN, "" when DNS failed."""

_ONE_LEVEL_LOWER = {"reject": "quarantine", "quarantine": "none"}
_WITHOUT_EVALUATION = (Outcome.NONE, Outcome.TEMPERROR, Outcome.PERMERROR)


def evaluate_dmarc(findings: Iterable[Finding]) -> Finding | None:
    """The finding `dmarc`: none, pass, fail, temperror or permerror; None when no record was looked for.

    Facts: `header.from`, `policy.dmarc` (the policy that applies to a failure), `aligned` (what passed), `unanswered`.
    """
    findings = tuple(findings)
    record = next((f for f in findings if f.actor == "policy" and f.name == "dmarc_record"), None)
    if record is None or record.outcome not in (Outcome.PASS, *_WITHOUT_EVALUATION):
        return None
    author, let_be = record.facts.get("domain", ""), is_ours_or_peers(findings)
    if record.outcome in _WITHOUT_EVALUATION:
        facts = {"header.from": author}
        if record.outcome is Outcome.TEMPERROR and not let_be:
            facts[UNANSWERED] = "yes"
        return Finding("policy", "dmarc", record.outcome, detail=record.detail, facts=facts)
    aligned = sorted({f"{method}:{domain}" for method, domain in _aligned(findings, record.facts, Outcome.PASS)})
    unanswered = not aligned and not let_be and _is_unanswered(findings, record.facts)
    if aligned and record.facts.get("ambiguous") == "yes":
        outcome, detail = Outcome.PERMERROR, "the author field shows another domain besides"
    elif aligned:
        outcome, detail = Outcome.PASS, f"aligned {', '.join(aligned)}"
    elif unanswered or let_be or _is_unexamined(findings):
        outcome, detail = Outcome.TEMPERROR, "an identifier that may align could not be checked"
    else:
        outcome, detail = Outcome.FAIL, "no aligned identifier passed"
    facts = {"header.from": author, "policy.dmarc": applicable_policy(record.facts), "aligned": ",".join(aligned)}
    if unanswered:
        facts[UNANSWERED] = "yes"
    if outcome in (Outcome.FAIL, Outcome.TEMPERROR) and (sealer := _forgiving(findings, record.facts)):
        facts[FORGIVEN] = sealer
        detail = f"{detail}; passed before {sealer} forwarded it"
    return Finding("policy", "dmarc", outcome, detail=detail, facts=facts)


def is_forgiven(dmarc: Finding) -> bool:
    """Whether a failure has no consequences (RFC 9990 section 3.1.6: trusted_forwarder)."""
    return FORGIVEN in dmarc.facts


def _forgiving(findings: Iterable[Finding], record: Mapping[str, str]) -> str:
    """The newest sealer of a chain in which a trusted one saw DMARC pass for this author; "" when there is none."""
    author = record.get("domain", "")
    if not author or record.get("ambiguous") == "yes":
        return ""
    for finding in findings:
        vouched = finding.actor == "dkim" and finding.name == "arc" and finding.outcome is Outcome.PASS
        if vouched and finding.facts.get(VOUCHED) == author:
            return finding.facts.get("header.d", "")
    return ""


def applicable_policy(record: Mapping[str, str]) -> str:
    """none, quarantine or reject for a failing message of this author domain (RFC 9989 sections 4.7, 4.10.1)."""
    policy = record.get("p") or "none"
    if record.get("domain") != record.get("policy_domain"):
        policy = record.get("sp") or policy
        if record.get("existing") == "no":
            policy = record.get("np") or policy
    if record.get("testing") == "yes":
        # RFC 9989 section 4.7, tag t: one level below the policy as published.
        policy = _ONE_LEVEL_LOWER.get(policy, "none")
    return policy


def _aligned(findings: Iterable[Finding], record: Mapping[str, str], outcome: Outcome) -> Iterable[tuple[str, str]]:
    """(method, domain) of each SPF and DKIM result with this outcome whose domain aligns (RFC 9989 section 4.4)."""
    for method, mode, domain in _identifiers(findings, record, outcome):
        if domain == record.get("domain") or (mode != "s" and _same_organization(domain, record)):
            yield method, domain


def _is_unanswered(findings: Iterable[Finding], record: Mapping[str, str]) -> bool:
    """Whether what DNS did not tell could have made DMARC pass: that is no DMARC fail."""
    return any(_aligned(findings, record, Outcome.TEMPERROR)) or any(
        mode != "s" and record.get(ORG_FACT + domain) == ""
        for outcome in (Outcome.PASS, Outcome.TEMPERROR)
        for _, mode, domain in _identifiers(findings, record, outcome)
    )


def _is_unexamined(findings: Iterable[Finding]) -> bool:
    """Whether who could have made DMARC pass failed, was left out or not waited for: that is none either."""
    silent = (f for f in findings if f.outcome is Outcome.ERROR or is_unheard(f) or UNVERIFIED in f.facts)
    return any(f.actor == "dkim" or f.name in ("spf", "policy") for f in silent)


def is_ours_or_peers(findings: Iterable[Finding]) -> bool:
    """Whether signatures were left alone, since the mail is ours to sign, or a peer's.

    A stranger's that is left alone for other reasons (an exempt domain, a filter that only signs) is neither.
    """
    told = [finding for finding in findings if finding.actor == "dkim"]
    return any(map(_is_ours_or_a_peers, told)) and not any(one.name in ("dkim", "unsigned") for one in told)


def _is_ours_or_a_peers(finding: Finding) -> bool:
    if finding.name != SIGNING:
        return False
    if finding.outcome is Outcome.SKIPPED:
        return OURS in finding.facts or finding.facts.get("rule") == "PeerList"
    return finding.outcome in (Outcome.PASS, Outcome.PERMERROR)


def _identifiers(
    findings: Iterable[Finding], record: Mapping[str, str], outcome: Outcome
) -> Iterable[tuple[str, str, str]]:
    """(method, alignment mode, domain) of each SPF and DKIM result with this outcome."""
    for finding in findings:
        if finding.outcome is not outcome:
            continue
        if finding.actor == "policy" and finding.name == "spf":
            yield "spf", record.get("aspf", "r"), _domain(finding.facts.get("domain", ""))
        elif finding.actor == "dkim" and finding.name == "dkim":
            yield "dkim", record.get("adkim", "r"), _domain(finding.facts.get("header.d", ""))


def _same_organization(domain: str, record: Mapping[str, str]) -> bool:
    organization = record.get("org_domain", "")
    return organization != "" and record.get(ORG_FACT + domain) == organization


def _domain(text: str) -> str:
    return text.lower().rstrip(".")
