"""Ray, as the supervisor asks it: the one implementation of `RayPort`.

Every call that waits for the GCS runs in a thread: while the head is away it blocks, and the supervisor goes on
answering, watching and telling. What must outlive the supervisor is kept in the GCS's own store, which is in Redis
where Ray is told so; it is small, and deleted with the cell.
"""

import asyncio
from collections.abc import Collection
from typing import Any

import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from cluster.names import NAMESPACE
from cluster.pool import start_process
from cluster.spec import CellSpec, Order
from cluster.supervisor.keeper import Handle
from cluster.supervisor.placement import NodeView

_STATE_KEY = b"cell"
_HEAD_RESOURCE = "node:__internal_head__"


class RayCluster:
    """Implements `RayPort`."""

    async def start(self, order: Order, spec: CellSpec) -> Handle:
        """The process of this name, a new one if there is none."""
        return await asyncio.to_thread(start_process, order, spec.build)

    async def kill(self, handle: Handle, *, restart: bool) -> None:
        """End a process; whether Ray starts it anew."""
        await asyncio.to_thread(ray.kill, handle, no_restart=not restart)

    async def nodes(self) -> Collection[NodeView]:
        """All nodes that Ray has heard of."""
        return [_view(node) for node in await asyncio.to_thread(ray.nodes)]

    async def load(self) -> bytes | None:
        """What was saved last."""
        saved: bytes | None = await asyncio.to_thread(_internal_kv_get, _STATE_KEY, namespace=NAMESPACE)
        return saved

    async def save(self, state: bytes | None) -> None:
        """Keep this where it outlives the supervisor; None deletes it."""
        if state is None:
            await asyncio.to_thread(_internal_kv_del, _STATE_KEY, namespace=NAMESPACE)
        else:
            await asyncio.to_thread(_internal_kv_put, _STATE_KEY, state, namespace=NAMESPACE)


def _view(node: dict[str, Any]) -> NodeView:
    resources = node.get("Resources", {})
    return NodeView(
        id=node["NodeID"],
        address=node["NodeManagerAddress"],
        name=node.get("NodeManagerHostname", ""),
        labels=node.get("Labels") or {},
        cores=int(resources.get("CPU", 1)),
        memory_bytes=int(resources.get("memory", 0)),
        alive=bool(node["Alive"]),
        head=_HEAD_RESOURCE in resources,
    )
