"""How connections and questions end before their time: garbage, goodbyes, bugs."""

import asyncio

import pytest

from gateway import replies
from tests.gateway.fake_ingress import Cell, FakeIngress, let_in, silent, verdict
from tests.gateway.mta import Mail, Mta
from tests.gateway.rig import LogLines, Rig, rigged
from wire.milter import events as ev


def frame(command: bytes, payload: bytes = b"") -> bytes:
    return (len(payload) + 1).to_bytes(4) + command + payload


async def settle() -> None:
    await asyncio.sleep(0.01)


async def open_session(rig: Rig) -> Mta:
    mta = rig.connect()
    await mta.open()
    return mta


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "protocol_error"),
        (b"\xff\xff\xff\xff" + b"B" * 100, "protocol_error"),
        (b"\0\0\0\0", "protocol_error"),
        (frame(b"B", b"before negotiation"), "protocol_error"),
        (frame(b"O", b"\0\0\0\1" + bytes(8)), "protocol_error"),
        (frame(b"?"), "protocol_error"),
    ],
)
async def test_garbage_closes_one_connection_with_one_line(garbage: bytes, reason: str, lines: LogLines) -> None:
    async with rigged(Cell(a=FakeIngress())) as rig:
        bystander = await open_session(rig)
        mta = rig.connect()
        lines.records.clear()
        mta._write(garbage)
        await settle()
        assert rig.transports[1].closed
        assert len(lines.records) == 1
        (line,) = lines.of("session_closed")
        assert line["reason"] == reason
        assert line["peer"]
        assert rig.value("closed_total", reason=reason) == 1
        assert rig.value("sessions") == 1
        assert (await bystander.message(Mail())).final == ev.Accept()


@pytest.mark.parametrize("stage", ["negotiation", "envelope", "mid_frame", "body", "recipient", "verdict"])
async def test_an_mta_that_goes_away_in_the_middle_leaves_nothing_behind(stage: str, lines: LogLines) -> None:
    ingress = FakeIngress(silent, recipient=silent if stage == "recipient" else FakeIngress().recipient)
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        mail = Mail(body=b"x" * 100_000)
        playing: asyncio.Task[object] | None = None
        await mta.open()
        if stage == "envelope":
            await mta.envelope(mail)
        elif stage == "mid_frame":
            await mta.envelope(mail)
            mta._write(b"\0\0\1\0N")
        elif stage == "body":
            await mta.envelope(mail)
            await mta.say(ev.EndOfHeaders())
            await mta.say(ev.Body(b"x" * 60_000))
            mta.flush()
        elif stage in ("recipient", "verdict"):
            playing = asyncio.create_task(mta.message(mail))
        await settle()
        lines.records.clear()
        rig.hang_up()
        await settle()
        assert [line["reason"] for line in lines.of("session_closed")] == ["disconnected"]
        assert len(lines.records) == 1
        assert (rig.value("sessions"), rig.held.total, ingress.open) == (0, 0, {})
        assert rig.value("early_total", stage="rcpt", action="late") == 0
        if playing is not None:
            with pytest.raises(EOFError):
                await playing


async def test_a_probe_of_the_port_is_not_worth_a_line(lines: LogLines) -> None:
    async with rigged(Cell(a=FakeIngress())) as rig:
        rig.connect()
        lines.records.clear()
        rig.hang_up()
        await settle()
        assert lines.records == []
        assert rig.value("sessions") == 0


async def test_quit_closes_without_a_line(lines: LogLines) -> None:
    async with rigged(Cell(a=FakeIngress())) as rig:
        mta = await open_session(rig)
        lines.records.clear()
        await mta.say(ev.Quit())
        mta.flush()
        await settle()
        assert rig.transports[0].closed
        assert lines.records == []
        assert rig.value("sessions") == 0


async def test_an_abort_while_the_verdict_is_awaited_ends_the_question_and_not_the_connection() -> None:
    ingress = FakeIngress(silent)
    async with rigged(Cell(a=ingress)) as rig:
        mta = await open_session(rig)
        await mta.envelope(Mail())
        await mta.content(Mail())
        mta.flush()
        await settle()
        await mta.say(ev.Abort())
        mta.flush()
        await settle()
        assert ingress.open == {}
        ingress.judge = verdict()
        mta.codec._due = None
        assert (await mta.message(Mail(queue_id=b"4NEXT"))).final == ev.Accept()


GOODBYES = {"abort": ev.Abort(), "quit": ev.Quit()}


@pytest.mark.parametrize("goodbye", GOODBYES)
@pytest.mark.parametrize("question", ["rcpt", "end_of_message"])
async def test_a_goodbye_that_comes_along_with_the_question_ends_it_at_once(question: str, goodbye: str) -> None:
    ingress = FakeIngress(silent, recipient=silent if question == "rcpt" else let_in)
    async with rigged(Cell(a=ingress)) as rig:
        mta = await open_session(rig)
        if question == "rcpt":
            await mta.say(ev.Mail(b"<a@shop.example>"))
            mta._waiting += mta.codec.send(ev.Recipient(b"<b@recipient.example>"))
        else:
            await mta.envelope(Mail())
            await mta.content(Mail())
        mta._waiting += mta.codec.send(GOODBYES[goodbye])
        mta.flush()
        await settle()
        assert (ingress.open, ingress.judged, rig.held.total) == ({}, [], 0)
        assert rig.transports[0].closed == (goodbye == "quit")
        assert rig.transports[0].incoming.qsize() == (goodbye == "quit")  # the end of the connection, no answer
        assert rig.value("early_total", stage="rcpt", action="late") == 0


async def test_a_command_that_comes_along_with_a_question_breaks_the_protocol(lines: LogLines) -> None:
    ingress = FakeIngress(recipient=silent)
    async with rigged(Cell(a=ingress)) as rig:
        mta = await open_session(rig)
        await mta.say(ev.Mail(b"<a@shop.example>"))
        mta._waiting += mta.codec.send(ev.Recipient(b"<b@recipient.example>")) + frame(b"R", b"<c@x.example>\0")
        mta.flush()
        await settle()
        assert [line["reason"] for line in lines.of("session_closed")] == ["protocol_error"]
        assert (ingress.open, rig.held.total) == ({}, 0)


async def test_what_comes_right_behind_a_goodbye_does_not_take_its_place() -> None:
    ingress = FakeIngress(silent)
    async with rigged(Cell(a=ingress)) as rig:
        mta = await open_session(rig)
        await mta.envelope(Mail(sender=b"<first@shop.example>"))
        await mta.content(Mail())
        mta.flush()
        await settle()
        ingress.judge = verdict()
        mta._write(mta.codec.send(ev.Abort()))
        mta.codec._due = None
        mta._write(mta.codec.send(ev.Mail(b"<second@shop.example>")))
        heard = await mta.say(ev.Recipient(b"<reader@recipient.example>"))
        assert heard == ev.Continue()
        await mta.content(Mail())
        assert await mta.reply() == ev.Accept()
        assert [judged.sender for judged in ingress.judged] == [b"second@shop.example"]


async def test_a_command_while_an_answer_is_due_breaks_the_protocol(lines: LogLines) -> None:
    ingress = FakeIngress(silent)
    async with rigged(Cell(a=ingress)) as rig:
        mta = await open_session(rig)
        await mta.envelope(Mail())
        await mta.content(Mail())
        mta.flush()
        await settle()
        mta._write(frame(b"M", b"<x@x.example>\0"))
        await settle()
        assert [line["reason"] for line in lines.of("session_closed")] == ["protocol_error"]
        assert ingress.open == {}


async def test_too_many_recipients_close_the_connection_with_the_limit(lines: LogLines) -> None:
    async with rigged(Cell(a=FakeIngress())) as rig:
        mta = await open_session(rig)
        await mta.say(ev.Mail(b"<>"))
        mta.flush()
        mta._write(frame(b"R", b"<" + b"x" * 5000 + b"@x.example>\0"))
        await settle()
        assert [line["reason"] for line in lines.of("session_closed")] == ["limit_exceeded"]


async def test_a_bug_in_one_session_ends_that_session_only(lines: LogLines, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rigged(Cell(a=FakeIngress())) as rig:
        mta, other = await open_session(rig), await open_session(rig)
        with monkeypatch.context() as patch:
            patch.setattr(replies, "for_verdict", lambda *_: 1 / 0)
            with pytest.raises(EOFError):
                await mta.message(Mail())
        assert [line["reason"] for line in lines.of("session_closed")] == ["internal_error"]
        assert rig.held.total == 0
        assert (await other.message(Mail())).final == ev.Accept()


async def test_of_much_that_comes_at_once_some_waits_and_a_goodbye_is_heard_while_we_ask() -> None:
    async with rigged(Cell(a=FakeIngress(silent))) as rig:
        mta = await open_session(rig)
        mta.flush()
        mta._write(mta.codec.send(ev.Mail(b"<>")) + mta.codec.send(ev.EndOfHeaders()))
        mta._write(b"".join(mta.codec.send(ev.Body(b"x" * 65_535)) for _ in range(8)))
        assert rig.transports[0].paused
        await settle()
        assert not rig.transports[0].paused
        mta._write(b"".join(mta.codec.send(ev.Body(b"x" * 65_535)) for _ in range(8)) + mta.codec.send(ev.EndOfBody()))
        assert rig.transports[0].paused
        await settle()
        assert not rig.transports[0].paused


async def test_from_an_mta_that_reads_no_answers_nothing_more_is_taken(lines: LogLines) -> None:
    async with rigged(Cell(a=FakeIngress()), idle_timeout_s=60.0) as rig:
        mta = await open_session(rig)
        mta.flush()
        driver, transport = rig.transports[0]._driver, rig.transports[0]
        driver.pause_writing()
        assert transport.paused
        mta._write(b"".join(frame(b"H", b"x\0") for _ in range(10)))
        await settle()
        driver.resume_writing()
        assert not transport.paused
        await settle()
        assert (await mta.message(Mail())).final == ev.Accept()
        driver.pause_writing()
        rig.server.sweep(asyncio.get_running_loop().time() + 61)
        assert [line["reason"] for line in lines.of("session_closed")] == ["idle"]


async def test_an_mta_that_leaves_without_reading_its_answers_is_cut(
    lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(Cell(a=FakeIngress()), idle_timeout_s=60.0) as rig:
        mta = await open_session(rig)
        with monkeypatch.context() as patch:
            # A real transport waits until the MTA has read what was written.
            patch.setattr(rig.transports[0], "close", lambda: None)
            await mta.say(ev.Quit())
            mta.flush()
            await settle()
        rig.server.sweep(asyncio.get_running_loop().time() + 61)
        await settle()
        assert rig.transports[0].closed
        assert rig.value("sessions") == 0
        assert lines.of("session_closed") == []
