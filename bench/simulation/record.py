"""Measures what the model is fitted on and checked against: a whole Tamis under load, with its spans and its CPU.

Strategy: figures only. Shapes come from spans of every message (sample_ratio 1, one session): what each actor computed,
and which questions it asked without a cache. The loads run without spans; beside each stands how fast the machine was
meanwhile (the yardstick, in small pieces all the time) and how much of its cores others used, since both change
within seconds on a shared machine.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec

from actors.registry import ACTOR_NAMES
from bench.milter_load import read_corpus
from bench.nameserver import Zone
from bench.nodes import running
from bench.peers.corpus import mixed, zone
from bench.process_tree import PROC, TreeUsage, tree_usage
from bench.run import figures_of, yardstick_ms
from bench.simulation.choices import per_endpoint_us, per_seat_us
from bench.simulation.figures import Examined, Load, Recording, Restart, Run, Site
from bench.simulation.shapes import SPEED_S
from bench.simulation.spans import examined
from bench.stack import Stack, StackOptions, wait_for
from cli.mta import MtaOutcome, deliver

SITE = Site()
PAIR = Site(pool_sizes=dict.fromkeys(ACTOR_NAMES, 2))
SLOW_DNS_MS = (20.0, 40.0)
FIT_LOADS = (
    Load("1 session", 600, 1, fit=True),
    Load("4 sessions", 1300, 4, fit=True),
    Load("32 sessions", 1800, 32, fit=True),
)
CHECK_LOADS = (Load("8 sessions", 1800, 8), Load("16 sessions", 1800, 16), Load("64 sessions", 1800, 64))
OTHER = Load("16 sessions, other mail", 1100, 16, mix="other")
UNCACHED = Load("8 sessions, each name asked", 1200, 8, fit=True, cached=False)
SLOW = tuple(
    Load(f"{sessions} sessions, DNS 20-40 ms", 1500, sessions, cached=False, dns_delay_ms=SLOW_DNS_MS)
    for sessions in (16, 64)
)
WITH_PAIR = (
    Load("16 sessions, two replicas", 1800, 16, site=PAIR),
    Load("16 sessions, one of two replicas killed", 3000, 16, kill_after_s=1.5, site=PAIR),
)
OPEN_SHARES = (0.5, 0.8)
"""Of what 32 sessions reach: clients that come by themselves."""
ROUNDS = 3
"""Of each load; a median counts. On a quiet machine two p99 of the same load differ by a tenth."""
MAILS = 300
"""Of each mix; a load sends them again and again, unique each time."""

OTHERS_SHARE_MAX = 0.15
"""Cores that processes not of ours may use during a run that counts."""
TRIES_MAX = 3

_UNCACHED = "cache_entries = 0\nnegative_ttl_s = 0"
_KINDS = {"ray::HostProces": "replica", "ray::IngressPro": "ingress", "python": "gateway"}
"""Kinds of the model by the names that the kernel shows; all others are Ray's."""
_PROBE_EVERY_S = 0.05
_PROBE_SHARE = 0.02
_SPANS_TIMEOUT_S = 60.0
_OPEN_S = 6.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Target:
    """What a load goes to."""

    milter: str
    pids: list[int]
    """The roots of everything of ours but the load."""
    stack: Stack
    """Whose name server is asked."""

    @classmethod
    def of(cls, stack: Stack) -> Self:
        """One node."""
        return cls(stack.milter, [stack.pid], stack)


@dataclass(slots=True)
class Recorder:
    """The mixes as folders of mail, and who measures what: each part gives some fields of the recording."""

    mixes: Mapping[str, Path]
    zone: Zone
    say: Callable[[str], None]

    def shapes(self) -> dict[str, Any]:
        """What each mail of each mix makes its actors do, the yardstick meanwhile, and what the choices cost."""
        yardsticks_ms: list[float] = []
        passes: dict[str, list[list[Examined]]] = {mix: [] for mix in self.mixes}
        with Stack(self.zone, _options(SITE)) as stack:
            for mix in (*self.mixes, *self.mixes, *self.mixes):
                passes[mix].append(self._traced(stack, mix, yardsticks_ms))
        asked: dict[str, list[Examined]] = {}
        with Stack(self.zone, _options(SITE, dns=_UNCACHED)) as stack:
            for mix in self.mixes:
                asked[mix] = self._traced(stack, mix, yardsticks_ms)
        yardstick_ms = sum(yardsticks_ms) / len(yardsticks_ms)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        return {
            "taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
            "commit": commit.stdout.strip(),
            "yardstick_ms": round(yardstick_ms, 2),
            "shapes": {mix: tuple(merge(passes[mix][1:], asked[mix])) for mix in self.mixes},
            "per_seat_us": round(per_seat_us(yardstick_ms), 3),
            "per_endpoint_us": round(per_endpoint_us(yardstick_ms), 3),
        }

    def _traced(self, stack: Stack, mix: str, yardsticks_ms: list[float]) -> list[Examined]:
        stack.receiver.spans.clear()
        began_ns = time.time_ns()
        run = self.run(Target.of(stack), Load(f"spans of {mix}", MAILS, 1, mix=mix))
        yardsticks_ms.append(run.yardstick_ms)

        def all_of_them() -> list[Examined] | None:
            # The message by which `tamis up` finds itself ready may be told of late.
            spans = [span for span in tuple(stack.receiver.spans) if span.start_ns >= began_ns]
            found = examined(spans)
            return found if len(found) == MAILS else None

        return wait_for(all_of_them, _SPANS_TIMEOUT_S)

    def loads(self) -> dict[str, Any]:
        """Those on one node with the cache; in the end its only scoring process is killed."""
        with self._quiet(SITE) as stack:
            target = Target.of(stack)
            self.run(target, Load("warm-up", 1500, 8))
            self.run(target, Load("warm-up", 600, 8, mix="other"))
            first = [self.quiet_run(target, load) for load in (*FIT_LOADS, *CHECK_LOADS)]
            full_per_s = next(run.messages_per_s for run in first if run.load.sessions == 32)
            rest = [*(_open(share, full_per_s) for share in OPEN_SHARES), OTHER]
            first += [self.quiet_run(target, load) for load in rest]
            runs = self.rounds(target, [run.load for run in first], first)
            usage = tree_usage([stack.pid])
            return {"runs": runs, "memory_mb": _memory_mb(usage), "restart": self._restart(stack, usage)}

    def dns(self) -> dict[str, Any]:
        """Without the cache, quick and slow."""
        with self._quiet(SITE, dns=_UNCACHED) as stack:
            target = Target.of(stack)
            self.run(target, Load("warm-up", 800, 8))
            quick = self.rounds(target, [UNCACHED])
            stack.nameserver.delay_s = (SLOW_DNS_MS[0] / 1000, SLOW_DNS_MS[1] / 1000)
            return {"runs": [*quick, *self.rounds(target, SLOW)]}

    def pair(self) -> dict[str, Any]:
        """Two scoring processes instead of one; one of them is killed under load."""
        with self._quiet(PAIR) as stack:
            target = Target.of(stack)
            self.run(target, Load("warm-up", 800, 8, site=PAIR))
            return {"runs": self.rounds(target, WITH_PAIR)}

    def nodes(self) -> dict[str, Any]:
        """Cells of several nodes, which share this machine."""
        runs: list[Run] = []
        for nodes in (2, 3):
            site = Site(nodes=nodes)
            with running(nodes, self.zone) as cell:
                target = Target(cell.milter, cell.pids, cell.nodes.stack)
                self.run(target, Load("warm-up", 1500, 8, site=site))
                runs += self.rounds(target, [Load(f"32 sessions, {nodes} nodes", 2000, 32, site=site)])
        return {"runs": runs}

    def _restart(self, stack: Stack, before: TreeUsage) -> Restart:
        """Kill the only scoring process, at rest: the next message has its verdict when the successor serves."""
        started_s = time.monotonic()
        os.kill(_scoring_process(before), signal.SIGKILL)
        (mail,) = read_corpus([next(iter(sorted(self.mixes["main"].iterdir())))])
        while degraded(asyncio.run(deliver(stack.milter, mail))):
            pass
        away_s = time.monotonic() - started_s
        fresh = [p for key, p in tree_usage([stack.pid]).processes.items() if key not in before.processes]
        return Restart(round(away_s, 2), round(max(process.cpu_s for process in fresh), 2))

    def rounds(self, target: Target, loads: Sequence[Load], first: Sequence[Run] = ()) -> list[Run]:
        """Each load ROUNDS times, in turn; the first round may have been."""
        runs = list(first)
        while len(runs) < ROUNDS * len(loads):
            runs += [self.quiet_run(target, load) for load in loads]
        for run in runs:
            self.say(
                f"{run.load.name:<42} {run.messages_per_s:6.1f}/s  p50 {run.p50_ms:7.2f}  p99 {run.p99_ms:7.2f} ms  "
                f"yardstick {run.yardstick_ms:.1f} ms, others {run.others_share:.2f} cores"
            )
        return runs

    def _quiet(self, site: Site, dns: str = "") -> Stack:
        """Without spans."""
        return Stack(self.zone, _options(site, dns, trace=False))

    def quiet_run(self, target: Target, load: Load) -> Run:
        """One load; when others used the cores meanwhile, again, and the one that they disturbed least."""
        tries: list[Run] = []
        while not tries or (tries[-1].others_share > OTHERS_SHARE_MAX and len(tries) < TRIES_MAX):
            tries.append(self.run(target, load))
        return min(tries, key=lambda run: run.others_share)

    def run(self, target: Target, load: Load) -> Run:
        """One load, with the speed of the machine all the while."""
        arguments = ["--to", target.milter, "--corpus", str(self.mixes[load.mix]), "--pid", *map(str, target.pids)]
        arguments += ["--messages", str(load.messages), "--sessions", str(load.sessions or 1)]
        arguments += ["--rate", str(load.rate_per_s), "--json"]
        command = [sys.executable, "-m", "bench.milter_load", *arguments]
        before, names_s = _busy_s(), target.stack.call(_thread_s())
        own_s, usage = time.process_time(), tree_usage(target.pids)
        victim = _scoring_process(usage) if load.kill_after_s else 0
        started_s = time.monotonic()
        probes_ms: list[float] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            while child.poll() is None:
                time.sleep(_PROBE_EVERY_S)
                probes_ms.append(yardstick_ms(_PROBE_SHARE))
                if victim and time.monotonic() - started_s > load.kill_after_s:
                    os.kill(victim, signal.SIGKILL)
                    victim = 0
            output, errors = child.communicate()
        wall_s = time.monotonic() - started_s
        figures = figures_of(subprocess.CompletedProcess(command, child.returncode, output, errors))
        ours_s = tree_usage(target.pids).since(usage).cpu_s + time.process_time() - own_s
        ours_s += figures["load_generator_cpu_ms_per_message"] / 1000 * load.messages
        cpu_ms = _by_kind(figures["cpu_ms_per_message_by_process"])
        cpu_ms["client"] = figures["load_generator_cpu_ms_per_message"]
        cpu_ms["resolver"] = round((target.stack.call(_thread_s()) - names_s) / load.messages * 1000, 3)
        waits_ms = figures["end_of_message_ms"]
        loaded = probes_ms[-max(1, round(len(probes_ms) * figures["seconds"] / wall_s)) :]
        return Run(
            load=load,
            messages_per_s=figures["messages_per_s"],
            unanswered=figures["unanswered"],
            p50_ms=waits_ms["p50"],
            p95_ms=waits_ms["p95"],
            p99_ms=waits_ms["p99"],
            cpu_ms=cpu_ms,
            yardsticks_ms=tuple(means(loaded, len(loaded) * SPEED_S / figures["seconds"])),
            others_share=round(max(0.0, _busy_s() - before - ours_s) / wall_s, 2),
        )


PARTS: Mapping[str, Callable[[Recorder], dict[str, Any]]] = {
    "shapes": Recorder.shapes,
    "loads": Recorder.loads,
    "dns": Recorder.dns,
    "pair": Recorder.pair,
    "nodes": Recorder.nodes,
}
"""Each takes at most four minutes."""


def _open(share: float, full_per_s: float) -> Load:
    rate_per_s = round(share * full_per_s, 1)
    return Load(f"open, {share:.0%} of 32 sessions", round(_OPEN_S * rate_per_s), rate_per_s=rate_per_s)


def record(corpora: Path, folder: Path, say: Callable[[str], None], names: Sequence[str] = ()) -> None:
    """The parts that have no file in the folder yet, or those named, about seven minutes in all.

    Raises StackFailed, and SystemExit when a load gives no figures.
    """
    with tempfile.TemporaryDirectory(prefix="tamis-mixes-", dir="/tmp") as scratch:
        recorder = prepared(corpora, Path(scratch), say)
        for name, measure in PARTS.items():
            target = folder / f"{name}.json"
            if name in names or (not names and not target.exists()):
                target.write_bytes(msgspec.json.encode(measure(recorder)))


def recorded(folder: Path) -> Recording:
    """Of all parts. Raises FileNotFoundError."""
    fields: dict[str, Any] = {}
    for name in PARTS:
        part = msgspec.json.decode((folder / f"{name}.json").read_bytes())
        fields |= part | {"runs": fields.get("runs", []) + part.get("runs", [])}
    return msgspec.convert(fields, Recording)


def means(values: Sequence[float], count: float) -> Iterator[float]:
    """The mean of each `count` values, rounded; the last ones may be fewer."""
    step = max(1, round(count))
    for start in range(0, len(values), step):
        some = values[start : start + step]
        yield round(sum(some) / len(some), 1)


def prepared(corpora: Path, scratch: Path, say: Callable[[str], None]) -> Recorder:
    """With two mixes: `main` is the mixed corpus of ARCHITECTURE section 13, `other` today's phishing, larger."""
    mixed_mails = mixed(corpora)
    files = sorted(path for path in (corpora / "phish_modern").resolve().rglob("*") if path.is_file())
    mails = {
        "main": [one.mail.raw for one in mixed_mails[:MAILS]],
        "other": [file.read_bytes() for file in random.Random(1).sample(files, MAILS)],
    }
    for mix, raws in mails.items():
        (scratch / mix).mkdir()
        for number, raw in enumerate(raws):
            (scratch / mix / f"{number:04}.eml").write_bytes(raw)
    return Recorder({mix: scratch / mix for mix in mails}, zone(corpora, mixed_mails), say)


def merge(passes: Sequence[Sequence[Examined]], asked: Sequence[Examined]) -> Iterator[Examined]:
    """Of each mail the least CPU in any pass, and the questions it asks when nothing is cached."""
    for *times, questions in zip(*passes, asked, strict=True):
        cpu_ms = {key: min(one.cpu_ms[key] for one in times) for key in times[0].cpu_ms}
        yield Examined(times[0].size_bytes, cpu_ms, questions.rounds)


def _options(site: Site, dns: str = "", *, trace: bool = True) -> StackOptions:
    sizes = "\n".join(f"{pool} = {size}" for pool, size in site.pool_sizes.items())
    pools = f'ingresses = {site.ingresses}\n[cluster.pools]\nlayout = "{site.layout}"\n{sizes}'
    return StackOptions(cluster=pools, dns=dns, trace=trace)


def _by_kind(cpu_ms: Mapping[str, float]) -> dict[str, float]:
    kinds: Counter[str] = Counter()
    for name, value in cpu_ms.items():
        kinds[_KINDS.get(name, "ray")] += value
    return {kind: round(value, 3) for kind, value in kinds.items()}


def _memory_mb(usage: TreeUsage) -> dict[str, float]:
    """PSS of one process of each kind; of Ray's and the store's all together."""
    counts = Counter(_KINDS.get(process.name, "ray") for process in usage.processes.values())
    total: Counter[str] = Counter()
    for name, size_bytes in usage.pss_bytes_by_name.items():
        total[_KINDS.get(name, "ray")] += size_bytes
    return {kind: round(size / 1e6 / (1 if kind == "ray" else counts[kind]), 1) for kind, size in total.items()}


def degraded(outcome: MtaOutcome) -> bool:
    """Whether no verdict came, or one that some actor is missing in."""
    return bool(outcome.error) or any(name == b"X-Tamis-Degraded" for name, _ in outcome.added_headers)


def _scoring_process(usage: TreeUsage) -> int:
    return next(process.pid for process in usage.processes.values() if _KINDS.get(process.name) == "replica")


def _busy_s() -> float:
    """CPU seconds of everybody on this machine."""
    user, nice, system, _idle, _iowait, interrupts, soft_interrupts, *_ = map(
        int, (PROC / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + interrupts + soft_interrupts) / _TICKS_PER_S


async def _thread_s() -> float:
    """CPU of the thread that the name server lives in."""
    return time.thread_time()
