"""DMARC evaluation (RFC 9989): does an authenticated domain align with the author domain, and what if none does.

Pure: the policy actor has looked up the record and the organizational domains (finding `dmarc_record`); what SPF and
DKIM said is in their own findings. `evaluate_dmarc` draws the conclusion once, for rules, score and headers alike.
"""

from collections.abc import Iterable, Mapping

from actors.model import FORGIVEN, SIGNING, VOUCHED, Finding, Outcome, is_unheard

ORG_FACT = "org:"
"""Facts `org:DOMAIN` of the finding `dmarc_record`: the organizational domain of DOMAIN, "" when DNS failed."""

_ONE_LEVEL_LOWER = {"reject": "quarantine", "quarantine": "none"}
_WITHOUT_EVALUATION = (Outcome.NONE, Outcome.TEMPERROR, Outcome.PERMERROR)


def evaluate_dmarc(findings: Iterable[Finding]) -> Finding | None:
    """The finding `dmarc`: none, pass, fail, temperror or permerror; None when no record was looked for.

    Facts: `header.from`, `policy.dmarc` (the policy that applies to a failure), `aligned` (what passed).
    """
    findings = tuple(findings)
    record = next((f for f in findings if f.actor == "policy" and f.name == "dmarc_record"), None)
    if record is None or record.outcome not in (Outcome.PASS, *_WITHOUT_EVALUATION):
        return None
    author = record.facts.get("domain", "")
    if record.outcome in _WITHOUT_EVALUATION:
        return Finding("policy", "dmarc", record.outcome, detail=record.detail, facts={"header.from": author})
    aligned = sorted({f"{method}:{domain}" for method, domain in _aligned(findings, record.facts, Outcome.PASS)})
    if aligned and record.facts.get("ambiguous") == "yes":
        outcome, detail = Outcome.PERMERROR, "the author field shows another domain besides"
    elif aligned:
        outcome, detail = Outcome.PASS, f"aligned {', '.join(aligned)}"
    elif _undecided(findings, record.facts):
        outcome, detail = Outcome.TEMPERROR, "an identifier that may align could not be checked"
    else:
        outcome, detail = Outcome.FAIL, "no aligned identifier passed"
    facts = {"header.from": author, "policy.dmarc": applicable_policy(record.facts), "aligned": ",".join(aligned)}
    if outcome is Outcome.FAIL and (sealer := _forgiving(findings, record.facts)):
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


def _undecided(findings: tuple[Finding, ...], record: Mapping[str, str]) -> bool:
    """Whether what did not answer could have made DMARC pass: a failure of DNS or of ours is no DMARC fail.

    Nor is an actor that was left out or not waited for.
    """
    if any(_aligned(findings, record, Outcome.TEMPERROR)) or _unverified(findings):
        return True
    silent = (f for f in findings if f.outcome is Outcome.ERROR or is_unheard(f))
    if any(f.actor == "dkim" or f.name in ("spf", "policy") for f in silent):
        return True
    return any(
        mode != "s" and record.get(ORG_FACT + domain) == ""
        for _, mode, domain in _identifiers(findings, record, Outcome.PASS)
    )


def _unverified(findings: Iterable[Finding]) -> bool:
    """Whether signatures were left alone, since the mail is ours to sign, or a peer's."""
    names = {f.name: f.outcome for f in findings if f.actor == "dkim"}
    left_alone = names.get(SIGNING) in (Outcome.PASS, Outcome.SKIPPED)
    return left_alone and not names.keys() & {"dkim", "unsigned"}


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
