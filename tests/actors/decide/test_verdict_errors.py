"""The verdict when actors failed, said nothing or could not look into everything: [policy.on_error]."""

import pytest

from actors.decide import decide, decide_early
from actors.model import Action, AddHeader, ErrorKind, Finding, Outcome, error_finding
from tests.actors.decide.samples import CONFIG, INFECTED, MESSAGE, SPAM, hit, on_error


@pytest.mark.parametrize(
    ("answer", "action", "code"),
    [
        ("ignore", Action.ACCEPT, None),
        ("tempfail", Action.TEMPFAIL, 451),
        ("quarantine", Action.QUARANTINE, None),
        ("reject", Action.REJECT, 550),
    ],
)
def test_an_error_means_what_the_configuration_says(answer: str, action: Action, code: int | None) -> None:
    verdict = decide([error_finding("classifier", "spam", ErrorKind.TIMEOUT)], MESSAGE, on_error(classifier=answer))
    assert verdict.action is action
    assert (verdict.reply.code if verdict.reply else None) == code
    assert verdict.degraded
    assert verdict.missing == ("classifier",)


def test_the_severest_answer_to_several_errors_counts() -> None:
    errors = [error_finding(actor, actor, ErrorKind.CRASH) for actor in ("dkim", "policy", "antivirus")]
    verdict = decide(errors, MESSAGE, on_error(dkim="ignore", policy="quarantine", antivirus="tempfail"))
    assert verdict.action is Action.QUARANTINE
    assert verdict.quarantine_reason == "unchecked: policy gave no answer"
    assert verdict.missing == ("antivirus", "dkim", "policy")


def test_mail_that_the_antivirus_did_not_see_is_not_passed_by_an_allow_list() -> None:
    error = error_finding("antivirus", "clamav", ErrorKind.UNREACHABLE)
    assert decide([hit("allow_client"), error], MESSAGE, CONFIG).action is Action.TEMPFAIL
    other = error_finding("classifier", "spam", ErrorKind.CRASH)
    assert decide([hit("allow_client"), other], MESSAGE, on_error(classifier="reject")).action is Action.ACCEPT


def test_malware_is_rejected_although_another_actor_failed() -> None:
    errors = [error_finding("antivirus", "yara", ErrorKind.TIMEOUT), INFECTED]
    assert decide(errors, MESSAGE, CONFIG).action is Action.REJECT


def test_an_expected_actor_that_said_nothing_has_failed() -> None:
    verdict = decide([SPAM], MESSAGE, CONFIG, expected=("classifier", "antivirus"))
    assert verdict.action is Action.TEMPFAIL
    assert verdict.missing == ("antivirus",)
    assert any(f.actor == "antivirus" and f.outcome is Outcome.ERROR for f in verdict.findings)


def test_an_error_at_rcpt_defers_the_recipient_only_when_configured() -> None:
    error = error_finding("policy", "deny_recipient", ErrorKind.UNREACHABLE)
    assert decide_early([error], MESSAGE, CONFIG).action is Action.ACCEPT
    assert decide_early([error], MESSAGE, on_error(policy="tempfail")).action is Action.TEMPFAIL
    assert decide_early([error], MESSAGE, on_error(policy="quarantine")).action is Action.ACCEPT


def test_a_degraded_message_says_which_actors_were_missing() -> None:
    edits = decide([error_finding("dkim", "dkim", ErrorKind.CRASH)], MESSAGE, CONFIG).edits
    assert AddHeader(b"X-Tamis-Degraded", b"dkim") in edits


UNINSPECTED = Finding("antivirus", "uninspected", Outcome.SKIPPED, detail="depth, encrypted")


@pytest.mark.parametrize(
    ("answer", "action"), [("ignore", Action.ACCEPT), ("quarantine", Action.QUARANTINE), ("reject", Action.REJECT)]
)
@pytest.mark.parametrize("beside", [[], [hit("allow_client")]])
def test_mail_that_was_not_wholly_inspected_is_marked(answer: str, action: Action, beside: list[Finding]) -> None:
    verdict = decide([UNINSPECTED, *beside], MESSAGE, on_error(uninspected=answer))
    assert (verdict.action, verdict.degraded, verdict.missing) == (action, True, ())
    assert "uninspected: depth, encrypted" in verdict.reasons
    if action is Action.REJECT:
        assert (verdict.reply.code if verdict.reply else None) == 550
    else:
        assert AddHeader(b"X-Tamis-Degraded", b"antivirus (depth, encrypted)") in verdict.edits


def test_what_was_not_inspected_and_what_failed_are_weighed_together() -> None:
    late = error_finding("dkim", "dkim", ErrorKind.TIMEOUT)
    verdict = decide([UNINSPECTED, late], MESSAGE, on_error(uninspected="quarantine", dkim="tempfail"))
    assert verdict.quarantine_reason == "unchecked: antivirus did not look into: depth, encrypted"
    assert (
        decide([UNINSPECTED, late], MESSAGE, on_error(uninspected="quarantine", dkim="reject")).action is Action.REJECT
    )


def test_malware_counts_before_what_was_not_inspected() -> None:
    verdict = decide([UNINSPECTED, INFECTED], MESSAGE, on_error(uninspected="quarantine"))
    assert verdict.reasons[0] == "infected: Eicar-Signature"


def test_only_the_antivirus_reports_what_was_not_inspected() -> None:
    assert not decide([Finding("dkim", "uninspected", Outcome.SKIPPED, detail="x")], MESSAGE, CONFIG).degraded
