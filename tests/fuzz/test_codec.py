"""The fuzzer's properties, on its seeds and on broken codecs; `make fuzz` goes on from there."""

import pytest

from tests.fuzz.properties import check
from tests.fuzz.seeds import seeds
from wire.milter import connection, frames, readers
from wire.milter import constants as c

SEEDS = dict(seeds())


def test_every_dialog_holds_in_any_pieces_with_any_limits() -> None:
    assert len(SEEDS) >= 150
    for data in SEEDS.values():
        check(data)


def test_every_dialog_cut_short_or_damaged_holds_too() -> None:
    for data in SEEDS.values():
        for at in range(8, len(data), 29):
            check(data[:at])
            check(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])


def play_all() -> None:
    for data in SEEDS.values():
        check(data)


def test_a_reader_with_another_exception_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.COMMAND_READERS, c.SMFIC_HELO, lambda _payload: 1 // 0)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        play_all()


def test_a_run_that_reads_other_fields_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "read_pair", lambda payload, what: readers.read_pair(payload, what)[::-1])
    with pytest.raises(AssertionError):
        play_all()


def test_a_buffer_that_is_never_emptied_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames.FrameReader, "_drop_consumed", lambda _self: None)
    offer = c.SMFIC_OPTNEG.to_bytes() + (6).to_bytes(4) + bytes(8)
    hello = b"\0\0\0\2H\0"
    data = bytes(8) + len(offer).to_bytes(4) + offer + b"\0\0\0\4CU" + hello * 200_000
    with pytest.raises(AssertionError):
        check(data.replace(b"\0\0\0\4CU", b"\0\0\0\3C\0U"))
