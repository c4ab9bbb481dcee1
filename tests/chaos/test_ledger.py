"""tests/chaos/ledger.py: books that agree, and every way in which they cannot."""

from dataclasses import replace

import pytest

from tests.chaos.ledger import Deadlines, Ended, Judged, Sent, audit, figures, served, usual_s

DEADLINES = Deadlines(end_of_message_s=10.0, early_s=5.0)
GOOD = Sent("A1", began_s=1.0, ended_s=1.2, action="accept", waited_s=0.1, early_waited_s=0.01, scanned=True)
ENDED = Ended("A1", "accept")
JUDGED = Judged("A1", "accept")


def kinds(sent: Sent, *, ended: tuple[Ended, ...] = (ENDED,), judged: tuple[Judged, ...] = (JUDGED,)) -> set[str]:
    return {kind for kind, lines in audit([sent], ended, judged, DEADLINES).violations.items() if lines}


def test_books_that_agree_are_sound() -> None:
    books = audit([GOOD], [ENDED], [JUDGED], DEADLINES)
    assert books.sound
    assert books.unaccounted == 0
    assert books.lines == []


@pytest.mark.parametrize(
    ("action", "at_the_gateway"),
    [("accept", "add_header"), ("accept", "rewrite_subject"), ("reject", "oversize"), ("tempfail", "tempfail")],
)
def test_actions_that_milter_has_no_word_for_agree(action: str, at_the_gateway: str) -> None:
    assert kinds(replace(GOOD, action=action), ended=(Ended("A1", at_the_gateway),)) == set()


def test_a_message_without_an_answer_is_lost() -> None:
    books = audit([replace(GOOD, action="", error="connection closed")], [], [], DEADLINES)
    assert books.lines == ["lost: A1 connection closed"]
    assert not books.sound


def test_a_message_that_ended_twice_or_was_sent_twice_is_duplicated() -> None:
    assert kinds(GOOD, ended=(ENDED, ENDED)) == {"duplicated"}
    assert audit([GOOD, GOOD], [ENDED], [JUDGED], DEADLINES).count("duplicated") == 2


def test_ends_that_tell_different_stories_disagree() -> None:
    assert kinds(replace(GOOD, action="reject")) == {"disagreeing"}
    assert kinds(GOOD, ended=()) == {"disagreeing"}


def test_a_refusal_before_the_end_of_the_message_needs_no_ending_at_the_gateway() -> None:
    assert kinds(replace(GOOD, action="tempfail", waited_s=0.0, scanned=False), ended=(), judged=()) == set()


@pytest.mark.parametrize("action", ["accept", "quarantine"])
def test_mail_that_passes_without_the_fields_of_a_verdict_is_unmarked(action: str) -> None:
    bare = replace(GOOD, action=action, scanned=False)
    assert kinds(bare, ended=(Ended("A1", action),)) == {"unmarked"}
    assert kinds(replace(bare, unfiltered="unreachable"), ended=(Ended("A1", action),)) == set()


def test_a_missing_actor_must_be_said_in_the_mail() -> None:
    partly = (Judged("A1", "accept", ("antivirus",)),)
    assert kinds(GOOD, judged=partly) == {"unmarked"}
    assert kinds(replace(GOOD, degraded="antivirus"), judged=partly) == set()


def test_of_two_verdicts_the_whole_one_may_be_the_one_that_came_through() -> None:
    assert kinds(GOOD, judged=(Judged("A1", "accept", ("antivirus",)), JUDGED)) == set()


def test_what_only_a_scan_finds_must_not_pass_even_with_a_mark() -> None:
    assert kinds(replace(GOOD, harmful=True, degraded="antivirus")) == {"harmful"}
    assert kinds(replace(GOOD, harmful=True, action="tempfail"), ended=(Ended("A1", "tempfail"),)) == set()


def test_an_answer_beyond_the_deadline_and_the_slack_is_late() -> None:
    assert kinds(replace(GOOD, waited_s=10.49)) == set()
    assert kinds(replace(GOOD, waited_s=10.51)) == {"late"}
    assert kinds(replace(GOOD, early_waited_s=5.51)) == {"late"}
    assert audit([replace(GOOD, waited_s=10.6)], [ENDED], [JUDGED], replace(DEADLINES, lag_s=0.2)).sound


def test_a_verdict_that_no_ingress_told_of_is_counted() -> None:
    books = audit([GOOD], [ENDED], [], DEADLINES)
    assert books.sound
    assert books.unaccounted == 1


def test_recovery_lasts_until_the_last_message_that_was_not_served_as_before() -> None:
    sent = [
        replace(GOOD, ended_s=5.0),
        replace(GOOD, ended_s=11.0, action="tempfail"),
        replace(GOOD, ended_s=12.0, waited_s=3.0),
        replace(GOOD, ended_s=13.0, degraded="policy"),
        replace(GOOD, ended_s=14.0),
    ]
    found = figures(sent, broken_s=10.0, healed_s=10.5, slow_s=1.0, deadlines=DEADLINES)
    assert (found.messages, found.tempfails, found.degraded, found.worst_s) == (4, 1, 1, 3.0)
    assert (found.struck_s, found.recovery_s) == (3.0, 2.5)


def test_without_a_trace_of_the_fault_recovery_took_no_time() -> None:
    assert figures([GOOD], broken_s=0.0, healed_s=0.5, slow_s=1.0, deadlines=DEADLINES).recovery_s == 0.0
    assert figures([], broken_s=0.0, healed_s=0.5, slow_s=1.0, deadlines=DEADLINES).recovery_s == 0.0


def test_served_is_answered_in_the_usual_time_with_nothing_missing() -> None:
    assert served(GOOD, 1.0)
    assert served(replace(GOOD, action="reject"), 1.0)
    assert not served(replace(GOOD, action=""), 1.0)


def test_what_is_usual_is_what_99_of_100_take() -> None:
    assert usual_s([replace(GOOD, waited_s=number / 100) for number in range(1, 101)]) == 1.0
    assert usual_s([]) == 0.0
