"""`tamis-gateway --trace-milter`: every event is told, what passes is marked, and content stays out."""

import json

import pytest

from gateway.trace_milter import Record, Tracer, line_of
from tests.gateway.mta import Mail, Mta
from wire.milter import MtaConnection, ProtocolError
from wire.milter import constants as c
from wire.milter import events as ev


class Traced:
    """An MTA that talks to a tracer in memory."""

    def __init__(self, *, content: bool = False) -> None:
        self.records: list[Record] = []
        self.now_s = 0.0
        self.tracer = Tracer(7, self.records.append, self._clock_s, content=content)
        self._answers = b""
        self.mta = Mta(self._write, self._read)

    def _clock_s(self) -> float:
        self.now_s += 0.001
        return self.now_s

    def _write(self, data: bytes) -> None:
        self._answers += self.tracer.receive(data)

    async def _read(self) -> bytes:
        answers, self._answers = self._answers, b""
        return answers

    def told(self, event: str) -> list[Record]:
        return [record for record in self.records if record["event"] == event]


MAIL = Mail(headers=((b"Subject", b" secret"), (b"X-Fold", b" a\n b")), body=b"private\r\n" * 10, chunk_bytes=50)


async def test_every_event_is_told_in_order_with_macros_and_sizes() -> None:
    traced = Traced()
    await traced.mta.open()
    await traced.mta.message(MAIL)
    traced.mta._write(traced.mta.codec.send(ev.Abort()) + traced.mta.codec.send(ev.Quit()))
    assert [record["event"] for record in traced.records] == [
        *["OPTNEG", "CONNECT", "HELO", "MAIL", "RCPT", "HEADER", "HEADER", "EOH", "BODY", "BODY", "BODYEOB"],
        *["ABORT", "QUIT"],
    ]
    assert traced.tracer.ended
    (connect,) = traced.told("CONNECT")
    assert connect["macros"] == {"j": "mx.recipient.example", "{daemon_name}": "smtpd"}
    assert (connect["address"], connect["port"], connect["family"]) == ("192.0.2.7", 54321, "inet")
    assert [record["value_bytes"] for record in traced.told("HEADER")] == [7, 5]
    (end,) = traced.told("BODYEOB")
    assert (end["body_bytes"], end["macros"]) == (90, {"i": "4ABC"})
    times = [record["ms"] for record in traced.records]
    assert times == sorted(times)


async def test_what_passes_is_marked() -> None:
    traced = Traced()
    await traced.mta.open()
    heard = await traced.mta.message(MAIL)
    assert (heard.edits, heard.final) == ([ev.AddHeader(b"X-Tamis-Unfiltered", b" trace")], ev.Accept())


async def test_an_old_mta_that_eats_the_space_gets_the_mark_without_it() -> None:
    traced = Traced()
    await traced.mta.open(steps=0, version=2)
    assert (await traced.mta.message(MAIL)).edits == [ev.AddHeader(b"X-Tamis-Unfiltered", b"trace")]


async def test_what_cannot_be_marked_does_not_pass() -> None:
    traced = Traced()
    await traced.mta.open(actions=0)
    heard = await traced.mta.message(MAIL)
    assert isinstance(heard.final, ev.ReplyCode)
    assert heard.final.text.startswith(b"451 4.7.1 ")


@pytest.mark.parametrize("content", [False, True])
async def test_content_is_told_only_on_demand(content: bool) -> None:  # noqa: FBT001
    traced = Traced(content=content)
    await traced.mta.open()
    await traced.mta.say(ev.Unknown(b"XPASS hidden"))
    await traced.mta.message(MAIL)
    told = json.dumps(traced.records) + "".join(map(line_of, traced.records))
    assert ("secret" in told, "private" in told, "hidden" in told) == (content, content, content)
    assert "XPASS" in told


async def test_the_negotiation_is_told_by_name() -> None:
    traced = Traced()
    await traced.mta.open(actions=c.SMFIF_ADDHDRS | c.SMFIF_CHGFROM, steps=c.SMFIP_SKIP)
    (record,) = traced.told("OPTNEG")
    assert record["offered"] == "version 6 · actions ADDHDRS CHGFROM · steps SKIP"
    assert record["holds"] == "version 6 · actions ADDHDRS · steps none"


async def test_counts_begin_anew_with_each_message() -> None:
    traced = Traced()
    await traced.mta.open()
    for _ in range(2):
        await traced.mta.message(MAIL)
    assert [record["body_bytes"] for record in traced.told("BODYEOB")] == [90, 90]


def test_a_broken_rule_is_told_with_its_reason() -> None:
    traced = Traced()
    with pytest.raises(ProtocolError):
        traced.tracer.receive(b"GET / HTTP/1.1\r\n\r\n")
    assert [record["event"] for record in traced.records] == ["PROTOCOL_ERROR"]


def test_a_line_shows_values_and_macros_without_control_characters() -> None:
    traced = Traced()
    mta = MtaConnection()
    traced.tracer.receive(mta.send(ev.Negotiate(6, c.ALL_ACTIONS, c.SMFIP_NR_CONN)))
    mta.receive_data(b"\0\0\0\x0dO\0\0\0\6\0\0\0\1\0\0\0\0")
    mta.next_event()
    traced.tracer.receive(mta.send(ev.Macros(c.SMFIC_CONNECT, ((b"v", b"Postfix 3.7\x1b[2J"),))))
    traced.tracer.receive(mta.send(ev.Connect(b"a\r\nb", c.SMFIA_UNKNOWN, 0, b"")))
    first, second = line_of(traced.records[-1]).splitlines()
    assert first.split()[0] == "#7"
    assert 'hostname="a\\r\\nb" family=unknown port=0' in first
    assert 'v="Postfix 3.7\\u001b[2J"' in second
