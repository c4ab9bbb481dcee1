"""What goes into the model: the work a message makes, what a step costs, and where everything runs. Values only.

All times of CPU are seconds on a core as fast as the one the figures were taken on, see `Recording.yardstick_ms`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from actors.model import Stage
from cluster.layout import Worker


@dataclass(frozen=True, slots=True)
class Work:
    """What one actor does about one message at one stage."""

    cpu_s: float
    rounds: tuple[int, ...] = ()
    """Questions to the DNS, those asked together in one number: one after the other."""

    @property
    def piece_s(self) -> float:
        """CPU before the first round, between two and after the last."""
        return self.cpu_s / (len(self.rounds) + 1)


@dataclass(frozen=True, slots=True)
class Shape:
    """One message as the cell sees it, drawn from a trace."""

    size_bytes: int
    stages: Mapping[Stage, Mapping[str, Work]]
    """Who is asked when."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one kind of process."""

    wake_s: float = 0.0
    """To become idle and to start again."""
    frame_s: float = 0.0
    """To read or to write one frame."""
    item_s: float = 0.0
    """For one message, in all; at a replica for one task, the actors' own work apart."""


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU of everything, and what passes without any."""

    client: Cost = Cost()
    """The load generator or the MTA, when it shares the cores."""
    gateway: Cost = Cost()
    ingress: Cost = Cost()
    replica: Cost = Cost()
    question_s: float = 0.0
    """A replica's CPU for one question to the DNS."""
    answer_s: float = 0.0
    """The name server's for it, when it shares the cores."""
    notice_s: float = 0.0
    """Until an idle process begins with what it has to do."""
    seat_s: float = 0.0
    """The ingress's for each replica of its cell, at each stage that it asks about."""
    endpoint_s: float = 0.0
    """The gateway's for each ingress it knows, once a message."""
    start_s: float = 0.0
    """A replica's start, from nothing to its first task."""


SPEED_S = 0.25


@dataclass(frozen=True, slots=True)
class Background:
    """What else runs on a machine: Ray's own processes, other people's."""

    share: float = 0.0
    """Of one core, on the average."""
    burst_s: float = 0.005


@dataclass(frozen=True, slots=True)
class Topology:
    """A cell and what is in front of it."""

    nodes: int = 1
    cell_nodes: int = 0
    """Of the whole cell, of which these are a part; 0 = these are all."""
    cores: int = 2
    """Of one node."""
    ingresses: int = 1
    """On one node."""
    workers: tuple[Worker, ...] = ()
    """On one node, as cluster/layout.py lays them out."""
    gateways: int = 1
    together: bool = True
    """Gateways, clients and name server share the first node's cores, as in a bench; otherwise each gateway has a
    machine of its own, clients cost nothing, and every node has a resolver of its own."""
    machines: int = 0
    """Nodes share so many machines of `cores` cores; 0 = each has its own. A bench has one."""
    dns_delay_s: tuple[float, float] = (0.0, 0.0)
    """Between question and answer, uniform."""
    network_s: float = 0.0
    """From one machine to another."""
    endpoints_max: int = 1_000_000
    """Ingresses that one gateway knows."""
    replica_tasks_max: int = 1024
    replica_wait_s: float = 5.0
    transactions_max: int = 10_000
    background: Background = Background()
    speeds: tuple[float, ...] = ()
    """How fast all cores are, one number for each SPEED_S, again and again; none = 1, always."""
