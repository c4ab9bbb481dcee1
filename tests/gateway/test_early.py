"""Stages before the end of the message: what is negotiated, asked and answered at CONNECT, HELO, MAIL and RCPT."""

import asyncio

import pytest

from gateway.config import EarlyConfig
from gateway.early import NUMBERS, Stage, offer
from gateway.failure_policy import OnFailureConfig
from gateway.fallback import FallbackConfig
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import Cell, FakeIngress, Judge, at_stage, go_on, refuse, silent, verdict
from tests.gateway.linked import linked, transaction
from tests.gateway.mta import Heard, Mail, Mta
from tests.gateway.rig import LogLines, rigged
from wire.milter import constants as c
from wire.milter import events as ev

ALL = EarlyConfig(stages=tuple(Stage))
REJECT = at_stage(pb.ACTION_REJECT, "denied_client: listed", code=550, enhanced="5.7.1", text="Access denied")
REPLY = pb.Reply(code=550, enhanced="5.7.1", text="Access denied")
DENIED = ev.ReplyCode(b"550 5.7.1 Access denied")
EVENTS = {
    Stage.CONNECT: ev.Connect(b"mail.shop.example", c.SMFIA_INET, 54321, b"192.0.2.7"),
    Stage.HELO: ev.Helo(b"mail.shop.example"),
    Stage.MAIL: ev.Mail(b"<anna@shop.example>"),
}
BEFORE_RCPT = list(EVENTS)


def only(stage: Stage) -> EarlyConfig:
    return EarlyConfig(stages=(stage,))


async def play(mta: Mta, until: Stage, steps: int = c.OFFERED_STEPS) -> ev.Reply | None:
    """Negotiate and go on to this stage; its reply, None when the MTA does not wait there."""
    await mta.say(ev.Negotiate(6, c.ALL_ACTIONS, steps))
    for stage, event in EVENTS.items():
        reply = await mta.say(event)
        if stage is until:
            mta.flush()
            return reply
    return await mta.say(ev.Recipient(b"<reader@recipient.example>"))


@pytest.mark.parametrize("stage", Stage)
def test_only_the_stages_of_the_config_wait_for_a_reply(stage: Stage) -> None:
    steps = offer(frozenset({stage})).steps
    declined = {
        Stage.CONNECT: c.SMFIP_NR_CONN,
        Stage.HELO: c.SMFIP_NR_HELO,
        Stage.MAIL: c.SMFIP_NR_MAIL,
        Stage.RCPT: c.SMFIP_NR_RCPT,
    }
    assert [one for one, flag in declined.items() if not steps & flag] == [stage]


@pytest.mark.parametrize("steps", [c.OFFERED_STEPS, 0])
async def test_with_no_stage_at_all_nobody_is_asked_before_the_end(steps: int) -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress), early=EarlyConfig(stages=())) as rig:
        mta = rig.connect()
        await mta.open(steps=steps)
        heard = await mta.message(Mail())
        assert (heard.recipients, heard.final) == ([ev.Continue()], ev.Accept())
        assert ingress.asked == []
        assert ingress.judged[0].recipient_budgets_ms == [0]


async def test_every_stage_is_asked_with_its_budget_and_what_is_known() -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress), early=ALL) as rig:
        mta = rig.connect()
        await mta.open()
        assert (await mta.message(Mail())).final == ev.Accept()
        connect, helo, mail = ingress.asked
        asks = [(ask.stage, ask.budget_ms) for heard in ingress.asked for ask in heard.asks]
        assert asks == [(NUMBERS[Stage.CONNECT], 2000), (NUMBERS[Stage.HELO], 2000), (NUMBERS[Stage.MAIL], 5000)]
        assert (connect.begin.client.ip, connect.begin.client.helo) == ("192.0.2.7", b"")
        assert (helo.begin.client.ip, helo.begin.client.helo) == ("192.0.2.7", b"mail.shop.example")
        assert mail is ingress.judged[0]
        assert (mail.sender, mail.recipient_budgets_ms) == (b"anna@shop.example", [5000])
        assert len({heard.begin.transaction_id for heard in ingress.asked}) == 3
        assert [rig.value("early_total", stage=stage, action="accept") for stage in Stage] == [1] * 4
        assert (ingress.open, ingress.aborted, ingress.faults) == ({}, [], [])


@pytest.mark.parametrize("stage", BEFORE_RCPT)
async def test_a_refusal_carries_the_clusters_own_reply_and_is_one_line(stage: Stage, lines: LogLines) -> None:
    ingress = FakeIngress(stage=REJECT)
    async with rigged(Cell(a=ingress), early=only(stage), sample_ratio=1.0) as rig:
        assert await play(rig.connect(), stage) == DENIED
        assert rig.value("early_total", stage=stage, action="reject") == 1
        (line,) = lines.of("refused_early")
        (span,) = rig.spans
        assert (line["stage"], line["client"], line["action"]) == (stage, "192.0.2.7", "reject")
        assert line["reasons"] == ["denied_client: listed"]
        assert line["trace_id"] == f"{span.trace_id:032x}"
        assert span.attributes["mail.action"] == "reject"
        await asyncio.sleep(0.01)
        assert len(ingress.open) == (stage is Stage.MAIL)


@pytest.mark.parametrize("stage", BEFORE_RCPT)
async def test_a_tempfail_is_passed_on_too(stage: Stage) -> None:
    later = at_stage(pb.ACTION_TEMPFAIL, code=450, enhanced="4.7.1", text="come later, 100% sure")
    async with rigged(Cell(a=FakeIngress(stage=later)), early=only(stage)) as rig:
        assert await play(rig.connect(), stage) == ev.ReplyCode(b"450 4.7.1 come later, 100% sure")
        assert rig.value("early_total", stage=stage, action="tempfail") == 1


@pytest.mark.parametrize("stage", BEFORE_RCPT)
async def test_a_client_that_goes_on_after_a_refusal_is_judged_anew(stage: Stage) -> None:
    """What an MTA does with a refused CONNECT or HELO is its affair; the next question is a new one."""
    ingress = FakeIngress(stage=REJECT)
    async with rigged(Cell(a=ingress), early=ALL) as rig:
        mta = rig.connect()
        await play(mta, stage)
        ingress.stage = go_on
        assert (await mta.message(Mail())).final == ev.Accept()
        assert (ingress.open, ingress.faults) == ({}, [])


async def test_mail_of_an_mta_that_overlooks_a_refused_mail_is_not_passed_unfiltered() -> None:
    ingress = FakeIngress(verdict(pb.ACTION_REJECT, reply=REPLY), stage=REJECT)
    async with rigged(Cell(a=ingress), early=only(Stage.MAIL)) as rig:
        mta = rig.connect()
        assert await play(mta, Stage.MAIL) == DENIED
        await mta.say(ev.Recipient(b"<reader@recipient.example>"))
        heard = Heard()
        await mta.content(Mail())
        await mta.hear_verdict(heard)
        assert heard.final == DENIED


async def test_accept_at_connect_filters_the_session_all_the_same() -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress), early=only(Stage.CONNECT)) as rig:
        mta = rig.connect()
        assert await play(mta, Stage.CONNECT) == ev.Continue()
        await mta.say(ev.Helo(b"mail.shop.example"))
        for _ in range(2):
            assert (await mta.message(Mail())).final == ev.Accept()
        assert len(ingress.judged) == 2


@pytest.mark.parametrize(("stage", "seconds"), [(Stage.CONNECT, 2.0), (Stage.HELO, 2.0), (Stage.MAIL, 5.0)])
async def test_silence_goes_on_after_the_budget_and_a_late_answer_is_dropped(stage: Stage, seconds: float) -> None:
    """An ingress of the release before does not know Ask."""
    ingress = FakeIngress(stage=silent)
    cell = Cell(a=ingress)
    async with rigged(cell, early=only(stage)) as rig:
        mta = rig.connect()
        began_s = asyncio.get_running_loop().time()
        assert await play(mta, stage) == ev.Continue()
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(seconds)
        assert rig.value("early_total", stage=stage, action="late") == 1
        late = REJECT(ingress.asked[0])
        assert late is not None
        cell.pipes["a"].answer(late)
        await asyncio.sleep(0.01)
        assert bool(ingress.aborted) == (stage is not Stage.MAIL)
        assert (await mta.message(Mail())).final == ev.Accept()


@pytest.mark.parametrize("stage", BEFORE_RCPT)
async def test_without_a_cluster_a_stage_before_rcpt_goes_on(stage: Stage) -> None:
    on_failure = OnFailureConfig(unreachable="reject")
    async with rigged(Cell(), "nowhere", early=only(stage), on_failure=on_failure) as rig:
        assert await play(rig.connect(), stage) == ev.Continue()
        assert rig.value("failures_total", failure="unreachable", action="continue") == 1
        assert rig.value("early_total", stage=stage, action="continue") == 1


async def test_without_a_cluster_the_local_rules_answer_at_connect(lines: LogLines) -> None:
    fallback = FallbackConfig(deny_clients=("192.0.2.0/24",))
    async with rigged(Cell(), "nowhere", early=ALL, fallback=fallback) as rig:
        assert await play(rig.connect(), Stage.CONNECT) == ev.ReplyCode(b"550 5.7.1 Not accepted by local policy")
        (line,) = lines.of("refused_early")
        assert (line["stage"], line["failure"], line["rule"]) == ("connect", "unreachable", "deny_clients")


@pytest.mark.parametrize(
    "judge",
    [
        at_stage(pb.ACTION_DISCARD),
        at_stage(pb.ACTION_UNSPECIFIED),
        at_stage(pb.ACTION_REJECT, code=450, enhanced="4.7.1", text="not a rejection"),
        at_stage(pb.ACTION_REJECT, code=550, enhanced="5.7.1", text="two\r\nlines"),
        refuse(filter_pb.Refused.REASON_INTERNAL),
    ],
)
async def test_a_verdict_that_cannot_be_applied_goes_on_and_is_counted(judge: Judge) -> None:
    async with rigged(Cell(a=FakeIngress(stage=judge)), early=only(Stage.HELO)) as rig:
        assert await play(rig.connect(), Stage.HELO) == ev.Continue()
        assert rig.value("failures_total", failure="internal", action="continue") == 1


@pytest.mark.parametrize("stage", BEFORE_RCPT)
async def test_a_question_survives_the_loss_of_its_ingress(stage: Stage) -> None:
    first, second = FakeIngress(stage=silent), FakeIngress(stage=REJECT)
    cell = Cell(a=first)
    async with rigged(cell, "a", "b", early=only(stage)) as rig:
        asking = asyncio.create_task(play(rig.connect(), stage))
        await asyncio.sleep(0.01)
        assert len(first.asked) == 1
        cell.ingresses["b"] = second
        cell.kill("a")
        assert await asking == DENIED
        assert second.asked[0].begin.transaction_id == first.asked[0].begin.transaction_id


@pytest.mark.parametrize("stage", BEFORE_RCPT)
async def test_a_client_that_leaves_while_it_waits_ends_the_question(stage: Stage) -> None:
    ingress = FakeIngress(stage=silent)
    async with rigged(Cell(a=ingress), early=only(stage)) as rig:
        mta = rig.connect()
        asking = asyncio.create_task(play(mta, stage))
        await asyncio.sleep(0.01)
        (heard,) = ingress.asked
        rig.hang_up()
        await asyncio.sleep(0.01)
        assert ingress.aborted == [heard.number]
        with pytest.raises(EOFError):
            await asking


async def test_a_late_answer_to_mail_is_no_answer_to_rcpt() -> None:
    ingress = FakeIngress(stage=silent, recipient=silent)
    cell = Cell(a=ingress)
    async with rigged(cell, early=EarlyConfig(stages=(Stage.MAIL, Stage.RCPT))) as rig:
        mta = rig.connect()
        await play(mta, Stage.MAIL)
        asking = asyncio.create_task(mta.say(ev.Recipient(b"<reader@recipient.example>")))
        await asyncio.sleep(0.01)
        late = REJECT(ingress.asked[0])
        assert late is not None
        cell.pipes["a"].answer(late)
        assert await asking == ev.Continue()


async def test_a_question_about_the_client_leaves_its_ingress_with_the_answer() -> None:
    async with linked(Cell(a=FakeIngress())) as link:
        asked, other = transaction(), transaction()
        asked.has_mail = False
        conversation, mail = link.open(asked), link.open(other)
        answers = [await conversation.early_verdict(Stage.CONNECT), await mail.early_verdict(Stage.MAIL)]
        assert all(isinstance(answer, pb.StageVerdict) for answer in answers)
        assert (conversation.stream, mail.stream is not None) == (None, True)


def announce(cell: Cell, *stages: Stage) -> None:
    """The ingress says at which stages it may object."""
    numbers = [NUMBERS[stage] for stage in stages]
    cell.pipes["a"].answer(filter_pb.Answer(early_stages=filter_pb.EarlyStages(stages=numbers)))


async def test_nobody_is_asked_at_a_stage_at_which_the_cell_has_nothing_to_object() -> None:
    ingress = FakeIngress(recipient=refuse, stage=REJECT)
    cell = Cell(a=ingress)
    async with rigged(cell, early=ALL) as rig:
        announce(cell)
        await asyncio.sleep(0.01)
        mta = rig.connect()
        await mta.open()
        heard = await mta.message(Mail())
        assert (heard.recipients, heard.final) == ([ev.Continue()], ev.Accept())
        assert ingress.asked == []
        assert ingress.judged[0].recipient_budgets_ms == [0]
        assert [rig.value("early_total", stage=stage, action="accept") for stage in Stage] == [1] * 4
        assert (ingress.open, ingress.aborted, ingress.faults) == ({}, [], [])


async def test_what_the_cell_may_object_to_is_asked_again_as_soon_as_it_says_so() -> None:
    ingress = FakeIngress(recipient=refuse)
    cell = Cell(a=ingress)
    async with rigged(cell, early=only(Stage.RCPT)) as rig:
        announce(cell)
        await asyncio.sleep(0.01)
        announce(cell, Stage.RCPT)
        await asyncio.sleep(0.01)
        mta = rig.connect()
        await mta.open()
        assert isinstance((await mta.message(Mail())).recipients[0], ev.ReplyCode)
