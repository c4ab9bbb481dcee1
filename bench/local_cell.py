"""A cell of several nodes on this machine: one `tamis up` as the head and `tamis join` for each further node.

    with LocalCell(zone, nodes=3) as cell:
        cell.stack.milter, cell.grpc            # as with a Stack of one node
        cell.joined[0].pid, .node_id, .stop()   # the further nodes, each a process tree of its own

Strategy: every node has an address of its own in 127.0.0.0/8 and takes any free ports, since Ray listens on all
interfaces whatever its address is. Loopback needs no certificates. In network namespaces the same two commands run
behind `ip netns exec NAME`: give `prefix` to `StackOptions` and `JoinedNode`, and a configuration with `[ray]
node_address`, `token_file` and the certificates of [cluster.tls], as docs/operating.md tells ("Several nodes"); the
fixed ports of that page hold there, since each namespace has its own.
"""

import json
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.family import Family
from bench.nameserver import Zone
from bench.stack import LEFT_GRACE_S, READY_TIMEOUT_S, STOP_TIMEOUT_S, Stack, StackFailed, StackOptions


class JoinedNode:
    """One `tamis join`. `start`, then wait with `until_joined`; `stop` in every case."""

    def __init__(self, head: str, config: str, prefix: Sequence[str] = ()) -> None:
        """`head` is host:port of its GCS, `config` the text of the configuration file."""
        self.run_dir = Path(tempfile.mkdtemp(prefix="tamis-", dir="/tmp"))
        self._config = self.run_dir / "tamis.toml"
        self._config.write_text(config)
        self._ready_file = self.run_dir / "ready.json"
        arguments = ["join", head, "--config", str(self._config), "--ready-file", str(self._ready_file)]
        self._command = [*prefix, sys.executable, "-m", "cli", *arguments, "--run-dir", str(self.run_dir)]
        self._process: subprocess.Popen[bytes] | None = None
        self._family: Family | None = None
        self.stop_s = 0.0
        self.left: list[str] = []
        """Names of the processes that outlived it."""

    @property
    def pid(self) -> int:
        """Process id of `tamis join`."""
        if self._process is None:
            raise StackFailed("not started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process is not None else None

    @property
    def log(self) -> str:
        """What it wrote so far."""
        path = self.run_dir / "join.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def ready(self) -> dict[str, Any]:
        """The ready file, while it has joined: `node` is Ray's id of it."""
        try:
            found: dict[str, Any] = json.loads(self._ready_file.read_text())
        except FileNotFoundError:
            return {}
        return found

    def start(self) -> Self:
        """Run the command."""
        with (self.run_dir / "join.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self._family = Family(self._process.pid)
        return self

    def until_joined(self, timeout_s: float = READY_TIMEOUT_S) -> str:
        """Ray's id of the node, once it has joined. Raises StackFailed."""
        deadline_s = time.monotonic() + timeout_s
        while not self.ready:
            if self.exit_code is not None:
                raise StackFailed(f"tamis join ended with exit code {self.exit_code}: {self.log[-3000:]}")
            if time.monotonic() > deadline_s:
                raise StackFailed(f"not joined within {timeout_s:.0f} s: {self.log[-3000:]}")
            time.sleep(0.05)
        return str(self.ready["node"])

    def stop(self, grace_s: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM, and SIGKILL after the grace; what is left is killed and in `left`."""
        if self._process is None or self._family is None:
            return
        self._family.look()
        started_s = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.stop_s = time.monotonic() - started_s
        self.left += self._family.left(LEFT_GRACE_S)

    def remove(self) -> None:
        """Stop it, and forget its files."""
        self.stop()
        shutil.rmtree(self.run_dir, ignore_errors=True)


class LocalCell:
    """Context manager; all nodes have joined once entered. Which processes run on them is the supervisor's affair."""

    def __init__(self, zone: Zone, nodes: int = 3, options: StackOptions | None = None, ray: str = "") -> None:
        """`nodes` with the head; `ray` are further lines of [ray] of every node."""
        self._token = tempfile.NamedTemporaryFile("w", prefix="tamis-token-")  # noqa: SIM115  closed in __exit__
        self._token.write(secrets.token_hex(32))
        self._token.flush()
        self._ray = f'[ray]\ntoken_file = "{self._token.name}"\n{ray}\n'
        given = options or StackOptions()
        self.stack = Stack(zone, replace(given, extra=f"{given.extra}\n{self._ray}"))
        self._nodes = nodes
        self.joined: list[JoinedNode] = []

    @property
    def grpc(self) -> str:
        """host:port of the head's ingress."""
        return str(self.stack.ready["grpc"])

    @property
    def pids(self) -> list[int]:
        """The roots of the process trees, the head's first."""
        return [self.stack.pid, *(node.pid for node in self.joined)]

    def __enter__(self) -> Self:
        try:
            self.stack.__enter__()
            for _ in range(self._nodes - 1):
                self.add()
            for node in self.joined:
                node.until_joined()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.joined:
            node.remove()
        self.stack.__exit__(kind, error, trace)
        self._token.close()

    def add(self) -> JoinedNode:
        """One node more; it may take some seconds to join."""
        address = f"127.0.0.{2 + len(self.joined)}"
        config = f'{self._ray}node_address = "{address}"\n'
        node = JoinedNode(str(self.stack.ready["ray"]), config).start()
        self.joined.append(node)
        return node
