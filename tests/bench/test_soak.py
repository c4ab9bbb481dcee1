"""The soak: what one session says, and the line through its samples."""

import asyncio

import pytest

from bench.soak import Session, slope
from wire.milter import NEED_DATA, FilterConnection, Wanted
from wire.milter import events as ev


class Wire:
    """A filter in memory, as the transport of a session."""

    def __init__(self, final: ev.Reply = ev.Accept(), at_recipient: ev.Reply = ev.Continue()) -> None:  # noqa: B008
        self.events: list[ev.Event] = []
        self.closed = False
        self._filter = FilterConnection(offer=Wanted())
        self._replies = {ev.Recipient: at_recipient, ev.EndOfBody: final}
        self.session: Session | None = None

    def write(self, data: bytes) -> None:
        self._filter.receive_data(data)
        while (event := self._filter.next_event()) is not NEED_DATA:
            self.events.append(event)
            if isinstance(event, ev.Negotiate):
                self._say(self._filter.negotiate(event))
            elif self._filter.awaiting_reply:
                self._say(self._replies[type(event)])

    def _say(self, reply: ev.Reply) -> None:
        answer = self._filter.send(reply)
        assert self.session is not None
        asyncio.get_running_loop().call_soon(self.session.data_received, answer)

    def close(self) -> None:
        self.closed = True


async def played(wire: Wire) -> bool:
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    wire.session = Session(done)
    wire.session.connection_made(wire)  # type: ignore[arg-type]
    return await done


async def test_a_session_is_one_accepted_message_from_negotiation_to_quit() -> None:
    wire = Wire()
    assert await played(wire)
    words = [type(event).__name__ for event in wire.events if not isinstance(event, ev.Macros | ev.Header)]
    assert words == [
        *["Negotiate", "Connect", "Helo", "Mail", "Recipient"],
        *["Data", "EndOfHeaders", "Body", "EndOfBody", "Quit"],
    ]
    assert wire.closed


@pytest.mark.parametrize("wire", [Wire(final=ev.Tempfail()), Wire(at_recipient=ev.Reject())])
async def test_a_session_that_is_not_accepted_has_failed(wire: Wire) -> None:
    assert not await played(wire)


async def test_a_lost_connection_has_failed() -> None:
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    wire = Wire()
    wire.session = Session(done)
    wire.session.connection_made(wire)  # type: ignore[arg-type]
    wire.session.connection_lost(None)
    assert not await done


def test_the_slope_is_bytes_per_session() -> None:
    assert slope([(n, 5_000_000 + 3 * n) for n in (0, 100, 250, 900)]) == pytest.approx(3)
    assert slope([(n, 5_000_000) for n in (0, 100, 250)]) == 0
    assert slope([(1, 5)]) == 0
