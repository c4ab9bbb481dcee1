"""A real cell of one or two nodes under load, while its processes are replaced and its nodes come and go."""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
import ray
import ray.cloudpickle

from actors.config import JudgementConfig
from bench.local_ray import start_ray
from cli.addresses import free_port
from cluster.admin.access import token_sum
from cluster.config import AdminConfig, ClusterConfig, Pools
from cluster.node import Cell, Node
from cluster.ray_config import RayConfig
from cluster.spec import CellSpec
from tamis.admin.v1 import admin_service_pb2 as admin_pb
from tamis.admin.v1 import cell_pb2
from tamis.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2
from tamis.filter.v1.filter_service_pb2_grpc import FilterServiceStub
from tests.cluster import fakes
from wire.stream import CHANNEL_OPTIONS
from wire.trace import TraceConfig

pytestmark = pytest.mark.ray
READY_S = 90.0
ROLLED_S = 90.0
SCAN_S = 10.0
TOKEN = "0123456789abcdef" * 4
METADATA = (("authorization", f"Bearer {TOKEN}"),)
CALL: dict[str, Any] = {"timeout": 10.0, "metadata": METADATA}
POOLS = 'dkim = 2\npolicy = 2\nclassifier = 2\nantivirus = 2\nlayout = "fused"'


@dataclass
class Load:
    """Scans without a pause; what it is refused or loses it tells anew, as a gateway does."""

    address: str
    verdicts: int = 0
    degraded: int = 0
    lost: int = 0
    """Messages that got no verdict at all."""
    pids: Counter[str] = field(default_factory=Counter)
    said: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Version of a model and outcome."""
    message: message_pb2.Message = field(
        default_factory=lambda: message_pb2.Message(header_block=b"Subject: x\r\n", body=b"x\r\n")
    )

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with grpc.insecure_channel(self.address, options=CHANNEL_OPTIONS) as channel:
            stub = FilterServiceStub(channel)
            while not self._over.is_set():
                self._scan(stub)

    def _scan(self, stub: FilterServiceStub) -> None:
        request = pb.ScanRequest(message=self.message)
        request.message.envelope.transaction_id = os.urandom(16)
        deadline_s = time.monotonic() + SCAN_S
        while time.monotonic() < deadline_s:
            try:
                verdict = stub.Scan(request, timeout=SCAN_S, wait_for_ready=True).verdict
            except grpc.RpcError:
                time.sleep(0.05)
                continue
            self.verdicts += 1
            self.degraded += verdict.degraded
            self.pids.update({finding.facts["pid"] for finding in verdict.findings if "pid" in finding.facts})
            self.said.update((f.facts["model"], f.outcome) for f in verdict.findings if "model" in f.facts)
            return
        self.lost += 1


class LiveCell:
    """A cell as its operator has it."""

    def __init__(self, cell: Cell, address: str, admin: str, directory: Path) -> None:
        self.cell = cell
        self.address = address
        self._directory = directory
        self._channel = grpc.insecure_channel(admin)
        self._stub = AdminServiceStub(self._channel)

    def status(self) -> cell_pb2.Cell:
        cell: cell_pb2.Cell = self._stub.GetStatus(admin_pb.GetStatusRequest(), **CALL).cell
        return cell

    def rollout(self) -> None:
        self._stub.StartRollout(admin_pb.StartRolloutRequest(why="test"), **CALL)

    def reload(self, model: str) -> None:
        path = self._directory / model
        path.touch()
        self.apply(f'[cluster.pools]\n{POOLS}\n[classifier]\nmodel = "{path}"\n')

    def apply(self, config: str) -> None:
        self._stub.Reload(admin_pb.ReloadRequest(config=config.encode(), why="test"), **CALL)

    def roll_back(self) -> None:
        self._stub.RollBack(admin_pb.RollBackRequest(), **CALL)

    def drain_node(self, node: str) -> None:
        """Returns when nothing is left there."""
        for _ in self._stub.DrainNode(admin_pb.DrainNodeRequest(node=node), timeout=ROLLED_S, metadata=METADATA):
            pass

    def until(self, condition: Callable[[cell_pb2.Cell], bool], within_s: float = ROLLED_S) -> cell_pb2.Cell:
        deadline_s = time.monotonic() + within_s
        status: object = None
        while True:
            try:
                status = self.status()
                if condition(status):
                    return status
            except grpc.RpcError as error:
                status = error  # The supervisor may be on its way back.
                self.cell.status()
            assert time.monotonic() < deadline_s, status
            time.sleep(0.2)

    def until_rolled(self, state: "cell_pb2.RolloutState") -> cell_pb2.Cell:
        return self.until(lambda cell: cell.rollout.state == state)


def names(cell: cell_pb2.Cell) -> set[str]:
    return {process.name for process in cell.processes}


@contextlib.contextmanager
def live_cell(head: Node, directory: Path, pools: Pools, *build: Any) -> Iterator[LiveCell]:
    """A cell on this node; `build` as CellSpec has it, in place of the real actors."""
    tokens = directory / "tokens"
    tokens.write_text(f"test operator {token_sum(TOKEN)}\n")
    tokens.chmod(0o600)
    port = free_port(count=2)
    config = ClusterConfig(
        listen=f"127.0.0.1:{port}",
        admin=AdminConfig(listen=f"127.0.0.1:{port + 1}", tokens=str(tokens)),
        pools=pools,
    )
    cell = Cell(CellSpec(config, JudgementConfig(), TraceConfig(), head.node_id, *build))
    address = cell.wait_ready(READY_S, lambda _: None).ingresses[0]
    yield LiveCell(cell, address, config.admin.listen, directory)
    cell.stop()


@pytest.fixture(scope="module")
def live(head: Node, directory: Path) -> Iterator[LiveCell]:
    pools = Pools(dkim=2, policy=2, classifier=2, antivirus=2, layout="fused")
    with live_cell(head, directory, pools, fakes.build_scripted, fakes.message_only) as cell:
        yield cell


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="tamis-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def head(directory: Path) -> Iterator[Node]:
    # The processes of the cell know no module `tests`: its classes travel by value.
    import tests.cluster.test_live_rollout as here  # noqa: PLC0415

    for module in (fakes, here):
        ray.cloudpickle.register_pickle_by_value(module)
    node = Node()
    try:
        start_ray(node, directory)
        yield node
    finally:
        node.stop()
        ray.cloudpickle.unregister_pickle_by_value(fakes)


def test_a_rollout_under_load_replaces_every_process_and_loses_no_message(live: LiveCell) -> None:
    with Load(live.address) as load:
        time.sleep(1)
        before = names(live.status())
        live.rollout()
        cell = live.until_rolled(cell_pb2.ROLLOUT_STATE_DONE)
        time.sleep(1)
    assert before.isdisjoint(names(cell))
    assert len(load.pids) == 4, "two old workers and two new ones"
    assert (load.lost, load.degraded) == (0, 0)
    assert load.verdicts > 100


@pytest.mark.parametrize(
    ("model", "said"),
    [("unimportable", "no module named model"), ("useless", "crash: ValueError")],
    ids=["unimportable", "useless"],
)
def test_a_generation_that_cannot_work_stops_itself_under_load(live: LiveCell, model: str, said: str) -> None:
    before = names(live.status())
    with Load(live.address) as load:
        live.reload(model)
        assert said in live.until_rolled(cell_pb2.ROLLOUT_STATE_STOPPED).rollout.problem
        live.until(lambda cell: names(cell) == before and cell.ready)
    assert (load.lost, load.degraded) == (0, 0)


def test_a_rollout_goes_on_when_the_supervisor_is_killed_in_the_middle_of_it(live: LiveCell) -> None:
    with Load(live.address) as load:
        live.rollout()
        for _ in range(2):
            time.sleep(2)
            supervisor = ray.get_actor("supervisor", namespace="tamis")
            os.kill(ray.get(supervisor.__ray_call__.remote(lambda _: os.getpid()), timeout=30), signal.SIGKILL)
            live.until(lambda _: True)
        cell = live.until_rolled(cell_pb2.ROLLOUT_STATE_DONE)
    assert len({process.generation for process in cell.processes}) == 1
    assert (load.lost, load.degraded) == (0, 0)


def test_a_cell_goes_from_one_node_to_four_and_back_under_load(live: LiveCell, head: Node, directory: Path) -> None:
    joined = [Node() for _ in range(3)]
    with Load(live.address) as load:
        try:
            for number, node in enumerate(joined, start=2):
                config = RayConfig(address=head.address, node_address=f"127.0.0.{number}", cores=2)
                node.join(config, 100, directory / f"ray{number}")
            cell = live.until(lambda cell: cell.ready and len(cell.processes) == 12)
            ingresses = [process.address for process in cell.processes if not process.actors]
            assert {address.partition(":")[0] for address in ingresses} == {f"127.0.0.{n}" for n in range(1, 5)}
            with contextlib.ExitStack() as everywhere:
                loads = [everywhere.enter_context(Load(address)) for address in ingresses]
                time.sleep(3)
            assert all(there.verdicts > 5 for there in loads)
            assert {(there.lost, there.degraded) for there in loads} == {(0, 0)}
            for node in joined[:2]:
                live.drain_node(node.node_id)
            assert len(live.status().processes) == 6
        finally:
            for node in joined:
                # Its `stop` would end the connection of this process, which is the head's.
                node._own.kill_all_processes(check_alive=False, allow_graceful=True)  # type: ignore[union-attr]
        live.until(lambda cell: cell.ready and len(cell.processes) == 3)
    assert (load.lost, load.degraded) == (0, 0), "neither a drained node nor one that died took a message along"
