"""[policy.on_dkim] and [policy.on_form]: each failure has its action, and by default none."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from actors.config import DkimConfig, JudgementConfig, Lists, PolicyConfig
from actors.decide import decide
from actors.decide.dkim import dkim_failures
from actors.dkim.actor import DkimActor
from actors.model import (
    KEY,
    NO_KEY,
    TEST_KEY,
    Action,
    Direction,
    Envelope,
    ErrorKind,
    Finding,
    Message,
    Outcome,
    Stage,
    Verdict,
    cut_finding,
    error_finding,
)
from actors.policy.config import DkimFailures, FormFailures
from tests.fakes import FakeClock, FakeResolver, budget
from tests.signing import signed_message


class SilentResolver(FakeResolver):
    async def txt(self, name: str) -> Sequence[bytes]:
        self.questions.append((name, "TXT"))
        await asyncio.Event().wait()
        return []


MESSAGE = Message(Envelope(mta_name="mx.example.org", sender=b"bo@example.net"), b"From: bo@example.net\r\n")
PASS = Finding("dkim", "dkim", Outcome.PASS, facts={"header.d": "example.net"})
SKIPPED = Finding("dkim", "dkim", Outcome.SKIPPED)
FAILURES = {
    "no_signature": Finding("dkim", "unsigned", Outcome.NONE),
    "bad_signature": Finding("dkim", "dkim", Outcome.FAIL),
    "key_not_found": Finding("dkim", "dkim", Outcome.PERMERROR, facts={KEY: NO_KEY}),
    "dns_error": Finding("dkim", "dkim", Outcome.TEMPERROR),
    "signature_error": Finding("dkim", "dkim", Outcome.PERMERROR),
    "security": Finding("dkim", "dkim", Outcome.POLICY),
}
FLAWS = {
    "fields_repeated": "fields",
    "from_missing": "fields",
    "date_missing": "fields",
    "bare_line_ends": "line_ends",
}
ACTIONS = ("accept", "quarantine", "discard", "tempfail", "reject")


def dkim(*findings: Finding, message: Message = MESSAGE, **answers: str) -> Verdict:
    config = JudgementConfig(policy=PolicyConfig(on_dkim=DkimFailures(**answers)))
    return decide(findings, message, config)


def test_every_failure_has_a_key_of_its_own() -> None:
    assert set(FAILURES) == set(DkimFailures.__struct_fields__)
    for name, finding in FAILURES.items():
        assert dkim_failures([finding]) == {name}


@pytest.mark.parametrize(("failure", "answer"), [*itertools.product(FAILURES, ACTIONS)])
def test_each_failure_can_have_each_action(failure: str, answer: str) -> None:
    verdict = dkim(FAILURES[failure], **{failure: answer})
    assert verdict.action.value == answer
    if answer != "accept":
        assert verdict.reasons[0] == f"faulty: {failure}"
    assert (verdict.reply is not None) is (answer in ("tempfail", "reject"))


@pytest.mark.parametrize("failure", FAILURES)
def test_by_default_no_failure_is_held_against_the_mail(failure: str) -> None:
    assert dkim(FAILURES[failure]).action is Action.ACCEPT


@pytest.mark.parametrize("failure", FAILURES)
def test_one_good_signature_is_enough(failure: str) -> None:
    assert dkim(FAILURES[failure], PASS, SKIPPED, **dict.fromkeys(FAILURES, "reject")).action is Action.ACCEPT


def test_a_refusal_says_why_in_the_words_of_rfc_7372() -> None:
    reply = dkim(FAILURES["bad_signature"], bad_signature="reject").reply
    assert reply is not None
    assert (reply.code, reply.enhanced) == (550, "5.7.20")


def test_what_may_be_better_later_is_tried_again_before_anything_else_then_the_severest_counts() -> None:
    found = [FAILURES["dns_error"], FAILURES["bad_signature"], FAILURES["key_not_found"]]
    answers = {"dns_error": "tempfail", "bad_signature": "reject", "key_not_found": "quarantine"}
    assert dkim(*found, **answers).action is Action.TEMPFAIL
    assert dkim(*found[1:], **answers).action is Action.REJECT
    assert dkim(*found[2:], **answers).action is Action.QUARANTINE


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.PERMERROR, Outcome.POLICY])
def test_the_failure_of_a_key_in_test_mode_counts_as_no_signature(outcome: Outcome) -> None:
    tested = Finding("dkim", "dkim", outcome, facts={KEY: TEST_KEY})
    others = dict.fromkeys(set(FAILURES) - {"no_signature"}, "reject")
    assert dkim(tested, **others).action is Action.ACCEPT
    assert dkim(tested, no_signature="quarantine").action is Action.QUARANTINE


@pytest.mark.parametrize("silence", [error_finding("dkim", "dkim", ErrorKind.TIMEOUT), cut_finding("dkim")])
def test_a_failure_of_ours_is_none_of_the_signature(silence: Finding) -> None:
    assert dkim(silence, **dict.fromkeys(FAILURES, "reject")).action is Action.ACCEPT


@pytest.mark.parametrize("direction", [Direction.OUTBOUND, Direction.INTERNAL])
def test_mail_of_our_own_needs_no_signature(direction: Direction) -> None:
    own = Message(Envelope(direction=direction), MESSAGE.header_block)
    assert dkim(FAILURES["no_signature"], message=own, no_signature="reject").action is Action.ACCEPT


def test_mail_of_an_allowed_client_needs_none_either() -> None:
    allowed = Finding("policy", "allow_client", Outcome.HIT, detail="listed")
    assert dkim(FAILURES["no_signature"], allowed, no_signature="reject").action is Action.ACCEPT


@pytest.mark.parametrize(
    ("flaw", "answer"), [*itertools.product(FLAWS, [action for action in ACTIONS if action != "tempfail"])]
)
def test_each_flaw_of_form_can_have_each_action(flaw: str, answer: str) -> None:
    findings = [Finding("policy", flaw, Outcome.HIT)]
    config = JudgementConfig(policy=PolicyConfig(on_form=FormFailures(**{FLAWS[flaw]: answer}), symbol_points={}))
    verdict = decide(findings, MESSAGE, config)
    assert verdict.action.value == answer
    assert decide(findings, MESSAGE, JudgementConfig()).action is Action.ACCEPT
    own = Message(Envelope(direction=Direction.OUTBOUND), MESSAGE.header_block)
    assert decide(findings, own, config).action is Action.ACCEPT


@pytest.mark.parametrize(
    ("section", "settings"),
    [(DkimFailures, {"dns_error": "ignore"}), (FormFailures, {"fields": "tempfail"}), (FormFailures, {"fields": ""})],
)
def test_an_unknown_action_is_refused(section: type[DkimFailures | FormFailures], settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be accept, quarantine, discard"):
        section(**settings)


def test_lists_are_asked_before_signatures() -> None:
    denied = Finding("policy", "deny_sender", Outcome.HIT, detail="listed")
    config = JudgementConfig(policy=PolicyConfig(on_dkim=DkimFailures(no_signature="tempfail"), lists=Lists()))
    assert decide([denied, FAILURES["no_signature"]], MESSAGE, config).action is Action.REJECT


@pytest.mark.parametrize("resolver", [FakeResolver(failing="*"), SilentResolver()], ids=["servfail", "silence"])
async def test_dns_without_an_answer_really_tempfails(resolver: FakeResolver) -> None:
    actor = DkimActor(DkimConfig(), resolver, FakeClock(), lookup_timeout_s=0.01)
    findings = await actor.examine(Stage.MESSAGE, signed_message(), budget())
    verdict = dkim(*findings, message=signed_message(), dns_error="tempfail")
    assert verdict.action is Action.TEMPFAIL
    assert verdict.reply is not None
    assert (verdict.reply.code, verdict.reply.enhanced) == (451, "4.7.1")


def both(form: str, signatures: str, score: float = 0.0) -> Verdict:
    """A broken form and no signature, with an action each, and so many points besides."""
    policy = PolicyConfig(
        on_form=FormFailures(line_ends=form),
        on_dkim=DkimFailures(no_signature=signatures),
        symbol_points={"policy.bare_line_ends": score},
    )
    findings = [Finding("policy", "bare_line_ends", Outcome.HIT), FAILURES["no_signature"]]
    return decide(findings, MESSAGE, JudgementConfig(policy=policy))


@pytest.mark.parametrize(
    ("form", "signatures", "action"),
    [
        ("quarantine", "reject", Action.REJECT),
        ("reject", "quarantine", Action.REJECT),
        ("discard", "quarantine", Action.DISCARD),
        ("reject", "tempfail", Action.TEMPFAIL),
        ("accept", "accept", Action.ACCEPT),
    ],
)
def test_of_form_and_signatures_the_severer_answer_counts(form: str, signatures: str, action: Action) -> None:
    assert both(form, signatures).action is action


def test_what_is_only_quarantined_is_refused_all_the_same_when_score_or_dmarc_say_so() -> None:
    assert both("quarantine", "accept", score=14.0).action is Action.QUARANTINE
    assert both("quarantine", "accept", score=15.0).action is Action.REJECT
    assert both("accept", "quarantine", score=15.0).action is Action.REJECT
    assert both("accept", "quarantine", score=6.0).action is Action.QUARANTINE
