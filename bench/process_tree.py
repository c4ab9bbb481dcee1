"""CPU and memory of process trees, from /proc.

Strategy: a tree is its root and all that descend from it now. CPU is utime + stime + cutime + cstime of each, so that
children which ended and were waited for between two readings count; a process that appears later counts from zero.
Memory is PSS: what is shared is divided among those who share it.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """One process as /proc/PID/stat tells it."""

    pid: int
    parent: int
    name: str
    cpu_s: float
    """Of itself and its ended children."""
    started: int


@dataclass(frozen=True, slots=True)
class TreeUsage:
    """What process trees used."""

    processes: Mapping[tuple[int, int], Process]
    """By (pid, start time): pids are used again."""
    cpu_s_by_name: Mapping[str, float]
    pss_bytes_by_name: Mapping[str, int]
    rss_bytes: int = 0
    """Resident set sizes added up: what is shared counts as often as it is shared."""

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all."""
        return sum(self.cpu_s_by_name.values())

    @property
    def pss_bytes(self) -> int:
        """Proportional set size of all."""
        return sum(self.pss_bytes_by_name.values())

    def since(self, before: "TreeUsage") -> "TreeUsage":
        """CPU between two readings; memory as it is now."""
        cpu: dict[str, float] = defaultdict(float)
        for key, process in self.processes.items():
            earlier = before.processes.get(key)
            cpu[process.name] += process.cpu_s - (earlier.cpu_s if earlier else 0.0)
        for key, process in before.processes.items():
            if key not in self.processes:
                # Its parent's children's time holds all that it ever used; what it had used before is taken off.
                cpu[process.name] -= process.cpu_s
        return TreeUsage(self.processes, _largest_first(cpu), self.pss_bytes_by_name, self.rss_bytes)


def tree_usage(roots: Iterable[int]) -> TreeUsage:
    """A reading of the trees below `roots`, roots included; what ends meanwhile is left out."""
    everybody = {process.pid: process for process in map(_process, _pids()) if process}
    children: dict[int, list[int]] = defaultdict(list)
    for process in everybody.values():
        children[process.parent].append(process.pid)
    found: dict[tuple[int, int], Process] = {}
    waiting = [pid for pid in roots if pid in everybody]
    while waiting:
        process = everybody[waiting.pop()]
        key = (process.pid, process.started)
        if key not in found:
            found[key] = process
            waiting += children[process.pid]
    cpu: dict[str, float] = defaultdict(float)
    pss: dict[str, int] = defaultdict(int)
    rss_bytes = 0
    for process in found.values():
        cpu[process.name] += process.cpu_s
        memory = _memory_bytes(process.pid)
        pss[process.name] += memory.get("Pss", 0)
        rss_bytes += memory.get("Rss", 0)
    largest = {name: pss[name] for name in sorted(pss, key=pss.__getitem__)[::-1]}
    return TreeUsage(found, _largest_first(cpu), largest, rss_bytes)


def _largest_first(seconds: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _process(pid: int) -> Process | None:
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name stands in brackets and may itself hold brackets and spaces.
    before, _, after = stat.rpartition(")")
    values = after.split()
    ticks = sum(int(value) for value in values[11:15])
    return Process(pid, int(values[1]), before.partition("(")[2], ticks / _TICKS_PER_S, int(values[19]))


def _memory_bytes(pid: int) -> dict[str, int]:
    """Rss, Pss and the others of one process; empty when it is gone."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return {}
    lines = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {words[0].removesuffix(":"): int(words[1]) * 1024 for words in lines}
