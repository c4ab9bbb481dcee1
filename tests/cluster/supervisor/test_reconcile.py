"""From what is to what should be: the steps, with processes that come up when the test says so. Pure."""

import pytest

from cluster.supervisor import rollouts
from cluster.supervisor.reconcile import Drain, FinishRollout, Forget, Place, Start, Step, StopRollout, reconcile
from cluster.supervisor.state import INGRESS, CellState, Phase, Process, RolloutPhase


class Cell:
    """Takes the steps as the supervisor does; `least` is the fewest that were up in each place at any time."""

    def __init__(self, **wanted: int) -> None:
        """`worker_a=2` is two workers on node a."""
        self.state = CellState({1: b""})
        self.want(**wanted)
        self.nodes = {place.node for place in self.wanted}

    def want(self, **wanted: int) -> None:
        names = {name: name.rpartition("_") for name in wanted}
        self.wanted = {
            Place(group, node, () if group == INGRESS else (group,)): wanted[name]
            for name, (group, _, node) in names.items()
        }

    def look(self) -> list[Step]:
        steps = reconcile(self.wanted, self.state, self.nodes)
        for step in steps:
            match step:
                case Start(process):
                    self.state.processes.append(process)
                case Drain(process):
                    process.phase = Phase.DRAINING
                case Forget(process):
                    self.state.processes.remove(process)
                case StopRollout(problem):
                    assert self.state.rollout is not None
                    self.state.rollout.phase, self.state.rollout.problem = RolloutPhase.STOPPED, problem
                case FinishRollout():
                    assert self.state.rollout is not None
                    self.state.rollout.phase = RolloutPhase.DONE
        return steps

    def settle(self) -> None:
        """Everything comes up, what drains ends, until nothing is left to do."""
        for _ in range(100):
            steps = self.look()
            self.check()
            self.come_up()
            self.state.processes = [p for p in self.state.processes if p.phase is not Phase.DRAINING]
            if not steps:
                return
        raise AssertionError("it never ends")

    def come_up(self, generation: int | None = None) -> None:
        for process in self.state.processes:
            if process.phase is Phase.UNPROVEN and generation in (None, process.generation):
                process.phase = Phase.UP

    def check(self) -> None:
        names = [process.name for process in self.state.processes]
        assert len(names) == len(set(names))

    def up(self, group: str, node: str = "") -> int:
        return sum(
            process.group == group and process.phase is Phase.UP and node in ("", process.node)
            for process in self.state.processes
        )

    def names(self) -> list[str]:
        return sorted(process.name for process in self.state.processes)


def test_what_is_missing_is_started_with_numbers_of_the_cell_and_indexes_of_the_node() -> None:
    cell = Cell(ingress_a=2, ingress_b=1, worker_a=2, worker_b=2)
    cell.settle()
    assert cell.names() == ["ingress-0", "ingress-1", "ingress-2", "worker-0", "worker-1", "worker-2", "worker-3"]
    indexes = {process.name: process.index for process in cell.state.processes if process.group == INGRESS}
    assert indexes == {"ingress-0": 0, "ingress-1": 1, "ingress-2": 0}
    assert not cell.look()


def test_one_that_is_too_many_is_drained_the_last_first() -> None:
    cell = Cell(worker_a=3)
    cell.settle()
    cell.want(worker_a=1)
    assert [step.process.name for step in cell.look() if isinstance(step, Drain)] == ["worker-2", "worker-1"]


def test_what_is_down_goes_before_what_is_up() -> None:
    cell = Cell(worker_a=2)
    cell.settle()
    cell.state.processes[0].phase = Phase.UNPROVEN
    cell.want(worker_a=1)
    assert [step.process.name for step in cell.look() if isinstance(step, Drain)] == ["worker-0"]


def test_a_node_that_is_gone_takes_its_processes_along() -> None:
    cell = Cell(worker_a=1, worker_b=1)
    cell.settle()
    cell.nodes = {"a"}
    cell.want(worker_a=1)
    assert [type(step) for step in cell.look()] == [Forget]


def test_a_rollout_proves_the_new_beside_the_old_and_never_has_fewer_up() -> None:
    cell = Cell(ingress_a=1, worker_a=2, worker_b=2)
    cell.settle()
    rollouts.begin(cell.state, b"new", "test")
    for _ in range(50):
        steps = cell.look()
        up_before = {"a": cell.up("worker", "a"), "b": cell.up("worker", "b")}
        assert min(up_before.values()) >= 2, "nothing ends before another one is up in its place"
        assert cell.up(INGRESS) >= 1
        for node in "ab":
            unproven = [p for p in cell.state.processes if p.node == node and p.phase is Phase.UNPROVEN]
            assert len(unproven) <= 1, "one process of surplus on a node"
        cell.come_up()
        cell.state.processes = [p for p in cell.state.processes if p.phase is not Phase.DRAINING]
        if not steps:
            break
    assert cell.state.rollout is not None
    assert cell.state.rollout.phase is RolloutPhase.DONE
    assert cell.names() == ["ingress-0.2", "worker-0.2", "worker-1.2", "worker-2.2", "worker-3.2"]


def test_the_first_new_process_is_alone_in_the_cell_until_it_is_proven() -> None:
    cell = Cell(worker_a=1, worker_b=1, worker_c=1)
    cell.settle()
    rollouts.begin(cell.state, b"new", "test")
    assert [step.process.name for step in cell.look() if isinstance(step, Start)] == ["worker-0.2"]
    assert not cell.look()
    cell.come_up()
    started = [step.process.name for step in cell.look() if isinstance(step, Start)]
    assert started == ["worker-1.2", "worker-2.2"]


def test_the_ingresses_are_replaced_last_each_on_its_port() -> None:
    cell = Cell(ingress_a=2, worker_a=1)
    cell.settle()
    rollouts.begin(cell.state, b"new", "test")
    order = []
    for _ in range(30):
        order += [(step.process.name, step.process.index) for step in cell.look() if isinstance(step, Start)]
        cell.come_up()
        cell.state.processes = [p for p in cell.state.processes if p.phase is not Phase.DRAINING]
    assert order == [("worker-0.2", 0), ("ingress-0.2", 0), ("ingress-1.2", 1)]


def test_no_ingress_is_replaced_while_a_replica_anywhere_is_of_the_old_generation() -> None:
    cell = Cell(ingress_c=1, worker_a=1, worker_b=1)
    cell.settle()
    rollouts.begin(cell.state, b"new", "test")
    assert [step.process.group for step in cell.look() if isinstance(step, Start)] == ["worker"]


def test_what_fails_its_proof_stops_the_rollout_and_the_old_ones_are_still_there() -> None:
    cell = Cell(worker_a=2)
    cell.settle()
    rollouts.begin(cell.state, b"new", "test")
    cell.look()
    (new,) = [process for process in cell.state.processes if process.generation == 2]
    new.failed = "ImportError: no module named model"
    assert [type(step) for step in cell.look()] == [StopRollout]
    assert cell.state.rollout is not None
    assert cell.state.rollout.problem == "worker-0.2: ImportError: no module named model"
    cell.settle()
    assert cell.names() == ["worker-0", "worker-1"]


def test_after_a_stopped_rollout_what_is_missing_is_of_the_generation_that_was_proven() -> None:
    cell = Cell(worker_a=2)
    cell.settle()
    rollouts.begin(cell.state, b"new", "test")
    rollouts.stop(cell.state)
    cell.want(worker_a=3)
    cell.settle()
    assert cell.names() == ["worker-0", "worker-1", "worker-2"]


def test_a_stopped_rollout_can_be_taken_back_and_replaces_only_what_is_new() -> None:
    cell = Cell(worker_a=1, worker_b=1)
    cell.settle()
    rollouts.begin(cell.state, b"new", "test")
    cell.look()
    cell.come_up()
    cell.look()
    cell.state.processes = [p for p in cell.state.processes if p.phase is not Phase.DRAINING]
    rollouts.stop(cell.state)
    kept = [process for process in cell.state.processes if process.generation == 1]
    assert rollouts.roll_back(cell.state) == 1
    cell.settle()
    assert {process.generation for process in cell.state.processes} == {1}
    assert all(process in cell.state.processes for process in kept)
    assert cell.up("worker", "a") == cell.up("worker", "b") == 1


def test_a_new_layout_takes_over_before_the_old_one_ends() -> None:
    cell = Cell(dkim_a=1, policy_a=1)
    cell.settle()
    rollouts.begin(cell.state, b"fused", "test")
    cell.want(worker_a=1)
    assert [type(step) for step in cell.look()] == [Start]
    assert not cell.look()
    cell.come_up()
    cell.settle()
    assert cell.names() == ["worker-0.2"]


def test_a_rollout_mends_what_never_came_up() -> None:
    cell = Cell(worker_a=1)
    cell.look()
    rollouts.begin(cell.state, b"mended", "test")
    cell.look()
    assert cell.names() == ["worker-0", "worker-0.2"]
    cell.come_up(generation=2)
    cell.settle()
    assert cell.names() == ["worker-0.2"]


@pytest.mark.parametrize("phase", list(Phase))
def test_a_restarted_supervisor_that_has_not_heard_of_anybody_yet_takes_nothing_away(phase: Phase) -> None:
    cell = Cell(worker_a=1)
    cell.settle()
    rollouts.begin(cell.state, b"new", "test")
    cell.look()
    old, new = cell.state.processes
    old.phase, new.phase = Phase.UNPROVEN, Phase.UNPROVEN if phase is Phase.UP else phase
    assert not any(isinstance(step, Drain) and step.process is old for step in cell.look())


def test_names_are_unique_over_the_generations() -> None:
    first, second = Process("worker", ("dkim",), "a", 0, 0), Process("worker", ("dkim",), "a", 0, 0, generation=2)
    assert (first.name, second.name) == ("worker-0", "worker-0.2")


def with_models(cell: Cell, *, old: str = "old", new: str = "new") -> None:
    """Every replica says by which model it judges."""
    for process in cell.state.processes:
        if process.group != INGRESS:
            process.model = new if process.generation == 2 else old


def watched(**wanted: int) -> Cell:
    """A cell whose first new replica judges by another model."""
    cell = Cell(**wanted)
    cell.settle()
    rollouts.begin(cell.state, b"new", "test", watched=True)
    cell.look()
    with_models(cell)
    cell.come_up()
    return cell


def test_a_new_model_is_alone_beside_all_old_ones_until_it_has_passed() -> None:
    cell = watched(worker_a=2, worker_b=2, ingress_a=1)
    assert not cell.look()
    assert cell.names() == ["ingress-0", "worker-0", "worker-0.2", "worker-1", "worker-2", "worker-3"]
    assert cell.state.rollout is not None
    cell.state.rollout.passed.add("worker")
    cell.settle()
    assert cell.names() == ["ingress-0.2", "worker-0.2", "worker-1.2", "worker-2.2", "worker-3.2"]


def test_a_new_model_that_fails_is_taken_away_and_nothing_else_has_changed() -> None:
    cell = watched(worker_a=2, worker_b=2)
    (canary,) = cell.state.canaries
    canary.failed = "spam: 100%"
    assert cell.look() == [StopRollout("worker-0.2: spam: 100%")]
    cell.settle()
    assert cell.names() == ["worker-0", "worker-1", "worker-2", "worker-3"]


def test_what_is_missing_while_a_model_is_watched_gets_the_old_one() -> None:
    cell = watched(worker_a=1)
    cell.nodes.add("b")
    cell.want(worker_a=1, worker_b=1)
    assert [step.process.generation for step in cell.look() if isinstance(step, Start)] == [1]


def test_a_node_is_emptied_also_of_a_model_that_is_watched() -> None:
    cell = watched(worker_a=1, worker_b=1)
    cell.want(worker_a=0, worker_b=1)
    drained = [step.process.name for step in cell.look() if isinstance(step, Drain)]
    assert sorted(drained) == ["worker-0", "worker-0.2"]


def test_only_one_process_of_surplus_while_a_model_is_watched() -> None:
    cell = watched(classifier_a=1, policy_a=1)
    assert [process.name for process in cell.state.canaries] == ["classifier-0.2"]
    assert not cell.look(), "policy waits for its turn on this node"
