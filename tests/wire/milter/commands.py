"""One sample of every command, the way into every state, and every string that a command carries: tables for bad input.

Frames are made by hand: what is asked here is what a broken or hostile MTA may send, not what our own end would.
"""

from collections.abc import Callable
from dataclasses import dataclass

from wire.milter import State
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.frames import encode_frame
from wire.milter.states import INTERRUPTS, transitions
from wire.milter.writers import COMMAND_WRITERS

SAMPLES: dict[int, ev.Event] = {
    c.SMFIC_OPTNEG: ev.Negotiate(6, c.ALL_ACTIONS, c.OFFERED_STEPS),
    c.SMFIC_MACRO: ev.Macros(c.SMFIC_MAIL, ((b"{auth_authen}", b"alice"),)),
    c.SMFIC_CONNECT: ev.Connect(b"mail.example.com", c.SMFIA_INET, 25, b"192.0.2.7"),
    c.SMFIC_HELO: ev.Helo(b"mail.example.com"),
    c.SMFIC_MAIL: ev.Mail(b"<alice@example.com>", (b"SIZE=1",)),
    c.SMFIC_RCPT: ev.Recipient(b"<bob@example.org>"),
    c.SMFIC_DATA: ev.Data(),
    c.SMFIC_UNKNOWN: ev.Unknown(b"XYZZY"),
    c.SMFIC_HEADER: ev.Header(b"Subject", b" hello"),
    c.SMFIC_EOH: ev.EndOfHeaders(),
    c.SMFIC_BODY: ev.Body(b"text\r\n"),
    c.SMFIC_BODYEOB: ev.EndOfBody(),
    c.SMFIC_ABORT: ev.Abort(),
    c.SMFIC_QUIT: ev.Quit(),
    c.SMFIC_QUIT_NC: ev.QuitNewConnection(),
}


def frame(command: int, payload: bytes | None = None) -> bytes:
    """A command with its sample's payload or another."""
    if payload is None:
        _, write = COMMAND_WRITERS[type(SAMPLES[command])]
        payload = write(SAMPLES[command])
    return encode_frame(command, payload)


def split(stream: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames (command, payload) that a stream begins with, and the rest."""
    frames = []
    start = 0
    while start + 5 <= len(stream):
        end = start + 4 + int.from_bytes(stream[start : start + 4])
        if not start + 5 <= end <= len(stream):
            break
        frames.append((stream[start + 4], stream[start + 5 : end]))
        start = end
    return frames, stream[start:]


_TO_DATA = (c.SMFIC_OPTNEG, c.SMFIC_CONNECT, c.SMFIC_MAIL, c.SMFIC_RCPT, c.SMFIC_DATA)
WAY: dict[State, tuple[int, ...]] = {
    State.START: (),
    State.READY: _TO_DATA[:1],
    State.IDLE: _TO_DATA[:2],
    State.MAIL: _TO_DATA[:3],
    State.RCPT: _TO_DATA[:4],
    State.DATA: _TO_DATA,
    State.HEADERS: (*_TO_DATA, c.SMFIC_HEADER),
    State.BODY: (*_TO_DATA, c.SMFIC_EOH),
}
"""The commands that lead from a fresh connection into a state."""


def way(state: State) -> bytes:
    return b"".join(map(frame, WAY[state]))


_NOWHERE = ord("?")
WRONG = [
    (state, command)
    for state in WAY
    for command in (*SAMPLES, _NOWHERE)
    if command not in transitions(c.WANTED_STEPS)[state]
]
"""Every command in every state in which it is wrong, one that no version knows among them."""
UNASKED = [command for command in SAMPLES if command not in INTERRUPTS]
"""Wrong in any state while an answer is due."""


def names(state: State, command: int) -> str:
    return f"{c.COMMAND_NAMES.get(command, 'no such command')} {state.value}"


@dataclass(frozen=True)
class Text:
    """A string that a command carries: how its frame looks with other bytes in that place."""

    state: State
    """Where the command is at home."""
    command: int
    payload: Callable[[bytes], bytes]
    more_strings: bool = False
    """What stands behind a NUL is one string more, not an error."""

    def frame(self, value: bytes) -> bytes:
        return encode_frame(self.command, self.payload(value))


TEXTS: dict[str, Text] = {
    "macro name": Text(State.READY, c.SMFIC_MACRO, lambda value: b"C" + value + b"\0x\0"),
    "macro value": Text(State.READY, c.SMFIC_MACRO, lambda value: b"Cj\0" + value + b"\0"),
    "macro of sender": Text(State.IDLE, c.SMFIC_MACRO, lambda value: b"M{auth_authen}\0" + value + b"\0"),
    "macro of queue id": Text(State.DATA, c.SMFIC_MACRO, lambda value: b"Ni\0" + value + b"\0"),
    "host name": Text(State.READY, c.SMFIC_CONNECT, lambda value: value + b"\x004\0\x19192.0.2.7\0"),
    "client address": Text(State.READY, c.SMFIC_CONNECT, lambda value: b"x\x004\0\x19" + value + b"\0"),
    "helo": Text(State.IDLE, c.SMFIC_HELO, lambda value: value + b"\0"),
    "unknown command": Text(State.IDLE, c.SMFIC_UNKNOWN, lambda value: value + b"\0"),
    "sender": Text(State.IDLE, c.SMFIC_MAIL, lambda value: b"<" + value + b">\0", more_strings=True),
    "sender argument": Text(State.IDLE, c.SMFIC_MAIL, lambda value: b"<>\0A=" + value + b"\0", more_strings=True),
    "recipient": Text(State.MAIL, c.SMFIC_RCPT, lambda value: b"<" + value + b">\0", more_strings=True),
    "recipient argument": Text(State.MAIL, c.SMFIC_RCPT, lambda value: b"<b>\0A=" + value + b"\0", more_strings=True),
    "header name": Text(State.DATA, c.SMFIC_HEADER, lambda value: value + b"\0 x\0"),
    "header value": Text(State.DATA, c.SMFIC_HEADER, lambda value: b"X\0" + value + b"\0"),
}
EMPTY = {
    "data": (State.RCPT, c.SMFIC_DATA),
    "end of headers": (State.DATA, c.SMFIC_EOH),
    "abort": (State.DATA, c.SMFIC_ABORT),
    "quit": (State.IDLE, c.SMFIC_QUIT),
    "quit, new connection": (State.IDLE, c.SMFIC_QUIT_NC),
}
"""Commands that carry nothing."""
EIGHT_BIT = bytes(range(0x80, 0x100))
