"""What an operator sees of the cell, from what the supervisor and its keepers know. Pure."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from cluster.admin.control import (
    NodeReport,
    NodeState,
    PoolReport,
    ProcessReport,
    ProcessState,
    RolloutReport,
    RolloutState,
)
from cluster.metrics import ProcessFigures
from cluster.supervisor.keeper import Keeper, one_line
from cluster.supervisor.placement import NodeView, Wanted
from cluster.supervisor.scaler import Scaler
from cluster.supervisor.state import CellState, Phase


def process_report(keeper: Keeper, figures: ProcessFigures | None) -> ProcessReport:
    """One process; `figures` is what it says itself."""
    process = keeper.process
    return ProcessReport(
        name=keeper.name,
        actors=process.actors,
        node=process.node,
        address=keeper.address,
        state=_state(keeper),
        generation=process.generation,
        outstanding=figures.outstanding if figures is not None else 0,
        age_s=time.monotonic() - keeper.started_s,
        restarts=keeper.restarts,
        memory_bytes=figures.memory_bytes if figures is not None else 0,
        problem=one_line(keeper.problem) if keeper.problem is not None else "",
        model=process.model,
    )


def _state(keeper: Keeper) -> ProcessState:
    if keeper.process.phase is Phase.DRAINING:
        return ProcessState.DRAINING
    if keeper.process.phase is Phase.UP:
        return ProcessState.UP
    if keeper.proving:
        return ProcessState.PROVING
    return ProcessState.DOWN if keeper.problem is not None else ProcessState.STARTING


def node_report(node: NodeView, state: CellState) -> NodeReport:
    """One node."""
    emptied = node.leaving or node.id in state.drained
    if not node.alive:
        now = NodeState.AWAY
    elif emptied:
        busy = any(process.node == node.id for process in state.processes)
        now = NodeState.DRAINING if busy else NodeState.DRAINED
    else:
        now = NodeState.UP
    return NodeReport(node.id, node.name or node.address, node.address, now, float(node.cores), node.head)


def pool_reports(
    actors: Mapping[str, int],
    keepers: Mapping[str, Keeper],
    wanted: Wanted,
    figures: Mapping[str, ProcessFigures],
    scaler: Scaler,
) -> tuple[PoolReport, ...]:
    """One report for each actor; `actors` are the sizes of [cluster.pools]."""
    reports = []
    for actor, least in actors.items():
        there = [k for k in keepers.values() if actor in k.process.actors and k.process.phase is Phase.UP]
        count = sum(number for place, number in wanted.processes.items() if actor in place.actors)
        measured = scaler.last(actor)
        why = wanted.missing.get(actor, "")
        if not why and measured is not None and measured.replicas:
            why = f"{least} a node, {measured.busy:.0%} busy"
        reports.append(
            PoolReport(
                actor,
                up=len(there),
                wanted=count,
                why=why or f"{least} a node",
                queue_delay_ms=measured.queue_p95_s * 1000 if measured is not None else 0.0,
                outstanding=sum(figures[k.name].outstanding for k in there if k.name in figures),
            )
        )
    return tuple(reports)


def rollout_report(state: CellState, wanted: Wanted, watching: str) -> RolloutReport | None:
    """The rollout that runs, or the last one; `watching` says how far its first replicas are."""
    rollout = state.rollout
    if rollout is None:
        return None
    replaced = sum(p.generation == rollout.generation and p.phase is Phase.UP for p in state.processes)
    total = sum(wanted.processes.values())
    phase = RolloutState(rollout.phase.value)
    return RolloutReport(rollout.generation, phase, rollout.why, min(replaced, total), total, rollout.problem, watching)


def counters(figures: Iterable[ProcessFigures]) -> dict[str, int]:
    """What the processes counted, summed."""
    summed: Counter[str] = Counter()
    for of_process in figures:
        summed.update(of_process.counters)
    return dict(summed)
