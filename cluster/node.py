"""Ray on this machine: start a head, join one as a further node, or use one that runs; and the cell in it.

A Ray of our own has no dashboard, sends no usage statistics, keeps its files in one directory and ends with the process
that started it, however that ends. Whatever address it is given, its ports are open on all interfaces: a token guards
them, and off loopback certificates too. `ray.init` and `ray start` both leave something out that a node of a cell
needs (ports here, a GCS that comes back alone there), so this uses the class that both are made of.
"""

import json
import logging
import os
import platform
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import ray
from ray._private import worker
from ray._private.node import Node as RayNode
from ray._private.parameter import RayParams
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
from ray._raylet import Config, GcsClient  # type: ignore[attr-defined]
from ray.exceptions import ActorDiedError, AuthenticationError, RayError

from cluster.names import NAMESPACE, SUPERVISOR
from cluster.ray_config import LOOPBACK, RayConfig, gcs_storage, ports, tls_of_node
from cluster.spec import CellSpec, unpack
from cluster.supervisor.status import CellStatus
from cluster.supervisor.supervisor import start_supervisor

log = logging.getLogger(__name__)

_REACH_TIMEOUT_S = 5.0
_STATUS_EVERY_S = 0.1
_STATUS_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 10.0
_SILENCE_MAX_S = 60.0
"""How long the supervisor may be away: Ray needs seconds to restart it, and the cell works without it."""
_SESSIONS_KEPT = 3
"""Ray's files of earlier runs, for their logs."""
_GCS = "gcs_server"
_VITAL = (_GCS, "raylet")


class RayFailed(Exception):
    """Ray did not start, cannot be joined or does not answer any more; the text is one line."""


class HeadAway(RayFailed):
    """Nobody answers at the address of the head: later perhaps."""


class CellFailed(Exception):
    """The cell did not come up; the text is one line a problem."""


def take_environment(environment: Mapping[str, str]) -> None:
    """Have Ray, and all that it starts, run in it; call it before anything else."""
    os.environ.update(environment)
    # What it read when its module was imported.
    Config.initialize("")


class Node:
    """Ray as this process starts, joins or uses it. Use `stop` in every case.

    The environment is that of `ray_environment`, see `take_environment`.
    """

    def __init__(self) -> None:
        self._own: RayNode | None = None

    def start(self, config: RayConfig, object_store_mb: int, temp_dir: Path) -> None:
        """Start the head of a cell, with its files in `temp_dir`, and connect to it. Raises RayFailed.

        `temp_dir` is at most 40 bytes long, since Ray makes unix sockets deep below it.
        """
        params = _params(config, object_store_mb, temp_dir)
        params.update(gcs_server_port=ports(config).gcs)
        if config.gcs_redis:
            storage = gcs_storage(config.gcs_redis)
            # The second stands for Ray's shards, of which there is one.
            params.update(external_addresses=[storage.address, storage.address])
            params.update(redis_username=storage.username, redis_password=storage.password)
        own = self._start(params, temp_dir, head=True)
        self._connect(own.address, config.node_address)

    def join(self, config: RayConfig, object_store_mb: int, temp_dir: Path) -> None:
        """Start a further node of the cell whose head is at `config.address`; no connection. Raises RayFailed."""
        check_joinable(config.address)
        params = _params(config, object_store_mb, temp_dir)
        params.update(gcs_address=config.address)
        self._start(params, temp_dir, head=False)

    def use(self, address: str) -> None:
        """Connect to a Ray that runs on this machine. Raises RayFailed."""
        _check_listens(address)
        self._connect(address, None)

    def _start(self, params: RayParams, temp_dir: Path, *, head: bool) -> RayNode:
        try:
            temp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for session in sorted(temp_dir.glob("session_2*"))[:-_SESSIONS_KEPT]:
                shutil.rmtree(session, ignore_errors=True)
            self._own = RayNode(params, head=head, shutdown_at_exit=False)
        except Exception as error:
            # Ray raises Exception itself here.
            raise RayFailed(_one_line(error)) from error
        return self._own

    def _connect(self, address: str, node_address: str | None) -> None:
        if address.startswith(f"{LOOPBACK}:"):
            # Otherwise ray.init takes 127.0.0.1 for the address of some interface; it asks this for its own, and
            # replaces it.
            worker._global_node = SimpleNamespace(node_ip_address=LOOPBACK)  # noqa: SLF001
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, _node_ip_address=node_address)
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise RayFailed(_one_line(error)) from error
        finally:
            if not ray.is_initialized():
                worker._global_node = None  # noqa: SLF001

    @property
    def address(self) -> str:
        """host:port of the head."""
        return str(self._own.address if self._own is not None else ray.get_runtime_context().gcs_address)

    @property
    def node_id(self) -> str:
        """Ray's id of this node."""
        return str(self._own.node_id if self._own is not None else ray.get_runtime_context().get_node_id())

    @property
    def logs_dir(self) -> Path | None:
        """Where the processes of a Ray of our own log."""
        return Path(self._own.get_logs_dir_path()) if self._own is not None else None

    def check(self) -> None:
        """See to the processes of a Ray of our own: a GCS whose memory is in Redis is started again, alone.

        Raises RayFailed when one has ended that nobody can bring back.
        """
        for name in self.ended():
            if name == _GCS and self._own is not None and self._own._ray_params.external_addresses:  # noqa: SLF001
                log.warning("gcs_restarted")
                self._own.kill_gcs_server(check_alive=False)
                self._own.start_gcs_server()
            elif name == _GCS:
                raise RayFailed("Ray's GCS has ended, and its memory with it ([ray] gcs_redis would keep it)")
            else:
                raise RayFailed(f"Ray's {name} has ended")

    def ended(self) -> list[str]:
        """Which of the processes that a node cannot do without have ended."""
        dead = {str(name) for name, _ in self._own.dead_processes()} if self._own is not None else set()
        return [name for name in _VITAL if name in dead]

    def leave(self, drain_s: float, say: Callable[[str], None]) -> None:
        """Have the supervisor take the work off a node that has joined, within this time; `stop` follows."""
        if self._own is None or self.ended():
            return
        deadline_s = time.monotonic() + drain_s
        try:
            _check_listens(self.address)
            self._connect(self.address, self._own.node_ip_address)
            supervisor = ray.get_actor(SUPERVISOR, NAMESPACE)
            while not ray.get(supervisor.empty.remote(self.node_id), timeout=_STATUS_TIMEOUT_S):
                if time.monotonic() > deadline_s:
                    say(f"the node is not empty after {drain_s:g} s and leaves as it is")
                    return
                time.sleep(_STATUS_EVERY_S)
            say("the node is empty")
        except (RayFailed, RayError, ValueError) as error:
            say(f"leaves without a drain: {_one_line(error)}")

    def stop(self) -> None:
        """Leave Ray; one of our own ends with all its processes."""
        ray.shutdown()
        if self._own is not None:
            self._own.kill_all_processes(check_alive=False, allow_graceful=True)
            self._own = None


def _params(config: RayConfig, object_store_mb: int, temp_dir: Path) -> RayParams:
    wanted = ports(config)
    return RayParams(
        node_ip_address=config.node_address,
        node_manager_port=wanted.at(0),
        object_manager_port=wanted.at(1),
        runtime_env_agent_port=wanted.at(2),
        dashboard_agent_listen_port=wanted.at(3),
        metrics_agent_port=wanted.at(4),
        metrics_export_port=wanted.at(5),
        min_worker_port=wanted.workers[0] if wanted.workers else None,
        max_worker_port=wanted.workers[1] if wanted.workers else None,
        # Also how many processes Ray starts at a time; our actors ask for none.
        num_cpus=config.cores or len(os.sched_getaffinity(0)),
        num_gpus=0,
        labels=dict(config.labels),
        include_dashboard=False,
        include_log_monitor=False,
        no_monitor=True,
        object_store_memory=object_store_mb * 2**20,
        temp_dir=str(temp_dir),
    )


def check_joinable(address: str) -> None:
    """Whether the head at host:port takes this node: reachable, certificates, token, the same versions.

    Ray itself would try for minutes, deaf to signals, and name no reason. Raises HeadAway, RayFailed.
    """
    _check_listens(address)
    _check_certificates(address)
    theirs = _versions_of(address)
    ours = (ray.__version__, platform.python_version())
    if theirs != ours:
        raise RayFailed(
            f"{address} runs Ray {theirs[0]} on Python {theirs[1]}, this node Ray {ours[0]} on Python {ours[1]}: "
            "the nodes of a cell have the same"
        )


def _check_listens(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal()):
        return  # "auto"
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_TIMEOUT_S).close()
    except OSError as error:
        raise HeadAway(f"Ray: {address}: {error.strerror or error}") from error


def _check_certificates(address: str) -> None:
    tls = tls_of_node(os.environ)
    if not tls.configured:
        return
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    context = ssl.create_default_context(cafile=tls.authority)
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        with (
            socket.create_connection((host, int(port)), _REACH_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            # HTTP/2 begins with a frame of the server; a certificate that it refuses shows here.
            connection.recv(1)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or str(error.reason).replace("_", " ").lower()
        raise RayFailed(f"{address}: the certificates do not fit ({reason})") from error
    except OSError as error:
        raise HeadAway(f"{address}: {error.strerror or error}") from error


def _versions_of(address: str) -> tuple[str, str]:
    """Ray's and Python's at the head."""
    try:
        answer = GcsClient(address=address).internal_kv_get(
            b"CLUSTER_METADATA", KV_NAMESPACE_CLUSTER, timeout=_REACH_TIMEOUT_S
        )
        metadata = json.loads(answer or b"{}")
        return str(metadata["ray_version"]), str(metadata["python_version"])
    except AuthenticationError as error:
        raise RayFailed(f"{address} does not take the token of this node ([ray] token_file)") from error
    except (RayError, RuntimeError, ValueError, KeyError) as error:
        raise HeadAway(f"{address} does not answer as the head of a cell: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return f"Ray: {error}".splitlines()[0]


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
            answer = cast("bytes", ray.get(self._supervisor.status.remote(), timeout=_STATUS_TIMEOUT_S))
        except RayError as error:
            self._still_silent(asked_s, error)
            problems = {**self._known.problems, SUPERVISOR: f"does not answer: {type(error).__name__}"}
            return replace(self._known, ready=False, problems=problems)
        self._silent_from_s = None
        self._known = unpack(answer, CellStatus)
        return self._known

    def _still_silent(self, asked_s: float, error: RayError) -> None:
        if self._silent_from_s is None:
            self._silent_from_s = asked_s
            log.warning("supervisor_silent error=%s", type(error).__name__)
        if isinstance(error, ActorDiedError) or self._monotonic_s() - self._silent_from_s > self._silence_max_s:
            raise RayFailed(f"the supervisor does not answer: {type(error).__name__}") from error

    def wait_ready(self, timeout_s: float, progress: Callable[[str], None]) -> CellStatus:
        """Wait until everything is up that has a place; `progress` hears of each process, and of what has none.

        Raises CellFailed and RayFailed.
        """
        deadline_s = time.monotonic() + timeout_s
        seen: set[str] = set()
        while True:
            status = self.status()
            for name in sorted({replica.name for replica in status.replicas} - seen):
                seen.add(name)
                progress(f"{name} is up")
            if status.ready:
                return status
            if status.settled and status.ingresses and status.problems:
                for name, problem in status.problems.items():
                    progress(f"{name} is missing: {problem}")
                return status
            if status.hopeless or time.monotonic() > deadline_s:
                problems = [f"{name}: {problem}" for name, problem in status.problems.items()]
                raise CellFailed("\n".join(problems) or f"the cluster is not ready after {timeout_s:g} s")
            time.sleep(_STATUS_EVERY_S)

    def stop(self) -> None:
        """Let open transactions end, then every process of the cell, as far as Ray still answers."""
        try:
            ray.get(self._supervisor.stop.remote(), timeout=_STOP_TIMEOUT_S)
        except RayError as error:
            log.warning("cell_not_stopped error=%s", type(error).__name__)
        try:
            ray.kill(self._supervisor)
        except RayError as error:
            log.warning("supervisor_not_killed error=%s", type(error).__name__)
