import pytest

from actors.decide.dmarc import applicable_policy, evaluate_dmarc
from actors.model import ErrorKind, Finding, Outcome, cut_finding, error_finding, skipped_finding

RECORD = {
    "domain": "news.example.org",
    "policy_domain": "example.org",
    "org_domain": "example.org",
    "p": "reject",
    "org:bounce.example.org": "example.org",
    "org:example.org": "example.org",
    "org:other.example.org": "other.example.org",
}


def record(outcome: Outcome = Outcome.PASS, **facts: str) -> Finding:
    return Finding("policy", "dmarc_record", outcome, facts=RECORD | facts)


def spf(domain: str, outcome: Outcome = Outcome.PASS) -> Finding:
    return Finding("policy", "spf", outcome, facts={"smtp.mailfrom": domain, "domain": domain})


def dkim(domain: str, outcome: Outcome = Outcome.PASS) -> Finding:
    return Finding("dkim", "dkim", outcome, facts={"header.d": domain})


def outcome(*findings: Finding) -> Outcome | None:
    finding = evaluate_dmarc(findings)
    return finding.outcome if finding else None


def test_nothing_is_concluded_where_no_record_was_looked_for() -> None:
    assert evaluate_dmarc([spf("example.org")]) is None
    assert evaluate_dmarc([record(Outcome.SKIPPED)]) is None


@pytest.mark.parametrize("result", [Outcome.NONE, Outcome.TEMPERROR, Outcome.PERMERROR])
def test_without_a_usable_record_the_lookup_is_the_conclusion(result: Outcome) -> None:
    assert outcome(record(result), spf("news.example.org")) is result


@pytest.mark.parametrize(
    "identifier",
    [
        spf("news.example.org"),
        dkim("news.example.org"),
        dkim("NEWS.Example.ORG."),
        spf("bounce.example.org"),
        dkim("example.org"),
    ],
)
def test_an_aligned_identifier_that_passes_is_enough(identifier: Finding) -> None:
    assert outcome(record(), dkim("mailer.example"), identifier) is Outcome.PASS


@pytest.mark.parametrize(
    "identifier",
    [
        spf("news.example.org", Outcome.FAIL),
        dkim("news.example.org", Outcome.FAIL),
        dkim("mailer.example"),
        dkim("badexample.org"),
        dkim("other.example.org"),
        spf("unknown.example.org"),
        dkim(""),
    ],
)
def test_what_fails_or_belongs_to_another_organization_is_not(identifier: Finding) -> None:
    assert outcome(record(), identifier) is Outcome.FAIL


def test_an_author_field_that_shows_two_domains_can_fail_but_not_pass() -> None:
    assert outcome(record(ambiguous="yes"), dkim("news.example.org")) is Outcome.PERMERROR
    assert outcome(record(ambiguous="yes"), dkim("mailer.example")) is Outcome.FAIL


def test_strict_alignment_wants_the_very_domain() -> None:
    assert outcome(record(adkim="s"), dkim("example.org")) is Outcome.FAIL
    assert outcome(record(adkim="s"), dkim("news.example.org")) is Outcome.PASS
    assert outcome(record(adkim="s"), spf("bounce.example.org")) is Outcome.PASS
    assert outcome(record(aspf="s"), spf("bounce.example.org")) is Outcome.FAIL


@pytest.mark.parametrize(
    "silence",
    [
        error_finding("dkim", "dkim", ErrorKind.TIMEOUT),
        error_finding("policy", "policy", ErrorKind.TIMEOUT),
        skipped_finding("dkim"),
        cut_finding("dkim"),
        Finding("dkim", "signing", Outcome.PERMERROR, facts={"disposition": "sign"}),
        spf("bounce.example.org", Outcome.TEMPERROR),
        dkim("news.example.org", Outcome.TEMPERROR),
    ],
)
def test_what_could_not_be_checked_is_no_failure(silence: Finding) -> None:
    assert outcome(record(), silence) is Outcome.TEMPERROR
    assert outcome(record(), silence, dkim("example.org")) is Outcome.PASS


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"rule": "PeerList"}, Outcome.TEMPERROR),
        ({"rule": "DontSignMailTo", "ours": "yes"}, Outcome.TEMPERROR),
        ({"rule": "ExemptDomains", "ours": "yes"}, Outcome.TEMPERROR),
        ({"rule": "ExemptDomains"}, Outcome.FAIL),
        ({"rule": "SigningTable"}, Outcome.FAIL),
        ({"rule": "SigningTable", "unverified": "1"}, Outcome.TEMPERROR),
    ],
)
def test_a_strangers_mail_that_is_left_alone_is_judged_where_no_signature_could_tell_more(
    facts: dict[str, str], expected: Outcome
) -> None:
    alone = Finding("dkim", "signing", Outcome.SKIPPED, facts={"disposition": "ignore", **facts})
    assert outcome(record(), alone) is expected
    assert outcome(record(), alone, spf("news.example.org")) is Outcome.PASS


def test_signatures_beyond_the_cap_do_not_excuse_a_failure() -> None:
    beyond = Finding("dkim", "dkim", Outcome.SKIPPED, detail="beyond the first 5 signatures")
    assert outcome(record(), beyond, Finding("dkim", "unverified", Outcome.SKIPPED)) is Outcome.FAIL


def test_an_organization_that_dns_did_not_tell_is_no_failure() -> None:
    assert outcome(record(**{"org:x.example.org": ""}), dkim("x.example.org")) is Outcome.TEMPERROR


def test_a_stranger_whose_dns_fails_changes_nothing() -> None:
    assert outcome(record(), dkim("mailer.example", Outcome.TEMPERROR)) is Outcome.FAIL


def test_the_conclusion_names_author_policy_and_what_aligned() -> None:
    finding = evaluate_dmarc([record(), spf("bounce.example.org"), dkim("example.org")])
    assert finding is not None
    assert finding.facts == {
        "header.from": "news.example.org",
        "policy.dmarc": "reject",
        "aligned": "dkim:example.org,spf:bounce.example.org",
    }


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"domain": "a.b", "policy_domain": "a.b", "p": "quarantine", "sp": "none"}, "quarantine"),
        ({"domain": "x.a.b", "policy_domain": "a.b", "p": "quarantine", "sp": "none"}, "none"),
        ({"domain": "x.a.b", "policy_domain": "a.b", "p": "quarantine"}, "quarantine"),
        ({"domain": "x.a.b", "policy_domain": "a.b", "p": "none", "np": "reject", "existing": "yes"}, "none"),
        ({"domain": "x.a.b", "policy_domain": "a.b", "p": "none", "np": "reject", "existing": "no"}, "reject"),
        ({"domain": "a.b", "policy_domain": "a.b", "p": "reject", "testing": "yes"}, "quarantine"),
        ({"domain": "a.b", "policy_domain": "a.b", "p": "quarantine", "testing": "yes"}, "none"),
        ({"domain": "a.b", "policy_domain": "a.b", "p": "none", "testing": "yes"}, "none"),
        ({}, "none"),
    ],
)
def test_the_policy_that_applies_follows_from_where_the_record_was_found(facts: dict[str, str], expected: str) -> None:
    assert applicable_policy(facts) == expected
