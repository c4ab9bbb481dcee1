"""Whether a new model may go on: what it says of the mail, beside what the old one says in the same minutes. Pure.

Strategy: the first new replica that judges by another model stays one more than wanted in its place (reconcile.py),
beside all old ones there: both get the same kind of mail, and nothing is missing when it is taken away. What each has
judged since is summed from the differences of its counts. When its share of spam, or of errors, is further from the
old one's than [cluster.canary] allows, and too far to be chance, it has failed, which stops the rollout as a failed
proof does. The look is repeated every few seconds, so what counts as chance is wide.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cluster.config import CanaryConfig
from cluster.metrics import Judged
from cluster.supervisor.state import CellState, Process

_MESSAGES_MIN = 50
"""On each side, before anything is said."""
_Z_MIN = 4.0
"""Standard deviations: one of 16,000 looks is beyond by chance."""


@dataclass(slots=True)
class _Watch:
    """What a canary and the old replicas beside it have judged since it came up."""

    began_s: float
    lasted_s: float = 0.0
    new: Judged = field(default_factory=Judged)
    old: Judged = field(default_factory=Judged)


class Canaries:
    """The watches of the rollout that runs."""

    def __init__(self) -> None:
        self._watches: dict[str, _Watch] = {}
        self._last: dict[str, Judged] = {}
        """Counts of every process when it last answered, so that the first look at a canary says something already."""

    def look(self, now_s: float, state: CellState, judged: Mapping[str, Judged], config: CanaryConfig) -> list[str]:
        """Take what processes have judged since they began, by name; what is decided, one line each.

        `now_s` is monotonic. A canary that may not go on is failed, one that has done enough has its group pass.
        """
        last, names = self._last, {process.name for process in state.processes}
        now = {name: counts for name, counts in {**last, **judged}.items() if name in names}
        self._last = now
        canaries = {canary.name: canary for canary in state.canaries}
        self._watches = {name: self._watches.get(name, _Watch(now_s)) for name in canaries}
        decided = []
        for name, canary in canaries.items():
            watch = self._watches[name]
            watch.lasted_s = now_s - watch.began_s
            # What it has said at all is since it came up, of the others what is new since the look before.
            watch.new += now.get(name, Judged()).since(last.get(name, Judged()))
            for old in _beside(canary, state):
                if old.name in last:
                    watch.old += now[old.name].since(last[old.name])
            problem = against(watch.new, watch.old, config)
            if problem:
                canary.failed = problem
            elif watch.new.messages < config.messages and watch.lasted_s < config.watch_s:
                continue
            elif state.rollout is not None:
                state.rollout.passed.add(canary.group)
            decided.append(f"{'failed' if problem else 'passed'} {_line(name, watch, config)}")
            del self._watches[name]
        return decided

    def progress(self, config: CanaryConfig) -> str:
        """How far they are, one line; empty when none is watched."""
        return "; ".join(_line(name, watch, config) for name, watch in self._watches.items())


def against(new: Judged, old: Judged, config: CanaryConfig) -> str:
    """What speaks against the new model, one line; empty when nothing does.

    More or less spam than the old one, and more errors.
    """
    if min(new.messages, old.messages) < _MESSAGES_MIN:
        return ""
    for what, count, old_count, bound, less_is_well in (
        ("errors", new.errors, old.errors, config.error_share_max, True),
        ("spam", new.spam, old.spam, config.spam_share_max, False),
    ):
        difference = count / new.messages - old_count / old.messages
        if less_is_well and difference < 0:
            continue
        if abs(difference) > bound and abs(z_score(count, new.messages, old_count, old.messages)) > _Z_MIN:
            return (
                f"{what}: {_share(count, new)} of {new.messages} messages, "
                f"of the old model {_share(old_count, old)} of {old.messages} at the same time"
            )
    return ""


def z_score(count: int, of: int, old_count: int, old_of: int) -> float:
    """How many standard deviations two shares are apart, pooled (two-proportion z-test); both `of` above 0."""
    pooled = (count + old_count) / (of + old_of)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / of + 1 / old_of))
    return (count / of - old_count / old_of) / deviation if deviation else 0.0


def _beside(canary: Process, state: CellState) -> Iterator[Process]:
    """The replicas of the old model in the same place."""
    for process in state.processes:
        if (process.group, process.node) == (canary.group, canary.node) and process.model not in ("", canary.model):
            yield process


def _line(name: str, watch: _Watch, config: CanaryConfig) -> str:
    return (
        f"{name} beside the old model for {watch.lasted_s:.0f} of {config.watch_s:.0f} s, "
        f"{watch.new.messages} of {config.messages} messages, "
        f"{_share(watch.new.spam, watch.new)} spam, the old {_share(watch.old.spam, watch.old)}"
    )


def _share(count: int, judged: Judged) -> str:
    return f"{count / judged.messages:.1%}" if judged.messages else "none"
