"""The settings of the cluster: section [cluster].

Each key says what it means, its default and why; docs/configuration.md repeats them and a test compares the two.
"""

import ipaddress
from typing import Literal

from cluster.mirror.config import MirrorConfig
from wire.config import Section
from wire.stream import GRPC_MESSAGE_BYTES_MAX
from wire.tls import TlsConfig, on_loopback

_RAY_OBJECT_STORE_MB_MIN = 80
_AT_LEAST_ONE = (
    "transactions_max",
    "held_bytes_max",
    "recipients_max",
    "header_bytes_max",
    "replica_tasks_max",
    "replica_running_max",
    "body_by_reference_bytes",
    "process_memory_mb",
)


def listen_address(value: str) -> tuple[str, int]:
    """(host, port) of `listen`. Raises ValueError unless it is an IP address with a port."""
    host, colon, port = value.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        address = None
    if not colon or address is None or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f"`listen` must be an IP address and a port such as 127.0.0.1:11333, not {value!r}")
    return str(address), int(port)


class Pools(Section, frozen=True):
    """[cluster.pools]: replicas of each scoring actor on each node; 0 = the actor is not asked at all."""

    dkim: int = 1
    """Replicas that verify DKIM and ARC."""
    policy: int = 1
    """Replicas that ask SPF, DMARC and the lists."""
    classifier: int = 1
    """Replicas that give the spam probability."""
    antivirus: int = 1
    """Replicas that match rules and ask clamd."""
    layout: Literal["auto", "fused", "split"] = "auto"
    """fused = a process runs one replica of each actor, split = one process a replica, auto = fused on nodes with up
    to 4 cores: there fewer processes cost less, on larger ones they are apart from each other (decision 0007)."""

    def __post_init__(self) -> None:
        for actor, size in self.sizes.items():
            if not 0 <= size <= 1024:
                raise ValueError(f"`{actor}` must be between 0 and 1024")

    @property
    def sizes(self) -> dict[str, int]:
        """Replicas by actor name."""
        return {"dkim": self.dkim, "policy": self.policy, "classifier": self.classifier, "antivirus": self.antivirus}


class Labels(Section, frozen=True):
    """[cluster.labels]: Ray labels that nodes must have to run something, "tamis-role=scorer"; empty = any node."""

    ingress: str = ""
    """Ingresses."""
    dkim: str = ""
    """Replicas of dkim."""
    policy: str = ""
    """Replicas of policy."""
    classifier: str = ""
    """Replicas of the classifier."""
    antivirus: str = ""
    """Replicas of antivirus, for instance where a clamd is."""

    def __post_init__(self) -> None:
        for group in self.__struct_fields__:
            label, equals, value = getattr(self, group).partition("=")
            if (label or equals) and not (label and value):
                raise ValueError(f"`{group}` must be such as tamis-role=scorer")


class ScalingConfig(Section, frozen=True):
    """[cluster.scaling]: pools that grow and shrink with their load."""

    replicas_max: int = 0
    """Replicas that a pool may grow to in the whole cell, from what [cluster.pools] says, which is the least; 0 = no
    pool changes."""
    busy_target: float = 0.6
    """Share of the time in which the replicas of a pool should be at work: what is left is room for bursts."""
    busy_max: float = 0.75
    """A pool grows when it is busier than this; between the two nothing changes, so a steady load changes nothing."""
    queue_ms_max: float = 50.0
    """A pool grows, too, when one task of twenty waits longer than this before a replica begins with it."""
    grow_after_s: float = 10.0
    """How long a pool must have been too busy before it grows; also the time between two changes."""
    shrink_after_s: float = 300.0
    """How long a smaller pool must have been enough before it shrinks, and between two changes."""

    def __post_init__(self) -> None:
        if not 0 <= self.replicas_max <= 1024:
            raise ValueError("`replicas_max` must be between 0 and 1024")
        if not 0.1 <= self.busy_target < self.busy_max <= 1:
            raise ValueError("`busy_target` must be at least 0.1 and below `busy_max`, which must be at most 1")
        if self.queue_ms_max <= 0:
            raise ValueError("`queue_ms_max` must be above 0")
        if not 0 < self.grow_after_s <= self.shrink_after_s <= 3600:
            raise ValueError("`grow_after_s` must be above 0 and at most `shrink_after_s`, which must be at most 3600")


class AdminConfig(Section, frozen=True):
    """[cluster.admin]: the service that `tamis status`, `drain`, `reload` and `rollout` call; the supervisor serves it.

    Off loopback it is encrypted with [cluster.tls], and callers show a certificate as well as their token.
    """

    listen: str = "127.0.0.1:11335"
    """host:port, an IP address, off loopback only with [cluster.tls]; port 0 = any free one, empty = no service."""
    tokens: str = ""
    """File with a line `NAME ROLE SHA256` for each token, ROLE viewer, teacher or operator, on every node that may run
    the supervisor; read anew when it changes. Empty = `tamis up` makes one in its run directory, one token a role."""

    def __post_init__(self) -> None:
        if self.listen:
            listen_address(self.listen)


def _check_optional(key: str, actors: tuple[str, ...]) -> None:
    for actor in actors:
        # Mail that nobody looked into for viruses is a matter of [policy.on_error], not of load.
        if actor == "antivirus" or actor not in Pools().sizes:
            raise ValueError(f"`{key}`: {actor!r} is none of dkim, policy, classifier")


class CanaryConfig(Section, frozen=True):
    """[cluster.canary]: the first replica of a rollout that brings another spam model judges beside the old ones.

    Others follow when it has judged enough of the mail of its node. When what it says differs too much from what the
    old ones there say at the same time, the rollout stops and the replica is taken away.
    """

    messages: int = 2000
    """The others follow when it has judged so many messages."""
    watch_s: float = 600.0
    """They follow after this time, too, however few there were; 0 = they follow at once."""
    spam_share_max: float = 0.1
    """The rollout stops when its share of spam is further than this from that of the old ones, above or below, in 50
    messages or more each, and further than chance explains (4 standard deviations)."""
    error_share_max: float = 0.01
    """The same for its share of errors, above only."""

    def __post_init__(self) -> None:
        if self.messages < 1:
            raise ValueError("`messages` must be at least 1")
        if not 0 <= self.watch_s <= 86_400:
            raise ValueError("`watch_s` must be between 0 and 86400")
        for key in ("spam_share_max", "error_share_max"):
            if not 0 < getattr(self, key) <= 1:
                raise ValueError(f"`{key}` must be above 0 and at most 1")


class OverloadConfig(Section, frozen=True):
    """[cluster.overload]: what an ingress does with more mail than the cell can examine."""

    replica_queue_ms: float = 8.0
    """While mail of several tenants comes in and waits longer than this for a replica, on the way there, in it or back,
    fewer messages are sent there at a time: the rest waits at the ingress, in a line for each tenant, and the lines
    take turns. While all of it is one tenant's, eight times as much counts. From half of it on nothing is asked ahead
    of time: the envelope is asked about together with the message."""
    delay_s: float = 2.0
    """A tenant's line is slow when each of its messages waits longer than this."""
    interval_s: float = 5.0
    """After so long slow, actors of `shed` are not asked about its messages; after twice as long, new ones are refused
    while its oldest waits longer than `delay_s`, and the gateway goes to another cell or says 451."""
    shed: tuple[str, ...] = ("classifier",)
    """Actors that a slow line does without: of dkim, policy and classifier. Such mail says so in X-Tamis-Degraded."""

    def __post_init__(self) -> None:
        for key in ("replica_queue_ms", "delay_s", "interval_s"):
            if not 0 < getattr(self, key) <= 3600:
                raise ValueError(f"`{key}` must be above 0 and at most 3600")
        _check_optional("shed", self.shed)


class ClusterConfig(Section, frozen=True):
    """[cluster]: the scoring cell."""

    listen: str = "127.0.0.1:11333"
    """host:port of the first ingress, an IP address, off loopback only with [cluster.tls]; port 0 = any free one."""
    tls: TlsConfig = TlsConfig()
    admin: AdminConfig = AdminConfig()
    ingresses: int = 1
    """Ingress processes on each node; number n listens on the port of `listen` plus n."""
    shared_port: bool = False
    """All ingresses of a node listen on the port of `listen`; the kernel deals connections out, so this needs several
    gateways to be even."""
    pools: Pools = Pools()
    mirror: MirrorConfig = MirrorConfig()
    labels: Labels = Labels()
    process_memory_mb: int = 150
    """Memory that a node must have for each process. What has no room is not started, and `tamis status` says so."""
    scaling: ScalingConfig = ScalingConfig()
    overload: OverloadConfig = OverloadConfig()
    canary: CanaryConfig = CanaryConfig()
    early_s: float = 5.0
    """Cap of the answer to one CONNECT, HELO, MAIL or RCPT, below the gateway's own."""
    end_of_message_s: float = 20.0
    """Cap of the verdict after the end of the message: a message no actor answers for is decided then."""
    replica_wait_s: float = 5.0
    """How long a task waits for a replica of a pool that has none alive, before it counts as unreachable."""
    transactions_max: int = 10_000
    """Transactions open at one ingress; more are refused as overloaded, so that the gateway goes elsewhere."""
    held_bytes_max: int = 512 * 1024 * 1024
    """Mail held in memory by one ingress; transactions that would pass it are refused as overloaded."""
    message_bytes_max: int = 100 * 1024 * 1024
    """Largest body taken; the gateway's own limit is expected to be at most this."""
    recipients_max: int = 10_000
    """Recipients of one transaction."""
    header_bytes_max: int = 4 * 1024 * 1024
    """Header section of one message."""
    stress_skips: tuple[str, ...] = ()
    """Actors that are not asked about mail of a gateway under stress ([gateway] stress_share): of dkim, policy and
    classifier. Such mail says so in X-Tamis-Degraded."""
    replica_tasks_max: int = 1024
    """Tasks one replica may owe; beyond, its pool is overloaded."""
    replica_running_max: int = 256
    """Tasks one replica examines at once; the others wait in its queue, in order."""
    unresponsive_s: float = 30.0
    """A replica or ingress that answers no ping for so long is killed and started anew."""
    body_by_reference_bytes: int = 2_500_000
    """Bodies from this size travel through Ray's object store, smaller ones inside the stream (decision 0003)."""
    object_store_mb: int = 100
    """Shared memory of Ray on each node, for large bodies."""

    def __post_init__(self) -> None:
        host, _ = listen_address(self.listen)
        if not (self.tls.configured or on_loopback(host)):
            raise ValueError(f"`listen` {self.listen} is not on loopback: that needs [cluster.tls]")
        if self.admin.listen and not (self.tls.configured or on_loopback(listen_address(self.admin.listen)[0])):
            raise ValueError(f"`admin.listen` {self.admin.listen} is not on loopback: that needs [cluster.tls]")
        for key in ("early_s", "end_of_message_s", "replica_wait_s", "unresponsive_s"):
            if not 0 < getattr(self, key) <= 3600:
                raise ValueError(f"`{key}` must be above 0 and at most 3600")
        for key in _AT_LEAST_ONE:
            if getattr(self, key) < 1:
                raise ValueError(f"`{key}` must be at least 1")
        _check_optional("stress_skips", self.stress_skips)
        if not 1 <= self.ingresses <= 64:
            raise ValueError("`ingresses` must be between 1 and 64")
        if not 1 <= self.message_bytes_max <= GRPC_MESSAGE_BYTES_MAX - 2 * self.header_bytes_max:
            raise ValueError("`message_bytes_max` must fit a frame of 160 MiB together with the header section")
        if self.object_store_mb < _RAY_OBJECT_STORE_MB_MIN:
            raise ValueError(f"`object_store_mb` must be at least {_RAY_OBJECT_STORE_MB_MIN}, the least Ray takes")
