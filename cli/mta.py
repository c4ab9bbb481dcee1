"""The MTA's side of a milter connection: plays whole messages and tells what the filter made of them.

Strategy: does what Postfix does. The same macros per stage, the same chunks, commands buffered until an answer is
needed, one timeout per answer that Progress starts again. Whatever goes wrong ends in `MtaOutcome.error`, one line.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cli.edits import Fields, Mail, apply_edits
from cli.mail_file import prepare
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

BODY_CHUNK_BYTES = c.DATA_BYTES_64K
HEADER_BYTES_MAX = 102_400
"""Postfix header_size_limit: what is longer is cut."""
READ_BYTES = 64 * 1024
WRITE_BYTES = 64 * 1024
REPLY_BYTES_MAX = 256 * 1024 * 1024
"""Of one connection: a filter cannot fill our memory."""

# postconf(5) milter_*_macros of Postfix 3.7, by the command they go before.
STAGE_MACROS: Mapping[int, tuple[bytes, ...]] = {
    c.SMFIC_CONNECT: (b"j", b"{daemon_name}", b"{daemon_addr}", b"{client_addr}", b"v"),
    c.SMFIC_HELO: (b"{tls_version}", b"{cipher}", b"{cipher_bits}", b"{cert_subject}", b"{cert_issuer}"),
    # No `i` yet: Postfix opens the queue file at the first recipient that it takes.
    c.SMFIC_MAIL: (b"{auth_type}", b"{auth_authen}", b"{auth_author}", b"{mail_addr}", b"{mail_mailer}"),
    c.SMFIC_RCPT: (b"i", b"{rcpt_addr}", b"{rcpt_mailer}"),
    c.SMFIC_DATA: (b"i",),
    c.SMFIC_HEADER: (b"i",),
    c.SMFIC_EOH: (b"i",),
    c.SMFIC_BODY: (b"i",),
    c.SMFIC_BODYEOB: (b"i",),
}
_LISTED_STAGES: Mapping[int, tuple[int, ...]] = {
    c.SMFIM_CONNECT: (c.SMFIC_CONNECT,),
    c.SMFIM_HELO: (c.SMFIC_HELO,),
    c.SMFIM_ENVFROM: (c.SMFIC_MAIL,),
    c.SMFIM_ENVRCPT: (c.SMFIC_RCPT,),
    c.SMFIM_DATA: (c.SMFIC_DATA,),
    c.SMFIM_EOH: (c.SMFIC_HEADER, c.SMFIC_EOH),
    c.SMFIM_EOM: (c.SMFIC_BODY, c.SMFIC_BODYEOB),
}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the MTA waits, in seconds; Postfix's defaults, and a bound of the whole message."""

    connect_s: float = 30.0
    command_s: float = 30.0
    content_s: float = 300.0
    message_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Client:
    """The SMTP client that the MTA reports, and how it talks."""

    ip: str = "127.0.0.1"
    hostname: bytes = b""
    port: int = 54321
    helo: bytes = b"mail.example.com"
    delay_s: float = 0.0
    """Pause before each SMTP command: a client that is this far away."""


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
    return await deliver(address, mail, Client(ip=client_ip, helo=helo), macros, timeouts)


async def deliver(
    address: str,
    mail: Mail,
    client: Client = Client(),
    macros: Mapping[bytes, bytes] | None = None,
    timeouts: Timeouts = Timeouts(),
) -> MtaOutcome:
    """Play one prepared message over a connection of its own. Raises nothing but CancelledError."""
    try:
        async with asyncio.timeout(timeouts.message_s):
            session = await MtaSession.open(address, timeouts)
            try:
                return await session.play(mail, client, macros or {})
            finally:
                session.close()
    except TimeoutError:
        return MtaOutcome(mail=mail, error=f"no answer from {address} in time")
    except (OSError, ProtocolError, MtaError, AddressError) as error:
        return MtaOutcome(mail=mail, error=f"{address}: {error}")


class MtaSession:
    """One connection to a filter, negotiated."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeouts: Timeouts) -> None:
        self._reader = reader
        self._writer = writer
        self._timeouts = timeouts
        self._milter = MtaConnection()
        self._waiting = bytearray()
        self._received_bytes = 0
        self._macros: dict[bytes, bytes] = {}
        self._stage_macros = dict(STAGE_MACROS)

    @classmethod
    async def open(cls, address: str, timeouts: Timeouts) -> "MtaSession":
        """Connect and negotiate. Raises OSError, TimeoutError, ProtocolError, MtaError, AddressError."""
        target = parse_listen(address)
        async with asyncio.timeout(timeouts.connect_s):
            if isinstance(target, UnixAddress):
                reader, writer = await asyncio.open_unix_connection(target.path)
            else:
                reader, writer = await asyncio.open_connection(target.host, target.port)
            session = cls(reader, writer, timeouts)
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

    async def play(self, mail: Mail, client: Client, macros: Mapping[bytes, bytes]) -> MtaOutcome:
        """One message, from CONNECT to the final answer. Raises OSError, TimeoutError, ProtocolError, MtaError."""
        self._set_macros(mail, client, macros)
        for event in _beginning(mail, client):
            if client.delay_s and not isinstance(event, ev.Connect):
                await asyncio.sleep(client.delay_s)
            if outcome := _outcome(await self._say(event), mail):
                return outcome
        outcome = None
        rejected: list[tuple[bytes, bytes]] = []
        for address in mail.recipients:
            if client.delay_s:
                await asyncio.sleep(client.delay_s)
            self._macros[b"{rcpt_addr}"] = address
            outcome = _outcome(await self._say(ev.Recipient(b"<%b>" % address)), mail)
            if outcome and outcome.action in ("accept", "discard"):
                return outcome
            if outcome:
                rejected.append((address, outcome.reply or outcome.action.encode()))
        if outcome and len(rejected) == len(mail.recipients):
            return _with_rejected(outcome, rejected)
        if client.delay_s:
            await asyncio.sleep(client.delay_s)
        return _with_rejected(await self._content(mail, rejected), rejected)

    async def _content(self, mail: Mail, rejected: list[tuple[bytes, bytes]]) -> MtaOutcome:
        gone = {address for address, _ in rejected}
        mail = replace(mail, recipients=tuple(kept for kept in mail.recipients if kept not in gone))
        steps = self._milter.negotiated.steps if self._milter.negotiated else 0
        leading_space = bool(steps & c.SMFIP_HDR_LEADSPC)
        for event in _content_events(mail, leading_space=leading_space):
            if outcome := _outcome(await self._say(event), mail):
                return outcome
        start = time.perf_counter()
        edits: list[ev.Edit] = []
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
        answer = await self._say(ev.Negotiate(c.VERSION_MAX, c.ALL_ACTIONS, c.OFFERED_STEPS))
        if isinstance(answer, ev.Negotiated):
            for stage, names in answer.symlists:
                for command in _LISTED_STAGES.get(stage, ()):
                    self._stage_macros[command] = tuple(names.split())

    def _set_macros(self, mail: Mail, client: Client, extra: Mapping[bytes, bytes]) -> None:
        self._macros = {
            b"i": secrets.token_hex(6).upper().encode(),
            b"j": b"mx.example.org",
            b"v": b"Postfix 3.7.11",
            b"{daemon_name}": b"smtpd",
            b"{daemon_addr}": b"127.0.0.1",
            b"{client_addr}": client.ip.encode(),
            b"{mail_addr}": mail.sender,
            b"{mail_mailer}": b"smtp",
            b"{rcpt_mailer}": b"local",
        }
        known = {name for names in self._stage_macros.values() for name in names}
        for given, value in extra.items():
            name = given if len(given) == 1 or given.startswith(b"{") else b"{%b}" % given
            self._macros[name] = value
            if name not in known:
                self._stage_macros[c.SMFIC_MAIL] += (name,)

    async def _say(self, event: ev.Event, edits: list[ev.Edit] | None = None) -> ev.Answer | None:
        """Say one command with its macros; the answer when one is due. Nothing is written before that, as Postfix."""
        command = COMMAND_WRITERS[type(event)][0]
        names = self._stage_macros.get(command)
        if names:
            values = tuple((name, self._macros[name]) for name in names if self._macros.get(name))
            self._waiting += self._milter.send(ev.Macros(command, values))
        self._waiting += self._milter.send(event)
        if not self._milter.awaiting_reply:
            if len(self._waiting) >= WRITE_BYTES:
                await self._flush(self._timeouts.content_s)
            return None
        timeout_s = self._timeouts.content_s if command in _CONTENT_COMMANDS else self._timeouts.command_s
        await self._flush(timeout_s)
        return await self._answer(timeout_s, edits if edits is not None else [])

    async def _answer(self, timeout_s: float, edits: list[ev.Edit]) -> ev.Answer:
        while True:
            reply = await self._next_reply(timeout_s)
            if isinstance(reply, ev.Edit):
                edits.append(reply)
            elif not isinstance(reply, ev.Progress):
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

    async def _flush(self, timeout_s: float) -> None:
        self._writer.write(bytes(self._waiting))
        self._waiting.clear()
        async with asyncio.timeout(timeout_s):
            await self._writer.drain()


_CONTENT_COMMANDS = frozenset({c.SMFIC_HEADER, c.SMFIC_EOH, c.SMFIC_BODY, c.SMFIC_BODYEOB})


def _beginning(mail: Mail, client: Client) -> Iterator[ev.Event]:
    if not client.ip:
        yield ev.Connect(b"localhost", c.SMFIA_UNKNOWN, 0, b"")
    else:
        address = client.ip.encode()
        family = c.SMFIA_INET6 if ":" in client.ip else c.SMFIA_INET
        yield ev.Connect(client.hostname or b"[%b]" % address, family, client.port, address)
    yield ev.Helo(client.helo)
    size_bytes = sum(len(name) + len(value) + 3 for name, value in mail.fields) + 2 + len(mail.body)
    yield ev.Mail(b"<%b>" % mail.sender, (b"SIZE=%d" % size_bytes,))


def _content_events(mail: Mail, *, leading_space: bool) -> Iterator[ev.Event]:
    yield ev.Data()
    yield from _headers(mail.fields, leading_space=leading_space)
    yield ev.EndOfHeaders()
    for start in range(0, len(mail.body), BODY_CHUNK_BYTES):
        yield ev.Body(mail.body[start : start + BODY_CHUNK_BYTES])


def _headers(fields: Fields, *, leading_space: bool) -> Iterator[ev.Header]:
    for name, value in fields:
        # Strings of C: what stands after a NUL is not seen by filters.
        text = value.replace(b"\r\n", b"\n").partition(b"\0")[0][:HEADER_BYTES_MAX]
        yield ev.Header(name.partition(b"\0")[0], text if leading_space else text.removeprefix(b" "))


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
