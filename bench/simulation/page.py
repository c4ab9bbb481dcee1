"""docs/capacity.md and its picture, from a fit and what was predicted with it. Pure text."""

from collections.abc import Iterable, Sequence
from math import log10
from pathlib import Path

from bench.simulation.figures import Capacity, Comparison, Fit
from bench.simulation.predict import BOUND, ENDPOINTS_MAX, FIGURES, NETWORK_S, SHARES, core_ms, per_actor_ms

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "capacity.md"
PICTURE = DOCS / "capacity.svg"

_MILLION_AN_HOUR_PER_S = 1e6 / 3600
_OTHERS_SHARE_MAX = 0.1
_LOAD_SHARE = 0.7
"""What a node is planned for."""
_SIZE, _MARGIN = 420, 50
_COLOURS = {"messages_per_s": "#0a7d4f", "p50_ms": "#1f5fbf", "p99_ms": "#c2410c"}

Table = Sequence[Sequence[str]]

_PAGE = """# Capacity

What a cell can do, from a discrete-event model (`bench/simulation/`) in which the product's own dispatcher, admission,
balance and frames run in simulated time and each step costs what was measured. `python -m bench.simulation refit` makes
this page: it measures, fits, predicts and writes, in at most 10 minutes on a quiet machine. The figures lie in
`bench/simulation/fit.json`, taken {taken} UTC at {commit} on cores with a yardstick (`bench/run.py`) of
{yardstick_ms:.1f} ms; on cores with one of *y*, capacities are {yardstick_ms:.1f} / *y* times these.
{warning}
## Cells

{cells}

Capacity is what saturates the nodes; latencies are end of message at the gateway, at a share of it, clients coming by
themselves (Poisson). A node is counted on for 70 %: that gives the nodes for a million mails an hour, to which one is
added for each that may be down. Gateways stand beside the MTAs and are not among the cores; each knows {endpoints}
ingresses, {network_ms:g} ms away. DNS answers are cached. Of large cells a part of about fifty cores is simulated:
its nodes meet the others only in gateways, and what grows with the whole cell is counted for all of it. The last
column: the p99 when one node of that part dies at 70 % load, and how many messages had no whole verdict.

## A core

{cores}

A message at saturation takes {core_ms:.2f} ms of a core, gateway and Ray included: {core_hours:.2f} core hours for a
million mails; times the price of a core hour, that is their cost.

## How far the model is from what is measured

The loads marked *fit* gave the model its numbers; it has not seen the others. Load generator, name server, gateway and
cell share two cores. The model was asked about each round of a load, with what others used of the cores and how fast
those were meanwhile; medians of the rounds stand here. After ± is how far one lay from the median, at most; in bold,
how far the model is from it. The bound is {bound:.0%}.

{errors}

{summary}

![Predicted over measured](capacity.svg)

## What the model leaves out

- Why the same step does not take the same time twice: the model draws each from an exponential distribution around its
  cost.
- Names: two messages that ask for one at the same time ask once in the product, and each for itself in the model.
- Caches: nodes that share cores, as in this bench, find them colder, which costs three of them a quarter more CPU.
- Cells of more nodes than were measured. What grows with the cell is in the model: an ingress looks through all
  replicas of its cell for each stage ({seat_us:.2f} us each), a gateway through all ingresses that it knows
  ({endpoint_us:.2f} us each). The streams are not: an ingress keeps one to every replica, a million of them in a cell
  of a thousand nodes. Beyond about a hundred nodes, several cells, and a part of the ingresses for each gateway.
- Mail above 64 kB, which travels in pieces, clamd, and verdicts that need not wait for all actors.
"""


def write_page(fitted: Fit) -> None:
    """Both files anew."""
    PAGE.write_text(page(fitted), encoding="utf-8")
    PICTURE.write_text(picture(fitted.comparisons), encoding="utf-8")


def page(fitted: Fit) -> str:
    """The whole document."""
    recording = fitted.recording
    return _PAGE.format(
        taken=recording.taken,
        commit=recording.commit,
        yardstick_ms=recording.yardstick_ms,
        warning=_warning(fitted),
        cells=_table(_cells(fitted)),
        cores=_table(_cores(fitted)),
        errors=_table(_errors(fitted.comparisons)),
        summary=_summary(fitted.comparisons),
        endpoints=ENDPOINTS_MAX,
        network_ms=NETWORK_S * 1000,
        core_ms=core_ms(fitted),
        core_hours=core_ms(fitted) * 1e6 / 3.6e6,
        bound=BOUND,
        seat_us=recording.per_seat_us,
        endpoint_us=recording.per_endpoint_us,
    )


def _warning(fitted: Fit) -> str:
    """Figures of a machine that others used are no more than a beginning."""
    shares = [run.others_share / run.load.site.cores for run in fitted.recording.runs]
    share = sum(shares) / len(shares)
    if share <= _OTHERS_SHARE_MAX:
        return ""
    return f"\n**Provisional:** while they were taken, others used {share:.0%} of the cores.\n"


def _cells(fitted: Fit) -> Table:
    head = ["nodes x cores", "messages/s", "per core", "nodes for a million mails an hour", "memory of a node"]
    head += [f"p50 · p99 at {share:.0%}" for share in SHARES] + ["p99 while a node dies"]
    return [head, *(_cell(fitted, one) for one in fitted.capacities)]


def _cell(fitted: Fit, one: Capacity) -> list[str]:
    per_node_s = one.messages_per_s / one.nodes
    latencies = [f"{p50:.0f} · {p99:.0f} ms" for p50, p99 in zip(one.p50_ms, one.p99_ms, strict=True)]
    dying = f"{one.lost_node_p99_ms:.0f} ms, {one.lost_node_unanswered}" if one.nodes > 1 else ""
    return [
        f"{one.nodes:,} x {one.node.cores}",
        f"{one.messages_per_s:,.0f}",
        f"{per_node_s / one.node.cores:.0f}",
        f"{_MILLION_AN_HOUR_PER_S / (_LOAD_SHARE * per_node_s):.2f}",
        f"{_memory_mb(fitted, one) / 1000:.1f} GB",
        *latencies,
        dying,
    ]


def _memory_mb(fitted: Fit, one: Capacity) -> float:
    """PSS of one node: its processes as they were measured, and Ray's."""
    memory_mb = fitted.recording.memory_mb
    return memory_mb["ray"] + one.node.ingresses * memory_mb["ingress"] + one.processes * memory_mb["replica"]


def _cores(fitted: Fit) -> Table:
    rows = [["actor", "CPU of a message", "messages/s of a core that does nothing else"]]
    rows += [[name, f"{ms:.3f} ms", f"{1000 / ms:,.0f}"] for name, ms in per_actor_ms(fitted.recording).items()]
    return rows


def _errors(compared: Iterable[Comparison]) -> Table:
    rows = [["load", "", "messages/s", "p50", "p99", "others' share of the cores"]]
    for one in compared:
        figures = [f"{_shown(one, figure)} (**{one.error(figure):+.0%}**)" for figure in FIGURES]
        share = one.measured("others_share") / one.load.site.cores
        rows.append([one.load.name, "fit" if one.load.fit else "", *figures, f"{share:.0%}"])
    return rows


def _shown(one: Comparison, figure: str) -> str:
    value = one.measured(figure)
    shown = f"{value:.0f}" if figure == "messages_per_s" else f"{value:.1f} ms"
    return f"{shown} ±{one.noise(figure):.0%}" if len(one.runs) > 1 else shown


def _summary(compared: Sequence[Comparison]) -> str:
    checks = [one for one in compared if not one.load.fit]
    names = {"messages_per_s": "messages/s", "p50_ms": "p50", "p99_ms": "p99"}
    parts = []
    for figure in FIGURES:
        within = sum(abs(one.error(figure)) <= BOUND for one in checks)
        parts.append(f"{names[figure]} in {within} of {len(checks)}")
    return f"Within the bound, of the loads that were not used to fit: {', '.join(parts)}."


def _table(rows: Table) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def picture(compared: Sequence[Comparison]) -> str:
    """Predicted over measured, both on logarithmic scales, with the band of the bound. SVG."""
    points = [
        (one.measured(figure), one.predicted(figure), _COLOURS[figure], one.load.fit)
        for one in compared
        for figure in FIGURES
    ]
    least = min(min(measured, predicted) for measured, predicted, _, _ in points) * 0.8
    most = max(max(measured, predicted) for measured, predicted, _, _ in points) * 1.25
    span = log10(most / least)

    def at(value: float) -> float:
        return _MARGIN + log10(value / least) / span * (_SIZE - 2 * _MARGIN)

    def dot(measured: float, predicted: float, colour: str, *, hollow: bool) -> str:
        fill = "none" if hollow else colour
        return (
            f'<circle cx="{at(measured):.1f}" cy="{_SIZE - at(predicted):.1f}" r="4" fill="{fill}" stroke="{colour}"/>'
        )

    def line(factor: float, dashes: str) -> str:
        low, high = least * max(1.0, 1 / factor), most * min(1.0, 1 / factor)
        start = f'x1="{at(low):.1f}" y1="{_SIZE - at(low * factor):.1f}"'
        end = f'x2="{at(high):.1f}" y2="{_SIZE - at(high * factor):.1f}"'
        return f'<line {start} {end} stroke="#888" stroke-dasharray="{dashes}"/>'

    ticks = [value for power in range(-1, 6) for value in (10.0**power,) if least <= value <= most]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE} {_SIZE}" font-size="11">',
            f'<rect width="{_SIZE}" height="{_SIZE}" fill="#fff"/>',
            line(1.0, "none"),
            line(1 + BOUND, "4 3"),
            line(1 - BOUND, "4 3"),
            *(f'<text x="{at(tick):.1f}" y="{_SIZE - 30}" text-anchor="middle">{tick:g}</text>' for tick in ticks),
            *(f'<text x="44" y="{_SIZE - at(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>' for tick in ticks),
            *(dot(measured, predicted, colour, hollow=fit) for measured, predicted, colour, fit in points),
            *(
                f'<text x="60" y="{30 + 15 * row}" fill="{colour}">{name}</text>'
                for row, (name, colour) in enumerate(_COLOURS.items())
            ),
            '<text x="60" y="75" fill="#555">hollow: used to fit</text>',
            f'<text x="{_SIZE / 2}" y="{_SIZE - 10}" text-anchor="middle">measured</text>',
            f'<text transform="translate(14 {_SIZE / 2}) rotate(-90)" text-anchor="middle">predicted</text>',
            "</svg>",
            "",
        ]
    )
