"""The command `tamis-gateway`: wiring only. Read the config, build the parts, serve until SIGTERM, drain.

What is wrong with the config or an address is one line on stderr and exit code 2. The OTLP exporter is loaded only when
there is somewhere to export to.
"""

import argparse
import asyncio
import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import uvloop

from gateway import logs, trace_milter
from gateway.cells import parse_host_port
from gateway.config import GatewayRoot, with_addresses
from gateway.early import Stage
from gateway.failure_policy import FailurePolicy
from gateway.fallback import Fallback
from gateway.judge import Services
from gateway.link import Link, LinkSettings
from gateway.metrics import Metrics
from gateway.ops import OpsServer
from gateway.server import ListenError, Server
from gateway.session import HeldBytes, SessionRules
from gateway.telemetry import Export, Telemetry
from gateway.wiring import link_settings
from wire.config import ConfigError, defaults, dump, load
from wire.memory import keep_freed_memory, settle_collector
from wire.milter import Limits
from wire.tls import TlsError
from wire.trace import TraceConfig

FILES_BESIDE_SESSIONS = 256
"""File descriptors for listeners, ingresses, logs and probes."""
LIMITS = Limits(message_bytes_max=sys.maxsize, header_bytes_max=sys.maxsize, headers_max=sys.maxsize)
"""The session counts the message itself, so that a large one gets a reply instead of a closed connection."""

log = logging.getLogger("gateway")


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything of one gateway process."""

    link: Link
    server: Server
    metrics: Metrics


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits 0 after a drain and 2 for a mistake of the operator."""
    if "--trace-milter" in (sys.argv if arguments is None else arguments):
        return trace_milter.main(arguments)
    options = _parser().parse_args(arguments)
    try:
        root = load(options.config, GatewayRoot) if options.config else defaults(GatewayRoot)
        gateway = with_addresses(root.gateway, options.listen, options.ingress)
    except (ConfigError, ValueError) as error:
        _give_up(error)
    logs.setup(gateway.log_level)
    _raise_file_limit(gateway.sessions_max + FILES_BESIDE_SESSIONS)
    keep_freed_memory()
    settle_collector()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(GatewayRoot(gateway=gateway, trace=root.trace), options.ready_file))
    except (ListenError, TlsError) as error:
        _give_up(error)


def _give_up(error: Exception) -> NoReturn:
    print(f"tamis-gateway: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(2)


async def serve(root: GatewayRoot, ready_file: Path | None) -> None:
    """Run one gateway until SIGTERM or SIGINT. Raises ListenError and TlsError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    export, close_export = _exporter(root.trace)
    parts = build(root, link_settings(root.gateway), export)
    bound = await parts.server.start()
    ops = OpsServer(parts.metrics, lambda: why_not_ready(parts))
    ops_bound = await _start_ops(ops, root.gateway.ops_listen)
    parts.link.start()
    log.info("listening", extra={"fields": {"milter": bound, "ops": ops_bound, "config": dump(root.gateway)}})
    if ready_file is not None:
        write_ready_file(ready_file, bound, ops_bound)
    await stop.wait()
    log.info("draining")
    await parts.server.drain(root.gateway.drain_s)
    if ops_bound:
        ops.close()
    await parts.link.close()
    close_export()


def build(root: GatewayRoot, ways: LinkSettings, export: Export | None) -> Parts:
    """The parts and who knows whom."""
    config = root.gateway
    metrics = Metrics()
    link = Link(ways, metrics)
    telemetry = Telemetry(
        metrics, sample_ratio=root.trace.sample_ratio, slow_s=root.trace.slow_ms / 1000, export=export
    )
    services = Services(
        link=link,
        telemetry=telemetry,
        rules=SessionRules(
            message_bytes_max=config.message_bytes_max,
            stages=frozenset(map(Stage, config.early.stages)),
            tenants={domain.lower(): tenant for domain, tenant in config.tenants.items()},
            daemon_tenants=config.daemon_tenants,
            outbound_daemons=frozenset(config.outbound_daemons),
        ),
        limits=LIMITS,
        held=HeldBytes(config.held_bytes_max),
        failure_policy=FailurePolicy(config.on_failure, Fallback(config.fallback)),
    )
    return Parts(link, Server(config, services), metrics)


def why_not_ready(parts: Parts) -> str:
    """Empty when mail can be filtered."""
    if parts.server.draining:
        return "draining"
    return "" if parts.link.ready else "no ingress"


def write_ready_file(path: Path, bound: list[str], ops_bound: str) -> None:
    """One JSON object with the real addresses; it appears by rename, so nobody reads half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps({"milter": bound[0], "listen": bound, "ops": ops_bound}) + "\n")
        partial.replace(path)
    except OSError as error:
        raise ListenError(f"--ready-file {path}: {error.strerror or error}") from error


async def _start_ops(ops: OpsServer, listen: str) -> str:
    if not listen:
        return ""
    try:
        return await ops.start(*parse_host_port(listen))
    except OSError as error:
        raise ListenError(f"ops_listen {listen}: cannot listen: {error.strerror or error}") from error


def _exporter(trace: TraceConfig) -> tuple[Export | None, Callable[[], None]]:
    if not trace.otlp_endpoint:
        return None, lambda: None
    from wire.export import SpanExport  # noqa: PLC0415 - 130 ms and 20 MB that most gateways do not need

    export = SpanExport(trace, "tamis-gateway", f"{socket.gethostname()}:{os.getpid()}")
    return export.send, export.close


def _raise_file_limit(files: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= files:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(hard, files)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))
        log.warning("file_limit", extra={"fields": {"wanted": files, "limit": hard}})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tamis-gateway", description="The milter gateway of Tamis.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; [gateway] and [trace] are read")
    parser.add_argument("--listen", action="append", default=[], metavar="ADDRESS", help="inet:PORT@HOST or unix:PATH")
    parser.add_argument("--ingress", action="append", default=[], metavar="HOST:PORT", help="instead of the config's")
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="gets a JSON object once everything listens")
    parser.add_argument(
        "--trace-milter", action="store_true", help="show what an MTA sends, filter nothing; see --help"
    )
    return parser


if __name__ == "__main__":
    main()
