"""What the processes of a cell count, and what that says of a pool. Pure; collecting costs a few additions a task.

A process counts from its start and never resets: whoever asks takes differences, and several may ask. `Sample` is what
one process answers to the control call `metrics`, `pool_metrics` makes one value for a pool of the samples of two
moments, which `cluster/scaling.py` reads.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

BUCKETS = 21
"""Delays by power of two: below 64 us, below 128 us, ... and from 34 s on."""
_FIRST_BUCKET_S = 64e-6


class DelayCounts:
    """A histogram of delays that costs a shift and an addition each."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS

    def add(self, delay_us: int) -> None:
        """One more delay, in microseconds."""
        bucket = (delay_us >> 6).bit_length()
        self.counts[bucket if bucket < BUCKETS else BUCKETS - 1] += 1


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process has done since it was started."""

    at_s: float
    """When, on the monotonic clock of its own machine."""
    busy_s: float
    """CPU time of the thread that does the work."""
    starved_s: float
    """Time in which that thread could have run and got no core."""
    tasks: int
    """Tasks examined; at an ingress, transactions that have ended."""
    errors: int
    """Those with an `error` finding; at an ingress, those refused."""
    delays: tuple[int, ...]
    """How long tasks waited before they were begun (DelayCounts); at an ingress, messages before actors were asked."""


@dataclass(frozen=True, slots=True)
class PoolMetrics:
    """What a pool did between two moments."""

    at_s: float
    """The later one, on the clock of whoever asked."""
    replicas: int
    """Processes that answered at both."""
    busy: float
    """Share of the time in which a replica was at work or waited for a core, mean of all replicas: 0 to 1."""
    queue_p50_s: float
    """Half of the tasks waited at most so long before they were begun."""
    queue_p95_s: float
    tasks_per_s: float
    """Of all replicas together, as the next one."""
    errors_per_s: float


def pool_metrics(at_s: float, replicas: Iterable[tuple[Sample, Sample]]) -> PoolMetrics:
    """The metrics of a pool from an earlier and a later sample of each of its processes.

    A pair whose process was started anew in between, or that spans no time, says nothing and is left out.
    """
    pairs = [(old, new) for old, new in replicas if new.at_s > old.at_s and new.busy_s >= old.busy_s]
    if not pairs:
        return PoolMetrics(at_s, 0, 0.0, 0.0, 0.0, 0.0, 0.0)
    busy = [(new.busy_s - old.busy_s + new.starved_s - old.starved_s) / (new.at_s - old.at_s) for old, new in pairs]
    counts = [sum(new.delays[i] - old.delays[i] for old, new in pairs) for i in range(BUCKETS)]
    return PoolMetrics(
        at_s=at_s,
        replicas=len(pairs),
        busy=min(1.0, sum(busy) / len(pairs)),
        queue_p50_s=delay_percentile_s(counts, 50),
        queue_p95_s=delay_percentile_s(counts, 95),
        tasks_per_s=sum((new.tasks - old.tasks) / (new.at_s - old.at_s) for old, new in pairs),
        errors_per_s=sum((new.errors - old.errors) / (new.at_s - old.at_s) for old, new in pairs),
    )


def delay_percentile_s(counts: Sequence[int], percent: float) -> float:
    """The delay below which so many percent of the counts of DelayCounts lie, linear within a bucket; 0 of nothing."""
    wanted = sum(counts) * percent / 100
    if not wanted:
        return 0.0
    below = 0
    for bucket, count in enumerate(counts):
        if count and below + count >= wanted:
            low_s = _FIRST_BUCKET_S * (1 << bucket - 1) if bucket else 0.0
            high_s = _FIRST_BUCKET_S * (1 << bucket)
            return low_s + (high_s - low_s) * (wanted - below) / count
        below += count
    return _FIRST_BUCKET_S * (1 << BUCKETS - 1)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the model of a process has said of mail since the process was started; probes are none."""

    messages: int = 0
    spam: int = 0
    errors: int = 0
    """Of the messages, those with an `error` finding instead."""

    def __add__(self, other: "Judged") -> "Judged":
        return Judged(self.messages + other.messages, self.spam + other.spam, self.errors + other.errors)

    def since(self, before: "Judged") -> "Judged":
        """The difference; nothing when the process was started anew in between."""
        if self.messages < before.messages:
            return Judged()
        return Judged(self.messages - before.messages, self.spam - before.spam, self.errors - before.errors)


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """What one process answers to the control call `figures`."""

    outstanding: int
    """Tasks that wait or are examined; at an ingress, open transactions."""
    memory_bytes: int
    """What is its own: resident and not shared."""
    sample: Sample | None = None
    """Of a replica."""
    counters: dict[str, int] = field(default_factory=dict)
    """Since it began, by metric name."""
    judged: Judged = Judged()
    """Of a replica that judges by a model."""
