"""Which processes run which actors: a pure function of the sizes of the pools and of the node.

Strategy: every process that a message goes through costs its frames, its reading and its share of the memory. A node of
few cores gains nothing from many processes, so that there each runs all actors ("fused"): the message is sent and read
once. A large node runs every replica in a process of its own ("split"), so that one actor's work or death is not
another's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FUSED_CORES_MAX = 4
"""Up to so many cores "auto" means fused. Measured with 32 sessions on two: docs/decisions/0007-fused-pools.md."""
WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Worker:
    """One process to be."""

    name: str
    """"worker-0" or, of a single pool, "dkim-0"."""
    actors: tuple[str, ...]


def workers(sizes: Mapping[str, int], layout: str, cores: int) -> tuple[Worker, ...]:
    """The processes of a node: `sizes` = replicas by pool, `layout` = "auto", "fused" or "split".

    Fused, process n runs an actor of every pool that has more than n replicas.
    """
    if layout == "split" or (layout == "auto" and cores > FUSED_CORES_MAX):
        return tuple(Worker(f"{pool}-{number}", (pool,)) for pool, size in sizes.items() for number in range(size))
    return tuple(
        Worker(f"{WORKER}-{number}", tuple(pool for pool, size in sizes.items() if size > number))
        for number in range(max(sizes.values(), default=0))
    )
