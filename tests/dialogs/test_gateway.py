"""The dialogs, played with the gateway process: its answers are the verdicts of a fake ingress that heard the mail.

What the gateway chooses itself is not compared: which of the steps it asks for (then it does not answer what the dialog
answers with CONTINUE), PROGRESS, the pieces of a new body, and ACCEPT for CONTINUE at end of message.
"""

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.early import Stage, offer
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tests.dialogs.dialog import Dialog, dialogs, encode
from tests.dialogs.verdicts import for_message, for_recipient, for_stage
from tests.gateway.fake_ingress import FakeIngress, Heard, Judge
from tests.gateway.test_live import Gateway, eventually, gateway, ingress_of
from wire.milter import NEED_DATA, MtaConnection, TcpAddress, negotiate, parse_listen, strip_brackets
from wire.milter import constants as c
from wire.milter import events as ev

pytestmark = [pytest.mark.live, pytest.mark.asyncio(loop_scope="module")]

REPLY_TIMEOUT_S = 8.0


class Table:
    """A running gateway and the ingress that it asks."""

    def __init__(self, running: Gateway, ingress: FakeIngress) -> None:
        self.running = running
        self.ingress = ingress
        self.judges: deque[Judge] = deque()
        """Of the questions to come, in their order."""
        ingress.stage = ingress.recipient = ingress.judge = self._answer

    def _answer(self, heard: Heard) -> filter_pb.Answer | None:
        return self.judges.popleft()(heard)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def table() -> AsyncIterator[Table]:
    """The gateway asks at every stage at which it can."""
    ingress = FakeIngress()
    with tempfile.TemporaryDirectory(prefix="tamis-") as folder:
        async with ingress_of(ingress) as target:
            settings = f"[gateway.early]\nstages = {[str(stage) for stage in Stage]}\n"
            with gateway(Path(folder), target, settings=settings) as running:
                await eventually(lambda: running.lines("ingress_connected"))
                yield Table(running, ingress)


class Player:
    """The MTA's side of one dialog."""

    def __init__(self, table: Table, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._table = table
        self._reader = reader
        self._writer = writer
        self._codec = MtaConnection()
        self._sender = b""
        self._recipients: list[bytes] = []
        self._fields: list[bytes] = []
        self._body = bytearray()

    async def breaks_a_rule(self, value: object) -> None:
        self._writer.write(encode(value))
        await self.expect_the_end()

    async def expect_the_end(self) -> None:
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            try:
                assert await self._reader.read() == b""
            except ConnectionResetError:
                return

    async def says(self, event: ev.Event, answers: list[object]) -> None:
        self._note(event)
        judge = _JUDGES.get(type(event))
        if judge is not None:
            self._table.judges.append(judge(answers))
        if isinstance(event, _STAGES) and not answers:
            answers = [ev.Continue()]
        self._writer.write(self._codec.send(event))
        if not self._codec.awaiting_reply:
            assert [type(answer) for answer in answers] in ([], [ev.Continue]), "the gateway does not answer this"
        elif answers:
            heard = [reply for reply in await self._replies() if not isinstance(reply, ev.Progress)]
            assert _joined(heard) == _joined(self._expected(event, answers))
        else:
            # The MTA gives up on a question: one that the ingress has heard, or it would take the next for this one.
            await eventually(lambda: not self._table.judges)
        if isinstance(event, ev.EndOfBody) and answers:
            self._compare(self._table.ingress.judged[-1])

    def _expected(self, event: ev.Event, answers: list[object]) -> list[object]:
        *edits, final = answers
        if isinstance(event, ev.Negotiate):
            assert isinstance(final, ev.Negotiated)
            wanted = offer(frozenset(Stage))
            chosen = negotiate(event, wanted.actions, wanted.steps, wanted.symlists)
            assert (chosen.version, chosen.actions) == (final.version, final.actions)
            return [chosen]
        if isinstance(event, ev.EndOfBody) and isinstance(final, ev.Continue):
            final = ev.Accept()
        return [answer for answer in (*edits, final) if not isinstance(answer, ev.Progress)]

    async def _replies(self) -> list[object]:
        replies: list[object] = []
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            while self._codec.awaiting_reply:
                reply = self._codec.next_event()
                if reply is NEED_DATA:
                    data = await self._reader.read(65_536)
                    assert data, "the gateway closed the connection"
                    self._codec.receive_data(data)
                else:
                    replies.append(reply)
        return replies

    def _note(self, event: ev.Event) -> None:
        match event:
            case ev.Mail(address):
                self._sender, self._recipients, self._fields, self._body = address, [], [], bytearray()
            case ev.Recipient(address):
                self._recipients.append(strip_brackets(address))
            case ev.Header(name, value):
                steps = self._codec.negotiated.steps if self._codec.negotiated else 0
                colon = b":" if steps & c.SMFIP_HDR_LEADSPC else b": "
                self._fields.append(name + colon + value.replace(b"\n", b"\r\n") + b"\r\n")
            case ev.Body(chunk) | ev.EndOfBody(chunk):
                self._body += chunk

    def _compare(self, heard: Heard) -> None:
        """The ingress heard what the MTA said, byte for byte."""
        assert heard.sender == strip_brackets(self._sender)
        assert heard.recipients == self._recipients
        assert heard.headers is not None
        assert heard.headers.header_block == b"".join(self._fields)
        assert heard.body == self._body


_STAGES = (ev.Connect, ev.Helo, ev.Mail)
_JUDGES = {**dict.fromkeys(_STAGES, for_stage), ev.Recipient: for_recipient, ev.EndOfBody: for_message}


def _joined(answers: list[object]) -> list[object]:
    """With the pieces of a new body as one."""
    joined: list[object] = []
    for answer in answers:
        if isinstance(answer, ev.ReplaceBody) and joined and isinstance(joined[-1], ev.ReplaceBody):
            joined[-1] = ev.ReplaceBody(joined[-1].chunk + answer.chunk)
        else:
            joined.append(answer)
    return joined


async def play(dialog: Dialog, table: Table) -> bool:
    """Play the dialog; whether the MTA broke a rule at its end."""
    address = parse_listen(table.running.milter[0])
    assert isinstance(address, TcpAddress)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    player = Player(table, reader, writer)
    try:
        return await _play(dialog, player)
    finally:
        writer.close()


async def _play(dialog: Dialog, player: Player) -> bool:
    broken = False
    for line, answers in dialog.turns():
        try:
            if line.side == "X":
                await player.breaks_a_rule(line.value)
                broken = True
            else:
                await player.says(line.value, answers)  # type: ignore[arg-type]
        except Exception as error:
            raise AssertionError(f"{dialog.name}.dialog:{line.number}: {error!r}") from error
    if not broken:
        await player.expect_the_end()
    return broken


@pytest.mark.parametrize("dialog", dialogs("gateway"), ids=lambda dialog: dialog.name)
async def test_the_gateway_answers_as_in(dialog: Dialog, table: Table) -> None:
    lines: Callable[[], list[dict[str, object]]] = lambda: table.running.lines("session_closed")  # noqa: E731
    before = len(lines())
    table.judges.clear()
    broken = await play(dialog, table)
    if broken:
        await eventually(lambda: len(lines()) > before)
    assert [line["reason"] for line in lines()[before:]] == ["protocol_error"] * broken
    assert table.ingress.faults == []
