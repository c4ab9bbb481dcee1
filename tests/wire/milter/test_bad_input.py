"""What the codec does with what no sound MTA sends: caps, wrong order, NUL, 8-bit; see docs/failures.md."""

from collections.abc import Callable

import pytest

from tests.wire.milter.commands import (
    EIGHT_BIT,
    EMPTY,
    SAMPLES,
    TEXTS,
    UNASKED,
    WAY,
    WRONG,
    frame,
    names,
    way,
)
from wire.milter import NEED_DATA, FilterConnection, LimitExceeded, Limits, RemoteProtocolError, State, Wanted
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.states import transitions

LIMITS = Limits(
    frame_slack_bytes=1000,
    macros_max=3,
    macro_bytes_max=100,
    line_bytes_max=300,
    recipients_max=3,
    address_bytes_max=50,
    esmtp_args_max=3,
    envelope_bytes_max=1000,
    headers_max=4,
    header_bytes_max=200,
    message_bytes_max=500,
)


def hear(connection: FilterConnection, data: bytes) -> list[object]:
    """What comes of bytes, answering Continue."""
    connection.receive_data(data)
    events: list[object] = []
    while (event := connection.next_event()) is not NEED_DATA:
        events.append(event)
        if isinstance(event, ev.Negotiate):
            connection.send(connection.negotiate(event))
        elif connection.awaiting_reply:
            connection.send(ev.Continue())
    return events


def at(state: State, limits: Limits = LIMITS) -> FilterConnection:
    connection = FilterConnection(limits)
    hear(connection, way(state))
    assert connection.state is state
    return connection


def pad(size_bytes: int) -> bytes:
    return b"x" * size_bytes


CAPS: dict[str, tuple[State, Callable[[int], bytes], int]] = {
    "macros": (State.READY, lambda count: frame(c.SMFIC_MACRO, b"C" + b"a\0b\0" * count), 3),
    "macro bytes": (State.READY, lambda size: frame(c.SMFIC_MACRO, b"Cj\0" + pad(size - 4) + b"\0"), 100),
    "host name": (State.READY, lambda size: frame(c.SMFIC_CONNECT, pad(size - 2) + b"\0U"), 300),
    "helo": (State.IDLE, lambda size: frame(c.SMFIC_HELO, pad(size - 1) + b"\0"), 300),
    "unknown command": (State.IDLE, lambda size: frame(c.SMFIC_UNKNOWN, pad(size - 1) + b"\0"), 300),
    "sender": (State.IDLE, lambda size: frame(c.SMFIC_MAIL, pad(size) + b"\0"), 50),
    "sender's arguments": (State.IDLE, lambda count: frame(c.SMFIC_MAIL, b"<>\0" + b"A\0" * count), 3),
    "bytes of MAIL": (State.IDLE, lambda size: frame(c.SMFIC_MAIL, b"<>\0" + pad(size - 4) + b"\0"), 300),
    "recipient": (State.MAIL, lambda size: frame(c.SMFIC_RCPT, pad(size) + b"\0"), 50),
    "recipient's arguments": (State.MAIL, lambda count: frame(c.SMFIC_RCPT, b"<>\0" + b"A\0" * count), 3),
    "bytes of RCPT": (State.MAIL, lambda size: frame(c.SMFIC_RCPT, b"<>\0" + pad(size - 4) + b"\0"), 300),
    "recipients": (State.MAIL, lambda count: frame(c.SMFIC_RCPT) * count, 3),
    "envelope bytes": (
        State.IDLE,
        lambda size: (
            frame(c.SMFIC_MAIL, b"<>\0" + pad(296) + b"\0")
            + frame(c.SMFIC_RCPT, b"<>\0" + pad(296) + b"\0") * 2
            + frame(c.SMFIC_RCPT, b"<>\0" + pad(size - 904) + b"\0")
        ),
        1000,
    ),
    "header fields": (State.DATA, lambda count: frame(c.SMFIC_HEADER, b"A\0b\0") * count, 4),
    "header bytes": (State.DATA, lambda size: frame(c.SMFIC_HEADER, b"A\0" + pad(size - 3) + b"\0"), 200),
    "body": (State.BODY, lambda size: frame(c.SMFIC_BODY, pad(size)), 500),
    "end of body": (State.BODY, lambda size: frame(c.SMFIC_BODY, pad(400)) + frame(c.SMFIC_BODYEOB, pad(size)), 100),
}
"""Where, what of this size, and the largest that passes."""


def test_the_table_of_caps_names_every_limit() -> None:
    assert len(CAPS) >= len(Limits.__dataclass_fields__)
    assert all(getattr(LIMITS, name) < getattr(Limits(), name) for name in Limits.__dataclass_fields__)


@pytest.mark.parametrize("field", CAPS)
def test_every_field_over_its_cap(field: str) -> None:
    state, make, cap = CAPS[field]
    assert hear(at(state), make(cap))
    connection = at(state)
    with pytest.raises(LimitExceeded):
        hear(connection, make(cap + 1))
    assert connection.state is State.CLOSED


@pytest.mark.parametrize("steps", [0, c.SMFIP_MDS_256K, c.SMFIP_MDS_1M], ids=["64K", "256K", "1M"])
def test_a_frame_over_its_cap_is_refused_by_its_first_four_bytes(steps: int) -> None:
    offer = b"".join(number.to_bytes(4) for number in (6, c.ALL_ACTIONS, c.OFFERED_STEPS | steps))
    largest = c.data_bytes_max(steps) + Limits().frame_slack_bytes + 1
    connection = FilterConnection(offer=Wanted(steps=steps))
    hear(connection, frame(c.SMFIC_OPTNEG, offer))
    assert hear(connection, largest.to_bytes(4)) == []
    connection = FilterConnection(offer=Wanted(steps=steps))
    hear(connection, frame(c.SMFIC_OPTNEG, offer))
    with pytest.raises(RemoteProtocolError, match="claims"):
        hear(connection, (largest + 1).to_bytes(4))


@pytest.mark.parametrize(("state", "command"), WRONG, ids=[names(*wrong) for wrong in WRONG])
def test_every_command_in_every_wrong_state(state: State, command: int) -> None:
    connection = at(state)
    with pytest.raises(RemoteProtocolError):
        hear(connection, frame(command, None if command in SAMPLES else b""))
    assert connection.state is State.CLOSED


@pytest.mark.parametrize("state", WAY, ids=lambda state: state.value)
def test_every_command_in_its_place_passes(state: State) -> None:
    for command in transitions(c.WANTED_STEPS)[state]:
        assert hear(at(state), frame(command)) == [SAMPLES[command]]


@pytest.mark.parametrize("asked", [c.SMFIC_RCPT, c.SMFIC_BODYEOB], ids=["RCPT", "BODYEOB"])
@pytest.mark.parametrize("command", UNASKED, ids=[c.COMMAND_NAMES[command] for command in UNASKED])
def test_every_command_while_an_answer_is_due(asked: int, command: int) -> None:
    connection = at(State.MAIL if asked == c.SMFIC_RCPT else State.BODY)
    connection.receive_data(frame(asked) + frame(command))
    assert connection.next_event() == SAMPLES[asked]
    with pytest.raises(RemoteProtocolError):
        connection.next_event()


@pytest.mark.parametrize("field", TEXTS)
def test_nul_everywhere(field: str) -> None:
    text = TEXTS[field]
    connection = at(text.state)
    if text.more_strings:
        (event,) = hear(connection, text.frame(b"a\0b"))
        assert isinstance(event, ev.Mail | ev.Recipient)
        assert event.esmtp_args[-1].startswith(b"b")
    else:
        with pytest.raises(RemoteProtocolError):
            hear(connection, text.frame(b"a\0b"))


@pytest.mark.parametrize("field", EMPTY)
@pytest.mark.parametrize("payload", [b"\0", b"x", EIGHT_BIT], ids=["nul", "letter", "8-bit"])
def test_a_command_that_carries_nothing_carries_something(field: str, payload: bytes) -> None:
    state, command = EMPTY[field]
    with pytest.raises(RemoteProtocolError):
        hear(at(state), frame(command, payload))


@pytest.mark.parametrize("field", TEXTS)
def test_8_bit_everywhere(field: str) -> None:
    text = TEXTS[field]
    (event,) = hear(at(text.state, Limits()), text.frame(EIGHT_BIT))
    assert EIGHT_BIT in text.payload(EIGHT_BIT)
    assert repr(EIGHT_BIT)[2:-1] in repr(event)


@pytest.mark.parametrize("field", TEXTS)
def test_a_string_without_its_nul(field: str) -> None:
    text = TEXTS[field]
    with pytest.raises(RemoteProtocolError):
        hear(at(text.state), frame(text.command, text.payload(b"a").removesuffix(b"\0")))


@pytest.mark.parametrize("command", SAMPLES, ids=[c.COMMAND_NAMES[command] for command in SAMPLES])
def test_a_frame_that_is_cut_short_only_waits(command: int) -> None:
    state = next(state for state in WAY if command in transitions(c.WANTED_STEPS)[state])
    whole = frame(command)
    for cut in range(len(whole)):
        connection = at(state)
        assert hear(connection, whole[:cut]) == []
        assert connection.mid_frame == bool(cut)
        assert hear(connection, whole[cut:]) == [SAMPLES[command]]
