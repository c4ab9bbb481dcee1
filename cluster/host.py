"""The replica host: one or several actors that serve Examine streams, as a plain class without Ray.

Strategy: tasks of all streams run in one loop, each as soon as there is a place (`running_max`), in order; a CPU-bound
actor simply runs inline. A task may ask several actors, which then share the message and what they read out of it.
Each answers when it is ready, through the adaptive writer of the stream it came from. What a message can do wrong ends
in a finding: bytes that do not parse are `malformed`, late actors are cut off, raising ones caught. Only the
death of the process breaks a stream.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from actors.actor import Actor, Budget
from actors.examine import examine_caught, stack_of
from actors.model import ErrorKind, Finding, Message, Outcome, Stage, error_finding
from actors.ports import Clock, Counting, Modelled
from cluster.bodies import BodyShelf
from cluster.codec import MalformedMessage, finding_from_proto, finding_to_proto, message_from_bytes, stage_from_proto
from cluster.door import Door
from cluster.frame_stream import FrameStream
from cluster.metrics import DelayCounts, Judged
from cluster.tls import StreamTls
from tamis.filter.v1 import examine_service_pb2 as pb
from wire.memory import settle_collector
from wire.stream import AdaptiveWriter

log = logging.getLogger(__name__)

Send = Callable[[pb.TaskResult, int], object]
"""Takes a result and its size in bytes, without waiting."""
QUEUE_MAX = 10_000
"""Tasks that wait, of all ingresses together; more are answered as overloaded. Each ingress has its own bound below."""


@dataclass(slots=True, eq=False)
class Job:
    """One task from its arrival to its answer."""

    task: pb.Task
    send: "Send"
    jobs: "dict[int, Job]"
    """The open jobs of its stream."""
    received_s: float
    received_ns: int
    batch_size: int
    unanswered: list[str]
    """Actors whose answer is due."""
    mail: bool = False
    """A whole message of a transaction, no probe."""
    run: "asyncio.Task[None] | None" = None


class ReplicaHost:
    """Serves its actors. `start`, then the address is known; `close` gives everything back."""

    def __init__(self, actors: Sequence[Actor], name: str, clock: Clock, shelf: BodyShelf, running_max: int) -> None:
        self.name = name
        self.examined = 0
        self.errors = 0
        self.delays = DelayCounts()
        self.judged = Judged()
        self._actors = {actor.name: actor for actor in actors}
        self._modelled = next((actor for actor in actors if isinstance(actor, Modelled)), None)
        self._clock = clock
        self._shelf = shelf
        self._running_max = running_max
        self._running = 0
        self._queue: deque[Job] = deque()
        self._doors: list[Door] = []
        self._streams: set[ExamineStream] = set()

    @property
    def model(self) -> str:
        """Version of the model that one of its actors judges by; empty when none does."""
        return self._modelled.model_version if self._modelled is not None else ""

    @property
    def owes(self) -> int:
        """Tasks that wait or are examined."""
        return len(self._queue) + self._running

    @property
    def counters(self) -> dict[str, int]:
        """What its actors have counted; those of one process share their ports, so a name is one count."""
        counted = (actor.counters() for actor in self._actors.values() if isinstance(actor, Counting))
        return {name: count for counters in counted for name, count in counters.items()}

    async def start(self, host: str, tls: StreamTls | None = None) -> str:
        """Listen on a free port of this address, and of another one when called again; returns host:port."""
        door = Door(self._open_stream, tls)
        self._doors.append(door)
        address = door.open(host)
        settle_collector()
        return address

    async def close(self) -> None:
        """Stop serving and close the actors."""
        for door in self._doors:
            door.close()
        for stream in tuple(self._streams):
            stream.frames.close()
        for actor in self._actors.values():
            await actor.close()

    def _open_stream(self) -> FrameStream:
        stream = ExamineStream(self)
        self._streams.add(stream)
        stream.ended.add_done_callback(lambda _: self._streams.discard(stream))
        return stream.frames

    def accept(self, request: pb.ExamineRequest, send: Send, jobs: dict[int, Job]) -> None:
        """Take the tasks of a frame into the queue, and drop what is cancelled."""
        received_s, received_ns = self._clock.monotonic_s(), round(self._clock.unix_s() * 1e9)
        for task in request.tasks:
            asked = list(task.actors or self._actors)
            job = Job(task, send, jobs, received_s, received_ns, len(request.tasks), asked)
            jobs[task.task] = job
            if len(self._queue) < QUEUE_MAX:
                self._queue.append(job)
            else:
                self._shelf.discard(task.body_id)
                self._fail(job, ErrorKind.OVERLOADED)
        for number in request.cancel:
            job_to_cancel = jobs.pop(number, None)
            if job_to_cancel is not None:
                self.drop(job_to_cancel)
        self._fill()

    def drop(self, job: Job) -> None:
        """Nobody waits for this job any more."""
        if job.run is not None:
            job.run.cancel()
        else:
            self._queue.remove(job)
        self._shelf.discard(job.task.body_id)

    def _fill(self) -> None:
        while self._queue and self._running < self._running_max:
            job = self._queue.popleft()
            self._running += 1
            job.run = asyncio.create_task(self._run(job))
            job.run.add_done_callback(partial(self._ran, job))

    def _ran(self, job: Job, run: "asyncio.Task[None]") -> None:
        self._running -= 1
        error = None if run.cancelled() else run.exception()
        if error is not None:
            self._crashed(job, job.unanswered, error)
            self._over(job)
        self._fill()

    def _crashed(self, job: Job, names: Iterable[str], error: BaseException) -> None:
        """A bug in what surrounds the actors."""
        log.error("job_failed error=%s\n%s", type(error).__name__, stack_of(error))
        for name in tuple(names):
            self._answer(job, name, [error_finding(name, name, ErrorKind.CRASH, type(error).__name__)], None)

    async def _run(self, job: Job) -> None:
        task = job.task
        self.delays.add(_microseconds(self._clock.monotonic_s() - job.received_s))
        try:
            message = await self._message(job)
        except MalformedMessage:
            self._shelf.discard(task.body_id)
            self._fail(job, ErrorKind.MALFORMED, "not a message")
            return
        except TimeoutError:
            self._fail(job, ErrorKind.TIMEOUT, "body did not arrive")
            return
        job.mail = bool(message.envelope.transaction_id) and stage_from_proto(task.stage) is Stage.MESSAGE
        left_s = self._budget(job).left_s
        if not left_s:
            self._fail(job, ErrorKind.TIMEOUT, "no time left")
            return
        try:
            # One limit for all: a limit of its own for each actor would cost as much as some of them do.
            async with asyncio.timeout(left_s), asyncio.TaskGroup() as group:
                first, *others = job.unanswered
                for name in others:
                    group.create_task(self._ask(name, job, message))
                await self._ask(first, job, message)
        except TimeoutError:
            self._fail(job, ErrorKind.TIMEOUT, stage_from_proto(task.stage).value)
            return
        self.examined += 1
        self._over(job)

    async def _message(self, job: Job) -> Message:
        """What the task is about. Raises MalformedMessage, and TimeoutError when a large body does not come."""
        message = message_from_bytes(job.task.message)
        if job.task.known:
            known = tuple(map(finding_from_proto, job.task.known))
            message = Message(message.envelope, message.header_block, message.body, known)
        if not job.task.body_id:
            return message
        async with asyncio.timeout(self._budget(job).left_s):
            body = await self._shelf.take(job.task.body_id)
        return Message(message.envelope, message.header_block, body, message.known)

    async def _ask(self, name: str, job: Job, message: Message) -> None:
        """One actor's part of a task."""
        actor = self._actors.get(name)
        if actor is None:
            self._answer(job, name, [error_finding(name, name, ErrorKind.UNREACHABLE, "not in this replica")], None)
            return
        started_s = self._clock.monotonic_s()
        budget = self._budget(job)
        findings = await self._findings(actor, job.task, message, budget)
        self.errors += any(finding.outcome is Outcome.ERROR for finding in findings)
        try:
            self._answer(job, name, findings, self._timing(job, budget, started_s, self._clock.monotonic_s()))
        except Exception as error:  # noqa: BLE001  without an answer the ingress would wait until its deadline
            self._crashed(job, (name,), error)

    @staticmethod
    async def _findings(actor: Actor, task: pb.Task, message: Message, budget: Budget) -> tuple[Finding, ...]:
        stage = stage_from_proto(task.stage)
        if not task.envelope_too or Stage.ENVELOPE not in actor.stages:
            return await examine_caught(actor, stage, message, budget)
        if stage not in actor.stages:
            return await examine_caught(actor, Stage.ENVELOPE, message, budget)
        async with asyncio.TaskGroup() as group:
            earlier = group.create_task(examine_caught(actor, Stage.ENVELOPE, message, budget))
            findings = await examine_caught(actor, stage, message, budget)
        return earlier.result() + findings

    def _budget(self, job: Job) -> Budget:
        return Budget(self._clock, job.received_s, job.received_s + job.task.budget_ms / 1000)

    def _timing(self, job: Job, budget: Budget, started_s: float, ended_s: float) -> pb.Timing:
        return pb.Timing(
            received_at_ns=job.received_ns,
            queue_us=_microseconds(started_s - job.received_s),
            run_us=_microseconds(ended_s - started_s),
            batch_size=job.batch_size,
            lookups=[
                pb.LookupTiming(
                    name=lookup.name,
                    start_us=_microseconds(lookup.start_s),
                    duration_us=_microseconds(lookup.duration_s),
                    detail=lookup.detail.encode("utf-8", "replace").decode(),
                )
                for lookup in budget.lookups
            ],
            replica=self.name,
        )

    def _answer(self, job: Job, actor: str, findings: Sequence[Finding], timing: pb.Timing | None) -> None:
        """Send what an actor found, unless nobody waits for it any more."""
        found = map(finding_to_proto, findings)
        result = pb.TaskResult(task=job.task.task, findings=found, timing=timing, actor=actor)
        job.unanswered.remove(actor)
        if job.mail and self._modelled is not None and self._modelled is self._actors.get(actor):
            outcomes = {finding.outcome for finding in findings}
            self.judged += Judged(1, Outcome.SPAM in outcomes, Outcome.ERROR in outcomes)
        if job.jobs.get(job.task.task) is job:
            job.send(result, result.ByteSize())

    def _fail(self, job: Job, kind: ErrorKind, detail: str = "") -> None:
        """Answer for all actors."""
        for name in tuple(job.unanswered):
            self._answer(job, name, [error_finding(name, name, kind, detail)], None)
        self._over(job)

    def _over(self, job: Job) -> None:
        if job.jobs.get(job.task.task) is job:
            del job.jobs[job.task.task]


class ExamineStream:
    """One stream of one ingress, until it ends: frames to tasks, results to frames."""

    def __init__(self, host: ReplicaHost) -> None:
        self._host = host
        self._jobs: dict[int, Job] = {}
        self._writer: AdaptiveWriter[pb.TaskResult] = AdaptiveWriter(self._write)
        self.frames = FrameStream(self._receive)
        self.ended = asyncio.create_task(self._run())

    def _receive(self, payload: bytes) -> None:
        if not payload:  # A ping: the answer says that this loop turns.
            self.frames.offer(payload)
            return
        self._host.accept(pb.ExamineRequest.FromString(payload), self._send, self._jobs)

    def _send(self, result: pb.TaskResult, size_bytes: int) -> None:
        if not self._writer.send(result, size_bytes):
            # It takes no answers: its ingress must ask elsewhere instead of waiting.
            log.warning("stream_behind")
            self.frames.close()

    async def _write(self, results: list[pb.TaskResult]) -> None:
        await self.frames.write(pb.ExamineResponse(results=results).SerializeToString())

    async def _run(self) -> None:
        writing = asyncio.create_task(self._writer.run())
        try:
            await asyncio.wait({writing, self.frames.lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writing.cancel()
            self.frames.close()
            for job in tuple(self._jobs.values()):
                self._host.drop(job)


def _microseconds(seconds: float) -> int:
    return min(max(0, round(seconds * 1e6)), 2**32 - 1)
