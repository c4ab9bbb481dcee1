"""A whole Tamis on loopback for demo, tests and benchmarks: `tamis up`, a name server and a trace receiver.

The servers run in a thread with a loop of their own, so that synchronous tests and asynchronous load use it alike.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from bench.family import Family
from bench.nameserver import Nameserver, Zone
from bench.otlp_receiver import OtlpReceiver
from bench.release import environment

T = TypeVar("T")

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
LEFT_GRACE_S = 2.0
LEFT_GRACE_KILLED_S = 10.0
"""Of what looks after itself when `tamis up` was killed."""
CONFIG = """
[gateway]
listen = ["{milter}"]
ops_listen = "127.0.0.1:0"
{gateway}
[cluster]
listen = "{listen}"
{cluster}
{admin}
[dns]
nameservers = ["{dns}"]
{dns_lines}
[trace]
otlp_endpoint = "{otlp}"
sample_ratio = {sample_ratio}
slow_ms = {slow_ms}
{extra}
"""
ADMIN = '[cluster.admin]\nlisten = "127.0.0.1:0"'
"""Release 0.1.0 knows no such section."""


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What differs from the defaults."""

    sample_ratio: float = 1.0
    slow_ms: int = 1000
    dns_delay_s: tuple[float, float] = (0.0, 0.0)
    nameserver: str = ""
    """host:port of a resolver of somebody else; empty: the stack's own name server."""
    gateway: str = ""
    """Further lines of [gateway]."""
    cluster: str = ""
    """Further lines of [cluster]."""
    milter: str = "inet:0@127.0.0.1"
    """Where the gateway listens."""
    listen: str = "127.0.0.1:0"
    """Where the ingress listens."""
    dns: str = ""
    """Further lines of [dns]."""
    extra: str = ""
    """Further sections."""
    trace: bool = True
    prefix: tuple[str, ...] = ()
    """Before the command, such as ip netns exec NAME."""
    run_dir: str = ""
    """Below ours; the ready file stays outside."""
    tree: Path | None = None
    """Run the release whose tree this is; what it imported is told by `bench.release.imported(tree, bytecode)`."""


class StackFailed(Exception):
    """`tamis up` did not get ready; the text holds the end of its output."""


class Stack:
    """Context manager; `milter`, `grpc` and `ops` are addresses once entered."""

    def __init__(self, zone: Zone, options: StackOptions | None = None) -> None:
        self.options = options or StackOptions()
        self.nameserver = Nameserver(zone, self.options.dns_delay_s)
        self.receiver = OtlpReceiver()
        self.ready: dict[str, Any] = {}
        self.start_s = 0.0
        self.stop_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._up: subprocess.Popen[bytes] | None = None
        self._family: Family | None = None
        self._killed = False
        self.left: list[str] = []
        """Names of the processes that outlived `tamis up`, once it has ended."""
        self.run_dir = Path(tempfile.mkdtemp(prefix="tamis-", dir="/tmp"))
        self.bytecode = self.run_dir / "bytecode"

    @property
    def milter(self) -> str:
        """inet:PORT@HOST of the gateway."""
        return str(self.ready["milter"])

    @property
    def pid(self) -> int:
        """Process id of `tamis up`."""
        if self._up is None:
            raise StackFailed("not started")
        return self._up.pid

    @property
    def log(self) -> str:
        """What `tamis up` and its children wrote so far."""
        path = self.run_dir / "up.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def ending(self) -> str:
        """What was wrong with the end: that it took SIGKILL, and which processes were left; empty when all was well."""
        complaints = [f"tamis up did not end within {STOP_TIMEOUT_S:.0f} s and was killed"] if self._killed else []
        complaints += ["left running: " + ", ".join(self.left)] if self.left else []
        return "; ".join(complaints)

    @property
    def processes(self) -> int:
        """How many processes of `tamis up` were seen."""
        return len(self._family) if self._family else 0

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_up()
        self.call(self.receiver.stop())
        self._loop.call_soon_threadsafe(self.nameserver.stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def call(self, work: Coroutine[Any, Any, T], timeout_s: float = 30.0) -> T:
        """Run a coroutine in the servers' loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def _start(self) -> None:
        options = self.options
        config = self.run_dir / "tamis.toml"
        own = f"127.0.0.1:{self.call(self.nameserver.start())}"
        otlp = self.call(self.receiver.start()) if options.trace else ""
        config.write_text(
            CONFIG.format(
                dns=options.nameserver or own,
                dns_lines=options.dns,
                milter=options.milter,
                listen=options.listen,
                admin=ADMIN if options.tree is None else "",
                otlp=otlp,
                sample_ratio=options.sample_ratio,
                slow_ms=options.slow_ms,
                gateway=options.gateway,
                cluster=options.cluster,
                extra=options.extra,
            )
        )
        started = time.monotonic()
        up, family = self._launch()
        ready_file = self.run_dir / "ready.json"
        while not ready_file.exists():
            if up.poll() is not None:
                raise StackFailed(f"tamis up ended with exit code {up.returncode}: {self.log[-3000:]}")
            if time.monotonic() - started > READY_TIMEOUT_S:
                raise StackFailed(f"tamis up was not ready within {READY_TIMEOUT_S:.0f} s: {self.log[-3000:]}")
            time.sleep(0.05)
        self.start_s = time.monotonic() - started
        family.look()
        self.ready = json.loads(ready_file.read_text())

    def launch_again(self, within_s: float) -> int:
        """`tamis up` ends by itself within this time: run it again, as a service manager would, and do not wait for it.

        Returns its exit code. Raises subprocess.TimeoutExpired.
        """
        if self._up is None or self._family is None:
            raise StackFailed("not started")
        self._family.look()
        code = self._up.wait(within_s)
        self.left += self._family.left(LEFT_GRACE_S)
        self._launch()
        return code

    def _launch(self) -> tuple[subprocess.Popen[bytes], Family]:
        run_dir, ready_file = self.run_dir / self.options.run_dir, self.run_dir / "ready.json"
        config = self.run_dir / "tamis.toml"
        arguments = ["--config", str(config), "--ready-file", str(ready_file), "--run-dir", str(run_dir)]
        command = [*self.options.prefix, sys.executable, "-m", "cli", "up", *arguments]
        tree = self.options.tree
        env = environment(tree, self.bytecode) if tree else None
        with (self.run_dir / "up.log").open("ab") as log:
            self._up = subprocess.Popen(command, stdout=log, stderr=log, cwd=tree, env=env)
        self._family = Family(self._up.pid)
        return self._up, self._family

    def stop_up(self) -> None:
        """SIGTERM to `tamis up`; `stop_s` says how long it took to end, SIGKILL follows after STOP_TIMEOUT_S.

        `ending` says what was wrong with it; what was left is killed.
        """
        if self._up is None or self._family is None:
            return
        if self._up.poll() is None:
            self._family.look()
            started = time.monotonic()
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._killed = True
                self._up.kill()
                self._up.wait()
            self.stop_s = time.monotonic() - started
        self.left += self._family.left(LEFT_GRACE_KILLED_S if self._killed else LEFT_GRACE_S)


def wait_for(condition: Callable[[], T | None], timeout_s: float = 10.0) -> T:
    """Poll until the condition gives something true. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(f"not within {timeout_s:.0f} s")
