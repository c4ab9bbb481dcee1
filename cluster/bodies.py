"""Large bodies by reference: put once into the node's object store, handed to each replica by a control call.

The ingress shares a body (`ObjectStoreBodies`), the dispatcher has its reference handed to the replica it chose, and
the replica keeps it on its shelf until the task that names it comes, or the other way round. What nobody takes, since
the task was cancelled or broken, is dropped when no budget can last any longer; and the shelf is bounded, oldest first.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

SHELF_BYTES_MAX = 512 * 1024 * 1024
SHELF_AGE_MAX_S = 60.0


class BodyShelf:
    """The bodies that wait in a replica for their tasks, and the tasks that wait for their bodies."""

    def __init__(
        self,
        bytes_max: int = SHELF_BYTES_MAX,
        age_max_s: float = SHELF_AGE_MAX_S,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.age_max_s = age_max_s
        self._bytes_max = bytes_max
        self._monotonic_s = monotonic_s
        self._bodies: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        """When it came and what, by id; oldest first."""
        self._bytes = 0
        self._waiting: dict[bytes, list[asyncio.Future[bytes]]] = {}

    @property
    def held_bytes(self) -> int:
        """What lies on the shelf."""
        return self._bytes

    def put(self, body_id: bytes, body: bytes) -> None:
        """A body has come."""
        self.discard(body_id)
        self.drop_old()
        waiting = [future for future in self._waiting.get(body_id, ()) if not future.done()]
        for future in waiting:
            future.set_result(body)
        if not waiting:
            self._bodies[body_id] = self._monotonic_s(), body
            self._bytes += len(body)
        while self._bytes > self._bytes_max and len(self._bodies) > 1:
            self._drop_oldest()

    async def take(self, body_id: bytes) -> bytes:
        """The body with this id, off the shelf, when it comes. The caller limits the wait."""
        if body_id in self._bodies:
            _, body = self._bodies[body_id]
            self.discard(body_id)
            return body
        waiting = self._waiting.setdefault(body_id, [])
        arrival: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting.append(arrival)
        try:
            return await arrival
        finally:
            waiting.remove(arrival)
            if not waiting:
                del self._waiting[body_id]

    def discard(self, body_id: bytes) -> None:
        """Nobody will take the body."""
        _, body = self._bodies.pop(body_id, (0.0, b""))
        self._bytes -= len(body)

    def drop_old(self) -> None:
        """Drop what has been here for `age_max_s`: no task that names it can have any time left."""
        while self._bodies and next(iter(self._bodies.values()))[0] <= self._monotonic_s() - self.age_max_s:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, (_, body) = self._bodies.popitem(last=False)
        self._bytes -= len(body)
