"""From a recording to the model's numbers. Pure.

Strategy: a process's CPU for one message is wakes x wake + frames x frame + items x item (+ the actors' own work). How
often it wakes and how many frames it handles follows from the model itself, so model and numbers are found in turn:
simulate the loads of the fit, solve for the least squares that are not negative, and again, until they agree. What
passes without CPU before an idle process begins is what one session's latency has left over.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import msgspec
import numpy as np
import numpy.typing as npt

from actors.model import Stage
from bench.figures import percentile
from bench.simulation.cell import Cell
from bench.simulation.figures import Examined, Fit, Load, Recording, Run
from bench.simulation.shapes import Background, Cost, Costs, Shape, Topology, Work
from cluster.layout import workers

KINDS = ("client", "gateway", "ingress", "replica")
_TURNS = 6
ACTORS_SHARE_MAX = 0.8
"""Of a replica's CPU: the rest goes into reading, frames and tasks, at least."""
_MESSAGES_MAX = 1500
"""Simulated for one load of the fit."""
_WAKES = 6
"""Processes that wake between the end of a message and its verdict: gateway, ingress, replica and back, client."""
_START = Costs(*(Cost(2e-4, 5e-5, 3e-4) for _ in KINDS), notice_s=3e-5)

Array = npt.NDArray[np.float64]


def fit(recording: Recording) -> Fit:
    """The numbers that explain the loads that are marked for it."""
    runs = [run for run in recording.runs if run.load.fit and run.load.cached]
    recording = believable(recording, runs)
    costs = replace(
        _START,
        start_s=recording.restart.cpu_s,
        seat_s=recording.per_seat_us / 1e6,
        endpoint_s=recording.per_endpoint_us / 1e6,
    )
    for _ in range(_TURNS):
        cells = [simulate(recording, costs, run, _MESSAGES_MAX) for run in runs]
        found = {kind: _cost(recording, runs, cells, kind) for kind in KINDS}
        costs = _between(costs, replace(costs, **found, notice_s=_notice_s(recording, costs, runs, cells)))
    return Fit(recording, replace(costs, **_questions(recording, costs)))


def believable(recording: Recording, runs: Sequence[Run]) -> Recording:
    """The same with no more work of actors than their processes had CPU.

    Spans know only how long an actor ran, so on a busy machine they tell too much of all.
    """
    had_s = min(run.cpu_ms["replica"] * recording.yardstick_ms / run.yardstick_ms for run in runs) / 1000
    share = min(1.0, ACTORS_SHARE_MAX * had_s / actors_s(recording, runs[0]))
    shapes = {
        mix: tuple(
            Examined(one.size_bytes, {key: round(ms * share, 4) for key, ms in one.cpu_ms.items()}, one.rounds)
            for one in examined
        )
        for mix, examined in recording.shapes.items()
    }
    return msgspec.structs.replace(recording, shapes=shapes)


def simulate(recording: Recording, costs: Costs, run: Run, messages_max: int = 1_000_000, seed: int = 1) -> Cell:
    """The load of a run on a machine as fast as it was then."""
    load = run.load
    background = Background(run.cpu_ms.get("ray", 0.0) * run.messages_per_s / 1000 + run.others_share)
    speeds = tuple(recording.yardstick_ms / yardstick_ms for yardstick_ms in run.yardsticks_ms)
    shapes = shapes_of(recording.shapes[load.mix], cached=load.cached)
    cell = Cell(replace(topology_of(load), background=background, speeds=speeds), costs, shapes, seed)
    messages = min(load.messages, messages_max)
    if load.kill_after_s:
        cell.kill(next(iter(cell.scorers)), load.kill_after_s, recording.restart.away_s)
    if load.rate_per_s:
        cell.open_loop(load.rate_per_s, messages)
    else:
        cell.closed_loop(load.sessions, messages)
    return cell


def topology_of(load: Load) -> Topology:
    """A bench: everything on the cores of one machine."""
    site, (low_ms, high_ms) = load.site, load.dns_delay_ms
    return Topology(
        nodes=site.nodes,
        cores=site.cores,
        ingresses=site.ingresses,
        workers=workers(site.pool_sizes, site.layout, site.cores),
        machines=1,
        dns_delay_s=(low_ms / 1000, high_ms / 1000),
    )


def shapes_of(examined: Sequence[Examined], *, cached: bool) -> list[Shape]:
    """Messages as the model takes them; with a warm cache nothing is asked."""
    return [_shape(one, cached=cached) for one in examined]


def _shape(one: Examined, *, cached: bool) -> Shape:
    stages: dict[Stage, dict[str, Work]] = {}
    for key, cpu_ms in one.cpu_ms.items():
        stage, actor = key.split()
        rounds = () if cached else tuple(one.rounds.get(key, ()))
        stages.setdefault(Stage(stage), {})[actor] = Work(cpu_ms / 1000, rounds)
    return Shape(one.size_bytes, stages)


def _cost(recording: Recording, runs: Sequence[Run], cells: Sequence[Cell], kind: str) -> Cost:
    rows, targets_s = [], []
    for run, cell in zip(runs, cells, strict=True):
        slower = run.yardstick_ms / recording.yardstick_ms
        processes, count = cell.processes[kind], len(cell.ended)
        items = sum(scorer.tasks for scorer in cell.scorers.values()) / count if kind == "replica" else 1.0
        own_s = actors_s(recording, run) if kind == "replica" else 0.0
        rows.append(
            [sum(p.wakes for p in processes) / count, sum(p.frames for p in processes) / count, items],
        )
        targets_s.append(max(0.0, run.cpu_ms[kind] / 1000 / slower - own_s))
    return Cost(*map(float, nonnegative(np.array(rows), np.array(targets_s))))


def actors_s(recording: Recording, run: Run) -> float:
    """CPU of all actors for the average message, at the recording's speed."""
    examined = recording.shapes[run.load.mix]
    return sum(sum(one.cpu_ms.values()) for one in examined) / len(examined) / 1000


def _notice_s(recording: Recording, costs: Costs, runs: Sequence[Run], cells: Sequence[Cell]) -> float:
    """What the loads with the fewest sessions waited longer than the model says, shared out among those who wake."""
    fewest = min(run.load.sessions for run in runs)
    longer_s = [
        (run.p50_ms - predicted(cell)["p50_ms"]) / 1000 * recording.yardstick_ms / run.yardstick_ms
        for run, cell in zip(runs, cells, strict=True)
        if run.load.sessions == fewest
    ]
    return max(0.0, costs.notice_s + statistics.median(longer_s) / _WAKES)


def _questions(recording: Recording, costs: Costs) -> dict[str, float]:
    """What a question costs replica and name server: CPU of the load that asked, beyond what it is without."""
    found = [_question(recording, costs, run) for run in recording.runs if run.load.fit and not run.load.cached]
    return {name: statistics.median(one[name] for one in found) for name in ("question_s", "answer_s") if found}


def _question(recording: Recording, costs: Costs, run: Run) -> dict[str, float]:
    slower = run.yardstick_ms / recording.yardstick_ms
    examined = recording.shapes[run.load.mix]
    asked = sum(sum(map(sum, one.rounds.values())) for one in examined) / len(examined)
    cell = simulate(recording, costs, run, _MESSAGES_MAX)
    without_s = sum(process.cpu_s for process in cell.processes["replica"]) / len(cell.ended)
    return {
        "question_s": max(0.0, run.cpu_ms["replica"] / 1000 / slower - without_s) / asked if asked else 0.0,
        "answer_s": run.cpu_ms["resolver"] / 1000 / asked / slower if asked else 0.0,
    }


def _between(old: Costs, new: Costs) -> Costs:
    """Half way, so that the turns do not swing."""
    halves = {
        kind: Cost(*((getattr(a, name) + getattr(b, name)) / 2 for name in ("wake_s", "frame_s", "item_s")))
        for kind in KINDS
        for a, b in ((getattr(old, kind), getattr(new, kind)),)
    }
    return replace(new, **halves, notice_s=(old.notice_s + new.notice_s) / 2)


def nonnegative(rows: Array, targets: Array) -> Array:
    """The least squares solution without negative numbers; relative errors count. For a handful of unknowns."""
    scale = 1 / np.maximum(targets, 1e-9)
    weighted, aims = rows * scale[:, None], targets * scale
    best, best_error = np.zeros(rows.shape[1]), float(aims @ aims)
    columns = range(rows.shape[1])
    for used in (list(chosen) for size in range(1, len(columns) + 1) for chosen in combinations(columns, size)):
        solution = np.linalg.lstsq(weighted[:, used], aims, rcond=None)[0]
        rest = weighted[:, used] @ solution - aims
        if (solution >= 0).all() and float(rest @ rest) < best_error - 1e-12:
            best = np.zeros(rows.shape[1])
            best[used] = solution
            best_error = float(rest @ rest)
    return best


def predicted(cell: Cell) -> dict[str, float]:
    """What a cell that has run would be measured as."""
    passages = cell.ended
    waits_ms = sorted((passage.ended_s - passage.asked_s) * 1000 for passage in passages)
    first_s, last_s = min(p.began_s for p in passages), max(p.ended_s for p in passages)
    figures = {"messages_per_s": len(passages) / (last_s - first_s)}
    return figures | {f"p{percent}_ms": percentile(waits_ms, percent) or 0.0 for percent in (50, 95, 99)}
