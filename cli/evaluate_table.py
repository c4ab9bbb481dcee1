"""What `tamis evaluate` has found, and its tables on a terminal."""

import msgspec
from rich.console import Console
from rich.table import Table

from actors.classifier.evaluation import Evaluation, Figure, Slice


class Scored(msgspec.Struct, frozen=True):
    """A filter and its figures."""

    name: str
    figures: Evaluation


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run; this is also the JSON."""

    online: bool
    """Whether each message was learned after it was scored."""
    skipped: dict[str, int]
    """Why files were left out, to how many."""
    filters: list[Scored]
    """Ours first."""

    @property
    def ratio(self) -> float | None:
        """Our (1-AUC) to the peer's; None without a peer, or when the peer makes no mistake."""
        ours, *peers = (scored.figures.one_minus_auc_percent.value for scored in self.filters)
        return ours / peers[0] if peers and peers[0] else None


def rows(outcome: Outcome) -> list[tuple[str, list[str]]]:
    """The measures by name, with one text for each filter."""
    figures = [scored.figures for scored in outcome.filters]
    table = [("(1-AUC) %", [number(one.one_minus_auc_percent) for one in figures])]
    for place, recall in enumerate(figures[0].recalls):
        name = f"recall at {recall.false_positive_rate:.1%} false positives"
        table.append((name, [share(one.recalls[place].recall) for one in figures]))
    table.append(("Brier score", [f"{one.brier:.4f}" for one in figures]))
    if outcome.ratio is not None:
        ours, peer = (scored.name for scored in outcome.filters)
        table.append((f"(1-AUC), {ours} to {peer}", [f"{outcome.ratio:.2f}", "1"]))
    return table


def heading(outcome: Outcome) -> str:
    """What was measured with, in a line."""
    figures = outcome.filters[0].figures
    how = "each scored in date order, then learned" if outcome.online else "scored, nothing learned meanwhile"
    skipped = ", ".join(f"{count} {why}" for why, count in sorted(outcome.skipped.items()))
    return f"{figures.spam} spam, {figures.ham} ham, {how}" + (f"; skipped: {skipped}" if skipped else "")


def slice_rows(slices: list[Slice]) -> list[list[str]]:
    """Name, counts, (1-AUC) %, recall, false positives of each."""
    return [
        [
            one.name,
            f"{one.spam}/{one.ham}",
            number(one.one_minus_auc_percent),
            share(one.recall),
            share(one.false_positive_rate),
        ]
        for one in slices
    ]


SLICE_HEADINGS = ("spam/ham", "(1-AUC) %", "recall", "false positives")
SLICES_NOTE = "of {}, at the threshold that 1 % of all ham exceeds"


def print_tables(outcome: Outcome, console: Console) -> None:
    """All of it for people."""
    table = Table("95 % interval in brackets", *(scored.name for scored in outcome.filters), title=heading(outcome))
    for name, texts in rows(outcome):
        table.add_row(name, *texts)
    console.print(table)
    ours = outcome.filters[0]
    console.print(f"\nslices {SLICES_NOTE.format(ours.name)}:")
    for kind, slices in ours.figures.slices.items():
        sliced = Table(kind, *SLICE_HEADINGS)
        for row in slice_rows(slices):
            sliced.add_row(*row)
        console.print(sliced)


def number(figure: Figure | None) -> str:
    """A figure with its interval, three digits each."""
    return "" if figure is None else f"{figure.value:.3g} ({figure.low:.3g} to {figure.high:.3g})"


def share(figure: Figure | None) -> str:
    """A share with its interval in percent."""
    return "" if figure is None else f"{figure.value:.1%} ({figure.low:.1%} to {figure.high:.1%})"
