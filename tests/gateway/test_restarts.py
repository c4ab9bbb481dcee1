"""Restarts under a service manager that keeps files: the MTA's connections live on, whatever state they are in."""

import asyncio
import json
import random
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from bench.service_manager import ManagedService
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tests.gateway.fake_ingress import FakeIngress, Heard, let_in, serve, verdict
from tests.gateway.mta import Mta
from wire.milter import constants as c
from wire.milter import events as ev

pytestmark = pytest.mark.live

Judge = Callable[[Heard], filter_pb.Answer | None]


@contextmanager
def managed(run_dir: Path, ingress: str, settings: str = "", **options: object) -> Iterator[ManagedService]:
    config = run_dir / "tamis.toml"
    config.write_text(f'[gateway]\ningress = ["{ingress}"]\nops_listen = ""\n{settings}')
    tcp = socket.create_server(("127.0.0.1", 0), backlog=4096)
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(run_dir / "milter.sock"))
    unix.listen(100)
    command = [sys.executable, "-m", "gateway", "--config", str(config)]
    with tcp, unix:
        listeners = {"tcp": tcp, "unix": unix}
        with ManagedService(command, listeners, run_dir / "log", **options) as service:  # type: ignore[arg-type]
            service.address = tcp.getsockname()  # type: ignore[attr-defined]
            yield service


def lines(run_dir: Path, event: str) -> list[dict[str, object]]:
    return [line for line in map(json.loads, (run_dir / "log").read_text().splitlines()) if line["event"] == event]


async def connect(service: ManagedService) -> Mta:
    reader, writer = await asyncio.open_connection(*service.address)  # type: ignore[attr-defined]
    mta = Mta(writer.write, lambda: reader.read(65_536))
    mta.writer = writer  # type: ignore[attr-defined]
    return mta


@asynccontextmanager
async def ingress_of(fake: FakeIngress) -> AsyncIterator[str]:
    server, target = await serve(fake)
    yield target
    await server.stop(None)


def later(fake: FakeIngress, judge: Judge, delay_s: Callable[[], float]) -> Judge:
    """The same answer after a while, on the stream that asked."""

    def ask(heard: Heard) -> None:
        answer = judge(heard)
        assert answer is not None
        if answer.HasField("verdict"):
            del fake.open[heard.number]
        asyncio.get_running_loop().call_later(delay_s(), fake.push, answer)

    return ask


class Client:
    """An SMTP client behind an MTA: message after message over one milter connection, with pauses anywhere."""

    def __init__(self, number: int, seed: int) -> None:
        self.number = number
        self.random = random.Random(seed * 1000 + number)
        self.verdicts: dict[bytes, ev.Reply | None] = {}
        self.bodies: dict[bytes, bytes] = {}

    async def pause(self, mta: Mta) -> None:
        if self.random.random() < 0.3:
            mta.flush()
            await asyncio.sleep(self.random.random() * 0.2)

    async def run(self, mta: Mta, until: asyncio.Event) -> None:
        await mta.open()
        while not until.is_set():
            key = b"c%d-%d" % (self.number, len(self.verdicts))
            self.verdicts[key] = await self.message(mta, key)
            await self.pause(mta)
        await mta.say(ev.Quit())
        mta.flush()

    async def message(self, mta: Mta, key: bytes) -> ev.Reply | None:
        await mta.say(ev.Macros(c.SMFIC_MAIL, ((b"i", key),)))
        await mta.say(ev.Mail(b"<%b@shop.example>" % key))
        for recipient in range(2):
            await self.pause(mta)
            reply = await mta.say(ev.Recipient(b"<r%d@recipient.example>" % recipient))
            assert reply in (None, ev.Continue()), reply
        if self.random.random() < 0.1:
            await mta.say(ev.Abort())
            return None
        for name in (b"From", b"Subject", b"X-Key"):
            await self.pause(mta)
            await mta.say(ev.Header(name, b" " + key))
        await mta.say(ev.EndOfHeaders())
        parts = [
            b"%b part %d\r\n" % (key, part) * self.random.choice([1, 2000]) for part in range(self.random.randrange(5))
        ]
        self.bodies[key] = b"".join(parts) + b"end"
        for part in parts:
            frame = mta.codec.send(ev.Body(part))
            cut = self.random.randrange(len(frame))
            mta._waiting += frame[:cut]
            await self.pause(mta)
            mta._waiting += frame[cut:]
        return await mta.say(ev.EndOfBody(b"end"))


async def test_20_restarts_cost_no_message_in_any_state_of_a_session(run_dir: Path) -> None:
    delays = random.Random(5)
    fake = FakeIngress()
    judged: dict[bytes, list[Heard]] = {}

    def accept(heard: Heard) -> filter_pb.Answer | None:
        judged.setdefault(heard.sender, []).append(heard)
        return verdict()(heard)

    fake.judge = later(fake, accept, lambda: delays.choice([0.0, 0.02, 0.6]))
    fake.recipient = later(fake, let_in, lambda: delays.choice([0.0, 0.0, 0.02, 0.5]))
    async with ingress_of(fake) as target:
        with managed(run_dir, target) as service:
            until = asyncio.Event()
            clients = [Client(number, 7) for number in range(40)]
            running = [asyncio.create_task(client.run(await connect(service), until)) for client in clients]
            for _ in range(20):
                await asyncio.sleep(0.3)
                await asyncio.to_thread(service.restart)
            until.set()
            await asyncio.wait_for(asyncio.gather(*running), 20)
            assert service.exits == [0] * 20
            verdicts = {key: reply for client in clients for key, reply in client.verdicts.items() if reply is not None}
            assert len(verdicts) > 400
            assert set(verdicts.values()) == {ev.Accept()}
            bodies = {key: body for client in clients for key, body in client.bodies.items()}
            for key in verdicts:
                told = judged[b"%b@shop.example" % key]
                assert {bytes(heard.body) for heard in told} == {bodies[key]}
                # Asked twice when a restart came between question and answer, about one and the same transaction.
                assert len({heard.begin.transaction_id for heard in told}) == 1
            assert any(len(told) > 1 for told in judged.values())
            assert lines(run_dir, "session_closed") == []
            moved = sum(int(line["sessions"]) for line in lines(run_dir, "sessions_resumed"))  # type: ignore[call-overload]
            assert moved >= 20 * 40
            assert fake.faults == []
