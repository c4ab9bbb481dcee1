"""The replica host: one Actor that serves Examine streams, as a plain class without Ray.

Strategy: tasks of all streams run in one loop, each as soon as there is a place (`running_max`), in order; a CPU-bound
actor simply runs inline. Each answers when it is ready, through the adaptive writer of the stream it came from. What a
message can do wrong ends in a finding: bytes that do not parse are `malformed`, late and raising actors are cut off in
`examine_guarded`. Only the death of the process breaks a stream.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from actors.actor import Actor, Budget
from actors.examine import examine_guarded, stack_of
from actors.model import ErrorKind, Finding, Message, error_finding
from actors.ports import Clock
from cluster.bodies import BodyShelf
from cluster.codec import MalformedMessage, finding_to_proto, message_from_bytes, stage_from_proto
from cluster.frame_stream import FrameStream
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
    run: "asyncio.Task[None] | None" = field(default=None)


class ReplicaHost:
    """Serves one actor. `start`, then the address is known; `close` gives everything back."""

    def __init__(self, actor: Actor, name: str, clock: Clock, shelf: BodyShelf, running_max: int) -> None:
        self.name = name
        self.examined = 0
        self._actor = actor
        self._clock = clock
        self._shelf = shelf
        self._running_max = running_max
        self._running = 0
        self._queue: deque[Job] = deque()
        self._server: asyncio.Server | None = None
        self._streams: set[ExamineStream] = set()

    async def start(self, host: str) -> str:
        """Listen on a free port of this address; returns host:port."""
        self._server = await asyncio.get_running_loop().create_server(self._open_stream, host, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        settle_collector()
        return f"{host}:{port}"

    async def close(self) -> None:
        """Stop serving and close the actor."""
        if self._server is not None:
            self._server.close()
        for stream in tuple(self._streams):
            stream.frames.close()
        await self._actor.close()

    def _open_stream(self) -> FrameStream:
        stream = ExamineStream(self)
        self._streams.add(stream)
        stream.ended.add_done_callback(lambda _: self._streams.discard(stream))
        return stream.frames

    def accept(self, request: pb.ExamineRequest, send: Send, jobs: dict[int, Job]) -> None:
        """Take the tasks of a frame into the queue, and drop what is cancelled."""
        received_s, received_ns = self._clock.monotonic_s(), round(self._clock.unix_s() * 1e9)
        for task in request.tasks:
            job = Job(task, send, jobs, received_s, received_ns, len(request.tasks))
            if len(self._queue) < QUEUE_MAX:
                jobs[task.task] = job
                self._queue.append(job)
            else:
                self._shelf.discard(task.body_id)
                self._answer_failed(job, ErrorKind.OVERLOADED)
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
            # A bug in what surrounds the actor; without an answer the ingress would wait until its deadline.
            log.error("job_failed error=%s\n%s", type(error).__name__, stack_of(error))
            self._answer_failed(job, ErrorKind.CRASH, type(error).__name__)
        self._fill()

    async def _run(self, job: Job) -> None:
        task = job.task
        started_s = self._clock.monotonic_s()
        budget = Budget(self._clock, job.received_s, job.received_s + task.budget_ms / 1000)
        findings = await self._examine(task, budget)
        self.examined += 1
        ended_s = self._clock.monotonic_s()
        if job.jobs.pop(task.task, None) is job:
            self._answer(job, findings, self._timing(job, budget, started_s, ended_s))

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

    def _answer(self, job: Job, findings: Iterable[Finding], timing: pb.Timing | None) -> None:
        result = pb.TaskResult(task=job.task.task, findings=map(finding_to_proto, findings), timing=timing)
        job.send(result, result.ByteSize())

    def _answer_failed(self, job: Job, kind: ErrorKind, detail: str = "") -> None:
        job.jobs.pop(job.task.task, None)
        self._answer(job, [error_finding(self._actor.name, self._actor.name, kind, detail)], None)

    async def _examine(self, task: pb.Task, budget: Budget) -> tuple[Finding, ...]:
        name = self._actor.name
        try:
            message = message_from_bytes(task.message)
        except MalformedMessage:
            self._shelf.discard(task.body_id)
            return (error_finding(name, name, ErrorKind.MALFORMED, "not a message"),)
        if task.body_id:
            try:
                async with budget.timeout(budget.left_s):
                    body = await self._shelf.take(task.body_id)
            except TimeoutError:
                return (error_finding(name, name, ErrorKind.TIMEOUT, "body did not arrive"),)
            message = Message(message.envelope, message.header_block, body)
        return await examine_guarded(self._actor, stage_from_proto(task.stage), message, budget)


class ExamineStream:
    """One stream of one ingress, until it ends: frames to tasks, results to frames."""

    def __init__(self, host: ReplicaHost) -> None:
        self._host = host
        self._jobs: dict[int, Job] = {}
        self._writer: AdaptiveWriter[pb.TaskResult] = AdaptiveWriter(self._write)
        self.frames = FrameStream(self._receive)
        self.ended = asyncio.create_task(self._run())

    def _receive(self, payload: bytes) -> None:
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
