"""The two ends of a milter conversation, without I/O: bytes in, events out; events in, bytes out.

Strategy: `receive_data` stores, `next_event` returns what is complete, `send` returns the bytes to write. Each end
keeps the state of the tables in states.py, the command whose answer is due, and the count of what the peer sent.
A conversation in which a rule was broken stays broken.
"""

import enum
from dataclasses import dataclass
from typing import Final

import msgspec

from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from wire.milter.frames import FrameReader, encode_frame
from wire.milter.limits import Limits, Tally
from wire.milter.negotiation import Wanted, negotiate
from wire.milter.readers import COMMAND_READERS, REPLY_READERS, read_pair
from wire.milter.states import (
    ENDS_CONTENT,
    INTERRUPTS,
    NOT_FINAL,
    REPLIES,
    REQUIRED_ACTION,
    State,
    answered,
    transitions,
    unknown,
)
from wire.milter.writers import COMMAND_WRITERS, REPLY_WRITERS


class NeedData(enum.Enum):
    """Type of NEED_DATA."""

    NEED_DATA = "no whole frame yet"


NEED_DATA: Final = NeedData.NEED_DATA


@dataclass(frozen=True, slots=True)
class FilterSnapshot:
    """A filter's end between two events, so that another process can go on with the conversation."""

    state: State
    due: int | None
    """The command that the MTA waits for an answer to."""
    offered: ev.Negotiate | None
    negotiated: ev.Negotiated | None
    waiting: bytes
    """Received, and not yet an event."""
    counts: tuple[int, int, int, int, int]


class FilterConnection:
    """The filter's end: our gateway's."""

    def __init__(self, limits: Limits = Limits(), offer: Wanted = Wanted()) -> None:  # noqa: B008 - both are frozen
        self._limits = limits
        self._wanted = offer
        self._frames = FrameReader(c.DATA_BYTES_64K + limits.frame_slack_bytes)
        self._tally = Tally(limits)
        self._checks = self._tally.checks
        # Postfix sends the same macros before every header: they are read once.
        self._macros = ev.Macros(0, ())
        self._macros_payload: bytes | None = None
        self._macros_frame = b""
        self._table = transitions(0)
        self._answered = answered(0)
        self._unknown = unknown(c.VERSION_MAX)
        self._state = State.START
        self._moves = self._table[State.START]
        self._due: int | None = None
        self._offered: ev.Negotiate | None = None
        self._body_replacement: _BodyReplacement = _BodyReplacement.NONE
        self.negotiated: ev.Negotiated | None = None
        """What holds, once an answer to Negotiate was sent."""

    @property
    def state(self) -> State:
        """Where the conversation is."""
        return self._state

    @property
    def awaiting_reply(self) -> bool:
        """Whether the MTA waits for an answer to the last event."""
        return self._due is not None

    @property
    def mid_frame(self) -> bool:
        """Whether bytes of a frame wait for its rest (once `next_event` has said NEED_DATA)."""
        return self._frames.waiting_bytes > 0

    def receive_data(self, data: bytes) -> None:
        """Store bytes of the MTA."""
        self._frames.feed(data)

    def next_event(self) -> ev.Event | NeedData:
        """The next command, or NEED_DATA. Raises RemoteProtocolError; then only closing is left."""
        try:
            frame = self._frames.next_frame()
            if frame is None:
                return NEED_DATA
            return self._take(*frame)
        except RemoteProtocolError:
            self._move(State.CLOSED)
            raise

    def take_fields(self) -> list[tuple[bytes, bytes]]:
        """The header fields (name, value) that come next, when nobody waits for an answer to them; else empty.

        What `next_event` gives one by one, with the same checks: a message has tens of them, and together they cost a
        quarter. Raises RemoteProtocolError.
        """
        if self._state is not State.HEADERS or c.SMFIC_HEADER in self._answered:
            return []
        payloads = self._frames.take_run(c.SMFIC_HEADER, self._macros_frame)
        if not payloads:
            return []
        try:
            self._tally.fields(len(payloads), sum(map(len, payloads)))
            return [read_pair(payload, "HEADER") for payload in payloads]
        except RemoteProtocolError:
            self._move(State.CLOSED)
            raise

    def negotiate(self, offered: ev.Negotiate) -> ev.Negotiated:
        """Our answer to the MTA's offer, to be sent with `send`."""
        return negotiate(offered, self._wanted.actions, self._wanted.steps, self._wanted.symlists)

    def send(self, reply: ev.Reply) -> bytes:
        """The bytes of a reply. Raises LocalProtocolError when it is not allowed here; nothing has changed then."""
        kind = type(reply)
        due = self._due
        if due is None:
            raise LocalProtocolError(f"{kind.__name__}: the MTA waits for no reply")
        if kind not in REPLIES[due]:
            raise LocalProtocolError(f"{kind.__name__} is no reply to {c.COMMAND_NAMES[due]}")
        if isinstance(reply, ev.Negotiated):
            self._check_negotiated(reply)
        else:
            self._check_allowed(kind)
        code, write = REPLY_WRITERS[kind]
        payload = write(reply)
        steps = self.negotiated.steps if self.negotiated else 0
        if len(payload) > c.data_bytes_max(steps):
            raise LocalProtocolError(f"{kind.__name__}: {len(payload)} bytes are more than a frame may hold")
        if isinstance(reply, ev.Negotiated):
            self._settle(reply)
        self._sent(kind, due)
        return encode_frame(code, payload)

    def snapshot(self) -> FilterSnapshot:
        """Where the conversation is. Not between the replies at end of message: they are sent all or none."""
        return FilterSnapshot(
            self._state, self._due, self._offered, self.negotiated, self._frames.waiting(), self._tally.counts()
        )

    @classmethod
    def restore(cls, snapshot: FilterSnapshot, limits: Limits, offer: Wanted) -> "FilterConnection":
        """A conversation that goes on where another process left it."""
        connection = cls(limits, offer)
        connection._offered = snapshot.offered
        if snapshot.negotiated is not None:
            connection._settle(snapshot.negotiated)
        connection._move(snapshot.state)
        connection._due = snapshot.due
        connection._tally.resume(snapshot.counts)
        connection._frames.feed(snapshot.waiting)
        return connection

    def _take(self, command: int, payload: bytes) -> ev.Event:
        state = self._moves.get(command)
        if state is None:
            raise RemoteProtocolError(f"{_name(command)} {self._state.value}")
        if self._due is not None and command not in INTERRUPTS:
            raise RemoteProtocolError(f"{_name(command)} while a reply to {_name(self._due)} is due")
        if command in self._unknown:
            raise RemoteProtocolError(f"{_name(command)} is not in the negotiated version")
        if command == c.SMFIC_MACRO and payload == self._macros_payload:
            return self._macros
        check = self._checks.get(command)
        if check is not None:
            check(payload)
        event = COMMAND_READERS[command](payload)
        if state is not self._state:
            self._move(state)
        self._due = command if command in self._answered else None
        if command == c.SMFIC_BODYEOB:
            self._body_replacement = _BodyReplacement.NONE
        elif isinstance(event, ev.Macros):
            self._macros, self._macros_payload = event, payload
            self._macros_frame = encode_frame(command, payload)
        elif isinstance(event, ev.Negotiate):
            self._offered = event
        return event

    def _check_negotiated(self, reply: ev.Negotiated) -> None:
        offered = self._offered
        if offered is None or not c.VERSION_MIN <= reply.version <= offered.version:
            raise LocalProtocolError("Negotiated: a version that was not offered")
        if reply.actions & ~offered.actions or reply.steps & ~offered.steps:
            raise LocalProtocolError("Negotiated: actions or steps that were not offered")
        if reply.symlists and not reply.actions & c.SMFIF_SETSYMLIST:
            raise LocalProtocolError("Negotiated: macro lists without SETSYMLIST")

    def _check_allowed(self, kind: type) -> None:
        negotiated = self.negotiated
        if negotiated is None:
            raise LocalProtocolError(f"{kind.__name__} before negotiation")
        action = REQUIRED_ACTION.get(kind, 0)
        if action & ~negotiated.actions:
            raise LocalProtocolError(f"{kind.__name__} was not negotiated")
        if kind is ev.Skip and not negotiated.steps & c.SMFIP_SKIP:
            raise LocalProtocolError("Skip was not negotiated")
        if kind is ev.ReplaceBody and self._body_replacement is _BodyReplacement.OVER:
            # Postfix gives up on a filter that mixes body replacement with other requests.
            raise LocalProtocolError("ReplaceBody: other replies came between its pieces")

    def _settle(self, reply: ev.Negotiated) -> None:
        self.negotiated = reply
        self._frames.payload_bytes_max = c.data_bytes_max(reply.steps) + self._limits.frame_slack_bytes
        self._table = transitions(reply.steps)
        self._answered = answered(reply.steps)
        self._unknown = unknown(reply.version)
        self._move(self._state)

    def _sent(self, kind: type, due: int) -> None:
        if kind is ev.ReplaceBody:
            self._body_replacement = _BodyReplacement.OPEN
        elif self._body_replacement is _BodyReplacement.OPEN:
            self._body_replacement = _BodyReplacement.OVER
        if kind in NOT_FINAL:
            return
        self._due = None
        if kind in ENDS_CONTENT and due in _CONTENT_COMMANDS:
            self._move(State.IDLE)

    def _move(self, state: State) -> None:
        self._state = state
        self._moves = self._table[state]


class MtaConnection:
    """The MTA's end: `tamis send`, tests and load generators; for a child filter it plays the MTA."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self._limits = limits
        self._frames = FrameReader(c.DATA_BYTES_64K + limits.frame_slack_bytes)
        self._table = transitions(0)
        self._answered = answered(0)
        self._unknown = unknown(c.VERSION_MAX)
        self._state = State.START
        self._due: int | None = None
        self._skipped: int | None = None
        self._offered: ev.Negotiate | None = None
        self.negotiated: ev.Negotiated | None = None
        """What holds, once the filter answered Negotiate."""

    @property
    def state(self) -> State:
        """Where the conversation is."""
        return self._state

    @property
    def awaiting_reply(self) -> bool:
        """Whether the filter owes an answer to the last event sent."""
        return self._due is not None

    def wants(self, command: int) -> bool:
        """Whether the filter wants this command: known in its version, not declined, not skipped."""
        declined = self.negotiated.steps & c.NO_STEP.get(command, 0) if self.negotiated else 0
        return not declined and command != self._skipped and command not in self._unknown

    def send(self, event: ev.Event) -> bytes:
        """The bytes of a command, none when the filter does not want it. Raises LocalProtocolError."""
        command, write = COMMAND_WRITERS[type(event)]
        state = self._table[self._state].get(command)
        if state is None:
            raise LocalProtocolError(f"{_name(command)} {self._state.value}")
        if self._due is not None and command not in INTERRUPTS:
            raise LocalProtocolError(f"{_name(command)} while a reply to {_name(self._due)} is due")
        payload: bytes = write(event)
        steps = self.negotiated.steps if self.negotiated else 0
        if command in (c.SMFIC_BODY, c.SMFIC_BODYEOB) and len(payload) > c.data_bytes_max(steps):
            raise LocalProtocolError(f"{_name(command)}: {len(payload)} bytes are more than was negotiated")
        if command not in (self._skipped, c.SMFIC_MACRO):
            self._skipped = None
        wanted = self.wants(command)
        self._state = state
        if isinstance(event, ev.Negotiate):
            self._offered = event
        if not wanted:
            return b""
        self._due = command if command in self._answered else None
        return encode_frame(command, payload)

    def receive_data(self, data: bytes) -> None:
        """Store bytes of the filter."""
        self._frames.feed(data)

    def next_event(self) -> ev.Reply | NeedData:
        """The next reply, or NEED_DATA. Raises RemoteProtocolError; then only closing is left."""
        try:
            frame = self._frames.next_frame()
            if frame is None:
                return NEED_DATA
            return self._take(*frame)
        except ProtocolError:
            self._state = State.CLOSED
            raise

    def _take(self, code: int, payload: bytes) -> ev.Reply:
        due = self._due
        if due is None:
            raise RemoteProtocolError(f"reply {chr(code)!r} that nobody waits for")
        read = REPLY_READERS.get(code)
        if read is None:
            raise RemoteProtocolError(f"no such reply: {chr(code)!r}")
        reply = read(payload)
        kind = type(reply)
        if kind not in REPLIES[due]:
            raise RemoteProtocolError(f"{kind.__name__} is no reply to {_name(due)}")
        if isinstance(reply, ev.Negotiated):
            self._settle(reply)
        elif self.negotiated is not None and REQUIRED_ACTION.get(kind, 0) & ~self.negotiated.actions:
            raise RemoteProtocolError(f"{kind.__name__} was not negotiated")
        if kind in NOT_FINAL:
            return reply
        self._due = None
        if kind is ev.Skip:
            self._skipped = due
        elif kind in ENDS_CONTENT and due in _CONTENT_COMMANDS:
            self._state = State.IDLE
        return reply

    def _settle(self, reply: ev.Negotiated) -> None:
        offered = self._offered
        if offered is None or not c.VERSION_MIN <= reply.version <= offered.version:
            raise RemoteProtocolError(f"OPTNEG reply: version {reply.version} was not offered")
        if reply.actions & ~offered.actions:
            raise RemoteProtocolError("OPTNEG reply: actions that were not offered")
        # Other steps may be set without an offer, as Postfix lets them; a larger data size may not.
        steps = reply.steps & (offered.steps | ~(c.SMFIP_MDS_256K | c.SMFIP_MDS_1M))
        self.negotiated = msgspec.structs.replace(reply, steps=steps)
        self._frames.payload_bytes_max = c.data_bytes_max(steps) + self._limits.frame_slack_bytes
        self._table = transitions(steps)
        self._answered = answered(steps)
        self._unknown = unknown(reply.version)


class _BodyReplacement(enum.Enum):
    NONE = enum.auto()
    OPEN = enum.auto()
    OVER = enum.auto()


_CONTENT_COMMANDS: Final = frozenset({c.SMFIC_HEADER, c.SMFIC_EOH, c.SMFIC_BODY})


def _name(command: int) -> str:
    return c.COMMAND_NAMES.get(command, f"command {command}")
