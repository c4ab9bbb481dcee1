import asyncio
from collections.abc import Sequence

import pytest

from actors.actor import Budget
from actors.adapters.dns import Answer, DnsResolver
from actors.config import DnsConfig, JudgementConfig
from actors.model import Envelope, Finding, Message, Stage
from actors.ports import LookupFailed
from actors.registry import build_actor
from cluster import host as host_module
from cluster.bodies import BodyShelf
from cluster.codec import message_to_proto, stage_to_proto
from cluster.host import Job, ReplicaHost
from cluster.metrics import Judged
from tamis.filter.v1 import examine_service_pb2 as pb
from tamis.filter.v1 import verdict_pb2
from tests.cluster.fakes import FakeTime, ModelActor, ScriptedActor, build_scripted
from wire.stream import AdaptiveWriter


class SilentNameserver:
    async def ask(self, name: str, _kind: str) -> Answer:
        return Answer(failed=LookupFailed(name))

    async def close(self) -> None:
        """Nothing was opened."""


class Stream:
    """One ingress's stream into a host, without gRPC."""

    def __init__(self, running_max: int = 8, actors: Sequence[str] = ("dkim",)) -> None:
        self.time = FakeTime()
        self.shelf = BodyShelf()
        self.host = ReplicaHost(
            build_scripted(actors, JudgementConfig(), self.time), "dkim-0", self.time, self.shelf, running_max
        )
        self.jobs: dict[int, Job] = {}
        self._more = asyncio.Event()
        self.results: list[pb.TaskResult] = []
        self.writer: AdaptiveWriter[pb.TaskResult] = AdaptiveWriter(self._write)

    async def _write(self, results: list[pb.TaskResult]) -> None:
        self.results += results
        self._more.set()

    def tell(self, *tasks: pb.Task, cancel: tuple[int, ...] = ()) -> None:
        self.host.accept(pb.ExamineRequest(tasks=tasks, cancel=cancel), self.writer.send, self.jobs)

    async def until(self, count: int) -> list[verdict_pb2.Finding]:
        """Wait for so many results; returns the first finding of each."""
        writing = asyncio.create_task(self.writer.run())
        async with asyncio.timeout(5):
            while len(self.results) < count:
                await self._more.wait()
                self._more.clear()
        writing.cancel()
        return [result.findings[0] for result in self.results]


def task(number: int, script: str = "", body_id: bytes = b"", budget_ms: int = 5000) -> pb.Task:
    header = f"X-Script: {script}\r\n".encode() if script else b""
    message = message_to_proto(Message(header_block=header, body=b"" if body_id else b"body")).SerializeToString()
    return pb.Task(
        task=number, stage=stage_to_proto(Stage.MESSAGE), budget_ms=budget_ms, message=message, body_id=body_id
    )


async def test_a_task_is_answered_with_findings_and_timing() -> None:
    stream = Stream()
    stream.tell(task(7), task(8))
    findings = await stream.until(2)
    assert {finding.outcome for finding in findings} == {"pass"}
    first = stream.results[0]
    assert first.task == 7
    assert (first.timing.replica, first.timing.batch_size) == ("dkim-0", 2)
    assert first.timing.received_at_ns == round(stream.time.unix_s() * 1e9)
    assert not stream.jobs


async def test_bytes_that_are_no_message_are_a_malformed_finding() -> None:
    stream = Stream()
    stream.tell(pb.Task(task=1, budget_ms=1000, message=b"\xff\xff"), task(2))
    malformed, fine = await stream.until(2)
    assert (malformed.outcome, malformed.detail) == ("error", "malformed: not a message")
    assert fine.outcome == "pass"


async def test_a_raising_actor_is_a_crash_finding_and_harms_nobody_else() -> None:
    stream = Stream()
    stream.tell(task(1, "dkim raise"), task(2))
    crashed, fine = await stream.until(2)
    assert crashed.outcome == "error"
    assert crashed.detail.startswith("crash")
    assert fine.outcome == "pass"


async def test_a_task_that_hangs_holds_nobody_else_up() -> None:
    stream = Stream()
    stream.tell(task(1, "dkim sleep 600", budget_ms=600_000), task(2))
    await stream.until(1)
    assert [result.task for result in stream.results] == [2]
    stream.tell(cancel=(1,))
    assert not stream.jobs


async def test_so_many_run_at_once_and_the_others_wait_in_order() -> None:
    stream = Stream(running_max=1)
    stream.tell(task(1, "dkim sleep 600", budget_ms=600_000), task(2), task(3))
    await asyncio.sleep(0)
    assert not stream.results
    stream.time.advance(0.25)
    stream.tell(cancel=(1, 3))
    await stream.until(1)
    assert [result.task for result in stream.results] == [2]
    assert stream.results[0].timing.queue_us == 250_000


async def test_time_in_the_queue_counts_against_the_budget() -> None:
    stream = Stream(running_max=1)
    stream.tell(task(1, "dkim sleep 600", budget_ms=600_000), task(2, budget_ms=100))
    await asyncio.sleep(0)
    stream.time.advance(0.2)
    stream.tell(cancel=(1,))
    (late,) = await stream.until(1)
    assert late.detail.startswith("timeout")


async def test_a_full_queue_is_overloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "QUEUE_MAX", 1)
    stream = Stream(running_max=1)
    stream.tell(task(1, "dkim sleep 600", budget_ms=600_000), task(2))
    await asyncio.sleep(0)
    stream.tell(task(3))
    (overloaded,) = await stream.until(1)
    assert (overloaded.outcome, overloaded.detail) == ("error", "overloaded")
    assert stream.results[0].task in (2, 3)
    stream.tell(cancel=(1,))


async def test_a_body_by_reference_may_come_before_or_after_its_task() -> None:
    stream = Stream()
    stream.shelf.put(b"early", b"x" * 10)
    stream.tell(task(1, body_id=b"early"), task(2, body_id=b"late"))
    await asyncio.sleep(0)
    stream.shelf.put(b"late", b"y" * 20)
    findings = await stream.until(2)
    assert [finding.facts["bytes"] for finding in findings] == ["10", "20"]


async def test_a_body_that_never_comes_is_a_timeout() -> None:
    stream = Stream()
    stream.tell(task(1, body_id=b"lost", budget_ms=1))
    (finding,) = await stream.until(1)
    assert finding.detail == "timeout: body did not arrive"


async def test_the_shelf_drops_the_oldest_when_it_is_full() -> None:
    shelf = BodyShelf(bytes_max=10)
    shelf.put(b"1", b"x" * 6)
    shelf.put(b"2", b"y" * 6)
    assert await shelf.take(b"2") == b"y" * 6
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await shelf.take(b"1")


async def test_a_body_that_nobody_takes_can_be_discarded() -> None:
    shelf = BodyShelf(bytes_max=10)
    shelf.put(b"1", b"x" * 6)
    shelf.discard(b"1")
    shelf.put(b"2", b"y" * 6)
    shelf.put(b"3", b"z" * 4)
    assert await shelf.take(b"2") == b"y" * 6


async def test_a_job_that_cannot_be_answered_as_it_is_ends_as_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError("with the text of a mail")

    monkeypatch.setattr(ReplicaHost, "_timing", broken)
    stream = Stream()
    stream.tell(task(1))
    (finding,) = await stream.until(1)
    assert (finding.outcome, finding.detail) == ("error", "crash: ZeroDivisionError")
    assert not stream.jobs


async def test_the_body_of_a_task_that_does_not_parse_is_given_back() -> None:
    stream = Stream()
    stream.shelf.put(b"7", b"body")
    stream.tell(pb.Task(task=1, budget_ms=1000, message=b"\xff\xff", body_id=b"7"))
    await stream.until(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await stream.shelf.take(b"7")


async def test_a_task_of_several_actors_is_answered_by_each_as_soon_as_it_is_ready() -> None:
    stream = Stream(actors=("dkim", "policy"))
    stream.tell(task(1, "dkim sleep 0.05"))
    await stream.until(2)
    assert [(result.task, result.actor) for result in stream.results] == [(1, "policy"), (1, "dkim")]
    assert not stream.jobs


async def test_only_the_actors_that_a_task_names_are_asked() -> None:
    stream = Stream(actors=("dkim", "policy"))
    only = task(1)
    only.actors.append("policy")
    stream.tell(only, task(2))
    await stream.until(3)
    assert sorted((result.task, result.actor) for result in stream.results) == [
        (1, "policy"),
        (2, "dkim"),
        (2, "policy"),
    ]


async def test_an_actor_that_raises_leaves_the_others_of_its_task_alone() -> None:
    stream = Stream(actors=("dkim", "policy"))
    stream.tell(task(1, "dkim raise"))
    await stream.until(2)
    assert {result.actor: result.findings[0].outcome for result in stream.results} == {
        "dkim": "error",
        "policy": "pass",
    }


async def test_bytes_that_are_no_message_are_a_finding_of_each_actor() -> None:
    stream = Stream(actors=("dkim", "policy"))
    stream.tell(pb.Task(task=1, budget_ms=1000, message=b"\xff\xff"))
    await stream.until(2)
    assert {(result.actor, result.findings[0].actor) for result in stream.results} == {
        ("dkim", "dkim"),
        ("policy", "policy"),
    }


async def test_an_actor_that_the_replica_does_not_run_is_unreachable() -> None:
    stream = Stream()
    other = task(1)
    other.actors.append("antivirus")
    stream.tell(other)
    (finding,) = await stream.until(1)
    assert (finding.actor, finding.detail) == ("antivirus", "unreachable: not in this replica")


async def test_a_cancelled_task_of_several_actors_is_answered_by_none_of_them() -> None:
    stream = Stream(actors=("dkim", "policy"))
    stream.tell(task(1, "all sleep 5"))
    await asyncio.sleep(0)
    stream.tell(task(2), cancel=(1,))
    await stream.until(2)
    assert {result.task for result in stream.results} == {2}


async def test_of_several_actors_only_the_late_ones_time_out() -> None:
    stream = Stream(actors=("dkim", "policy"))
    stream.tell(task(1, "dkim sleep 5", budget_ms=50))
    await stream.until(2)
    found = {result.actor: result.findings[0] for result in stream.results}
    assert (found["policy"].outcome, found["dkim"].detail) == ("pass", "timeout: message")
    assert not stream.jobs


class Staged(ScriptedActor):
    """Waits until all its stages have been asked about."""

    def __init__(self, *stages: Stage) -> None:
        super().__init__("policy")
        self.stages = frozenset(stages)
        self._all = asyncio.Barrier(len(stages))

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
        await self._all.wait()
        return await super().examine(stage, message, budget)


@pytest.mark.parametrize(
    "stages",
    [(Stage.ENVELOPE, Stage.MESSAGE), (Stage.ENVELOPE,), (Stage.MESSAGE,)],
    ids=["both", "envelope", "message"],
)
async def test_an_actor_says_with_the_message_what_it_has_to_say_of_the_envelope(stages: tuple[Stage, ...]) -> None:
    stream = Stream()
    stream.host = ReplicaHost([Staged(*stages)], "policy-0", stream.time, stream.shelf, 8)
    both = task(1)
    both.envelope_too = True
    stream.tell(both)
    await stream.until(1)
    (result,) = stream.results
    assert [finding.facts["stage"] for finding in result.findings] == [str(stage) for stage in stages]


async def test_an_actor_that_fails_at_the_envelope_still_says_what_it_found_in_the_message() -> None:
    class Failing(Staged):
        async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
            if stage is Stage.ENVELOPE:
                raise RuntimeError
            return await ScriptedActor.examine(self, stage, message, budget)

    stream = Stream()
    stream.host = ReplicaHost([Failing(Stage.ENVELOPE, Stage.MESSAGE)], "policy-0", stream.time, stream.shelf, 8)
    both = task(1)
    both.envelope_too = True
    stream.tell(both)
    await stream.until(1)
    (result,) = stream.results
    assert [finding.outcome for finding in result.findings] == ["error", "pass"]


async def test_what_the_actors_count_together_is_told_once() -> None:
    time, resolver = FakeTime(), DnsResolver(DnsConfig(), FakeTime(), SilentNameserver())
    actors = (
        build_actor("dkim", JudgementConfig(), time, resolver),
        build_actor("policy", JudgementConfig(), time, resolver),
    )
    host = ReplicaHost(actors, "worker-0", time, BodyShelf(), 8)
    with pytest.raises(LookupFailed):
        await resolver.txt("example.org")
    assert host.counters == {"dns_from_cache": 0, "dns_shared": 0, "dns_asked": 1, "dns_failed": 1}
    assert Stream().host.counters == {}


def test_a_host_says_by_which_model_it_judges() -> None:
    def host(*actors: ScriptedActor) -> ReplicaHost:
        return ReplicaHost(actors, "worker-0", FakeTime(), BodyShelf(), 8)

    assert host(ScriptedActor("dkim"), ModelActor("classifier", "0f1e2d3c")).model == "0f1e2d3c"
    assert host(ScriptedActor("dkim")).model == ""


async def test_what_the_model_said_of_mail_is_counted_and_probes_are_none() -> None:
    stream = Stream(actors=())
    stream.host = ReplicaHost([ModelActor("classifier", "0f1e2d3c")], "c-0", stream.time, stream.shelf, 8)
    asked = [
        (b"id", Stage.MESSAGE, b"classifier spam"),
        (b"id", Stage.MESSAGE, b"nobody spam"),
        (b"id", Stage.MESSAGE, b"classifier raise"),
        (b"id", Stage.HEADERS, b"classifier spam"),
        (b"", Stage.MESSAGE, b"classifier spam"),
    ]
    for number, (transaction, stage, script) in enumerate(asked):
        message = message_to_proto(Message(Envelope(transaction), b"X-Script: " + script + b"\r\n"))
        told = pb.Task(task=number, stage=stage_to_proto(stage), message=message.SerializeToString(), budget_ms=1000)
        stream.tell(told)
    await stream.until(len(asked))
    assert stream.host.judged == Judged(3, 1, 1)
