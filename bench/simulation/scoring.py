"""The inside of a cell in simulated time: links and replicas below the product's own dispatcher. Pure.

Strategy: `cluster.dispatch.Dispatcher` places, retries and gives up as in the product; here is what it is given: a
clock, timers, and links to processes that compute. A replica works through the pieces of its actors in the order of
its loop, with a round of questions to the DNS between two pieces.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from actors.model import Stage
from bench.simulation.model import Clock, Process, Writer
from bench.simulation.shapes import Cost, Costs, Shape, Work
from cluster.codec import stage_from_proto
from cluster.dispatch import Dispatcher
from cluster.table import Replica
from tamis.filter.v1 import examine_service_pb2 as pb

ANSWER_BYTES = 500
"""Of one actor's result, about."""


class SimulatedClock:
    """The dispatcher's clock and timers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def monotonic_s(self) -> float:
        """actors.ports.Clock."""
        return self._clock.now_s

    def unix_s(self) -> float:
        """actors.ports.Clock."""
        return self._clock.now_s

    def call_later(self, delay_s: float, call: Callable[[], None]) -> "Timer":
        """As an event loop's."""
        timer = Timer(call)
        self._clock.after(delay_s, timer.ring)
        return timer


class Timer:
    """A pending call."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not call."""
        self._call = None

    def ring(self) -> None:
        """The clock's: now."""
        if self._call is not None:
            self._call()


class Resolver:
    """Answers questions: a name server that may share the cores, and the way to it."""

    def __init__(
        self,
        clock: Clock,
        process: Process | None,
        answer_s: float,
        delay_s: tuple[float, float],
        rng: random.Random,
    ) -> None:
        self._clock = clock
        self._process = process
        self._answer_s = answer_s
        self._delay_s = delay_s
        self._rng = rng

    def ask(self, answered: Callable[[], object]) -> None:
        """One question."""
        if self._process is None:
            self._travel(answered)
        else:
            self._process.do(self._answer_s, self._travel, answered)

    def _travel(self, answered: Callable[[], object]) -> None:
        self._clock.after(self._rng.uniform(*self._delay_s), answered)


@dataclass(slots=True, eq=False)
class Job:
    """A task in a replica, on its way back to one ingress."""

    task: pb.Task
    answers: "Writer[pb.TaskResult]"
    pending: int = 0


class Scorer:
    """One scoring process: `replica` is its row in the table, a new one after each restart."""

    def __init__(self, replica: Replica, process: Process, resolver: Resolver, costs: Costs, clock: Clock) -> None:
        self._clock = clock
        self.replica = replica
        self.process = process
        self.tasks = 0
        self._resolver = resolver
        self.cost = costs.replica
        self._question_s = costs.question_s

    def receive(self, jobs: list[tuple[Job, Shape]]) -> None:
        """A frame of tasks was read."""
        self.process.frames += 1
        frame_s = self.cost.frame_s
        for job, shape in jobs:
            self.tasks += 1
            works = works_of(job.task, shape)
            actors = job.task.actors or self.replica.actors
            first_s = frame_s + self.cost.item_s
            frame_s = 0.0
            for actor in actors:
                work = works.get(actor, NOTHING)
                self.process.do(first_s + work.piece_s, self._computed, job, actor, work)
                first_s = 0.0

    def _computed(self, job: Job, actor: str, work: Work, turn: int = 0, began_s: float = 0.0) -> None:
        now_s = self._clock.now_s
        began_s = began_s or now_s - work.piece_s
        if turn == len(work.rounds):
            timing = pb.Timing(run_us=round((now_s - began_s) * 1e6))
            job.answers.send(pb.TaskResult(task=job.task.task, actor=actor, timing=timing), ANSWER_BYTES)
            return
        left = questions = work.rounds[turn]

        def answered() -> None:
            nonlocal left
            left -= 1
            if not left:
                demand_s = questions * self._question_s + work.piece_s
                self.process.do(demand_s, self._computed, job, actor, work, turn + 1, began_s)

        for _ in range(questions):
            self._resolver.ask(answered)


NOTHING = Work(0.0)


def works_of(task: pb.Task, shape: Shape) -> Mapping[str, Work]:
    """What each actor does about a task; of two stages at once the questions are asked together."""
    works = shape.stages.get(stage_from_proto(task.stage), {})
    if not task.envelope_too:
        return works
    earlier = shape.stages.get(Stage.ENVELOPE, {})
    return {name: together(earlier.get(name, NOTHING), works.get(name, NOTHING)) for name in {**earlier, **works}}


def together(one: Work, other: Work) -> Work:
    """Both at the same time."""
    rounds = zip_longest(one.rounds, other.rounds, fillvalue=0)
    return Work(one.cpu_s + other.cpu_s, tuple(map(sum, rounds)))


class Link:
    """The stream from an ingress to a replica: `cluster.errand.Link`."""

    def __init__(  # noqa: PLR0913, PLR0917  its two ends and what passes between them
        self,
        clock: Clock,
        ingress: Process,
        cost: Cost,
        dispatcher: Dispatcher,
        scorer: Scorer,
        shapes: Mapping[int, Shape],
        hop_s: float,
        results: Callable[[Replica, list[pb.TaskResult]], object],
    ) -> None:
        self._clock = clock
        self._dispatcher = dispatcher
        self._scorer = scorer
        self._shapes = shapes
        self._hop_s = hop_s
        self._results = results
        self._replica = scorer.replica
        self._tasks: Writer[pb.Task] = Writer(ingress, cost.frame_s, self._deliver)
        self._answers: Writer[pb.TaskResult] = Writer(scorer.process, scorer.cost.frame_s, self._return)
        self.closed = False
        clock.after(0.0, self._ready)

    def send(self, task: pb.Task, _size_bytes: int) -> bool:
        """Queue a task; its message names the one it is about."""
        self._tasks.send(task, self._shapes[int(task.message)].size_bytes)
        return True

    def cancel(self, task: int) -> None:
        """What nobody waits for is done all the same: most of it had begun."""

    def close(self) -> None:
        """The dispatcher has left the replica."""
        self.closed = True

    def _ready(self) -> None:
        if not self.closed and self._scorer.process.alive:
            self._dispatcher.ready(self._replica)

    def _deliver(self, tasks: list[pb.Task]) -> None:
        jobs = [(Job(task, self._answers), self._shapes[int(task.message)]) for task in tasks]
        self._clock.after(self._hop_s, self._arrive, jobs)

    def _arrive(self, jobs: list[tuple[Job, Shape]]) -> None:
        if self._scorer.process.alive:
            self._scorer.receive(jobs)

    def _return(self, results: list[pb.TaskResult]) -> None:
        self._clock.after(self._hop_s, self._results, self._replica, results)
