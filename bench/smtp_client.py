"""A small SMTP client (RFC 5321) for load: one connection, raw content, every reply kept as code and text."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

REPLY_S = 120.0
REPLY_LINES_MAX = 100


class SmtpError(Exception):
    """The server closed, or said what is no SMTP reply; the text is one line."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply; `text` is that of its last line."""

    code: int
    text: str


class SmtpClient:
    """One connection after its greeting and EHLO."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int, *, client_ip: str = "", helo: str = "client.example") -> Self:
        """Connect, EHLO, and XCLIENT when an address is given. Raises OSError, SmtpError, TimeoutError."""
        reader, writer = await asyncio.open_connection(host, port)
        client = cls(reader, writer)
        try:
            client._expect(await client.reply())
            client._expect(await client.command(f"EHLO {helo}"))
            if client_ip:
                client._expect(await client.command(f"XCLIENT ADDR={client_ip} NAME={helo} HELO={helo}"))
                client._expect(await client.command(f"EHLO {helo}"))
        except BaseException:
            writer.close()
            raise
        return client

    async def send(self, sender: str, recipients: Sequence[str], raw: bytes) -> Reply:
        """One message; the reply that decided: the first refusal, or that to its end. Raises as `open` does."""
        reply = await self.command(f"MAIL FROM:<{sender}>")
        if reply.code >= 400:
            return await self._reset(reply)
        accepted = 0
        for recipient in recipients:
            answer = await self.command(f"RCPT TO:<{recipient}>")
            accepted += answer.code < 400
            reply = answer if answer.code >= 400 else reply
        if not accepted:
            return await self._reset(reply)
        reply = await self.command("DATA")
        if reply.code != 354:
            return await self._reset(reply)
        return await self.content(raw)

    async def content(self, raw: bytes) -> Reply:
        """What follows DATA, and the reply to it."""
        body = raw if raw.endswith(b"\r\n") else raw + b"\r\n"
        stuffed = body.replace(b"\r\n.", b"\r\n..")
        self._writer.write((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
        return await self.reply()

    async def quit(self) -> None:
        """Leave politely; a server that is gone already is no failure."""
        with contextlib.suppress(OSError, SmtpError, TimeoutError):
            await self.command("QUIT")
        self.close()

    def close(self) -> None:
        """Leave."""
        self._writer.close()

    async def command(self, line: str) -> Reply:
        """Say a command; its reply."""
        self._writer.write(f"{line}\r\n".encode())
        return await self.reply()

    async def reply(self) -> Reply:
        """The next reply, all its lines."""
        async with asyncio.timeout(REPLY_S):
            for _ in range(REPLY_LINES_MAX):
                line = await self._reader.readline()
                if not line:
                    raise SmtpError("the server closed the connection")
                if not line[:3].isdigit():
                    raise SmtpError(f"no SMTP reply: {line[:80]!r}")
                if line[3:4] != b"-":
                    return Reply(int(line[:3]), line[4:].strip().decode("utf-8", "replace"))
        raise SmtpError("a reply of too many lines")

    async def _reset(self, reply: Reply) -> Reply:
        if reply.code != 421:
            await self.command("RSET")
        return reply

    @staticmethod
    def _expect(reply: Reply) -> None:
        if not 200 <= reply.code < 300:
            raise SmtpError(f"{reply.code} {reply.text}")
