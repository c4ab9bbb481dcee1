"""`tamis-gateway --trace-milter`: shows what a live MTA sends, and filters nothing.

Strategy: asks for every command and answers each at once, so that nothing is hidden by the negotiation. What passes is
marked X-Tamis-Unfiltered: trace; an MTA that lets nobody add header fields gets 451 instead. Header values, bodies and
the arguments of unknown commands are told only with --content: a mail host's log is no place for mail.

    tamis-gateway --trace-milter --listen inet:11399@127.0.0.1 [--content] [--json]
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import cast

from gateway.config import GatewayConfig
from gateway.listeners import ListenError, address_of
from gateway.listeners import listen as bind
from wire.message import UNFILTERED_FIELD
from wire.milter import (
    NEED_DATA,
    AddressError,
    FilterConnection,
    Limits,
    ProtocolError,
    State,
    Wanted,
    format_reply,
)
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.names import negotiation_text

LISTEN = "inet:11399@127.0.0.1"
LIMITS = Limits(message_bytes_max=sys.maxsize, header_bytes_max=sys.maxsize, headers_max=sys.maxsize)
"""Nothing of a message is kept, so nothing of it needs a bound."""
OFFER = Wanted(actions=c.SMFIF_ADDHDRS, steps=c.SMFIP_RCPT_REJ | c.SMFIP_HDR_LEADSPC)
MARK = ev.AddHeader(UNFILTERED_FIELD, b" trace")
CANNOT_MARK = ev.ReplyCode(format_reply(451, "4.7.1", "Traced only, and this MTA does not let the mail be marked"))
READ_BYTES = 64 * 1024
FAMILIES = {c.SMFIA_INET: "inet", c.SMFIA_INET6: "inet6", c.SMFIA_UNIX: "unix", c.SMFIA_UNKNOWN: "unknown"}

Record = dict[str, object]
"""One event as plain data: session, ms since its begin, event, its own values, and `macros` that came before it."""


class Tracer:
    """One connection of an MTA, without I/O: bytes in, bytes out, a record for each event."""

    def __init__(
        self, session: int, tell: Callable[[Record], None], clock_s: Callable[[], float], *, content: bool
    ) -> None:
        self._session = session
        self._tell = tell
        self._clock_s = clock_s
        self._content = content
        self._opened_s = clock_s()
        self._milter = FilterConnection(LIMITS, OFFER)
        self._macros: dict[str, str] = {}
        self._headers = 0
        self._header_bytes = 0
        self._body_bytes = 0

    @property
    def ended(self) -> bool:
        """Whether the MTA said QUIT."""
        return self._milter.state is State.CLOSED

    def receive(self, data: bytes) -> bytes:
        """What to write after these bytes. Raises ProtocolError, told already; then only closing is left."""
        self._milter.receive_data(data)
        replies = b""
        try:
            while (event := self._milter.next_event()) is not NEED_DATA:
                replies += self._take(event)
        except ProtocolError as error:
            self.note("PROTOCOL_ERROR", why=str(error))
            raise
        return replies

    def note(self, event: str, **values: object) -> None:
        """Tell an event with its values and the macros that came before it."""
        record: Record = {
            "session": self._session,
            "ms": round((self._clock_s() - self._opened_s) * 1000, 2),
            "event": event,
            **values,
        }
        if self._macros:
            record["macros"] = self._macros
            self._macros = {}
        self._tell(record)

    def _take(self, event: ev.Event) -> bytes:
        match event:
            case ev.Macros(_, values):
                self._macros |= {_text(name): _text(value) for name, value in values}
            case ev.Negotiate(version, actions, steps):
                answer = self._milter.negotiate(event)
                offered = negotiation_text(version, actions, steps)
                holds = negotiation_text(answer.version, answer.actions, answer.steps)
                self.note("OPTNEG", offered=offered, holds=holds)
                return self._milter.send(answer)
            case _:
                self._note(event)
        if not self._milter.awaiting_reply:
            return b""
        return self._final() if isinstance(event, ev.EndOfBody) else self._milter.send(ev.Continue())

    def _final(self) -> bytes:
        negotiated = self._milter.negotiated
        if negotiated is None or not negotiated.actions & c.SMFIF_ADDHDRS:
            return self._milter.send(CANNOT_MARK)
        mark = MARK if negotiated.steps & c.SMFIP_HDR_LEADSPC else ev.AddHeader(MARK.name, MARK.value.strip())
        return self._milter.send(mark) + self._milter.send(ev.Accept())

    def _note(self, event: ev.Event) -> None:
        match event:
            case ev.Header() | ev.EndOfHeaders() | ev.Body() | ev.EndOfBody():
                self._note_content(event)
            case ev.Connect(hostname, family, port, address):
                where = {"family": FAMILIES.get(family, "?"), "address": _text(address), "port": port}
                self.note("CONNECT", hostname=_text(hostname), **where)
            case ev.Helo(name):
                self.note("HELO", name=_text(name))
            case ev.Mail(address, arguments):
                self._headers = self._header_bytes = self._body_bytes = 0
                self.note("MAIL", address=_text(address), arguments=list(map(_text, arguments)))
            case ev.Recipient(address, arguments):
                self.note("RCPT", address=_text(address), arguments=list(map(_text, arguments)))
            case ev.Unknown(line):
                shown = line if self._content else line.split(b" ", 1)[0]
                self.note("UNKNOWN", command=_text(shown), line_bytes=len(line))
            case ev.Data() | ev.Abort() | ev.Quit() | ev.QuitNewConnection():
                self.note(_PLAIN[type(event)])

    def _note_content(self, event: ev.Header | ev.EndOfHeaders | ev.Body | ev.EndOfBody) -> None:
        match event:
            case ev.Header(name, value):
                self._headers += 1
                self._header_bytes += len(name) + len(value)
                self.note("HEADER", name=_text(name), value_bytes=len(value), **self._only_with_content(value))
            case ev.EndOfHeaders():
                self.note("EOH", headers=self._headers, header_bytes=self._header_bytes)
            case ev.Body(chunk):
                self._body_bytes += len(chunk)
                self.note("BODY", chunk_bytes=len(chunk), **self._only_with_content(chunk))
            case ev.EndOfBody(chunk):
                self._body_bytes += len(chunk)
                self.note("BODYEOB", chunk_bytes=len(chunk), body_bytes=self._body_bytes, headers=self._headers)

    def _only_with_content(self, value: bytes) -> dict[str, str]:
        return {"content": _text(value)} if self._content else {}


_PLAIN = {ev.Data: "DATA", ev.Abort: "ABORT", ev.Quit: "QUIT", ev.QuitNewConnection: "QUIT_NC"}


def line_of(record: Record) -> str:
    """A record for people: one line, and one more for macros."""
    rest = {key: value for key, value in record.items() if key not in ("session", "ms", "event", "macros")}
    values = " ".join(f"{key}={_value_text(value)}" for key, value in rest.items() if value not in ([], ""))
    line = f"#{record['session']:<4} {record['ms']:>10.2f} ms  {record['event']:<9} {values}".rstrip()
    macros = record.get("macros")
    if not isinstance(macros, dict):
        return line
    return f"{line}\n{'':<20} {'macros':<9} " + " ".join(
        f"{name}={_value_text(value)}" for name, value in macros.items()
    )


def _value_text(value: object) -> str:
    text = " ".join(value) if isinstance(value, list) else str(value)
    return json.dumps(text, ensure_ascii=False) if not text or not text.isprintable() or " " in text else text


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trace until SIGTERM or SIGINT; exits 2 for a mistake of the operator."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_serve(options.listen, as_json=options.json, content=options.content))
    except (AddressError, ListenError) as error:
        sys.stderr.write(f"tamis-gateway: {error}\n")
        sys.exit(2)


async def _serve(listen: str, *, as_json: bool, content: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    numbers = count(1)
    tracing: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def tell(record: Record) -> None:
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **record}
        _say(json.dumps(stamped) if as_json else line_of(record))

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        tracing[task] = writer
        await _trace(reader, writer, Tracer(next(numbers), tell, time.perf_counter, content=content))
        del tracing[task]

    sockets = bind(listen, GatewayConfig())
    servers = [await asyncio.start_server(accept, sock=listening) for listening in sockets]
    bound = address_of(sockets[0])
    _say(json.dumps({"event": "LISTENING", "milter": bound}) if as_json else f"listening on {bound}")
    await stop.wait()
    for server in servers:
        server.close()
    for writer in tracing.values():
        writer.close()
    await asyncio.gather(*tracing)


async def _trace(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tracer: Tracer) -> None:
    tracer.note("OPEN")
    with contextlib.suppress(ProtocolError, OSError):
        while not tracer.ended and (data := await reader.read(READ_BYTES)):
            writer.write(tracer.receive(data))
            await writer.drain()
    tracer.note("CLOSE")
    writer.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tamis-gateway --trace-milter",
        description="Show what a live MTA sends by the milter protocol. Filters nothing; marks what passes.",
    )
    parser.add_argument("--trace-milter", action="store_true", required=True, help="this mode")
    parser.add_argument("--listen", default=LISTEN, metavar="ADDRESS", help=f"milter address; {LISTEN} by default")
    parser.add_argument("--content", action="store_true", help="header values and bodies too")
    parser.add_argument("--json", action="store_true", help="one JSON object an event")
    return parser
