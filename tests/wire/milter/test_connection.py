"""Both ends against each other: round trips, any split, nothing of one message in the next."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.milter.pairs import CONNECT, ENVELOPE, MAIL, MESSAGE, RECIPIENT, answer, ask, pair, raw, take_all, tell
from wire.milter import (
    NEED_DATA,
    FilterConnection,
    LimitExceeded,
    Limits,
    LocalProtocolError,
    MtaConnection,
    RemoteProtocolError,
)
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.frames import encode_frame

no_nul = st.binary(max_size=30).map(lambda text: text.replace(b"\0", b""))
line = no_nul.map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))
names = st.from_regex(rb"[!-9;-~]{1,20}", fullmatch=True)
values = line.flatmap(lambda first: line.map(lambda second: first + b"\n\t" + second))
args = st.lists(no_nul, max_size=3).map(tuple)

EVENTS = st.one_of(
    st.builds(ev.Macros, st.integers(0, 255), st.lists(st.tuples(no_nul, no_nul), max_size=4).map(tuple)),
    st.builds(ev.Header, no_nul, no_nul),
)
ENVELOPES = st.tuples(
    st.builds(ev.Connect, no_nul, st.sampled_from([b"4", b"6", b"L"]), st.integers(0, 65535), no_nul),
    st.builds(ev.Helo, no_nul),
    st.builds(ev.Unknown, no_nul),
    st.builds(ev.Mail, no_nul, args),
    st.builds(ev.Recipient, no_nul, args),
)
BODIES = st.tuples(st.builds(ev.Body, st.binary(max_size=300)), st.builds(ev.EndOfBody, st.binary(max_size=300)))
EDITS = st.one_of(
    st.builds(ev.AddHeader, names, values),
    st.builds(ev.InsertHeader, st.integers(0, 2**31 - 1), names, values),
    st.builds(ev.ChangeHeader, st.integers(0, 2**31 - 1), names, values),
    st.builds(ev.ChangeFrom, line, line),
    st.builds(ev.AddRecipient, line),
    st.builds(ev.AddRecipientPar, line, line),
    st.builds(ev.DeleteRecipient, line),
    st.builds(ev.Quarantine, line),
    st.just(ev.Progress()),
)
REPLY_TEXTS = st.lists(line, min_size=1, max_size=5).map(
    lambda lines: b"\r\n".join(
        b"451%c4.7.1 %b" % (b" " if number == len(lines) else b"-", text) for number, text in enumerate(lines, 1)
    )
)
ANSWERS = st.one_of(
    st.builds(ev.ReplyCode, REPLY_TEXTS),
    st.sampled_from([ev.Continue(), ev.Accept(), ev.Reject(), ev.Discard(), ev.Tempfail(), ev.Shutdown()]),
)


@given(ENVELOPES, st.lists(EVENTS, max_size=10), BODIES, st.lists(EDITS, max_size=8), ANSWERS)
def test_whatever_one_end_says_the_other_reads(
    envelope: tuple[ev.Event, ...],
    headers: list[ev.Event],
    body: tuple[ev.Event, ...],
    edits: list[ev.Reply],
    last: ev.Reply,
) -> None:
    mta, gateway = pair()
    said = [*envelope, ev.Data(), *headers, ev.EndOfHeaders(), body[0]]
    assert tell(mta, gateway, *said) == said
    ask(mta, gateway, body[1])
    for edit in edits:
        answer(mta, gateway, edit)
    for chunk in (b"", b"\0\r\n", b"x" * c.DATA_BYTES_64K):
        answer(mta, gateway, ev.ReplaceBody(chunk))
    answer(mta, gateway, last)
    assert not mta.awaiting_reply
    assert not gateway.awaiting_reply


@given(st.lists(st.integers(0, 400), max_size=40))
def test_any_split_gives_the_same_events(cuts: list[int]) -> None:
    mta, whole = pair()
    _, pieces = pair()
    said = [*MESSAGE[:2], ev.Abort(), *MESSAGE[1:2], ev.Macros(c.SMFIC_HEADER, ((b"i", b"1"),)), *MESSAGE[3:]]
    data = b"".join(mta.send(event) for event in [*said, ev.Body(b"\0" * 150), ev.EndOfBody()])
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    got = [event for start, end in itertools.pairwise(edges) for event in take_all(pieces, data[start:end])]
    assert got == take_all(whole, data) == [*said, ev.Body(b"\0" * 150), ev.EndOfBody()]


def test_only_rcpt_and_end_of_message_wait_with_what_tamis_asks_for() -> None:
    mta, gateway = pair()
    waited = []
    for event in (*MESSAGE, ev.Body(b"x"), ev.Unknown(b"x"), ev.EndOfBody()):
        if isinstance(event, ev.Unknown):
            continue
        gateway.receive_data(mta.send(event))
        gateway.next_event()
        if gateway.awaiting_reply:
            waited.append(type(event))
            answer(mta, gateway, ev.Continue())
    assert waited == [ev.Recipient, ev.EndOfBody]


def test_the_body_lock_of_one_message_does_not_hold_in_the_next() -> None:
    mta, gateway = pair()
    tell(mta, gateway, *MESSAGE)
    ask(mta, gateway, ev.EndOfBody())
    answer(mta, gateway, ev.ReplaceBody(b"one"))
    answer(mta, gateway, ev.Quarantine(b"x"))
    with pytest.raises(LocalProtocolError):
        gateway.send(ev.ReplaceBody(b"two"))
    answer(mta, gateway, ev.Continue())
    tell(mta, gateway, *MESSAGE[1:])
    ask(mta, gateway, ev.EndOfBody())
    answer(mta, gateway, ev.ReplaceBody(b"new"))


def test_skip_holds_until_another_command() -> None:
    mta, gateway = pair(steps=c.SMFIP_SKIP)
    tell(mta, gateway, *MESSAGE[:3], *MESSAGE[4:])
    ask(mta, gateway, ev.Body(b"1"))
    answer(mta, gateway, ev.Skip())
    assert not mta.wants(c.SMFIC_BODY)
    assert mta.send(ev.Body(b"2")) == b""
    assert not mta.awaiting_reply
    assert mta.send(ev.Macros(c.SMFIC_BODY, ())) != b""
    assert mta.send(ev.Body(b"3")) == b""
    assert mta.send(ev.EndOfBody()) != b""
    assert mta.wants(c.SMFIC_BODY)


def test_a_refused_reply_changes_nothing() -> None:
    mta, gateway = pair(actions=c.SMFIF_ADDHDRS)
    tell(mta, gateway, *MESSAGE)
    ask(mta, gateway, ev.EndOfBody())
    for reply in (ev.ReplaceBody(b"x"), ev.AddHeader(b"X", b"a\0b"), ev.ReplyCode(b""), ev.AddHeader(b"X", b"\n")):
        with pytest.raises(LocalProtocolError):
            gateway.send(reply)
    answer(mta, gateway, ev.AddHeader(b"X", b" y"))
    answer(mta, gateway, ev.Continue())


def test_a_reply_larger_than_the_negotiated_data_size_is_refused() -> None:
    mta, gateway = pair()
    tell(mta, gateway, *MESSAGE)
    ask(mta, gateway, ev.EndOfBody())
    for reply in (
        ev.ReplaceBody(b"x" * (c.DATA_BYTES_64K + 1)),
        ev.AddHeader(b"X", b"x" * c.DATA_BYTES_64K),
        ev.ReplyCode(b"\r\n".join([b"550-5.7.1 x"] * 40 + [b"550 5.7.1 x"])),
        ev.ReplyCode(b"550 5.7.1 " + b"x" * 1000),
        ev.ChangeHeader(1 << 31, b"X", b""),
        ev.InsertHeader(-1, b"X", b""),
    ):
        with pytest.raises(LocalProtocolError):
            gateway.send(reply)


@pytest.mark.parametrize(
    ("steps", "frame_bytes"),
    [(0, c.DATA_BYTES_64K), (c.SMFIP_MDS_256K, c.DATA_BYTES_256K), (c.SMFIP_MDS_1M, c.DATA_BYTES_64K)],
)
def test_the_negotiated_data_size_bounds_body_chunks(steps: int, frame_bytes: int) -> None:
    mta, gateway = pair(steps=steps)
    tell(mta, gateway, *MESSAGE[:3], *MESSAGE[4:])
    assert tell(mta, gateway, ev.Body(b"x" * frame_bytes)) == [ev.Body(b"x" * frame_bytes)]
    with pytest.raises(LocalProtocolError):
        mta.send(ev.Body(b"x" * (frame_bytes + 1)))


def test_a_postfix_header_of_header_size_limit_passes_with_any_data_size() -> None:
    mta, gateway = pair(steps=0)
    tell(mta, gateway, *ENVELOPE)
    field = ev.Header(b"X-Long", b"x" * 102_400)
    assert tell(mta, gateway, field) == [field]


@pytest.mark.parametrize("claim", [0, 65_535 + 128 * 1024 + 2, 1 << 31, 0xFFFFFFFF])
def test_a_claimed_length_out_of_bounds_is_refused_before_the_payload_comes(claim: int) -> None:
    _, gateway = pair()
    gateway.receive_data(claim.to_bytes(4))
    with pytest.raises(RemoteProtocolError):
        gateway.next_event()


def test_the_largest_allowed_claim_only_waits() -> None:
    _, gateway = pair()
    gateway.receive_data((65_535 + 128 * 1024 + 1).to_bytes(4) + b"D")
    assert gateway.next_event() is NEED_DATA


SMALL = Limits(
    frame_slack_bytes=0,
    macros_max=2,
    recipients_max=2,
    address_bytes_max=20,
    esmtp_args_max=2,
    envelope_bytes_max=70,
    headers_max=3,
    header_bytes_max=100,
    message_bytes_max=10,
)
ADDRESS = b"<" + b"a" * 18 + b">"


@pytest.mark.parametrize(
    "events",
    [
        (CONNECT, ev.Macros(c.SMFIC_MAIL, ((b"a", b"1"), (b"b", b"2"), (b"c", b"3")))),
        (CONNECT, ev.Mail(ADDRESS + b"x")),
        (CONNECT, ev.Mail(ADDRESS, (b"1", b"2", b"3"))),
        (CONNECT, MAIL, ev.Recipient(ADDRESS + b"x")),
        (CONNECT, MAIL, ev.Recipient(b"1"), ev.Recipient(b"2"), ev.Recipient(b"3")),
        (CONNECT, ev.Mail(b"", (b"x" * 70,))),
        (CONNECT, MAIL, *[ev.Header(b"X", b"")] * 4),
        (CONNECT, MAIL, *[ev.Header(b"X", b"x" * 48)] * 2),
        (CONNECT, MAIL, ev.EndOfHeaders(), ev.Body(b"x" * 11)),
        (CONNECT, MAIL, ev.EndOfHeaders(), ev.Body(b"x" * 10), ev.EndOfBody(b"x")),
    ],
    ids=repr,
)
def test_one_more_than_the_limit_is_refused(events: tuple[ev.Event, ...]) -> None:
    mta, gateway = pair(limits=SMALL)
    tell(mta, gateway, *events[:-1])
    gateway.receive_data(mta.send(events[-1]))
    with pytest.raises(LimitExceeded):
        gateway.next_event()


@pytest.mark.parametrize("end", [ev.Abort(), ev.EndOfBody(), ev.QuitNewConnection()])
def test_limits_hold_per_message_when_mail_is_declined_too(end: ev.Event) -> None:
    gateway = FilterConnection(SMALL)
    mta = MtaConnection()
    gateway.receive_data(mta.send(ev.Negotiate(6, c.ALL_ACTIONS, c.OFFERED_STEPS)))
    gateway.next_event()
    mta.receive_data(gateway.send(ev.Negotiated(6, 0, c.SMFIP_NOMAIL | c.SMFIP_NOCONNECT)))
    mta.next_event()
    message = [ev.Recipient(b"1"), ev.Recipient(b"2"), ev.EndOfHeaders(), ev.Body(b"x" * 10), end]
    assert tell(mta, gateway, *message, *message) == [*message, *message]


def test_limits_hold_per_message_not_per_connection() -> None:
    mta, gateway = pair(limits=SMALL)
    message = [
        ev.Macros(c.SMFIC_MAIL, ((b"a", b"1"), (b"b", b"2"))),
        ev.Mail(ADDRESS, (b"1", b"2")),
        ev.Recipient(b"1"),
        ev.Recipient(ADDRESS),
        ev.Header(b"X", b"x" * 50),
        ev.Header(b"X", b""),
        ev.Header(b"X", b""),
        ev.EndOfHeaders(),
        ev.Body(b"x" * 10),
        ev.EndOfBody(),
    ]
    said = [CONNECT, *message, *message, ev.Abort(), *message[:-3], ev.Abort(), *message, ev.QuitNewConnection()]
    assert tell(mta, gateway, *said, CONNECT, *message) == [*said, CONNECT, *message]


SMALL_PAYLOADS = [
    *[symbol * length for length in range(32) for symbol in (b"\0", b"\xff")],
    *[b"a\0" * length for length in range(16)],
    *[b"\0a" * length for length in range(16)],
    *[b"h\x004\0\x19" + b"1" * length + b"\0" for length in range(4)],
]


@pytest.mark.parametrize("command", range(256))
def test_no_small_payload_makes_anything_but_a_remote_protocol_error(command: int) -> None:
    for payload in SMALL_PAYLOADS:
        frame = encode_frame(command, payload)
        for peer in (FilterConnection(), at_envelope(), at_body(), at_end()):
            peer.receive_data(frame)
            with contextlib.suppress(RemoteProtocolError):
                peer.next_event()


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_random_bytes_make_nothing_but_a_remote_protocol_error(chunks: list[bytes]) -> None:
    gateway = at_envelope()
    for chunk in chunks:
        gateway.receive_data(chunk)
        try:
            while gateway.next_event() is not NEED_DATA:
                if gateway.awaiting_reply:
                    gateway.send(ev.Continue())
        except RemoteProtocolError:
            return


def at_envelope() -> FilterConnection:
    mta, gateway = pair()
    tell(mta, gateway, CONNECT, MAIL, RECIPIENT)
    return gateway


def at_body() -> FilterConnection:
    mta, gateway = pair()
    tell(mta, gateway, *MESSAGE)
    return gateway


def at_end() -> MtaConnection:
    mta, gateway = pair()
    tell(mta, gateway, *MESSAGE)
    mta.send(ev.EndOfBody())
    return mta


def test_the_mta_end_refuses_to_break_the_order() -> None:
    for before, event in [
        ((), MAIL),
        (ENVELOPE, ev.Body(b"x")),
        (MESSAGE, ev.Header(b"X", b"y")),
        (MESSAGE, MAIL),
        ((*MESSAGE, ev.EndOfBody()), ev.Recipient(b"x")),
        ((CONNECT, ev.Quit()), MAIL),
    ]:
        mta, gateway = pair()
        tell(mta, gateway, *before)
        with pytest.raises(LocalProtocolError):
            mta.send(event)


def test_a_reply_that_nobody_waits_for_is_the_filters_fault() -> None:
    mta, gateway = pair()
    tell(mta, gateway, *ENVELOPE)
    mta.receive_data(raw("c"))
    with pytest.raises(RemoteProtocolError):
        mta.next_event()


def test_an_edit_that_was_not_negotiated_is_the_filters_fault() -> None:
    mta, gateway = pair(actions=c.SMFIF_ADDHDRS)
    tell(mta, gateway, *MESSAGE)
    mta.send(ev.EndOfBody())
    mta.receive_data(raw("+", b"<a@b>\0"))
    with pytest.raises(RemoteProtocolError):
        mta.next_event()
