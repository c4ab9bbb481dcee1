"""What the gateway does with what no sound MTA sends: one line with a reason, nothing left, nobody else disturbed.

The tables are the codec's (tests/wire/milter/commands.py); docs/failures.md, "Bad input", names each group.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway import session
from gateway.config import EarlyConfig
from gateway.logs import JsonFormatter
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import Cell, FakeIngress, let_in, silent, verdict
from tests.gateway.mta import Mail, Mta
from tests.gateway.rig import LogLines, MemoryTransport, Rig, rigged
from tests.wire.milter.commands import EIGHT_BIT, EMPTY, SAMPLES, TEXTS, UNASKED, WRONG, frame, names, split, way
from wire.milter import State
from wire.milter import constants as c
from wire.milter import events as ev

ENVELOPE = way(State.RCPT)
REST = frame(c.SMFIC_EOH) + frame(c.SMFIC_BODYEOB)
TO_THE_END = {
    State.READY: frame(c.SMFIC_CONNECT) + frame(c.SMFIC_MAIL) + frame(c.SMFIC_RCPT) + REST,
    State.IDLE: frame(c.SMFIC_MAIL) + frame(c.SMFIC_RCPT) + REST,
    State.MAIL: frame(c.SMFIC_RCPT) + REST,
    State.RCPT: REST,
    State.DATA: REST,
    State.BODY: frame(c.SMFIC_BODYEOB),
}
"""What ends a message from a state on."""
NO_RCPT = {"early": EarlyConfig(stages=())}
EXACT = len(EIGHT_BIT)


@dataclass
class Bad:
    """A connection that is about to misbehave, beside one that is not."""

    rig: Rig
    ingress: FakeIngress
    lines: LogLines
    transport: MemoryTransport
    bystander: Mta

    async def say(self, data: bytes) -> None:
        """Some bytes, as an MTA says them: after a question it waits. The gateway reads them to the end."""
        whole, rest = split(data)
        pending = b""
        for command, payload in whole:
            pending += frame(command, payload)
            if command in (c.SMFIC_RCPT, c.SMFIC_BODYEOB):
                await self.write(pending)
                pending = b""
        await self.write(pending + rest)

    async def write(self, data: bytes) -> None:
        """Bytes at once."""
        self.transport.deliver(data)
        await asyncio.sleep(0.01)
        while self.transport._unread and not self.transport.closed:  # noqa: ASYNC110 - a transport has no event for it
            await asyncio.sleep(0.01)

    def heard(self) -> bytes:
        """What the gateway wrote."""
        data = b""
        while not self.transport.incoming.empty():
            data += self.transport.incoming.get_nowait()
        return data

    async def closed(self, reason: str) -> dict[str, object]:
        """It was closed with one line; nothing is left of it, and the bystander's mail passes."""
        assert self.transport.closed
        (line,) = self.lines.of("session_closed")
        assert line["reason"] == reason
        assert line["why"]
        assert [record for record in self.lines.records if record.levelno >= logging.ERROR] == []
        await self.undisturbed()
        assert self.ingress.open == {}
        return line

    async def undisturbed(self) -> None:
        heard = await self.bystander.message(Mail(queue_id=b"4BYSTANDER"))
        assert heard.final == ev.Accept()
        assert self.rig.held.total == 0


@asynccontextmanager
async def misbehaving(lines: LogLines, ingress: FakeIngress | None = None, **settings: object) -> AsyncIterator[Bad]:
    known = ingress or FakeIngress()
    async with rigged(Cell(a=known), **settings) as rig:
        bystander = rig.connect()
        await bystander.open()
        rig.connect()
        lines.records.clear()
        yield Bad(rig, known, lines, rig.transports[1], bystander)


def pad(size_bytes: int) -> bytes:
    return b"x" * size_bytes


def text(name: str, size_bytes: int) -> bytes:
    return way(TEXTS[name].state) + TEXTS[name].frame(pad(size_bytes))


@dataclass
class Over:
    """A field over its cap, and what comes of it: a closed connection, or a reply at its end."""

    data: Callable[[], bytes]
    reason: str = "limit_exceeded"
    reply: bytes = b""
    settings: dict[str, object] = field(default_factory=dict)


OVER: dict[str, Over] = {
    "frame": Over(lambda: way(State.IDLE) + (1 << 20).to_bytes(4) + b"B", "protocol_error"),
    "frame of 4 GB": Over(lambda: b"\xff\xff\xff\xffB", "protocol_error"),
    "frame of zero bytes": Over(lambda: way(State.BODY) + bytes(4), "protocol_error"),
    "macros": Over(lambda: way(State.READY) + frame(c.SMFIC_MACRO, b"C" + b"a\0b\0" * 257)),
    "macro bytes": Over(lambda: text("macro value", 64 * 1024)),
    "host name": Over(lambda: text("host name", 16 * 1024)),
    "client address": Over(lambda: text("client address", 16 * 1024)),
    "helo": Over(lambda: text("helo", 16 * 1024)),
    "unknown command": Over(lambda: text("unknown command", 16 * 1024)),
    "sender": Over(lambda: text("sender", 4096)),
    "sender arguments": Over(lambda: way(State.IDLE) + frame(c.SMFIC_MAIL, b"<>\0" + b"A\0" * 65)),
    "sender argument bytes": Over(lambda: text("sender argument", 16 * 1024)),
    "recipient": Over(lambda: text("recipient", 4096)),
    "recipient arguments": Over(lambda: way(State.MAIL) + frame(c.SMFIC_RCPT, b"<>\0" + b"A\0" * 65)),
    "recipient argument bytes": Over(lambda: text("recipient argument", 16 * 1024)),
    "envelope bytes": Over(
        lambda: way(State.MAIL) + TEXTS["recipient argument"].frame(pad(16_000)) * 1049, settings=NO_RCPT
    ),
    "recipients of a transaction": Over(
        lambda: way(State.MAIL) + frame(c.SMFIC_RCPT, b"<>\0") * 50_001, settings=NO_RCPT
    ),
    "recipients of a message": Over(
        lambda: way(State.MAIL) + frame(c.SMFIC_RCPT, b"<>\0") * 10_001 + REST,
        reply=b"552 5.3.4",
        settings=NO_RCPT,
    ),
    "header fields": Over(lambda: ENVELOPE + frame(c.SMFIC_HEADER, b"A\0b\0") * 50_001 + REST, reply=b"552 5.3.4"),
    "header bytes": Over(
        lambda: ENVELOPE + frame(c.SMFIC_HEADER, b"A\0" + pad(100_000) + b"\0") * 21 + REST, reply=b"552 5.3.4"
    ),
    "message bytes": Over(
        lambda: ENVELOPE + frame(c.SMFIC_EOH) + frame(c.SMFIC_BODY, pad(60_000)) * 2 + frame(c.SMFIC_BODYEOB),
        reply=b"552 5.3.4",
        settings={"message_bytes_max": 100_000},
    ),
    "held bytes": Over(
        lambda: ENVELOPE + frame(c.SMFIC_EOH) + frame(c.SMFIC_BODY, pad(99_900)) + frame(c.SMFIC_BODYEOB),
        reply=b"451 4.7.1",
        settings={"message_bytes_max": 100_000, "held_bytes_max": 100_000},
    ),
}


@pytest.mark.parametrize("cap", OVER)
async def test_every_field_over_its_cap(cap: str, lines: LogLines) -> None:
    over = OVER[cap]
    async with misbehaving(lines, **over.settings) as bad:
        await (bad.write if over.settings is NO_RCPT else bad.say)(over.data())
        if not over.reply:
            await bad.closed(over.reason)
            return
        assert over.reply in bad.heard()
        assert not bad.transport.closed
        (line,) = lines.of("message")
        assert (line.get("action"), line.get("failure")) in (("oversize", None), ("tempfail", "overloaded"))
        await bad.undisturbed()
        # The next message of the same connection is as good as any.
        await bad.say(TO_THE_END[State.IDLE])
        assert lines.of("message")[-1]["action"] == "accept"


async def test_one_recipient_too_many_is_refused_and_the_message_goes_on(
    lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RECIPIENTS_MAX", 3)
    async with misbehaving(lines) as bad:
        await bad.say(way(State.MAIL))
        for _ in range(5):
            await bad.say(frame(c.SMFIC_RCPT))
        assert bad.heard().count(b"452 4.5.3 Too many recipients") == 2
        await bad.say(REST)
        assert len(bad.ingress.judged[-1].recipients) == 3


def edits(*made: pb.Edit) -> dict[str, object]:
    return {"action": pb.ACTION_ADD_HEADER, "edits": made}


def adding(name: bytes, value: bytes) -> pb.Edit:
    return pb.Edit(add_header=pb.AddHeader(name=name, value=value))


VERDICTS: dict[str, dict[str, object]] = {
    "edits": edits(*[adding(b"A", b"b")] * 4097),
    "field name": edits(adding(pad(257), b"b")),
    "field value": edits(adding(b"A", pad(c.DATA_BYTES_256K))),
    "header index": edits(pb.Edit(insert_header=pb.InsertHeader(index=1 << 31, name=b"A", value=b"b"))),
    "header occurrence": edits(pb.Edit(delete_header=pb.DeleteHeader(occurrence=1 << 31, name=b"A"))),
    "sender": edits(pb.Edit(change_sender=pb.ChangeSender(address=pad(4097)))),
    "sender arguments": edits(pb.Edit(change_sender=pb.ChangeSender(address=b"a", esmtp_args=pad(4097)))),
    "recipient": edits(pb.Edit(add_recipient=pb.AddRecipient(address=pad(4097)))),
    "deleted recipient": edits(pb.Edit(delete_recipient=pad(4097))),
    "reply text": {"action": pb.ACTION_REJECT, "reply": pb.Reply(code=550, enhanced="5.7.1", text="x" * 401)},
    "reply code": {"action": pb.ACTION_REJECT, "reply": pb.Reply(code=5500, enhanced="5.7.1", text="x")},
    "enhanced code": {"action": pb.ACTION_REJECT, "reply": pb.Reply(code=550, enhanced="5.7.1000", text="x")},
    "quarantine reason": {"action": pb.ACTION_QUARANTINE, "quarantine_reason": "x" * 4097},
    "action": {"action": 99},
}


@pytest.mark.parametrize("cap", VERDICTS)
async def test_every_field_of_a_verdict_over_its_cap(cap: str, lines: LogLines) -> None:
    async with misbehaving(lines, FakeIngress(verdict(**VERDICTS[cap]))) as bad:  # type: ignore[arg-type]
        await bad.say(ENVELOPE + REST)
        assert b"451 4.7.1" in bad.heard()
        (line,) = lines.of("invalid_verdict")
        assert line["why"]
        assert lines.of("message")[0]["failure"] == "internal"
        bad.ingress.judge = verdict()
        await bad.undisturbed()


@pytest.mark.parametrize(("state", "command"), WRONG, ids=[names(*wrong) for wrong in WRONG])
async def test_every_command_in_every_wrong_state(state: State, command: int, lines: LogLines) -> None:
    async with misbehaving(lines) as bad:
        await bad.say(way(state))
        assert not bad.transport.closed
        await bad.say(frame(command, None if command in SAMPLES else b""))
        await bad.closed("protocol_error")


@pytest.mark.parametrize("asked", ["RCPT", "BODYEOB"])
@pytest.mark.parametrize("command", UNASKED, ids=[c.COMMAND_NAMES[command] for command in UNASKED])
async def test_every_command_while_an_answer_is_due(asked: str, command: int, lines: LogLines) -> None:
    ingress = FakeIngress(silent, recipient=silent if asked == "RCPT" else let_in)
    async with misbehaving(lines, ingress) as bad:
        await bad.say(ENVELOPE if asked == "RCPT" else ENVELOPE + REST)
        assert bad.ingress.open
        await bad.say(frame(command))
        ingress.judge, ingress.recipient = verdict(), let_in
        await bad.closed("protocol_error")


@pytest.mark.parametrize("place", [*TEXTS, *EMPTY])
async def test_nul_everywhere(place: str, lines: LogLines) -> None:
    async with misbehaving(lines) as bad:
        if place in EMPTY:
            state, command = EMPTY[place]
            await bad.say(way(state) + frame(command, b"\0"))
            await bad.closed("protocol_error")
        elif TEXTS[place].more_strings:
            # On the wire that is one ESMTP argument more, and no one can tell the difference.
            await bad.say(way(TEXTS[place].state) + TEXTS[place].frame(b"a\0b") + to_the_end(place))
            assert lines.of("message")[-1]["action"] == "accept"
            await bad.undisturbed()
        else:
            await bad.say(way(TEXTS[place].state) + TEXTS[place].frame(b"a\0b"))
            await bad.closed("protocol_error")


def to_the_end(place: str) -> bytes:
    """What ends the message after the frame of a text."""
    after = {c.SMFIC_CONNECT: State.IDLE, c.SMFIC_MAIL: State.MAIL, c.SMFIC_RCPT: State.RCPT}
    return TO_THE_END[after.get(TEXTS[place].command, TEXTS[place].state)]


@pytest.mark.parametrize("place", TEXTS)
async def test_8_bit_everywhere(place: str, lines: LogLines) -> None:
    async with misbehaving(lines) as bad:
        await bad.say(way(TEXTS[place].state) + TEXTS[place].frame(EIGHT_BIT) + to_the_end(place))
        assert not bad.transport.closed
        (heard,) = bad.ingress.judged
        client, headers = heard.begin.client, heard.headers
        assert headers is not None
        told = {
            "host name": client.hostname,
            "helo": client.helo,
            "sender": heard.sender,
            "macro of sender": client.auth_user,
            "recipient": heard.recipients[0],
            "header name": headers.header_block,
            "header value": headers.header_block,
        }
        assert EIGHT_BIT in told.get(place, EIGHT_BIT)
        # What becomes text says where it was not.
        replaced = {"client address": client.ip, "macro of queue id": headers.queue_id}
        assert replaced.get(place, "\N{REPLACEMENT CHARACTER}" * EXACT) == "\N{REPLACEMENT CHARACTER}" * EXACT
        formatter = JsonFormatter()
        assert all(json.loads(formatter.format(record)) for record in lines.records)
        await bad.undisturbed()


async def test_nul_and_8_bit_pass_in_a_body(lines: LogLines) -> None:
    body = bytes(range(256)) * 4
    async with misbehaving(lines) as bad:
        await bad.say(way(State.BODY) + frame(c.SMFIC_BODY, body) + frame(c.SMFIC_BODYEOB, b"\0\xff"))
        assert bytes(bad.ingress.judged[0].body) == body + b"\0\xff"


GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "SMTP": b"EHLO client.example\r\n",
    "TLS hello": bytes.fromhex("16030102000100"),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
}


@pytest.mark.parametrize("state", [State.START, State.IDLE, State.HEADERS, State.BODY], ids=lambda state: state.value)
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_in_every_state(garbage: str, state: State, lines: LogLines) -> None:
    async with misbehaving(lines) as bad:
        await bad.say(way(state) + GARBAGE[garbage])
        await bad.closed("protocol_error")


@pytest.mark.parametrize("command", SAMPLES, ids=[c.COMMAND_NAMES[command] for command in SAMPLES])
async def test_a_frame_that_is_cut_short_by_the_end_of_the_connection(command: int, lines: LogLines) -> None:
    async with misbehaving(lines) as bad:
        await bad.say(frame(command)[:-1])
        bad.transport.close()
        await asyncio.sleep(0.01)
        await bad.closed("disconnected")
