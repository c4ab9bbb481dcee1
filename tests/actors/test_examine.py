"""Asking actors: whatever they do ends in findings."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import pytest

from actors.actor import Budget
from actors.examine import examine_all, examine_guarded, known_at
from actors.model import Client, Envelope, Finding, Message, Outcome, Recipient, Stage
from tests.fakes import FakeClock, budget

MESSAGE = Message(
    Envelope(client=Client("192.0.2.1"), sender=b"a@example.org", recipients=(Recipient(b"b@x"), Recipient(b"c@x"))),
    b"Subject: secret\r\n",
    b"body\r\n",
)

Behaviour = Callable[[Stage, Message, Budget], Awaitable[Sequence[Finding]]]


class ActorThat:
    """An actor whose examination is given."""

    def __init__(self, behaviour: Behaviour, name: str = "policy", stages: frozenset[Stage] = frozenset(Stage)) -> None:
        self.name = name
        self.stages = stages
        self._behaviour = behaviour

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
        return await self._behaviour(stage, message, budget)

    async def close(self) -> None:
        pass


async def hangs(*_: object) -> Sequence[Finding]:
    await asyncio.Event().wait()
    return ()


async def test_findings_get_the_time_that_the_examination_took() -> None:
    clock = FakeClock()

    async def works(*_: object) -> Sequence[Finding]:
        clock.advance(0.25)
        return [Finding("policy", "spf", Outcome.PASS), Finding("policy", "dmarc", Outcome.NONE, ms=3.0)]

    found = await examine_guarded(ActorThat(works), Stage.MESSAGE, MESSAGE, budget(clock))

    assert [(finding.name, finding.ms) for finding in found] == [("spf", 250.0), ("dmarc", 3.0)]


async def test_a_late_actor_is_an_error_of_kind_timeout() -> None:
    found = await examine_guarded(ActorThat(hangs), Stage.MESSAGE, MESSAGE, budget(seconds=0.001))

    assert [(finding.actor, finding.outcome) for finding in found] == [("policy", Outcome.ERROR)]
    assert found[0].detail.startswith("timeout")


async def test_without_time_left_the_actor_is_not_asked() -> None:
    clock, asked = FakeClock(), []

    async def notes(*_: object) -> Sequence[Finding]:
        asked.append(True)
        return ()

    late = budget(clock, seconds=1.0)
    clock.advance(2.0)
    found = await examine_guarded(ActorThat(notes), Stage.MESSAGE, MESSAGE, late)

    assert found[0].detail.startswith("timeout")
    assert not asked


async def test_a_crash_is_an_error_that_names_the_type_and_nothing_of_the_mail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def crashes(*_: object) -> Sequence[Finding]:
        raise ValueError("cannot parse 'secret'")

    with caplog.at_level(logging.ERROR):
        found = await examine_guarded(ActorThat(crashes), Stage.MESSAGE, MESSAGE, budget())

    assert found[0].detail == "crash: ValueError"
    assert "in test_a_crash_is_an_error" in caplog.text
    assert "secret" not in caplog.text


async def test_cancellation_is_passed_on() -> None:
    task = asyncio.create_task(examine_guarded(ActorThat(hangs), Stage.MESSAGE, MESSAGE, budget()))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_all_stages_are_asked_in_order_with_what_is_known_at_each() -> None:
    seen: list[tuple[Stage, int, bytes, bytes]] = []

    async def notes(stage: Stage, message: Message, _: Budget) -> Sequence[Finding]:
        seen.append((stage, len(message.envelope.recipients), message.header_block, message.body))
        return ()

    await examine_all([ActorThat(notes)], MESSAGE, FakeClock(), 5.0)

    assert seen == [
        (Stage.ENVELOPE, 0, b"", b""),
        (Stage.RECIPIENT, 1, b"", b""),
        (Stage.RECIPIENT, 2, b"", b""),
        (Stage.HEADERS, 2, b"Subject: secret\r\n", b""),
        (Stage.MESSAGE, 2, b"Subject: secret\r\n", b"body\r\n"),
    ]


async def test_actors_of_a_stage_run_side_by_side_and_a_hanging_one_takes_nothing_from_the_others() -> None:
    met = asyncio.Barrier(2)

    async def meets(*_: object) -> Sequence[Finding]:
        await met.wait()
        return [Finding("dkim", "dkim", Outcome.PASS)]

    only_message = frozenset({Stage.MESSAGE})
    actors = [
        ActorThat(meets, "dkim", only_message),
        ActorThat(meets, "classifier", only_message),
        ActorThat(hangs, "antivirus", only_message),
    ]
    found = await examine_all(actors, MESSAGE, FakeClock(), 0.05)

    assert [finding.outcome for finding in found] == [Outcome.PASS, Outcome.PASS, Outcome.ERROR]
    assert found[2].actor == "antivirus"


async def test_an_actor_is_asked_only_at_its_stages() -> None:
    async def notes(stage: Stage, *_: object) -> Sequence[Finding]:
        return [Finding("dkim", stage.value, Outcome.PASS)]

    found = await examine_all([ActorThat(notes, "dkim", frozenset({Stage.HEADERS}))], MESSAGE, FakeClock(), 5.0)

    assert [finding.name for finding in found] == ["headers"]


def test_a_message_without_recipients_has_no_recipient_stage() -> None:
    assert list(known_at(Stage.RECIPIENT, Message())) == []
