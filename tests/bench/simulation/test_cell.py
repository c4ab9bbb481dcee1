"""A simulated cell: nothing is lost, only the seed is chance, and what breaks is survived as in the product."""

from collections import Counter

import pytest

from actors.model import Stage
from bench.simulation.cell import Cell
from bench.simulation.front import Outcome
from bench.simulation.shapes import Background, Cost, Costs, Shape, Topology, Work
from cluster.layout import Worker, workers

ACTORS = ("dkim", "policy", "classifier", "antivirus")
FUSED = (Worker("worker-0", ACTORS),)
PAIR = (*FUSED, Worker("worker-1", ACTORS))
COST = Cost(wake_s=2e-4, frame_s=5e-5, item_s=3e-4)
COSTS = Costs(COST, COST, COST, COST, question_s=1e-4, answer_s=1e-4, notice_s=3e-5, start_s=1.0)
SHAPE = Shape(
    6000,
    {
        Stage.ENVELOPE: {"policy": Work(1e-4)},
        Stage.MESSAGE: {
            "policy": Work(2e-4, (1, 2)),
            "dkim": Work(1e-4, (1,)),
            "classifier": Work(4e-4),
            "antivirus": Work(1e-4),
        },
    },
)
UNASKED = Shape(6000, {stage: {a: Work(w.cpu_s) for a, w in works.items()} for stage, works in SHAPE.stages.items()})


def outcomes(cell: Cell) -> Counter[Outcome | None]:
    return Counter(passage.outcome for passage in cell.ended)


def waits_s(cell: Cell) -> list[float]:
    return sorted(passage.ended_s - passage.asked_s for passage in cell.ended)


def test_one_message_alone_takes_the_sum_of_its_steps() -> None:
    costs = Costs(*(Cost(item_s=0.003) for _ in range(4)), notice_s=0.01)
    cell = Cell(Topology(workers=FUSED), costs, [Shape(6000, {Stage.MESSAGE: {"dkim": Work(0.1)}})])
    cell.closed_loop(1, 1000)
    # Gateway and ingress twice each, replica, and the client that hears it: their pieces; six wake.
    steps_s = 2 * 0.00075 + 2 * 0.0015 + 0.003 + 0.1 + 0.00075
    assert sum(waits_s(cell)) / 1000 == pytest.approx(steps_s + 6 * 0.01, rel=0.05)


def test_cpu_is_wakes_frames_and_items() -> None:
    cell = Cell(Topology(workers=FUSED), COSTS, [UNASKED])
    cell.closed_loop(8, 1000)
    cell.clock.run(cell.clock.now_s + 1)
    works_s = sum(work.cpu_s for works in UNASKED.stages.values() for work in works.values())
    tasks = sum(scorer.tasks for scorer in cell.scorers.values()) / 1000
    assert 1 < tasks < 2, "the envelope is asked about ahead of time by those who find the replica at rest"
    for kind, items, own_s in (
        ("client", 1, 0.0),
        ("gateway", 1, 0.0),
        ("ingress", 1, 0.0),
        ("replica", tasks, works_s),
    ):
        (process,) = cell.processes[kind]
        told_s = process.wakes * COST.wake_s + process.frames * COST.frame_s + 1000 * (items * COST.item_s + own_s)
        assert process.cpu_s == pytest.approx(told_s, rel=0.1), kind


def test_every_message_ends_once() -> None:
    cell = Cell(Topology(workers=FUSED), COSTS, [SHAPE])
    cell.open_loop(200, 1000)
    assert outcomes(cell) == {Outcome.VERDICT: 1000}
    assert len({passage.number for passage in cell.ended}) == 1000
    cell.clock.run(cell.clock.now_s + 60)
    assert len(cell.ended) == 1000


def test_the_seed_decides_everything() -> None:
    def run(seed: int) -> list[float]:
        cell = Cell(Topology(workers=PAIR, background=Background(0.1)), COSTS, [SHAPE, UNASKED], seed)
        cell.open_loop(200, 300)
        return waits_s(cell)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_more_sessions_make_larger_frames_and_cheaper_messages() -> None:
    def frames_and_cpu(sessions: int) -> tuple[float, float]:
        cell = Cell(Topology(workers=FUSED), COSTS, [UNASKED])
        cell.closed_loop(sessions, 600)
        processes = [process for kind in cell.processes.values() for process in kind]
        return sum(p.frames for p in cell.processes["replica"]) / 600, sum(p.cpu_s for p in processes) / 600

    frames_of_one, cpu_of_one = frames_and_cpu(1)
    frames_of_many, cpu_of_many = frames_and_cpu(32)
    assert frames_of_many < frames_of_one / 3
    assert cpu_of_many < cpu_of_one * 0.7


def test_the_cores_are_never_used_beyond_what_they_are() -> None:
    cell = Cell(Topology(workers=FUSED, cores=2), COSTS, [UNASKED])
    cell.closed_loop(64, 1000)
    used_s = sum(process.cpu_s for kind in cell.processes.values() for process in kind)
    assert used_s <= 2 * cell.clock.now_s * 1.001
    assert used_s >= 1.2 * cell.clock.now_s


def test_slow_answers_to_questions_make_messages_wait_and_nobody_compute() -> None:
    quick, slow = (
        Cell(Topology(workers=FUSED, dns_delay_s=delay_s), COSTS, [SHAPE]) for delay_s in ((0.0, 0.0), (0.03, 0.03))
    )
    for cell in (quick, slow):
        cell.closed_loop(1, 50)
    # Two rounds at policy, one after the other.
    assert waits_s(slow)[25] - waits_s(quick)[25] == pytest.approx(0.06, abs=0.005)


def test_a_killed_replicas_tasks_go_to_the_other_one() -> None:
    cell = Cell(Topology(workers=PAIR), COSTS, [UNASKED])
    cell.kill("worker-0@0", after_s=0.5, away_s=2.0)
    cell.closed_loop(16, 1000)
    assert outcomes(cell) == {Outcome.VERDICT: 1000}
    assert waits_s(cell)[-1] < 1.0
    assert cell.scorers["worker-0@0"].tasks > 0


def test_without_another_replica_messages_wait_for_its_successor() -> None:
    cell = Cell(Topology(workers=FUSED), COSTS, [UNASKED])
    cell.kill("worker-0@0", after_s=0.5, away_s=2.0)
    cell.closed_loop(8, 800)
    assert outcomes(cell) == {Outcome.VERDICT: 800}
    assert waits_s(cell)[-1] == pytest.approx(2.0, abs=0.1)


def test_a_replica_that_stays_away_costs_the_verdict_its_actors() -> None:
    cell = Cell(Topology(workers=FUSED, replica_wait_s=1.0), COSTS, [UNASKED])
    cell.kill("worker-0@0", after_s=0.1, away_s=60.0)
    cell.closed_loop(4, 60)
    assert outcomes(cell)[Outcome.DEGRADED] > 0
    assert outcomes(cell).total() == 60
    assert waits_s(cell)[-1] < 1.2


def test_the_messages_of_a_lost_node_are_told_to_another() -> None:
    topology = Topology(nodes=3, workers=FUSED, gateways=2, together=False, network_s=1e-4)
    cell = Cell(topology, COSTS, [UNASKED])
    cell.kill_node(1, after_s=0.3)
    cell.open_loop(600, 1200)
    assert outcomes(cell) == {Outcome.VERDICT: 1200}
    assert [scorer.tasks > 500 for scorer in cell.scorers.values()] == [True, False, True]


def test_nodes_get_equal_shares() -> None:
    topology = Topology(nodes=4, workers=FUSED, gateways=2, together=False)
    cell = Cell(topology, COSTS, [UNASKED])
    cell.open_loop(800, 2000)
    tasks = [scorer.tasks for scorer in cell.scorers.values()]
    assert max(tasks) / min(tasks) < 1.1


def test_a_full_cell_refuses() -> None:
    cell = Cell(Topology(workers=FUSED, transactions_max=5), COSTS, [UNASKED])
    cell.open_loop(2000, 500)
    assert outcomes(cell)[Outcome.REFUSED] > 0
    assert outcomes(cell).total() == 500


def test_what_others_compute_is_missing_here() -> None:
    alone, beside = (
        Cell(Topology(workers=FUSED, background=Background(share)), COSTS, [UNASKED]) for share in (0.0, 1.4)
    )
    for cell in (alone, beside):
        cell.closed_loop(32, 800)
    assert 1.3 < beside.clock.now_s / alone.clock.now_s < 2.5


def test_large_nodes_have_a_process_for_each_actor() -> None:
    cell = Cell(Topology(cores=16, workers=workers(dict.fromkeys(ACTORS, 2), "auto", 16)), COSTS, [UNASKED])
    cell.closed_loop(16, 300)
    assert outcomes(cell) == {Outcome.VERDICT: 300}
    assert len(cell.scorers) == 8
