"""Header fields taken in a run are those that come one by one: `take_fields` is `next_event` for many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.milter import NEED_DATA, FilterConnection, LimitExceeded, Limits, MtaConnection, RemoteProtocolError, State
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.frames import encode_frame

BYTES = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b""))
FIELDS = st.lists(st.tuples(BYTES, BYTES), min_size=1, max_size=12)
MACROS = ev.Macros(c.SMFIC_HEADER, ((b"i", b"4ABC"),))


def in_content(limits: Limits = Limits(), steps: int = c.OFFERED_STEPS) -> tuple[MtaConnection, FilterConnection]:  # noqa: B008
    """Both ends after MAIL."""
    mta, gateway = MtaConnection(), FilterConnection(limits)
    gateway.receive_data(mta.send(ev.Negotiate(6, c.ALL_ACTIONS, steps)))
    offered = gateway.next_event()
    assert isinstance(offered, ev.Negotiate)
    mta.receive_data(gateway.send(gateway.negotiate(offered)))
    mta.next_event()
    for event in (ev.Connect(b"h", c.SMFIA_INET, 1, b"192.0.2.1"), ev.Helo(b"h"), ev.Mail(b"<>")):
        gateway.receive_data(mta.send(event))
        gateway.next_event()
        if gateway.awaiting_reply:
            mta.receive_data(gateway.send(ev.Continue()))
            mta.next_event()
    return mta, gateway


def taken(gateway: FilterConnection) -> list[tuple[bytes, bytes]]:
    """What a driver gets: runs where they come, single events else."""
    fields: list[tuple[bytes, bytes]] = []
    while True:
        fields += gateway.take_fields()
        event = gateway.next_event()
        if event is NEED_DATA:
            return fields
        if isinstance(event, ev.Header):
            fields.append((event.name, event.value))


@given(FIELDS, st.sampled_from([[], [MACROS]]), st.integers(1, 60))
def test_a_run_holds_what_came_in_any_pieces(
    fields: list[tuple[bytes, bytes]], macros: list[ev.Macros], piece_bytes: int
) -> None:
    mta, gateway = in_content()
    data = b"".join(b"".join(map(mta.send, [*macros, ev.Header(name, value)])) for name, value in fields)
    got: list[tuple[bytes, bytes]] = []
    for start in range(0, len(data), piece_bytes):
        gateway.receive_data(data[start : start + piece_bytes])
        got += taken(gateway)
    assert got == fields
    assert not gateway.mid_frame


def test_a_run_ends_before_any_other_command() -> None:
    mta, gateway = in_content()
    gateway.receive_data(
        mta.send(ev.Header(b"A", b"1")) + mta.send(ev.Header(b"B", b"2")) + mta.send(ev.EndOfHeaders())
    )
    assert gateway.next_event() == ev.Header(b"A", b"1")
    assert gateway.take_fields() == [(b"B", b"2")]
    assert gateway.take_fields() == []
    assert gateway.next_event() == ev.EndOfHeaders()


def test_other_macros_than_the_last_ones_are_not_skipped() -> None:
    mta, gateway = in_content()
    others = ev.Macros(c.SMFIC_HEADER, ((b"i", b"4XYZ"),))
    gateway.receive_data(b"".join(map(mta.send, (MACROS, ev.Header(b"A", b"1"), others, ev.Header(b"B", b"2")))))
    assert gateway.next_event() == MACROS
    assert gateway.next_event() == ev.Header(b"A", b"1")
    assert gateway.take_fields() == []
    assert gateway.next_event() == others


def test_no_run_where_the_mta_waits_for_each_field() -> None:
    mta, gateway = in_content(steps=0)
    gateway.receive_data(mta.send(ev.Header(b"A", b"1")))
    assert gateway.take_fields() == []
    assert gateway.next_event() == ev.Header(b"A", b"1")


@pytest.mark.parametrize("payload", [b"", b"A", b"A\0", b"A\x001", b"A\x001\0x", b"A\x001\0\0"])
def test_a_malformed_field_in_a_run_closes_the_conversation(payload: bytes) -> None:
    mta, gateway = in_content()
    gateway.receive_data(mta.send(ev.Header(b"A", b"1")) + encode_frame(c.SMFIC_HEADER, payload))
    gateway.next_event()
    with pytest.raises(RemoteProtocolError):
        gateway.take_fields()
    assert gateway.state is State.CLOSED


@pytest.mark.parametrize("limits", [Limits(headers_max=3), Limits(header_bytes_max=30)])
def test_a_run_is_counted_against_the_limits(limits: Limits) -> None:
    mta, gateway = in_content(limits)
    gateway.receive_data(b"".join(mta.send(ev.Header(b"Name", b"value")) for _ in range(4)))
    gateway.next_event()
    with pytest.raises(LimitExceeded):
        gateway.take_fields()


def test_a_frame_that_claims_too_much_is_left_for_next_event_to_refuse() -> None:
    mta, gateway = in_content()
    gateway.receive_data(mta.send(ev.Header(b"A", b"1")) + b"\xff\xff\xff\xffL")
    gateway.next_event()
    assert gateway.take_fields() == []
    with pytest.raises(RemoteProtocolError):
        gateway.next_event()
