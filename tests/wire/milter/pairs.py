"""Both ends of a conversation, brought to any point of it; the two ends know each other only as bytes."""

from wire.milter import NEED_DATA, FilterConnection, Limits, MtaConnection
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.frames import encode_frame

CONNECT = ev.Connect(b"mail.example.com", c.SMFIA_INET, 25, b"192.0.2.7")
MAIL = ev.Mail(b"<alice@example.com>", (b"SIZE=1",))
RECIPIENT = ev.Recipient(b"<bob@example.org>")
ENVELOPE: tuple[ev.Event, ...] = (CONNECT, MAIL, RECIPIENT)
MESSAGE: tuple[ev.Event, ...] = (*ENVELOPE, ev.Data(), ev.Header(b"Subject", b" x"), ev.EndOfHeaders())


def pair(
    version: int = 6, actions: int = c.ALL_ACTIONS, steps: int = c.OFFERED_STEPS, limits: Limits | None = None
) -> tuple[MtaConnection, FilterConnection]:
    """After negotiation."""
    mta, gateway = MtaConnection(), FilterConnection(limits or Limits())
    gateway.receive_data(mta.send(ev.Negotiate(version, actions, steps)))
    offer = gateway.next_event()
    assert isinstance(offer, ev.Negotiate)
    mta.receive_data(gateway.send(gateway.negotiate(offer)))
    assert isinstance(mta.next_event(), ev.Negotiated)
    return mta, gateway


def tell(mta: MtaConnection, gateway: FilterConnection, *events: ev.Event) -> list[object]:
    """Say events, answering Continue where an answer is due; returns what the filter saw."""
    seen: list[object] = []
    for event in events:
        gateway.receive_data(mta.send(event))
        seen.append(gateway.next_event())
        if gateway.awaiting_reply:
            answer(mta, gateway, ev.Continue())
    return seen


def ask(mta: MtaConnection, gateway: FilterConnection, event: ev.Event) -> None:
    """Say one event and leave its answer open."""
    gateway.receive_data(mta.send(event))
    assert gateway.next_event() == event
    assert gateway.awaiting_reply


def answer(mta: MtaConnection, gateway: FilterConnection, reply: ev.Reply) -> None:
    """Reply, and see that the MTA read the same."""
    mta.receive_data(gateway.send(reply))
    assert mta.next_event() == reply


def take_all(gateway: FilterConnection, data: bytes) -> list[object]:
    """Feed bytes at once; everything that comes out (no answers are given)."""
    gateway.receive_data(data)
    events: list[object] = []
    while (event := gateway.next_event()) is not NEED_DATA:
        events.append(event)
    return events


def raw(command: str, payload: bytes = b"") -> bytes:
    return encode_frame(ord(command), payload)
