"""Two releases side by side under load: each gateway with the other's cell, and a cell replaced by a newer one.

    python -m bench.upgrade [--from 0.1.0] [--seconds 5] [--json]

Strategy: the old release runs from its tree in the history (bench/release.py). Old and new cell are whole `tamis up`s
on loopback, old and new gateway processes of their own. First the old gateway has the new cell alone and the new
gateway the old one; then both gateways have both cells, mail goes on, the old cell gets SIGTERM, and the new release
comes up in its place. Every message has a queue id of its own; the ledger compares what was sent with what the MTA's
side heard and with the gateways' logs: each message has one verdict, the right one, and none is a tempfail.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import show
from bench.release import PROJECT, check_out, environment, imported
from bench.samples import CLIENT_IP, Sample, SampleMaker
from bench.stack import Stack, StackOptions, wait_for
from cli.mta import MtaOutcome, play_message

SESSIONS = 4
PAUSE_S = 0.05
"""Of a session between two messages: the machine is not to be full."""


@dataclass
class Gateway:
    """One gateway process of a release."""

    name: str
    process: "subprocess.Popen[bytes]"
    milter: str
    log: Path

    def events(self, *names: str) -> list[dict[str, object]]:
        """The lines of its log about these events."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") in names]

    def connected_since_lost(self, ingress: str) -> bool:
        """Whether it has a stream to this ingress again."""
        seen = [
            line["event"] for line in self.events("ingress_connected", "ingress_lost") if line["ingress"] == ingress
        ]
        return "ingress_lost" in seen and seen[-1] == "ingress_connected"


@dataclass
class Ledger:
    """What was sent, and what was heard of it."""

    heard: dict[str, tuple[Sample, MtaOutcome]] = field(default_factory=dict)

    def figures(self, gateways: Sequence[Gateway]) -> dict[str, object]:
        """Counts that are all to be 0, but for the messages."""
        judged = Counter(str(line["queue_id"]) for gateway in gateways for line in gateway.events("message"))
        outcomes = list(self.heard.values())
        return {
            "messages": len(outcomes),
            "tempfailed": sum(outcome.action == "tempfail" for _, outcome in outcomes),
            "unanswered": sum(bool(outcome.error) for _, outcome in outcomes),
            "wrong_verdicts": sum(outcome.action not in (_said(one), "tempfail", "") for one, outcome in outcomes),
            "lost": sum(key not in judged for key in self.heard),
            "judged_twice": sum(count > 1 for count in judged.values()),
            "without_verdict": sum(
                bool(line.get("failure")) for gateway in gateways for line in gateway.events("message")
            ),
        }


def _said(sample: Sample) -> str:
    """What the MTA hears of the expected action: marks are edits of an accepted message."""
    return "accept" if sample.expected == "add_header" else sample.expected


class Load(threading.Thread):
    """Messages by way of these gateways, one after the other in each session, until `finish`."""

    def __init__(self, name: str, gateways: Sequence[Gateway], samples: Sequence[Sample]) -> None:
        super().__init__(daemon=True)
        self.ledger = Ledger()
        self._name = name
        self._gateways = gateways
        self._samples = samples
        self._over = threading.Event()

    def run(self) -> None:
        """The thread."""
        asyncio.run(self._all_sessions())

    def finish(self) -> Ledger:
        """Send no more; what is on its way comes to its end."""
        self._over.set()
        self.join(120)
        return self.ledger

    async def _all_sessions(self) -> None:
        await asyncio.gather(*(self._session(number) for number in range(SESSIONS)))

    async def _session(self, number: int) -> None:
        sent = 0
        while not self._over.is_set():
            gateway = self._gateways[(number + sent) % len(self._gateways)]
            sample = self._samples[sent % len(self._samples)]
            key = f"{self._name}{number}x{sent}"
            sent += 1
            outcome = await play_message(
                gateway.milter,
                sample.raw,
                sender=sample.sender,
                recipients=[b"reader@recipient.example"],
                client_ip=CLIENT_IP,
                macros={b"i": key.encode()},
            )
            self.ledger.heard[key] = sample, outcome
            await asyncio.sleep(PAUSE_S)


@contextlib.contextmanager
def started_gateway(
    name: str, cells: dict[str, str], directory: Path, tree: Path | None = None, more: str = ""
) -> Iterator[Gateway]:
    """A gateway process of this release, or of the one with the tree, for cells by name; `more` is further config."""
    place = directory / name
    place.mkdir()
    ready, log, config = place / "ready.json", place / "log", place / "tamis.toml"
    text = '[gateway]\nlisten = ["inet:0@127.0.0.1"]\nops_listen = ""\n'
    text += "".join(f'[[gateway.cells]]\nname = "{cell}"\ningress = ["{at}"]\n' for cell, at in cells.items())
    config.write_text(text + more)
    command = [sys.executable, "-m", "gateway", "--config", str(config), "--ready-file", str(ready)]
    env = environment(tree, place / "bytecode") if tree else None
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=tree or PROJECT, env=env)
    try:
        wait_for(ready.exists, 30.0)
        gateway = Gateway(name, process, json.loads(ready.read_text())["milter"], log)
        wait_for(lambda: len(gateway.events("ingress_connected")) == len(cells), 30.0)
        if tree is not None and not (imported(tree, place / "bytecode") and not imported(PROJECT, place / "bytecode")):
            raise RuntimeError(f"{name} does not run the code of {tree}")
        yield gateway
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Two cells, and where the rest is."""

    old: Stack
    new: Stack
    tree: Path
    """Of the old release."""
    directory: Path
    maker: SampleMaker
    seconds: float

    def crosswise(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Each gateway with the other release's cell."""
        for name, cell, tree in (("oldgw", self.new, self.tree), ("newgw", self.old, None)):
            with started_gateway(name, {"north": cell.ready["grpc"]}, self.directory, tree) as gateway:
                load = Load(name, [gateway], self.maker.samples())
                load.start()
                time.sleep(self.seconds)
                yield name, load.finish().figures([gateway])

    def rolling(self) -> dict[str, object]:
        """Both gateways with both cells; the old cell goes, and the new release comes in its place."""
        cells = {"north": self.old.ready["grpc"], "south": self.new.ready["grpc"]}
        with (
            started_gateway("rollold", cells, self.directory, self.tree) as old_gateway,
            started_gateway("rollnew", cells, self.directory) as new_gateway,
        ):
            load = Load("roll", [old_gateway, new_gateway], self.maker.samples())
            load.start()
            time.sleep(self.seconds)
            before = len(load.ledger.heard)
            self.old.stop_up()
            with Stack(self.maker.zone(), StackOptions(listen=cells["north"], trace=False)):
                # Release 0.1.0 gave up on an ingress that was away for longer than 5 s.
                began_s = time.monotonic()
                wait_for(lambda: new_gateway.connected_since_lost(cells["north"]), 30.0)
                back_s = time.monotonic() - began_s
                meanwhile = len(load.ledger.heard) - before
                time.sleep(self.seconds)
                ledger = load.finish()
            more = {"messages_while_replaced": meanwhile, "back_after_s": round(back_s, 1)}
            return ledger.figures([old_gateway, new_gateway]) | more


def measure(release: str, seconds: float) -> dict[str, object]:
    """All three situations; names of figures begin with the situation. Raises ReleaseMissing."""
    maker = SampleMaker()
    found: dict[str, object] = {"release": release}
    directory = Path(tempfile.mkdtemp(prefix="tamis-upgrade-", dir="/tmp"))
    try:
        tree = check_out(release, directory / "tree")
        options = StackOptions(tree=tree, trace=False)
        with Stack(maker.zone(), options) as old, Stack(maker.zone(), StackOptions(trace=False)) as new:
            wrong = imported(PROJECT, old.bytecode)
            found["old_cell_ran_old_code"] = "cluster" in imported(tree, old.bytecode) and not wrong
            upgrade = Upgrade(old, new, tree, directory, maker, seconds)
            for name, figures in (*upgrade.crosswise(), ("rolling", upgrade.rolling())):
                found |= {f"{name}_{key}": value for key, value in figures.items()}
            found["endings"] = old.ending
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="release", default="0.1.0")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each stretch of load")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.release, options.seconds)
    show(figures, as_json=options.json)
    return 0 if well(figures) else 1


def well(figures: dict[str, object]) -> bool:
    """Whether nothing went wrong, in any situation."""
    bad = ("tempfailed", "unanswered", "wrong_verdicts", "lost", "judged_twice", "without_verdict")
    wrong = any(value for key, value in figures.items() if key.endswith(bad))
    return bool(figures["old_cell_ran_old_code"]) and not wrong


if __name__ == "__main__":
    sys.exit(main())
