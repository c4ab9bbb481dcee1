"""Fitting: a cell whose numbers are known is recorded by simulating it, and found again."""

import msgspec
import numpy as np
import pytest

from bench.simulation.figures import Comparison, Examined, Fit, Load, Recording, Restart, Run, Site
from bench.simulation.fit import KINDS, actors_s, believable, fit, nonnegative, predicted, simulate
from bench.simulation.predict import FIGURES
from bench.simulation.shapes import Cost, Costs

SITE = Site(pool_sizes=dict.fromkeys(("dkim", "policy", "classifier", "antivirus"), 1))
TRUE = Costs(
    client=Cost(1e-4, 5e-5, 2e-4),
    gateway=Cost(2e-4, 1e-4, 3e-4),
    ingress=Cost(1e-4, 2e-4, 4e-4),
    replica=Cost(2e-4, 1e-4, 2e-4),
    notice_s=5e-5,
)
EXAMINED = tuple(
    Examined(
        4000 + 10 * number,
        {"envelope policy": 0.1, "message policy": 0.2, "message dkim": 0.01 * (number % 20), "message antivirus": 0.1},
    )
    for number in range(100)
)


def recording(loads: list[Load], yardstick_ms: float = 20.0) -> Recording:
    empty = Recording("", "", 20.0, {"main": EXAMINED}, (), Restart(1.0, 0.5), {})
    return msgspec.structs.replace(empty, runs=tuple(run_of(empty, load, yardstick_ms) for load in loads))


def run_of(empty: Recording, load: Load, yardstick_ms: float) -> Run:
    blank = Run(load, 0.0, 0, 0.0, 0.0, 0.0, {}, (yardstick_ms,), 0.0)
    cell = simulate(empty, TRUE, blank)
    figures = predicted(cell)
    slower = yardstick_ms / 20.0
    cpu_ms = {kind: sum(p.cpu_s for p in cell.processes[kind]) * slower * 1000 / load.messages for kind in KINDS}
    waits_ms = (figures[name] for name in ("p50_ms", "p95_ms", "p99_ms"))
    return Run(load, figures["messages_per_s"], 0, *waits_ms, cpu_ms, (yardstick_ms,), 0.0)


def test_what_is_fitted_on_some_loads_holds_for_others() -> None:
    fitted_on = [Load(f"{n}", 400, n, fit=True, site=SITE) for n in (1, 4, 32)]
    checks = [Load("8", 400, 8, site=SITE), Load("open", 400, rate_per_s=150, site=SITE)]
    known = recording(fitted_on + checks)
    costs = fit(known).costs
    for run in known.runs[3:]:
        one = Comparison((run,), (predicted(simulate(known, costs, run)),))
        for figure in FIGURES:
            assert abs(one.error(figure)) < 0.15, (run.load.name, figure)


def test_a_slow_phase_of_the_machine_is_not_taken_for_work() -> None:
    loads = [Load(f"{n}", 300, n, fit=True, site=SITE) for n in (1, 4, 32)]
    quick, slow = fit(recording(loads, 20.0)).costs, fit(recording(loads, 30.0)).costs
    assert slow.ingress.item_s == pytest.approx(quick.ingress.item_s, rel=0.1)


def test_actors_worked_no_more_than_their_processes_did() -> None:
    known = recording([Load("1", 100, 1, fit=True, site=SITE)])
    swollen = tuple(Examined(one.size_bytes, {k: 9 * ms for k, ms in one.cpu_ms.items()}) for one in EXAMINED)
    believed = believable(msgspec.structs.replace(known, shapes={"main": swollen}), known.runs)
    assert actors_s(believed, known.runs[0]) * 1000 == pytest.approx(0.8 * known.runs[0].cpu_ms["replica"], rel=0.01)
    assert believable(known, known.runs).shapes == known.shapes


def test_least_squares_without_negative_numbers() -> None:
    rows = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert nonnegative(rows, rows @ np.array([2.0, 3.0])) == pytest.approx([2.0, 3.0])
    falling = nonnegative(rows, np.array([3.0, 2.0, 1.0]))
    assert falling[1] == 0.0
    assert falling[0] > 0


def test_a_fit_survives_its_file() -> None:
    fitted = Fit(recording([Load("1", 50, 1, fit=True, site=SITE)]), TRUE)
    assert msgspec.json.decode(msgspec.json.encode(fitted), type=Fit) == fitted
