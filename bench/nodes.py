"""Three nodes instead of one: CPU per message, how evenly the nodes are used, and that Ray is not on the way.

    .venv/bin/python -m bench.nodes --rounds 5 --messages 3000 --json

Starts a cell of one node and a cell of three on this machine (bench/local_cell.py), each with a gateway that knows all
ingresses, and sends the same real mail through both by turns. CPU is that of everything: gateway, ingresses, replicas,
Ray. The share of a node is what its ingress had in bytes, taken with one and the same mail, so that bytes count mails.
What Ray's GCS and raylets had on their connections during the load, less what they have in the same time without any,
is divided by the messages: a single message through one of them would be thousands of bytes.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from bench.corpus import find_corpus
from bench.family import Family
from bench.figures import show
from bench.local_cell import LocalCell
from bench.nameserver import Zone
from bench.run import figures_of
from bench.samples import SampleMaker
from bench.sockets import bytes_by_process
from bench.stack import StackOptions, wait_for

NODES = 3
SESSIONS = 32
_RAY = ("gcs_server", "raylet")
_JOINED_S = 60.0
_SHOWN_MS = 0.02
_WARM_ROUNDS = 5
GATEWAY = '[gateway]\nlisten = ["inet:0@127.0.0.1"]\nops_listen = ""\n'


@dataclass(frozen=True, slots=True)
class Cell:
    """A running cell and the gateway in front of it."""

    nodes: LocalCell
    milter: str
    gateway: int
    """Process id."""

    @property
    def pids(self) -> list[int]:
        """The roots of everything whose CPU counts."""
        return [*self.nodes.pids, self.gateway]

    @property
    def port(self) -> int:
        """Of the ingress of every node."""
        return int(self.nodes.grpc.rpartition(":")[2])

    def owners(self) -> list[set[int]]:
        """The processes of each node."""
        return [{process.pid for process in Family(pid).alive()} for pid in self.nodes.pids]

    def load(self, corpus: Path, messages: int) -> dict[str, Any]:
        """bench.milter_load's figures."""
        command = [sys.executable, "-m", "bench.milter_load", "--json", "--to", self.milter, "--corpus", str(corpus)]
        command += ["--sessions", str(SESSIONS), "--messages", str(messages), "--pid", *map(str, self.pids)]
        return figures_of(subprocess.run(command, capture_output=True, text=True, check=False))


@dataclass(frozen=True, slots=True)
class Figures:
    """What is measured."""

    cpu_ms_1_node: float
    cpu_ms_3_nodes: float
    cpu_ratio: float
    shares_percent: tuple[float, ...]
    share_off_percent: float
    """The largest distance from an even share, in percent of it."""
    ray_bytes_per_message: float
    """Of GCS and raylets, on top of what they have at rest."""
    unanswered: int
    cpu_ms_by_process: dict[str, tuple[float, float]]
    """In the last round: 1 node, 3 nodes; those with 0.02 ms or more."""

    @classmethod
    def of(cls, one: list[dict[str, Any]], three: list[dict[str, Any]], counted: "Counted") -> Self:
        """From the rounds of both cells."""
        key = "cpu_ms_per_message"
        cpu = [statistics.median(figures[key] for figures in rounds) for rounds in (one, three)]
        ratio = statistics.median(b[key] / a[key] for a, b in zip(one, three, strict=True))
        even = 100 / len(counted.shares_percent)
        off = max(abs(share - even) / even * 100 for share in counted.shares_percent)
        unanswered = sum(int(figures["unanswered"]) for figures in (*one, *three))
        shares = tuple(round(share, 1) for share in counted.shares_percent)
        parts = [rounds[-1]["cpu_ms_per_message_by_process"] for rounds in (one, three)]
        by_process = {name: (parts[0].get(name, 0.0), parts[1].get(name, 0.0)) for name in {**parts[0], **parts[1]}}
        return cls(
            *cpu,
            round(ratio, 3),
            shares,
            round(off, 1),
            round(counted.ray_bytes_per_message, 1),
            unanswered,
            {name: both for name, both in by_process.items() if max(both) >= _SHOWN_MS},
        )


@dataclass(frozen=True, slots=True)
class Counted:
    """Of one load with one mail."""

    shares_percent: list[float]
    ray_bytes_per_message: float


@contextlib.contextmanager
def running(nodes: int, zone: Zone) -> Iterator[Cell]:
    """A cell with so many nodes, all of them at work."""
    with (
        LocalCell(zone, nodes, StackOptions(trace=False)) as cell,
        tempfile.TemporaryDirectory(prefix="tamis-", dir="/tmp") as directory,
    ):
        port = cell.grpc.rpartition(":")[2]
        ingresses = [cell.grpc, *(f"{node.ready['address']}:{port}" for node in cell.joined)]
        for address in ingresses:
            wait_for(lambda address=address: _listens(address), _JOINED_S)  # type: ignore[misc]
        config, ready = Path(directory) / "tamis.toml", Path(directory) / "ready.json"
        config.write_text(GATEWAY)
        command = [sys.executable, "-m", "gateway", "--config", str(config), "--ready-file", str(ready)]
        command += [word for address in ingresses for word in ("--ingress", address)]
        gateway = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(ready.exists)
            yield Cell(cell, str(json.loads(ready.read_text())["listen"][0]), gateway.pid)
        finally:
            gateway.terminate()
            gateway.wait()


def _listens(address: str) -> bool:
    done = subprocess.run(["ss", "-tlnH", "src", address], capture_output=True, text=True, check=True)
    return bool(done.stdout.strip())


def count(cell: Cell, mail: Path, messages: int) -> Counted:
    """Who carries the messages."""
    owners = cell.owners()
    everyone = set().union(*owners)
    before, ray_before, started_s = bytes_by_process(("ray::Ingress",), cell.port), _of_ray(everyone), time.monotonic()
    cell.load(mail, messages)
    took_s = time.monotonic() - started_s
    after, ray_after = bytes_by_process(("ray::Ingress",), cell.port), _of_ray(everyone)
    by_node = [sum(after[pid] - before[pid] for pid in node if pid in after) for node in owners]
    time.sleep(took_s)
    at_rest = _of_ray(everyone) - ray_after
    shares = [100 * of_node / max(1, sum(by_node)) for of_node in by_node]
    return Counted(shares, max(0, ray_after - ray_before - at_rest) / messages)


def _of_ray(pids: set[int]) -> int:
    return sum(amount for pid, amount in bytes_by_process(_RAY).items() if pid in pids)


def measure(rounds: int, messages: int) -> Figures:
    """Both cells by turns."""
    maker = SampleMaker()
    with (
        tempfile.TemporaryDirectory(prefix="tamis-corpus-", dir="/tmp") as scratch,
        running(1, maker.zone()) as one,
        running(NODES, maker.zone()) as three,
    ):
        corpus = find_corpus(Path(scratch), Console(stderr=True))
        mail = Path(scratch) / "same.eml"
        mail.write_bytes(maker.samples()[0].raw)
        # Every node has a cache of its own, which should know what the mail needs as well as that of a single node.
        one.load(corpus, messages)
        three.load(corpus, _WARM_ROUNDS * messages)
        figures = [(one.load(corpus, messages), three.load(corpus, messages)) for _ in range(rounds)]
        return Figures.of([a for a, _ in figures], [b for _, b in figures], count(three, mail, messages))


def main() -> int:
    """1 when a message got no answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=3000, help="in each round, to each cell")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = measure(args.rounds, args.messages)
    show({name: getattr(figures, name) for name in figures.__slots__}, as_json=args.json)
    return 1 if figures.unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
