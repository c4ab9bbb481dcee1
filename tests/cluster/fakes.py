"""Fakes for tests of the cluster: a scripted actor, replica links in memory, timers moved by hand."""

import asyncio
import heapq
import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from actors.actor import Budget
from actors.config import JudgementConfig
from actors.model import Finding, Message, Outcome, Stage
from actors.ports import Clock
from cluster.dispatch import Dispatcher
from cluster.table import Replica
from tamis.filter.v1 import examine_service_pb2 as pb


class ScriptedActor:
    """Does what the message's X-Script fields for it say: `X-Script: dkim sleep 0.5`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stages = frozenset({Stage.MESSAGE})

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
        for line in message.header_values(b"X-Script"):
            actor, verb, *args = line.decode().split()
            if actor in (self.name, "all"):
                await self._act(verb, args, budget)
        facts = {"stage": str(stage), "bytes": str(len(message.body)), "pid": str(os.getpid())}
        return (Finding(self.name, "scripted", Outcome.PASS, detail="done", facts=facts),)

    async def _act(self, verb: str, args: list[str], budget: Budget) -> None:
        match verb:
            case "sleep":
                started_s = budget.clock.monotonic_s()
                await asyncio.sleep(float(args[0]))
                budget.record("dns.query", started_s, "TXT slept.example")
            case "spin":
                time.sleep(float(args[0]))  # noqa: ASYNC251  holds the loop, as a CPU-bound actor does
            case "raise":
                raise RuntimeError("scripted")
            case "exit":
                os._exit(1)

    async def close(self) -> None:
        pass


class ModelActor(ScriptedActor):
    """Judges by a model; its spam is what says `X-Script: NAME spam`."""

    def __init__(self, name: str, model_version: str) -> None:
        super().__init__(name)
        self.model_version = model_version

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
        await super().examine(stage, message, budget)
        spam = any(line.split() == [self.name.encode(), b"spam"] for line in message.header_values(b"X-Script"))
        return (Finding(self.name, "spam", Outcome.SPAM if spam else Outcome.HAM),)


class UselessActor(ScriptedActor):
    """Raises at every message."""

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
        del message, budget
        raise ValueError(stage)


def build_scripted(names: Sequence[str], config: JudgementConfig, _clock: Clock) -> list[ScriptedActor]:
    """In place of actors.registry.build_actors; the model "unimportable" or "useless" is what it says."""
    model = config.classifier.model.rpartition("/")[2]
    if model == "unimportable":
        raise ImportError("no module named model")
    return [(UselessActor if model == "useless" else ScriptedActor)(name) for name in names]


def message_only(_name: str, _config: JudgementConfig) -> frozenset[Stage]:
    """In place of actors.registry.stages_of."""
    return frozenset({Stage.MESSAGE})


@dataclass(order=True)
class FakeTimer:
    at_s: float
    order: int
    call: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class FakeTime:
    """A clock and timers; `advance` runs what falls due, in order."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._timers: list[FakeTimer] = []
        self._order = itertools.count()

    def monotonic_s(self) -> float:
        return self.now_s

    def unix_s(self) -> float:
        return 1_767_225_600.0 + self.now_s

    def call_later(self, delay_s: float, call: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self.now_s + delay_s, next(self._order), call)
        heapq.heappush(self._timers, timer)
        return timer

    @property
    def armed(self) -> int:
        return sum(not timer.cancelled for timer in self._timers)

    def advance(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self._timers and self._timers[0].at_s <= until_s:
            timer = heapq.heappop(self._timers)
            self.now_s = max(self.now_s, timer.at_s)
            if not timer.cancelled:
                timer.call()
        self.now_s = until_s


class FakeLink:
    """Remembers what it was told; the test plays the replica."""

    def __init__(self, replica: Replica, dispatcher: Dispatcher) -> None:
        self.replica = replica
        self.dispatcher = dispatcher
        self.tasks: list[pb.Task] = []
        self.cancelled: list[int] = []
        self.closed = False
        self.full = False

    def send(self, task: pb.Task, size_bytes: int) -> bool:
        del size_bytes
        if not self.full:
            self.tasks.append(task)
        return not self.full

    def cancel(self, task: int) -> None:
        self.cancelled.append(task)

    def close(self) -> None:
        self.closed = True

    def up(self) -> None:
        self.dispatcher.ready(self.replica)

    def breaks(self) -> None:
        self.tasks.clear()
        self.dispatcher.broken(self.replica)

    def falls_silent(self) -> None:
        self.dispatcher.silent(self.replica)

    def speaks(self) -> None:
        self.dispatcher.speaks(self.replica)

    def answer(self, *findings: Finding) -> None:
        """Answer the oldest task, for the only actor it asks."""
        self.answer_for("", *findings, over=True)

    def answer_for(self, actor: str, *findings: Finding, over: bool = False) -> None:
        """Answer the oldest task for one of its actors."""
        from cluster.codec import finding_to_proto  # noqa: PLC0415

        task = self.tasks.pop(0) if over else self.tasks[0]
        timing = pb.Timing(received_at_ns=1, queue_us=2, run_us=3, batch_size=1, replica=self.replica.name)
        found = map(finding_to_proto, findings)
        self.dispatcher.result(self.replica, pb.TaskResult(task=task.task, findings=found, timing=timing, actor=actor))
