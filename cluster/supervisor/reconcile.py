"""From what the processes of a cell are to what they should be: the next steps. A pure function.

Strategy: a *place* is one group on one node, and each is looked at by itself. A process that is missing is started; one
too many is drained, as long as enough others are up. While a rollout runs a place has one process more than it should:
the new one starts beside the old ones, and only when it is proven an old one is too many. So no place ever has fewer
processes up than it should because of us, and a node never carries more than one process of surplus.

A rollout goes to one place of a group first, and everywhere at once when it was proven there; the ingresses come last.
What brings another model stays beside all old ones of its place until it has been watched long enough (canary.py).
A new process that fails stops it, and is taken away; the old ones are still there.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cluster.supervisor.state import INGRESS, CellState, Phase, Process


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One group on one node."""

    group: str
    node: str
    actors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Note this process and start it."""

    process: Process


@dataclass(frozen=True, slots=True)
class Drain:
    """Give it nothing new, and end it when it owes nothing."""

    process: Process


@dataclass(frozen=True, slots=True)
class Forget:
    """Its node is gone, and it with it."""

    process: Process


@dataclass(frozen=True, slots=True)
class StopRollout:
    """What is new does not work: replace nothing more."""

    problem: str


@dataclass(frozen=True, slots=True)
class FinishRollout:
    """Everything is replaced."""


Step = Start | Drain | Forget | StopRollout | FinishRollout


def reconcile(wanted: Mapping[Place, int], state: CellState, nodes: Collection[str]) -> list[Step]:
    """The steps to take now; call it again whenever a process, a node or what is wanted has changed.

    `nodes` are the ids of those that are there; a process on another one is forgotten.
    """
    steps: list[Step] = [Forget(process) for process in state.processes if process.node not in nodes]
    present = [process for process in state.processes if process.node in nodes]
    if state.rolling:
        failed = [process for process in present if process.failed and process.generation == state.generation]
        if failed:
            return [*steps, StopRollout(f"{failed[0].name}: {failed[0].failed}")]
    here: dict[Place, list[Process]] = defaultdict(list)
    for process in present:
        here[_place(process)].append(process)
    places = sorted({*wanted, *here}, key=lambda place: (place.group == INGRESS, place))
    round_ = _Round(wanted, state, present)
    for place in places:
        steps += round_.steps(place, here[place])
    if state.rolling and not steps and round_.all_replaced():
        steps.append(FinishRollout())
    return steps


class _Round:
    """One look at all places; what is started in one counts in the next."""

    def __init__(self, wanted: Mapping[Place, int], state: CellState, present: Sequence[Process]) -> None:
        self._wanted = wanted
        self._state = state
        self._present = list(present)
        live = [process for process in present if process.phase is not Phase.DRAINING]
        new = [process for process in live if process.generation == state.generation]
        unproven = [process for process in new if process.phase is not Phase.UP]
        self._proven_groups = {process.group for process in new if process.phase is Phase.UP}
        self._trying_groups = {process.group for process in unproven}
        leaving = [process for process in present if process.phase is Phase.DRAINING]
        canaries = state.canaries
        self._watched_groups = {process.group for process in canaries}
        self._watched_places = {_place(process) for process in canaries}
        self._surging_nodes = {process.node for process in (*unproven, *leaving, *canaries)}
        self._old_replicas = any(p.group != INGRESS and p.generation != state.generation for p in live)

    def all_replaced(self) -> bool:
        """Nothing of another generation is left, and everything is up."""
        return all(p.generation == self._state.generation and p.phase is Phase.UP for p in self._present)

    def steps(self, place: Place, here: Sequence[Process]) -> Iterator[Step]:
        """What one place needs."""
        wanted = self._wanted.get(place, 0)
        live = [process for process in here if process.phase is not Phase.DRAINING]
        indexes = {process.index for process in live}
        for _ in range(wanted - len(live)):
            index = _smallest_free(indexes)
            indexes.add(index)
            yield self._start(place, self._generation(place), index)
        old = [process for process in live if process.generation != self._state.generation]
        if old and len(live) == wanted and self._may_surge(place):
            replaced = min(old, key=lambda process: process.index)
            yield self._start(place, self._state.generation, replaced.index, replaced.number)
        if wanted or not self._state.rolling or self._is_filled(place.node):
            # One that is watched is one more than wanted, of those that stay.
            for process in self._surplus(live, wanted + (wanted > 0 and place in self._watched_places)):
                self._surging_nodes.add(place.node)  # It is there until it owes nothing.
                yield Drain(process)

    def _may_surge(self, place: Place) -> bool:
        if not self._state.rolling or place.node in self._surging_nodes:
            return False
        if place.group in (self._trying_groups - self._proven_groups) | self._watched_groups:
            return False
        if place.group == INGRESS and self._old_replicas:
            return False
        self._trying_groups.add(place.group)
        self._surging_nodes.add(place.node)
        return True

    def _generation(self, place: Place) -> int:
        """Of which a process is that is missing: what is watched is not trusted yet."""
        return self._state.previous if place.group in self._watched_groups else self._state.starting_generation

    def _start(self, place: Place, generation: int, index: int, number: int = 0) -> Start:
        used = {p.number for p in self._present if (p.group, p.generation) == (place.group, generation)}
        number = number if number not in used else _smallest_free(used)
        process = Process(place.group, place.actors, place.node, number, index, generation)
        self._present.append(process)
        return Start(process)

    def _is_filled(self, node: str) -> bool:
        """Whether everything that the node should have is up: what takes over from a group that is no longer wanted."""
        up = Counter(_place(process) for process in self._present if process.phase is Phase.UP)
        return all(up[place] >= count for place, count in self._wanted.items() if place.node == node)

    def _surplus(self, live: Sequence[Process], wanted: int) -> Iterator[Process]:
        """Those that are too many now, while as many as wanted stay up.

        First what is not up, then what is of another generation, by index; of the right one the highest index.
        """
        target = self._state.starting_generation
        outdated = any(process.generation != target for process in live)
        count, up = len(live), sum(process.phase is Phase.UP for process in live)

        def rank(process: Process) -> tuple[bool, bool, int]:
            old = process.generation != target
            return (process.phase is Phase.UP, not old, process.index if old else -process.index)

        for process in sorted(live, key=rank):
            is_up = process.phase is Phase.UP
            if is_up:
                dispensable = up > wanted
            elif self._state.rolling and outdated:  # What is new is waited for; what is old may come back.
                dispensable = process.generation != target and up >= wanted
            else:
                dispensable = True
            if count > wanted and dispensable:
                count, up = count - 1, up - is_up
                yield process


def _place(process: Process) -> Place:
    return Place(process.group, process.node, process.actors)


def _smallest_free(taken: Collection[int]) -> int:
    return next(number for number in range(len(taken) + 1) if number not in taken)
