import pytest

from actors.config import JudgementConfig, PolicyConfig
from actors.decide import decide
from actors.model import (
    VOUCHED,
    Action,
    Client,
    ErrorKind,
    Finding,
    Outcome,
    Recipient,
    cut_finding,
    error_finding,
    skipped_finding,
)
from actors.reports.observe import observe
from actors.reports.row import Published, Row
from tests.actors.reports.samples import PASSED, ROW, dkim, dmarc, message, record, spf, verdict


def observed(*findings: Finding, action: Action = Action.ACCEPT) -> Row:
    seen = observe(verdict(*findings, action=action), message())
    assert seen is not None
    return seen[1]


def test_a_passing_message_is_a_row_of_what_was_checked() -> None:
    seen = observe(verdict(*PASSED), message())
    assert seen == (Published("example.org", "reject", "quarantine", "quarantine", "r", "s", "n", "treewalk"), ROW)


def test_what_decide_concludes_is_what_is_counted() -> None:
    findings = [record(), spf(), dkim("example.org")]
    seen = observe(decide(findings, message(), JudgementConfig()), message())
    assert seen is not None
    assert seen[1] == ROW
    failed = decide(
        [record(), spf()], message(), JudgementConfig(policy=PolicyConfig(dmarc_points={"quarantine": 6.0}))
    )
    seen = observe(failed, message())
    assert seen is not None
    assert (seen[1].disposition, seen[1].dkim, seen[1].spf) == ("quarantine", "fail", "fail")


def test_nothing_is_counted_that_nobody_asked_about() -> None:
    without = [finding for finding in PASSED if finding.name != "dmarc_record"]
    assert observe(verdict(*without), message()) is None
    assert observe(verdict(*without, record(rua="")), message()) is None
    assert observe(verdict(*PASSED[:1]), message()) is None
    none = Finding("policy", "dmarc_record", Outcome.NONE, facts={"domain": "news.example.org"})
    assert observe(decide([none, spf()], message(), JudgementConfig()), message()) is None


def test_copies_explanations_and_what_comes_again_are_not_counted() -> None:
    assert observe(verdict(*PASSED), message(mirrored=True)) is None
    assert observe(verdict(*PASSED), message(explained=True)) is None
    assert observe(verdict(*PASSED, action=Action.TEMPFAIL), message()) is None


@pytest.mark.parametrize("missing", [cut_finding("dkim"), skipped_finding("dkim")])
def test_without_a_look_at_the_signatures_nothing_is_said(missing: Finding) -> None:
    assert observe(verdict(record(), dmarc(Outcome.FAIL), spf(), missing), message()) is None


@pytest.mark.parametrize(
    ("configured", "action", "disposition", "reasons"),
    [
        ("reject", Action.REJECT, "reject", ()),
        ("reject", Action.DISCARD, "reject", ()),
        ("reject", Action.QUARANTINE, "quarantine", (("local_policy", ""),)),
        ("reject", Action.ACCEPT, "none", (("local_policy", ""),)),
        ("quarantine", Action.ADD_HEADER, "quarantine", ()),
        ("quarantine", Action.REWRITE_SUBJECT, "quarantine", ()),
        ("quarantine", Action.REJECT, "quarantine", ()),
        ("none", Action.REJECT, "none", ()),
        ("none", Action.ACCEPT, "none", ()),
    ],
)
def test_the_disposition_is_what_was_done_and_never_more_than_the_policy(
    configured: str, action: Action, disposition: str, reasons: tuple[tuple[str, str], ...]
) -> None:
    row = observed(record(sp=configured), dmarc(Outcome.FAIL, policy=configured), spf(), action=action)
    assert (row.disposition, row.reasons) == (disposition, reasons)


def test_what_a_trusted_forwarder_vouches_for_is_told_as_such() -> None:
    vouched = Finding("dkim", "arc", Outcome.PASS, facts={"header.d": "list.example", VOUCHED: "news.example.org"})
    seen = observe(decide([record(), spf(), vouched], message(), JudgementConfig()), message())
    assert seen is not None
    assert (seen[1].disposition, seen[1].reasons) == ("none", (("trusted_forwarder", ""),))


def test_testing_is_a_reason_of_its_own() -> None:
    findings = (record(sp="reject", testing="yes"), dmarc(Outcome.FAIL, policy="quarantine"))
    row = observed(*findings, action=Action.REJECT)
    assert (row.disposition, row.reasons) == ("quarantine", (("policy_test_mode", ""),))
    row = observed(*findings, action=Action.ACCEPT)
    assert (row.disposition, row.reasons) == ("none", (("policy_test_mode", ""), ("local_policy", "")))
    seen = observe(verdict(*findings), message())
    assert seen is not None
    assert seen[0].testing == "y"


def test_a_pass_is_a_pass_where_there_is_something_to_enforce() -> None:
    assert observed(*PASSED).disposition == "pass"
    assert observed(*PASSED, action=Action.REJECT).disposition == "pass", "what other filters thought is not told"
    assert observed(record(sp="none"), dmarc(Outcome.PASS, "spf:news.example.org", "none")).disposition == "none"


def test_what_could_not_be_checked_has_a_reason() -> None:
    row = observed(record(), dmarc(Outcome.TEMPERROR), error_finding("dkim", "dkim", ErrorKind.TIMEOUT))
    assert (row.disposition, row.dkim, row.spf, row.reasons) == ("none", "fail", "fail", (("other", "why"),))


def test_each_identifier_is_aligned_for_itself() -> None:
    row = observed(record(), dmarc(Outcome.PASS, "spf:news.example.org"), dkim("elsewhere.example"))
    assert (row.dkim, row.spf) == ("fail", "pass")
    row = observed(record(), dmarc(Outcome.PASS, "dkim:example.org,spf:news.example.org"))
    assert (row.dkim, row.spf) == ("pass", "pass")


def test_signatures_are_told_in_the_order_of_their_weight_and_few_of_them() -> None:
    signatures = (
        dkim("a.example", Outcome.FAIL),
        dkim("z.example"),
        dkim("example.org"),
        dkim("news.example.org"),
        dkim("b.example", Outcome.ERROR),
        dkim("c.example", Outcome.SKIPPED),
        dkim("", Outcome.PERMERROR),
        dkim("d.example", selector=""),
        dkim("example.org"),
    )
    aligned = dmarc(Outcome.PASS, "dkim:example.org,dkim:news.example.org")
    expected = (
        ("news.example.org", "s1", "pass"),
        ("example.org", "s1", "pass"),
        ("z.example", "s1", "pass"),
        ("a.example", "s1", "fail"),
        ("b.example", "s1", "temperror"),
    )
    assert observed(record(), aligned, *signatures).signatures == expected
    assert observed(record(), aligned, *reversed(signatures)).signatures == expected
    many = [dkim(f"n{number}.example", Outcome.FAIL) for number in range(50)]
    assert observed(record(), aligned, *many, dkim()).signatures[0] == ("example.org", "s1", "pass")
    assert len(observed(record(), aligned, *many).signatures) == 10


def test_spf_without_a_domain_is_not_told() -> None:
    row = observed(record(), dmarc(Outcome.FAIL), spf(Outcome.NONE, ""))
    assert (row.spf_domain, row.spf_result) == ("", "")
    row = observed(record(), dmarc(Outcome.FAIL), spf(Outcome.SKIPPED))
    assert (row.spf_domain, row.spf_result) == ("", "")
    row = observed(record(), dmarc(Outcome.FAIL), spf(Outcome.ERROR))
    assert (row.spf_domain, row.spf_result) == ("bounce.example.org", "temperror")


@pytest.mark.parametrize(
    ("ip", "told"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_an_address_has_one_form(ip: str, told: str) -> None:
    seen = observe(verdict(*PASSED), message(ip))
    assert seen is not None
    assert seen[1].source_ip == told


@pytest.mark.parametrize("ip", ["", "unknown", "192.0.2.1\n", "<b>"])
def test_without_an_address_nothing_is_counted(ip: str) -> None:
    assert observe(verdict(*PASSED), message(ip)) is None


def test_the_recipients_domain_is_told_when_it_is_one() -> None:
    several = (Recipient(b"a@one.example"), Recipient(b"b@two.example"))
    seen = observe(verdict(*PASSED), message(recipients=several, sender=b"", client=Client(ip="192.0.2.1")))
    assert seen is not None
    assert (seen[1].envelope_to, seen[1].envelope_from) == ("", "")


@pytest.mark.parametrize(
    "name", ["../../etc", "a!b.example", "a/b.example", "a b.example", "", "<x>.example", "x" * 64]
)
def test_a_policy_domain_that_is_no_name_gets_no_report(name: str) -> None:
    assert observe(verdict(record(policy_domain=name), *PASSED[1:]), message()) is None
