"""What two models said of the same messages, in counts. Pure; it needs no model and no NumPy.

Strategy: the counts travel as counters of the process, as all others, under names that say which two models are
compared; so they sum over replicas, of two generations too, and `comparisons` reads them back out of the sum.
"""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field

PREFIX = "shadow"
"""What names of these counters begin with: "shadow LIVE SHADOW COUNT", with the versions of the two models."""
SHIFTS = (-0.5, -0.2, -0.1, -0.05, -0.01, 0.01, 0.05, 0.1, 0.2, 0.5)
"""Bounds between the buckets of the histogram: probability of the shadow less that of the live model."""


@dataclass(slots=True)
class Comparison:
    """The counts."""

    both_spam: int = 0
    both_ham: int = 0
    only_shadow_spam: int = 0
    """False positives to be, as far as the live model is right."""
    only_live_spam: int = 0
    failed: int = 0
    """The shadow raised."""
    shadow_us: float = 0
    """Time of the shadow for all messages; the features are made once for both."""
    shifts: list[int] = field(default_factory=lambda: [0] * (len(SHIFTS) + 1))

    @property
    def messages(self) -> int:
        """That both judged."""
        return self.both_spam + self.both_ham + self.only_shadow_spam + self.only_live_spam

    def add(self, *, live: bool, shadow: bool, shift: float, us: float) -> None:
        """One more message: whether each model calls it spam, and how far their probabilities are apart."""
        match live, shadow:
            case True, True:
                self.both_spam += 1
            case True, False:
                self.only_live_spam += 1
            case False, True:
                self.only_shadow_spam += 1
            case _:
                self.both_ham += 1
        self.shadow_us += us
        self.shifts[bisect.bisect(SHIFTS, shift)] += 1

    def counters(self, live: str, shadow: str) -> dict[str, int]:
        """By name, with the versions of the two models; `comparisons` understands them."""
        counts = {name: round(getattr(self, name)) for name in _COUNTS}
        counts |= {f"{_SHIFT}{at}": count for at, count in enumerate(self.shifts)}
        return {f"{PREFIX} {live} {shadow} {name}": count for name, count in counts.items()}


_COUNTS = ("both_spam", "both_ham", "only_shadow_spam", "only_live_spam", "failed", "shadow_us")
_SHIFT = "shift_"


def comparisons(counters: Mapping[str, int]) -> dict[tuple[str, str], Comparison]:
    """What was compared, by the versions of live model and shadow; other counters are left aside.

    So are counts that this release does not know.
    """
    found: dict[tuple[str, str], Comparison] = {}
    for name, count in counters.items():
        match name.split(" "):
            case [word, live, shadow, what] if word == PREFIX:
                comparison = found.setdefault((live, shadow), Comparison())
                at = what.removeprefix(_SHIFT)
                if what in _COUNTS:
                    setattr(comparison, what, count)
                elif at.isdecimal() and int(at) < len(comparison.shifts):
                    comparison.shifts[int(at)] = count
    return found
