"""One gateway process: its parts, and what becomes of them at start, reload and stop.

Strategy: the parts that hold connections (server, link) live as long as the process; what the config says about a
session is one frozen `Services`, and a reload makes a new one for the sessions that open from then on: those that are
open finish on the rules they began with; budgets, ways to the cluster and bounds of the process hold at once. At a
stop, a service manager that keeps files gets the sessions (handover.py); without one, what is in flight finishes.
"""

import asyncio
import logging
import math
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from gateway import handover
from gateway.bounds import HeldBytes, SessionBounds
from gateway.cells import parse_host_port
from gateway.config import GatewayConfig, GatewayRoot
from gateway.early import Stage
from gateway.failure_policy import FailurePolicy
from gateway.fallback import Fallback
from gateway.judge import Services
from gateway.link import Link, LinkSettings
from gateway.listeners import ListenError, address_of, listen
from gateway.metrics import Metrics
from gateway.ops import OpsServer
from gateway.server import FILES_BESIDE_SESSIONS, Server
from gateway.service_manager import ManagerStuck, PassedFile, ServiceManager
from gateway.session import SessionRules
from gateway.spool import Spool, SpoolConfig, probe
from gateway.telemetry import Export, Telemetry
from gateway.wiring import link_settings
from wire.config import ConfigError, version_of
from wire.milter import Limits
from wire.tls import TlsError
from wire.trace import TraceConfig

LIMITS = Limits(message_bytes_max=sys.maxsize, header_bytes_max=sys.maxsize, headers_max=sys.maxsize)
"""The session counts the message itself, so that a large one gets a reply instead of a closed connection."""
NEEDS_RESTART = ("listen", "ops_listen", "socket_mode", "socket_group", "reuse_port")
"""Keys of [gateway] that a reload cannot change; of [trace] it changes `slow_ms` and `sample_ratio` only."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bound:
    """Where the process listens."""

    milter: list[str]
    ops: str


class Gateway:
    """The parts and who knows whom."""

    def __init__(self, root: GatewayRoot, export: Export | None, manager: ServiceManager) -> None:
        """Raises ListenError and TlsError."""
        config = root.gateway
        self._root = root
        self._export = export
        self._manager = manager
        self._metrics = Metrics()
        self._held = HeldBytes(config.held_bytes_max)
        _probe_spool(config.spool)
        self._spool = Spool(config.spool)
        self._link = Link(link_settings(config), self._metrics)
        self._server = Server(config, self._services(root))
        self._ops = OpsServer(self._metrics, self.why_not_ready)
        self._watchdog: asyncio.Task[None] | None = None
        self._metrics.show_config(version_of(root))

    async def start(self, files: Sequence[PassedFile]) -> Bound:
        """Take over what the manager passed to us, then listen. Raises ListenError."""
        config = self._root.gateway
        passed = handover.listeners(files)
        own = [] if passed else [socket for text in config.listen for socket in listen(text, config)]
        ops = await self._start_ops(config.ops_listen)
        self._link.start()
        await self._take_over(files)
        await self._server.start(passed, own)
        bound = Bound([address_of(listening) for listening in passed or own], ops)
        self._watchdog = asyncio.create_task(self._manager.keep_watchdog_quiet())
        self._manager.tell_ready(self._status())
        return bound

    def reload(self, read: Callable[[], GatewayRoot]) -> None:
        """Read the config again and go on with it; the old one stays when the new one is broken."""
        self._manager.tell_reloading()
        try:
            root = read()
            ways = link_settings(root.gateway)
            _probe_spool(root.gateway.spool)
        except (ConfigError, ValueError, TlsError, ListenError) as error:
            self._metrics.reloads["failed"].inc()
            log.error("reload_failed", extra={"fields": {"why": str(error)}})  # noqa: TRY400 - its text says all
        else:
            self._apply(root, ways)
        self._manager.tell_ready(self._status())

    async def stop(self, *, hand_over: bool) -> None:
        """Leave without a message lost; `hand_over` to the next process, if there is a manager that makes one."""
        self._manager.tell("STOPPING=1")
        config = self._root.gateway
        log.info("draining")
        if hand_over and self._manager.stored_files_max > 1:
            await self._hand_over()
        await self._server.drain(config.drain_s)
        if self._watchdog is not None:
            self._watchdog.cancel()
        if config.ops_listen:
            self._ops.close()
        await self._link.close()

    def hurry(self) -> None:
        """A stop that has begun ends at once."""
        self._server.hurry()

    def why_not_ready(self) -> str:
        """Empty when mail can be filtered."""
        if self._server.draining:
            return "draining"
        return "" if self._link.ready else "no ingress"

    def _services(self, root: GatewayRoot) -> Services:
        config = root.gateway
        telemetry = Telemetry(
            self._metrics,
            sample_ratio=root.trace.sample_ratio,
            slow_s=root.trace.slow_ms / 1000,
            export=self._export,
            config_version=version_of(root),
        )
        return Services(
            link=self._link,
            telemetry=telemetry,
            rules=SessionRules(
                message_bytes_max=config.message_bytes_max,
                stages=frozenset(map(Stage, config.early.stages)),
                tenants={domain.lower(): tenant for domain, tenant in config.tenants.items()},
                daemon_tenants=config.daemon_tenants,
                outbound_daemons=frozenset(config.outbound_daemons),
                macros=config.macros,
                spools=bool(config.spool.directory),
            ),
            limits=LIMITS,
            held=self._held,
            failure_policy=FailurePolicy(config.on_failure, Fallback(config.fallback)),
            spool=self._spool,
        )

    def _apply(self, root: GatewayRoot, ways: LinkSettings) -> None:
        kept = needs_restart(self._root, root)
        if kept:
            log.warning("reload_needs_restart", extra={"fields": {"keys": kept}})
        self._root = root
        config, version = root.gateway, version_of(root)
        logging.getLogger().setLevel(config.log_level.upper())
        raise_file_limit(config)
        self._link.reload(ways)
        self._held.bytes_max = config.held_bytes_max
        self._spool.config = config.spool
        self._server.configure(config, self._services(root))
        self._metrics.show_config(version)
        self._metrics.reloads["ok"].inc()
        log.info("reloaded", extra={"fields": {"config_version": version}})

    def _status(self) -> str:
        return f"config {version_of(self._root)}, {self._server.count} sessions"

    async def _take_over(self, files: Sequence[PassedFile]) -> None:
        resumed = 0
        for incoming in handover.take_over(files, self._manager):
            resumed += await self._server.resume(incoming)
        if resumed:
            log.info("sessions_resumed", extra={"fields": {"sessions": resumed}})

    async def _hand_over(self) -> None:
        outgoing = handover.Outgoing(self._manager)
        try:
            try:
                await self._server.hand_over(outgoing)
            finally:
                # Sessions that were given before the manager got stuck are nowhere without their states.
                outgoing.finish()
        except ManagerStuck as stuck:
            log.error("handover_failed", extra={"fields": {"why": str(stuck)}})  # noqa: TRY400 - its text says all
        fields = {"sessions": outgoing.given, "left": self._server.count}
        log.info("sessions_handed_over", extra={"fields": fields})

    async def _start_ops(self, address: str) -> str:
        if not address:
            return ""
        try:
            return await self._ops.start(*parse_host_port(address))
        except OSError as error:
            raise ListenError(f"ops_listen {address}: cannot listen: {error.strerror or error}") from error


def needs_restart(before: GatewayRoot, after: GatewayRoot) -> list[str]:
    """Keys whose change a reload does not make."""
    changed = [f"gateway.{key}" for key in NEEDS_RESTART if getattr(before.gateway, key) != getattr(after.gateway, key)]
    same = {"slow_ms": after.trace.slow_ms, "sample_ratio": after.trace.sample_ratio}
    if TraceConfig(**msgspec.structs.asdict(before.trace) | same) != after.trace:
        changed.append("trace")
    return changed


def _probe_spool(spool: SpoolConfig) -> None:
    """Raises ListenError when the directory of the spool cannot be used."""
    try:
        probe(spool)
    except OSError as error:
        raise ListenError(f"[gateway.spool] directory {spool.directory}: {error.strerror or error}") from error


def raise_file_limit(config: GatewayConfig) -> None:
    """Let the process open as many files as its sessions need, as far as it may."""
    # Every session may have a file in the spool too.
    sessions = SessionBounds(config.sessions_max, config.stress_share, math.inf).served_max
    files = sessions * (2 if config.spool.directory else 1) + FILES_BESIDE_SESSIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= files:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(hard, files)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))
        log.warning("file_limit", extra={"fields": {"wanted": files, "limit": hard}})
