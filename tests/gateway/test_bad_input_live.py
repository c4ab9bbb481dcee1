"""Connections that are slow, half closed, torn or greedy, at a gateway process; see docs/failures.md, "Bad input"."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.gateway.fake_ingress import FakeIngress, Heard, let_in, verdict
from tests.gateway.mta import Mail
from tests.gateway.test_live import Gateway, eventually, gateway, ingress_of
from tests.wire.milter.commands import frame, split, way
from wire.milter import State
from wire.milter import constants as c
from wire.milter import events as ev

pytestmark = pytest.mark.live

MANY = 40
QUIET = b"quiet@recipient.example"
"""A recipient about whom the ingress says nothing."""
GROWTH_BYTES_MAX = 6_000_000


def let_in_but_quiet(heard: Heard) -> object:
    return None if heard.recipients[-1] == QUIET else let_in(heard)


def judge_but_quiet(heard: Heard) -> object:
    return None if heard.sender == QUIET else verdict()(heard)


@dataclass
class Running:
    """A gateway with a bystander's mail that has to pass."""

    gateway: Gateway
    fake: FakeIngress

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.gateway.milter[0].removeprefix("inet:").partition("@")
        return await asyncio.open_connection(port, int(host))

    async def undisturbed(self) -> None:
        mta = await self.gateway.connect()
        await mta.open()
        assert (await mta.message(Mail())).final == ev.Accept()
        await mta.say(ev.Quit())
        mta.flush()

    def reasons(self) -> list[object]:
        return [line["reason"] for line in self.gateway.lines("session_closed")]

    def rss_bytes(self) -> int:
        return psutil.Process(self.gateway.process.pid).memory_info().rss

    async def left_alone(self) -> None:
        """Nothing is left of the others."""
        _, metrics = await asyncio.to_thread(self.gateway.get, "/metrics")
        assert "tamis_gateway_held_bytes 0.0" in metrics
        await eventually(lambda: not self.fake.open)


@asynccontextmanager
async def running(run_dir: Path, settings: str = "", listen: str = '"inet:0@127.0.0.1"') -> AsyncIterator[Running]:
    fake = FakeIngress(judge_but_quiet, let_in_but_quiet)  # type: ignore[arg-type]
    async with ingress_of(fake) as target:
        with gateway(run_dir, target, settings=settings, listen=listen) as process:
            yield Running(process, fake)


ASKING_RCPT = way(State.MAIL) + frame(c.SMFIC_RCPT, b"<" + QUIET + b">\0")
ASKING_END = (
    way(State.IDLE)
    + frame(c.SMFIC_MAIL, b"<" + QUIET + b">\0")
    + frame(c.SMFIC_RCPT)
    + frame(c.SMFIC_EOH)
    + frame(c.SMFIC_BODY, b"x" * 10_000)
    + frame(c.SMFIC_BODYEOB)
)
MOMENTS = {
    "before a byte": b"",
    "inside the first frame": b"\0\0\0\rO",
    "before the connection": way(State.READY),
    "between transactions": way(State.IDLE),
    "after MAIL": way(State.MAIL),
    "after RCPT": way(State.RCPT),
    "inside a header field": way(State.HEADERS) + b"\0\0\1\0LSubj",
    "in the body": way(State.BODY) + frame(c.SMFIC_BODY, b"x" * 10_000),
    "while RCPT is asked": ASKING_RCPT,
    "while the verdict is asked": ASKING_END,
    "after the verdict": way(State.BODY) + frame(c.SMFIC_BODYEOB),
}
WITHOUT_LINE = ("before a byte",)


async def say(writer: asyncio.StreamWriter, reader: asyncio.StreamReader, data: bytes) -> None:
    """Say it as an MTA does: after a question whose answer comes, wait for it."""
    whole, rest = split(data)
    for number, (command, payload) in enumerate(whole):
        writer.write(frame(command, payload))
        last = number == len(whole) - 1
        if command == c.SMFIC_OPTNEG or (command == c.SMFIC_RCPT and not (last and QUIET in payload)):
            await reader.readexactly(int.from_bytes(await reader.readexactly(4)))
    writer.write(rest)
    await writer.drain()


def shut_down(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


def reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    # SO_LINGER with no time: close sends a reset.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(10.0):
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                pass


async def many_at(moment: str, end: Callable[[asyncio.StreamWriter], None], run_dir: Path) -> None:
    async with running(run_dir) as here:
        await here.undisturbed()
        connections = [await here.open() for _ in range(MANY)]
        for reader, writer in connections:
            await say(writer, reader, MOMENTS[moment])
        asking = moment.startswith("while")
        await eventually(lambda: len(here.fake.open) == MANY or not asking)
        await here.undisturbed()
        for _, writer in connections:
            end(writer)
        for reader, writer in connections:
            await ended(reader)
            writer.close()
        expected = 0 if moment in WITHOUT_LINE else MANY
        await eventually(lambda: len(here.reasons()) >= expected)
        await here.undisturbed()
        await here.left_alone()
        assert here.reasons() == ["disconnected"] * expected


@pytest.mark.parametrize("moment", MOMENTS)
async def test_half_closed_sockets(moment: str, run_dir: Path) -> None:
    await many_at(moment, shut_down, run_dir)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_connections_that_are_reset(moment: str, run_dir: Path) -> None:
    await many_at(moment, reset, run_dir)


async def test_slow_loris_one_byte_a_second(run_dir: Path) -> None:
    async with running(run_dir, "read_timeout_s = 3.0") as here:
        await here.undisturbed()
        connections = [await here.open() for _ in range(MANY)]
        for number, (reader, writer) in enumerate(connections):
            await say(writer, reader, way(State.HEADERS if number % 2 else State.READY) + b"\0\0\1\0")
        slow = b"LSubject: and so on"
        before_bytes = here.rss_bytes()
        for second in range(12):
            for _, writer in connections:
                if not writer.transport.is_closing():
                    writer.write(slow[second : second + 1])
            await here.undisturbed()
            if len(here.reasons()) == MANY:
                break
            await asyncio.sleep(1.0)
        assert here.reasons() == ["read_timeout"] * MANY
        for reader, writer in connections:
            await ended(reader)
            writer.close()
        await here.left_alone()
        assert here.rss_bytes() - before_bytes < GROWTH_BYTES_MAX


async def test_connections_that_say_nothing_are_closed_when_their_time_is_over(run_dir: Path) -> None:
    async with running(run_dir, "idle_timeout_s = 2.0") as here:
        connections = [await here.open() for _ in range(MANY)]
        async with asyncio.timeout(15.0):
            for reader, _ in connections:
                await ended(reader)
        assert here.reasons() == ["idle"] * MANY
        for _, writer in connections:
            writer.close()
        await here.undisturbed()


def greedy(address: str, data: bytes, patience_s: float = 1.0) -> int:
    """Write the same bytes again and again, read nothing; how many bytes were taken before that ended."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    offer = b"".join(number.to_bytes(4) for number in (2, 0, 0))
    connection.sendall(frame(c.SMFIC_OPTNEG, offer) + frame(c.SMFIC_CONNECT))
    connection.settimeout(patience_s)
    taken_bytes = 0
    began_s = time.monotonic()
    with contextlib.suppress(TimeoutError, ConnectionError):
        while taken_bytes < 64_000_000 and time.monotonic() - began_s < 20:
            taken_bytes += connection.send(data)
    connection.close()
    return taken_bytes


async def test_an_mta_that_reads_no_answers_is_not_read_either(run_dir: Path) -> None:
    listen = f'"inet:0@127.0.0.1", "unix:{run_dir}/milter.sock"'
    async with running(run_dir, listen=listen) as here:
        await here.undisturbed()
        before_bytes = here.rss_bytes()
        taken_bytes = await asyncio.to_thread(greedy, f"{run_dir}/milter.sock", frame(c.SMFIC_HELO, b"x\0") * 5000)
        assert taken_bytes < 2_000_000
        assert here.rss_bytes() - before_bytes < GROWTH_BYTES_MAX
        await eventually(lambda: here.reasons() == ["disconnected"])
        await here.undisturbed()


HOARDS = {
    "macros": b"".join(
        frame(c.SMFIC_MACRO, command + b"j\0" + b"x" * 60_000 + b"\0") for command in (b"C", b"H", b"M", b"R", b"N")
    ),
    "the largest frame, unfinished": (196_000).to_bytes(4) + b"L" + b"x" * 195_000,
    "header fields": frame(c.SMFIC_HEADER, b"A\0" + b"x" * 100_000 + b"\0") * 40,
    "recipients": b"".join(frame(c.SMFIC_RCPT, b"<b>\0A=" + b"x" * 16_000 + b"\0") for _ in range(20)),
}


async def test_memory_is_bounded(run_dir: Path) -> None:
    """Rounds of connections that each hold as much as they may; the second half of the rounds takes nothing more."""
    async with running(run_dir) as here:
        states = {"macros": State.READY, "recipients": State.MAIL}

        async def round_of_all() -> None:
            connections = []
            for name, data in HOARDS.items():
                for _ in range(10):
                    reader, writer = await here.open()
                    await say(writer, reader, way(states.get(name, State.DATA)) + data)
                    connections.append((reader, writer))
            await asyncio.sleep(0.2)
            await here.undisturbed()
            for reader, writer in connections:
                reset(writer)
                await ended(reader)

        for _ in range(4):
            await round_of_all()
        before_bytes = here.rss_bytes()
        for _ in range(8):
            await round_of_all()
        await here.left_alone()
        assert here.rss_bytes() - before_bytes < GROWTH_BYTES_MAX
        assert here.rss_bytes() < 200_000_000
