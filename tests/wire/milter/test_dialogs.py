"""The dialogs of tests/dialogs, played by both ends of the codec against each other."""

import pytest

from tests.dialogs.dialog import DIALOGS, WAYS, Dialog, Line, dialogs, encode, read
from wire.milter import (
    NEED_DATA,
    FilterConnection,
    LocalProtocolError,
    MtaConnection,
    RemoteProtocolError,
    State,
)
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.states import REQUIRED_ACTION, unknown
from wire.milter.writers import COMMAND_WRITERS, REPLY_WRITERS


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


@pytest.mark.parametrize("dialog", dialogs("codec"), ids=lambda dialog: dialog.name)
def test_both_ends_agree_on_every_line_of(dialog: Dialog) -> None:
    table = Table()
    for line in dialog.lines:
        try:
            table.play(line)
        except Exception as error:
            raise AssertionError(f"{dialog.name}.dialog:{line.number}: {error}") from error
    assert table.broken or table.gateway.state is State.CLOSED


def test_what_cannot_be_played_is_counted_and_says_why() -> None:
    """`pytest -s -k cannot_be_played` shows the list."""
    for dialog in map(read, DIALOGS):
        for way, why in dialog.refusals.items():
            print(f"{way}: {dialog.name}: {why}")  # noqa: T201
    assert {way: len(dialogs(way)) for way in WAYS} == {"codec": 45, "gateway": 30, "postfix": 22}


def version_of(dialog: Dialog) -> int:
    return next((line.value.version for line in dialog.lines if isinstance(line.value, ev.Negotiated)), 0)


@pytest.mark.parametrize("version", [2, 3, 4, 6])
def test_every_command_reply_and_action_of_a_version_is_in_a_dialog_of_it(version: int) -> None:
    lines = [line for dialog in map(read, DIALOGS) if version_of(dialog) == version for line in dialog.lines]
    commands = {COMMAND_WRITERS[type(line.value)][0] for line in lines if line.side == "M"}
    assert commands == set(c.COMMAND_NAMES) - unknown(version)
    replies = {REPLY_WRITERS[type(line.value)][0] for line in lines if line.side == "F"}
    newer = {c.SMFIR_ADDRCPT_PAR, c.SMFIR_CHGFROM, c.SMFIR_SKIP} if version < 6 else set()
    assert replies == {code for code, _ in REPLY_WRITERS.values()} - newer
    used = {REQUIRED_ACTION[type(line.value)] for line in lines if type(line.value) in REQUIRED_ACTION}
    assert used >= {action for kind, action in REQUIRED_ACTION.items() if REPLY_WRITERS[kind][0] not in newer}
    if version == 6:
        assert any(isinstance(line.value, ev.Negotiated) and line.value.symlists for line in lines)
