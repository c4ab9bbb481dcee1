"""What should run where: settings, nodes and load into processes by place. Pure functions.

Strategy: every node that may, by its labels, gets the processes that `layout.py` gives a node of its size, and its
ingresses; so a message finds everything it needs on the node it comes to, and a node that joins is used. What scaling
wants beyond that is dealt out evenly. A node takes no more than its memory holds; what has no place is said, not
started. A node that is being emptied keeps its replicas until its ingresses are gone, for they may know no others.
"""

import ipaddress
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.config import ClusterConfig, listen_address
from cluster.layout import workers
from cluster.supervisor.reconcile import Place
from cluster.supervisor.state import INGRESS, Process
from wire.tls import on_loopback

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as Ray knows it."""

    id: str
    address: str
    """IP."""
    name: str = ""
    """Host name."""
    labels: Mapping[str, str] = field(default_factory=dict)
    cores: int = 1
    memory_bytes: int = 0
    """For all processes; 0 = not known."""
    alive: bool = True
    head: bool = False
    leaving: bool = False
    """Ray drains it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `place` decides."""

    processes: Mapping[Place, int]
    missing: Mapping[str, str]
    """What has no place, by the name of the actor or node; one line each."""


def place(
    config: ClusterConfig,
    nodes: Collection[NodeView],
    emptied: Collection[str],
    replicas: Mapping[str, int],
    with_ingress: Collection[str],
) -> Wanted:
    """The processes of the cell.

    `emptied` are the nodes that should take no work, `replicas` is what scaling wants of each actor in the whole cell,
    `with_ingress` the nodes on which an ingress still runs.
    """
    open_nodes = sorted((n for n in nodes if n.alive and not _is_emptied(n, emptied)), key=lambda n: n.id)
    sizes = {node.id: _sizes(config, node, open_nodes, replicas) for node in open_nodes}
    missing: dict[str, str] = {}
    for actor, size in config.pools.sizes.items():
        if size and not any(actor in of_node for of_node in sizes.values()):
            missing[actor] = f"no node is there for it{_with_label(config, actor)}"
    wanted: Counter[Place] = Counter()
    for node in open_nodes:
        fitting, left = _fit(config, node, _processes(config, node, sizes[node.id]))
        wanted.update(fitting)
        if left:
            missing[f"node {node.name or node.id}"] = (
                f"its memory holds {len(fitting)} processes of {config.process_memory_mb} MB, {left} more are wanted: "
                "add a node, or ask for less in [cluster.pools]"
            )
    if not any(place.group == INGRESS for place in wanted):
        missing[INGRESS] = f"no node is there for it{_with_label(config, INGRESS)}"
    for node in nodes:
        if node.alive and node.id in with_ingress and _is_emptied(node, emptied):
            of_node = _sizes(config, node, [node], {})
            wanted.update(found for found in _processes(config, node, of_node) if found.group != INGRESS)
    return Wanted(wanted, missing)


def least(config: ClusterConfig, nodes: Collection[NodeView], emptied: Collection[str]) -> dict[str, int]:
    """Replicas of each actor in the whole cell without any load."""
    taking = [node for node in nodes if node.alive and not _is_emptied(node, emptied)]
    return {
        actor: size * sum(_may_have(config, node, actor) for node in taking)
        for actor, size in config.pools.sizes.items()
        if size
    }


def listens_at(config: ClusterConfig, process: Process, nodes: Mapping[str, NodeView], home: str) -> tuple[str, int]:
    """IP and port of a process; a replica takes any free port of its node.

    An ingress listens as [cluster] listen says on the node where the cell was started (`home`, its id), elsewhere on
    the node's own IP; without [cluster.tls] only its own machine reaches it.
    """
    address = nodes[process.node].address if process.node in nodes else _LOOPBACK
    if process.group != INGRESS:
        return address, 0
    host, port = listen_address(config.listen)
    at_home = process.node == home or home not in nodes or nodes[home].address == address
    if not (at_home or ipaddress.ip_address(host).is_unspecified):
        host = address if on_loopback(address) or config.tls.configured else _LOOPBACK
    return host, port if config.shared_port else port + process.index


def _is_emptied(node: NodeView, emptied: Collection[str]) -> bool:
    return node.leaving or node.id in emptied


def _sizes(
    config: ClusterConfig, node: NodeView, nodes: Sequence[NodeView], replicas: Mapping[str, int]
) -> dict[str, int]:
    """Replicas by actor on this node."""
    sizes = {}
    for actor, least in config.pools.sizes.items():
        peers = [peer.id for peer in nodes if _may_have(config, peer, actor)]
        if least and node.id in peers:
            more = max(0, replicas.get(actor, 0) - least * len(peers))
            sizes[actor] = least + math.ceil((more - peers.index(node.id)) / len(peers))
    return sizes


def _processes(config: ClusterConfig, node: NodeView, sizes: Mapping[str, int]) -> list[Place]:
    """In the order in which they get a place: the ingresses, then replicas round by round."""
    places = [Place(INGRESS, node.id)] * (config.ingresses if _may_have(config, node, INGRESS) else 0)
    numbered = [
        (int(number), Place(group, node.id, worker.actors))
        for worker in workers(sizes, config.pools.layout, node.cores)
        for group, _, number in [worker.name.rpartition("-")]
    ]
    return [*places, *(place for _, place in sorted(numbered, key=lambda entry: entry[0]))]


def _fit(config: ClusterConfig, node: NodeView, places: Sequence[Place]) -> tuple[Sequence[Place], int]:
    if not node.memory_bytes:
        return places, 0
    room = node.memory_bytes // (config.process_memory_mb * 2**20)
    return places[:room], max(0, len(places) - room)


def _may_have(config: ClusterConfig, node: NodeView, group: str) -> bool:
    label, _, value = str(getattr(config.labels, group)).partition("=")
    return not label or node.labels.get(label) == value


def _with_label(config: ClusterConfig, group: str) -> str:
    wanted = getattr(config.labels, group)
    return f": none has the label {wanted}; see [cluster.labels] and [ray] labels" if wanted else ""
