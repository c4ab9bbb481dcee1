"""cluster/replica_stream.py over loopback: it stays connected whatever the replica or the dispatcher does."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from actors.adapters.clock import SystemClock
from cluster import replica_stream
from cluster.bodies import BodyShelf
from cluster.dispatch import Dispatcher
from cluster.frame_stream import FrameStream
from cluster.host import ReplicaHost
from cluster.replica_stream import ReplicaStream
from cluster.table import Replica
from tamis.filter.v1 import examine_service_pb2 as pb
from tests.cluster.fakes import ScriptedActor

pytestmark = pytest.mark.live


class FakeDispatcher:
    """Hears what the stream says; may have a bug."""

    def __init__(self, *, broken_ready: int = 0, bug_at: int = 0) -> None:
        self.readies = 0
        self.breaks = 0
        self.moods: list[str] = []
        self.results: list[int] = []
        self._broken_ready = broken_ready
        self._bug_at = bug_at

    def ready(self, _replica: Replica) -> None:
        self.readies += 1
        if self.readies <= self._broken_ready:
            raise ZeroDivisionError

    def broken(self, _replica: Replica) -> None:
        self.breaks += 1

    def silent(self, _replica: Replica) -> None:
        self.moods.append("silent")

    def speaks(self, _replica: Replica) -> None:
        self.moods.append("speaks")

    def result(self, _replica: Replica, result: pb.TaskResult) -> None:
        if result.task == self._bug_at:
            raise ZeroDivisionError
        self.results.append(result.task)


class FakeReplica:
    """Takes connections; answers each task with its number, or closes at once."""

    def __init__(self, *, closes: bool = False) -> None:
        self.connections: list[FrameStream] = []
        self.tasks: list[int] = []
        self.hangs = False
        self._closes = closes

    def connection(self) -> FrameStream:
        stream = FrameStream(self._receive)
        self.connections.append(stream)
        if self._closes:
            asyncio.get_running_loop().call_later(0.001, stream.close)
        return stream

    def _receive(self, payload: bytes) -> None:
        if self.hangs:
            return
        numbers = [task.task for task in pb.ExamineRequest.FromString(payload).tasks]
        self.tasks += numbers
        answer = pb.ExamineResponse(results=[pb.TaskResult(task=number) for number in numbers])
        asyncio.get_running_loop().create_task(self.connections[-1].write(answer.SerializeToString()))


@asynccontextmanager
async def streaming(replica: FakeReplica, dispatcher: FakeDispatcher) -> AsyncIterator[ReplicaStream]:
    server = await asyncio.get_running_loop().create_server(replica.connection, "127.0.0.1", 0)
    address = "{}:{}".format(*server.sockets[0].getsockname())
    stream = ReplicaStream(Replica("dkim-0", ("dkim",), address, ""), cast("Dispatcher", cast("Any", dispatcher)))
    yield stream
    stream.close()
    server.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  what it waits for has no event
            await asyncio.sleep(0.005)


async def test_tasks_go_and_results_come() -> None:
    replica, dispatcher = FakeReplica(), FakeDispatcher()
    async with streaming(replica, dispatcher) as stream:
        assert not stream.send(pb.Task(task=1), 10)
        await until(lambda: dispatcher.readies)
        assert stream.send(pb.Task(task=2), 10)
        await until(lambda: dispatcher.results)
    assert (replica.tasks, dispatcher.results) == ([2], [2])


async def test_a_bug_at_one_result_costs_neither_the_others_nor_the_stream() -> None:
    replica, dispatcher = FakeReplica(), FakeDispatcher(bug_at=1)
    async with streaming(replica, dispatcher) as stream:
        await until(lambda: dispatcher.readies)
        for number in (1, 2, 3):
            stream.send(pb.Task(task=number), 10)
        await until(lambda: dispatcher.results == [2, 3])
        assert dispatcher.breaks == 0


async def test_a_broken_stream_is_told_and_dialled_again() -> None:
    replica, dispatcher = FakeReplica(), FakeDispatcher()
    async with streaming(replica, dispatcher) as stream:
        await until(lambda: dispatcher.readies)
        replica.connections[0].close()
        await until(lambda: dispatcher.readies == 2)
        assert dispatcher.breaks == 1
        assert stream.send(pb.Task(task=4), 10)
        await until(lambda: dispatcher.results == [4])


async def test_a_bug_of_the_dispatcher_does_not_end_the_dialling() -> None:
    replica, dispatcher = FakeReplica(), FakeDispatcher(broken_ready=1)
    async with streaming(replica, dispatcher):
        await until(lambda: dispatcher.readies == 2)
        assert dispatcher.breaks == 1


async def test_a_replica_that_only_takes_connections_is_not_dialled_hot() -> None:
    replica, dispatcher = FakeReplica(closes=True), FakeDispatcher()
    async with streaming(replica, dispatcher):
        await asyncio.sleep(1.0)
    assert 2 <= len(replica.connections) <= 10


async def test_a_closed_stream_says_nothing_more() -> None:
    replica, dispatcher = FakeReplica(), FakeDispatcher()
    async with streaming(replica, dispatcher) as stream:
        await until(lambda: dispatcher.readies)
        stream.close()
        await until(replica.connections[0].lost.done)
    assert dispatcher.breaks == 0


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_stream, "_PING_EVERY_S", 0.02)
    monkeypatch.setattr(replica_stream, "SILENT_S", 0.1)


@pytest.mark.usefixtures("short_patience")
async def test_a_replica_that_hangs_is_silent_until_it_says_something() -> None:
    replica, dispatcher = FakeReplica(), FakeDispatcher()
    async with streaming(replica, dispatcher):
        await until(lambda: dispatcher.readies)
        replica.hangs = True
        await until(lambda: dispatcher.moods == ["silent"])
        replica.hangs = False
        await until(lambda: dispatcher.moods == ["silent", "speaks"])
        assert dispatcher.breaks == 0


@pytest.mark.usefixtures("short_patience")
async def test_a_replica_without_work_is_not_silent() -> None:
    dispatcher, clock = FakeDispatcher(), SystemClock()
    host = ReplicaHost([ScriptedActor("dkim")], "dkim-0", clock, BodyShelf(), 4)
    address = await host.start("127.0.0.1")
    stream = ReplicaStream(Replica("dkim-0", ("dkim",), address, ""), cast("Dispatcher", cast("Any", dispatcher)))
    await until(lambda: dispatcher.readies)
    await asyncio.sleep(0.3)
    stream.close()
    await host.close()
    assert dispatcher.moods == []


@pytest.mark.usefixtures("short_patience")
async def test_a_pause_of_the_ingress_itself_is_not_taken_for_the_replicas() -> None:
    replica, dispatcher = FakeReplica(), FakeDispatcher()
    async with streaming(replica, dispatcher):
        await until(lambda: dispatcher.readies)
        time.sleep(0.3)  # noqa: ASYNC251  the loop stands still, that is the case
        await asyncio.sleep(0.05)
    assert dispatcher.moods == []
