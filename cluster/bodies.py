"""Large bodies by reference: put once into the node's object store, handed to each replica by a control call.

The ingress shares a body (`ObjectStoreBodies`), the dispatcher has its reference handed to the replica it chose, and
the replica keeps it on its shelf until the task that names it comes, or the other way round. The shelf is bounded:
what nobody asked for is dropped, oldest first.
"""

import asyncio
from collections import OrderedDict

SHELF_BYTES_MAX = 512 * 1024 * 1024


class BodyShelf:
    """The bodies that wait in a replica for their tasks, and the tasks that wait for their bodies."""

    def __init__(self, bytes_max: int = SHELF_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bodies: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}

    def put(self, body_id: bytes, body: bytes) -> None:
        """A body has come."""
        waiting = self._waiting.pop(body_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(body)
            return
        self.discard(body_id)
        self._bodies[body_id] = body
        self._bytes += len(body)
        while self._bytes > self._bytes_max and len(self._bodies) > 1:
            self._bytes -= len(self._bodies.popitem(last=False)[1])

    async def take(self, body_id: bytes) -> bytes:
        """The body with this id, off the shelf, when it comes. The caller limits the wait."""
        body = self._bodies.pop(body_id, None)
        if body is not None:
            self._bytes -= len(body)
            return body
        waiting = self._waiting.setdefault(body_id, asyncio.get_running_loop().create_future())
        try:
            return await waiting
        finally:
            self._waiting.pop(body_id, None)

    def discard(self, body_id: bytes) -> None:
        """Nobody will take the body."""
        body = self._bodies.pop(body_id, None)
        if body is not None:
            self._bytes -= len(body)
