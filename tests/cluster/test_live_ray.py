"""One small real cluster with scripted actors: what Ray, gRPC and the kernel really do to messages."""

import asyncio
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import ray.cloudpickle

from actors.config import JudgementConfig
from bench.local_ray import start_ray
from cli.addresses import free_port
from cluster.config import AdminConfig, ClusterConfig, Pools
from cluster.node import Cell, Node
from cluster.spec import CellSpec
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2, verdict_pb2
from tamis.filter.v1.filter_service_pb2_grpc import FilterServiceStub
from tests.cluster import fakes
from wire.stream import CHANNEL_OPTIONS
from wire.trace import TraceConfig

pytestmark = pytest.mark.ray
READY_S = 90.0
UNRESPONSIVE_S = 5.0
FOUR = {"dkim", "policy", "classifier", "antivirus"}


@dataclass
class LiveCell:
    cell: Cell
    stub: FilterServiceStub

    def scan(self, *scripts: str, body: bytes = b"hello\r\n", timeout_s: float = 10.0) -> verdict_pb2.Verdict:
        header = b"".join(b"X-Script: %s\r\n" % script.encode() for script in scripts)
        message = message_pb2.Message(header_block=header + b"Subject: x\r\n", body=body)
        return self.stub.Scan(pb.ScanRequest(message=message), timeout=timeout_s).verdict

    def replicas(self, pool: str) -> set[str]:
        return {replica.name for replica in self.cell.status().replicas if pool in replica.actors}

    def until_ready(self, timeout_s: float = 30.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not self.cell.status().ready:
            assert time.monotonic() < deadline_s, self.cell.status()
            time.sleep(0.1)


def finding(verdict: verdict_pb2.Verdict, actor: str) -> verdict_pb2.Finding:
    (only,) = [finding for finding in verdict.findings if finding.actor == actor]
    return only


def ask_process(name: str, question: Callable[[Any], int]) -> int:
    """What the question gives when it is asked of the process object itself, in its process."""
    process = ray.get_actor(name, namespace="tamis")
    return int(str(ray.get(process.__ray_call__.remote(question), timeout=10)))


def pid_of(name: str) -> int:
    return ask_process(name, lambda _: os.getpid())


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    # The processes of the cell know no module `tests`: its classes travel by value.
    ray.cloudpickle.register_pickle_by_value(fakes)
    directory = Path(tempfile.mkdtemp(prefix="tamis-", dir="/tmp"))
    node = Node()
    try:
        start_ray(node, directory)
        yield node
    finally:
        node.stop()
        ray.cloudpickle.unregister_pickle_by_value(fakes)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def live_cell(node: Node, pools: Pools, ingresses: int) -> Iterator[LiveCell]:
    """A cell of scripted actors; one at a time."""
    config = ClusterConfig(
        listen=f"127.0.0.1:{free_port(count=2)}",
        admin=AdminConfig(listen=""),
        ingresses=ingresses,
        pools=pools,
        replica_wait_s=10.0,
        unresponsive_s=UNRESPONSIVE_S,
    )
    spec = CellSpec(config, JudgementConfig(), TraceConfig(), node.node_id, fakes.build_scripted, fakes.message_only)
    cell = Cell(spec)
    address = cell.wait_ready(READY_S, lambda _: None).ingresses[0]
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        yield LiveCell(cell, FilterServiceStub(channel))
    cell.stop()


@pytest.fixture(scope="module")
def live(node: Node) -> Iterator[LiveCell]:
    with live_cell(node, Pools(policy=2, layout="split"), ingresses=2) as cell:
        yield cell


def test_in_a_fused_process_a_message_that_kills_is_found_and_harms_nobody_else(node: Node) -> None:
    with live_cell(node, Pools(layout="fused"), ingresses=1) as fused, ThreadPoolExecutor(11) as pool:
        assert len({finding.facts["pid"] for finding in fused.scan().findings}) == 1
        killing = pool.submit(fused.scan, "classifier exit", timeout_s=30.0)
        innocent = [pool.submit(fused.scan, "policy sleep 0.3", timeout_s=30.0) for _ in range(10)]
        verdict = killing.result()
        assert list(verdict.missing) == ["classifier"]
        assert finding(verdict, "classifier").detail.startswith("crash: broke ")
        assert all(finding(verdict, actor).outcome == "pass" for actor in FOUR - {"classifier"})
        assert not any(one.result().degraded for one in innocent)


def test_four_actors_work_on_a_message_in_parallel(live: LiveCell) -> None:
    started_s = time.monotonic()
    verdict = live.scan("all sleep 0.5")
    assert {finding.actor for finding in verdict.findings} == FOUR
    assert not verdict.degraded
    assert 0.5 <= time.monotonic() - started_s < 1.5


def test_each_actor_is_a_process_of_its_own(live: LiveCell) -> None:
    pids = {finding.facts["pid"] for finding in live.scan().findings}
    assert len(pids) == 4
    assert str(os.getpid()) not in pids


def test_a_sleeping_actor_is_a_timeout_and_the_verdict_comes_before_the_deadline(live: LiveCell) -> None:
    started_s = time.monotonic()
    verdict = live.scan("classifier sleep 60", timeout_s=1.5)
    assert time.monotonic() - started_s < 1.5
    assert verdict.degraded
    assert list(verdict.missing) == ["classifier"]
    assert finding(verdict, "classifier").detail.startswith("timeout")
    assert finding(verdict, "antivirus").outcome == "pass"


def test_an_actor_that_holds_its_loop_is_late_without_its_help(live: LiveCell) -> None:
    verdict = live.scan("classifier spin 2", timeout_s=1.0)
    assert finding(verdict, "classifier").detail.startswith("timeout: no answer after")


def test_a_raising_actor_is_a_crash_finding(live: LiveCell) -> None:
    verdict = live.scan("dkim raise")
    assert finding(verdict, "dkim").detail.startswith("crash")
    assert list(verdict.missing) == ["dkim"]


def test_what_a_killed_replica_had_is_answered_by_another(live: LiveCell) -> None:
    live.until_ready()
    with ThreadPoolExecutor(8) as pool:
        scans = [pool.submit(live.scan, "policy sleep 1") for _ in range(8)]
        time.sleep(0.5)
        victim = int(finding(live.scan(), "policy").facts["pid"])
        os.kill(victim, signal.SIGKILL)
        verdicts = [scan.result() for scan in scans]
    assert not any(verdict.degraded for verdict in verdicts)
    live.until_ready()
    assert live.replicas("policy") == {"policy-0", "policy-1"}
    pids = {finding(live.scan(), "policy").facts["pid"] for _ in range(20)}
    assert str(victim) not in pids
    assert len(pids) == 2


def test_a_pool_of_one_is_back_before_its_messages_are_given_up(live: LiveCell) -> None:
    live.until_ready()
    os.kill(int(finding(live.scan(), "dkim").facts["pid"]), signal.SIGKILL)
    assert not live.scan(timeout_s=15).degraded


def test_a_message_that_kills_is_found_and_harms_nobody_else(live: LiveCell) -> None:
    live.until_ready()
    with ThreadPoolExecutor(8) as pool:
        harmless = [pool.submit(live.scan, "antivirus sleep 0.3", timeout_s=30) for _ in range(6)]
        time.sleep(0.1)
        killer = pool.submit(live.scan, "antivirus exit", timeout_s=30)
        details = {finding(scan.result(), "antivirus").detail for scan in harmless}
        verdict = killer.result()
    assert details == {"done"}
    assert finding(verdict, "antivirus").detail == "crash: broke 2 replicas"
    assert finding(verdict, "dkim").outcome == "pass"


@pytest.mark.parametrize("body_bytes", [99_000, 1_000_000, 30_000_000])
def test_a_large_body_arrives_whole(live: LiveCell, body_bytes: int) -> None:
    live.until_ready()
    verdict = live.scan(body=b"x" * body_bytes, timeout_s=20)
    assert not verdict.degraded
    assert {finding.facts["bytes"] for finding in verdict.findings} == {str(body_bytes)}


def test_the_room_of_large_bodies_comes_back_and_nothing_stays_on_a_shelf(live: LiveCell) -> None:
    live.until_ready()
    room_bytes = ask_process("ingress-0", lambda process: process._bodies._room_bytes)
    assert room_bytes == 50 * 2**20
    with ThreadPoolExecutor(4) as pool:
        scans = [pool.submit(live.scan, body=b"x" * 20_000_000, timeout_s=20) for _ in range(8)]
        taken = room_bytes
        while not all(scan.done() for scan in scans):
            taken = min(taken, ask_process("ingress-0", lambda process: process._bodies._room_bytes))
        assert not any(scan.result().degraded for scan in scans)
    assert taken < room_bytes, "bodies travelled by reference"
    deadline_s = time.monotonic() + 10
    while ask_process("ingress-0", lambda process: process._bodies._room_bytes) < room_bytes:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    for replica in live.replicas("policy") | live.replicas("dkim"):
        assert ask_process(replica, lambda process: process._shelf.held_bytes) == 0


def test_a_scan_without_a_deadline_is_refused(live: LiveCell) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        live.stub.Scan(pb.ScanRequest())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_one_stream_carries_many_transactions_and_survives_a_malformed_one(live: LiveCell) -> None:
    live.until_ready()
    answers: dict[int, str] = {}
    over = threading.Event()

    def events() -> Iterator[pb.FilterRequest]:
        for number in range(1, 51):
            frame = [
                pb.Event(begin=pb.Begin(budget_ms=60_000)),
                pb.Event(mail=pb.Mail()),
                pb.Event(headers=pb.Headers()),
            ]
            if number != 25:
                frame.append(pb.Event(body=b"x\r\n"))
            else:
                frame.insert(1, pb.Event(body=b"out of order"))
            frame.append(pb.Event(end_of_message=pb.EndOfMessage(budget_ms=10_000)))
            for event in frame:
                event.transaction = number
            yield pb.FilterRequest(events=frame)
        over.wait(20)

    for response in live.stub.Filter(events()):
        # Transaction 0 is the stream itself.
        answers |= {
            answer.transaction: str(answer.WhichOneof("kind")) for answer in response.answers if answer.transaction
        }
        if len(answers) == 50:
            over.set()
    assert answers.pop(25) == "refused"
    assert set(answers.values()) == {"verdict"}


def test_a_dead_ingress_comes_back_on_its_port(live: LiveCell) -> None:
    live.until_ready()
    address = live.cell.status().ingresses
    handle = ray.get_actor("ingress-0", namespace="tamis")
    ray.kill(handle, no_restart=False)
    time.sleep(0.2)
    live.until_ready()
    assert live.cell.status().ingresses == address
    deadline_s = time.monotonic() + 10
    while True:
        try:
            assert not live.scan().degraded
            break
        except grpc.RpcError:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)


def test_an_ingress_that_hangs_is_replaced_while_the_other_works_on(live: LiveCell) -> None:
    live.until_ready()
    os.kill(pid_of("ingress-1"), signal.SIGSTOP)
    started_s = time.monotonic()
    while time.monotonic() < started_s + 4:
        asked_s = time.monotonic()
        assert not live.cell.status().ready
        assert time.monotonic() < asked_s + 3
    assert not live.scan().degraded
    live.until_ready(60)


def test_a_supervisor_that_is_killed_comes_back_and_nobody_notices(live: LiveCell) -> None:
    live.until_ready()
    pids = {finding.facts["pid"] for finding in live.scan().findings}
    for _ in range(3):
        os.kill(pid_of("supervisor"), signal.SIGKILL)
        started_s = time.monotonic()
        while time.monotonic() < started_s + 3:
            live.cell.status()
            assert not live.scan().degraded
        live.until_ready()
    assert {finding.facts["pid"] for finding in live.scan().findings} & pids


def test_ray_runs_async_actors_on_uvloop(live: LiveCell) -> None:
    async def loop_name() -> str:
        return type(asyncio.get_running_loop()).__module__

    del live
    actor = ray.remote(type("Asker", (), {"loop_name": staticmethod(loop_name)})).options(num_cpus=0).remote()
    assert ray.get(actor.loop_name.remote()) == "uvloop"
