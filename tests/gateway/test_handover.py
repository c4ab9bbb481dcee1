"""A session moved from one process to another, wherever its conversation is: pure values in between."""

import asyncio
import dataclasses
import io
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from gateway import handover, snapshot
from gateway.config import EarlyConfig
from gateway.driver import Driver
from gateway.service_manager import ServiceManager
from gateway.snapshot import BrokenSnapshot
from gateway.spool import SpoolConfig, SpoolFile
from gateway.transaction import Client, Failure, Identity, Recipient, Transaction
from tamis.filter.v1 import message_pb2
from tests.gateway.fake_ingress import Cell, FakeIngress, silent, verdict
from tests.gateway.mta import Mail, Mta
from tests.gateway.rig import MemoryTransport, Rig, rigged
from wire.milter import constants as c
from wire.milter import events as ev
from wire.trace import TraceContext


async def move(old: Rig, new: Rig, number: int = 0) -> None:
    """As a restart does it, through bytes; the MTA's end stays what it is."""
    before = old.transports[number]
    driver = before._driver
    driver.read(on=False)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    saved = driver.snapshot(asking=True)
    assert saved is not None
    file = io.BytesIO(snapshot.head() + snapshot.record(7, saved))
    ((cookie, encoded),) = snapshot.records(file)
    assert cookie == 7
    body = driver.body_file
    descriptor = os.dup(body.descriptor) if body is not None and body.descriptor is not None else None
    before.closed = True
    driver.leave()
    driver.connection_lost(None)
    successor = new.server.driver()
    successor.resume(snapshot.connection_of(encoded), descriptor)
    after = MemoryTransport(successor)
    after.incoming = before.incoming
    after.deliver(before._unread) if before._unread else None
    new.transports.append(after)
    successor.connection_made(after)


def connect(rig: Rig) -> Mta:
    """An MTA that writes to whichever process has its session now."""
    mta = rig.connect()

    def write(data: bytes) -> None:
        rig.transports[-1].deliver(data)

    mta._write = write
    return mta


class Playing:
    """An MTA whose bytes are cut anywhere: it writes `first` bytes of the conversation, stops, and goes on."""

    def __init__(self, rig: Rig, stop_after_bytes: int) -> None:
        self.rig = rig
        self.left = stop_after_bytes
        self.stopped = asyncio.Event()
        self.go_on = asyncio.Event()
        self.written = 0
        transport = rig.transports[0]
        self._pending = bytearray()
        self.mta = Mta(self._write, self._read)
        self._incoming = transport.incoming

    def _write(self, data: bytes) -> None:
        self._pending += data

    async def _read(self) -> bytes:
        now = bytes(self._pending[: self.left])
        self._deliver(now)
        if self._pending and not self.stopped.is_set():
            self.stopped.set()
            await self.go_on.wait()
            self._deliver(bytes(self._pending))
        return await self._incoming.get()

    def _deliver(self, data: bytes) -> None:
        del self._pending[: len(data)]
        self.left -= len(data)
        self.written += len(data)
        if data:
            self.rig.transports[-1].deliver(data)


MAIL = Mail(
    recipients=(b"<one@recipient.example>", b"<two@recipient.example>"),
    body=b"".join(b"line %d\r\n" % number for number in range(20)),
    chunk_bytes=50,
    mail_macros=((b"i", b"4KEY"), (b"{auth_authen}", b"anna@shop.example")),
)


async def played(stop_after_bytes: int) -> tuple[int, list[object]]:
    """Bytes of the whole conversation, and what came of it."""
    ingress = FakeIngress()
    cell = Cell(a=ingress)
    async with rigged(cell) as rig:
        rig.connect()
        playing = Playing(rig, stop_after_bytes)
        mta = playing.mta

        async def play() -> list[object]:
            await mta.open()
            heard = await mta.message(MAIL)
            again = await mta.message(Mail(queue_id=b"4NEXT"))
            return [heard.recipients, heard.edits, heard.final, again.recipients, again.final]

        task = asyncio.create_task(play())
        stopped = asyncio.create_task(playing.stopped.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if playing.stopped.is_set():
            await asyncio.sleep(0.01)
            await move(rig, rig)
            playing.go_on.set()
            playing.left = 1 << 30
        stopped.cancel()
        outcome = await task
        told = [
            [
                heard.begin.client.helo,
                heard.begin.client.auth_user,
                heard.sender,
                heard.recipients,
                heard.headers and heard.headers.header_block,
                heard.headers and heard.headers.queue_id,
                bytes(heard.body),
            ]
            for heard in ingress.judged
        ]
        assert ingress.faults == []
        assert rig.held.total == 0
        rig.hang_up()
        await asyncio.sleep(0.01)
        return playing.written, [outcome, told]


async def test_a_session_moved_after_any_byte_goes_on_as_if_nothing_had_been() -> None:
    whole_bytes, expected = await played(1 << 30)
    assert whole_bytes > 600
    for cut in range(0, whole_bytes, 7):
        _, outcome = await played(cut)
        assert outcome == expected, f"moved after {cut} bytes"


async def test_a_question_that_is_open_is_asked_again_about_the_same_transaction() -> None:
    ingress = FakeIngress(silent, silent)
    cell = Cell(a=ingress)
    async with rigged(cell) as rig:
        mta = connect(rig)
        await mta.open()
        playing = asyncio.create_task(mta.message(Mail()))
        await asyncio.sleep(0.1)
        (first,) = ingress.open.values()
        await move(rig, rig)
        await asyncio.sleep(0.1)
        assert ingress.aborted == [first.number]
        (second,) = ingress.open.values()
        assert second.begin == first.begin
        assert second.recipients == first.recipients
        # The recipient's budget passes, and with it its question.
        await asyncio.sleep(10)
        assert second.end is not None
        await move(rig, rig, -1)
        await asyncio.sleep(0.1)
        (third,) = ingress.open.values()
        assert third.end is not None
        cell.pipes["a"].answer(verdict()(third))
        assert (await playing).final == ev.Accept()
        assert rig.held.total == 0


@pytest.mark.parametrize("stage", ["connect", "helo", "mail"])
async def test_a_question_about_the_client_alone_is_asked_again_too(stage: str) -> None:
    ingress = FakeIngress(stage=silent)
    async with rigged(Cell(a=ingress), early=EarlyConfig(stages=("connect", "helo", "mail"))) as rig:
        mta = connect(rig)
        await mta.say(ev.Negotiate(6, c.ALL_ACTIONS, c.OFFERED_STEPS))
        commands = {
            "connect": ev.Connect(b"mail.shop.example", c.SMFIA_INET, 54321, b"192.0.2.7"),
            "helo": ev.Helo(b"mail.shop.example"),
            "mail": ev.Mail(b"<anna@shop.example>"),
        }
        for name, command in commands.items():
            asked = asyncio.create_task(mta.say(command))
            await asyncio.sleep(0.01)
            if name == stage:
                assert not asked.done()
                await move(rig, rig)
            # The ingress of this test never answers: silence lets the client go on.
            assert await asked == ev.Continue()


async def test_mail_on_disk_goes_with_its_session(tmp_path: Path) -> None:
    ingress = FakeIngress(silent)
    cell = Cell(a=ingress)
    mebibyte = 1 << 20
    settings = {
        "message_bytes_max": 2 * mebibyte,
        "held_bytes_max": 2 * mebibyte,
        "spool": SpoolConfig(directory=str(tmp_path), bytes_max=8 * mebibyte),
    }
    body = os.urandom(1 << 16) * 28
    async with rigged(cell, **settings) as rig:
        mta = connect(rig)
        await mta.open()
        playing = asyncio.create_task(mta.message(Mail(body=body)))
        await asyncio.sleep(1.0)
        assert rig.transports[0]._driver.body_file is not None
        await move(rig, rig)
        await asyncio.sleep(1.0)
        (heard,) = ingress.open.values()
        assert bytes(heard.body) == body
        cell.pipes["a"].answer(verdict()(heard))
        assert (await playing).final == ev.Accept()
        assert (rig.held.total, rig.spool.total_bytes) == (0, 0)


class KeepingManager(ServiceManager):
    """Names of what was given to it."""

    def __init__(self) -> None:
        super().__init__()
        self.stored_files_max = 10
        self.names: list[str] = []

    def store(self, name: str, _descriptors: Sequence[int]) -> None:
        self.names.append(name)


async def test_a_session_whose_file_is_at_work_is_not_waited_for_and_goes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mebibyte = 1 << 20
    settings = {
        "message_bytes_max": 2 * mebibyte,
        "held_bytes_max": 2 * mebibyte,
        "spool": SpoolConfig(directory=str(tmp_path), bytes_max=8 * mebibyte),
    }
    pair = socket.socketpair()
    monkeypatch.setattr(Driver, "socket", pair[0])
    async with rigged(Cell(a=FakeIngress(silent)), **settings) as rig:
        mta = connect(rig)
        await mta.open()
        playing = asyncio.create_task(mta.message(Mail(body=bytes(1 << 16) * 28)))
        await asyncio.sleep(1.0)
        driver = rig.transports[0]._driver
        assert isinstance(driver.body_file, SpoolFile)
        manager = KeepingManager()
        outgoing = handover.Outgoing(manager)
        with driver.body_file._lock:
            outgoing.give([driver], asking=True)
        assert (outgoing.given, manager.names) == (0, [])
        outgoing.give([driver], asking=True)
        assert outgoing.given == 1
        assert [name.rstrip("0123456789") for name in manager.names] == [handover.BODY, handover.SESSIONS]
        outgoing.finish()
        rig.hang_up()
        with pytest.raises(EOFError):
            await playing
    for end in pair:
        end.close()


async def test_a_session_whose_mail_on_disk_did_not_come_is_of_no_use() -> None:
    async with rigged(Cell(a=FakeIngress())) as rig:
        mta = connect(rig)
        await mta.open()
        await mta.envelope(Mail())
        driver = rig.transports[0]._driver
        driver.read(on=False)
        saved = driver.snapshot(asking=True)
        assert saved is not None
        assert saved.session.transaction is not None
        on_disk = msgspec.structs.replace(saved.session.transaction, stored_bytes=1000)
        broken = msgspec.structs.replace(saved, session=msgspec.structs.replace(saved.session, transaction=on_disk))
        held_bytes = rig.held.total
        with pytest.raises(BrokenSnapshot):
            rig.server.driver().resume(broken, None)
        assert rig.held.total == held_bytes


def full_transaction() -> Transaction:
    transaction = Transaction(
        identity=Identity(b"i" * 16, TraceContext((1 << 128) - 1, (1 << 64) - 1, sampled=True), 12, 3.5),
        client=Client("192.0.2.7", 25, b"host", b"helo", "TLSv1.3", "smtpd", "mx"),
        auth_user=b"anna",
        direction=message_pb2.DIRECTION_OUTBOUND,
        tenant="shop",
        sender=b"anna@shop.example",
        esmtp_args=(b"SIZE=5",),
        auth_type="PLAIN",
        has_mail=False,
        queue_id="4ABC",
        recipients=[Recipient(b"r@x.example", (b"NOTIFY=NEVER",), "x")],
        refused={0},
        header_block=b"From: a\r\n",
        header_bytes=9,
        headers=1,
        body_bytes=6,
        held_bytes=100,
        envelope_bytes=50,
        oversize=True,
        failure=Failure.OVERLOADED,
    )
    transaction.body.append(b"abc")
    transaction.body.append(b"def")
    return transaction


def test_every_field_of_a_transaction_survives() -> None:
    before = full_transaction()
    after = snapshot.restore_transaction(snapshot.save_transaction(before))
    for field in dataclasses.fields(Transaction):
        value = getattr(before, field.name)
        if field.name == "macros":
            continue  # The session reads them again from those that it saves: test_session.py.
        if field.name == "body":
            assert after.body.in_memory() == before.body.in_memory()
            continue
        default = field.default_factory() if callable(field.default_factory) else field.default
        assert value != default, f"this test must give `{field.name}` a value of its own"
        assert getattr(after, field.name) == value


async def test_files_that_are_no_snapshots_of_this_release_are_refused() -> None:
    async with rigged(Cell(a=FakeIngress())) as rig:
        mta = connect(rig)
        await mta.open()
        driver = rig.transports[0]._driver
        driver.read(on=False)
        saved = driver.snapshot(asking=True)
        assert saved is not None
        whole = snapshot.head() + snapshot.record(1, saved)
        for broken in (b"", whole[1:], b"\0\0\0\2\x91\x63" + whole, whole[:-1], b"\xff" * 100):
            with pytest.raises(BrokenSnapshot):
                list(snapshot.records(io.BytesIO(broken)))
        with pytest.raises(BrokenSnapshot):
            snapshot.connection_of(b"\x93\x01\x02\x03")


async def test_a_session_is_not_taken_while_its_answer_is_on_the_way() -> None:
    async with rigged(Cell(a=FakeIngress(silent))) as rig:
        mta = connect(rig)
        await mta.open()
        playing = asyncio.create_task(mta.message(Mail()))
        await asyncio.sleep(0.1)
        driver = rig.transports[0]._driver
        driver.read(on=False)
        assert driver.snapshot(asking=False) is None
        assert driver.snapshot(asking=True) is not None
        driver.read(on=True)
        rig.hang_up()
        with pytest.raises(EOFError):
            await playing
        assert driver.snapshot(asking=True) is None
