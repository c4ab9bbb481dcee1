"""The driver's side of the cell: how long it puts up with a supervisor that does not answer. No Ray."""

from types import SimpleNamespace

import pytest
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayActorError, RayError

from actors.config import JudgementConfig
from cluster import node as node_module
from cluster.config import ClusterConfig
from cluster.node import Cell, RayFailed
from cluster.spec import CellSpec, pack
from cluster.supervisor.status import CellStatus
from cluster.table import Replica
from tests.cluster.fakes import FakeTime
from wire.trace import TraceConfig

UP = CellStatus(
    ready=True, ingresses=("127.0.0.1:11333",), replicas=(Replica("dkim-0", ("dkim",), "127.0.0.1:1", "n"),)
)
UNAVAILABLE = ActorUnavailableError("restarting", None)


class FakeSupervisor:
    """Answers every control call with the next of `answers`, the last for ever; a call is its name."""

    def __init__(self, *answers: CellStatus | Exception) -> None:
        self.answers = list(answers)
        self.called: list[str] = []
        self.killed = False

    def __getattr__(self, call: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda: call)

    def get(self, call: str, *, timeout: float) -> bytes:
        assert timeout <= 10
        self.called.append(call)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return pack(answer)

    def kill(self, supervisor: object) -> None:
        assert supervisor is self
        self.killed = True


def cell_of(
    monkeypatch: pytest.MonkeyPatch, supervisor: FakeSupervisor, unresponsive_s: float = 30.0
) -> tuple[Cell, FakeTime]:
    time = FakeTime()
    monkeypatch.setattr(node_module, "start_supervisor", lambda _spec: supervisor)
    monkeypatch.setattr(ray, "get", supervisor.get)
    monkeypatch.setattr(ray, "kill", supervisor.kill)
    config = ClusterConfig(unresponsive_s=unresponsive_s)
    return Cell(CellSpec(config, JudgementConfig(), TraceConfig(), "n"), time.monotonic_s), time


@pytest.mark.parametrize("error", [UNAVAILABLE, GetTimeoutError("slow"), RayError("RPC failed")])
def test_a_supervisor_that_is_being_restarted_is_a_problem_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, error: RayError
) -> None:
    cell, time = cell_of(monkeypatch, FakeSupervisor(UP, *[error] * 5, UP))
    assert cell.status() == UP
    for _ in range(5):
        status = cell.status()
        assert not status.ready
        assert (status.ingresses, status.replicas) == (UP.ingresses, UP.replicas)
        assert status.problems == {"supervisor": f"does not answer: {type(error).__name__}"}
        time.advance(10)
    assert cell.status() == UP


def test_a_supervisor_that_stays_silent_is_a_failure_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, time = cell_of(monkeypatch, FakeSupervisor(UNAVAILABLE))
    cell.status()
    time.advance(60)
    cell.status()
    time.advance(1)
    with pytest.raises(RayFailed, match="the supervisor does not answer: ActorUnavailableError"):
        cell.status()


def test_every_answer_starts_the_minute_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, time = cell_of(monkeypatch, FakeSupervisor(*(UNAVAILABLE, UP) * 10))
    for _ in range(20):
        cell.status()
        time.advance(50)


def test_a_cell_that_gives_its_processes_long_gives_the_supervisor_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, time = cell_of(monkeypatch, FakeSupervisor(UNAVAILABLE), unresponsive_s=100)
    cell.status()
    time.advance(200)
    cell.status()
    time.advance(1)
    with pytest.raises(RayFailed):
        cell.status()


def test_a_supervisor_that_ray_does_not_restart_is_a_failure_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, _ = cell_of(monkeypatch, FakeSupervisor(ActorDiedError()))
    with pytest.raises(RayFailed, match="ActorDiedError"):
        cell.status()


def test_ray_that_starts_no_supervisor_is_a_failure_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_spec: CellSpec) -> FakeSupervisor:
        raise RayError("GCS is away")

    monkeypatch.setattr(node_module, "start_supervisor", start)
    with pytest.raises(RayFailed):
        Cell(CellSpec(ClusterConfig(), JudgementConfig(), TraceConfig(), "n"))


def test_a_stop_that_fails_keeps_the_supervisor_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = FakeSupervisor(RayActorError(), UP)
    cell, _ = cell_of(monkeypatch, supervisor)
    cell.stop()
    assert supervisor.called == ["stop"]
    assert supervisor.killed


class FakeRay:
    """The processes of a Ray of our own."""

    def __init__(self, dead: str, redis: list[str] | None) -> None:
        self.dead = dead
        self.called: list[str] = []
        self._ray_params = SimpleNamespace(external_addresses=redis)

    def dead_processes(self) -> list[tuple[str, object]]:
        return [(self.dead, None)]

    def kill_gcs_server(self, *, check_alive: bool) -> None:
        assert not check_alive
        self.called.append("kill")

    def start_gcs_server(self) -> None:
        self.called.append("start")


def node_with(own: FakeRay) -> node_module.Node:
    node = node_module.Node()
    node._own = own
    return node


@pytest.mark.parametrize(
    ("dead", "redis", "complaint"),
    [("gcs_server", None, r"gcs_redis would keep it"), ("raylet", ["redis:6379"], "Ray's raylet has ended")],
)
def test_what_nobody_can_bring_back_ends_the_head_with_a_line(
    dead: str, redis: list[str] | None, complaint: str
) -> None:
    with pytest.raises(RayFailed, match=complaint):
        node_with(FakeRay(dead, redis)).check()


def test_a_gcs_with_its_memory_in_redis_is_started_again_alone() -> None:
    own = FakeRay("gcs_server", ["redis:6379"])
    node_with(own).check()
    assert own.called == ["kill", "start"]


def test_a_dashboard_that_dies_is_nobody_s_end() -> None:
    node_with(FakeRay("dashboard", None)).check()
