"""Framing: claimed lengths are judged before anything is kept."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.milter import RemoteProtocolError
from wire.milter.frames import FrameReader, encode_frame

PAYLOAD_MAX = 100


def all_frames(reader: FrameReader) -> list[tuple[int, bytes]]:
    frames = []
    while (frame := reader.next_frame()) is not None:
        frames.append(frame)
    return frames


@pytest.mark.parametrize("payload_bytes", [0, 1, PAYLOAD_MAX])
def test_a_frame_up_to_the_maximum_is_read(payload_bytes: int) -> None:
    reader = FrameReader(PAYLOAD_MAX)
    reader.feed(encode_frame(ord("B"), b"x" * payload_bytes))
    assert reader.next_frame() == (ord("B"), b"x" * payload_bytes)
    assert reader.next_frame() is None


@pytest.mark.parametrize("length", [0, PAYLOAD_MAX + 2, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_length_out_of_bounds_is_refused_at_its_fourth_byte(length: int) -> None:
    reader = FrameReader(PAYLOAD_MAX)
    head = length.to_bytes(4)
    reader.feed(head[:3])
    assert reader.next_frame() is None
    reader.feed(head[3:])
    with pytest.raises(RemoteProtocolError):
        reader.next_frame()
    assert reader.waiting_bytes == 4


@pytest.mark.parametrize("length", [0, PAYLOAD_MAX + 2, 0xFFFFFFFF])
def test_a_length_out_of_bounds_is_refused_with_its_payload_behind_it(length: int) -> None:
    reader = FrameReader(PAYLOAD_MAX)
    reader.feed(encode_frame(ord("A")) + length.to_bytes(4) + b"Bxxxx")
    assert reader.next_frame() == (ord("A"), b"")
    with pytest.raises(RemoteProtocolError):
        reader.next_frame()


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=20),
    st.lists(st.integers(0, 2000), max_size=30),
)
def test_any_split_of_a_stream_gives_the_same_frames(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(command, payload) for command, payload in frames)
    reader = FrameReader(PAYLOAD_MAX)
    got = []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        reader.feed(stream[start:end])
        got += all_frames(reader)
    assert got == frames
    assert reader.waiting_bytes == 0


def test_consumed_bytes_are_not_kept() -> None:
    reader = FrameReader(1000)
    frame = encode_frame(ord("B"), b"x" * 999)
    stream = frame * 1000
    for start in range(0, len(stream), 1001):
        reader.feed(stream[start : start + 1001])
        all_frames(reader)
        assert len(reader._buffer) < 100_000


@pytest.mark.parametrize("early_bytes", [0, 1, 3, 4, 5, 500])
def test_consumed_bytes_are_not_kept_however_much_of_the_next_frame_is_there(early_bytes: int) -> None:
    reader = FrameReader(1000)
    stream = encode_frame(ord("B"), b"x" * 995) * 1000
    position = 0
    for end in range(1000 + early_bytes, len(stream), 1000):
        reader.feed(stream[position:end])
        position = end
        assert len(all_frames(reader)) == 1
        assert len(reader._buffer) < 100_000
