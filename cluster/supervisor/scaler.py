"""How many replicas of each actor the load asks for: what is remembered of it, and when it is asked.

`cluster/scaling.py` decides from the history of one pool; here is the history of all of them. Pure.
"""

from collections import defaultdict, deque
from collections.abc import Mapping

from cluster.config import ScalingConfig
from cluster.metrics import PoolMetrics, Sample, pool_metrics
from cluster.scaling import MEMORY_S, Bounds, desired


class Scaler:
    """Remembers the samples of the processes, and what they said of each actor."""

    def __init__(self) -> None:
        self._samples: dict[str, Sample] = {}
        self._history: dict[str, deque[PoolMetrics]] = defaultdict(deque)
        self._changed_s: dict[str, float] = {}

    def note(self, now_s: float, samples: Mapping[str, tuple[tuple[str, ...], Sample]]) -> None:
        """Take new samples, by process, with the actors that it runs; `now_s` is monotonic."""
        pairs: dict[str, list[tuple[Sample, Sample]]] = defaultdict(list)
        for name, (actors, sample) in samples.items():
            if name in self._samples:
                for actor in actors:
                    pairs[actor].append((self._samples[name], sample))
        self._samples = {name: sample for name, (_, sample) in samples.items()}
        for actor, of_actor in pairs.items():
            history = self._history[actor]
            history.append(pool_metrics(now_s, of_actor))
            while history[0].at_s < now_s - MEMORY_S:
                history.popleft()

    def decide(
        self, now_s: float, current: Mapping[str, int], config: ScalingConfig, bounds: Mapping[str, Bounds]
    ) -> dict[str, int]:
        """Replicas of each actor in the whole cell from now on; `current` is what was decided last."""
        decided = {}
        for actor, of_actor in bounds.items():
            now = current.get(actor, of_actor.least)
            changed_s = self._changed_s.setdefault(actor, now_s)
            decided[actor] = desired(now, changed_s, self._history[actor], config, of_actor)
            if decided[actor] != now:
                self._changed_s[actor] = now_s
        return decided

    def last(self, actor: str) -> PoolMetrics | None:
        """What was measured last."""
        return self._history[actor][-1] if self._history[actor] else None
