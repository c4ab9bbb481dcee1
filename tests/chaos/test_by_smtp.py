"""tests/chaos/by_smtp.py and sink.py: what became of a message, by what its client heard and what arrived."""

from dataclasses import replace

from tests.chaos.by_smtp import settle
from tests.chaos.ledger import Deadlines, Ended, Sent, audit
from tests.chaos.sink import Arrival, arrival

TAKEN = Sent("a@x", began_s=1.0, ended_s=1.2, action="accept", waited_s=0.1, reply="250 2.0.0 Ok: queued as Q1")
COPY = Arrival("a@x", "Q1", scanned=True, degraded="", unfiltered="")


def kinds(sent: list[Sent], *ended: Ended) -> set[str]:
    return set(audit(sent, ended, [], Deadlines(10.0, 5.0)).violations)


def test_what_was_taken_and_arrived_is_accepted_with_the_marks_that_it_carries() -> None:
    (message,) = settle(TAKEN, [replace(COPY, degraded="antivirus")], {})
    assert (message.queue_id, message.action, message.scanned, message.degraded) == ("Q1", "accept", True, "antivirus")
    assert kinds([message], Ended("Q1", "accept")) == set()


def test_what_was_taken_and_never_arrived_is_lost() -> None:
    assert kinds(settle(TAKEN, [], {})) == {"lost"}


def test_what_was_refused_is_known_by_the_queue_id_of_the_log() -> None:
    (message,) = settle(replace(TAKEN, action="reject", reply="550 5.7.1 no"), [], {"a@x": "Q7"})
    assert kinds([message], Ended("Q7", "reject")) == set()
    assert kinds([message], Ended("Q7", "accept")) == {"disagreeing"}


def test_what_was_refused_and_arrived_all_the_same_disagrees() -> None:
    arrived = settle(replace(TAKEN, action="reject", reply="550 5.7.1 no"), [COPY], {})
    assert kinds(arrived, Ended("Q1", "reject")) == {"disagreeing"}


def test_what_nobody_answered_for_is_its_client_s_unless_it_arrived() -> None:
    silent = replace(TAKEN, action="", reply="", unheard=True, error="SmtpError: the server closed the connection")
    (kept,) = settle(silent, [], {})
    assert kept.action == "tempfail"
    assert kinds([kept], Ended("a@x", "accept")) == set()
    (arrived,) = settle(silent, [COPY], {})
    assert (arrived.action, arrived.queue_id) == ("accept", "Q1")


def test_taken_twice_is_a_duplicate_and_brought_twice_is_not() -> None:
    assert len(settle(TAKEN, [COPY, COPY], {})) == 1
    assert kinds(settle(TAKEN, [COPY, replace(COPY, queue_id="Q2")], {}), Ended("Q1", "accept")) >= {"duplicated"}


def test_the_sink_reads_the_marks_and_the_queue_id_of_the_last_hop() -> None:
    raw = (
        b"Received: from client.example (client.example [192.0.2.25])\r\n"
        b"\tby mx.recipient.example (Postfix) with ESMTP id 4abcDEF0\r\n\tfor <a@x>; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        b"Authentication-Results: mx.recipient.example; spf=pass\r\nX-Spam-Status: No\r\n"
        b"X-Tamis-Degraded: antivirus\r\nSubject: x\r\n\r\nX-Tamis-Unfiltered: not a field\r\n"
    )
    assert arrival("a@x", raw) == Arrival("a@x", "4abcDEF0", scanned=True, degraded="antivirus", unfiltered="")
    assert not arrival("a@x", b"Subject: x\r\n\r\n").scanned
