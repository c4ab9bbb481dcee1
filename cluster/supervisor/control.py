"""What operators may ask of the cell: the supervisor behind the admin service.

A change states what is wanted, in the state that outlives the supervisor, and returns; the supervisor's loop does the
rest.
"""

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import msgspec

from cluster.admin.control import CellReport, Change, Refused, Settings, UnknownNode
from cluster.spec import CellSpec
from cluster.supervisor import rollouts
from cluster.supervisor.placement import place
from cluster.supervisor.report import counters, node_report, pool_reports, process_report, rollout_report
from wire.config import version_of

if TYPE_CHECKING:
    from cluster.supervisor.supervisor import Supervisor


class Control:
    """Implements `CellControl` of cluster/admin/control.py."""

    def __init__(self, supervisor: "Supervisor") -> None:
        self._supervisor = supervisor

    async def report(self) -> CellReport:
        """How the cell is now."""
        cell = self._supervisor
        figures, status = await asyncio.gather(cell.figures(), cell.look_around())
        spec = self._spec
        keepers = dict(sorted(cell.keepers.items()))
        processes = tuple(process_report(keeper, figures.get(name)) for name, keeper in keepers.items())
        problems = {process.name: process.problem for process in processes if process.problem}
        return CellReport(
            ready=status.ready,
            draining=cell.state.draining,
            generation=cell.state.generation,
            config_version=version_of(spec.judgement),
            nodes=tuple(node_report(node, cell.state) for node in cell.nodes),
            processes=processes,
            pools=pool_reports(spec.cluster.pools.sizes, keepers, cell.wanted, figures, cell.scaler),
            rollout=rollout_report(cell.state, cell.wanted, cell.canaries.progress(spec.cluster.canary)),
            problems={**problems, **cell.wanted.missing, **cell.complaints},
            counters=counters(figures.values()),
        )

    def settings(self) -> Settings:
        """What new processes get now."""
        return Settings(self._spec.cluster, self._spec.judgement, self._spec.trace)

    async def drain(self, *, draining: bool) -> None:
        """Have all ingresses refuse new transactions, or take them again."""
        self._supervisor.state.draining = draining
        self._supervisor.changed()

    async def drain_node(self, node: str, *, draining: bool) -> None:
        """Move everything away from the node of this Ray id, or let it take work again. Raises Refused."""
        cell = self._supervisor
        if node not in {known.id for known in cell.nodes}:
            raise UnknownNode(f"there is no node {node}")
        drained = cell.state.drained | {node} if draining else cell.state.drained - {node}
        if draining:
            self._check_room(self._spec, drained)
        cell.state.drained = drained
        cell.changed()

    async def start_rollout(self, change: Change) -> int:
        """Begin to replace processes, new one proven before the old one ends; returns the generation. Raises Refused.

        Sizes of pools alone replace nothing.
        """
        cell, spec = self._supervisor, self._spec
        if cell.state.rolling:
            raise Refused(f"the rollout to generation {cell.state.generation} is still running")
        if change.cluster is not None:
            spec = dataclasses.replace(spec, cluster=change.cluster)
            self._check_room(spec, cell.state.drained)
        if change.pools is not None:
            spec = dataclasses.replace(spec, cluster=msgspec.structs.replace(spec.cluster, pools=change.pools))
            if not any(change.pools.sizes.values()):
                raise Refused("every pool would be empty, nothing would score")
            self._check_room(spec, cell.state.drained)
        if change.judgement is not None:
            spec = dataclasses.replace(spec, judgement=change.judgement)
        if not change.replaces:
            cell.state.settings[cell.state.starting_generation] = spec.packed()
            generation = cell.state.generation
        else:
            watched = spec.cluster.canary.watch_s > 0
            generation = rollouts.begin(cell.state, spec.packed(), change.why, watched=watched)
        cell.changed()
        return generation

    async def stop_rollout(self) -> None:
        """Replace no further process. Raises Refused when none runs."""
        rollouts.stop(self._supervisor.state)
        self._supervisor.changed()

    async def roll_back(self) -> int:
        """Begin a rollout to the settings before the last one; returns the generation. Raises Refused."""
        generation = rollouts.roll_back(self._supervisor.state)
        self._supervisor.changed()
        return generation

    @property
    def _spec(self) -> CellSpec:
        return self._supervisor.spec(self._supervisor.state.starting_generation)

    def _check_room(self, spec: CellSpec, drained: set[str]) -> None:
        """Raises Refused when something would have no place any more that has one now."""
        cell = self._supervisor
        wanted = place(spec.cluster, cell.nodes, drained, cell.state.replicas, ())
        for name, problem in wanted.missing.items():
            if name not in cell.wanted.missing:
                raise Refused(f"{name} would have no place: {problem}")
