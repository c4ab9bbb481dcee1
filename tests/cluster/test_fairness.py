"""A cell in virtual time behind cluster/admission.py: what one tenant's flood costs another, and what control costs."""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from cluster.admission import MESSAGE_COST_BYTES, Admission
from cluster.config import OverloadConfig

CONFIG = OverloadConfig()
REPLICAS = 2
SERVICE_S = 0.002
CAPACITY_PER_S = REPLICAS / SERVICE_S
WAY_S = 0.0005
"""From the ingress to a replica, and back."""


@dataclass
class Mail:
    tenant: str
    arrived_s: float
    looked_up_s: float
    sent_s: float = 0.0
    served_s: float = 0.0


@dataclass
class Cell:
    """Replicas that serve in order, one message after the other, and an ingress with the admission to be tested."""

    config: OverloadConfig
    seed: int = 1
    now_s: float = 0.0
    waits_s: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    shed: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.admission: Admission[Mail] = Admission(self.config)
        self.admission.window.resize(REPLICAS, 1024)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._queues: list[deque[Mail]] = [deque() for _ in range(REPLICAS)]

    def at(self, at_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), call))

    def run(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, call = heapq.heappop(self._events)
            call()

    def offer(self, tenant: str, per_s: float, until_s: float, lookup_s: float = 0.0) -> None:
        """Mail at random moments; its actors wait so long for DNS."""

        def arrive() -> None:
            self._arrive(Mail(tenant, self.now_s, lookup_s * self.rng.uniform(0.5, 1.5)))
            if self.now_s < until_s:
                self.at(self.now_s + self.rng.expovariate(per_s), arrive)

        self.at(self.now_s, arrive)

    def _arrive(self, mail: Mail) -> None:
        if self.admission.enter([mail.tenant], MESSAGE_COST_BYTES, self.now_s):
            self._send(mail)
        elif self.admission.queue(mail, [mail.tenant], MESSAGE_COST_BYTES, self.now_s) is None:
            self.refused[mail.tenant] = self.refused.get(mail.tenant, 0) + 1
        self._begin_waiting()

    def _send(self, mail: Mail) -> None:
        mail.sent_s = self.now_s
        queue = min(self.rng.sample(self._queues, 2), key=len)
        self.at(self.now_s + WAY_S, lambda: self._reach(queue, mail))

    def _reach(self, queue: deque[Mail], mail: Mail) -> None:
        queue.append(mail)
        if len(queue) == 1:
            self._serve(queue)

    def _serve(self, queue: deque[Mail]) -> None:
        mail = queue[0]
        mail.served_s = self.rng.expovariate(1 / SERVICE_S)

        def served() -> None:
            queue.popleft()
            self.at(self.now_s + WAY_S + mail.looked_up_s, lambda: self._over(mail))
            if queue:
                self._serve(queue)

        self.at(self.now_s + mail.served_s, served)

    def _over(self, mail: Mail) -> None:
        self.waits_s.setdefault(mail.tenant, []).append(self.now_s - mail.arrived_s)
        taken_s = self.now_s - mail.sent_s
        self.admission.left(self.now_s, taken_s, taken_s - mail.served_s - mail.looked_up_s)
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        while (turn := self.admission.turn(self.now_s)) is not None:
            self.shed[turn.item.tenant] = self.shed.get(turn.item.tenant, 0) + turn.shed
            self._send(turn.item)

    def p99_s(self, tenant: str) -> float:
        waits_s = sorted(self.waits_s[tenant])
        return waits_s[int(len(waits_s) * 0.99)]


def flooded(times: float, config: OverloadConfig = CONFIG, lookup_s: float = 0.0) -> Cell:
    """A cell in which B has so many times three tenths of the capacity, and A, which comes later, three tenths."""
    cell = Cell(config)
    cell.offer("b", 0.3 * CAPACITY_PER_S * times, 13.0, lookup_s)
    cell.run(3.0)
    cell.offer("a", 0.3 * CAPACITY_PER_S, 13.0, lookup_s)
    cell.run(10.0)
    return cell


@pytest.mark.parametrize("lookup_s", [0.0, 0.04])
def test_a_flood_of_one_tenant_raises_the_p99_of_another_by_less_than_half(lookup_s: float) -> None:
    calm, flood = flooded(1, lookup_s=lookup_s), flooded(10, lookup_s=lookup_s)
    assert flood.p99_s("a") < 1.5 * calm.p99_s("a")
    assert flood.p99_s("b") > 1.0, "who floods waits"
    assert not flood.refused.get("a")
    assert not flood.shed.get("a")
    examined = sum(map(len, flood.waits_s.values()))
    assert examined > 0.9 * 13.0 * CAPACITY_PER_S, "and the replicas are at work all the time"


def test_the_first_mail_of_a_tenant_waits_for_little_of_the_flood_that_was_there_before() -> None:
    assert max(flooded(10).waits_s["a"]) < 2 * 8 * CONFIG.replica_queue_ms / 1000


def test_without_control_the_same_flood_costs_a_hundred_times_as_much() -> None:
    uncontrolled = OverloadConfig(replica_queue_ms=3600, delay_s=3600, interval_s=3600)
    assert flooded(10, uncontrolled).p99_s("a") > 100 * flooded(1, uncontrolled).p99_s("a")


def test_the_mail_of_one_tenant_alone_goes_to_the_replicas_in_larger_batches() -> None:
    cell = Cell(CONFIG)
    cell.offer("b", 1.5 * CAPACITY_PER_S, 3.0)
    cell.run(3.0)
    assert cell.admission.under_way >= 64
