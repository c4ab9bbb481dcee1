"""How many replicas a pool should have: a pure function of what was measured.

Strategy: the work of a pool, in replicas at work on average (`busy` times `replicas`), does not depend on how many
replicas it has; divided by the utilisation they should have it says how many are needed. A pool grows when all of the
last `grow_after_s` needed more, and shrinks when nothing in the last `shrink_after_s` needed as many: the smallest need
of a short time against the largest of a long one. Measurements from before the last change say nothing, so each window
is a cool-down as well. Two things keep a steady load from being answered by a change:

- between `busy_target` and `busy_max` nothing grows, so rounding and noise do not either;
- a pool whose tasks waited long although it was less busy than the target (bursts, uneven messages) has a lower target
  for as long as the history remembers it, and does not shrink back to where that happened.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.config import ScalingConfig
from cluster.metrics import PoolMetrics

MEMORY_S = 3600.0
"""How far the history should reach back."""
_IDLE_SHARE = 0.5
"""Below this share of the target a long queue is not for want of replicas: they wait for somebody else."""
_CROWDED_SHARE = 0.8
"""Share of the utilisation at which tasks waited long that is aimed at from then on."""
_FACTOR_MAX = 2
"""A pool at most doubles, and at most halves, at a time."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between so many replicas."""

    least: int
    most: int


def desired(
    current: int, changed_s: float, history: Sequence[PoolMetrics], config: ScalingConfig, bounds: Bounds
) -> int:
    """How many replicas the pool should have from now on, now being the time of the last measurement.

    `current` is how many it should have so far, `changed_s` when that was decided (or the cell began), on the clock of
    `PoolMetrics.at_s`; `history` is in order of time, of the last MEMORY_S. Moments without a replica that could be
    measured leave everything as it is.
    """
    replicas = min(max(current, bounds.least), bounds.most)
    if not history or replicas != current:
        return replicas
    now_s, target = history[-1].at_s, _target(history, config)
    recent = _window(history, max(changed_s, now_s - config.grow_after_s))
    if recent and now_s - changed_s >= config.grow_after_s:
        needed = min(_needed(metrics, target, config) for metrics in recent)
        if needed > current:
            return min(needed, current * _FACTOR_MAX, bounds.most)
    past = _window(history, max(changed_s, now_s - config.shrink_after_s))
    if past and now_s - changed_s >= config.shrink_after_s and history[0].at_s <= now_s - config.shrink_after_s:
        needed = max(_needed_at_least(metrics, target, config) for metrics in past)
        if needed < current:
            return max(needed, math.ceil(current / _FACTOR_MAX), bounds.least)
    return current


def _window(history: Sequence[PoolMetrics], after_s: float) -> list[PoolMetrics]:
    """What was measured after this moment; nothing when a part of it could not be measured."""
    window = [metrics for metrics in history if metrics.at_s > after_s]
    return window if all(metrics.replicas for metrics in window) else []


def _needed(metrics: PoolMetrics, target: float, config: ScalingConfig) -> int:
    """Replicas this load needs before the pool grows for it: as many as there are while they are not too busy."""
    if _crowded(metrics, config) or metrics.busy > target * config.busy_max / config.busy_target:
        return _needed_at_least(metrics, target, config)
    return metrics.replicas


def _needed_at_least(metrics: PoolMetrics, target: float, config: ScalingConfig) -> int:
    """Replicas that have this load at the target; one more than there are when tasks waited long."""
    needed = math.ceil(round(metrics.busy * metrics.replicas / target, 6))
    return max(needed, metrics.replicas + 1) if _crowded(metrics, config) else needed


def _target(history: Sequence[PoolMetrics], config: ScalingConfig) -> float:
    crowded = [metrics.busy for metrics in history if _crowded(metrics, config)]
    return min(config.busy_target, _CROWDED_SHARE * min(crowded, default=1.0))


def _crowded(metrics: PoolMetrics, config: ScalingConfig) -> bool:
    return metrics.queue_p95_s * 1000 > config.queue_ms_max and metrics.busy >= config.busy_target * _IDLE_SHARE
