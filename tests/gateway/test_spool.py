import asyncio
import errno
import gc
import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from gateway.body import Body
from gateway.failure_policy import OnFailureConfig
from gateway.spool import STORE_S, THREADS, WAITING_MAX, Spool, SpoolConfig, SpoolFailed, SpoolFile, probe
from gateway.transaction import Failure
from tests.gateway.fake_ingress import Cell, FakeIngress, silent
from tests.gateway.mta import Mail
from tests.gateway.rig import LogLines, in_place, rigged
from wire.milter import constants as c
from wire.milter import events as ev

MEBIBYTE = 1024 * 1024
UNAVAILABLE = ev.ReplyCode(b"451 4.7.1 Mail filter is not available, please try again later")


def body_of(*chunks: bytes) -> Body:
    body = Body()
    for chunk in chunks:
        body.append(chunk)
    return body


def spool_in(directory: Path, bytes_max: int = MEBIBYTE) -> Spool:
    return Spool(SpoolConfig(directory=str(directory), bytes_max=bytes_max), in_place)


def release(gate: threading.Event, stuck: "list[asyncio.Future[object]]") -> None:
    """The disk works again; a virtual clock waits for no thread, so nobody hears of it."""
    for one in stuck:
        one.cancel()
    gate.set()


def hangs(_work: Callable[[], object]) -> "asyncio.Future[object]":
    return asyncio.get_running_loop().create_future()


async def test_a_stored_body_reads_as_it_came_and_its_file_has_no_name(tmp_path: Path) -> None:
    spool, body = spool_in(tmp_path), body_of(b"abc", b"def")
    assert await spool.store(body) == 6
    body.append(b"ghi")
    assert await spool.store(body) == 3
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - memory of the file system
    assert (body.memory_bytes, spool.total_bytes) == (0, 9)
    seen: list[bytes | None] = []
    body.fetch(2, lambda: seen.append(body.piece(2, 100)))
    await asyncio.sleep(0)
    assert seen == [b"cdefghi"]
    body.release()
    assert spool.total_bytes == 0


async def test_the_spool_has_a_bound_and_a_released_body_makes_room(tmp_path: Path) -> None:
    spool, first, second = spool_in(tmp_path, bytes_max=5), body_of(b"abc"), body_of(b"def")
    await spool.store(first)
    with pytest.raises(SpoolFailed, match="full") as caught:
        await spool.store(second)
    assert caught.value.failure is Failure.OVERLOADED
    assert spool.total_bytes == 3
    first.release()
    await spool.store(second)
    assert spool.total_bytes == 3


@pytest.mark.parametrize(
    ("number", "failure"),
    [(errno.ENOSPC, Failure.OVERLOADED), (errno.EMFILE, Failure.OVERLOADED), (errno.EIO, Failure.INTERNAL)],
)
async def test_each_error_of_the_disk_has_its_class(
    number: int, failure: Failure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> IO[bytes]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.TemporaryFile", broken)
    spool, body = spool_in(tmp_path), body_of(b"abc")
    with pytest.raises(SpoolFailed, match=os.strerror(number)) as caught:
        await spool.store(body)
    assert caught.value.failure is failure
    body.release()
    assert spool.total_bytes == 0


async def test_a_disk_that_hangs_is_given_up(tmp_path: Path) -> None:
    spool, body = spool_in(tmp_path), body_of(b"abc")
    spool.run = hangs
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(SpoolFailed, match="too slow") as caught:
        await spool.store(body)
    assert caught.value.failure is Failure.OVERLOADED
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(STORE_S)


async def test_a_write_that_waits_for_a_hung_disk_holds_no_mail_once_it_is_given_up(tmp_path: Path) -> None:
    spool, gate = Spool(SpoolConfig(directory=str(tmp_path))), threading.Event()
    stuck = [spool.run(gate.wait) for _ in range(THREADS)]
    try:
        chunk = b"abc" * 1000
        without = sys.getrefcount(chunk)
        body = body_of(chunk)
        with pytest.raises(SpoolFailed, match="too slow"):
            await spool.store(body)
        body.release()
        gc.collect()
        assert sys.getrefcount(chunk) == without
        leaving = body_of(chunk)
        storing = asyncio.create_task(spool.store(leaving))
        await asyncio.sleep(0)
        leaving.release()
        assert sys.getrefcount(chunk) == without
        with pytest.raises(SpoolFailed, match="too slow"):
            await storing
    finally:
        release(gate, stuck)


async def test_behind_too_many_that_wait_for_the_disk_a_body_is_refused_at_once(tmp_path: Path) -> None:
    spool, gate = Spool(SpoolConfig(directory=str(tmp_path))), threading.Event()
    stuck = [spool.run(gate.wait) for _ in range(THREADS + WAITING_MAX)]
    try:
        body, began_s = body_of(b"abc"), asyncio.get_running_loop().time()
        with pytest.raises(SpoolFailed, match="too slow") as caught:
            await spool.store(body)
        assert caught.value.failure is Failure.OVERLOADED
        assert asyncio.get_running_loop().time() == began_s
        assert (body.file, spool.total_bytes) == (None, 0)
    finally:
        release(gate, stuck)


async def test_a_descriptor_is_not_waited_for_while_a_thread_is_at_work_with_the_file(tmp_path: Path) -> None:
    spool, body = spool_in(tmp_path), body_of(b"abc")
    await spool.store(body)
    file = body.file
    assert isinstance(file, SpoolFile)
    assert file.descriptor is not None
    with file._lock:
        assert file.descriptor is None
    body.release()
    assert file.descriptor is None


async def test_without_a_directory_any_more_a_new_body_is_refused_and_one_on_disk_goes_on(tmp_path: Path) -> None:
    spool, begun, later = spool_in(tmp_path), body_of(b"abc"), body_of(b"abc")
    await spool.store(begun)
    spool.config = SpoolConfig()
    with pytest.raises(SpoolFailed, match="directory") as caught:
        await spool.store(later)
    assert caught.value.failure is Failure.OVERLOADED
    assert (later.file, spool.total_bytes) == (None, 3)
    begun.append(b"def")
    assert await spool.store(begun) == 3


def test_a_directory_that_cannot_be_used_is_known_at_the_start(tmp_path: Path) -> None:
    probe(SpoolConfig(directory=str(tmp_path)))
    probe(SpoolConfig())
    with pytest.raises(OSError, match="No such file"):
        probe(SpoolConfig(directory=str(tmp_path / "nowhere")))


def settings(directory: Path, **more: object) -> dict[str, object]:
    return {
        "spool": SpoolConfig(directory=str(directory), bytes_max=100 * MEBIBYTE),
        "message_bytes_max": 4 * MEBIBYTE,
        "held_bytes_max": 4 * MEBIBYTE,
        **more,
    }


def large(size_bytes: int = 4 * MEBIBYTE - 10_000, number: int = 0) -> Mail:
    return Mail(body=bytes([number]) * size_bytes, queue_id=b"4LARGE")


async def test_more_mail_than_memory_holds_gets_its_verdicts_by_way_of_the_disk(tmp_path: Path) -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress), **settings(tmp_path)) as rig:
        mtas = [rig.connect() for _ in range(4)]
        for mta in mtas:
            await mta.open()
        heard = await asyncio.gather(*(mta.message(large(number=number)) for number, mta in enumerate(mtas)))
        assert [one.final for one in heard] == [ev.Accept()] * 4
        assert sorted(bytes(told.body) for told in ingress.judged) == [large(number=n).body for n in range(4)]
        assert ingress.faults == []
        assert (rig.held.total, rig.spool.total_bytes) == (0, 0)
        assert not any(transport.paused for transport in rig.transports)


async def test_a_body_on_disk_is_replayed_to_another_ingress(tmp_path: Path) -> None:
    first, second = FakeIngress(silent), FakeIngress()
    cell = Cell(first=first, second=second)
    async with rigged(cell, **settings(tmp_path)) as rig:
        mta = rig.connect()
        await mta.open()
        playing = asyncio.create_task(mta.message(large(number=7)))
        await asyncio.sleep(1.0)
        assert rig.value("spool_bytes") > MEBIBYTE
        assert rig.value("held_bytes") < 3 * MEBIBYTE
        cell.kill("first")
        assert (await playing).final == ev.Accept()
        assert second.judged[0].body == large(number=7).body


@pytest.mark.parametrize("action", ["tempfail", "accept"])
async def test_a_full_disk_is_the_overload_policy_for_that_message_only(
    action: str, tmp_path: Path, lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: io.FileIO("/dev/full", "r+"))
    on_failure = OnFailureConfig(overloaded=action)
    async with rigged(Cell(a=FakeIngress()), **settings(tmp_path, on_failure=on_failure)) as rig:
        mta, bystander = rig.connect(), rig.connect()
        await mta.open()
        await bystander.open()
        heard = await mta.message(large())
        if action == "tempfail":
            assert heard.final == UNAVAILABLE
        else:
            assert heard.edits == [ev.InsertHeader(0, b"X-Tamis-Unfiltered", b" overloaded")]
            assert heard.final == ev.Accept()
        assert rig.value("failures_total", failure="overloaded", action=action) == 1
        assert (await bystander.message(Mail())).final == ev.Accept()
        assert (await mta.message(Mail())).final == ev.Accept()
        assert (rig.held.total, rig.spool.total_bytes) == (0, 0)
    (line,) = lines.of("spool_failed")
    assert (line["queue_id"], line["why"]) == ("4LARGE", "No space left on device")


async def test_a_disk_that_hangs_stops_one_session_for_a_while_and_no_other(tmp_path: Path) -> None:
    async with rigged(Cell(a=FakeIngress()), **settings(tmp_path)) as rig:
        rig.spool.run = hangs
        mta, bystander = rig.connect(), rig.connect()
        await mta.open()
        await bystander.open()
        playing = asyncio.create_task(mta.message(large()))
        await asyncio.sleep(STORE_S / 2)
        assert rig.transports[0].paused
        assert (await bystander.message(Mail())).final == ev.Accept()
        assert (await playing).final == UNAVAILABLE
        assert not rig.transports[0].paused


async def test_a_body_that_cannot_be_read_back_is_an_internal_failure(
    tmp_path: Path, lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FakeIngress(silent)
    cell = Cell(first=first, second=FakeIngress())
    async with rigged(cell, **settings(tmp_path)) as rig:
        mta = rig.connect()
        await mta.open()
        playing = asyncio.create_task(mta.message(large()))
        await asyncio.sleep(1.0)

        def broken(*_: object) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr("os.pread", broken)
        cell.kill("first")
        assert (await playing).final == UNAVAILABLE
        assert rig.value("failures_total", failure="internal", action="tempfail") == 1
    assert len(lines.of("spool_failed")) == 1


async def test_an_mta_that_leaves_while_its_body_is_written_leaves_nothing_behind(tmp_path: Path) -> None:
    async with rigged(Cell(a=FakeIngress()), **settings(tmp_path)) as rig:
        rig.spool.run = hangs
        mta = rig.connect()
        await mta.open(actions=c.ALL_ACTIONS)
        playing = asyncio.create_task(mta.message(large()))
        await asyncio.sleep(1.0)
        rig.hang_up()
        await asyncio.sleep(STORE_S + 1)
        assert (rig.held.total, rig.spool.total_bytes, rig.value("sessions")) == (0, 0, 0)
        with pytest.raises(EOFError):
            await playing


async def test_without_a_directory_memory_is_all_there_is() -> None:
    async with rigged(Cell(a=FakeIngress(silent)), message_bytes_max=4 * MEBIBYTE, held_bytes_max=4 * MEBIBYTE) as rig:
        one, other = rig.connect(), rig.connect()
        await one.open()
        await other.open()
        waiting = asyncio.create_task(one.message(large()))
        await asyncio.sleep(1.0)
        assert (await other.message(large())).final == UNAVAILABLE
        assert rig.spool.total_bytes == 0
        await waiting
