"""What Ray knows of the cell lies in Redis: the head's GCS dies under load, and nothing but the GCS does."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import grpc
import pytest

from bench.family import Family
from bench.local_cell import LocalCell
from bench.stack import StackOptions
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2
from tamis.filter.v1.filter_service_pb2_grpc import FilterServiceStub
from tests.live.redis_servers import Servers, until
from wire.stream import CHANNEL_OPTIONS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
MESSAGE = message_pb2.Message(header_block=b"From: a@example.org\r\nSubject: x\r\n", body=b"hello\r\n")
PASSWORD = "hush-hush-hush"


@dataclass
class Load:
    """Scans, one after the other, until it is stopped."""

    address: str
    done: int = 0
    degraded: int = 0
    errors: list[str] = field(default_factory=list)
    worst_s: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with grpc.insecure_channel(self.address, options=CHANNEL_OPTIONS) as channel:
            stub = FilterServiceStub(channel)
            while not self._over.wait(0.01):
                started_s = time.monotonic()
                try:
                    verdict = stub.Scan(pb.ScanRequest(message=MESSAGE), timeout=10).verdict
                except grpc.RpcError as error:
                    self.errors.append(str(error.code()))
                    continue
                self.done += 1
                self.degraded += verdict.degraded
                self.worst_s = max(self.worst_s, time.monotonic() - started_s)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as running:
        yield running


@pytest.fixture(scope="module")
def cell(servers: Servers) -> Iterator[LocalCell]:
    redis = servers.start("--requirepass", PASSWORD)
    with LocalCell(
        {}, nodes=2, options=StackOptions(trace=False), ray=f'gcs_redis = "redis://:{PASSWORD}@{redis.address}"'
    ) as running:
        yield running
    assert running.stack.ending == ""


def processes(pid: int, name: str) -> list[int]:
    return [process.pid for process in Family(pid).alive() if process.name().startswith(name)]


def test_a_gcs_that_is_killed_is_back_soon_and_no_message_notices(cell: LocalCell) -> None:
    joined = cell.joined[0]
    before = joined.ready["node"]
    with Load(cell.grpc) as load:
        for _ in range(3):
            time.sleep(2)
            (gcs,) = processes(cell.stack.pid, "gcs_server")
            done = load.done
            _kill(gcs)
            until(lambda: processes(cell.stack.pid, "gcs_server") not in ([], [gcs]), "the GCS is not back")  # noqa: B023
            until(lambda: load.done > done + 50, "no messages")  # noqa: B023
    assert load.errors == []
    assert load.degraded == 0
    assert load.worst_s < 5
    assert joined.ready["node"] == before, "its raylet did not end"
    assert cell.stack.log.count("GCS") >= 3 or "gcs_restarted" in cell.stack.log


def test_new_processes_start_after_the_gcs_was_away(cell: LocalCell) -> None:
    workers = processes(cell.stack.pid, "ray::HostProces")
    for pid in workers:
        _kill(pid)
    with Load(cell.grpc) as load:
        until(
            lambda: len(set(processes(cell.stack.pid, "ray::HostProces")) - set(workers)) >= len(workers),
            "no new worker",
            60,
        )
        done = load.done
        until(lambda: load.done > done + 50, "no messages")
    assert load.errors == []


def test_the_password_is_in_no_log(cell: LocalCell) -> None:
    assert PASSWORD not in cell.stack.log
    for path in (cell.stack.run_dir / "ray").glob("session_2*/logs/*"):
        if path.is_file():
            assert PASSWORD not in path.read_text(errors="replace"), path


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
