"""actors/decide/settled.py: whatever the outstanding actors may still say, the action is one of those foreseen."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from actors.config import DkimConfig, ErrorPolicy, HeadersConfig, JudgementConfig, Lists, PolicyConfig
from actors.decide import decide, settled
from actors.decide.settled import possible_actions
from actors.dkim.signing.config import SigningConfig
from actors.model import (
    KEY,
    NO_KEY,
    TEST_KEY,
    VOUCHED,
    Action,
    Direction,
    Envelope,
    ErrorKind,
    Finding,
    Message,
    Outcome,
    Recipient,
    cut_finding,
    error_finding,
)
from actors.policy.config import DkimFailures, FormFailures

CONFIG = JudgementConfig()
ACTORS = ("dkim", "policy", "classifier", "antivirus")
SIGNING_CONFIG = SigningConfig(key_table="csl:k=a.b:s:/k", signing_table="csl:a.b=k")
MESSAGE = Message(Envelope(mta_name="mx.example.org", recipients=(Recipient(b"ann@example.org"),)), b"From: b@a.b\r\n")
INFECTED = Finding("antivirus", "clamav", Outcome.INFECTED, detail="Eicar-Signature")
CLEAN = Finding("antivirus", "yara", Outcome.CLEAN)
GTUBE = Finding("policy", "gtube", Outcome.HIT)
ALLOWED = Finding("policy", "allow_client", Outcome.HIT, detail="listed")
SPAM = Finding("classifier", "spam", Outcome.SPAM, 1.0)
HAM = Finding("classifier", "spam", Outcome.HAM, 0.001)
SPF = Finding("policy", "spf", Outcome.PASS)
SIGNED = Finding("dkim", "dkim", Outcome.PASS, facts={"header.d": "a.b"})

# --- what each actor may say, as the module's text bounds it ---------------------------------------------------------

_AUTH = [Outcome.NONE, Outcome.PASS, Outcome.FAIL, Outcome.SOFTFAIL, Outcome.TEMPERROR, Outcome.PERMERROR]
_domains = st.sampled_from(["a.b", "x.a.b", "c.d"])


def _facts(*names: str) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, _domains))


_failures = {actor: st.just(error_finding(actor, actor, ErrorKind.TIMEOUT)) for actor in ACTORS}
_records = st.fixed_dictionaries(
    {"domain": _domains, "policy_domain": _domains, "org_domain": _domains},
    optional={
        "p": st.sampled_from(["none", "quarantine", "reject"]),
        "adkim": st.sampled_from("rs"),
        **{f"org:{domain}": st.sampled_from(["", "a.b"]) for domain in ("a.b", "x.a.b")},
    },
)
_hits = ["gtube", "deny_client", "deny_helo", "deny_sender", "from_missing", "from_multiple", "bare_line_ends"]


def _said_by(actor: str, lists: Lists) -> st.SearchStrategy[Finding]:
    match actor:
        case "antivirus":
            outcomes = st.sampled_from([Outcome.INFECTED, Outcome.CLEAN, Outcome.SKIPPED])
            said = st.builds(Finding, st.just(actor), st.sampled_from(["yara", "clamav", "uninspected"]), outcomes)
        case "classifier":
            said = st.builds(
                Finding, st.just(actor), st.just("spam"), st.sampled_from([Outcome.HAM, Outcome.SPAM]), st.floats()
            )
        case "dkim":
            said = st.builds(
                Finding,
                st.just(actor),
                st.sampled_from(["dkim", "arc", "unsigned", "signing"]),
                st.sampled_from([*_AUTH, Outcome.POLICY, Outcome.SKIPPED, Outcome.ERROR]),
                facts=st.just({"disposition": "sign"})
                | st.fixed_dictionaries(
                    {}, optional={"header.d": _domains, KEY: st.sampled_from([NO_KEY, TEST_KEY]), VOUCHED: _domains}
                ),
            )
        case _:
            allow = ["allow_client", "allow_sender", "allow_author"] if lists.allow_clients else []
            allow += ["proven_author", "shown_author"] if lists.proven_authors else []
            said = st.one_of(
                st.builds(
                    Finding,
                    st.just("policy"),
                    st.just("spf"),
                    st.sampled_from(_AUTH),
                    facts=_facts("domain", "smtp.mailfrom"),
                ),
                st.builds(Finding, st.just("policy"), st.just("dmarc_record"), st.sampled_from(_AUTH), facts=_records),
                st.builds(
                    Finding,
                    st.just("policy"),
                    st.sampled_from(_hits + allow),
                    st.just(Outcome.HIT),
                    facts=_facts("domain"),
                ),
                st.just(Finding("policy", "shown_author", Outcome.TEMPERROR if lists.proven_authors else Outcome.NONE)),
                st.builds(
                    Finding,
                    st.just("policy"),
                    st.just("deny_recipient"),
                    st.just(Outcome.HIT),
                    facts=st.fixed_dictionaries({"recipient": st.sampled_from(["ann@example.org", "bo@example.org"])}),
                ),
            )
    return said | _failures[actor] | st.just(cut_finding(actor))


_messages = st.builds(
    lambda direction: Message(msgspec.structs.replace(MESSAGE.envelope, direction=direction), MESSAGE.header_block),
    st.sampled_from(Direction),
)
_answers = st.sampled_from(["ignore", "tempfail", "quarantine", "reject"])
_actions = st.sampled_from(["accept", "quarantine", "discard", "reject"])
_points = st.sampled_from([-20.0, -2.0, 0.0, 1.5, 6.0, 20.0])
_thresholds = st.sampled_from([0.0, 4.0, 9.5, 15.0])
_symbols = st.dictionaries(
    st.sampled_from(
        ["policy.gtube", "policy.dmarc.fail", "policy.dmarc", "dkim.dkim.pass", "antivirus.yara", "classifier.spam"]
    ),
    _points,
    max_size=3,
)
_signing = [SIGNING_CONFIG, msgspec.structs.replace(SIGNING_CONFIG, on_failure="unsigned"), SigningConfig()]
_configs = st.builds(
    JudgementConfig,
    dkim=st.builds(DkimConfig, signing=st.sampled_from(_signing)),
    policy=st.builds(
        PolicyConfig,
        add_header_score=st.sampled_from([0.5, 5.0]),
        rewrite_subject_score=_thresholds,
        quarantine_score=_thresholds,
        reject_score=_thresholds,
        dmarc_reject=st.booleans(),
        spf_points=st.dictionaries(st.sampled_from(["fail", "pass", "softfail"]), _points),
        dmarc_points=st.dictionaries(st.sampled_from(["reject", "quarantine", "none"]), _points),
        symbol_points=_symbols,
        lists=st.sampled_from([Lists(), Lists(allow_clients=("192.0.2.1",)), Lists(proven_authors=("a.b",))]),
        on_error=st.builds(
            ErrorPolicy,
            dkim=_answers,
            policy=_answers,
            classifier=_answers,
            antivirus=_answers,
            uninspected=st.sampled_from(["ignore", "quarantine", "reject"]),
        ),
        on_dkim=st.sampled_from([DkimFailures()])
        | st.builds(
            DkimFailures,
            no_signature=_actions,
            bad_signature=_actions,
            key_not_found=_actions,
            dns_error=_actions | st.just("tempfail"),
            security=_actions,
        ),
        on_form=st.builds(FormFailures, fields=_actions, line_ends=_actions, from_multiple=_actions),
    ),
)


def _some(draw: Callable[..., list[Finding]], actors: tuple[str, ...], lists: Lists) -> list[Finding]:
    return [one for actor in actors for one in draw(st.lists(_said_by(actor, lists), max_size=3))]


@settings(max_examples=300, deadline=None)
@given(st.data(), _configs, st.sets(st.sampled_from(ACTORS), max_size=3))
def test_no_completion_of_what_is_outstanding_leads_to_an_action_that_was_not_foreseen(
    data: st.DataObject, config: JudgementConfig, outstanding: set[str]
) -> None:
    lists = config.policy.lists
    known = _some(data.draw, ACTORS, lists)
    completion = _some(data.draw, tuple(sorted(outstanding)), lists)
    message = data.draw(_messages)
    possible = possible_actions(known, outstanding, message, config)
    event(f"{len(possible)} possible, {len(outstanding)} outstanding")
    assert decide([*known, *completion], message, config).action in possible


@settings(max_examples=100, deadline=None)
@given(st.data(), _configs)
def test_with_nothing_outstanding_the_action_is_the_one_of_decide(data: st.DataObject, config: JudgementConfig) -> None:
    known, message = _some(data.draw, ACTORS, config.policy.lists), data.draw(_messages)
    assert possible_actions(known, (), message, config) == {decide(known, message, config).action}


# --- and it is of use ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finding", [INFECTED, GTUBE])
def test_what_is_certainly_refused_waits_for_nobody(finding: Finding) -> None:
    assert settled([finding], ACTORS, MESSAGE, CONFIG)


def test_spam_by_its_score_alone_waits_for_the_antivirus_whose_failure_would_mean_try_again() -> None:
    config = JudgementConfig(policy=PolicyConfig(reject_score=9.0))
    assert not settled([SPAM, SPF, SIGNED], {"antivirus"}, MESSAGE, config)
    ignoring = JudgementConfig(policy=PolicyConfig(reject_score=9.0, on_error=ErrorPolicy(antivirus="ignore")))
    assert settled([SPAM, SPF, SIGNED], {"antivirus"}, MESSAGE, ignoring)
    assert settled([SPAM, SPF, CLEAN], {"dkim"}, MESSAGE, config)


def test_nothing_is_delivered_before_the_antivirus_has_spoken() -> None:
    assert not settled([SPF, SIGNED, HAM], {"antivirus"}, MESSAGE, CONFIG)
    assert not settled([ALLOWED, SPF, SIGNED, HAM], {"antivirus"}, MESSAGE, CONFIG)


def test_mail_of_an_allowed_client_does_not_wait_for_its_score() -> None:
    assert settled([ALLOWED, SPF, SIGNED, CLEAN], {"classifier"}, MESSAGE, CONFIG)


def test_delivered_mail_waits_for_what_authentication_results_tell() -> None:
    known = [ALLOWED, CLEAN, HAM, SPF]
    assert possible_actions(known, {"dkim"}, MESSAGE, CONFIG) == {Action.ACCEPT}
    assert not settled(known, {"dkim"}, MESSAGE, CONFIG)
    silent = JudgementConfig(headers=HeadersConfig(authentication_results=False))
    outbound = Message(Envelope(direction=Direction.OUTBOUND, recipients=MESSAGE.envelope.recipients))
    assert settled(known, {"dkim"}, MESSAGE, silent)
    assert settled(known, {"dkim"}, outbound, CONFIG)


def test_a_score_that_no_answer_can_carry_over_a_threshold_is_settled() -> None:
    only_tag = JudgementConfig(
        policy=PolicyConfig(
            reject_score=0.0, symbol_points={"policy.from_missing": 9.0}, spf_points={}, dmarc_points={}
        )
    )
    flaw = Finding("policy", "from_missing", Outcome.HIT)
    known = [flaw, SPF, SIGNED, CLEAN]
    assert possible_actions(known, {"classifier"}, MESSAGE, only_tag) == {Action.ADD_HEADER}
    assert possible_actions(known[1:], {"classifier"}, MESSAGE, only_tag) == {Action.ADD_HEADER, Action.ACCEPT}


RECORD = Finding(
    "policy",
    "dmarc_record",
    Outcome.PASS,
    facts={"domain": "a.b", "policy_domain": "a.b", "org_domain": "a.b", "p": "reject"},
)


def test_a_signature_that_may_align_could_still_forgive_a_failure_of_spf() -> None:
    known = [Finding("policy", "spf", Outcome.FAIL), RECORD, CLEAN, HAM]
    config = JudgementConfig(policy=PolicyConfig(spf_points={"fail": 9.0}))
    assert decide([*known, SIGNED], MESSAGE, config).action is Action.ACCEPT
    assert possible_actions(known, {"dkim"}, MESSAGE, config) == {Action.ACCEPT, Action.ADD_HEADER}


def test_a_signature_that_may_align_could_still_prevent_a_rejection_by_dmarc() -> None:
    known = [Finding("policy", "spf", Outcome.NONE), RECORD, CLEAN, HAM]
    config = JudgementConfig(policy=PolicyConfig(dmarc_reject=True))
    assert possible_actions(known, (), MESSAGE, config) == {Action.REJECT}
    assert possible_actions(known, {"dkim"}, MESSAGE, config) == {Action.REJECT, Action.TEMPFAIL, Action.ACCEPT}


def test_a_signature_that_may_align_could_still_prove_an_author_that_has_to_be_proven() -> None:
    config = JudgementConfig(policy=PolicyConfig(lists=Lists(proven_authors=("a.b",))))
    known = [Finding("policy", "spf", Outcome.NONE), RECORD, CLEAN, HAM]
    author = Finding("policy", "proven_author", Outcome.HIT)
    assert possible_actions([*known, author], (), MESSAGE, config) == {Action.REJECT}
    assert possible_actions([*known, author], {"dkim"}, MESSAGE, config) == {
        Action.REJECT,
        Action.TEMPFAIL,
        Action.ACCEPT,
    }
    assert Action.REJECT in possible_actions([*known, SIGNED], {"policy"}, MESSAGE, config)


def test_mail_that_is_held_since_dns_does_not_answer_waits_for_nobody() -> None:
    config = JudgementConfig(policy=PolicyConfig(dmarc_reject=True))
    key = Finding("dkim", "dkim", Outcome.TEMPERROR, facts={"header.d": "a.b"})
    known = [Finding("policy", "spf", Outcome.NONE), RECORD, CLEAN, key]
    assert possible_actions(known, {"classifier"}, MESSAGE, config) == {Action.TEMPFAIL}
    assert Action.TEMPFAIL in possible_actions(known[:-1], {"dkim"}, MESSAGE, config)


def test_a_signature_could_still_prove_a_sender_that_is_on_an_allow_list() -> None:
    sender = Finding("policy", "allow_sender", Outcome.HIT, facts={"domain": "a.b"})
    known = [sender, SPAM, CLEAN]
    assert possible_actions(known, (), MESSAGE, CONFIG) == {Action.ADD_HEADER}
    assert possible_actions(known, {"dkim"}, MESSAGE, CONFIG) == {Action.ADD_HEADER, Action.ACCEPT}


def test_a_verdict_names_what_was_cut_and_misses_nothing() -> None:
    verdict = decide([INFECTED, cut_finding("dkim"), cut_finding("policy")], MESSAGE, CONFIG, expected=ACTORS[:2])
    assert verdict.action is Action.REJECT
    assert "cut: dkim, policy" in verdict.reasons
    assert not verdict.degraded
    assert not verdict.missing


def test_mail_that_may_be_ours_to_sign_waits_for_dkim() -> None:
    outbound = Message(Envelope(direction=Direction.OUTBOUND), MESSAGE.header_block)
    known = [CLEAN, SPF, HAM]
    assert settled(known, {"dkim"}, outbound, CONFIG)
    assert not settled(known, {"dkim"}, outbound, JudgementConfig(dkim=DkimConfig(signing=SIGNING_CONFIG)))
    assert settled([INFECTED], {"dkim"}, outbound, JudgementConfig(dkim=DkimConfig(signing=SIGNING_CONFIG)))


def test_a_signature_that_fails_or_a_broken_form_could_still_refuse_the_mail() -> None:
    failed = Finding("dkim", "dkim", Outcome.FAIL)
    config = JudgementConfig(policy=PolicyConfig(on_dkim=DkimFailures(bad_signature="quarantine")))
    known = [SPF, CLEAN, HAM]
    assert possible_actions(known, {"dkim"}, MESSAGE, config) == {Action.ACCEPT, Action.QUARANTINE}
    assert possible_actions([*known, failed], (), MESSAGE, config) == {Action.QUARANTINE}
    assert possible_actions([*known, SIGNED], (), MESSAGE, config) == {Action.ACCEPT}
    tagging = PolicyConfig(on_dkim=DkimFailures(bad_signature="quarantine"), reject_score=6.0)
    unsure = possible_actions([SPF, CLEAN, failed], {"classifier"}, MESSAGE, JudgementConfig(policy=tagging))
    assert unsure == {Action.QUARANTINE, Action.REJECT}
    form = JudgementConfig(policy=PolicyConfig(on_form=FormFailures(line_ends="discard")))
    assert Action.DISCARD in possible_actions([SIGNED, CLEAN, HAM], {"policy"}, MESSAGE, form)


def test_mail_that_can_never_be_signed_is_refused_which_is_foreseen_while_dkim_is_outstanding() -> None:
    config, known = JudgementConfig(dkim=DkimConfig(signing=SIGNING_CONFIG)), [CLEAN, SPF, HAM]
    never = Finding("dkim", "signing", Outcome.PERMERROR, facts={"disposition": "sign"})
    assert possible_actions(known, {"dkim"}, MESSAGE, config) == {Action.ACCEPT, Action.TEMPFAIL, Action.REJECT}
    assert possible_actions([*known, never], (), MESSAGE, config) == {Action.REJECT}
