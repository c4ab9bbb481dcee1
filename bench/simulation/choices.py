"""What the product's choices cost in a large cell: the dispatcher's of a replica, the gateway's of an ingress.

Both look at everybody there is, so their cost grows with the nodes; this measures by how much.
"""

import time
from collections.abc import Callable

from actors.model import Stage
from actors.registry import ACTOR_NAMES
from bench.run import yardstick_ms
from bench.simulation.model import Clock
from bench.simulation.scoring import SimulatedClock
from cluster.dispatch import Dispatcher
from cluster.errand import DispatchLimits, Payload, Route
from cluster.table import Replica, Table
from gateway.balance import Balance, Endpoint, Place
from tamis.filter.v1 import examine_service_pb2 as pb

SIZES = (10, 1000)
_TIMES = 200


class Idle:
    """A stream that takes everything and answers nothing."""

    def send(self, _task: pb.Task, _size_bytes: int) -> bool:
        """cluster.errand.Link."""
        return True

    def cancel(self, task: int) -> None:
        """cluster.errand.Link."""

    def close(self) -> None:
        """cluster.errand.Link."""


def per_seat_us(reference_ms: float) -> float:
    """CPU of one stage of one message for each replica that the ingress knows, on a machine of that yardstick."""
    return _slope_us(_asking, reference_ms)


def per_endpoint_us(reference_ms: float) -> float:
    """CPU of placing one message for each ingress that the gateway knows."""
    return _slope_us(_choosing, reference_ms)


def _slope_us(prepare: Callable[[int], Callable[[], object]], reference_ms: float) -> float:
    few, many = (_cpu_s(prepare(size)) for size in SIZES)
    return max(0.0, many - few) / (SIZES[1] - SIZES[0]) * 1e6 * reference_ms / yardstick_ms()


def _cpu_s(work: Callable[[], object]) -> float:
    started_s = time.thread_time()
    for _ in range(_TIMES):
        work()
    return (time.thread_time() - started_s) / _TIMES


def _asking(replicas: int) -> Callable[[], object]:
    clock = SimulatedClock(Clock())
    dispatcher = Dispatcher(lambda _row, _dispatcher: Idle(), clock, clock.call_later, DispatchLimits(1024, 5.0), "0")
    rows = tuple(Replica(f"worker-0@{node}", ACTOR_NAMES, "", str(node)) for node in range(replicas))
    dispatcher.update(Table({actor: frozenset({Stage.MESSAGE}) for actor in ACTOR_NAMES}, rows))
    for row in rows:
        dispatcher.ready(row)

    def ask() -> None:
        dispatcher.cancel(dispatcher.ask(Route(), Stage.MESSAGE, Payload(b""), 20.0, lambda _ask: None))

    return ask


def _choosing(ingresses: int) -> Callable[[], object]:
    balance = Balance()
    endpoints = [Endpoint(Place(f"ingress-{number}")) for number in range(ingresses)]
    return lambda: balance.choose(endpoints, 0.0)
