"""The ingress's side of large bodies: Ray's object store, one copy per node, references by control calls.

Nothing of Ray's gets out of here: with a store that fails or hangs bodies travel inside the stream, and a replica that
cannot be handed its body says so by a timeout. The room in the store is counted, since a full store would make the loop
wait: it is taken as long as anybody holds the object, also a call to a replica that does not answer.
"""

import asyncio
import itertools
import logging
import os
import weakref
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray

log = logging.getLogger(__name__)

_PATIENCE_S = 0.25
"""A put takes some milliseconds, unless the raylet hangs."""


class ObjectStoreBodies:
    """Implements `Bodies` of cluster/ingress/session.py.

    Bodies from `threshold_bytes` are shared while all of them together take less than `room_bytes`.
    """

    def __init__(self, threshold_bytes: int, room_bytes: int, patience_s: float = _PATIENCE_S) -> None:
        self._threshold_bytes = threshold_bytes
        self._room_bytes = room_bytes
        self._patience_s = patience_s
        self._thread = ThreadPoolExecutor(1, "put")
        self._late: Future[Any] | None = None
        """A put for which nobody waits any more: until it is over there is no other."""
        self._handles: Mapping[str, Any] = {}
        self._numbers = itertools.count()
        self._origin = os.urandom(8)
        self._calls: set[asyncio.Task[None]] = set()
        self._failing = False

    def know(self, handles: Mapping[str, Any]) -> None:
        """The actors that bodies may be handed to from now on, by the name of the replica."""
        self._handles = handles

    def share(self, body: bytes) -> "StoredBody | None":
        """Put the body into the store; None when it is small, there is no room, or the store does not take it."""
        if not self._threshold_bytes <= len(body) <= self._room_bytes:
            return None
        try:
            reference = self._put(body)
        except Exception as error:  # noqa: BLE001  full, gone, broken or hanging: the stream takes the body instead
            self._note_put(error)
            return None
        self._note_put(None)
        self._room_bytes -= len(body)
        room = Room(len(body), self._give_back)
        stored = StoredBody(self._origin + next(self._numbers).to_bytes(8), reference, room, self)
        weakref.finalize(stored, room.release)
        return stored

    def _put(self, body: bytes) -> Any:
        """The loop waits for it, but not for a raylet that hangs. Raises TimeoutError, and what Ray raises."""
        if self._late is not None and not self._late.done():
            raise TimeoutError
        self._late = None
        putting = self._thread.submit(ray.put, body)
        try:
            return putting.result(self._patience_s)
        except TimeoutError:
            self._late = putting
            raise

    def hand(self, stored: "StoredBody", replica: str) -> None:
        """Have Ray give the replica the body; what goes wrong is only logged."""
        try:
            call = self._handles[replica].hold_body.remote(stored.body_id, stored.reference)
        except Exception as error:  # noqa: BLE001  the task waits for its body in vain, and says so
            log.warning("body_not_handed replica=%s error=%s", replica, type(error).__name__)
            return
        stored.room.hold()
        watch = asyncio.ensure_future(self._until_held(call, replica, stored.room))
        self._calls.add(watch)
        watch.add_done_callback(self._calls.discard)

    async def _until_held(self, call: Awaitable[object], replica: str, room: "Room") -> None:
        """Until the call is over its arguments hold the object, whatever became of the transaction."""
        try:
            await call
        except Exception as error:  # noqa: BLE001  most likely the replica died; its errand is asked elsewhere
            log.warning("body_not_held replica=%s error=%s", replica, type(error).__name__)
        finally:
            room.release()

    def _give_back(self, body_bytes: int) -> None:
        self._room_bytes += body_bytes

    def _note_put(self, error: Exception | None) -> None:
        """Log when it changes, not for every body."""
        if self._failing != (error is not None):
            self._failing = error is not None
            log.warning("object_store works=%s error=%s", error is None, type(error).__name__)


class Room:
    """The room of one body, given back when its last holder has released it."""

    def __init__(self, body_bytes: int, give_back: Callable[[int], None]) -> None:
        self._body_bytes = body_bytes
        self._give_back = give_back
        self._holders = 1

    def hold(self) -> None:
        """One holder more."""
        self._holders += 1

    def release(self) -> None:
        """One holder less."""
        self._holders -= 1
        if not self._holders:
            self._give_back(self._body_bytes)


class StoredBody:
    """One body in the store; it is freed with the last reference to this, and the last call that hands it out."""

    def __init__(self, body_id: bytes, reference: "ray.ObjectRef[Any]", room: Room, bodies: ObjectStoreBodies) -> None:
        self.body_id = body_id
        self.reference = reference
        self.room = room
        self._bodies = bodies

    def hand_to(self, replica: str) -> None:
        """Have Ray give the replica the body, which waits on its shelf for the task. Raises nothing."""
        self._bodies.hand(self, replica)
