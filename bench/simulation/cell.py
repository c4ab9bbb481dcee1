"""A cell with its gateways in simulated time: who runs where, what comes and what breaks. Pure.

Everything is determined by the arguments and the seed; the product's dispatcher draws from the module `random`, which
is seeded too.
"""

import random
from collections.abc import Callable, Sequence

from bench.simulation.front import Gateway, Ingress, Inside, Line, Passage
from bench.simulation.model import Clock, Machine, Process
from bench.simulation.scoring import Resolver, Scorer
from bench.simulation.shapes import SPEED_S, Cost, Costs, Shape, Topology
from cluster.errand import DispatchLimits
from cluster.table import Replica, Table
from gateway.balance import Endpoint, Place

_NODES_KNOWN = 3
"""The table of an ingress holds its own node and the next two: others it would ask only if those were all gone."""
_BURSTS_MAX = 4


class Cell:
    """Nodes, gateways and what is under way."""

    def __init__(self, topology: Topology, costs: Costs, shapes: Sequence[Shape], seed: int = 1) -> None:
        random.seed(seed)
        self.clock = Clock()
        self.topology = topology
        self.ended: list[Passage] = []
        self.processes: dict[str, list[Process]] = {}
        """By kind: client, gateway, ingress, replica, resolver."""
        self.scorers: dict[str, Scorer] = {}
        self._rng = random.Random(seed)
        self._costs = costs
        self._shapes = shapes
        self._stages = {
            actor: frozenset(stage for shape in shapes for stage, works in shape.stages.items() if actor in works)
            for actor in sorted({actor for worker in topology.workers for actor in worker.actors})
        }
        self._begun = 0
        self._bursts = 0
        self._starts = 0
        self._machines = [
            Machine(self.clock, topology.cores, self._vary) for _ in range(topology.machines or topology.nodes)
        ]
        self._resolvers = [
            Resolver(
                self.clock, self._process("resolver", node, Cost()), costs.answer_s, topology.dns_delay_s, self._rng
            )
            for node in range(1 if topology.together else topology.nodes)
        ]
        limits = DispatchLimits(topology.replica_tasks_max, topology.replica_wait_s)
        choice_s = costs.seat_s * ((topology.cell_nodes or topology.nodes) * len(topology.workers) - 1)
        inside = Inside(self.scorers, self._hop_s, limits, topology.transactions_max, choice_s)
        self.ingresses = [
            Ingress(self._process("ingress", node, costs.ingress), node, costs.ingress, self.clock, inside)
            for node in range(topology.nodes)
            for _ in range(topology.ingresses)
        ]
        for node in range(topology.nodes):
            for worker in topology.workers:
                self._add(f"{worker.name}@{node}", node, worker.actors)
        self._publish()
        self.gateways = [self._gateway(number) for number in range(topology.gateways)]
        if topology.background.share:
            for machine in self._machines:
                self._others(machine)
        if topology.speeds:
            self._keep_pace(0)
        self.clock.run(0.0)

    # What there is.

    def _vary(self) -> float:
        """The same step never takes the same time: caches, allocations, interrupts, the collector."""
        return self._rng.expovariate(1.0)

    def _machine(self, node: int) -> Machine:
        return self._machines[node % len(self._machines)]

    def _process(self, kind: str, node: int, cost: Cost, machine: Machine | None = None) -> Process:
        process = Process(machine or self._machine(node), cost.wake_s, self._costs.notice_s)
        self.processes.setdefault(kind, []).append(process)
        return process

    def _hop_s(self, node: int, other: int) -> float:
        far = self._machine(node) is not self._machine(other)
        return self.topology.network_s if far else 0.0

    def _gateway(self, number: int) -> Gateway:
        """Knows the ingresses from its own number on, as many as it may."""
        topology, costs = self.topology, self._costs
        machine = None if topology.together else Machine(self.clock, 1)
        client = self._process("client", 0, costs.client) if topology.together else None
        process = self._process("gateway", 0, costs.gateway, machine)
        gateway = Gateway(process, client, costs, self.clock)
        count = len(self.ingresses)
        hop_s = 0.0 if topology.together else topology.network_s
        first = number * count // topology.gateways
        for index in range(min(count, topology.endpoints_max)):
            ingress = self.ingresses[(first + index) % count]
            endpoint = Endpoint(Place(f"ingress-{(first + index) % count}"))
            gateway.lines.append(Line(gateway, ingress, endpoint, self.clock, hop_s))
        return gateway

    def _add(self, name: str, node: int, actors: tuple[str, ...]) -> None:
        """A new process under this name, a new row of the table."""
        self._starts += 1
        row = Replica(name, actors, str(self._starts), str(node))
        process = self._process("replica", node, self._costs.replica)
        resolver = self._resolvers[node % len(self._resolvers)]
        self.scorers[name] = Scorer(row, process, resolver, self._costs, self.clock)

    def _publish(self) -> None:
        """What the supervisor does: every ingress gets its table."""
        by_node: dict[str, list[Replica]] = {}
        for scorer in self.scorers.values():
            if scorer.process.alive:
                by_node.setdefault(scorer.replica.node, []).append(scorer.replica)
        for ingress in self.ingresses:
            nodes = {str((ingress.node + offset) % self.topology.nodes) for offset in range(_NODES_KNOWN)}
            rows = [row for node in sorted(nodes) for row in by_node.get(node, ())]
            ingress.update(Table(self._stages, tuple(rows)))

    def _others(self, machine: Machine) -> None:
        """What else runs there: bursts that come by themselves, each in a process of its own.

        When some are late already others wait outside: what is known is what they got, not what they wanted.
        """
        background = self.topology.background
        busy_s = self._rng.expovariate(1 / background.burst_s)
        if self._bursts < _BURSTS_MAX * len(self._machines):
            self._bursts += 1
            Process(machine).do(busy_s, self._burst_over)
        self.clock.after(self._rng.expovariate(background.share / background.burst_s), self._others, machine)

    def _burst_over(self) -> None:
        self._bursts -= 1

    def _nothing(self) -> None:
        """Work that leads to nothing here."""

    def _keep_pace(self, phase: int) -> None:
        speeds = self.topology.speeds
        for machine in self._machines:
            machine.speed = speeds[phase % len(speeds)]
        self.clock.after(SPEED_S, self._keep_pace, phase + 1)

    # What comes.

    def begin(self, done: Callable[[Passage], object] | None = None) -> None:
        """A client with one message; `done` is called when it has its answer."""
        number = self._begun
        self._begun += 1

        def over(passage: Passage) -> None:
            self.ended.append(passage)
            if done is not None:
                done(passage)

        passage = Passage(number, self._rng.choice(self._shapes), over, self.clock.now_s)
        self.gateways[number % len(self.gateways)].begin(passage)

    def closed_loop(self, sessions: int, messages: int) -> None:
        """So many clients, each with its next message when it has an answer; runs until all are answered."""

        def following(_: object) -> None:
            if self._begun < messages:
                self.begin(following)

        for _ in range(min(sessions, messages)):
            self.begin(following)
        self._finish(messages)

    def open_loop(self, rate_per_s: float, messages: int) -> None:
        """Clients come by themselves, Poisson; runs until all are answered."""

        def arrive() -> None:
            self.begin()
            if self._begun < messages:
                self.clock.after(self._rng.expovariate(rate_per_s), arrive)

        self.clock.after(self._rng.expovariate(rate_per_s), arrive)
        self._finish(messages)

    def _finish(self, messages: int) -> None:
        while len(self.ended) < messages and self.clock.step():
            pass

    # What breaks.

    def kill(self, name: str, after_s: float, away_s: float) -> None:
        """A scoring process dies after so long; its successor serves `away_s` later and costs its start meanwhile."""
        self.clock.after(after_s, self._die, name, away_s)

    def _die(self, name: str, away_s: float) -> None:
        scorer = self.scorers[name]
        scorer.process.die()
        row = scorer.replica
        for ingress in self.ingresses:
            ingress.dispatcher.broken(row)
        # Its CPU is spent at once; when it serves depends on more than that.
        starting = Process(self._machine(int(row.node)))
        self.clock.after(0.0, starting.do, self._costs.start_s, self._nothing)
        self.clock.after(away_s, self._come_back, row)

    def _come_back(self, row: Replica) -> None:
        self._add(row.name, int(row.node), row.actors)
        self._publish()

    def kill_node(self, node: int, after_s: float) -> None:
        """Everything on a node is gone after so long, and stays so."""
        self.clock.after(after_s, self._lose_node, node)

    def _lose_node(self, node: int) -> None:
        lost = [scorer for scorer in self.scorers.values() if scorer.replica.node == str(node)]
        for scorer in lost:
            scorer.process.die()
        for ingress in self.ingresses:
            if ingress.node == node:
                ingress.process.die()
        for ingress in self.ingresses:
            if ingress.node != node:
                for scorer in lost:
                    ingress.dispatcher.broken(scorer.replica)
        for gateway in self.gateways:
            for ingress in self.ingresses:
                if ingress.node == node:
                    gateway.lose(ingress)
