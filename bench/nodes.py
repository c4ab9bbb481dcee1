"""Three nodes instead of one: CPU per message, how evenly the nodes are used, and that Ray is not on the way.

    .venv/bin/python -m bench.nodes --rounds 5 --messages 2000 --json

Real mail goes by turns through three arrangements on this machine, each with a gateway that knows all its ingresses:

- one node: a cell of one node, while the others rest;
- three nodes: a cell of three nodes;
- three cells: as many cells of one node behind one gateway, the same processes on the same cores, none of which knows
  the others. Three nodes against these is what a cell of several nodes costs. Three nodes against one node has more in
  it, since the three share the cores of the one: colder caches, more changes of process, and what costs time instead
  of messages (Ray's processes) counts three times.

Every load saturates the machine with 32 sessions for each node, so that a node of three has as much at hand as the
single one, on a third of its cores; `--same-sessions` has the three share 32. CPU is that of everything: gateway,
ingresses, replicas, Ray. The share of a node is what its ingress had in bytes, taken with one and the same mail, so
that bytes count mails. What Ray's GCS and raylets had on their connections during the load, less what they have in the
same time without any, is divided by the messages: a single message through one of them would be thousands of bytes.
The same is done with what the processes of a node send to those of another.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from bench.corpus import find_corpus
from bench.family import Family
from bench.figures import show
from bench.local_cell import LocalCell
from bench.nameserver import Zone
from bench.process_tree import tree_usage
from bench.run import figures_of
from bench.samples import SampleMaker
from bench.sockets import bytes_between, bytes_by_process
from bench.stack import StackOptions, wait_for

NODES = 3
SESSIONS = 32
"""For each node."""
_RAY = ("gcs_server", "raylet")
_JOINED_S = 60.0
_REST_S = 3.0
_SHOWN_MS = 0.02
_CPU = "cpu_ms_per_message"
ONE, THREE = "1_node", "3_nodes"
APART, SAME_SESSIONS = "3_cells", "3_nodes_with_the_sessions_of_1"
"""Loads."""
_WARM_ROUNDS = 3
_COUNTED_MIN = 1000
"""Messages of which some are still under way at one node when the others have ended theirs."""
GATEWAY = '[gateway]\nlisten = ["inet:0@127.0.0.1"]\nops_listen = ""\n'


@dataclass(frozen=True, slots=True)
class Cell:
    """A running cell and the gateway in front of it."""

    nodes: LocalCell
    apart: tuple[LocalCell, ...]
    """Further cells that the gateway knows."""
    milter: str
    gateway: int
    """Process id."""
    log: Path
    """Of the gateway."""

    @property
    def pids(self) -> list[int]:
        """The roots of everything whose CPU counts."""
        return [*(pid for cell in (self.nodes, *self.apart) for pid in cell.pids), self.gateway]

    @property
    def port(self) -> int:
        """Of the ingress of every node."""
        return int(self.nodes.grpc.rpartition(":")[2])

    @property
    def streams_lost(self) -> int:
        """How often it had to connect anew: transactions are told twice then, and a node gets less for a while."""
        return self.log.read_text().count("ingress_lost")

    def owners(self) -> list[set[int]]:
        """The processes of each node."""
        return [{process.pid for process in Family(pid).alive()} for pid in self.nodes.pids]

    def load(self, corpus: Path, messages: int, sessions: int = 0) -> dict[str, Any]:
        """bench.milter_load's figures, with SESSIONS for each node if not said otherwise."""
        sessions = sessions or SESSIONS * (len(self.pids) - 1)
        command = [sys.executable, "-m", "bench.milter_load", "--json", "--to", self.milter, "--corpus", str(corpus)]
        command += ["--sessions", str(sessions), "--messages", str(messages), "--pid", *map(str, self.pids)]
        return figures_of(subprocess.run(command, capture_output=True, text=True, check=False))


@dataclass(frozen=True, slots=True)
class Figures:
    """What is measured; medians of the rounds, ratios those of the two loads of each round."""

    cpu_ms: dict[str, float]
    """By load."""
    cpu_ratio: float
    """Three nodes to one, which has the cores alone."""
    cpu_ratio_to_three_cells: float
    cpu_ratio_same_sessions: float | None
    """Three nodes with the sessions of one to that one."""
    load_generator_cpu_ms: dict[str, float]
    """Its work is the same in each load: how much slower these cores are when so many processes share them."""
    at_rest_cpu_ms_per_s: dict[str, float]
    shares_percent: tuple[float, ...]
    share_off_percent: float
    """The largest distance from an even share, in percent of it."""
    ray_bytes_per_message: float
    """Of GCS and raylets, on top of what they have at rest."""
    between_nodes_bytes_per_message: float
    """Of all processes of the nodes, on top of what they have at rest."""
    unanswered: int
    streams_lost: dict[str, int]
    cpu_ms_by_process: dict[str, tuple[float, float]]
    """Of three cells and of three nodes; those with 0.02 ms or more."""

    @classmethod
    def of(
        cls,
        rounds: Sequence[Mapping[str, Any]],
        counted: "Counted",
        at_rest: dict[str, float],
        streams_lost: dict[str, int],
    ) -> Self:
        """Of rounds of loads by name."""
        even = 100 / len(counted.shares_percent)
        off = max(abs(share - even) / even * 100 for share in counted.shares_percent)
        parts = [_by_process([loads[name] for loads in rounds]) for name in (APART, THREE)]
        by_process = {name: (parts[0].get(name, 0.0), parts[1].get(name, 0.0)) for name in {**parts[0], **parts[1]}}
        return cls(
            _medians(rounds, _CPU),
            _ratio(rounds, THREE, ONE),
            _ratio(rounds, THREE, APART),
            _ratio(rounds, SAME_SESSIONS, ONE) if SAME_SESSIONS in rounds[0] else None,
            _medians(rounds, f"load_generator_{_CPU}"),
            at_rest,
            tuple(round(share, 1) for share in counted.shares_percent),
            round(off, 1),
            round(counted.ray_bytes_per_message, 1),
            round(counted.between_nodes_bytes_per_message, 1),
            sum(int(figures["unanswered"]) for loads in rounds for figures in loads.values()),
            streams_lost,
            {name: both for name, both in by_process.items() if max(both) >= _SHOWN_MS},
        )


def _medians(rounds: Sequence[Mapping[str, Any]], figure: str) -> dict[str, float]:
    return {name: round(statistics.median(loads[name][figure] for loads in rounds), 3) for name in rounds[0]}


def _ratio(rounds: Sequence[Mapping[str, Any]], of: str, to: str) -> float:
    ratios = [float(loads[of][_CPU]) / float(loads[to][_CPU]) for loads in rounds]
    return round(statistics.median(ratios), 3)


def _by_process(loads: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    parts = [figures["cpu_ms_per_message_by_process"] for figures in loads]
    return {name: round(statistics.median(part.get(name, 0.0) for part in parts), 3) for name in parts[0]}


@dataclass(frozen=True, slots=True)
class Counted:
    """Of one load with one mail."""

    shares_percent: list[float]
    ray_bytes_per_message: float
    between_nodes_bytes_per_message: float


@contextlib.contextmanager
def running(nodes: int, zone: Zone) -> Iterator[Cell]:
    """A cell with so many nodes, all of them at work."""
    with LocalCell(zone, nodes, StackOptions(trace=False)) as cell, behind_gateway(cell) as front:
        yield front


@contextlib.contextmanager
def behind_gateway(cell: LocalCell, *apart: LocalCell) -> Iterator[Cell]:
    """Cells whose ingresses one gateway knows."""
    ingresses = [address for of_nodes in (cell, *apart) for address in _ingresses(of_nodes)]
    for address in ingresses:
        wait_for(lambda address=address: _listens(address), _JOINED_S)  # type: ignore[misc]
    with tempfile.TemporaryDirectory(prefix="tamis-", dir="/tmp") as directory:
        config, ready = Path(directory) / "tamis.toml", Path(directory) / "ready.json"
        config.write_text(GATEWAY)
        command = [sys.executable, "-m", "gateway", "--config", str(config), "--ready-file", str(ready)]
        command += [word for address in ingresses for word in ("--ingress", address)]
        log = Path(directory) / "gateway.log"
        with log.open("wb") as stderr:
            gateway = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            wait_for(ready.exists)
            yield Cell(cell, apart, str(json.loads(ready.read_text())["listen"][0]), gateway.pid, log)
        finally:
            gateway.terminate()
            gateway.wait()


def _ingresses(cell: LocalCell) -> list[str]:
    port = cell.grpc.rpartition(":")[2]
    return [cell.grpc, *(f"{node.ready['address']}:{port}" for node in cell.joined)]


def _listens(address: str) -> bool:
    done = subprocess.run(["ss", "-tlnH", "src", address], capture_output=True, text=True, check=True)
    return bool(done.stdout.strip())


def count(cell: Cell, mail: Path, messages: int) -> Counted:
    """Who carries the messages."""
    owners = cell.owners()
    before, started_s = Traffic.now(cell, owners), time.monotonic()
    cell.load(mail, messages, SESSIONS)
    took_s = time.monotonic() - started_s
    after = Traffic.now(cell, owners)
    time.sleep(took_s)
    rested = Traffic.now(cell, owners)
    by_node = [to - since for since, to in zip(before.of_ingresses, after.of_ingresses, strict=True)]
    of_ray = (after.of_ray - before.of_ray) - (rested.of_ray - after.of_ray)
    between = (after.between_nodes - before.between_nodes) - (rested.between_nodes - after.between_nodes)
    shares = [100 * of_node / max(1, sum(by_node)) for of_node in by_node]
    return Counted(shares, max(0, of_ray) / messages, max(0, between) / messages)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes so far."""

    of_ingresses: list[int]
    """By node, with the gateway."""
    of_ray: int
    between_nodes: int

    @classmethod
    def now(cls, cell: Cell, owners: Sequence[set[int]]) -> Self:
        """A reading."""
        served, of_ray = bytes_by_process(("ray::Ingress",), cell.port), bytes_by_process(_RAY)
        return cls(
            [sum(served[pid] for pid in node) for node in owners],
            sum(of_ray[pid] for node in owners for pid in node),
            bytes_between(owners),
        )


def at_rest(cells: Mapping[str, Cell]) -> dict[str, float]:
    """CPU milliseconds in a second of each without any mail."""
    before = {name: tree_usage(cell.pids) for name, cell in cells.items()}
    time.sleep(_REST_S)
    used = {name: tree_usage(cell.pids).since(before[name]).cpu_s for name, cell in cells.items()}
    return {name: round(cpu_s * 1000 / _REST_S, 1) for name, cpu_s in used.items()}


def measure(rounds: int, messages: int, *, same_sessions: bool) -> Figures:
    """All of it, by turns."""
    maker = SampleMaker()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tamis-corpus-", dir="/tmp")))
        apart = [stack.enter_context(LocalCell(maker.zone(), 1, StackOptions(trace=False))) for _ in range(NODES)]
        cells = {
            ONE: stack.enter_context(behind_gateway(apart[0])),
            THREE: stack.enter_context(running(NODES, maker.zone())),
            APART: stack.enter_context(behind_gateway(*apart)),
        }
        corpus = find_corpus(scratch, Console(stderr=True))
        mail = scratch / "same.eml"
        mail.write_bytes(maker.samples()[0].raw)
        loads = {name: partial(cell.load, corpus, messages) for name, cell in cells.items()}
        if same_sessions:
            loads[SAME_SESSIONS] = partial(cells[THREE].load, corpus, messages, SESSIONS)
        for name in (THREE, APART):
            # Every node has a cache of its own, which should know what the mail needs as well as that of a single node.
            cells[name].load(corpus, _WARM_ROUNDS * messages)
        figures = [{name: load() for name, load in loads.items()} for _ in range(rounds)]
        counted = count(cells[THREE], mail, max(messages, _COUNTED_MIN))
        lost = {name: cell.streams_lost for name, cell in cells.items()}
        return Figures.of(figures, counted, at_rest(cells), lost)


def main() -> int:
    """1 when a message got no answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=2000, help="in each load")
    parser.add_argument("--same-sessions", action="store_true", help="three nodes with the sessions of one, too")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = measure(args.rounds, args.messages, same_sessions=args.same_sessions)
    show({name: getattr(figures, name) for name in figures.__slots__}, as_json=args.json)
    return 1 if figures.unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
