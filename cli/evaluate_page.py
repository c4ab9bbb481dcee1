"""The page that `tamis evaluate --html` writes: ROC and calibration as drawings in the page itself, tables, no script.

It loads nothing, so it can be sent by mail or opened from a disk; it follows the width of a phone and its dark mode.
"""

import html
import math
from collections.abc import Iterable, Sequence

from actors.classifier.evaluation import Bin, Roc
from cli.evaluate_table import SLICE_HEADINGS, SLICES_NOTE, Outcome, heading, rows, slice_rows

_WIDTH, _HEIGHT = 460, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 28, 12, 48
_COLOURS = ("#1769aa", "#c2570c", "#2e7d32", "#7b1fa2")
_RATE_MIN = 1e-4
"""Left end of the ROC: rates below are drawn there."""
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 0 1rem 3rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; flex: 1 1 20rem; min-width: 0; }
svg { width: 100%; height: auto; } svg text { fill: currentColor; font-size: 13px; }
.grid { stroke: currentColor; opacity: .18; } .axis { stroke: currentColor; } .even { stroke-dasharray: 5 5; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; } caption { text-align: left; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
th { text-align: left; } td { text-align: right; white-space: nowrap; }
"""


def page(outcome: Outcome) -> str:
    """The whole file."""
    names = [scored.name for scored in outcome.filters]
    ours = outcome.filters[0]
    curves = [scored.figures.roc for scored in outcome.filters]
    bins = [scored.figures.reliability for scored in outcome.filters]
    parts = [
        "<h1>Spam filter, evaluated</h1>",
        f"<p>{html.escape(heading(outcome))}. Intervals hold the true value in 95 of 100 such measurements.</p>",
        _table("", ("", *names), [[name, *texts] for name, texts in rows(outcome)]),
        '<div class="plots">',
        _figure("ROC: recall over the false positive rate, which is logarithmic", _roc(names, curves)),
        _figure("Calibration: share of spam over the probability told, 95 % interval", _calibration(names, bins)),
        "</div>",
        f"<h2>Slices {html.escape(SLICES_NOTE.format(ours.name))}</h2>",
        *(_table(kind, (kind, *SLICE_HEADINGS), slice_rows(one)) for kind, one in ours.figures.slices.items()),
    ]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>tamis evaluate</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
    )
    return head + "\n".join(parts) + "</body></html>\n"


def _table(kind: str, headings: Iterable[str], body: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(one)}</th>" for one in headings)
    lines = (
        f"<tr><th>{html.escape(row[0])}</th>{''.join(f'<td>{html.escape(one)}</td>' for one in row[1:])}</tr>"
        for row in body
    )
    label = f' aria-label="{html.escape(kind)}"' if kind else ""
    return f'<div class="scroll"><table{label}><tr>{head}</tr>{"".join(lines)}</table></div>'


def _figure(caption: str, drawing: Sequence[str]) -> str:
    box = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(caption)}">'
    return f"<figure>{box}{''.join(drawing)}</svg><figcaption>{html.escape(caption)}</figcaption></figure>"


def _x(part: float) -> float:
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _y(part: float) -> float:
    return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)


def _log(rate: float) -> float:
    """Place of a rate on the axis, 0 to 1."""
    return 1 - math.log10(max(rate, _RATE_MIN)) / math.log10(_RATE_MIN)


def _frame(x_ticks: Iterable[tuple[float, str]], x_name: str, y_name: str) -> list[str]:
    lines = [f'<path class="axis" fill="none" d="M{_x(0):.1f} {_y(1):.1f}V{_y(0):.1f}H{_x(1):.1f}"/>']
    for part, text in x_ticks:
        lines.append(f'<path class="grid" d="M{_x(part):.1f} {_y(0):.1f}V{_y(1):.1f}"/>')
        lines.append(f'<text x="{_x(part):.1f}" y="{_y(0) + 17:.1f}" text-anchor="middle">{text}</text>')
    for tenths in range(0, 11, 2):
        y = _y(tenths / 10)
        lines.append(f'<path class="grid" d="M{_x(0):.1f} {y:.1f}H{_x(1):.1f}"/>')
        lines.append(f'<text x="{_x(0) - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tenths * 10} %</text>')
    lines.append(f'<text x="{_x(0.5):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{x_name}</text>')
    lines.append(
        f'<text x="14" y="{_y(0.5):.1f}" text-anchor="middle" transform="rotate(-90 14 {_y(0.5):.1f})">{y_name}</text>'
    )
    return lines


def _legend(names: Sequence[str]) -> list[str]:
    """At the lower right, where neither plot has anything to show."""
    lines = []
    for place, name in enumerate(reversed(names)):
        y = _y(0) - 14 - 18 * place
        colour = _COLOURS[(len(names) - 1 - place) % len(_COLOURS)]
        lines.append(f'<path stroke="{colour}" stroke-width="3" d="M{_x(1) - 110:.1f} {y - 4:.1f}h18"/>')
        lines.append(f'<text x="{_x(1) - 86:.1f}" y="{y:.1f}">{html.escape(name)}</text>')
    return lines


def _roc(names: Sequence[str], curves: Sequence[Roc]) -> list[str]:
    ticks = (
        (_log(rate), text)
        for rate, text in ((1e-4, "0.01 %"), (1e-3, "0.1 %"), (1e-2, "1 %"), (0.1, "10 %"), (1, "100 %"))
    )
    lines = _frame(ticks, "ham taken for spam", "spam found")
    for place, curve in enumerate(curves):
        corners = zip(curve.false_positive_rate, curve.recall, strict=True)
        points = " ".join(f"{_x(_log(rate)):.1f},{_y(recall):.1f}" for rate, recall in corners)
        colour = _COLOURS[place % len(_COLOURS)]
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
    return lines + _legend(names)


def _calibration(names: Sequence[str], filters: Sequence[Sequence[Bin]]) -> list[str]:
    ticks = ((tenths / 10, f"{tenths * 10} %") for tenths in range(0, 11, 2))
    lines = _frame(ticks, "probability of spam that was told", "spam found to be")
    lines.append(f'<path class="axis even" d="M{_x(0):.1f} {_y(0):.1f}L{_x(1):.1f} {_y(1):.1f}"/>')
    for place, bins in enumerate(filters):
        colour = _COLOURS[place % len(_COLOURS)]
        for one in bins:
            x = _x(one.probability)
            lines.append(f'<path stroke="{colour}" d="M{x:.1f} {_y(one.spam.low):.1f}V{_y(one.spam.high):.1f}"/>')
            radius = 2 + math.log10(one.count)
            circle = f'<circle cx="{x:.1f}" cy="{_y(one.spam.value):.1f}" r="{radius:.1f}" fill="{colour}">'
            lines.append(f"{circle}<title>{one.count} messages</title></circle>")
    return lines + _legend(names)
