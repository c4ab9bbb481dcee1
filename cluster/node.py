"""Ray on this machine: start one of our own or join one, and bring the cell up and down in it.

A Ray of our own listens on loopback only, has no dashboard, sends no usage statistics and keeps its files in one
directory; it ends with the process that started it, however that ends.
"""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import ray

from cluster.pool import CellSpec
from cluster.supervisor import CellStatus, start_supervisor

log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_STATUS_EVERY_S = 0.1
_STATUS_TIMEOUT_S = 10.0
# Ray puts /session_<date>_<time>_<pid>/sockets/plasma_store below; a socket's path has 107 bytes (unix(7)).
_TEMP_DIR_LENGTH_MAX = 40


class CellFailed(Exception):
    """The cell did not come up; the text is one line a problem."""


class Node:
    """Ray as this process started or joined it. Use `stop` in every case."""

    def __init__(self, address: str, object_store_mb: int, temp_dir: Path) -> None:
        # Read by Ray's modules and inherited by its processes, hence before init.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self._made_dir: Path | None = None
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
            return
        if len(str(temp_dir)) > _TEMP_DIR_LENGTH_MAX:
            temp_dir = self._made_dir = Path(tempfile.mkdtemp(prefix="tamis-ray-", dir="/tmp"))
        ray.init(
            num_cpus=1,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=object_store_mb * 2**20,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address=_LOOPBACK,
            _temp_dir=str(temp_dir),
        )
        self.temp_dir = temp_dir

    @property
    def node_id(self) -> str:
        """Ray's id of this node."""
        return str(ray.get_runtime_context().get_node_id())

    def stop(self) -> None:
        """Leave Ray; one of our own ends with all its processes."""
        ray.shutdown()
        if self._made_dir is not None:
            shutil.rmtree(self._made_dir, ignore_errors=True)


class Cell:
    """The cell of a configuration, as its driver sees it."""

    def __init__(self, spec: CellSpec) -> None:
        self._supervisor = start_supervisor(spec)

    def status(self) -> CellStatus:
        """How the cell is. Raises ray.exceptions.RayError when the supervisor does not answer."""
        return cast("CellStatus", ray.get(self._supervisor.status.remote(), timeout=_STATUS_TIMEOUT_S))

    def wait_ready(self, timeout_s: float, progress: Callable[[str], None]) -> CellStatus:
        """Wait until everything is up; `progress` hears of each process. Raises CellFailed."""
        deadline_s = time.monotonic() + timeout_s
        seen: set[str] = set()
        while True:
            status = self.status()
            for name in sorted({replica.name for replica in status.replicas} - seen):
                seen.add(name)
                progress(f"{name} is up")
            if status.ready:
                return status
            if status.problems or time.monotonic() > deadline_s:
                problems = [f"{name}: {problem}" for name, problem in status.problems.items()]
                raise CellFailed("\n".join(problems) or f"the cluster is not ready after {timeout_s:g} s")
            time.sleep(_STATUS_EVERY_S)

    def drain(self) -> None:
        """Have new transactions refused."""
        ray.get(self._supervisor.drain.remote(), timeout=_STATUS_TIMEOUT_S)

    def stop(self) -> None:
        """End every process of the cell."""
        ray.get(self._supervisor.stop.remote(), timeout=_STATUS_TIMEOUT_S)
        ray.kill(self._supervisor)
