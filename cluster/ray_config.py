"""The settings of this machine as a node of a cell, section [ray], and the environment that Ray's processes run in.

Strategy: Ray reads its own settings from environment variables, and whatever it starts inherits them. So they are set
first, and are also where the processes of the cell find the certificates of their node. No Ray here: `tamis` reads this
before it loads anything large.
"""

import ipaddress
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wire.config import Section
from wire.tls import TlsConfig, on_loopback

LOOPBACK = "127.0.0.1"
_GCS_PORT = 6380
_FIRST_PORT = 6400
_WORKER_PORTS = "20000-20999"
_PORTS_IN_A_ROW = 6
_WITHOUT_GCS_S = 24 * 3600
"""How long a node works on while the head is away. Ray's own minute would end every node of the cell with the head."""
_AT_REST = {
    # What Ray's own loops take, for a file that nobody reads.
    "RAY_event_stats": "0",
    # What `ray list tasks` shows: no message is one, and `tamis status` has the rest.
    "RAY_task_events_report_interval_ms": "0",
    # Free cores, for a scheduler: the processes of a cell ask for none, and have their nodes by name.
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    # Four times as seldom as by default; what may run on a node is bounded by [cluster] process_memory_mb.
    "RAY_memory_monitor_refresh_ms": "1000",
}
"""What Ray need not do ten times a second on a node where it carries no message (bench/RESULTS.md, three nodes)."""


class RayConfig(Section, frozen=True):
    """[ray]: this machine as a node of a cell, which is one Ray cluster."""

    address: str = ""
    """host:port of the head of the cell, for `tamis join`. For `tamis up`: a Ray that runs here already, started by
    somebody else, or "auto"; RAY_AUTH_MODE=token and its token are then those of the environment. Empty = our own."""
    node_address: str = LOOPBACK
    """IP address at which the other nodes reach this one. Off loopback only with `token_file` and certificates."""
    gcs_port: int = 0
    """Port of the head, its GCS. 0 = 6380, as 6379 is Redis's; on loopback any free one."""
    first_port: int = 0
    """The first of six in a row: node manager, object manager, runtime environments, agent by HTTP and gRPC, metrics.
    0 = 6400; on loopback any free ones."""
    worker_ports: str = ""
    """FIRST-LAST, a port for each process of the cell on this node. Empty = 20000-20999; on loopback any free ones."""
    token_file: str = ""
    """Holds the secret that every node of the cell shows, 32 characters at least; nobody else may read it. Empty = one
    that only this run knows: nobody joins."""
    tls: TlsConfig = TlsConfig()
    gcs_redis: str = ""
    """redis:// or rediss:// URL where the head keeps what Ray knows of the cell, so that it survives the head; Redis or
    Sentinel, no Cluster. Empty = in memory: the cell ends with its head."""
    gcs_namespace: str = "tamis"
    """Prefix of its keys: cells that share a Redis need one each."""
    cores: int = 0
    """Cores that the cell may count on here; 0 = those this process may run on."""
    labels: dict[str, str] = {}  # noqa: RUF012  msgspec copies it
    """What this node is, such as role = "scorer"."""
    drain_s: float = 30.0
    """After SIGTERM to `tamis join`: time for the work on this node to end or to move elsewhere."""
    temp_dir: str = ""
    """Where Ray keeps sockets and logs; empty = below the run directory, in /tmp if that path is long."""

    def __post_init__(self) -> None:
        _check_address(self.node_address)
        ports(self)
        if self.gcs_redis:
            gcs_storage(self.gcs_redis)
        if not 0 <= self.drain_s <= 3600:
            raise ValueError("`drain_s` must be between 0 and 3600")
        if not 0 <= self.cores <= 4096:
            raise ValueError("`cores` must be between 0 and 4096")

    @property
    def on_loopback(self) -> bool:
        """Whether this node is reached by nobody but its own machine."""
        return on_loopback(self.node_address)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where Ray listens; 0 or an empty range = any free one."""

    gcs: int
    first: int
    workers: tuple[int, int] | None

    def at(self, place: int) -> int:
        """One of the six in a row."""
        return self.first + place if self.first else 0


@dataclass(frozen=True, slots=True)
class GcsStorage:
    """The Redis of the GCS, in the pieces that Ray takes."""

    address: str
    """host:port, or rediss://host:port."""
    username: str
    password: str


def ports(config: RayConfig) -> Ports:
    """The table of ports of this node. Raises ValueError."""
    for key in ("gcs_port", "first_port"):
        if not 0 <= getattr(config, key) <= 65535 - _PORTS_IN_A_ROW:
            raise ValueError(f"`{key}` must be between 0 and {65535 - _PORTS_IN_A_ROW}")
    range_text = config.worker_ports or ("" if config.on_loopback else _WORKER_PORTS)
    return Ports(
        config.gcs_port or (0 if config.on_loopback else _GCS_PORT),
        config.first_port or (0 if config.on_loopback else _FIRST_PORT),
        _port_range(range_text) if range_text else None,
    )


def gcs_storage(url: str) -> GcsStorage:
    """Where `gcs_redis` points. Raises ValueError, without the password in its text."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        parts, port = urllib.parse.SplitResult("", "", "", "", ""), 0
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.path.strip("/") not in ("", "0"):
        raise ValueError("`gcs_redis` must be redis://[[user]:password@]host[:port] or rediss://..., database 0")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    address = f"{host}:{port}"
    unquote = urllib.parse.unquote
    return GcsStorage(
        f"rediss://{address}" if parts.scheme == "rediss" else address,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )


def cell_tls(config: RayConfig, cluster_tls: TlsConfig) -> TlsConfig:
    """The files of the streams between nodes, Ray's and ours: [ray.tls], else those of [cluster.tls]."""
    return config.tls if config.tls.configured else cluster_tls


def check_guarded(config: RayConfig, tls: TlsConfig) -> None:
    """Raises ValueError when others could reach this node without a secret and a certificate."""
    if config.on_loopback:
        return
    missing = [
        name for name, there in (("`token_file`", config.token_file), ("[ray.tls]", tls.configured)) if not there
    ]
    if missing:
        raise ValueError(
            f"[ray] node_address {config.node_address} is not on loopback: that needs {' and '.join(missing)}"
        )


def ray_environment(config: RayConfig, tls: TlsConfig, token: Path) -> dict[str, str]:
    """What has to be in the environment before Ray starts or connects."""
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(_WITHOUT_GCS_S),
        **_AT_REST,
        # Ray's own is 15, a twenty-eighth of what a busy clamd on the same core gets: mail waited for all else.
        "RAY_worker_niceness": "0",
    }
    if config.gcs_redis:
        environment["RAY_external_storage_namespace"] = config.gcs_namespace
    if not config.on_loopback:
        environment |= {
            "RAY_USE_TLS": "1",
            # Ray's processes have directories of their own.
            "RAY_TLS_SERVER_CERT": str(Path(tls.certificate).absolute()),
            "RAY_TLS_SERVER_KEY": str(Path(tls.key).absolute()),
            "RAY_TLS_CA_CERT": str(Path(tls.authority).absolute()),
        }
    return environment


def tls_of_node(environment: Mapping[str, str]) -> TlsConfig:
    """The files of the node that a process of the cell runs on; not configured on loopback."""
    if environment.get("RAY_USE_TLS") != "1":
        return TlsConfig()
    return TlsConfig(
        certificate=environment["RAY_TLS_SERVER_CERT"],
        key=environment["RAY_TLS_SERVER_KEY"],
        authority=environment["RAY_TLS_CA_CERT"],
    )


def _check_address(text: str) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or address.is_unspecified:
        raise ValueError(f"`node_address` must be the IP address of this node, not {text!r}")


def _port_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and 1024 <= int(first) < int(last) <= 65535):
        raise ValueError(f"`worker_ports` must be FIRST-LAST such as {_WORKER_PORTS}, not {text!r}")
    return int(first), int(last)
