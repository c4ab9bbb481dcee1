"""Ray on this machine: start one of our own or join one, and bring the cell up and down in it.

A Ray of our own has no dashboard, sends no usage statistics, keeps its files in one directory and ends with the process
that started it, however that ends. Its own ports are open on all interfaces, whatever address it is given; a token that
only this run knows guards them.
"""

import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import ray
from ray.exceptions import ActorDiedError, RayError

from cluster.names import SUPERVISOR
from cluster.pool import CellSpec
from cluster.supervisor import CellStatus, start_supervisor

log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_REACH_TIMEOUT_S = 5.0
_STATUS_EVERY_S = 0.1
_STATUS_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 10.0
_SILENCE_MAX_S = 60.0
"""How long the supervisor may be away: Ray needs seconds to restart it, and the cell works without it."""
_SESSIONS_KEPT = 3
"""Ray's files of earlier runs, for their logs."""


class RayFailed(Exception):
    """Ray did not start, cannot be joined or does not answer any more; the text is one line."""


class CellFailed(Exception):
    """The cell did not come up; the text is one line a problem."""


class Node:
    """Ray as this process starts or joins it. Use `stop` in every case."""

    def __init__(self) -> None:
        self._temp_dir: Path | None = None

    def start(self, address: str, object_store_mb: int, temp_dir: Path) -> None:
        """Join the Ray at `address`, or start one of our own with its files in `temp_dir`. Raises RayFailed.

        `temp_dir` is at most 40 bytes long, since Ray makes unix sockets deep below it.
        """
        # Ray's modules read these and its processes inherit them, hence before init.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            if address:
                _check_reachable(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            else:
                self._start_own(object_store_mb, temp_dir)
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise RayFailed(f"Ray: {error}".splitlines()[0]) from error

    def _start_own(self, object_store_mb: int, temp_dir: Path) -> None:
        self._temp_dir = temp_dir
        temp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for session in sorted(temp_dir.glob("session_2*"))[:-_SESSIONS_KEPT]:
            shutil.rmtree(session, ignore_errors=True)
        # Ray requires a token of whoever connects to a new cluster; this one is ours alone.
        token = temp_dir / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        ray.init(
            address="local",  # Whatever RAY_ADDRESS says.
            num_cpus=2,  # Only how many processes Ray starts at a time: our actors ask for none.
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=object_store_mb * 2**20,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address=_LOOPBACK,
            _temp_dir=str(temp_dir),
        )

    @property
    def node_id(self) -> str:
        """Ray's id of this node."""
        return str(ray.get_runtime_context().get_node_id())

    @property
    def logs_dir(self) -> Path | None:
        """Where the processes of a Ray of our own log."""
        return self._temp_dir / "session_latest" / "logs" if self._temp_dir is not None else None

    def stop(self) -> None:
        """Leave Ray; one of our own ends with all its processes."""
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raises OSError when nobody listens at host:port; Ray itself would try for a minute, deaf to signals."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in address:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_TIMEOUT_S).close()


class Cell:
    """The cell of a configuration, as its driver sees it. Raises RayFailed when the supervisor cannot be had."""

    def __init__(self, spec: CellSpec, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        try:
            self._supervisor = start_supervisor(spec)
        except RayError as error:
            raise RayFailed(f"Ray does not start the supervisor: {type(error).__name__}") from error
        self._monotonic_s = monotonic_s
        self._silence_max_s = max(_SILENCE_MAX_S, 2 * spec.cluster.unresponsive_s)
        self._silent_from_s: float | None = None
        self._known = CellStatus(ready=False, ingresses=(), replicas=())

    def status(self) -> CellStatus:
        """How the cell is. Raises RayFailed when the supervisor is dead, or has not answered for a minute.

        Until then, since Ray may be restarting it: what was known last, not ready, the supervisor as the problem.
        """
        asked_s = self._monotonic_s()
        try:
            answer: object = ray.get(self._supervisor.status.remote(), timeout=_STATUS_TIMEOUT_S)
        except RayError as error:
            self._still_silent(asked_s, error)
            problems = {**self._known.problems, SUPERVISOR: f"does not answer: {type(error).__name__}"}
            return replace(self._known, ready=False, problems=problems)
        self._silent_from_s = None
        self._known = cast("CellStatus", answer)
        return self._known

    def _still_silent(self, asked_s: float, error: RayError) -> None:
        if self._silent_from_s is None:
            self._silent_from_s = asked_s
            log.warning("supervisor_silent error=%s", type(error).__name__)
        if isinstance(error, ActorDiedError) or self._monotonic_s() - self._silent_from_s > self._silence_max_s:
            raise RayFailed(f"the supervisor does not answer: {type(error).__name__}") from error

    def wait_ready(self, timeout_s: float, progress: Callable[[str], None]) -> CellStatus:
        """Wait until everything is up; `progress` hears of each process. Raises CellFailed and RayFailed."""
        deadline_s = time.monotonic() + timeout_s
        seen: set[str] = set()
        while True:
            status = self.status()
            for name in sorted({replica.name for replica in status.replicas} - seen):
                seen.add(name)
                progress(f"{name} is up")
            if status.ready:
                return status
            if status.hopeless or time.monotonic() > deadline_s:
                problems = [f"{name}: {problem}" for name, problem in status.problems.items()]
                raise CellFailed("\n".join(problems) or f"the cluster is not ready after {timeout_s:g} s")
            time.sleep(_STATUS_EVERY_S)

    def stop(self) -> None:
        """Let open transactions end, then every process of the cell, as far as Ray still answers."""
        for call in ("drain", "stop"):
            try:
                ray.get(getattr(self._supervisor, call).remote(), timeout=_STOP_TIMEOUT_S)
            except RayError as error:
                log.warning("cell_not_stopped call=%s error=%s", call, type(error).__name__)
        try:
            ray.kill(self._supervisor)
        except RayError as error:
            log.warning("supervisor_not_killed error=%s", type(error).__name__)
