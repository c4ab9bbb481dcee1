"""The order of a conversation, cell by cell: what each command does in each state, in each version."""

import pytest

from tests.wire.milter.pairs import raw
from wire.milter import NEED_DATA, FilterConnection, RemoteProtocolError, State, Wanted
from wire.milter import constants as c
from wire.milter import events as ev

VERSIONS = (2, 3, 4, 5, 6)
SINCE = {"UNKNOWN": 3, "DATA": 4, "QUIT_NC": 6}

# State -> command -> state after it. What is not here is refused, which closes the conversation.
_ANYWHERE = {"ABORT": State.IDLE, "QUIT_NC": State.READY, "QUIT": State.CLOSED}
_ENVELOPE = _ANYWHERE | {
    "HELO": State.IDLE,
    "MAIL": State.MAIL,
    "RCPT": State.RCPT,
    "DATA": State.DATA,
    "HEADER": State.HEADERS,
    "EOH": State.BODY,
}
TABLE = {
    State.START: {"OPTNEG": State.READY, "QUIT": State.CLOSED},
    State.READY: {"CONNECT": State.IDLE, "MACRO": State.READY, "QUIT_NC": State.READY, "QUIT": State.CLOSED},
    State.IDLE: _ANYWHERE | {"HELO": State.IDLE, "MAIL": State.MAIL, "MACRO": State.IDLE, "UNKNOWN": State.IDLE},
    State.MAIL: _ENVELOPE | {"MACRO": State.MAIL, "UNKNOWN": State.MAIL},
    State.RCPT: _ENVELOPE | {"MACRO": State.RCPT, "UNKNOWN": State.RCPT},
    State.DATA: _ENVELOPE | {"MACRO": State.DATA, "UNKNOWN": State.DATA},
    State.HEADERS: _ANYWHERE | {"HEADER": State.HEADERS, "EOH": State.BODY, "MACRO": State.HEADERS},
    State.BODY: _ANYWHERE | {"BODY": State.BODY, "BODYEOB": State.IDLE, "MACRO": State.BODY},
    State.CLOSED: {},
}
WAY = {
    State.START: (),
    State.READY: (),
    State.IDLE: ("CONNECT",),
    State.MAIL: ("CONNECT", "MAIL"),
    State.RCPT: ("CONNECT", "MAIL", "RCPT"),
    State.DATA: ("CONNECT", "MAIL", "RCPT", "DATA"),
    State.HEADERS: ("CONNECT", "MAIL", "RCPT", "HEADER"),
    State.BODY: ("CONNECT", "MAIL", "RCPT", "EOH"),
    State.CLOSED: ("QUIT",),
}
PAYLOADS = {
    "OPTNEG": b"\0\0\0\6" + bytes(8),
    "MACRO": b"Ci\0x\0",
    "CONNECT": b"localhost\0U",
    "HELO": b"x\0",
    "MAIL": b"<>\0",
    "RCPT": b"<a@example.org>\0",
    "UNKNOWN": b"XYZZY\0",
    "HEADER": b"Subject\0x\0",
    "BODY": b"x",
}
LETTERS = {name: chr(code) for code, name in c.COMMAND_NAMES.items()}


def frame(command: str) -> bytes:
    return raw(LETTERS[command], PAYLOADS.get(command, b""))


def filter_in(state: State, version: int) -> FilterConnection:
    """A filter that answers everything, brought to a state."""
    gateway = FilterConnection(offer=Wanted(steps=0))
    if state is not State.START:
        gateway.receive_data(raw("O", version.to_bytes(4) + bytes(8)))
        offer = gateway.next_event()
        assert isinstance(offer, ev.Negotiate)
        gateway.send(gateway.negotiate(offer))
    for command in WAY[state]:
        assert say(gateway, command) is not NEED_DATA
        if gateway.awaiting_reply:
            gateway.send(ev.Continue())
    assert gateway.state is state
    return gateway


def say(gateway: FilterConnection, command: str) -> object:
    gateway.receive_data(frame(command))
    return gateway.next_event()


@pytest.mark.parametrize("command", c.COMMAND_NAMES.values())
@pytest.mark.parametrize("state", State, ids=lambda state: state.name.lower())
@pytest.mark.parametrize("version", VERSIONS, ids="version_{}".format)
def test_each_command_in_each_state(version: int, state: State, command: str) -> None:
    if any(SINCE.get(step, 0) > version for step in WAY[state]):
        assert state is State.DATA  # no way leads there before version 4
        return
    gateway = filter_in(state, version)
    after = TABLE[state].get(command)
    if state is State.START and command == "OPTNEG":
        gateway.receive_data(frame(command))
        assert isinstance(gateway.next_event(), ev.Negotiate)
        assert gateway.state is State.READY
    elif after is None or SINCE.get(command, 0) > version:
        with pytest.raises(RemoteProtocolError):
            say(gateway, command)
        assert gateway.state is State.CLOSED
    else:
        assert say(gateway, command) is not NEED_DATA
        assert gateway.state is after


@pytest.mark.parametrize("command", c.COMMAND_NAMES.values())
@pytest.mark.parametrize("waiting", ["CONNECT", "HELO", "MAIL", "RCPT", "DATA", "UNKNOWN", "HEADER", "EOH", "BODY"])
def test_while_a_reply_is_due_only_a_goodbye_may_come(waiting: str, command: str) -> None:
    before = {"CONNECT": State.READY, "HELO": State.IDLE, "MAIL": State.IDLE, "UNKNOWN": State.IDLE, "BODY": State.BODY}
    gateway = filter_in(before.get(waiting, State.RCPT), 6)
    say(gateway, waiting)
    assert gateway.awaiting_reply
    if command in ("ABORT", "QUIT", "QUIT_NC"):
        say(gateway, command)
        assert not gateway.awaiting_reply
    else:
        with pytest.raises(RemoteProtocolError):
            say(gateway, command)
