"""wire/stream.py: frames, the adaptive writer, credit."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.stream import (
    BULK_FRAME_BYTES_MAX,
    CHANNEL_OPTIONS,
    CROWDED_S,
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    GATHER_TICKS,
    AdaptiveWriter,
    Credit,
    FrameCutter,
    FrameTooLong,
    Outbox,
    frame_head,
)


@given(st.lists(st.integers(0, 2 * FRAME_BYTES_MAX), max_size=600))
def test_frames_keep_order_and_bounds_and_lose_nothing(sizes: list[int]) -> None:
    outbox: Outbox[int] = Outbox(items_max=10_000, bytes_max=10**12)
    for number, size in enumerate(sizes):
        assert outbox.put(number, size)
    seen: list[int] = []
    while frame := outbox.take():
        assert len(frame) <= FRAME_ITEMS_MAX
        assert len(frame) == 1 or sum(sizes[number] for number in frame) <= FRAME_BYTES_MAX
        seen += frame
    assert seen == list(range(len(sizes)))
    assert outbox.waiting_bytes == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, FRAME_BYTES_MAX)), max_size=300))
def test_bulk_goes_behind_all_else_in_small_frames_and_never_starves(items: list[tuple[bool, int]]) -> None:
    outbox: Outbox[int] = Outbox(items_max=10_000, bytes_max=10**12)
    for number, (bulk, size_bytes) in enumerate(items):
        outbox.put(number, size_bytes, bulk=bulk)
    left = {bulk: [number for number, item in enumerate(items) if item[0] is bulk] for bulk in (False, True)}
    while frame := outbox.take():
        bulk = [number for number in frame if items[number][0]]
        assert frame == [number for number in frame if not items[number][0]] + bulk
        assert bool(bulk) == bool(left[True])
        assert len(bulk) <= 1 or sum(items[number][1] for number in frame) <= BULK_FRAME_BYTES_MAX
        assert len(frame) <= FRAME_ITEMS_MAX + 1
        for number in frame:
            assert left[items[number][0]].pop(0) == number
    assert left == {False: [], True: []}
    assert (len(outbox), outbox.waiting_bytes) == (0, 0)


def test_a_full_outbox_refuses_and_an_empty_one_takes_any_single_item() -> None:
    by_bytes: Outbox[str] = Outbox(items_max=10, bytes_max=100)
    assert by_bytes.put("larger than the bound", 1000)
    assert not by_bytes.put("one more", 1)
    by_items: Outbox[str] = Outbox(items_max=1, bytes_max=100)
    assert by_items.put("first", 1)
    assert not by_items.put("second", 1)
    assert by_items.take() == ["first"]
    assert by_items.put("third", 1)


async def turns_of_the_loop() -> None:
    """Enough for a writer that may write to have written."""
    for _ in range(GATHER_TICKS + 2):
        await asyncio.sleep(0)


def recording(crowd_items: int = FRAME_ITEMS_MAX + 1) -> tuple[list[list[str]], AdaptiveWriter[str]]:
    """The frames so far, and the writer that writes them."""
    frames: list[list[str]] = []

    async def write(frame: list[str]) -> None:
        frames.append(frame)

    return frames, AdaptiveWriter(write, crowd_items=crowd_items)


async def test_what_comes_within_a_few_turns_of_the_loop_shares_a_frame() -> None:
    frames, writer = recording()
    task = asyncio.create_task(writer.run())
    writer.send("a", 1)
    await asyncio.sleep(0)
    writer.send("b", 1)
    await turns_of_the_loop()
    assert frames == [["a", "b"]]
    task.cancel()


async def test_an_idle_writer_sends_alone_and_a_busy_one_collects() -> None:
    frames: list[list[str]] = []
    gate = asyncio.Event()

    async def write(frame: list[str]) -> None:
        frames.append(frame)
        await gate.wait()

    writer: AdaptiveWriter[str] = AdaptiveWriter(write)
    task = asyncio.create_task(writer.run())
    writer.send("a", 1)
    await turns_of_the_loop()
    assert frames == [["a"]]
    for item in ("b", "c", "d"):
        writer.send(item, 1)
    await turns_of_the_loop()
    assert frames == [["a"]]
    assert writer.waiting_bytes == 3
    gate.set()
    await turns_of_the_loop()
    assert frames == [["a"], ["b", "c", "d"]]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_after_a_crowded_frame_the_next_one_waits_for_company() -> None:
    frames, writer = recording(crowd_items=2)
    task = asyncio.create_task(writer.run())
    for sent in (["a"], ["b"], ["c", "d"]):
        for item in sent:
            writer.send(item, 1)
        await turns_of_the_loop()
    assert frames == [["a"], ["b"], ["c", "d"]], "who sends little waits for nobody"
    for item in ("e", "f"):
        writer.send(item, 1)
        await turns_of_the_loop()
    assert len(frames) == 3
    await asyncio.sleep(CROWDED_S)
    await turns_of_the_loop()
    assert frames[3:] == [["e", "f"]]
    task.cancel()


async def test_bulk_that_fills_frames_is_no_crowd() -> None:
    frames, writer = recording(crowd_items=2)
    task = asyncio.create_task(writer.run())
    for _ in range(6):
        writer.send("chunk", BULK_FRAME_BYTES_MAX // 2, bulk=True)
    for _ in range(3):
        await turns_of_the_loop()
    assert [len(frame) for frame in frames] == [2, 2, 2]
    task.cancel()


async def test_what_write_raises_ends_the_writer() -> None:
    async def write(_frame: list[str]) -> None:
        raise ConnectionResetError

    writer: AdaptiveWriter[str] = AdaptiveWriter(write)
    writer.send("a", 1)
    with pytest.raises(ConnectionResetError):
        await writer.run()


@given(st.integers(0, 1000), st.lists(st.tuples(st.booleans(), st.integers(0, 500))))
def test_credit_is_never_overdrawn(initial: int, steps: list[tuple[bool, int]]) -> None:
    credit = Credit(initial)
    granted, spent = initial, 0
    for is_grant, amount in steps:
        if is_grant:
            credit.grant(amount)
            granted += amount
        else:
            allowed = credit.spend(amount)
            assert 0 <= allowed <= amount
            spent += allowed
        assert credit.left_bytes == granted - spent >= 0


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 50)))
def test_payloads_come_out_whole_however_the_bytes_are_cut(payloads: list[bytes], cuts: list[int]) -> None:
    cutter, seen, position = FrameCutter(300), [], 0
    data = b"".join(frame_head(len(payload)) + payload for payload in payloads)
    for cut in [*cuts, len(data)]:
        seen += cutter.receive(data[position : position + cut])
        position += cut
    assert seen == payloads


def test_a_frame_that_is_too_long_is_refused_by_its_head() -> None:
    cutter = FrameCutter(300)
    assert cutter.receive(frame_head(300)[:3]) == []
    with pytest.raises(FrameTooLong, match="4294967295 bytes"):
        FrameCutter(300).receive(b"\xff\xff\xff\xff")
    with pytest.raises(FrameTooLong, match="301 bytes"):
        FrameCutter(300).receive(frame_head(2) + b"ab" + frame_head(301))


def test_a_server_with_our_options_takes_the_pings_of_a_client_with_our_options() -> None:
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.http2.min_recv_ping_interval_without_data_ms"] < options["grpc.keepalive_time_ms"]
    assert options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"] < 5_000
    assert len(options) == len(CHANNEL_OPTIONS)
