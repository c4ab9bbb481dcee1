"""Events to frames: one function per command of the MTA and per reply of the filter.

Strategy: every value is checked for the bytes that would let it become something else on the wire or in the message
(NUL ends a string, CR and LF end a line); LocalProtocolError then, before anything is sent.
"""

import re
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Final

from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.errors import LocalProtocolError
from wire.milter.values import BROKEN_LINE, BROKEN_VALUE, FIELD_NAME

_U32: Final = Struct("!I")
_OPTNEG: Final = Struct("!III")
_CONNECT: Final = Struct("!cH")

REPLY_LINES_MAX: Final = 32
REPLY_LINE_BYTES_MAX: Final = 980
"""Bounds of libmilter (MAXREPLIES, MAXREPLYLEN)."""

_REPLY_LINE: Final = re.compile(rb"([45][0-9][0-9])([ -])(?:([0-9])?[^\0\r\n]*)")


def _string(value: bytes, what: str) -> bytes:
    if 0 in value:
        raise LocalProtocolError(f"{what}: NUL in a string")
    return value + b"\0"


def _line(value: bytes, what: str) -> bytes:
    if BROKEN_LINE.search(value):
        raise LocalProtocolError(f"{what}: CR, LF or NUL in a line")
    return value + b"\0"


def _field(name: bytes, value: bytes, what: str) -> bytes:
    if not FIELD_NAME.fullmatch(name):
        raise LocalProtocolError(f"{what}: not a field name")
    if BROKEN_VALUE.search(value):
        raise LocalProtocolError(f"{what}: NUL, CR, or LF that is no fold in the value")
    return name + b"\0" + value + b"\0"


def _u32(number: int, what: str) -> bytes:
    if not 0 <= number < 1 << 31:
        raise LocalProtocolError(f"{what}: index {number} out of range")
    return _U32.pack(number)


# --- replies ---------------------------------------------------------------------------------------------------------


def _negotiated(reply: ev.Negotiated) -> bytes:
    lists = (_U32.pack(stage) + _line(names, "macro list") for stage, names in reply.symlists)
    return _OPTNEG.pack(reply.version, reply.actions, reply.steps) + b"".join(lists)


def _reply_code(reply: ev.ReplyCode) -> bytes:
    lines = reply.text.split(b"\r\n")
    if len(lines) > REPLY_LINES_MAX:
        raise LocalProtocolError(f"REPLYCODE: {len(lines)} lines, at most {REPLY_LINES_MAX}")
    code = lines[0][:3]
    for number, line in enumerate(lines, start=1):
        match = _REPLY_LINE.fullmatch(line)
        if not match or match[1] != code or len(line) > REPLY_LINE_BYTES_MAX:
            raise LocalProtocolError(f"REPLYCODE: line {number} is no line of one 4xx or 5xx reply")
        if (match[2] == b" ") != (number == len(lines)):
            raise LocalProtocolError(f"REPLYCODE: line {number} has the wrong mark for its place")
        if match[3] and match[3] != code[:1]:
            raise LocalProtocolError("REPLYCODE: enhanced status code of another class")  # Postfix refuses it
    # Sendmail uses the text as a format string, and Postfix undoes the doubling.
    return reply.text.replace(b"%", b"%%") + b"\0"


def _change_header(reply: ev.ChangeHeader) -> bytes:
    return _u32(reply.occurrence, "CHGHEADER") + _field(reply.name, reply.value, "CHGHEADER")


def _insert_header(reply: ev.InsertHeader) -> bytes:
    return _u32(reply.index, "INSHEADER") + _field(reply.name, reply.value, "INSHEADER")


def _replace_body(reply: ev.ReplaceBody) -> bytes:
    return reply.chunk


def _with_args(address: bytes, args: bytes, what: str) -> bytes:
    return _line(address, what) + (_line(args, what) if args else b"")


def _nothing(_reply: object) -> bytes:
    return b""


Writer = tuple[int, Callable[[Any], bytes]]

REPLY_WRITERS: Final[Mapping[type, Writer]] = {
    ev.Negotiated: (c.SMFIC_OPTNEG, _negotiated),
    ev.Continue: (c.SMFIR_CONTINUE, _nothing),
    ev.Accept: (c.SMFIR_ACCEPT, _nothing),
    ev.Reject: (c.SMFIR_REJECT, _nothing),
    ev.Discard: (c.SMFIR_DISCARD, _nothing),
    ev.Tempfail: (c.SMFIR_TEMPFAIL, _nothing),
    ev.Progress: (c.SMFIR_PROGRESS, _nothing),
    ev.Skip: (c.SMFIR_SKIP, _nothing),
    ev.ConnectionFail: (c.SMFIR_CONN_FAIL, _nothing),
    ev.Shutdown: (c.SMFIR_SHUTDOWN, _nothing),
    ev.ReplyCode: (c.SMFIR_REPLYCODE, _reply_code),
    ev.AddHeader: (c.SMFIR_ADDHEADER, lambda reply: _field(reply.name, reply.value, "ADDHEADER")),
    ev.InsertHeader: (c.SMFIR_INSHEADER, _insert_header),
    ev.ChangeHeader: (c.SMFIR_CHGHEADER, _change_header),
    ev.ReplaceBody: (c.SMFIR_REPLBODY, _replace_body),
    ev.ChangeFrom: (c.SMFIR_CHGFROM, lambda reply: _with_args(reply.address, reply.args, "CHGFROM")),
    ev.AddRecipient: (c.SMFIR_ADDRCPT, lambda reply: _line(reply.address, "ADDRCPT")),
    ev.AddRecipientPar: (c.SMFIR_ADDRCPT_PAR, lambda reply: _with_args(reply.address, reply.args, "ADDRCPT_PAR")),
    ev.DeleteRecipient: (c.SMFIR_DELRCPT, lambda reply: _line(reply.address, "DELRCPT")),
    ev.Quarantine: (c.SMFIR_QUARANTINE, lambda reply: _line(reply.reason, "QUARANTINE")),
}

# --- commands --------------------------------------------------------------------------------------------------------


def _negotiate(event: ev.Negotiate) -> bytes:
    return _OPTNEG.pack(event.version, event.actions, event.steps)


def _macros(event: ev.Macros) -> bytes:
    return bytes((event.command,)) + b"".join(_string(part, "MACRO") for pair in event.values for part in pair)


def _connect(event: ev.Connect) -> bytes:
    hostname = _string(event.hostname, "CONNECT")
    if event.family == c.SMFIA_UNKNOWN:
        return hostname + event.family
    return hostname + _CONNECT.pack(event.family, event.port) + _string(event.address, "CONNECT")


def _envelope(event: ev.Mail | ev.Recipient) -> bytes:
    return b"".join(_string(part, "envelope") for part in (event.address, *event.esmtp_args))


COMMAND_WRITERS: Final[Mapping[type, Writer]] = {
    ev.Negotiate: (c.SMFIC_OPTNEG, _negotiate),
    ev.Macros: (c.SMFIC_MACRO, _macros),
    ev.Connect: (c.SMFIC_CONNECT, _connect),
    ev.Helo: (c.SMFIC_HELO, lambda event: _string(event.name, "HELO")),
    ev.Mail: (c.SMFIC_MAIL, _envelope),
    ev.Recipient: (c.SMFIC_RCPT, _envelope),
    ev.Data: (c.SMFIC_DATA, _nothing),
    ev.Header: (c.SMFIC_HEADER, lambda event: _string(event.name, "HEADER") + _string(event.value, "HEADER")),
    ev.EndOfHeaders: (c.SMFIC_EOH, _nothing),
    ev.Body: (c.SMFIC_BODY, lambda event: event.chunk),
    ev.EndOfBody: (c.SMFIC_BODYEOB, lambda event: event.chunk),
    ev.Abort: (c.SMFIC_ABORT, _nothing),
    ev.Quit: (c.SMFIC_QUIT, _nothing),
    ev.QuitNewConnection: (c.SMFIC_QUIT_NC, _nothing),
    ev.Unknown: (c.SMFIC_UNKNOWN, lambda event: _string(event.line, "UNKNOWN")),
}
