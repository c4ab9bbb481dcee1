"""One judged message as a row of an aggregate report. Pure.

Nothing is told that DMARC did not decide: the disposition is what was done, but never more than the policy asks for, so
that a report does not give away what other filters thought (RFC 9990 section 9.3).
"""

import ipaddress
from collections.abc import Iterable

from actors.decide.dmarc import applicable_policy, is_forgiven
from actors.model import Action, Finding, Message, Outcome, Verdict, is_unheard
from actors.policy.author import domain_of
from actors.reports.names import is_domain
from actors.reports.row import Published, Row

_SIGNATURES_MAX = 10
"""RFC 9990 section 3.1.3 wants at most 100; every one more lets strangers make more rows."""
_SEVERITY = {"none": 0, "quarantine": 1, "reject": 2}
_DONE = {
    Action.ACCEPT: "none",
    # The recipient finds it marked or among the spam, which is what p=quarantine asks for (RFC 9989 section 4.7).
    Action.ADD_HEADER: "quarantine",
    Action.REWRITE_SUBJECT: "quarantine",
    Action.QUARANTINE: "quarantine",
    Action.DISCARD: "reject",
    Action.REJECT: "reject",
}
_RESULTS = {
    outcome: outcome.value
    for outcome in (
        Outcome.NONE,
        Outcome.PASS,
        Outcome.FAIL,
        Outcome.SOFTFAIL,
        Outcome.NEUTRAL,
        Outcome.POLICY,
        Outcome.TEMPERROR,
        Outcome.PERMERROR,
    )
} | {Outcome.ERROR: "temperror"}


def observe(verdict: Verdict, message: Message) -> tuple[Published, Row] | None:
    """What is counted of a message; None when nobody wants to know, or when it comes again (tempfail)."""
    envelope = message.envelope
    done = _DONE.get(verdict.action)
    source_ip = _address(envelope.client.ip)
    if envelope.mirrored or envelope.explained or done is None or not source_ip:
        return None
    record, dmarc = _named(verdict.findings, "dmarc_record"), _named(verdict.findings, "dmarc")
    if record is None or dmarc is None or record.facts.get("rua") != "yes" or _unverified(verdict.findings):
        return None
    published = _published(record)
    if not is_domain(published.domain):
        return None
    aligned = dmarc.facts.get("aligned", "")
    disposition, reasons = _disposition(record, dmarc, done)
    spf = _named(verdict.findings, "spf")
    recipients = {domain_of(recipient.address) for recipient in envelope.recipients}
    return published, Row(
        source_ip=source_ip,
        header_from=record.facts.get("domain", ""),
        envelope_from=domain_of(envelope.sender),
        envelope_to=recipients.pop() if len(recipients) == 1 else "",
        disposition=disposition,
        dkim="pass" if "dkim:" in aligned else "fail",
        spf="pass" if "spf:" in aligned else "fail",
        reasons=reasons,
        signatures=_signatures(verdict.findings, record, aligned),
        spf_domain=spf.facts.get("domain", "") if spf is not None and spf.outcome in _RESULTS else "",
        spf_result=_RESULTS.get(spf.outcome, "") if spf is not None and spf.facts.get("domain") else "",
    )


def _named(findings: Iterable[Finding], name: str) -> Finding | None:
    return next((finding for finding in findings if finding.name == name and finding.actor == "policy"), None)


def _unverified(findings: Iterable[Finding]) -> bool:
    """Whether signatures were not looked at: "no aligned identifier" would then be said of nobody's mistake."""
    return any(f.actor == "dkim" and is_unheard(f) for f in findings)


def _address(ip: str) -> str:
    """The address of the client in its one form; "" when it cannot be read."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _published(record: Finding) -> Published:
    """RFC 9990 section 3.1.1.5: what was discovered, or the default."""
    facts = record.facts
    p = facts.get("p", "none")
    sp = facts.get("sp") or p
    return Published(
        domain=facts.get("policy_domain", ""),
        p=p,
        sp=sp,
        np=facts.get("np") or sp,
        adkim=facts.get("adkim", "r"),
        aspf=facts.get("aspf", "r"),
        testing="y" if facts.get("testing") == "yes" else "n",
        discovery=facts.get("discovery", "treewalk"),
        fo=facts.get("fo", "0"),
    )


def _disposition(record: Finding, dmarc: Finding, done: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """(what the policy came to, why it was not applied as configured): RFC 9990 sections 3.1.1.9 and 3.1.6.

    Nothing here recognises mailing lists, so that reason is never told: what our own rules, lists and thresholds made
    of a failure is `local_policy`.
    """
    configured = applicable_policy({**record.facts, "testing": "no"})
    applicable = dmarc.facts.get("policy.dmarc", "none")
    if dmarc.outcome is Outcome.PASS:
        return ("none" if configured == "none" else "pass"), ()
    if dmarc.outcome is not Outcome.FAIL:
        return "none", () if configured == "none" else (("other", dmarc.detail),)
    disposition = min(applicable, done, key=lambda word: _SEVERITY.get(word, 0))
    reasons = []
    if applicable != configured:
        reasons.append(("policy_test_mode", ""))
    if disposition != applicable:
        reasons.append(("trusted_forwarder" if is_forgiven(dmarc) else "local_policy", ""))
    return disposition, tuple(reasons)


def _signatures(findings: Iterable[Finding], record: Finding, aligned: str) -> tuple[tuple[str, str, str], ...]:
    """RFC 9990 section 3.1.3: those that passed in strict alignment, in relaxed alignment, or at all, then the rest."""
    found = set()
    for finding in findings:
        domain, selector = finding.facts.get("header.d", ""), finding.facts.get("header.s", "")
        if finding.actor != "dkim" or finding.name != "dkim" or finding.outcome not in _RESULTS:
            continue
        if domain and selector:  # both are required in a report
            passed = finding.outcome is Outcome.PASS
            strict = passed and domain == record.facts.get("domain")
            relaxed = passed and f"dkim:{domain}" in aligned.split(",")
            found.add((not strict, not relaxed, not passed, domain, selector, _RESULTS[finding.outcome]))
    return tuple((domain, selector, result) for _, _, _, domain, selector, result in sorted(found)[:_SIGNATURES_MAX])
