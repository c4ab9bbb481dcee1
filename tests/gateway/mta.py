"""The MTA's side for the gateway's tests and bench: plays messages over any way to write bytes and read replies.

Like Postfix it keeps what it has to say until it needs an answer, and then writes all of it at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from wire.milter import NEED_DATA, MtaConnection
from wire.milter import constants as c
from wire.milter import events as ev

WRITE_BYTES = 256 * 1024

Macros = tuple[tuple[bytes, bytes], ...]


@dataclass
class Mail:
    """One message as an MTA hands it over."""

    sender: bytes = b"<anna@shop.example>"
    recipients: tuple[bytes, ...] = (b"<reader@recipient.example>",)
    headers: tuple[tuple[bytes, bytes], ...] = ((b"From", b" anna@shop.example"), (b"Subject", b" hello"))
    body: bytes = b"hello\r\n"
    queue_id: bytes = b"4ABC"
    mail_macros: Macros = ()
    chunk_bytes: int = 65_535


@dataclass
class Heard:
    """What the filter said about one message."""

    recipients: list[ev.Reply] = field(default_factory=list)
    edits: list[ev.Reply] = field(default_factory=list)
    final: ev.Reply | None = None
    progress: int = 0


class Mta:
    """One milter connection, driven step by step."""

    def __init__(self, write: Callable[[bytes], object], read: Callable[[], Awaitable[bytes]]) -> None:
        self.codec = MtaConnection()
        self._write = write
        self._read = read
        self._waiting = bytearray()
        self.drain: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
        """Waits until more may be written; who writes much gives others a turn, as a socket does."""

    async def say(self, event: ev.Event) -> ev.Reply | None:
        """Send one event; the reply if one is due (edits and Progress are skipped)."""
        self._waiting += self.codec.send(event)
        return await self.final() if self.codec.awaiting_reply else None

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._write(bytes(self._waiting))
            self._waiting.clear()

    async def reply(self) -> ev.Reply:
        self.flush()
        while True:
            reply = self.codec.next_event()
            if reply is not NEED_DATA:
                return reply
            data = await self._read()
            if not data:
                raise EOFError("the filter closed the connection")
            self.codec.receive_data(data)

    async def final(self) -> ev.Reply:
        reply = await self.reply()
        while self.codec.awaiting_reply:
            reply = await self.reply()
        return reply

    async def open(
        self, ip: bytes = b"192.0.2.7", steps: int = c.OFFERED_STEPS, actions: int = c.ALL_ACTIONS, version: int = 6
    ) -> None:
        await self.say(ev.Negotiate(version, actions, steps))
        await self.hello(ip)

    async def hello(self, ip: bytes = b"192.0.2.7") -> None:
        await self.say(ev.Macros(c.SMFIC_CONNECT, ((b"j", b"mx.recipient.example"), (b"{daemon_name}", b"smtpd"))))
        await self.say(ev.Connect(b"mail.shop.example", c.SMFIA_INET, 54321, ip))
        await self.say(ev.Helo(b"mail.shop.example"))

    async def envelope(self, mail: Mail) -> list[ev.Reply]:
        await self.say(ev.Macros(c.SMFIC_MAIL, mail.mail_macros))
        await self.say(ev.Mail(mail.sender))
        return [await self.say(ev.Recipient(address)) or ev.Continue() for address in mail.recipients]

    async def content(self, mail: Mail) -> None:
        leading = self.codec.negotiated and self.codec.negotiated.steps & c.SMFIP_HDR_LEADSPC
        for name, value in mail.headers:
            await self.say(ev.Header(name, value if leading else value.removeprefix(b" ")))
        await self.say(ev.Macros(c.SMFIC_EOH, ((b"i", mail.queue_id),)))
        await self.say(ev.EndOfHeaders())
        for start in range(0, len(mail.body), mail.chunk_bytes):
            await self.say(ev.Body(mail.body[start : start + mail.chunk_bytes]))
            if len(self._waiting) > WRITE_BYTES:
                self.flush()
                await self.drain()
        await self.say(ev.Macros(c.SMFIC_BODYEOB, ((b"i", mail.queue_id),)))
        self._waiting += self.codec.send(ev.EndOfBody())

    async def message(self, mail: Mail) -> Heard:
        """A whole transaction; without accepted recipients it ends with Abort, as in an MTA."""
        heard = Heard(await self.envelope(mail))
        if mail.recipients and not any(isinstance(reply, ev.Continue) for reply in heard.recipients):
            await self.say(ev.Abort())
            return heard
        await self.content(mail)
        await self.hear_verdict(heard)
        return heard

    async def hear_verdict(self, heard: Heard) -> None:
        while True:
            reply = await self.reply()
            if not self.codec.awaiting_reply:
                heard.final = reply
                return
            if isinstance(reply, ev.Progress):
                heard.progress += 1
            else:
                heard.edits.append(reply)
