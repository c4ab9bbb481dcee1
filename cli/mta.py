"""The MTA's side of a milter connection: plays whole messages and tells what the filter made of them.

Strategy: does what Postfix does. The same macros per stage, the same chunks, commands buffered until an answer is
needed, one timeout per answer that Progress starts again. Whatever goes wrong ends in `MtaOutcome.error`, one line.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cli.edits import Mail, apply_edits
from cli.mail_file import prepare
from cli.mta_stages import Client, Macros, Manner, content_events, greeting, mail_event
from wire.milter import (
    NEED_DATA,
    AddressError,
    MtaConnection,
    ProtocolError,
    RemoteProtocolError,
    UnixAddress,
    parse_listen,
)
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.writers import COMMAND_WRITERS

READ_BYTES = 64 * 1024
WRITE_BYTES = 64 * 1024
REPLY_BYTES_MAX = 256 * 1024 * 1024
"""Of one message: a filter cannot fill our memory."""
STEPS_MAX = 50_000
"""Answers of one message, and replies before one answer, that are kept to be shown."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the MTA waits, in seconds; Postfix's defaults, and a bound of the whole message."""

    connect_s: float = 30.0
    """Connection and negotiation."""
    command_s: float = 30.0
    """Each answer up to DATA."""
    write_s: float = 300.0
    """Until the filter has taken what we write."""
    content_s: float = 300.0
    """Each answer to headers, body and end of message."""
    message_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Step:
    """One command that the filter answered."""

    command: str
    """Name of the protocol, e.g. RCPT."""
    replies: tuple[ev.Reply, ...]
    """What the filter said to it, Progress and edits included; the answer is the last."""
    wait_s: float


@dataclass(frozen=True, slots=True)
class MtaOutcome:
    """What became of one message."""

    action: str = ""
    """accept, reject, tempfail, discard, quarantine; empty when there was no answer (see `error`)."""
    reply: bytes = b""
    """Text of the SMTP reply that the filter chose, if any."""
    edits: tuple[ev.Edit, ...] = ()
    end_of_message_s: float = 0.0
    """From the end of the message to the final answer; 0 when it did not come to that."""
    mail: Mail = field(default=Mail(b"", (), (), b""), repr=False)
    """The message with the edits, envelope included."""
    rejected_recipients: tuple[tuple[bytes, bytes], ...] = ()
    """(address, reply text or action) of each."""
    error: str = ""
    """Why there was no answer: one line."""
    steps: tuple[Step, ...] = field(default=(), repr=False)
    """Every answer, with how long it took; negotiation and greeting stand with the first message of a connection."""

    @property
    def message(self) -> bytes:
        """The message with the edits, as Postfix would queue it."""
        return self.mail.raw

    @property
    def added_headers(self) -> list[tuple[bytes, bytes]]:
        """(name, value) of fields that the filter added, inserted or gave a value, without surrounding space."""
        kinds = (ev.AddHeader, ev.InsertHeader, ev.ChangeHeader)
        return [(edit.name, edit.value.strip()) for edit in self.edits if isinstance(edit, kinds) and edit.value]

    def added(self, name: bytes) -> bytes:
        """Value of the first field of this name (any case) that the filter added, or empty."""
        return next((value for field_name, value in self.added_headers if field_name.lower() == name.lower()), b"")


class MtaError(Exception):
    """There will be no answer; the text is one line."""


async def play_message(  # noqa: PLR0913 - an envelope has this many parts
    address: str,
    raw: bytes,
    *,
    sender: bytes = b"",
    recipients: Sequence[bytes] = (b"recipient@example.org",),
    client_ip: str = "127.0.0.1",
    helo: bytes = b"mail.example.com",
    macros: Mapping[bytes, bytes] | None = None,
    timeouts: Timeouts = Timeouts(),
) -> MtaOutcome:
    """Play one message of any line ends over a connection of its own. Raises nothing but CancelledError."""
    mail = prepare(raw, sender, recipients).as_mail()
    return await deliver(address, mail, Client(ip=client_ip, helo=helo), Manner(macros=macros or {}), timeouts)


async def deliver(
    address: str,
    mail: Mail,
    client: Client = Client(),
    manner: Manner = Manner(),
    timeouts: Timeouts = Timeouts(),
) -> MtaOutcome:
    """Play one prepared message over a connection of its own. Raises nothing but CancelledError."""
    (outcome,) = await deliver_in_turn(address, (mail,), client, manner, timeouts)
    return outcome


async def deliver_in_turn(
    address: str,
    mails: Sequence[Mail],
    client: Client = Client(),
    manner: Manner = Manner(),
    timeouts: Timeouts = Timeouts(),
) -> list[MtaOutcome]:
    """Play messages over one connection, RSET between them; a broken one is opened anew for the rest.

    As many outcomes as mails, in order. Raises nothing but CancelledError.
    """
    waiting = deque(mails)
    outcomes: list[MtaOutcome] = []
    session: MtaSession | None = None
    try:
        while waiting:
            mail = waiting.popleft()
            try:
                async with asyncio.timeout(timeouts.message_s):
                    session = session or await MtaSession.open(address, client, manner, timeouts)
                    outcomes.append(await session.play(mail))
                broken = session.over
            except TimeoutError:
                outcomes.append(_failed(mail, session, f"no answer from {address} in time"))
                broken = True
            except (OSError, ProtocolError, MtaError, AddressError) as error:
                outcomes.append(_failed(mail, session, f"{address}: {error}"))
                broken = True
            if session and broken:
                session.close()
                session = None
    finally:
        if session:
            session.close()
    return outcomes


def _failed(mail: Mail, session: "MtaSession | None", error: str) -> MtaOutcome:
    return MtaOutcome(mail=mail, error=error, steps=tuple(session.steps) if session else ())


class MtaSession:
    """One connection to a filter, negotiated: one SMTP client with one message after the other."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: Client,
        manner: Manner,
        timeouts: Timeouts,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._client = client
        self._manner = manner
        self._timeouts = timeouts
        self._milter = MtaConnection()
        self._macros = Macros(manner)
        self._waiting = bytearray()
        self._received_bytes = 0
        self._greeted = False
        self._for_all: MtaOutcome | None = None
        self.over = False
        """Whether the filter ended the SMTP connection (Shutdown)."""
        self.steps: list[Step] = []
        """Of the message that is played now."""

    @classmethod
    async def open(cls, address: str, client: Client, manner: Manner, timeouts: Timeouts) -> "MtaSession":
        """Connect and negotiate. Raises OSError, TimeoutError, ProtocolError, MtaError, AddressError."""
        target = parse_listen(address)
        async with asyncio.timeout(timeouts.connect_s):
            if isinstance(target, UnixAddress):
                reader, writer = await asyncio.open_unix_connection(target.path)
            else:
                reader, writer = await asyncio.open_connection(target.host, target.port)
            session = cls(reader, writer, client, manner, timeouts)
            try:
                await session._negotiate()
            except BaseException:
                session.close()
                raise
        return session

    def close(self) -> None:
        """Say QUIT if that can be said, and close."""
        with contextlib.suppress(ProtocolError):  # in a broken conversation nothing more is said
            self._writer.write(bytes(self._waiting) + self._milter.send(ev.Quit()))
        self._writer.close()

    async def play(self, mail: Mail) -> MtaOutcome:
        """The next message, to the final answer. Raises OSError, TimeoutError, ProtocolError, MtaError."""
        self._received_bytes = 0
        self._macros.begin(mail, self._client)
        if self._greeted:
            self.steps = []
            self._waiting += self._milter.send(ev.Abort())
        else:
            self._greeted = True
            self._for_all = await self._greet(mail)
        outcome = replace(self._for_all, mail=mail) if self._for_all else await self._transaction(mail)
        return replace(outcome, steps=tuple(self.steps))

    async def _greet(self, mail: Mail) -> MtaOutcome | None:
        """CONNECT and HELO; what they decide holds for all messages of this client."""
        for number, event in enumerate(greeting(self._client, self._manner)):
            if number:
                await self._pause()
            outcome = _outcome(await self._say(event), mail)
            if outcome and not isinstance(event, ev.Unknown):  # an odd command refused harms nothing else
                return outcome
        return None

    async def _transaction(self, mail: Mail) -> MtaOutcome:
        await self._pause()
        if outcome := _outcome(await self._say(mail_event(mail, self._manner)), mail):
            return outcome
        rejected: list[tuple[bytes, bytes]] = []
        for address in mail.recipients:
            await self._pause()
            self._macros.recipient(address)
            event = ev.Recipient(b"<%b>" % address, self._manner.recipient_args)
            outcome = _outcome(await self._say(event), mail)
            if outcome and outcome.action in ("accept", "discard"):
                return outcome
            if outcome:
                rejected.append((address, outcome.reply or outcome.action.encode()))
        if outcome and len(rejected) == len(mail.recipients):
            return _with_rejected(outcome, rejected)
        await self._pause()
        return _with_rejected(await self._content(mail, rejected), rejected)

    async def _content(self, mail: Mail, rejected: list[tuple[bytes, bytes]]) -> MtaOutcome:
        gone = {address for address, _ in rejected}
        mail = replace(mail, recipients=tuple(kept for kept in mail.recipients if kept not in gone))
        steps = self._milter.negotiated.steps if self._milter.negotiated else 0
        leading_space = bool(steps & c.SMFIP_HDR_LEADSPC)
        for event in content_events(mail, self._manner, leading_space=leading_space):
            if outcome := _outcome(await self._say(event), mail):
                return outcome
        edits: list[ev.Edit] = []
        start = time.perf_counter()
        answer = await self._say(ev.EndOfBody(), edits)
        elapsed_s = time.perf_counter() - start
        outcome = _outcome(answer, mail)
        quarantined = any(isinstance(edit, ev.Quarantine) for edit in edits)
        action = outcome.action if outcome else "accept"
        return MtaOutcome(
            action="quarantine" if quarantined and action == "accept" else action,
            reply=outcome.reply if outcome else b"",
            edits=tuple(edits),
            end_of_message_s=elapsed_s,
            mail=apply_edits(mail, edits, leading_space=leading_space),
        )

    async def _negotiate(self) -> None:
        answer = await self._say(self._manner.offer)
        if isinstance(answer, ev.Negotiated):
            self._macros.choose(answer.symlists)

    async def _pause(self) -> None:
        if self._client.delay_s:
            await asyncio.sleep(self._client.delay_s)

    async def _say(self, event: ev.Event, edits: list[ev.Edit] | None = None) -> ev.Answer | None:
        """Say one command with its macros; the answer when one is due. Nothing is written before that, as Postfix."""
        command = COMMAND_WRITERS[type(event)][0]
        if macros := self._macros.before(command):
            self._waiting += self._milter.send(macros)
        self._waiting += self._milter.send(event)
        if not self._milter.awaiting_reply:
            if len(self._waiting) >= WRITE_BYTES:
                await self._flush()
            return None
        await self._flush()
        timeout_s = self._timeouts.content_s if command in _CONTENT_COMMANDS else self._timeouts.command_s
        return await self._answer(c.COMMAND_NAMES[command], timeout_s, edits if edits is not None else [])

    async def _answer(self, command: str, timeout_s: float, edits: list[ev.Edit]) -> ev.Answer:
        start = time.perf_counter()
        replies: list[ev.Reply] = []
        while True:
            reply = await self._next_reply(timeout_s)
            if len(replies) < STEPS_MAX:
                replies.append(reply)
            if isinstance(reply, ev.Edit):
                edits.append(reply)
            elif not isinstance(reply, ev.Progress):
                self.over = isinstance(reply, ev.Shutdown | ev.ConnectionFail)
                if len(self.steps) < STEPS_MAX:
                    self.steps.append(Step(command, tuple(replies), time.perf_counter() - start))
                return reply

    async def _next_reply(self, timeout_s: float) -> ev.Reply:
        while (reply := self._milter.next_event()) is NEED_DATA:
            async with asyncio.timeout(timeout_s):
                data = await self._reader.read(READ_BYTES)
            if not data:
                raise MtaError("the filter closed the connection")
            self._received_bytes += len(data)
            if self._received_bytes > REPLY_BYTES_MAX:
                raise RemoteProtocolError(f"the filter sent more than {REPLY_BYTES_MAX} bytes")
            self._milter.receive_data(data)
        return reply

    async def _flush(self) -> None:
        self._writer.write(bytes(self._waiting))
        self._waiting.clear()
        async with asyncio.timeout(self._timeouts.write_s):
            await self._writer.drain()


_CONTENT_COMMANDS = frozenset({c.SMFIC_HEADER, c.SMFIC_EOH, c.SMFIC_BODY, c.SMFIC_BODYEOB})


def _outcome(answer: ev.Answer | None, mail: Mail) -> MtaOutcome | None:
    """What an answer means for the message; None: it goes on."""
    match answer:
        case None | ev.Continue() | ev.Skip() | ev.Negotiated():
            return None
        case ev.Accept():
            return MtaOutcome("accept", mail=mail)
        case ev.Discard():
            return MtaOutcome("discard", mail=mail)
        case ev.Reject():
            return MtaOutcome("reject", mail=mail)
        case ev.ReplyCode(text):
            return MtaOutcome("reject" if text.startswith(b"5") else "tempfail", text, mail=mail)
        case ev.Tempfail() | ev.Shutdown() | ev.ConnectionFail():
            return MtaOutcome("tempfail", mail=mail)


def _with_rejected(outcome: MtaOutcome, rejected: list[tuple[bytes, bytes]]) -> MtaOutcome:
    return replace(outcome, rejected_recipients=tuple(rejected)) if rejected else outcome
