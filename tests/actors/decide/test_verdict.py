"""The verdict: what holds whatever is found, what forces an action, and what the score makes of the rest."""

import math
import re
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.config import HeadersConfig, JudgementConfig, Lists
from actors.decide import decide, decide_early
from actors.model import (
    PLACE,
    VOUCHED,
    Action,
    AddHeader,
    DeleteHeader,
    Envelope,
    ErrorKind,
    Finding,
    InsertHeader,
    Message,
    Outcome,
    Recipient,
    error_finding,
    skipped_finding,
)
from tests.actors.decide.samples import (
    CONFIG,
    GTUBE,
    HAM,
    INFECTED,
    MESSAGE,
    REJECT_RECORD,
    SPAM,
    SPF_FAIL,
    SPF_PASS,
    hit,
    policy,
)

# --- properties ------------------------------------------------------------------------------------------------------

_text = st.text(max_size=20)
_findings = st.lists(
    st.builds(
        Finding,
        actor=st.sampled_from(["policy", "dkim", "classifier", "antivirus", "milter", "stranger"]),
        name=st.sampled_from(
            ["spf", "dkim", "arc", "spam", "dmarc_record", "gtube", "allow_client", "allow_sender", "deny_client"]
        )
        | _text,
        outcome=st.sampled_from(Outcome),
        score=st.floats(),
        detail=_text,
        facts=st.dictionaries(
            st.sampled_from(["domain", "header.d", "header.b", "smtp.mailfrom", "p", "adkim", "org:a.b", "recipient"])
            | _text,
            st.sampled_from(["a.b", "b", "reject", "s"]) | _text,
            max_size=5,
        ),
    ),
    max_size=8,
)
_lines = st.sampled_from(
    [b"Authentication-Results: mx.example.org; spf=pass", b"X-Spam-Flag: YES", b"Subject: a\r\n b", b"odd", b" lead"]
)
_headers = st.lists(_lines | st.binary(max_size=40), max_size=6).map(lambda lines: b"".join(x + b"\r\n" for x in lines))


@given(findings=_findings, headers=_headers, data=st.data())
def test_any_findings_in_any_order_give_the_same_verdict(
    findings: list[Finding], headers: bytes, data: st.DataObject
) -> None:
    message = Message(MESSAGE.envelope, headers, b"")
    shuffled = data.draw(st.permutations(findings))
    assert repr(decide(findings, message, CONFIG)) == repr(decide(shuffled, message, CONFIG))
    assert decide_early(findings, message, CONFIG) == decide_early(shuffled, message, CONFIG)


@given(findings=_findings)
def test_whatever_the_findings_say_no_field_can_be_injected(findings: list[Finding]) -> None:
    for edit in decide(findings, MESSAGE, CONFIG).edits:
        if isinstance(edit, InsertHeader | AddHeader):
            lines = edit.value.split(b"\r\n")
            assert all(line.startswith(b"\t") for line in lines[1:])
            assert re.fullmatch(rb"[ -~]*", edit.value.replace(b"\r\n\t", b""))
            assert all(len(line) < 998 for line in lines)


@given(findings=_findings)
def test_the_points_of_the_reasons_add_up_to_the_score(findings: list[Finding]) -> None:
    verdict = decide(findings, MESSAGE, policy(symbol_points={"policy.gtube": 0.07, "dkim.dkim.fail": -1.13}))
    points = [
        Decimal(match[1]) for reason in verdict.reasons if (match := re.search(r"^\S+: ([+-]\d+\.\d\d), ", reason))
    ]
    assert sum(points, Decimal(0)) == Decimal(str(verdict.score))


@given(findings=_findings)
def test_a_reply_comes_with_tempfail_and_reject_and_with_nothing_else(findings: list[Finding]) -> None:
    verdict = decide(findings, MESSAGE, CONFIG)
    assert (verdict.reply is not None) == (verdict.action in (Action.TEMPFAIL, Action.REJECT))


# --- forced rules ----------------------------------------------------------------------------------------------------


def test_signatures_stay_in_the_order_in_which_they_stand_in_the_message() -> None:
    outcomes = [Outcome.PASS, Outcome.FAIL, Outcome.PERMERROR] * 4
    findings = [Finding("dkim", "dkim", one, facts={PLACE: str(place)}) for place, one in enumerate(outcomes)]
    verdict = decide(findings[::-1], MESSAGE, JudgementConfig())
    assert [finding.outcome for finding in verdict.findings] == outcomes


def test_no_findings_accept() -> None:
    verdict = decide([], MESSAGE, CONFIG)
    assert (verdict.action, verdict.score, verdict.degraded) == (Action.ACCEPT, 0.0, False)
    assert verdict.reasons == ("default: no rule objected",)


def test_malware_is_rejected_even_from_an_allowed_client() -> None:
    verdict = decide([INFECTED, hit("allow_client")], MESSAGE, CONFIG)
    assert verdict.action is Action.REJECT
    assert verdict.reply is not None
    assert (verdict.reply.code, verdict.reply.enhanced) == (554, "5.7.1")
    assert verdict.reasons[0] == "infected: Eicar-Signature"
    assert "Eicar" not in verdict.reply.text


def test_gtube_is_rejected() -> None:
    verdict = decide([GTUBE, HAM], MESSAGE, CONFIG)
    assert verdict.action is Action.REJECT
    assert verdict.reply is not None
    assert verdict.reply.code == 550


@pytest.mark.parametrize("name", ["deny_client", "deny_helo", "deny_sender"])
def test_listed_clients_helos_and_senders_are_rejected(name: str) -> None:
    assert decide([hit(name)], MESSAGE, CONFIG).action is Action.REJECT
    assert decide_early([hit(name)], MESSAGE, CONFIG).action is Action.REJECT


def test_an_early_stage_without_recipients_is_judged_by_who_sends() -> None:
    assert decide_early([hit("deny_helo")], Message(), CONFIG).reasons == ("denied_helo: listed as x",)
    assert decide_early([], Message(), CONFIG).action is Action.ACCEPT


def test_an_allowed_client_is_accepted_without_scoring() -> None:
    verdict = decide([hit("allow_client"), SPAM, SPF_FAIL], MESSAGE, CONFIG)
    assert (verdict.action, verdict.score) == (Action.ACCEPT, 0.0)
    assert not any(isinstance(edit, AddHeader) and edit.name == b"X-Spam-Flag" for edit in verdict.edits)
    assert AddHeader(b"X-Spam-Status", b"No, score=0.00 required=5.00 tests=[allowed]") in verdict.edits


def test_an_allowed_sender_counts_only_when_authenticated() -> None:
    listed = hit("allow_sender", sender="bo@example.net", domain="example.net")
    assert decide([listed, SPAM], MESSAGE, CONFIG).action is Action.ADD_HEADER
    assert decide([listed, SPAM, SPF_FAIL], MESSAGE, CONFIG).action is Action.ADD_HEADER
    assert decide([listed, SPAM, SPF_PASS], MESSAGE, CONFIG).action is Action.ACCEPT


@pytest.mark.parametrize(("signer", "action"), [("example.net", Action.ACCEPT), ("ample.net", Action.ADD_HEADER)])
def test_a_signature_authenticates_a_sender_of_its_own_domain_only(signer: str, action: Action) -> None:
    listed = hit("allow_sender", sender="bo@example.net", domain="example.net")
    signature = Finding("dkim", "dkim", Outcome.PASS, facts={"header.d": signer})
    assert decide([listed, SPAM, signature], MESSAGE, CONFIG).action is action


def test_a_recipient_that_was_refused_before_does_not_refuse_the_others() -> None:
    refused = hit("deny_recipient", recipient="eve@example.org")
    assert decide([refused], MESSAGE, CONFIG).action is Action.ACCEPT
    own = hit("deny_recipient", recipient="ann@example.org")
    assert decide([refused, own], MESSAGE, CONFIG).action is Action.REJECT


def test_only_the_last_recipient_is_judged_at_rcpt() -> None:
    two = Message(Envelope(recipients=(Recipient(b"ann@example.org"), Recipient(b"Eve@example.org"))))
    assert decide_early([hit("deny_recipient", recipient="eve@example.org")], two, CONFIG).action is Action.REJECT
    assert decide_early([hit("deny_recipient", recipient="ann@example.org")], two, CONFIG).action is Action.ACCEPT


def test_many_denied_recipients_are_a_short_reason() -> None:
    addresses = [f"r{n:05}@example.org" for n in range(10_000)]
    many = Message(Envelope(recipients=tuple(Recipient(address.encode()) for address in addresses)))
    verdict = decide([hit("deny_recipient", recipient=address) for address in addresses], many, CONFIG)
    assert verdict.action is Action.REJECT
    assert verdict.reasons[0].endswith("r00003@example.org, r00004@example.org and 9995 more")


def test_long_names_are_cut_in_the_reason() -> None:
    long = Finding("antivirus", "clamav", Outcome.INFECTED, detail="x" * 100_000)
    assert len(decide([long], MESSAGE, CONFIG).reasons[0]) < 250


@pytest.mark.parametrize(("forged", "action"), [(1000, Action.ACCEPT), (1001, Action.REJECT), (50_000, Action.REJECT)])
def test_more_forged_fields_than_can_be_removed_are_refused(forged: int, action: Action) -> None:
    header = b"X-Spam-Status: No\r\n" * (forged - 1) + b"Authentication-Results: mx.example.org; dkim=pass\r\n"
    for findings in ([], [hit("allow_client")]):
        verdict = decide(findings, Message(MESSAGE.envelope, header), CONFIG)
        assert verdict.action is action
    if action is Action.REJECT:
        assert verdict.reply is not None
        assert (verdict.reply.code, verdict.reply.enhanced) == (554, "5.6.0")
        assert verdict.reasons[0] == f"forged_header: {forged} fields under our names"


# --- DMARC and score -------------------------------------------------------------------------------------------------


def test_a_dmarc_failure_is_rejected_only_when_configured() -> None:
    assert decide([REJECT_RECORD, SPF_FAIL], MESSAGE, policy(dmarc_reject=True)).action is Action.REJECT
    assert decide([REJECT_RECORD, SPF_FAIL], MESSAGE, CONFIG).action is Action.ADD_HEADER
    assert decide([REJECT_RECORD, SPF_PASS], MESSAGE, policy(dmarc_reject=True)).action is Action.ACCEPT


def test_dmarc_does_not_reject_what_our_own_failure_kept_from_passing() -> None:
    late = error_finding("dkim", "dkim", ErrorKind.TIMEOUT)
    assert decide([REJECT_RECORD, SPF_FAIL, late], MESSAGE, policy(dmarc_reject=True)).action is not Action.REJECT


@pytest.mark.parametrize(
    "beside",
    [
        error_finding("dkim", "dkim", ErrorKind.TIMEOUT),
        skipped_finding("dkim"),
        Finding("dkim", "signing", Outcome.SKIPPED),
    ],
)
@pytest.mark.parametrize("spf_outcome", [Outcome.FAIL, Outcome.PASS])
def test_mail_is_not_held_for_a_dmarc_that_we_did_not_check(beside: Finding, spf_outcome: Outcome) -> None:
    """A failure of ours is [policy.on_error]'s, under stress all mail would be held; ours and a peer's is let be."""
    config = policy(dmarc_reject=True, lists=Lists(proven_authors=("a.example",)))
    spf = Finding("policy", "spf", spf_outcome, facts={"domain": "other.example"})
    author = Finding("policy", "proven_author", Outcome.HIT)
    assert decide([REJECT_RECORD, spf, author, beside], MESSAGE, config).action is not Action.TEMPFAIL


def test_a_signature_of_which_neither_key_nor_organization_is_known_may_be_the_one_that_aligns() -> None:
    unknown = {**REJECT_RECORD.facts, "org:mail.a.example": ""}
    record = msgspec.structs.replace(REJECT_RECORD, facts=unknown)
    key = Finding("dkim", "dkim", Outcome.TEMPERROR, facts={"header.d": "mail.a.example"})
    assert decide([REJECT_RECORD, key], MESSAGE, policy(dmarc_reject=True)).action is Action.REJECT
    assert decide([record, key], MESSAGE, policy(dmarc_reject=True)).action is Action.TEMPFAIL


PEER = {"disposition": "ignore", "rule": "PeerList"}


def test_a_peers_mail_is_not_held_when_dns_does_not_answer() -> None:
    config = policy(lists=Lists(proven_authors=("a.example",)))
    record = Finding("policy", "dmarc_record", Outcome.TEMPERROR, facts={"domain": "a.example"})
    author, peer = (
        Finding("policy", "proven_author", Outcome.HIT),
        Finding("dkim", "signing", Outcome.SKIPPED, facts=PEER),
    )
    assert decide([record, author], MESSAGE, config).action is Action.TEMPFAIL
    assert decide([record, author, peer], MESSAGE, config).action is Action.ACCEPT


def test_what_a_peers_mail_shows_is_his_to_judge() -> None:
    shown, peer = (
        Finding("policy", "shown_author", Outcome.HIT),
        Finding("dkim", "signing", Outcome.SKIPPED, facts=PEER),
    )
    assert decide([shown], MESSAGE, policy()).action is Action.REJECT
    assert decide([shown, peer], MESSAGE, policy()).action is Action.ACCEPT


def test_a_forwarder_who_is_trusted_vouches_for_an_author_about_whom_dns_does_not_answer() -> None:
    author = REJECT_RECORD.facts["domain"]
    key = Finding("dkim", "dkim", Outcome.TEMPERROR, facts={"header.d": author})
    chain = Finding("dkim", "arc", Outcome.PASS, facts={VOUCHED: author, "header.d": "list.example"})
    config = policy(dmarc_reject=True, symbol_points={}, spf_points={})
    assert decide([REJECT_RECORD, key], MESSAGE, config).action is Action.TEMPFAIL
    assert decide([REJECT_RECORD, key, chain], MESSAGE, config).action is Action.ACCEPT


def test_a_sure_classifier_marks_spam_that_passes_spf_but_never_rejects_alone() -> None:
    verdict = decide([SPAM, SPF_PASS], MESSAGE, CONFIG)
    assert verdict.action is Action.ADD_HEADER
    certain = Finding("classifier", "spam", Outcome.SPAM, 1.0)
    assert decide([certain], MESSAGE, CONFIG).action is Action.ADD_HEADER
    assert decide([certain, REJECT_RECORD, SPF_FAIL], MESSAGE, CONFIG).action is Action.REJECT


@pytest.mark.parametrize(
    ("thresholds", "action"),
    [
        ({"reject_score": 6.0}, Action.REJECT),
        ({"quarantine_score": 6.0}, Action.QUARANTINE),
        ({"rewrite_subject_score": 6.0}, Action.REWRITE_SUBJECT),
        ({"reject_score": 0.0}, Action.ADD_HEADER),
    ],
)
def test_the_severest_threshold_that_is_reached_counts(thresholds: dict[str, float], action: Action) -> None:
    verdict = decide([SPAM], MESSAGE, policy(**thresholds))
    assert verdict.action is action
    assert bool(verdict.quarantine_reason) == (action is Action.QUARANTINE)


def test_what_is_not_delivered_is_not_edited() -> None:
    forged = Message(MESSAGE.envelope, b"X-Spam-Flag: NO\r\n")
    assert decide([GTUBE], forged, CONFIG).edits == ()
    assert DeleteHeader(b"X-Spam-Flag", 1) in decide([], forged, CONFIG).edits


def test_the_verdict_carries_the_dmarc_conclusion_among_its_findings() -> None:
    verdict = decide([REJECT_RECORD, SPF_PASS], MESSAGE, CONFIG)
    assert [f.outcome for f in verdict.findings if f.name == "dmarc"] == [Outcome.PASS]
    assert math.isclose(verdict.score, 0.0)


def test_no_header_is_written_under_a_name_that_is_switched_off() -> None:
    headers = HeadersConfig(flag="", score="", status="", authentication_results=False)
    assert decide([SPAM], MESSAGE, JudgementConfig(headers=headers)).edits == ()
