"""What is wrong with the DKIM signatures of a message that has no good one, as [policy.on_dkim] names it. Pure."""

from collections.abc import Iterable

from actors.model import KEY, NO_KEY, TEST_KEY, Finding, Outcome

_BY_OUTCOME = {
    Outcome.NONE: "no_signature",
    Outcome.FAIL: "bad_signature",
    Outcome.TEMPERROR: "dns_error",
    Outcome.PERMERROR: "signature_error",
    Outcome.POLICY: "security",
}
_BY_KEY = {
    NO_KEY: "key_not_found",
    # RFC 6376 section 3.6.1, t=y: no other treatment than unsigned mail has.
    TEST_KEY: "no_signature",
}


def dkim_failures(findings: Iterable[Finding]) -> frozenset[str]:
    """The keys of [policy.on_dkim] that apply; none when a signature is good, or the actor has not spoken."""
    failures = set()
    for finding in findings:
        if finding.actor != "dkim" or finding.name not in ("dkim", "unsigned"):
            continue
        if finding.outcome is Outcome.PASS:
            return frozenset()
        failure = _BY_KEY.get(finding.facts.get(KEY, "")) or _BY_OUTCOME.get(finding.outcome)
        if failure is not None:
            failures.add(failure)
    return frozenset(failures)
