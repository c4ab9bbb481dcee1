"""Redis on loopback for tests: single servers, a Sentinel over a primary with a replica, a Cluster of three."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.addresses import free_port
from tests.conftest import skip_or_fail

START_S = 40.0


class RedisProcess:
    """One redis-server, or a Sentinel of it, in a directory of its own."""

    def __init__(self, *settings: str, port: int = 0, sentinel: str = "") -> None:
        """`sentinel` is the text of a Sentinel's configuration file."""
        self.port = port or free_port("127.0.0.1")
        self.address = f"127.0.0.1:{self.port}"
        self.directory = Path(tempfile.mkdtemp(prefix="tamis-redis-", dir="/tmp"))
        self._sentinel = sentinel
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        if shutil.which("redis-server") is None:
            skip_or_fail("redis-server is missing: tests/services/install")
        common = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        if self._sentinel:
            config = self.directory / "sentinel.conf"
            if not config.exists():
                config.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n{self._sentinel}\n")
            command = ["redis-server", str(config), "--sentinel"]
        else:
            command = ["redis-server", *common, "--save", "", "--repl-diskless-sync-delay", "0", *self._settings]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self.answers, f"redis on port {self.port} did not start")
        return self

    def answers(self) -> bool:
        try:
            return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def ask(self, *words: str) -> bytes:
        """One command, inline; the start of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as client:
            client.settimeout(2)
            client.sendall(" ".join(words).encode() + b"\r\n")
            return client.recv(65536)

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Servers:
    """Context manager of several."""

    def __init__(self) -> None:
        self.all: list[RedisProcess] = []

    def start(self, *settings: str, sentinel: str = "") -> RedisProcess:
        process = RedisProcess(*settings, sentinel=sentinel)
        self.all.append(process)
        return process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.all:
            process.remove()

    def sentinel(self) -> tuple[RedisProcess, RedisProcess, RedisProcess]:
        """(primary, replica, sentinel): the set is named "mail" and fails over after a second."""
        primary = self.start()
        replica = self.start("--replicaof", f"127.0.0.1 {primary.port}")
        until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"), "the replica does not follow")
        text = (
            f"sentinel monitor mail 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds mail 1000\nsentinel failover-timeout mail 3000\n"
        )
        sentinel = self.start(sentinel=text)
        port = str(replica.port).encode()
        until(lambda: port in sentinel.ask("SENTINEL", "REPLICAS", "mail"), "the Sentinel sees no replica")
        return primary, replica, sentinel

    def cluster(self) -> Sequence[RedisProcess]:
        """Three primaries with all slots between them, each with a replica."""
        nodes = [self.start("--cluster-enabled", "yes", "--cluster-node-timeout", "1000") for _ in range(6)]
        addresses = [node.address for node in nodes]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        until(lambda: all(b"cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in nodes), "no cluster")
        linked = b"master_link_status:up"
        until(lambda: all(linked in node.ask("INFO", "replication") for node in nodes[3:]), "a replica does not follow")
        return nodes


def until(condition: Callable[[], bool], complaint: str, timeout_s: float = START_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, complaint
        time.sleep(0.05)
