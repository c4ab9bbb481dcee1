import asyncio

from gateway.server import DRAIN_QUIET_S
from tests.gateway.fake_ingress import Cell, FakeIngress, silent, verdict
from tests.gateway.mta import Mail
from tests.gateway.rig import LogLines, rigged
from wire.milter import events as ev


async def test_connections_far_beyond_the_bound_are_closed_with_a_line(lines: LogLines) -> None:
    async with rigged(Cell(a=FakeIngress()), sessions_max=1) as rig:
        first = rig.connect()
        rig.connect()
        rig.connect()
        await asyncio.sleep(0)
        assert [transport.closed for transport in rig.transports] == [False, False, True]
        assert [line["reason"] for line in lines.of("session_closed")] == ["sessions_full"]
        rig.hang_up(1)
        await asyncio.sleep(0.01)
        rig.connect()
        assert not rig.transports[3].closed
        await first.open()
        assert (await first.message(Mail())).final == ev.Accept()


async def test_an_mta_that_falls_silent_inside_a_packet_is_disconnected(lines: LogLines) -> None:
    async with rigged(Cell(a=FakeIngress()), read_timeout_s=300.0, idle_timeout_s=1000.0) as rig:
        patient, stuck = rig.connect(), rig.connect()
        await patient.open()
        await stuck.open()
        await stuck.envelope(Mail())
        stuck._write(b"\0\0\1\0N")
        await asyncio.sleep(0)
        now_s = asyncio.get_running_loop().time()
        rig.server.sweep(now_s + 299)
        assert not rig.transports[1].closed
        rig.server.sweep(now_s + 301)
        assert [transport.closed for transport in rig.transports] == [False, True]
        rig.server.sweep(now_s + 1001)
        assert rig.transports[0].closed
        assert [line["reason"] for line in lines.of("session_closed")] == ["read_timeout", "idle"]


async def test_an_mta_that_sends_one_byte_a_second_has_no_more_time_for_a_packet(lines: LogLines) -> None:
    async with rigged(Cell(a=FakeIngress()), read_timeout_s=60.0) as rig:
        steady, slow = rig.connect(), rig.connect()
        loop = asyncio.get_running_loop()
        for mta in (steady, slow):
            await mta.open()
            await mta.say(ev.Mail(b"<>"))
            mta.flush()
        await asyncio.sleep(100.0)
        slow._write(b"\0\0\1\0L")
        pieces = b"\0\0\0\5LA\0b\0" * 40
        for second in range(59):
            slow._write(b"x")
            # Never at the end of a packet, and yet not stuck in one.
            steady._write(pieces[second * 4 : second * 4 + 4])
            await asyncio.sleep(1.0)
            rig.server.sweep(loop.time())
        assert [transport.closed for transport in rig.transports] == [False, False]
        await asyncio.sleep(2.0)
        rig.server.sweep(loop.time())
        assert [transport.closed for transport in rig.transports] == [False, True]
        assert [line["reason"] for line in lines.of("session_closed")] == ["read_timeout"]


async def test_an_mta_that_waits_for_us_is_never_idle() -> None:
    async with rigged(Cell(a=FakeIngress(silent)), idle_timeout_s=1.0) as rig:
        mta = rig.connect()
        await mta.open()
        playing = asyncio.create_task(mta.message(Mail()))
        await asyncio.sleep(10.0)
        rig.server.sweep(asyncio.get_running_loop().time())
        assert not rig.transports[0].closed
        await playing


async def test_draining_finishes_transactions_and_leaves_when_connections_are_quiet(lines: LogLines) -> None:
    ingress = FakeIngress(silent)
    cell = Cell(a=ingress)
    async with rigged(cell) as rig:
        quiet, busy = rig.connect(), rig.connect()
        await quiet.open()
        await busy.open()
        playing = asyncio.create_task(busy.message(Mail()))
        await asyncio.sleep(0.01)
        began_s = asyncio.get_running_loop().time()
        draining = asyncio.create_task(rig.server.drain(30.0))
        await asyncio.sleep(DRAIN_QUIET_S + 0.5)
        assert [transport.closed for transport in rig.transports] == [True, False]
        rig.connect()
        assert rig.transports[2].closed
        await asyncio.sleep(3.0)
        cell.pipes["a"].answer(verdict()(ingress.open[1]))
        assert (await playing).final == ev.Accept()
        await busy.say(ev.Quit())
        busy.flush()
        await draining
        assert asyncio.get_running_loop().time() - began_s < 6.0
        assert [line["reason"] for line in lines.of("session_closed")] == ["drained", "sessions_full"]


async def test_draining_ends_when_its_time_is_over(lines: LogLines) -> None:
    async with rigged(Cell(a=FakeIngress()), drain_s=10.0) as rig:
        mta = rig.connect()
        await mta.open()
        await mta.envelope(Mail())
        began_s = asyncio.get_running_loop().time()
        await rig.server.drain(10.0)
        assert 10.0 <= asyncio.get_running_loop().time() - began_s < 11.0
        assert [line["reason"] for line in lines.of("session_closed")] == ["drain_over"]


async def test_draining_without_connections_ends_at_once() -> None:
    async with rigged(Cell(a=FakeIngress())) as rig:
        began_s = asyncio.get_running_loop().time()
        await rig.server.drain(30.0)
        assert asyncio.get_running_loop().time() == began_s
