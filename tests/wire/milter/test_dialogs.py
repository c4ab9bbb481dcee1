"""The dialogs of tests/dialogs, played by both ends of the codec against each other."""

from pathlib import Path

import pytest

from tests.dialogs.dialog import Line, encode, read
from wire.milter import (
    NEED_DATA,
    FilterConnection,
    LocalProtocolError,
    MtaConnection,
    RemoteProtocolError,
    State,
)

DIALOGS = sorted((Path(__file__).parents[2] / "dialogs").glob("*.dialog"))


class Table:
    """Both ends, every byte passed on alone."""

    def __init__(self) -> None:
        self.mta = MtaConnection()
        self.gateway = FilterConnection()
        self.broken = False

    def play(self, line: Line) -> None:
        {"M": self.mta_says, "F": self.filter_says, "X": self.mta_breaks_a_rule, "N": self.filter_may_not_say}[
            line.side
        ](line.value)

    def mta_says(self, event: object) -> None:
        assert not self.broken
        data = self.mta.send(event)
        assert data, "the filter declined this"
        assert feed_filter(self.gateway, data) == [event]
        assert self.gateway.awaiting_reply == self.mta.awaiting_reply

    def filter_says(self, reply: object) -> None:
        data = self.gateway.send(reply)
        assert self.mta.next_event() is NEED_DATA
        got = []
        for byte in data:
            self.mta.receive_data(bytes((byte,)))
            got.append(self.mta.next_event())
        assert got[:-1] == [NEED_DATA] * (len(data) - 1)
        assert got[-1] == reply
        assert self.gateway.awaiting_reply == self.mta.awaiting_reply

    def mta_breaks_a_rule(self, value: object) -> None:
        with pytest.raises(RemoteProtocolError):
            feed_filter(self.gateway, encode(value))
        assert self.gateway.state is State.CLOSED
        self.broken = True

    def filter_may_not_say(self, reply: object) -> None:
        due = self.gateway.awaiting_reply
        with pytest.raises(LocalProtocolError):
            self.gateway.send(reply)
        assert self.gateway.awaiting_reply == due


def feed_filter(gateway: FilterConnection, data: bytes) -> list[object]:
    events: list[object] = []
    for byte in data:
        gateway.receive_data(bytes((byte,)))
        event = gateway.next_event()
        if event is not NEED_DATA:
            events.append(event)
    return events


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_both_ends_agree_on_every_line_of(path: Path) -> None:
    table = Table()
    for line in read(path):
        try:
            table.play(line)
        except Exception as error:
            raise AssertionError(f"{path.name}:{line.number}: {error}") from error
    assert table.broken or table.gateway.state is State.CLOSED


def test_there_are_dialogs_to_play() -> None:
    assert len(DIALOGS) >= 15
