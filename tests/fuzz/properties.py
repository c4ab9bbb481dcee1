"""What must hold for whatever bytes a peer sends to the codec, in whatever pieces.

Strategy: an input is eight choices and the peer's bytes. The choices cut the bytes into pieces, pick limits, answers
and the place where the conversation moves to another process. Both ends may raise nothing but ProtocolError, keep no
more than one frame, stay closed once they are closed, and say the same of the same bytes in any pieces.
"""

from collections.abc import Iterator
from contextlib import suppress

from wire.milter import (
    NEED_DATA,
    FilterConnection,
    Limits,
    LocalProtocolError,
    MtaConnection,
    ProtocolError,
    RemoteProtocolError,
    State,
    Wanted,
)
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.frames import FrameReader

CHOICES = 8
MTA_END = 0x80
"""In the first choice: the bytes are a filter's, and the end under test is the MTA's."""
PIECE_BYTES_MAX = 64
CONSUMED_BYTES_MAX = 64 * 1024
"""What a reader may keep of bytes that it has given out already."""

SMALL = Limits(
    frame_slack_bytes=0,
    macros_max=4,
    recipients_max=3,
    address_bytes_max=40,
    esmtp_args_max=2,
    envelope_bytes_max=200,
    headers_max=5,
    header_bytes_max=200,
    message_bytes_max=300,
)
OFFERS = (
    Wanted(),
    Wanted(steps=0),
    Wanted(steps=c.WANTED_STEPS | c.SMFIP_NR_RCPT | c.SMFIP_MDS_1M),
    Wanted(steps=0x7F, actions=0),
)
ANSWERS: tuple[ev.Reply, ...] = (
    ev.Continue(),
    ev.Accept(),
    ev.Reject(),
    ev.Tempfail(),
    ev.Discard(),
    ev.Skip(),
    ev.Progress(),
    ev.ReplyCode(b"550 5.7.1 No"),
    ev.AddHeader(b"X-Spam", b" yes"),
    ev.ReplaceBody(b"new"),
)
SCRIPT: tuple[ev.Event, ...] = (
    ev.Connect(b"mail.example.com", c.SMFIA_INET, 25, b"192.0.2.7"),
    ev.Helo(b"mail.example.com"),
    ev.Mail(b"<alice@example.com>"),
    ev.Recipient(b"<bob@example.org>"),
    ev.Data(),
    ev.Header(b"Subject", b" x"),
    ev.EndOfHeaders(),
    ev.Body(b"text\r\n"),
    ev.EndOfBody(),
)


def check(data: bytes) -> None:
    """Play an input. Raises whatever a broken property raises."""
    if len(data) < CHOICES:
        return
    choices, stream = data[:CHOICES], data[CHOICES:]
    if choices[0] & MTA_END:
        mta_end(choices, stream)
    else:
        filter_end(choices, stream)


def pieces(choices: bytes, stream: bytes) -> Iterator[bytes]:
    """The stream cut into pieces of sizes that the choices give in turn."""
    start = turn = 0
    while start < len(stream):
        size_bytes = choices[1 + turn % 3] % PIECE_BYTES_MAX + 1
        yield stream[start : start + size_bytes]
        start += size_bytes
        turn += 1


class FilterEnd:
    """Our end, answering by choice; notes what it heard."""

    def __init__(self, choices: bytes) -> None:
        self.limits = SMALL if choices[0] & 1 else Limits()
        self.offer = OFFERS[choices[0] >> 1 & 3]
        self.connection = FilterConnection(self.limits, self.offer)
        self.heard: list[object] = []
        self.failed = False
        self._answers = choices[4:7]

    def take(self, piece: bytes, *, runs: bool) -> None:
        """Hear a piece to its end; with `runs` header fields come together where they may."""
        connection = self.connection
        connection.receive_data(piece)
        while not self.failed:
            try:
                if runs:
                    self.heard += connection.take_fields()
                event = connection.next_event()
            except RemoteProtocolError:
                self.failed = True
                assert connection.state is State.CLOSED
                return
            if event is NEED_DATA:
                check_memory(connection._frames, len(piece))
                return
            self._note(event)

    def move(self) -> None:
        """To another process."""
        self.connection = FilterConnection.restore(self.connection.snapshot(), self.limits, self.offer)

    def _note(self, event: ev.Event) -> None:
        if isinstance(event, ev.Header):
            self.heard.append((event.name, event.value))
        elif not isinstance(event, ev.Macros):  # a run skips those that it has seen
            self.heard.append(event)
        if isinstance(event, ev.Negotiate):
            self.connection.send(self.connection.negotiate(event))
        for answer in (*(ANSWERS[choice % len(ANSWERS)] for choice in self._answers), ev.Continue()):
            if not self.connection.awaiting_reply:
                break
            try:
                self.connection.send(answer)
            except LocalProtocolError:
                continue


def filter_end(choices: bytes, stream: bytes) -> None:
    """The gateway's end hears an MTA: in pieces with a move, and whole."""
    cut, whole = FilterEnd(choices), FilterEnd(choices)
    for number, piece in enumerate(pieces(choices, stream)):
        cut.take(piece, runs=True)
        if number == choices[7] and not cut.failed:
            cut.move()
    whole.take(stream, runs=False)
    assert cut.failed == whole.failed
    # Fields before a broken one in the same run are not told.
    assert cut.heard == whole.heard or (cut.failed and cut.heard == whole.heard[: len(cut.heard)])
    if cut.failed:
        stays_closed(cut.connection)
    elif stream:
        assert cut.connection._frames.waiting() == whole.connection._frames.waiting()


def stays_closed(connection: FilterConnection) -> None:
    """Nothing that comes after an error is heard, and nothing can be answered."""
    connection.receive_data(b"\0\0\0\1" + bytes([c.SMFIC_ABORT]))
    with suppress(RemoteProtocolError):
        assert connection.next_event() is NEED_DATA
    assert connection.take_fields() == []
    assert connection.state is State.CLOSED
    connection.snapshot()


def mta_end(choices: bytes, stream: bytes) -> None:
    """The MTA's end plays messages and hears a filter."""
    limits = SMALL if choices[0] & 1 else Limits()
    connection = MtaConnection(limits)
    connection.send(ev.Negotiate(choices[4] % 8 + 2, c.ALL_ACTIONS, c.OFFERED_STEPS))
    script = iter(SCRIPT * 2)
    for piece in pieces(choices, stream):
        connection.receive_data(piece)
        while True:
            try:
                while not connection.awaiting_reply and connection.state is not State.CLOSED:
                    connection.send(next(script))
            except (LocalProtocolError, StopIteration):
                return
            try:
                reply = connection.next_event()
            except ProtocolError:
                assert connection.state is State.CLOSED
                return
            if reply is NEED_DATA:
                check_memory(connection._frames, len(piece))
                break


def check_memory(frames: FrameReader, piece_bytes: int) -> None:
    """A reader keeps one frame that is not complete, and of what is behind it a bounded share."""
    frame_bytes_max = frames.payload_bytes_max + 5
    assert frames.waiting_bytes < frame_bytes_max
    assert len(frames._buffer) <= max(CONSUMED_BYTES_MAX, piece_bytes) + frame_bytes_max
