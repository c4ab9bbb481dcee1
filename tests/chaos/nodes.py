"""A cell of three nodes and two gateways, each host a network namespace, over a network that a test can break.

Strategy: hosts 1 to 3 are nodes (1 is the head, with Redis), 4 and 5 are gateways. Mail comes in through unix sockets
and spans leave by a relay on each host, so that nothing of the test itself travels over the network that it breaks.
"""

import asyncio
import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from bench.family import Family
from bench.otlp_receiver import OtlpReceiver
from bench.samples import SampleMaker
from tests.certificates import Authority
from tests.chaos.by_milter import ByMilter
from tests.chaos.cell import DEADLINES, GatewayLog, judged, processes
from tests.chaos.ledger import Ended, Judged
from tests.chaos.load import BLOCKED
from tests.chaos.network import Network, address
from tests.chaos.servers import Server, clamd, resolver, valkey

NODES = (1, 2, 3)
GATEWAYS = (4, 5)
READY_S = 150.0
STOP_S = 20.0
DNS_PORT = 5353
OTLP_PORT = 4317
INGRESS_PORT = 11333
CONFIG = """
[gateway]
listen = ["unix:{folder}/milter-{host}"]
ops_listen = ""
ingress = [{ingresses}]
end_of_message_budget_s = {deadline_s}
[gateway.tls]
{tls}
[gateway.fallback]
deny_senders = ["{blocked}"]
[cluster]
listen = "{address}:11333"
[cluster.tls]
{tls}
[cluster.admin]
listen = "127.0.0.1:0"
[ray]
node_address = "{address}"
token_file = "{folder}/token"
gcs_redis = "redis://{redis}:6379"
[redis]
url = "redis://{redis}:6379"
[dns]
nameservers = ["127.0.0.1:{dns_port}"]
[antivirus]
clamd = [{clamds}]
[trace]
otlp_endpoint = "127.0.0.1:{otlp_port}"
sample_ratio = 1.0
"""


class Program:
    """One of our commands on one of the hosts."""

    def __init__(self, prefix: Sequence[str], words: Sequence[str], folder: Path, name: str) -> None:
        self.log = folder / f"{name}.log"
        self.ready_file = folder / f"{name}.json"
        self._name = name
        self._command = [*prefix, sys.executable, "-m", *words, "--ready-file", str(self.ready_file)]
        self.start()

    def start(self) -> None:
        """Run it, once more if need be; it is not waited for."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self._family = Family(self._process.pid)

    @property
    def pid(self) -> int:
        """Of the program itself: `ip netns exec` becomes it."""
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """Of it and all that it started."""
        self._family.look()
        return [process.pid for process in self._family.alive()]

    def until_ready(self) -> None:
        """Start it again when it ends, as a service manager would: Ray gives a node 30 s. Raises RuntimeError."""
        deadline_s = time.monotonic() + READY_S
        while not self.ready_file.exists():
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{self._name} is not ready: {self.log.read_text(errors='replace')[-2000:]}")
            if self._process.poll() is not None:
                self._family.left(1.0)
                self.start()
            time.sleep(0.1)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left."""
        self._family.look()
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._family.left(1.0)


class Nodes:
    """Context manager: everything runs once entered."""

    def __init__(self) -> None:
        self.maker = SampleMaker()
        self.network = Network(len(NODES) + len(GATEWAYS))
        self._receiver = OtlpReceiver()
        self._loop = asyncio.new_event_loop()
        self._parts = ExitStack()
        self.nodes: dict[int, Program] = {}
        self.redis: Server
        self._gateways: list[GatewayLog] = []
        self._relays: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            self._folder = Path(tempfile.mkdtemp(prefix="tamis-chaos-", dir="/tmp"))
            parts.callback(shutil.rmtree, self._folder, ignore_errors=True)
            parts.enter_context(self.network)
            self._serve_spans(parts)
            self._start_servers(parts)
            self._start_nodes(parts)
            self._start_gateways(parts)
            self._wait_whole()
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    @property
    def way(self) -> ByMilter:
        """How its mail comes in: to the two gateways in turn."""
        return ByMilter([f"unix:{self._folder}/milter-{host}" for host in GATEWAYS])

    def command(self, *words: str) -> list[str]:
        """A command of `tamis` for the cell, on the head."""
        return [*self.network.prefix(1), sys.executable, "-m", "cli", *words, "--run-dir", str(self._folder / "n1")]

    @property
    def whole(self) -> bool:
        """Every node has its processes, and every gateway hears every ingress."""
        complete = all(
            found["ingress"] and found["worker"] and found["raylet"]
            for found in (processes(node.pid) for node in self.nodes.values())
        )
        return complete and all(len(log.ingresses()) == len(NODES) for log in self._gateways)

    def ended(self) -> list[Ended]:
        """What the gateways wrote of their messages since the last call."""
        return [one for log in self._gateways for one in log.ended()]

    def judged(self) -> list[Judged]:
        """What the ingresses exported of their verdicts since the last call."""
        return judged(self._receiver)

    def _serve_spans(self, parts: ExitStack) -> None:
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        parts.callback(self._loop.call_soon_threadsafe, self._loop.stop)
        parts.callback(lambda: asyncio.run_coroutine_threadsafe(self._receiver.stop(), self._loop).result(10))
        asyncio.run_coroutine_threadsafe(self._relay_spans(), self._loop).result(10)

    async def _relay_spans(self) -> None:
        host, _, port = (await self._receiver.start()).rpartition(":")

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            target.close()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_connection(host, int(port))
            await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

        for number in NODES:
            self._relays.append(await asyncio.start_server(relay, sock=self.network.listen(number, OTLP_PORT)))

    def _start_servers(self, parts: ExitStack) -> None:
        for number in range(2):
            parts.enter_context(clamd(self._folder / f"clamd-{number}"))
        for host in NODES:
            folder, prefix = self._folder / f"resolver-{host}", self.network.prefix(host)
            parts.enter_context(resolver(folder, DNS_PORT, self.maker.zone(), prefix))
        self.redis = parts.enter_context(valkey(self._folder / "valkey", address(1), self.network.prefix(1)))
        token = self._folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))

    def _start_nodes(self, parts: ExitStack) -> None:
        hosts = [address(host) for host in (*NODES, *GATEWAYS)]
        self._tls = Authority().issue(self._folder / "tls", "tamis", "127.0.0.1", *hosts)
        for host in NODES:
            words = ["cli", "up"] if host == 1 else ["cli", "join", f"{address(1)}:6380"]
            self.nodes[host] = node = self._start(parts, host, words, "--run-dir", str(self._folder / f"n{host}"))
            if host == 1:
                node.until_ready()
        for node in self.nodes.values():
            node.until_ready()

    def _start_gateways(self, parts: ExitStack) -> None:
        for host in GATEWAYS:
            gateway = self._start(parts, host, ["gateway"])
            gateway.until_ready()
            self._gateways.append(GatewayLog(gateway.log))

    def _start(self, parts: ExitStack, host: int, words: Sequence[str], *more: str) -> Program:
        config = self._folder / f"host-{host}.toml"
        files = {name: getattr(self._tls, name) for name in ("certificate", "key", "authority")}
        config.write_text(
            CONFIG.format(
                folder=self._folder,
                host=host,
                address=address(host),
                redis=address(1),
                ingresses=", ".join(f'"{address(node)}:{INGRESS_PORT}"' for node in NODES),
                deadline_s=DEADLINES.end_of_message_s,
                blocked=BLOCKED,
                tls="\n".join(f"{name} = {json.dumps(path)}" for name, path in files.items()),
                dns_port=DNS_PORT,
                otlp_port=OTLP_PORT,
                clamds=", ".join(f'"unix:{self._folder}/clamd-{number}/clamd.sock"' for number in range(2)),
            )
        )
        prefix = self.network.prefix(host)
        program = Program(prefix, [*words, "--config", str(config), *more], self._folder, f"host-{host}")
        parts.callback(program.stop)
        return program

    def _wait_whole(self) -> None:
        deadline_s = time.monotonic() + READY_S
        while not self.whole:
            if time.monotonic() > deadline_s:
                raise RuntimeError(
                    "the cell of three nodes is not whole: " + str([log.ingresses() for log in self._gateways])
                )
            time.sleep(0.5)
