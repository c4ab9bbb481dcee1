"""The command `tamis-gateway`: wiring only. Read the config, build the parts, serve until SIGTERM, hand over or drain.

What is wrong with the config or an address is one line on stderr and exit code 2. SIGHUP reads the config again;
SIGINT drains without handing over; a second SIGTERM or SIGINT ends at once. The OTLP exporter is loaded only when
there is somewhere to export to.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import uvloop

from gateway import logs, trace_milter
from gateway.config import GatewayRoot, with_addresses
from gateway.listeners import ListenError
from gateway.runtime import Bound, Gateway, raise_file_limit
from gateway.service_manager import PassedFile, ServiceManager, passed_files
from gateway.telemetry import Export
from wire.config import ConfigError, defaults, dump, load, version_of
from wire.memory import keep_freed_memory, settle_collector
from wire.tls import TlsError
from wire.toml import to_toml
from wire.trace import TraceConfig

log = logging.getLogger("gateway")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits 0 after a drain and 2 for a mistake of the operator."""
    if "--trace-milter" in (sys.argv if arguments is None else arguments):
        return trace_milter.main(arguments)
    options = _parser().parse_args(arguments)
    try:
        root = read_config(options)
        manager = ServiceManager.of_environment(os.environ, os.getpid())
    except (ConfigError, ValueError, OSError) as error:
        _give_up(error)
    if options.show_config:
        print(to_toml(dump(root)), end="")  # noqa: T201
        return None
    logs.setup(root.gateway.log_level)
    raise_file_limit(root.gateway)
    keep_freed_memory()
    settle_collector()
    files = passed_files(os.environ, os.getpid())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(root, manager, files, options))
    except (ListenError, TlsError) as error:
        _give_up(error)


def read_config(options: argparse.Namespace) -> GatewayRoot:
    """The file with the addresses of the command line. Raises ConfigError and ValueError."""
    root = load(options.config, GatewayRoot) if options.config else defaults(GatewayRoot)
    return GatewayRoot(gateway=with_addresses(root.gateway, options.listen, options.ingress), trace=root.trace)


def _give_up(error: Exception) -> NoReturn:
    print(f"tamis-gateway: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(2)


async def serve(
    root: GatewayRoot, manager: ServiceManager, files: Sequence[PassedFile], options: argparse.Namespace
) -> None:
    """Run one gateway until SIGTERM or SIGINT. Raises ListenError and TlsError."""
    export, close_export = _exporter(root.trace)
    gateway = Gateway(root, export, manager)
    stopping = _on_signals(gateway, lambda: read_config(options))
    bound = await gateway.start(files)
    fields = {"milter": bound.milter, "ops": bound.ops, "config_version": version_of(root), "config": dump(root)}
    log.info("listening", extra={"fields": fields})
    if options.ready_file is not None:
        write_ready_file(options.ready_file, bound)
    await gateway.stop(hand_over=await stopping is signal.SIGTERM)
    close_export()


def _on_signals(gateway: Gateway, read: Callable[[], GatewayRoot]) -> asyncio.Future[signal.Signals]:
    """The first signal to stop; from then on each further one hurries."""
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[signal.Signals] = loop.create_future()

    def stop(number: signal.Signals) -> None:
        if stopping.done():
            gateway.hurry()
        else:
            stopping.set_result(number)

    def reload() -> None:
        if not stopping.done():
            gateway.reload(read)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
    return stopping


def write_ready_file(path: Path, bound: Bound) -> None:
    """One JSON object with the real addresses; it appears by rename, so nobody reads half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    addresses = {"milter": bound.milter[0], "listen": bound.milter, "ops": bound.ops}
    try:
        partial.write_text(json.dumps(addresses) + "\n")
        partial.replace(path)
    except OSError as error:
        raise ListenError(f"--ready-file {path}: {error.strerror or error}") from error


def _exporter(trace: TraceConfig) -> tuple[Export | None, Callable[[], None]]:
    if not trace.otlp_endpoint:
        return None, lambda: None
    from wire.export import SpanExport  # noqa: PLC0415 - 130 ms and 20 MB that most gateways do not need

    export = SpanExport(trace, "tamis-gateway", f"{socket.gethostname()}:{os.getpid()}")
    return export.send, export.close


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tamis-gateway", description="The milter gateway of Tamis.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; [gateway] and [trace] are read")
    parser.add_argument("--listen", action="append", default=[], metavar="ADDRESS", help="inet:PORT@HOST or unix:PATH")
    parser.add_argument("--ingress", action="append", default=[], metavar="HOST:PORT", help="instead of the config's")
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="gets a JSON object once everything listens")
    parser.add_argument(
        "--trace-milter", action="store_true", help="show what an MTA sends, filter nothing; see --help"
    )
    parser.add_argument("--show-config", action="store_true", help="print the settings as they hold, as TOML, and exit")
    return parser


if __name__ == "__main__":
    main()
