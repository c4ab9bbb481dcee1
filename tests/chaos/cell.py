"""The system under test: a whole `tamis up` with two of everything, two clamds and a resolver, and what it tells.

Strategy: Redis, Ray, supervisor, ingresses, workers and gateway are processes below `tamis up` and are found there by
what they run. The gateway's account of its messages is its log, which a fault cannot thin out; that of the ingresses is
what they export as spans.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psutil

from bench.otlp_receiver import OtlpReceiver
from bench.samples import SampleMaker
from bench.stack import Stack, StackOptions
from cli.addresses import free_port
from tests.chaos.by_milter import ByMilter
from tests.chaos.ledger import Deadlines, Ended, Judged
from tests.chaos.servers import Server, clamd, resolver

DEADLINES = Deadlines(end_of_message_s=10.0, early_s=5.0)
GATEWAY = f"end_of_message_budget_s = {DEADLINES.end_of_message_s}\n"
CLUSTER = """
ingresses = 2
pools = {dkim = 2, policy = 2, classifier = 2, antivirus = 2}
"""
_OTHER_TIME = Path(__file__).parent / "other_time"
# The run directory is the last argument of `tamis up`.
_ON_A_SMALL_DISK = 'for last; do :; done; mkdir -p "$last"; mount -t tmpfs -o size=256m tmpfs "$last"; exec "$@"'
ROLES: Mapping[str, str] = {
    "ingress": r"ray::IngressProcess",
    "worker": r"ray::HostProcess",
    "supervisor": r"ray::Supervisor",
    "raylet": r"\S*/raylet ",
    "gcs": r"\S*/gcs_server ",
    "redis": r"\S*valkey-server ",
    "gateway": r"\S*python\S* -m gateway ",
}
"""What the command line of each part begins with."""


class GatewayLog:
    """What a gateway wrote since it was last asked: the messages that ended, and the ingresses that it hears."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._ended: list[Ended] = []
        self._ingresses: set[str] = set()

    def ended(self) -> list[Ended]:
        """The messages since the last call."""
        self._read()
        ended, self._ended = self._ended, []
        return ended

    def ingresses(self) -> set[str]:
        """host:port of those with a stream."""
        self._read()
        return self._ingresses

    def _read(self) -> None:
        with self._path.open("rb") as log:
            log.seek(self._offset)
            text = log.read()
        text = text[: text.rfind(b"\n") + 1]
        self._offset += len(text)
        for line in map(json.loads, (line for line in text.splitlines() if line.startswith(b"{"))):
            if line["event"] == "message":
                why = line.get("failure") or " ".join(line.get("missing", ()))
                self._ended.append(Ended(line["queue_id"], line["action"], why))
            elif line["event"] == "listening":
                self._ingresses.clear()  # it has just started
            elif line["event"] == "ingress_connected":
                self._ingresses.add(line["ingress"])
            elif line["event"] == "ingress_lost":
                self._ingresses.discard(line["ingress"])


def processes(root: int) -> dict[str, list[int]]:
    """Process ids below a process by role, the oldest first."""
    found: dict[str, list[int]] = {role: [] for role in ROLES}
    family = psutil.Process(root).children(recursive=True) if psutil.pid_exists(root) else []
    for process in sorted(family, key=lambda one: one.pid):
        try:
            command = " ".join(process.cmdline()) + " "
        except psutil.Error:
            continue
        for role, pattern in ROLES.items():
            if re.match(pattern, command):
                found[role].append(process.pid)
    return found


def judged(receiver: OtlpReceiver) -> list[Judged]:
    """What ingresses exported of their verdicts since the last call."""
    spans, receiver.spans[:] = list(receiver.spans), []
    return [
        Judged(
            span.attributes["mail.queue_id"],
            span.attributes["mail.action"],
            tuple(filter(None, span.attributes["mail.missing"].split(","))),
        )
        for span in spans
        if span.name == "filter.transaction" and span.attributes["mail.action"]
    ]


class Cell:
    """Context manager: everything runs once entered."""

    def __init__(self, *, apart: bool = False) -> None:
        """`apart`: the run directory of `tamis up` is `disk`, a small one, and the file `clock` moves its clock."""
        self.maker = SampleMaker()
        self.clamds: list[Server] = []
        self._parts = ExitStack()
        self._apart = apart

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            folder = Path(tempfile.mkdtemp(prefix="tamis-chaos-", dir="/tmp"))
            parts.callback(shutil.rmtree, folder, ignore_errors=True)
            self.clamds = [parts.enter_context(clamd(folder / f"clamd-{number}")) for number in range(2)]
            self.clock = folder / "clock"
            self.clock.write_text("0\n")
            port = free_port()
            self.resolver = parts.enter_context(resolver(folder / "resolver", port, self.maker.zone()))
            sockets = ", ".join(f'"unix:{folder}/clamd-{number}/clamd.sock"' for number in range(2))
            options = StackOptions(
                gateway=GATEWAY,
                cluster=CLUSTER,
                extra=f"[antivirus]\nclamd = [{sockets}]\n",
                nameserver=f"127.0.0.1:{port}",
                milter=f"inet:{free_port()}@127.0.0.1",  # where it is again after a restart
                prefix=self._prefix(),
                run_dir="run" if self._apart else "",
            )
            self.stack = parts.enter_context(Stack(self.maker.zone(), options))
            self._gateway = GatewayLog(self.stack.run_dir / "up.log")
            self._whole = self.processes()
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def _prefix(self) -> tuple[str, ...]:
        if not self._apart:
            return ()
        clock = ("env", f"PYTHONPATH={_OTHER_TIME}", f"CHAOS_CLOCK={self.clock}")
        return (*clock, "unshare", "--mount", "sh", "-c", _ON_A_SMALL_DISK, "sh")

    @property
    def disk(self) -> Path:
        """The disk that `tamis up` alone has, as others can reach it."""
        return Path(f"/proc/{self.stack.pid}/root{self.stack.run_dir}/run")

    @property
    def way(self) -> ByMilter:
        """How its mail comes in."""
        return ByMilter([self.stack.milter])

    def processes(self) -> dict[str, list[int]]:
        """Process ids by role, the oldest first."""
        return processes(self.stack.pid)

    @property
    def whole(self) -> bool:
        """As many processes of each role as at the beginning, and the gateway hears every ingress."""
        now = self.processes()
        complete = all(len(now[role]) >= len(pids) for role, pids in self._whole.items())
        return complete and len(self._gateway.ingresses()) >= len(self._whole["ingress"])

    def ended(self) -> list[Ended]:
        """What the gateway wrote of its messages since the last call."""
        return self._gateway.ended()

    def judged(self) -> list[Judged]:
        """What the ingresses exported of their verdicts since the last call."""
        return judged(self.stack.receiver)
