import asyncio

import pytest

from gateway.driver import PROGRESS_S
from gateway.failure_policy import OnFailureConfig
from gateway.fallback import FallbackConfig
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import message_pb2
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import Cell, FakeIngress, Heard, refuse, reject_recipients, silent, verdict
from tests.gateway.mta import Heard as MtaHeard
from tests.gateway.mta import Mail
from tests.gateway.rig import LogLines, rigged
from wire.milter import constants as c
from wire.milter import events as ev

UNAVAILABLE = ev.ReplyCode(b"451 4.7.1 Mail filter is not available, please try again later")
ADD = pb.Edit(add_header=pb.AddHeader(name=b"X-Spam-Score", value=b"7.5"))


async def settle() -> None:
    await asyncio.sleep(0.01)


async def test_a_message_is_filtered_and_its_edits_come_before_the_answer(lines: LogLines) -> None:
    ingress = FakeIngress(verdict(pb.ACTION_ADD_HEADER, score=7.5, edits=[ADD], reasons=["SPAM"]))
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        await mta.open()
        heard = await mta.message(Mail(mail_macros=((b"{auth_authen}", b"anna"),)))
        assert heard.recipients == [ev.Continue()]
        assert heard.edits == [ev.AddHeader(b"X-Spam-Score", b" 7.5")]
        assert heard.final == ev.Accept()
        begin = ingress.judged[0].begin
        assert begin.direction == message_pb2.DIRECTION_OUTBOUND
        assert (begin.client.ip, begin.client.auth_user, begin.mta_name) == (
            "192.0.2.7",
            b"anna",
            "mx.recipient.example",
        )
        assert rig.value("transactions_total", action="add_header") == 1
        assert rig.value("end_of_message_seconds_count") == 1
        assert rig.value("sessions") == 1
        assert rig.held.total == 0
    (line,) = lines.of("message")
    assert (line["queue_id"], line["action"], line["score"], line["reasons"]) == ("4ABC", "add_header", 7.5, ["SPAM"])


async def test_two_messages_on_one_connection_have_their_own_edits_and_recipients() -> None:
    def judge(heard: Heard) -> filter_pb.Answer:
        edits = [pb.Edit(add_header=pb.AddHeader(name=b"X-For", value=b",".join(heard.recipients)))]
        if len(heard.recipients) == 2:
            edits.append(pb.Edit(replace_body=b"shorter\r\n"))
        answer = pb.Verdict(action=pb.ACTION_ACCEPT, edits=edits)
        return filter_pb.Answer(transaction=heard.number, verdict=answer)

    ingress = FakeIngress(judge)
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        await mta.open()
        first = await mta.message(Mail(recipients=(b"<a@a.example>", b"<b@b.example>"), headers=((b"X-One", b" 1"),)))
        await mta.say(ev.Abort())
        second = await mta.message(Mail(recipients=(b"<c@c.example>",), queue_id=b"4SECOND"))
        assert first.edits == [ev.AddHeader(b"X-For", b" a@a.example,b@b.example"), ev.ReplaceBody(b"shorter\r\n")]
        assert second.edits == [ev.AddHeader(b"X-For", b" c@c.example")]
        one, two = ingress.judged
        assert one.begin.transaction_id != two.begin.transaction_id
        assert one.headers is not None
        assert two.headers is not None
        assert one.headers.header_block == b"X-One: 1\r\n"
        assert two.headers == filter_pb.Headers(
            header_block=b"From: anna@shop.example\r\nSubject: hello\r\n", queue_id="4SECOND"
        )
        assert ingress.faults == []
        assert rig.held.total == 0


async def test_quit_nc_keeps_the_connection_for_another_client() -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        await mta.open(b"192.0.2.1")
        await mta.message(Mail())
        await mta.say(ev.QuitNewConnection())
        await mta.hello(b"192.0.2.2")
        await mta.message(Mail())
        assert [heard.begin.client.ip for heard in ingress.judged] == ["192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize("version", [2, 3, 4, 6])
async def test_an_mta_that_waits_for_every_reply_gets_one(version: int) -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        await mta.open(steps=0, version=version)
        heard = await mta.message(Mail())
        assert (heard.recipients, heard.final) == ([ev.Continue()], ev.Accept())
        assert ingress.judged[0].headers is not None
        assert ingress.judged[0].headers.header_block == b"From: anna@shop.example\r\nSubject: hello\r\n"


async def test_a_recipient_refused_early_counts_and_is_not_delivered(lines: LogLines) -> None:
    ingress = FakeIngress(recipient=reject_recipients(b"bad@recipient.example"))
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        await mta.open()
        heard = await mta.message(Mail(recipients=(b"<bad@recipient.example>", b"<good@recipient.example>")))
        assert heard.recipients == [ev.ReplyCode(b"550 5.7.1 no"), ev.Continue()]
        end = ingress.judged[0].end
        assert end is not None
        assert list(end.refused_recipients) == [0]
        assert rig.value("early_total", stage="rcpt", action="reject") == 1
        assert rig.value("early_total", stage="rcpt", action="accept") == 1
        assert [line["action"] for line in lines.of("refused_early")] == ["reject"]


async def test_a_recipient_without_a_verdict_in_time_is_counted_as_late() -> None:
    async with rigged(Cell(a=FakeIngress(recipient=silent))) as rig:
        mta = rig.connect()
        await mta.open()
        assert (await mta.message(Mail())).final == ev.Accept()
        assert rig.value("early_total", stage="rcpt", action="late") == 1


async def test_progress_is_sent_while_the_verdict_takes_long() -> None:
    ingress = FakeIngress(silent)
    cell = Cell(a=ingress)
    async with rigged(cell) as rig:
        mta = rig.connect()
        await mta.open()
        playing = asyncio.create_task(mta.message(Mail()))
        await asyncio.sleep(3.5 * PROGRESS_S)
        cell.pipes["a"].answer(verdict()(ingress.open[1]))
        heard = await playing
        assert (heard.progress, heard.final) == (3, ev.Accept())
        await asyncio.sleep(3 * PROGRESS_S)
        assert rig.transports[0].incoming.empty()


@pytest.mark.parametrize(
    ("judge", "failure", "seconds"),
    [
        (silent, "timeout", 20.0),
        (refuse(filter_pb.Refused.REASON_OVERLOADED), "overloaded", 0.0),
        (verdict(pb.ACTION_ADD_HEADER, edits=[pb.Edit(add_header=pb.AddHeader(name=b"bad name"))]), "internal", 0.0),
        (verdict(pb.ACTION_REJECT), "internal", 0.0),
        (verdict(pb.ACTION_UNSPECIFIED), "internal", 0.0),
    ],
)
async def test_every_failure_of_asking_is_a_451_of_its_class(judge: object, failure: str, seconds: float) -> None:
    async with rigged(Cell(a=FakeIngress(judge))) as rig:  # type: ignore[arg-type]
        mta = rig.connect()
        await mta.open()
        began_s = asyncio.get_running_loop().time()
        heard = await mta.message(Mail())
        assert (heard.edits, heard.final) == ([], UNAVAILABLE)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(seconds, abs=0.1)
        assert rig.value("failures_total", failure=failure, action="tempfail") == 1
        assert rig.value("transactions_total", action="tempfail") == 1


async def test_without_a_cluster_each_recipient_gets_451_within_the_connect_budget(lines: LogLines) -> None:
    async with rigged(Cell(), "nowhere", ingress_budget_s=2.0) as rig:
        mta = rig.connect()
        await mta.open()
        began_s = asyncio.get_running_loop().time()
        heard = await mta.message(Mail(recipients=(b"<a@a.example>", b"<b@b.example>")))
        assert heard.recipients == [UNAVAILABLE, UNAVAILABLE]
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(2.0)
        assert rig.value("failures_total", failure="unreachable", action="tempfail") == 2
        assert [line["failure"] for line in lines.of("refused_early")] == ["unreachable"] * 2


async def test_accept_on_failure_marks_and_counts_what_it_lets_through() -> None:
    async with rigged(Cell(), "nowhere", on_failure=OnFailureConfig(unreachable="accept")) as rig:
        mta = rig.connect()
        await mta.open()
        heard = await mta.message(Mail())
        assert heard.recipients == [ev.Continue()]
        assert heard.edits == [ev.InsertHeader(0, b"X-Tamis-Unfiltered", b" unreachable")]
        assert rig.value("failures_total", failure="unreachable", action="continue") == 1
        assert rig.value("failures_total", failure="unreachable", action="accept") == 1
        assert heard.final == ev.Accept()
        assert rig.value("unfiltered_total") == 1


async def test_accept_on_failure_lets_nothing_through_that_it_cannot_mark() -> None:
    async with rigged(Cell(), "nowhere", on_failure=OnFailureConfig(unreachable="accept")) as rig:
        mta = rig.connect()
        await mta.open(actions=c.ALL_ACTIONS & ~c.SMFIF_ADDHDRS)
        heard = await mta.message(Mail())
        assert (heard.edits, heard.final) == ([], UNAVAILABLE)
        assert rig.value("unfiltered_total") == 0
        assert rig.value("transactions_total", action="tempfail") == 1


async def test_cut_from_the_cluster_the_local_lists_still_act_and_are_counted(lines: LogLines) -> None:
    fallback = FallbackConfig(allow_clients=("192.0.2.7",), deny_recipients=("spamtrap.example",))
    async with rigged(Cell(), "nowhere", fallback=fallback) as rig:
        trusted, stranger = rig.connect(), rig.connect()
        await trusted.open(b"192.0.2.7")
        await stranger.open(b"198.51.100.1")
        heard = await trusted.message(Mail())
        assert heard.edits == [ev.InsertHeader(0, b"X-Tamis-Unfiltered", b" unreachable")]
        assert heard.final == ev.Accept()
        refused = await stranger.message(Mail(recipients=(b"<a@spamtrap.example>", b"<b@b.example>")))
        assert refused.recipients == [ev.ReplyCode(b"550 5.7.1 Not accepted by local policy"), UNAVAILABLE]
        assert rig.value("fallback_total", rule="allow_clients") == 2
        assert rig.value("fallback_total", rule="deny_recipients") == 1
        assert rig.value("unfiltered_total") == 1
    (message,) = lines.of("message")
    assert (message["queue_id"], message["failure"], message["rule"]) == ("4ABC", "unreachable", "allow_clients")
    assert [line["rule"] for line in lines.of("refused_early")] == ["deny_recipients", ""]


async def test_while_the_cluster_answers_the_local_lists_say_nothing() -> None:
    fallback = FallbackConfig(deny_clients=("0.0.0.0/0",))
    async with rigged(Cell(a=FakeIngress()), fallback=fallback) as rig:
        mta = rig.connect()
        await mta.open()
        assert (await mta.message(Mail())).final == ev.Accept()
        assert rig.value("fallback_total", rule="deny_clients") == 0


async def test_an_accepted_recipient_is_still_scored_when_the_cluster_comes_back() -> None:
    cell = Cell()
    async with rigged(cell, "late", on_failure=OnFailureConfig(unreachable="accept")) as rig:
        mta = rig.connect()
        await mta.open()
        mail = Mail()
        assert await mta.envelope(mail) == [ev.Continue()]
        cell.ingresses["late"] = FakeIngress(verdict(pb.ACTION_DISCARD))
        await asyncio.sleep(10.0)
        await mta.content(mail)
        heard = MtaHeard()
        await mta.hear_verdict(heard)
        assert heard.final == ev.Discard()


async def test_a_stream_lost_before_the_verdict_costs_nothing_but_time() -> None:
    first, second = FakeIngress(silent), FakeIngress(verdict(pb.ACTION_ADD_HEADER, edits=[ADD]))
    cell = Cell(first=first, second=second)
    async with rigged(cell) as rig:
        mta = rig.connect()
        await mta.open()
        playing = asyncio.create_task(mta.message(Mail(body=b"x" * 300_000)))
        await asyncio.sleep(1.0)
        cell.kill("first")
        heard = await playing
        assert (heard.edits, heard.final) == ([ev.AddHeader(b"X-Spam-Score", b" 7.5")], ev.Accept())
        assert second.judged[0].body == b"x" * 300_000
        assert second.faults == []
        assert rig.value("replays_total") == 1


async def test_a_message_above_the_limit_is_refused_and_forgotten_at_the_ingress() -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress), message_bytes_max=100_000) as rig:
        mta = rig.connect()
        await mta.open()
        heard = await mta.message(Mail(body=b"x" * 300_000))
        assert heard.final == ev.ReplyCode(b"552 5.3.4 Message is too big for the mail filter")
        await settle()
        assert (ingress.open, ingress.judged) == ({}, [])
        assert rig.value("transactions_total", action="oversize") == 1
        assert (await mta.message(Mail())).final == ev.Accept()


async def test_a_header_section_above_the_limit_is_refused_and_the_connection_goes_on() -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        await mta.open()
        heard = await mta.message(Mail(headers=((b"X-Long", b" " + b"x" * 100_000),) * 22))
        assert heard.final == ev.ReplyCode(b"552 5.3.4 Message is too big for the mail filter")
        await settle()
        assert (ingress.open, ingress.judged, rig.held.total) == ({}, [], 0)
        assert rig.value("transactions_total", action="oversize") == 1
        assert (await mta.message(Mail())).final == ev.Accept()


async def test_mail_beyond_what_may_be_held_is_answered_by_the_failure_policy() -> None:
    ingress = FakeIngress(silent)
    async with rigged(Cell(a=ingress), message_bytes_max=100_000, held_bytes_max=100_000) as rig:
        busy, mta = rig.connect(), rig.connect()
        await busy.open()
        await mta.open()
        waiting = asyncio.create_task(busy.message(Mail(body=b"x" * 60_000)))
        await settle()
        assert (await mta.message(Mail(body=b"x" * 60_000))).final == UNAVAILABLE
        assert rig.value("failures_total", failure="overloaded", action="tempfail") == 1
        assert (await waiting).final == UNAVAILABLE
        assert rig.held.total == 0


@pytest.mark.parametrize("steps", [c.OFFERED_STEPS, 0])
async def test_bytes_may_arrive_one_by_one(steps: int) -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        whole = mta._write

        def drip(data: bytes) -> None:
            for position in range(len(data)):
                whole(data[position : position + 1])

        mta._write = drip
        await mta.open(steps=steps)
        assert (await mta.message(Mail())).final == ev.Accept()
        assert ingress.judged[0].body == b"hello\r\n"
