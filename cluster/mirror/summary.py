"""Many lines of the report as one: how often the two cells agree, and in what they do not. Pure.

Strategy: everything is counted in classes, so that memory does not grow with the number of lines: actions are few,
names are bounded, scores and times are rounded before they are counted.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from cluster.mirror.difference import Difference, Line

K = TypeVar("K", bound=Hashable)

NAMES_MAX = 10_000
OTHERS = ("(others)", "", "")
SCORE_DIGITS = 1
SCORE_MAX = 1000.0
MS_RATIO = 1.05
"""Times are counted in classes of 5 %."""
PERCENTS = (50, 95, 99)


class Distribution:
    """Numbers counted by their class; percentiles as exact as the classes are."""

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()

    def add(self, value: float) -> None:
        """One number, rounded by the caller."""
        self._counts[value] += 1

    def percentile(self, percent: float) -> float | None:
        """The class in which so many percent end; None of nothing."""
        left = math.ceil(self._counts.total() * percent / 100)
        for value in sorted(self._counts):
            left -= self._counts[value]
            if left <= 0:
                return value
        return None

    def percentiles(self, percents: Sequence[float] = PERCENTS) -> dict[str, float | None]:
        """By name, "p50"."""
        return {f"p{percent:g}": self.percentile(percent) for percent in percents}


class Summary:
    """Lines in, figures out."""

    def __init__(self) -> None:
        self.compared = 0
        self.same_action = 0
        self.unreadable = 0
        self.failed: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.actions: Counter[tuple[str, str]] = Counter()
        self.degraded: Counter[tuple[bool, bool]] = Counter()
        self.findings: Counter[tuple[str, str, str]] = Counter()
        """(actor/name, live, mirrored) -> messages."""
        self.reasons: Counter[tuple[str, str, str]] = Counter()
        """(name, "live" or "mirrored": who alone gave it, "") -> messages."""
        self.first_at = math.inf
        self.last_at = 0.0
        self._scores = Distribution()
        self._live_ms = Distribution()
        self._mirrored_ms = Distribution()

    def read(self, lines: Iterable[bytes]) -> None:
        """The lines of a file; what is none of ours is counted."""
        decoder = msgspec.json.Decoder(Line)
        for text in lines:
            try:
                self.add(decoder.decode(text))
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.unreadable += 1

    def add(self, line: Line) -> None:
        """One line."""
        self.first_at, self.last_at = min(self.first_at, line.at), max(self.last_at, line.at)
        for why, count in line.dropped.items():
            _count(self.dropped, why, "(others)", count)
        if line.failed:
            _count(self.failed, line.failed, "(others)")
        if line.difference is not None:
            self._compared(line.difference)

    def _compared(self, difference: Difference) -> None:
        live, mirrored = difference.live, difference.mirrored
        self.compared += 1
        self.same_action += difference.same_action
        _count(self.actions, (live.action, mirrored.action), ("(others)", "(others)"))
        self.degraded[live.degraded, mirrored.degraded] += 1
        apart = mirrored.score - live.score
        self._scores.add(round(min(max(apart, -SCORE_MAX), SCORE_MAX), SCORE_DIGITS) + 0.0)
        self._live_ms.add(ms_class(live.ms))
        self._mirrored_ms.add(ms_class(mirrored.ms))
        for finding in difference.findings:
            _count(self.findings, (finding.name, finding.live, finding.mirrored), OTHERS)
        for name in live.reasons:
            _count(self.reasons, (name, "live", ""), OTHERS)
        for name in mirrored.reasons:
            _count(self.reasons, (name, "mirrored", ""), OTHERS)

    def figures(self, top: int) -> dict[str, object]:
        """Everything as plain data, the `top` most frequent names."""
        return {
            "from_unix_s": self.first_at if self.first_at < math.inf else None,
            "to_unix_s": self.last_at or None,
            "compared": self.compared,
            "same_action": self.same_action,
            "same_action_share": round(self.same_action / self.compared, 5) if self.compared else None,
            "failed": dict(self.failed.most_common()),
            "dropped": dict(self.dropped.most_common()),
            "unreadable_lines": self.unreadable,
            "actions": [
                {"live": live, "mirrored": mirrored, "messages": count}
                for (live, mirrored), count in self.actions.most_common()
            ],
            "degraded": {
                "live_alone": self.degraded[True, False],
                "mirrored_alone": self.degraded[False, True],
                "both": self.degraded[True, True],
            },
            "findings": [
                {"name": name, "live": live, "mirrored": mirrored, "messages": count}
                for (name, live, mirrored), count in self.findings.most_common(top)
            ],
            "reasons": [
                {"name": name, "given_by": side, "messages": count}
                for (name, side, _), count in self.reasons.most_common(top)
            ],
            "score_mirrored_minus_live": self._scores.percentiles((1, 5, 50, 95, 99)),
            "live_ms": self._live_ms.percentiles(),
            "mirrored_ms": self._mirrored_ms.percentiles(),
        }


def ms_class(ms: float) -> float:
    """The time of its class, in milliseconds: the middle of 5 %, to three digits."""
    if not ms > 0 or math.isinf(ms):
        return 0.0
    middle = MS_RATIO ** round(math.log(ms, MS_RATIO))
    return float(f"{middle:.3g}")


def matrix(actions: Mapping[tuple[str, str], int]) -> tuple[list[str], list[list[int]]]:
    """(actions in alphabetical order, rows: live, columns: mirrored)."""
    names = sorted({name for pair in actions for name in pair})
    return names, [[actions.get((live, mirrored), 0) for mirrored in names] for live in names]


def _count(counter: Counter[K], key: K, others: K, times: int = 1) -> None:
    counter[key if key in counter or len(counter) < NAMES_MAX else others] += times
