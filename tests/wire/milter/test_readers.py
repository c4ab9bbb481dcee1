"""Every decoder: whole, byte by byte, with another frame behind it, and cut short."""

import pytest

from tests.wire.milter.pairs import ENVELOPE, MESSAGE, pair, raw, tell
from wire.milter import NEED_DATA, FilterConnection, MtaConnection, RemoteProtocolError
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.readers import COMMAND_READERS, REPLY_READERS

BEFORE: dict[str, tuple[ev.Event, ...]] = {
    "C": (),
    "D": ENVELOPE,
    "H": ENVELOPE[:1],
    "M": ENVELOPE[:1],
    "R": ENVELOPE[:2],
    "T": ENVELOPE,
    "L": ENVELOPE,
    "N": ENVELOPE,
    "B": MESSAGE,
    "E": MESSAGE,
    "A": ENVELOPE,
    "Q": ENVELOPE,
    "K": ENVELOPE,
    "U": ENVELOPE[:1],
}
COMMANDS: list[tuple[str, bytes, ev.Event]] = [
    ("C", b"mx\x004\x01\x02192.0.2.7\0", ev.Connect(b"mx", b"4", 0x0102, b"192.0.2.7")),
    ("C", b"mx\x006\0\0IPv6:::1\0", ev.Connect(b"mx", b"6", 0, b"IPv6:::1")),
    ("C", b"localhost\0L\0\0/run/s\0", ev.Connect(b"localhost", b"L", 0, b"/run/s")),
    ("C", b"\xff\xfe\0U", ev.Connect(b"\xff\xfe", b"U", 0, b"")),
    ("D", b"R", ev.Macros(c.SMFIC_RCPT, ())),
    ("D", b"Mi\x004b1\0{x}\0\0", ev.Macros(c.SMFIC_MAIL, ((b"i", b"4b1"), (b"{x}", b"")))),
    ("D", b"Z\xff\0\xfe\0", ev.Macros(ord("Z"), ((b"\xff", b"\xfe"),))),
    ("H", b"m\xfcller\0", ev.Helo(b"m\xfcller")),
    ("H", b"\0", ev.Helo(b"")),
    ("M", b"<>\0", ev.Mail(b"<>")),
    ("M", b"<a@b>\0SIZE=1\0ENVID=a=b\0", ev.Mail(b"<a@b>", (b"SIZE=1", b"ENVID=a=b"))),
    ("R", b"<\xc3\xbc@b>\0NOTIFY=NEVER\0", ev.Recipient(b"<\xc3\xbc@b>", (b"NOTIFY=NEVER",))),
    ("T", b"", ev.Data()),
    ("L", b"Subject\0 x\n\ty\0", ev.Header(b"Subject", b" x\n\ty")),
    ("L", b"\0\0", ev.Header(b"", b"")),
    ("L", b"Subj\xe9\0\xff\0", ev.Header(b"Subj\xe9", b"\xff")),
    ("N", b"", ev.EndOfHeaders()),
    ("B", b"", ev.Body(b"")),
    ("B", b"\0\r\n\xff", ev.Body(b"\0\r\n\xff")),
    ("E", b"", ev.EndOfBody()),
    ("E", b"\0tail", ev.EndOfBody(b"\0tail")),
    ("A", b"", ev.Abort()),
    ("Q", b"", ev.Quit()),
    ("K", b"", ev.QuitNewConnection()),
    ("U", b"X\xffY\0", ev.Unknown(b"X\xffY")),
]
BROKEN = [
    ("C", b""),
    ("C", b"mx"),
    ("C", b"mx\0"),
    ("C", b"mx\x004"),
    ("C", b"mx\x004\0\x19"),
    ("C", b"mx\x004\0\x19192.0.2.7"),
    ("C", b"mx\x004\0\x19192.0.2.7\0more\0"),
    ("C", b"mx\0U more"),
    ("C", b"mx\0Z\0\x19192.0.2.7\0"),
    ("D", b""),
    ("D", b"Mi"),
    ("D", b"Mi\0"),
    ("D", b"Mi\x004b1"),
    ("H", b""),
    ("H", b"x"),
    ("H", b"x\0y\0"),
    ("M", b""),
    ("M", b"<a@b>"),
    ("R", b""),
    ("R", b"<a@b>\0X"),
    ("T", b"x"),
    ("L", b""),
    ("L", b"Subject"),
    ("L", b"Subject\0"),
    ("L", b"Subject\0x"),
    ("L", b"Subject\0x\0y\0"),
    ("N", b"\0"),
    ("A", b"\0"),
    ("Q", b"\0"),
    ("K", b"\0"),
    ("U", b""),
    ("U", b"x"),
]


def at(command: str) -> FilterConnection:
    mta, gateway = pair()
    tell(mta, gateway, *BEFORE[command])
    return gateway


def test_every_command_has_a_case() -> None:
    assert {ord(command) for command, _, _ in COMMANDS} | {c.SMFIC_OPTNEG} == set(COMMAND_READERS)


@pytest.mark.parametrize(("command", "payload", "event"), COMMANDS, ids=repr)
def test_a_command_is_read_whole(command: str, payload: bytes, event: ev.Event) -> None:
    gateway = at(command)
    gateway.receive_data(raw(command, payload))
    assert gateway.next_event() == event
    assert gateway.next_event() is NEED_DATA


@pytest.mark.parametrize(("command", "payload", "event"), COMMANDS, ids=repr)
def test_a_command_is_read_byte_by_byte(command: str, payload: bytes, event: ev.Event) -> None:
    gateway = at(command)
    data = raw(command, payload)
    for byte in data[:-1]:
        gateway.receive_data(bytes((byte,)))
        assert gateway.next_event() is NEED_DATA
    gateway.receive_data(data[-1:])
    assert gateway.next_event() == event


@pytest.mark.parametrize(("command", "payload", "event"), COMMANDS, ids=repr)
def test_a_command_does_not_eat_what_follows_it(command: str, payload: bytes, event: ev.Event) -> None:
    gateway = at(command)
    gateway.receive_data(raw(command, payload) + raw("Q")[:4])
    assert gateway.next_event() == event
    assert gateway.next_event() is NEED_DATA
    gateway.receive_data(raw("Q")[4:])
    if event != ev.Quit():
        assert gateway.next_event() == ev.Quit()


@pytest.mark.parametrize(("command", "payload"), BROKEN, ids=repr)
def test_a_broken_command_is_the_peers_fault_and_ends_the_conversation(command: str, payload: bytes) -> None:
    gateway = at(command)
    gateway.receive_data(raw(command, payload) + raw("Q"))
    with pytest.raises(RemoteProtocolError):
        gateway.next_event()
    with pytest.raises(RemoteProtocolError):
        gateway.next_event()


@pytest.mark.parametrize("payload", [b"", b"\0" * 11, b"\0\0\0\1" + b"\0" * 8, b"\0" * 12])
def test_a_broken_offer_is_refused(payload: bytes) -> None:
    gateway = FilterConnection()
    gateway.receive_data(raw("O", payload))
    with pytest.raises(RemoteProtocolError):
        gateway.next_event()


REPLIES: list[tuple[str, bytes, ev.Reply]] = [
    ("c", b"", ev.Continue()),
    ("a", b"", ev.Accept()),
    ("r", b"", ev.Reject()),
    ("d", b"", ev.Discard()),
    ("t", b"", ev.Tempfail()),
    ("p", b"", ev.Progress()),
    ("4", b"", ev.Shutdown()),
    ("y", b"550 5.7.1 100%% sure\0", ev.ReplyCode(b"550 5.7.1 100% sure")),
    ("y", b"550 5.7.1 50% s\0", ev.ReplyCode(b"550 5.7.1 50 s")),
    ("h", b"X\0 y\0", ev.AddHeader(b"X", b" y")),
    ("i", b"\0\0\1\2X\0y\0", ev.InsertHeader(0x102, b"X", b"y")),
    ("m", b"\0\0\0\3X\0\0", ev.ChangeHeader(3, b"X", b"")),
    ("b", b"\0\xff", ev.ReplaceBody(b"\0\xff")),
    ("e", b"<a@b>\0", ev.ChangeFrom(b"<a@b>")),
    ("e", b"<a@b>\0X=1 Y\0", ev.ChangeFrom(b"<a@b>", b"X=1 Y")),
    ("+", b"<a@b>\0", ev.AddRecipient(b"<a@b>")),
    ("2", b"<a@b>\0", ev.AddRecipientPar(b"<a@b>")),
    ("2", b"<a@b>\0X\0", ev.AddRecipientPar(b"<a@b>", b"X")),
    ("-", b"<a@b>\0", ev.DeleteRecipient(b"<a@b>")),
    ("q", b"why\0", ev.Quarantine(b"why")),
]


def waiting_mta() -> MtaConnection:
    mta, gateway = pair()
    tell(mta, gateway, *MESSAGE)
    mta.send(ev.EndOfBody())
    return mta


def test_every_reply_has_a_case() -> None:
    elsewhere = {c.SMFIC_OPTNEG, c.SMFIR_SKIP, c.SMFIR_CONN_FAIL}
    assert {ord(code) for code, _, _ in REPLIES} | elsewhere == set(REPLY_READERS)


@pytest.mark.parametrize(("code", "payload", "reply"), REPLIES, ids=repr)
def test_a_reply_is_read_byte_by_byte_and_leaves_what_follows(code: str, payload: bytes, reply: ev.Reply) -> None:
    mta = waiting_mta()
    data = raw(code, payload)
    for byte in data[:-1]:
        mta.receive_data(bytes((byte,)))
        assert mta.next_event() is NEED_DATA
    mta.receive_data(data[-1:] + b"\0\0")
    assert mta.next_event() == reply
    assert mta.next_event() is NEED_DATA


@pytest.mark.parametrize(
    ("code", "payload"),
    [
        ("c", b"x"),
        ("p", b"\0"),
        ("s", b""),
        ("f", b""),
        ("O", b"\0" * 12),
        ("Z", b""),
        ("y", b"550 x"),
        ("h", b"X\0y"),
        ("i", b"\0\0X\0y\0"),
        ("m", b"\0\0\0\1X\0"),
        ("e", b""),
        ("+", b"a"),
        ("+", b"a\0b\0"),
        ("2", b"a\0b\0c\0"),
        ("-", b""),
        ("q", b"why"),
    ],
    ids=repr,
)
def test_a_broken_reply_is_the_filters_fault(code: str, payload: bytes) -> None:
    mta = waiting_mta()
    mta.receive_data(raw(code, payload))
    with pytest.raises(RemoteProtocolError):
        mta.next_event()


@pytest.mark.parametrize(
    "payload",
    [
        b"\0" * 11,
        b"\0\0\0\7" + b"\0" * 8,
        b"\0\0\0\1" + b"\0" * 8,
        b"\0\0\0\6\0\0\x02\0" + b"\0" * 4,
        b"\0\0\0\6" + b"\0" * 8 + b"\0\0\0\1i",
    ],
)
def test_a_filter_cannot_negotiate_what_was_not_offered(payload: bytes) -> None:
    mta = MtaConnection()
    mta.send(ev.Negotiate(6, c.ALL_ACTIONS, c.OFFERED_STEPS))
    mta.receive_data(raw("O", payload))
    with pytest.raises(RemoteProtocolError):
        mta.next_event()
