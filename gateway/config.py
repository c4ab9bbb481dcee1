"""The settings of the gateway: section [gateway], and [trace] which all processes share.

Each key says what it means, its default and why; docs/configuration.md repeats them and a test compares the two.
"""

import re

import msgspec

from gateway.cells import SRV, CellConfig, check_ingress, parse_host_port
from gateway.early import Stage
from gateway.exchange import TRANSACTION_S
from gateway.failure_policy import OnFailureConfig
from gateway.fallback import FallbackConfig
from gateway.macros import MACROS_MAX
from gateway.spool import SpoolConfig
from wire.config import Section
from wire.milter import parse_listen
from wire.stream import GRPC_MESSAGE_BYTES_MAX
from wire.tls import TlsConfig, on_loopback
from wire.trace import TraceConfig

_MEBIBYTE = 1024 * 1024
MESSAGE_BYTES_MAX = GRPC_MESSAGE_BYTES_MAX - 16 * _MEBIBYTE
"""What still fits into one message of the cluster's own streams."""
COMPRESSIONS = ("none", "gzip", "deflate")
INGRESS = ("127.0.0.1:11333",)
EARLY_BUDGET_S_MAX = 30.0
LOG_LEVELS = ("debug", "info", "warning", "error")


def unix_mode(text: str) -> int:
    """Permission bits. Raises ValueError."""
    mode = int(text, 8)
    if not 0 <= mode <= 0o777:
        raise ValueError(text)
    return mode


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}")


class EarlyConfig(Section, frozen=True):
    """[gateway.early]: stages before the end of the message at which the SMTP client waits for a verdict.

    Where no list could refuse anything the ingress answers at once. What is not answered in time goes on to the next
    stage. Each budget must be below the MTA's patience (Postfix: milter_connect_timeout, milter_command_timeout, 30 s).
    """

    stages: tuple[str, ...] = ("rcpt",)
    """Of connect, helo, mail and rcpt; empty = only the end of the message. Without rcpt no single recipient can be
    refused. An ingress of a release that knows no stage but rcpt stays silent: each budget is then waited for."""
    connect_budget_s: float = 2.0
    """How long the client waits for the MTA's greeting."""
    helo_budget_s: float = 2.0
    """How long HELO waits."""
    mail_budget_s: float = 5.0
    """How long MAIL waits."""
    rcpt_budget_s: float = 5.0
    """How long each RCPT waits."""

    def __post_init__(self) -> None:
        for name in self.stages:
            _one_of("stages", name, tuple(Stage))
        for stage, budget_s in self.budgets_s.items():
            if not 0 < budget_s < EARLY_BUDGET_S_MAX:
                raise ValueError(f"`{stage}_budget_s` must be more than 0 and below {EARLY_BUDGET_S_MAX:.0f}")

    @property
    def budgets_s(self) -> dict[Stage, float]:
        """By stage."""
        return {stage: getattr(self, f"{stage}_budget_s") for stage in Stage}


_MACRO = re.compile(r"[A-Za-z0-9_]{1,64}")


class GatewayConfig(Section, frozen=True):
    """[gateway]: the milter sidecar beside the MTA."""

    listen: tuple[str, ...] = ("inet:11332@127.0.0.1",)
    """Milter sockets: inet:PORT@HOST, inet6:PORT@HOST or unix:PATH; port 0 = any free one."""
    socket_mode: str = "0660"
    """Permissions of unix sockets, octal; the MTA must be able to write."""
    socket_group: str = ""
    """Group of unix sockets, one that the MTA's user is in; empty = the gateway's own."""
    reuse_port: bool = False
    """Several gateways on this machine listen on the same TCP ports; the kernel deals connections out among them."""
    ingress: tuple[str, ...] = INGRESS
    """host:port of the ingresses of the one cell, or srv:NAME; the one with the least to do is asked, the others take
    over. Off loopback only with [gateway.tls]."""
    cells: tuple[CellConfig, ...] = ()
    """Several cells instead of `ingress`, each a table [[gateway.cells]]."""
    tls: TlsConfig = TlsConfig()
    compression: str = "none"
    """none, gzip or deflate: of what goes to the ingresses; worth its CPU only on a slow or metered line."""
    nameservers: tuple[str, ...] = ()
    """host:port of the name servers that are asked for srv: names; none = those of the system."""
    ops_listen: str = "127.0.0.1:11334"
    """host:port of /healthz, /readyz and /metrics; empty = none."""
    log_level: str = "info"
    """debug, info, warning or error; info writes one line per message."""
    ingress_budget_s: float = 5.0
    """How long a transaction waits for any ingress before [gateway.on_failure] answers."""
    end_of_message_budget_s: float = 20.0
    """How long end of message waits for the verdict, below Postfix's milter_content_timeout (300 s)."""
    sessions_max: int = 4_000
    """Milter connections at the same time. A quarter more get the policy of class overloaded at once, further ones are
    closed. The file limit is raised to it at start."""
    stress_share: float = 0.75
    """From this share of `sessions_max` on the cluster may leave out [cluster] stress_skips, until two thirds of it."""
    message_bytes_max: int = 100 * _MEBIBYTE
    """A larger message is refused with 552 5.3.4; set the MTA's own limit below."""
    held_bytes_max: int = 1024 * _MEBIBYTE
    """Mail kept for replay, all sessions together; above it new content fails as overloaded. See [gateway.spool]."""
    read_timeout_s: float = 300.0
    """An MTA that has not finished one milter packet after this time is disconnected, silent or slow."""
    idle_timeout_s: float = 7_200.0
    """An MTA that is silent between packets for this long is disconnected; SMTP clients may type slowly."""
    drain_s: float = 30.0
    """After SIGTERM: time for the transactions in flight to finish."""
    tenants: dict[str, str] = msgspec.field(default_factory=dict)
    """domain = tenant: whose settings and state a recipient or an authenticated user has; the longest domain counts."""
    outbound_daemons: tuple[str, ...] = ()
    """Values of {daemon_name} whose mail is outbound, e.g. a submission service; authenticated mail always is."""
    daemon_tenants: dict[str, str] = msgspec.field(default_factory=dict)
    """daemon_name = tenant: whose mail it is when no authenticated user says so."""
    macros: tuple[str, ...] = ()
    """Macros of the MTA that are passed on, without braces: those of [dkim.signing] macro_list. The MTA must send them,
    see milter_mail_macros in postconf(5)."""
    early: EarlyConfig = EarlyConfig()
    on_failure: OnFailureConfig = OnFailureConfig()
    fallback: FallbackConfig = FallbackConfig()
    spool: SpoolConfig = SpoolConfig()

    def __post_init__(self) -> None:
        self._check_addresses()
        _one_of("log_level", self.log_level, LOG_LEVELS)
        _one_of("compression", self.compression, COMPRESSIONS)
        for name in ("ingress_budget_s", "read_timeout_s", "idle_timeout_s", "sessions_max"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be more than 0")
        if self.idle_timeout_s >= TRANSACTION_S:
            # The ingress would have forgotten a transaction that the MTA still goes on with.
            raise ValueError(f"`idle_timeout_s` must be below {TRANSACTION_S:.0f}")
        if not 0 < self.end_of_message_budget_s <= 280:
            raise ValueError("`end_of_message_budget_s` must be more than 0 and at most 280")
        if not 0 < self.stress_share <= 1:
            raise ValueError("`stress_share` must be above 0 and at most 1")
        if len(self.macros) > MACROS_MAX or not all(map(_MACRO.fullmatch, self.macros)):
            raise ValueError(f"`macros` must hold at most {MACROS_MAX} names of macros, without braces")
        if self.drain_s < 0:
            raise ValueError("`drain_s` must not be negative")
        if not 1 <= self.message_bytes_max <= MESSAGE_BYTES_MAX:
            raise ValueError(f"`message_bytes_max` must be between 1 and {MESSAGE_BYTES_MAX}")
        if self.held_bytes_max < self.message_bytes_max:
            raise ValueError("`held_bytes_max` must not be below `message_bytes_max`")

    @property
    def all_cells(self) -> tuple[CellConfig, ...]:
        """The cells; `ingress` is one."""
        return self.cells or (CellConfig(name="ingress", ingress=self.ingress),)

    def _check_addresses(self) -> None:
        if not self.listen or not self.ingress:
            raise ValueError("`listen` and `ingress` need at least one address each")
        if self.cells and self.ingress != INGRESS:
            raise ValueError("`ingress` and `cells` exclude each other")
        for address in self.listen:
            parse_listen(address)
        for address in (*self.nameservers, *filter(None, [self.ops_listen])):
            parse_host_port(address)
        self._check_ingresses([address for cell in self.all_cells for address in cell.ingress])
        if len({cell.name for cell in self.cells}) < len(self.cells):
            raise ValueError("two `cells` have the same name")
        try:
            unix_mode(self.socket_mode)
        except ValueError:
            raise ValueError('`socket_mode` must be an octal number like "0660"') from None

    def _check_ingresses(self, addresses: list[str]) -> None:
        known: set[str | tuple[str, int]] = set()
        for address in addresses:
            check_ingress(address)
            looked_up = address.startswith(SRV)
            place = address if looked_up else parse_host_port(address)
            if place in known:
                raise ValueError(f"`ingress` names {address} twice")
            known.add(place)
            if not self.tls.configured and (looked_up or not on_loopback(place[0])):
                raise ValueError(f"`ingress` {address} is not on loopback: that needs [gateway.tls]")


class GatewayRoot(msgspec.Struct, frozen=True):
    """What the gateway reads of the one file for all processes; other known sections are theirs."""

    gateway: GatewayConfig = GatewayConfig()
    trace: TraceConfig = TraceConfig()


def with_addresses(settings: GatewayConfig, listen: list[str], ingress: list[str]) -> GatewayConfig:
    """The settings with the addresses of the command line instead, if any were given. Raises ValueError."""
    data = msgspec.structs.asdict(settings)
    data["listen"] = tuple(listen) or settings.listen
    if ingress:
        data.update({"ingress": tuple(ingress), "cells": ()})
    return GatewayConfig(**data)
