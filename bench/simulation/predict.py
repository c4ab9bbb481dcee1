"""What the model says: beside what was measured, and of cells that nobody has built. Pure, from a fit.

A cell of `nodes` has its gateways elsewhere, one process each on a core of its own, as many as keep them below half of
their capacity; every node has its own resolver, and the way between machines takes NETWORK_S.
"""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from bench.figures import percentile
from bench.simulation.cell import Cell
from bench.simulation.figures import Capacity, Comparison, Fit, NodeType, Recording, Run
from bench.simulation.fit import actors_s, predicted, shapes_of, simulate
from bench.simulation.front import Outcome
from bench.simulation.shapes import Background, Topology
from cluster.layout import workers

BOUND = 0.2
"""Error that the issue allows."""
FIGURES = ("messages_per_s", "p50_ms", "p99_ms")
NETWORK_S = 0.0002
ENDPOINTS_MAX = 20
"""Ingresses that one gateway is told of: enough for an even share, and a choice that costs the same in any cell."""
_SESSIONS_PER_CORE = 32
"""Enough to keep a core busy, see the loads that were measured."""
SHARES = (0.5, 0.7, 0.9)
"""Of the capacity, for the latencies."""
_WARM_SHARE = 0.3
"""Of the messages that do not count: the cell fills first."""
_GATEWAY_SHARE_MAX = 0.5
_GATEWAY_FRAMES = 6
"""Of one message, about: client and ingress, to and fro."""


SMALL = NodeType(cores=2, ingresses=1, pool_size=1)
LARGE = NodeType(cores=16, ingresses=8, pool_size=3)
CELLS = tuple((nodes, node) for node in (SMALL, LARGE) for nodes in (1, 10, 100, 1000))
"""Those of docs/capacity.md."""
_CORES_MAX = 48
_MESSAGES_LEAST = 4000
_OPEN_S = 1.0
_LOST_AT_SHARE = 0.7


def per_actor_ms(recording: Recording) -> dict[str, float]:
    """CPU of each actor for the average message, all stages together."""
    examined = recording.shapes["main"]
    total: Counter[str] = Counter()
    for one in examined:
        for key, cpu_ms in one.cpu_ms.items():
            total[key.split()[1]] += cpu_ms
    return {actor: total[actor] / len(examined) for actor in sorted(total)}


def core_ms(fit: Fit) -> float:
    """CPU of a message at saturation: gateway, ingress, replicas and Ray, by the load with the most sessions."""
    cached = [run for run in fit.recording.runs if run.load.cached]
    most = max(run.load.sessions for run in cached)
    return statistics.median(
        sum(run.cpu_ms.get(kind, 0.0) for kind in ("gateway", "ingress", "replica", "ray"))
        * fit.recording.yardstick_ms
        / run.yardstick_ms
        for run in cached
        if run.load.sessions == most
    )


def compare(fit: Fit) -> tuple[Comparison, ...]:
    """Every load that was recorded, in order; each of its rounds by chance of its own."""
    rounds: dict[str, list[Run]] = {}
    for run in fit.recording.runs:
        rounds.setdefault(run.load.name, []).append(run)
    return tuple(Comparison(tuple(runs), _predictions(fit, runs)) for runs in rounds.values())


def _predictions(fit: Fit, runs: Sequence[Run]) -> tuple[dict[str, float], ...]:
    cells = (simulate(fit.recording, fit.costs, run, seed=seed) for seed, run in enumerate(runs, 1))
    return tuple(predicted(cell) for cell in cells)


def capacity(fit: Fit, nodes: int, node: NodeType) -> Capacity:
    """What so many nodes can do, from a part of about CORES_MAX cores.

    Nodes meet only in the gateways, and each of those knows a few; what grows with the whole cell is what the choice
    of a replica costs, and that is counted for all of it.
    """
    part = min(nodes, max(2, _CORES_MAX // node.cores))
    topology = replace(topology_of(fit, part, node), cell_nodes=nodes)
    sessions = part * node.cores * _SESSIONS_PER_CORE
    full = _cell(fit, topology)
    full.closed_loop(sessions, max(_MESSAGES_LEAST, 4 * sessions))
    per_s = _steady(full)["messages_per_s"]
    at_shares = [_steady(_open(fit, topology, share * per_s)) for share in SHARES]
    lost_p99_ms, unanswered = 0.0, 0
    if nodes > 1:
        cell = _open(fit, topology, _LOST_AT_SHARE * per_s, lost=True)
        lost_p99_ms = _steady(cell)["p99_ms"]
        unanswered = sum(passage.outcome is not Outcome.VERDICT for passage in cell.ended)
    return Capacity(
        nodes,
        node,
        len(topology.workers),
        round(per_s * nodes / part),
        tuple(round(figures["p50_ms"], 1) for figures in at_shares),
        tuple(round(figures["p99_ms"], 1) for figures in at_shares),
        round(lost_p99_ms, 1),
        unanswered,
    )


def topology_of(fit: Fit, nodes: int, node: NodeType) -> Topology:
    """Nodes of one type, as the product would lay them out."""
    sizes = dict.fromkeys(per_actor_ms(fit.recording), node.pool_size)
    return Topology(
        nodes=nodes,
        cores=node.cores,
        ingresses=node.ingresses,
        workers=workers(sizes, "auto", node.cores),
        gateways=_gateways(fit, nodes, node),
        together=False,
        network_s=NETWORK_S,
        endpoints_max=ENDPOINTS_MAX,
        background=Background(ray_share(fit)),
    )


def ray_share(fit: Fit) -> float:
    """What Ray's own processes need of one core, on the average of the loads."""
    shares = [run.cpu_ms.get("ray", 0.0) * run.messages_per_s / 1000 for run in fit.recording.runs]
    return sum(shares) / len(shares)


def _gateways(fit: Fit, nodes: int, node: NodeType) -> int:
    """Enough of them for what the nodes could do at most, by the CPU of cores and of ingresses."""
    costs = fit.costs
    gateway_s = costs.gateway.item_s + _GATEWAY_FRAMES * costs.gateway.frame_s
    ingress_s = costs.ingress.item_s + costs.ingress.frame_s
    message_s = ingress_s + costs.replica.item_s + actors_s(fit.recording, fit.recording.runs[0])
    node_per_s = min(node.cores / message_s, node.ingresses / ingress_s)
    return max(1, math.ceil(nodes * node_per_s * gateway_s / _GATEWAY_SHARE_MAX))


def _cell(fit: Fit, topology: Topology) -> Cell:
    return Cell(topology, fit.costs, shapes_of(fit.recording.shapes["main"], cached=True))


def _open(fit: Fit, topology: Topology, rate_per_s: float, *, lost: bool = False) -> Cell:
    """Clients come by themselves; in the middle of it one node may be lost."""
    cell = _cell(fit, topology)
    messages = max(_MESSAGES_LEAST, round(_OPEN_S * rate_per_s))
    if lost:
        cell.kill_node(topology.nodes // 2, after_s=messages / rate_per_s / 2)
    cell.open_loop(rate_per_s, messages)
    return cell


def _steady(cell: Cell) -> dict[str, float]:
    """Throughput and latencies once the cell is full, and before it runs empty."""
    ended = cell.ended[int(len(cell.ended) * _WARM_SHARE) : int(len(cell.ended) * 0.95)]
    waits_ms = sorted((passage.ended_s - passage.asked_s) * 1000 for passage in ended)
    per_s = (len(ended) - 1) / (ended[-1].ended_s - ended[0].ended_s)
    return {"messages_per_s": per_s} | {f"p{p}_ms": percentile(waits_ms, p) or 0.0 for p in (50, 99)}
