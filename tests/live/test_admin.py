"""`tamis status`, `reload`, `rollout`, `drain` and `node` as processes against a whole `tamis up` with mail."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import psutil
import pytest

from bench.stack import Stack, StackOptions
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2
from tamis.filter.v1.filter_service_pb2_grpc import FilterServiceStub
from wire.stream import CHANNEL_OPTIONS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
PROJECT = Path(__file__).resolve().parents[2]


class Cell:
    """A running `tamis up`, its commands and its mail."""

    def __init__(self, stack: Stack, stub: FilterServiceStub) -> None:
        self.stack = stack
        self.stub = stub

    def tamis(self, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli", *words, "--run-dir", str(self.stack.run_dir)]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=timeout_s, check=False)

    def status(self) -> dict[str, Any]:
        done = self.tamis("status", "--json")
        assert done.returncode in (0, 1), done.stderr
        cell: dict[str, Any] = json.loads(done.stdout)["cell"]
        return cell

    def until_ready(self) -> dict[str, Any]:
        deadline_s = time.monotonic() + 60
        while not (cell := self.status())["ready"]:
            assert time.monotonic() < deadline_s, cell
            time.sleep(0.5)
        return cell

    def headers(self) -> set[str]:
        """Names of the fields that a message gets."""
        message = message_pb2.Message(header_block=b"Subject: x\r\nFrom: a@example.org\r\n", body=b"hello\r\n")
        verdict = self.stub.Scan(pb.ScanRequest(message=message), timeout=10, wait_for_ready=True).verdict
        assert not verdict.degraded
        edits = [getattr(edit, str(edit.WhichOneof("kind"))) for edit in verdict.edits]
        return {edit.name.decode() for edit in edits if hasattr(edit, "name")}


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with (
        Stack({}, StackOptions(trace=False)) as stack,
        grpc.insecure_channel(str(stack.ready["grpc"]), options=CHANNEL_OPTIONS) as channel,
    ):
        yield Cell(stack, FilterServiceStub(channel))


ENDS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class Mail:
    """Messages one after the other until the end of the block; `failed` are those without a verdict.

    As a gateway does, it asks again where an ingress that ends refuses (UNAVAILABLE), or gRPC for it (CANCELLED).
    """

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent = 0
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._over.wait(0.02):
            for left in reversed(range(50)):
                try:
                    self._cell.headers()
                    self.sent += 1
                    break
                except (grpc.RpcError, AssertionError) as error:
                    if left and isinstance(error, grpc.RpcError) and error.code() in ENDS:
                        time.sleep(0.02)
                        continue
                    self.failed.append(str(error))
                    break


def write(cell: Cell, more: str) -> str:
    """The configuration file of the cell with more at its end."""
    path = cell.stack.run_dir / "new.toml"
    path.write_text((cell.stack.run_dir / "tamis.toml").read_text() + more)
    return str(path)


def test_the_status_shows_every_process(cell: Cell) -> None:
    status = cell.until_ready()
    names = {process["name"] for process in status["processes"]}
    assert any(name.startswith("ingress") for name in names)
    assert {actor for process in status["processes"] for actor in process["actors"]} == {
        "dkim",
        "policy",
        "classifier",
        "antivirus",
    }
    for process in status["processes"]:
        assert process["state"] == "up", process
        assert process["memory_bytes"] > 10 << 20, process
        assert process["generation"] == 1
        assert ":" in process["address"]
    assert {pool["actor"]: pool["up"] for pool in status["pools"]} == dict.fromkeys(
        ("dkim", "policy", "classifier", "antivirus"), 1
    )
    (node,) = status["nodes"]
    assert node["state"] == "up"
    text = cell.tamis("status")
    assert text.returncode == 0
    assert "cell ready, generation 1" in text.stdout


def test_a_stranger_and_a_viewer_change_nothing(cell: Cell, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0" * 64)
    token.chmod(0o600)
    assert cell.tamis("status", "--token-file", str(token)).returncode == 4
    viewer = str(cell.stack.run_dir / "admin" / "viewer.token")
    assert cell.tamis("status", "--token-file", viewer).returncode == 0
    assert cell.tamis("drain", "--token-file", viewer).returncode == 4
    assert not cell.status()["draining"]
    secrets = [path.read_text().strip() for path in (cell.stack.run_dir / "admin").glob("*.token")]
    logs = [path for path in (cell.stack.run_dir / "ray").rglob("*") if path.suffix in (".log", ".err", ".out")]
    assert logs
    assert not [path for path in logs if any(secret in path.read_text(errors="replace") for secret in secrets)]


def test_a_reload_with_a_mistake_leaves_the_cell_as_it_was(cell: Cell) -> None:
    before = cell.until_ready()
    done = cell.tamis("reload", "--config", write(cell, "[headers]\nstatos = 'X'\n"))
    assert done.returncode == 2
    assert "unknown key `statos`" in done.stderr
    after = cell.status()
    assert [process["name"] for process in after["processes"]] == [process["name"] for process in before["processes"]]
    assert after["generation"] == before["generation"]


def test_a_reload_reaches_the_mail_without_losing_any_and_goes_back(cell: Cell) -> None:
    cell.until_ready()
    assert "X-Second-Status" not in cell.headers()
    with Mail(cell) as mail:
        done = cell.tamis("reload", "--config", write(cell, "[headers]\nstatus = 'X-Second-Status'\n"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert " done, " in done.stdout
        assert "X-Second-Status" in cell.headers()
        done = cell.tamis("rollout", "back")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "X-Second-Status" not in cell.headers()
    assert not mail.failed
    assert mail.sent
    assert cell.tamis("rollout", "status").returncode == 0


def test_a_reload_resizes_a_pool_and_back(cell: Cell) -> None:
    before = len(cell.until_ready()["processes"])
    for size in (2, 1):
        done = cell.tamis("reload", "--config", write(cell, f"[cluster.pools]\nclassifier = {size}\n"))
        assert done.returncode == 0, done.stderr
        assert "pools get their new sizes" in done.stdout
        deadline_s = time.monotonic() + 60
        while len((status := cell.status())["processes"]) != before + size - 1 or not status["ready"]:
            assert time.monotonic() < deadline_s, status
            time.sleep(0.5)
        assert {pool["actor"]: pool["up"] for pool in status["pools"]}["classifier"] == size


def test_the_only_node_is_not_emptied(cell: Cell) -> None:
    (node,) = cell.until_ready()["nodes"]
    done = cell.tamis("node", "drain", node["name"])
    assert done.returncode == 1
    assert "no node is there for it" in done.stderr
    assert cell.status()["ready"]


def test_one_rollout_at_a_time(cell: Cell) -> None:
    cell.until_ready()
    assert cell.tamis("rollout", "start", "--no-wait").returncode == 0
    second = cell.tamis("rollout", "start")
    assert second.returncode == 1
    assert "is still running" in second.stderr
    assert cell.tamis("rollout", "status", "--wait").returncode == 0


def test_a_dead_supervisor_comes_back_on_its_port_with_what_it_knew(cell: Cell) -> None:
    before = cell.until_ready()
    address = (cell.stack.run_dir / "admin" / "address").read_text()
    (supervisor,) = [
        process
        for process in psutil.Process(cell.stack.pid).children(recursive=True)
        if "Supervisor" in " ".join(process.cmdline())
    ]
    os.kill(supervisor.pid, signal.SIGKILL)
    after = cell.status()  # It waits by itself.
    after = cell.until_ready()
    assert (cell.stack.run_dir / "admin" / "address").read_text() == address
    assert {process["name"] for process in after["processes"]} == {process["name"] for process in before["processes"]}
    assert after["generation"] == before["generation"]


def test_a_drained_cell_refuses_until_it_is_undone(cell: Cell) -> None:
    cell.until_ready()
    done = cell.tamis("drain")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "drained"
    with pytest.raises(grpc.RpcError) as caught:
        cell.headers()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert cell.status()["draining"]
    assert cell.tamis("drain", "--undo").returncode == 0
    deadline_s = time.monotonic() + 10
    while True:
        try:
            cell.headers()
            break
        except grpc.RpcError:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
    assert not cell.status()["draining"]


def test_a_stranger_at_the_port_costs_nothing(cell: Cell) -> None:
    host, _, port = (cell.stack.run_dir / "admin" / "address").read_text().strip().rpartition(":")
    for hello in (b"GET / HTTP/1.0\r\n\r\n", b"\0" * 100_000, b"\xff" * 1000):
        with socket.create_connection((host, int(port)), 5) as stranger:
            stranger.settimeout(5)
            try:
                stranger.sendall(hello)
                while stranger.recv(4096):
                    pass
            except OSError:
                pass
    assert cell.status()["ready"]
