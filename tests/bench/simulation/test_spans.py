"""What spans of a message say about its work."""

import pytest

from bench.otlp_receiver import ReceivedSpan
from bench.simulation.spans import examined

MS = 1_000_000


def span(name: str, own: str, parent: str, start_ms: float, end_ms: float, **attributes: object) -> ReceivedSpan:
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    return ReceivedSpan("tamis", name, "t", own, parent, int(start_ms * MS), int(end_ms * MS), named)


MESSAGE = span("filter.transaction", "m", "g", 0, 100, mail__action="accept", mail__bytes=4711)
POLICY = span("actor.policy", "p", "m", 10, 90, stage="message", run_ms=80.0)


def test_an_actors_cpu_is_its_run_without_its_waits() -> None:
    waits = [
        span("dns.query", "1", "p", 20, 40),
        span("dns.query", "2", "p", 30, 50),
        span("dns.query", "3", "p", 60, 80),
    ]
    (message,) = examined([*waits, POLICY, MESSAGE])
    assert message.size_bytes == 4711
    assert message.cpu_ms == {"message policy": 80.0 - 30 - 20}
    assert message.rounds == {"message policy": (2, 1)}


def test_actors_that_ran_in_turns_share_the_time_that_they_took() -> None:
    # One process: dkim from 0 to 40 ms of the task, antivirus from 10 to 30 within it.
    about = {"stage": "message", "replica": "worker-0"}
    dkim = span("actor.dkim", "d", "m", 10, 60, queue_ms=0.0, run_ms=40.0, **about)
    antivirus = span("actor.antivirus", "a", "m", 10, 60, queue_ms=10.0, run_ms=20.0, **about)
    (message,) = examined([dkim, antivirus, MESSAGE])
    assert sum(message.cpu_ms.values()) == pytest.approx(40.0, abs=0.01)
    assert message.cpu_ms["message dkim"] == pytest.approx(2 * message.cpu_ms["message antivirus"], abs=0.01)


def test_messages_come_in_the_order_of_their_starts_and_aborted_ones_not_at_all() -> None:
    later = span("filter.transaction", "n", "g", 50, 60, mail__action="reject", mail__bytes=1)
    aborted = span("filter.transaction", "o", "g", 20, 30, mail__action="aborted", mail__bytes=2)
    assert [message.size_bytes for message in examined([later, aborted, MESSAGE])] == [4711, 1]
