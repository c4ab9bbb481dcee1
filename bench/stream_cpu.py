"""What a message costs the cluster when its actors do nothing: streams, transactions, dispatch, codec and decide.

    .venv/bin/python -m bench.stream_cpu --sessions 1 8 32 128 --body-bytes 6000
    .venv/bin/python -m bench.stream_cpu --sessions 4 --body-bytes 1000000 --by-reference 100000

Starts a cell with four idle actors, plays the gateway on one Filter stream with so many transactions at a time, and
prints CPU per message of ingress and hosts apart (this driver not counted), messages/s, latency and PSS at rest.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import psutil
import ray.cloudpickle

import bench.stream_cpu
from actors.actor import Budget
from actors.config import JudgementConfig
from actors.model import Finding, Message, Outcome, Stage
from actors.ports import Clock
from bench.local_ray import start_ray
from cluster.config import ClusterConfig
from cluster.node import Cell, Node
from cluster.spec import CellSpec
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import filter_service_pb2_grpc, message_pb2
from wire.stream import CHANNEL_OPTIONS, INITIAL_BODY_CREDIT_BYTES, AdaptiveWriter
from wire.trace import TraceConfig

HEADERS = b"".join(b"X-Filler-%d: %s\r\n" % (number, b"x" * 60) for number in range(20))
READY_S = 90.0


class IdleActor:
    """Reports one finding and does nothing for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stages = frozenset({Stage.MESSAGE})
        self._findings = (Finding(name, "idle", Outcome.NONE, ms=0.001),)

    async def examine(self, _stage: Stage, _message: Message, _budget: Budget) -> Sequence[Finding]:
        """The one finding."""
        return self._findings

    async def close(self) -> None:
        """Nothing to give back."""


def build_idle(names: Sequence[str], _config: JudgementConfig, _clock: Clock) -> list[IdleActor]:
    """In place of actors.registry.build_actors."""
    return [IdleActor(name) for name in names]


def message_only(_name: str, _config: JudgementConfig) -> frozenset[Stage]:
    """In place of actors.registry.stages_of."""
    return frozenset({Stage.MESSAGE})


class Driver:
    """One Filter stream with `sessions` transactions at a time."""

    def __init__(self, address: str, body: bytes) -> None:
        self._address = address
        self._body = body
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[pb.Answer]] = {}
        self.latencies_s: list[float] = []

    async def run(self, sessions: int, messages: int) -> None:
        """Send so many messages."""
        async with grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS) as channel:
            call = filter_service_pb2_grpc.FilterServiceStub(channel).Filter()
            await call.wait_for_connection()

            async def write(events: list[pb.Event]) -> None:
                await call.write(pb.FilterRequest(events=events))

            self._writer = AdaptiveWriter(write)
            reading, writing = asyncio.create_task(self._read(call)), asyncio.create_task(self._writer.run())
            left = iter(range(messages))
            await asyncio.gather(*(self._session(left) for _ in range(sessions)))
            reading.cancel()
            writing.cancel()
            call.cancel()

    async def _read(self, call: "grpc.aio.StreamStreamCall[pb.FilterRequest, pb.FilterResponse]") -> None:
        async for response in call:
            for answer in response.answers:
                waiting = self._waiting[answer.transaction]
                if not waiting.done():
                    waiting.set_result(answer)

    async def _session(self, left: "Sequence[int] | object") -> None:
        for _ in left:  # type: ignore[attr-defined]  one iterator shared by all sessions
            self._numbers += 1
            await self._message(self._numbers)

    async def _message(self, number: int) -> None:
        envelope = pb.Begin(transaction_id=os.urandom(16), budget_ms=60_000, client=message_pb2.Client(ip="192.0.2.1"))
        recipient = message_pb2.Recipient(address=b"reader@example.org")
        self._send(pb.Event(transaction=number, begin=envelope), 100)
        self._send(pb.Event(transaction=number, mail=pb.Mail(sender=b"writer@example.net")), 50)
        self._send(pb.Event(transaction=number, recipient=pb.NewRecipient(recipient=recipient)), 50)
        self._send(pb.Event(transaction=number, headers=pb.Headers(header_block=HEADERS)), len(HEADERS))
        credit, offset = INITIAL_BODY_CREDIT_BYTES, 0
        while offset < len(self._body):
            if not credit:
                answer = await self._answer(number)
                credit += answer.credit.body_bytes
                continue
            chunk = self._body[offset : offset + min(credit, 65_536)]
            waiting = self._expect(number)
            self._send(pb.Event(transaction=number, body=chunk), len(chunk))
            credit, offset = credit - len(chunk), offset + len(chunk)
            if waiting.done():
                credit += waiting.result().credit.body_bytes
        started_s = time.perf_counter()
        self._send(pb.Event(transaction=number, end_of_message=pb.EndOfMessage(budget_ms=20_000)), 10)
        while True:
            answer = await self._answer(number)
            if answer.HasField("verdict"):
                break
        if answer.verdict.degraded:
            raise RuntimeError(f"not a full verdict: {answer}")
        self.latencies_s.append(time.perf_counter() - started_s)
        del self._waiting[number]

    def _expect(self, number: int) -> "asyncio.Future[pb.Answer]":
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        return waiting

    async def _answer(self, number: int) -> pb.Answer:
        answer = await self._expect(number)
        self._waiting.pop(number, None)
        self._expect(number)
        return answer

    def _send(self, event: pb.Event, size_bytes: int) -> None:
        if not self._writer.send(event, size_bytes):
            raise RuntimeError("the stream is too far behind")


def processes() -> dict[str, list[psutil.Process]]:
    """The processes below this one by what they are to us."""
    kinds: dict[str, list[psutil.Process]] = {"ingress": [], "hosts": [], "supervisor": [], "ray": []}
    names = {"ray::IngressProcess": "ingress", "ray::HostProcess": "hosts", "ray::Supervisor": "supervisor"}
    for process in psutil.Process().children(recursive=True):
        title = (process.cmdline() or [process.name()])[0]
        kinds[next((kind for name, kind in names.items() if title.startswith(name)), "ray")].append(process)
    return kinds


def cpu_s(members: list[psutil.Process]) -> float:
    """CPU seconds used so far."""
    return sum(process.cpu_times().user + process.cpu_times().system for process in members)


async def measure(address: str, sessions: int, messages: int, body: bytes) -> None:
    """One row of the table."""
    await Driver(address, body).run(sessions, max(sessions, messages // 10))
    kinds = processes()
    before = {kind: cpu_s(members) for kind, members in kinds.items()}
    driver = Driver(address, body)
    started_s = time.perf_counter()
    await driver.run(sessions, messages)
    wall_s = time.perf_counter() - started_s
    spent = {kind: (cpu_s(members) - before[kind]) * 1000 / messages for kind, members in kinds.items()}
    latencies = sorted(driver.latencies_s)
    p50, p99 = (latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1000 for share in (0.5, 0.99))
    print(
        f"sessions {sessions:4}  body {len(body):9}  "
        f"ingress {spent['ingress']:.3f} ms  hosts {spent['hosts']:.3f} ms  "
        f"sum {spent['ingress'] + spent['hosts']:.3f} ms  ray+supervisor {spent['ray'] + spent['supervisor']:.3f} ms  "
        f"{messages / wall_s:.0f}/s  p50 {p50:.2f} ms  p99 {p99:.2f} ms",
        flush=True,
    )


def main() -> None:
    """Start the cell, measure each number of sessions, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--body-bytes", type=int, nargs="+", default=[6000])
    parser.add_argument("--by-reference", type=int, help="[cluster] body_by_reference_bytes")
    options = parser.parse_args()
    # The actors' processes know no module `bench`: its classes travel by value.
    ray.cloudpickle.register_pickle_by_value(bench.stream_cpu)
    node = Node()
    with tempfile.TemporaryDirectory(prefix="tamis-", dir="/tmp") as directory:
        threshold = {} if options.by_reference is None else {"body_by_reference_bytes": options.by_reference}
        try:
            start_ray(node, Path(directory), 300)
            config = ClusterConfig(listen="127.0.0.1:0", object_store_mb=300, **threshold)
            idle = (bench.stream_cpu.build_idle, bench.stream_cpu.message_only)
            spec = CellSpec(config, JudgementConfig(), TraceConfig(), node.node_id, *idle)
            cell = Cell(spec)
            address = cell.wait_ready(READY_S, lambda _: None).ingresses[0]
            pss = {kind: sum(p.memory_full_info().pss for p in group) >> 20 for kind, group in processes().items()}
            print("PSS at rest, MiB:", pss)
            for size in options.body_bytes:
                for sessions in options.sessions:
                    asyncio.run(measure(address, sessions, options.messages, os.urandom(size)))
            cell.stop()
        finally:
            node.stop()


if __name__ == "__main__":
    main()
