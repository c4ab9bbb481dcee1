"""The system under test: a whole `tamis up` with two of everything, two clamds and a resolver, and what it tells.

Strategy: Redis, Ray, supervisor, ingresses, workers and gateway are processes below `tamis up` and are found there by
what they run. The gateway's account of its messages is its log, which a fault cannot thin out; that of the ingresses is
what they export as spans.
"""

import json
import re
import shutil
import tempfile
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psutil

from bench.samples import SampleMaker
from bench.stack import Stack, StackOptions
from cli.addresses import free_port
from tests.chaos.ledger import Deadlines, Ended, Judged
from tests.chaos.servers import Server, clamd, resolver

DEADLINES = Deadlines(end_of_message_s=10.0, early_s=5.0)
GATEWAY = f"end_of_message_budget_s = {DEADLINES.end_of_message_s}\n"
CLUSTER = """
ingresses = 2
pools = {dkim = 2, policy = 2, classifier = 2, antivirus = 2}
"""
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
_INGRESSES = re.compile(r"^tamis_gateway_ingresses (\d+)", re.MULTILINE)


class Cell:
    """Context manager: everything runs once entered."""

    def __init__(self, *, prefix: tuple[str, ...] = (), cluster: str = "") -> None:
        """`prefix` of the command `tamis up`; `cluster`: further lines of [cluster]."""
        self.maker = SampleMaker()
        self.clamds: list[Server] = []
        self._parts = ExitStack()
        self._prefix = prefix
        self._cluster = cluster
        self._log_offset = 0

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            folder = Path(tempfile.mkdtemp(prefix="tamis-chaos-", dir="/tmp"))
            parts.callback(shutil.rmtree, folder, ignore_errors=True)
            self.clamds = [parts.enter_context(clamd(folder / f"clamd-{number}")) for number in range(2)]
            port = free_port()
            self.resolver = parts.enter_context(resolver(folder / "resolver", port, self.maker.zone()))
            sockets = ", ".join(f'"unix:{folder}/clamd-{number}/clamd.sock"' for number in range(2))
            options = StackOptions(
                gateway=GATEWAY,
                cluster=CLUSTER + self._cluster,
                extra=f"[antivirus]\nclamd = [{sockets}]\n",
                nameserver=f"127.0.0.1:{port}",
                prefix=self._prefix,
            )
            self.stack = parts.enter_context(Stack(self.maker.zone(), options))
            self._whole = self.processes()
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def processes(self) -> dict[str, list[int]]:
        """Process ids by role, the oldest first."""
        found: dict[str, list[int]] = {role: [] for role in ROLES}
        family = psutil.Process(self.stack.pid).children(recursive=True) if psutil.pid_exists(self.stack.pid) else []
        for process in sorted(family, key=lambda one: one.pid):
            try:
                command = " ".join(process.cmdline()) + " "
            except psutil.Error:
                continue
            for role, pattern in ROLES.items():
                if re.match(pattern, command):
                    found[role].append(process.pid)
        return found

    @property
    def whole(self) -> bool:
        """As many processes of each role as at the beginning, and the gateway hears every ingress."""
        now = self.processes()
        complete = all(len(now[role]) >= len(pids) for role, pids in self._whole.items())
        return complete and self._connected() >= len(self._whole["ingress"])

    def _connected(self) -> int:
        try:
            with urllib.request.urlopen(f"http://{self.stack.ready['ops']}/metrics", timeout=2) as answer:
                found = _INGRESSES.search(answer.read().decode())
        except OSError:
            return 0
        return int(found[1]) if found else 0

    def ended(self) -> list[Ended]:
        """What the gateway wrote of its messages since the last call."""
        with (self.stack.run_dir / "up.log").open("rb") as log:
            log.seek(self._log_offset)
            text = log.read()
        text = text[: text.rfind(b"\n") + 1]
        self._log_offset += len(text)
        lines = (json.loads(line) for line in text.splitlines() if line.startswith(b"{"))
        return [
            Ended(line["queue_id"], line["action"], line.get("failure") or " ".join(line.get("missing", ())))
            for line in lines
            if line.get("event") == "message"
        ]

    def judged(self) -> list[Judged]:
        """What the ingresses exported of their verdicts since the last call."""
        spans, self.stack.receiver.spans[:] = list(self.stack.receiver.spans), []
        return [
            Judged(
                span.attributes["mail.queue_id"],
                span.attributes["mail.action"],
                tuple(filter(None, span.attributes["mail.missing"].split(","))),
            )
            for span in spans
            if span.name == "filter.transaction" and span.attributes["mail.action"]
        ]
