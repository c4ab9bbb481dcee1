"""What is recorded, and what is fitted from it: plain values that stand in fit.json. Figures only, never mail."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import msgspec

from actors.registry import ACTOR_NAMES
from bench.simulation.shapes import Costs

FIT = Path(__file__).with_name("fit.json")


class Site(msgspec.Struct, frozen=True):
    """What a load ran on."""

    nodes: int = 1
    cores: int = 2
    """Of the machine, shared by all nodes, the gateway, the load and the name server."""
    ingresses: int = 1
    """Of each node."""
    pool_sizes: Mapping[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(ACTOR_NAMES, 1))
    """Of each node."""
    layout: str = "auto"


class Load(msgspec.Struct, frozen=True):
    """One run of the load generator."""

    name: str
    messages: int
    sessions: int = 0
    rate_per_s: float = 0.0
    """Of clients that come by themselves; 0 = sessions."""
    fit: bool = False
    """Used to fit; the model is checked against the others."""
    mix: str = "main"
    cached: bool = True
    """Whether DNS answers are."""
    dns_delay_ms: tuple[float, float] = (0.0, 0.0)
    kill_after_s: float = 0.0
    """A scoring process is killed then; 0 = none."""
    site: Site = Site()


class Run(msgspec.Struct, frozen=True):
    """What was measured with one load in one round."""

    load: Load
    messages_per_s: float
    unanswered: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: Mapping[str, float]
    """Per message by kind of process: client, gateway, ingress, replica, resolver, ray."""
    yardsticks_ms: tuple[float, ...]
    """How fast the machine was, one mean for each `shapes.SPEED_S` of the load."""
    others_share: float
    """Cores that processes not of ours used."""

    @property
    def yardstick_ms(self) -> float:
        """The mean."""
        return sum(self.yardsticks_ms) / len(self.yardsticks_ms)


class Examined(msgspec.Struct, frozen=True, array_like=True):
    """One message as the spans tell it."""

    size_bytes: int
    cpu_ms: Mapping[str, float]
    """By "stage actor"."""
    rounds: Mapping[str, tuple[int, ...]] = {}
    """Questions to the DNS without a cache, by "stage actor"; those of one number were asked together."""


class Restart(msgspec.Struct, frozen=True):
    """What the loss of a scoring process means."""

    away_s: float
    """Until its successor serves."""
    cpu_s: float
    """What its start costs."""


class Recording(msgspec.Struct, frozen=True):
    """Everything that was measured at one time."""

    taken: str
    commit: str
    yardstick_ms: float
    """While the shapes were taken."""
    shapes: Mapping[str, tuple[Examined, ...]]
    """By mix."""
    runs: tuple[Run, ...]
    restart: Restart
    memory_mb: Mapping[str, float]
    """PSS of one process of each kind after a load; `ray`: of all else together."""
    per_seat_us: float = 0.0
    """CPU of an ingress for each replica it knows, at each stage."""
    per_endpoint_us: float = 0.0
    """CPU of a gateway for each ingress it knows, once a message."""


class Comparison(msgspec.Struct, frozen=True):
    """One load: measured in some rounds, and predicted for each; medians count."""

    runs: tuple[Run, ...]
    predictions: tuple[Mapping[str, float], ...]
    """messages_per_s, p50_ms, p95_ms, p99_ms; one for each run."""

    @property
    def load(self) -> Load:
        """Of all runs."""
        return self.runs[0].load

    def measured(self, figure: str) -> float:
        """The median."""
        return statistics.median(getattr(run, figure) for run in self.runs)

    def predicted(self, figure: str) -> float:
        """The median."""
        return statistics.median(prediction[figure] for prediction in self.predictions)

    def error(self, figure: str) -> float:
        """Relative: 0.1 = the model says 10 % more than was measured."""
        return self.predicted(figure) / self.measured(figure) - 1

    def noise(self, figure: str) -> float:
        """How far the rounds lie from their median, at most, as a part of it."""
        median = self.measured(figure)
        return max(abs(getattr(run, figure) / median - 1) for run in self.runs)


class NodeType(msgspec.Struct, frozen=True):
    """One size of node."""

    cores: int
    ingresses: int
    pool_size: int
    """Replicas of each actor: processes with all of them on a small node, of each one's on a large one."""


class Capacity(msgspec.Struct, frozen=True):
    """One cell, as predicted."""

    nodes: int
    node: NodeType
    processes: int
    """Scoring processes of one node."""
    messages_per_s: float
    p50_ms: tuple[float, ...]
    """At shares of that, `predict.SHARES`."""
    p99_ms: tuple[float, ...]
    lost_node_p99_ms: float
    """At 70 %, while one node dies; 0 for a single one."""
    lost_node_unanswered: int
    """Messages of the same without a whole verdict."""


class Fit(msgspec.Struct, frozen=True):
    """The model's numbers, what they were made from, and what they say."""

    recording: Recording
    costs: Costs
    """On a machine whose yardstick is `recording.yardstick_ms`."""
    comparisons: tuple[Comparison, ...] = ()
    """One for each load of the recording."""
    capacities: tuple[Capacity, ...] = ()
