"""The order of a milter conversation, as tables: (state, command) -> next state, command -> replies allowed.

Strategy: what Postfix and Sendmail really do passes, the rest is refused. HELO may be missing or come again, also in
the middle of an envelope (Postfix sends HELO, then ABORT); MAIL starts a new transaction at any point of the envelope
(an MTA that refuses MAIL after the filter saw it sends no ABORT); DATA may come again after it was refused; ABORT and
QUIT may come any time. A filter that declines a command (SMFIP_NO*) makes the MTA go on as if it had been sent.
"""

from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Final

from wire.milter import constants as c
from wire.milter import events as ev


class State(Enum):
    """Where a conversation is."""

    START = "before negotiation"
    READY = "before the client's connection"
    IDLE = "between transactions"
    MAIL = "after MAIL"
    RCPT = "after RCPT"
    DATA = "after DATA"
    HEADERS = "in the header section"
    BODY = "in the body"
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum's own is a function in Python, and each command looks a state up.


Moves = Mapping[int, State]

_ALWAYS: Final[dict[int, State]] = {c.SMFIC_QUIT: State.CLOSED}
_CONNECTED: Final = _ALWAYS | {c.SMFIC_ABORT: State.IDLE, c.SMFIC_QUIT_NC: State.READY}
_COMMAND_LEVEL: Final = _CONNECTED | {c.SMFIC_HELO: State.IDLE, c.SMFIC_MAIL: State.MAIL}
_CONTENT: Final = {c.SMFIC_HEADER: State.HEADERS, c.SMFIC_EOH: State.BODY}
_IN_ENVELOPE: Final = (
    _COMMAND_LEVEL | _CONTENT | {c.SMFIC_RCPT: State.RCPT, c.SMFIC_DATA: State.DATA}
)  # a transaction whose recipients were all taken away is judged by the caller

TRANSITIONS: Final[Mapping[State, Moves]] = {
    State.START: _ALWAYS | {c.SMFIC_OPTNEG: State.READY},
    State.READY: _ALWAYS | {c.SMFIC_CONNECT: State.IDLE, c.SMFIC_MACRO: State.READY, c.SMFIC_QUIT_NC: State.READY},
    State.IDLE: _COMMAND_LEVEL | {c.SMFIC_MACRO: State.IDLE, c.SMFIC_UNKNOWN: State.IDLE},
    State.MAIL: _IN_ENVELOPE | {c.SMFIC_MACRO: State.MAIL, c.SMFIC_UNKNOWN: State.MAIL},
    State.RCPT: _IN_ENVELOPE | {c.SMFIC_MACRO: State.RCPT, c.SMFIC_UNKNOWN: State.RCPT},
    State.DATA: _IN_ENVELOPE | {c.SMFIC_MACRO: State.DATA, c.SMFIC_UNKNOWN: State.DATA},
    State.HEADERS: _CONNECTED | _CONTENT | {c.SMFIC_MACRO: State.HEADERS},
    State.BODY: _CONNECTED | {c.SMFIC_MACRO: State.BODY, c.SMFIC_BODY: State.BODY, c.SMFIC_BODYEOB: State.IDLE},
    State.CLOSED: {},
}

_DECLINED: Final = (
    (c.SMFIP_NOEOH, (State.MAIL, State.RCPT, State.DATA, State.HEADERS), State.BODY),
    (c.SMFIP_NOMAIL, (State.IDLE,), State.MAIL),
    (c.SMFIP_NOCONNECT, (State.READY,), State.IDLE),
)
"""Declined step -> in these states, what is allowed after the missing command is allowed at once."""


def transitions(steps: int) -> Mapping[State, Moves]:
    """The table for a conversation with these negotiated steps."""
    return _transitions(steps & (c.SMFIP_NOEOH | c.SMFIP_NOMAIL | c.SMFIP_NOCONNECT))


@cache
def _transitions(declined: int) -> Mapping[State, Moves]:
    table = dict(TRANSITIONS)
    for flag, states, after in _DECLINED:
        if declined & flag:
            for state in states:
                table[state] = {**table[after], **table[state]}
    return table


INTERRUPTS: Final = frozenset({c.SMFIC_ABORT, c.SMFIC_QUIT, c.SMFIC_QUIT_NC})
"""Commands that an MTA may send while an answer is due; the answer is then no longer wanted."""

_COMMON: Final = (ev.Continue, ev.Accept, ev.Reject, ev.Tempfail, ev.ReplyCode, ev.Shutdown, ev.Progress)
_EDITS: Final = (
    ev.AddHeader,
    ev.InsertHeader,
    ev.ChangeHeader,
    ev.ReplaceBody,
    ev.ChangeFrom,
    ev.AddRecipient,
    ev.AddRecipientPar,
    ev.DeleteRecipient,
    ev.Quarantine,
)

REPLIES: Final[Mapping[int, frozenset[type]]] = {
    c.SMFIC_OPTNEG: frozenset({ev.Negotiated}),
    c.SMFIC_CONNECT: frozenset({*_COMMON, ev.ConnectionFail}),
    c.SMFIC_HELO: frozenset(_COMMON),
    c.SMFIC_MAIL: frozenset({*_COMMON, ev.Discard}),
    c.SMFIC_RCPT: frozenset({*_COMMON, ev.Discard, ev.Skip}),
    c.SMFIC_DATA: frozenset({*_COMMON, ev.Discard}),
    c.SMFIC_UNKNOWN: frozenset(_COMMON),
    c.SMFIC_HEADER: frozenset({*_COMMON, ev.Discard, ev.Skip}),
    c.SMFIC_EOH: frozenset({*_COMMON, ev.Discard}),
    c.SMFIC_BODY: frozenset({*_COMMON, ev.Discard, ev.Skip}),
    c.SMFIC_BODYEOB: frozenset({*_COMMON, ev.Discard, *_EDITS}),
}
"""Command -> replies to it; a command that is not here gets none (MACRO, ABORT, QUIT, QUIT_NC)."""

NOT_FINAL: Final = frozenset({*_EDITS, ev.Progress})
"""Replies after which the MTA still waits."""

ENDS_CONTENT: Final = frozenset({ev.Accept, ev.Reject, ev.Discard, ev.Tempfail, ev.ReplyCode, ev.Shutdown})
"""Replies after which no more content of this message comes."""

REQUIRED_ACTION: Final[Mapping[type, int]] = {
    ev.AddHeader: c.SMFIF_ADDHDRS,
    ev.InsertHeader: c.SMFIF_ADDHDRS,
    ev.ChangeHeader: c.SMFIF_CHGHDRS,
    ev.ReplaceBody: c.SMFIF_CHGBODY,
    ev.ChangeFrom: c.SMFIF_CHGFROM,
    ev.AddRecipient: c.SMFIF_ADDRCPT,
    ev.AddRecipientPar: c.SMFIF_ADDRCPT_PAR,
    ev.DeleteRecipient: c.SMFIF_DELRCPT,
    ev.Quarantine: c.SMFIF_QUARANTINE,
}
"""Edit -> the action that must have been negotiated."""


def unknown(version: int) -> frozenset[int]:
    """The commands that this version of the protocol lacks."""
    return frozenset(command for command, since in c.COMMAND_SINCE.items() if since > version)


def answered(steps: int) -> frozenset[int]:
    """The commands that the filter answers, given the negotiated steps."""
    return frozenset(command for command in REPLIES if not steps & c.NO_REPLY.get(command, 0))
