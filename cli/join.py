"""`tamis join`: this machine as a further node of a cell, for as long as the command runs.

Strategy: a node is Ray's raylet and what the supervisor places on it; there is nothing to decide here. What the
operator can have got wrong (token, certificates, versions) ends the command at once with one line; a head that does not
answer, or a raylet that died, is tried again, since the head may be restarting. A signal has the supervisor
take the work off this node first.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from cli.children import Warden, adopt_orphans, end_descendants
from cli.config import TamisConfig, load_config
from cli.run_dir import given_token, lock, ray_dir
from cli.signals import Stopped, ignore_signals, stop_on_signals
from cluster.ray_config import cell_tls, check_guarded, ray_environment
from gateway.cells import parse_host_port
from gateway.service_manager import ServiceManager
from wire.config import ConfigError
from wire.tls import TlsError, read_credentials

if TYPE_CHECKING:
    from cluster.node import Node

EXIT_FAILED = 1
EXIT_USAGE = 2

_WATCH_EVERY_S = 1.0
_RETRY_FIRST_S = 1.0
_RETRY_MAX_S = 30.0
_LEFTOVER_GRACE_S = 2.0


def join(
    head: Annotated[str, typer.Argument(help="host:port of the head; else [ray] address.")] = "",
    config: Annotated[Path | None, typer.Option(help="Configuration file.")] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Gets one JSON object once the node has joined; appears by rename.")
    ] = None,
    run_dir: Annotated[Path, typer.Option(help="For Ray's files.")] = Path(".run"),
) -> None:
    """Make this machine a further node of a cell."""
    try:
        settings = _checked(load_config(config), head)
        token = given_token(settings.ray.token_file)
        run_dir = run_dir.absolute()
        locked = lock(run_dir)
    except (ConfigError, OSError) as error:
        print(f"tamis join: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from error
    adopt_orphans()
    manager = ServiceManager.of_environment(os.environ, os.getpid())
    stop_on_signals()
    from cluster.node import Node, RayFailed, take_environment

    take_environment(ray_environment(settings.ray, cell_tls(settings.ray, settings.cluster.tls), token))
    node = Node()
    try:
        with locked, contextlib.ExitStack() as parts:
            parts.callback(_end_leftovers)
            temp_dir = ray_dir(settings.ray, run_dir, parts)
            parts.callback(Warden(run_dir, temp_dir).dismiss)
            try:
                _stay(node, settings, temp_dir, ready_file, manager)
            finally:
                ignore_signals()
                manager.tell("STOPPING=1")
                if ready_file is not None:
                    ready_file.unlink(missing_ok=True)
                node.leave(settings.ray.drain_s, _say)
                node.stop()
    except Stopped:
        _say("stopped")
    except RayFailed as error:
        print(f"tamis join: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error


def _stay(
    node: "Node", settings: TamisConfig, temp_dir: Path, ready_file: Path | None, manager: ServiceManager
) -> None:
    """Join, and again when the raylet has died or the head was away. Raises RayFailed for what nobody retries."""
    from cluster.node import HeadAway

    retry_s = _RETRY_FIRST_S
    while True:
        try:
            node.join(settings.ray, settings.cluster.object_store_mb, temp_dir)
        except HeadAway as error:
            _say(f"{error}; trying again in {retry_s:g} s")
            time.sleep(retry_s)
            retry_s = min(_RETRY_MAX_S, retry_s * 2)
            continue
        retry_s = _RETRY_FIRST_S
        _announce(node, settings, ready_file)
        manager.tell_ready(f"a node of the cell at {settings.ray.address}")
        while not (ended := node.ended()):
            time.sleep(_WATCH_EVERY_S)
        _say(f"Ray's {', '.join(ended)} has ended: joining again")
        node.stop()
        time.sleep(retry_s)


def _announce(node: "Node", settings: TamisConfig, ready_file: Path | None) -> None:
    if ready_file is not None:
        partial = ready_file.with_name(f"{ready_file.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps({"node": node.node_id, "address": settings.ray.node_address}) + "\n")
        partial.replace(ready_file)
    _say(f"joined the cell at {settings.ray.address} as node {node.node_id}, logs in {node.logs_dir}")


def _checked(settings: TamisConfig, head: str) -> TamisConfig:
    """The settings with the head's address. Raises ConfigError."""
    address = head or settings.ray.address
    if not address:
        raise ConfigError("whom to join? Name the head, `tamis join HOST:PORT`, or set [ray] address")
    try:
        parse_host_port(address)
        tls = cell_tls(settings.ray, settings.cluster.tls)
        check_guarded(settings.ray, tls)
        if tls.configured:
            read_credentials(tls)
    except (ValueError, TlsError) as error:
        raise ConfigError(str(error)) from error
    if not settings.ray.token_file:
        raise ConfigError("[ray] token_file: a node shows the token of its cell, and none is set")
    return msgspec.structs.replace(settings, ray=msgspec.structs.replace(settings.ray, address=address))


def _end_leftovers() -> None:
    for name in end_descendants(_LEFTOVER_GRACE_S):
        _say(f"had to kill {name}")


def _say(line: str) -> None:
    print(f"tamis join: {line}", flush=True)
