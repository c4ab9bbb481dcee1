"""The gateway process as it is shipped: real sockets, real gRPC, a fake ingress."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from bench.otlp_receiver import OtlpReceiver
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import FakeIngress, serve, silent, verdict
from tests.gateway.mta import Mail, Mta
from wire.milter import TcpAddress, UnixAddress, parse_listen
from wire.milter import constants as c
from wire.milter import events as ev

pytestmark = pytest.mark.live

UNAVAILABLE = ev.ReplyCode(b"451 4.7.1 Mail filter is not available, please try again later")


@dataclass
class Gateway:
    """A running `python -m gateway`."""

    process: subprocess.Popen[bytes]
    milter: list[str]
    ops: str
    log: Path
    start_s: float

    def lines(self, event: str) -> list[dict[str, object]]:
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [line for line in map(json.loads, whole.splitlines()) if line["event"] == event]

    async def connect(self, number: int = 0) -> Mta:
        address = parse_listen(self.milter[number])
        if isinstance(address, UnixAddress):
            reader, writer = await asyncio.open_unix_connection(address.path)
        else:
            assert isinstance(address, TcpAddress)
            reader, writer = await asyncio.open_connection(address.host, address.port)
        mta = Mta(writer.write, lambda: reader.read(65_536))
        mta.writer = writer  # type: ignore[attr-defined]
        mta.drain = writer.drain
        return mta

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.ops}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def start_command(run_dir: Path, config: str, *arguments: str) -> list[str]:
    path = run_dir / "tamis.toml"
    path.write_text(config)
    return [sys.executable, "-m", "gateway", "--config", str(path), *arguments]


@contextmanager
def gateway(run_dir: Path, *ingress: str, settings: str = "", listen: str = '"inet:0@127.0.0.1"') -> Iterator[Gateway]:
    ready, log = run_dir / "ready.json", run_dir / "log"
    ready.unlink(missing_ok=True)
    config = f'[gateway]\nlisten = [{listen}]\ningress = {json.dumps(ingress)}\nops_listen = "127.0.0.1:0"\n{settings}'
    began_s = time.monotonic()
    with log.open("wb") as stderr:
        command = start_command(run_dir, config, "--ready-file", str(ready))
        process = subprocess.Popen(command, stderr=stderr)
    while not ready.exists():
        assert process.poll() is None, log.read_text()
        time.sleep(0.005)
    start_s = time.monotonic() - began_s
    addresses = json.loads(ready.read_text())
    assert addresses["milter"] == addresses["listen"][0]
    try:
        yield Gateway(process, addresses["listen"], addresses["ops"], log, start_s)
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def ingress_of(fake: FakeIngress) -> AsyncIterator[str]:
    server, target = await serve(fake)
    yield target
    await server.stop(None)


async def eventually(condition: object, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.01)


async def test_a_message_goes_through_tcp_and_unix_sockets_and_grpc(run_dir: Path) -> None:
    edit = pb.Edit(add_header=pb.AddHeader(name=b"X-Spam-Score", value=b"7"))
    fake = FakeIngress(verdict(pb.ACTION_ADD_HEADER, edits=[edit]))
    listen = f'"inet:0@127.0.0.1", "inet6:0@::1", "unix:{run_dir}/milter.sock"'
    async with ingress_of(fake) as target:
        with gateway(run_dir, target, listen=listen) as running:
            assert (run_dir / "milter.sock").stat().st_mode & 0o777 == 0o660
            sessions = [await running.connect(number) for number in range(3)]
            for number, mta in enumerate(sessions):
                await mta.open()
                heard = await mta.message(Mail(queue_id=b"4%d" % number))
                assert (heard.edits, heard.final) == ([ev.AddHeader(b"X-Spam-Score", b" 7")], ev.Accept())
            await eventually(lambda: len(running.lines("message")) == 3)
            status, metrics = await asyncio.to_thread(running.get, "/metrics")
            assert status == 200
            assert 'tamis_gateway_transactions_total{action="add_header"} 3.0' in metrics
            assert "tamis_gateway_sessions 3.0" in metrics


async def test_a_trace_goes_out_and_the_exporter_is_loaded_only_then(run_dir: Path) -> None:
    receiver = OtlpReceiver()
    endpoint = await receiver.start()
    fake = FakeIngress()
    async with ingress_of(fake) as target:
        trace = f'[trace]\notlp_endpoint = "{endpoint}"\nsample_ratio = 1.0\n'
        with gateway(run_dir, target, settings=trace) as running:
            mta = await running.connect()
            await mta.open()
            await mta.message(Mail(queue_id=b"4TRACED"))
            await eventually(lambda: receiver.spans, 10)
            (span,) = receiver.spans
            assert (span.service, span.name) == ("tamis-gateway", "milter.transaction")
            assert span.attributes["mail.queue_id"] == "4TRACED"
            assert f"-{span.span_id}-01" in fake.judged[0].begin.traceparent
    await receiver.stop()
    code = "import gateway.__main__, sys; sys.exit('opentelemetry' in sys.modules)"
    assert (await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=False)).returncode == 0


async def test_health_follows_the_ingress(run_dir: Path) -> None:
    with gateway(run_dir, "127.0.0.1:1") as running:
        assert (await asyncio.to_thread(running.get, "/healthz"))[0] == 200
        assert await asyncio.to_thread(running.get, "/readyz") == (503, "no ingress\n")
    async with ingress_of(FakeIngress()) as target:
        with gateway(run_dir, target) as running:
            await eventually(lambda: running.lines("ingress_connected"))
            assert (await asyncio.to_thread(running.get, "/readyz"))[0] == 200


async def test_a_body_of_30_megabytes_gets_its_verdict(run_dir: Path) -> None:
    fake = FakeIngress()
    async with ingress_of(fake) as target:
        with gateway(run_dir, target) as running:
            mta = await running.connect()
            await mta.open()
            body = os.urandom(1_000_000) * 30
            assert (await mta.message(Mail(body=body))).final == ev.Accept()
            assert fake.judged[0].body == body
            assert fake.faults == []


async def test_a_killed_ingress_costs_no_message(run_dir: Path) -> None:
    first, second = FakeIngress(silent), FakeIngress(silent)
    server_one, one = await serve(first)
    server_two, two = await serve(second)
    with gateway(run_dir, one, two) as running:
        await eventually(lambda: len(running.lines("ingress_connected")) == 2)
        sessions = [await running.connect() for _ in range(10)]
        for mta in sessions:
            await mta.open()
        playing = [asyncio.create_task(mta.message(Mail())) for mta in sessions]
        await eventually(lambda: sum(h.end is not None for f in (first, second) for h in f.open.values()) == 10)
        assert first.open
        second.judge = verdict()
        await server_one.stop(None)
        lost = len(first.open)
        await eventually(lambda: len(second.judged) == lost)
        await server_two.stop(None)
        back = FakeIngress(verdict())
        server_three, _ = await serve(back, two)
        assert {type(heard.final) for heard in await asyncio.gather(*playing)} == {ev.Accept}
        assert len(back.judged) == 10 - lost
        await server_three.stop(None)


async def test_an_ingress_that_hangs_costs_a_message_seconds_and_not_its_verdict(run_dir: Path) -> None:
    command = [sys.executable, "-m", "tests.gateway.hanging_ingress"]
    hanging = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert hanging.stdout is not None
    stuck = (await hanging.stdout.readline()).decode().strip()
    try:
        async with ingress_of(FakeIngress()) as healthy:
            with gateway(run_dir, stuck, healthy) as running:
                await eventually(lambda: len(running.lines("ingress_connected")) == 2)
                sessions = [await running.connect() for _ in range(4)]
                for mta in sessions:
                    await mta.open()
                # Those on the healthy one are judged at once, which leaves the others on the one that hangs.
                playing = [asyncio.create_task(mta.message(Mail())) for mta in sessions]
                await asyncio.sleep(0.5)
                hanging.send_signal(signal.SIGSTOP)
                waiting = [task for task in playing if not task.done()]
                assert waiting
                async with asyncio.timeout(15):
                    assert {type(heard.final) for heard in await asyncio.gather(*playing)} == {ev.Accept}
                assert "ping timeout" in str(running.lines("ingress_lost")[0]["why"])
    finally:
        hanging.kill()
        await hanging.wait()


async def test_an_unreachable_cluster_is_a_451_within_the_connect_budget(run_dir: Path) -> None:
    with gateway(run_dir, "127.0.0.1:1", settings="ingress_budget_s = 1.0\n") as running:
        mta = await running.connect()
        await mta.open()
        began_s = time.monotonic()
        assert (await mta.message(Mail())).recipients == [UNAVAILABLE]
        assert time.monotonic() - began_s < 1.5


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="garbage"),
        pytest.param(b"\xff\xff\xff\xff" + b"B" * 1000, id="a frame that claims 4 GB"),
        pytest.param(b"\0\0\0\0", id="a frame of length zero"),
        pytest.param(os.urandom(100_000), id="random bytes"),
    ],
)
async def test_garbage_costs_one_connection_one_line_and_no_memory(garbage: bytes, run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with gateway(run_dir, target) as running:
            bystander = await running.connect()
            await bystander.open()
            process = psutil.Process(running.process.pid)
            for _ in range(20):
                mta = await running.connect()
                mta._write(garbage)
                with pytest.raises((EOFError, ConnectionError)):
                    await mta.reply()
            await eventually(lambda: len(running.lines("session_closed")) == 20)
            before_bytes = process.memory_info().rss
            for _ in range(200):
                mta = await running.connect()
                mta._write(garbage)
                with pytest.raises((EOFError, ConnectionError)):
                    await mta.reply()
            await eventually(lambda: len(running.lines("session_closed")) == 220)
            assert {line["reason"] for line in running.lines("session_closed")} == {"protocol_error"}
            assert process.memory_info().rss - before_bytes < 4_000_000
            assert (await bystander.message(Mail())).final == ev.Accept()


async def test_an_mta_that_dies_in_the_middle_aborts_at_the_ingress(run_dir: Path) -> None:
    fake = FakeIngress(silent)
    async with ingress_of(fake) as target:
        with gateway(run_dir, target) as running:
            mta = await running.connect()
            await mta.open()
            playing = asyncio.create_task(mta.message(Mail(body=b"x" * 500_000)))
            await eventually(lambda: any(heard.end for heard in fake.open.values()))
            mta.writer.transport.abort()  # type: ignore[attr-defined]
            await eventually(lambda: fake.aborted == [1])
            assert [line["reason"] for line in running.lines("session_closed")] == ["disconnected"]
            with pytest.raises((EOFError, ConnectionError)):
                await playing


async def test_sigterm_finishes_what_is_in_flight_and_leaves_nothing(run_dir: Path) -> None:
    fake = FakeIngress(silent)
    async with ingress_of(fake) as target:
        with gateway(run_dir, target, listen=f'"unix:{run_dir}/milter.sock"') as running:
            mta = await running.connect()
            await mta.open()
            playing = asyncio.create_task(mta.message(Mail()))
            await eventually(lambda: any(heard.end for heard in fake.open.values()))
            running.process.send_signal(signal.SIGTERM)
            await eventually(lambda: running.lines("draining"))
            with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
                await running.connect()
            assert (await asyncio.to_thread(running.get, "/readyz"))[1] == "draining\n"
            fake.push(verdict()(fake.open[1]))
            assert (await playing).final == ev.Accept()
            await mta.say(ev.Quit())
            mta.flush()
            assert await asyncio.to_thread(running.process.wait, 5) == 0
            assert not (run_dir / "milter.sock").exists()


async def test_4000_sessions_are_held_at_once(run_dir: Path) -> None:
    needed = 4000 + 300
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < needed:
        pytest.skip(f"this process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    async with ingress_of(FakeIngress()) as target:
        with gateway(run_dir, target) as running:
            sessions = []
            for _ in range(4000):
                mta = await running.connect()
                await mta.open()
                sessions.append(mta)
            assert {type((await mta.message(Mail())).final) for mta in sessions[::100]} == {ev.Accept}
            assert running.lines("session_closed") == []
            extra = await running.connect()
            await extra.say(ev.Negotiate(6, c.ALL_ACTIONS, c.OFFERED_STEPS))
            client = ev.Connect(b"mail.shop.example", c.SMFIA_INET, 54321, b"192.0.2.7")
            assert await extra.say(client) == UNAVAILABLE
            for mta in sessions:
                mta.writer.transport.abort()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[gateway]\nlisten_to = 5\n", "tamis.toml:2: unknown key `listen_to`"),
        ("[gateway]\nsessions_max = 'many'\n", "tamis.toml:2: Expected `int`, got `str`"),
        ("[gateway\n", "not valid TOML"),
        ("[gateway]\nlisten = ['inet:PORT@127.0.0.1']\n", "inet:PORT@127.0.0.1: cannot listen: "),
        ("[gateway]\nlisten = ['inet:0@127.0.0.1']\nops_listen = '127.0.0.1:PORT'\n", "ops_listen 127.0.0.1:PORT"),
        ("[gateway]\nlisten = ['unix:RUN/taken.sock']\n", "taken.sock: cannot listen: Address already in use"),
        ("[gateway]\nlisten = ['unix:RUN/tamis.toml']\n", "exists and is no socket"),
    ],
)
async def test_a_mistake_of_the_operator_is_one_line_and_exit_code_2(config: str, message: str, run_dir: Path) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    unix = await asyncio.start_unix_server(lambda *_: None, run_dir / "taken.sock")
    port = str(taken.sockets[0].getsockname()[1])
    filled = config.replace("PORT", port).replace("RUN", str(run_dir))
    run = await asyncio.to_thread(
        subprocess.run, start_command(run_dir, filled), capture_output=True, text=True, timeout=20, check=False
    )
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert message.replace("PORT", port) in line
    taken.close()
    unix.close()


async def test_a_socket_that_a_dead_gateway_left_behind_is_no_obstacle(run_dir: Path) -> None:
    listen = f'"unix:{run_dir}/milter.sock"'
    with gateway(run_dir, "127.0.0.1:1", listen=listen):
        pass
    assert (run_dir / "milter.sock").exists()
    with gateway(run_dir, "127.0.0.1:1", listen=listen) as running:
        await (await running.connect()).open()


def test_arguments_replace_the_addresses_of_the_file(run_dir: Path) -> None:
    taken = run_dir / "tamis.toml"
    command = start_command(run_dir, "[gateway]\nops_listen = ''\n", "--listen", f"unix:{taken}")
    run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert run.stderr == f"tamis-gateway: unix:{taken}: cannot listen: exists and is no socket\n"
