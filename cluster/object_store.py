"""The ingress's side of large bodies: Ray's object store, one copy per node, references by control calls."""

import itertools
import os
import weakref
from collections.abc import Iterable
from typing import Any

import ray

from cluster.names import NAMESPACE


class ObjectStoreBodies:
    """Implements `Bodies` of cluster/ingress/session.py.

    Bodies from `threshold_bytes` are shared while all of them together take less than `room_bytes`: a full store
    would block the loop that puts.
    """

    def __init__(self, threshold_bytes: int, room_bytes: int) -> None:
        self._threshold_bytes = threshold_bytes
        self._room_bytes = room_bytes
        self._handles: dict[str, ray.actor.ActorHandle[Any]] = {}
        self._numbers = itertools.count()
        self._origin = os.urandom(8)

    def know(self, replicas: Iterable[str]) -> None:
        """Look up the actors that bodies may be handed to; blocks for a moment for each new one."""
        for name in replicas:
            if name not in self._handles:
                self._handles[name] = ray.get_actor(name, namespace=NAMESPACE)

    def share(self, body: bytes) -> "StoredBody | None":
        """Put the body into the store; None when it is small or there is no room."""
        if not self._threshold_bytes <= len(body) <= self._room_bytes:
            return None
        self._room_bytes -= len(body)
        stored = StoredBody(self._origin + next(self._numbers).to_bytes(8), ray.put(body), self._handles)
        weakref.finalize(stored, self._give_back, len(body))
        return stored

    def _give_back(self, body_bytes: int) -> None:
        self._room_bytes += body_bytes


class StoredBody:
    """One body in the store; it is freed with the last reference to this."""

    def __init__(
        self, body_id: bytes, reference: "ray.ObjectRef[Any]", handles: "dict[str, ray.actor.ActorHandle[Any]]"
    ) -> None:
        self.body_id = body_id
        self._reference = reference
        self._handles = handles

    def hand_to(self, replica: str) -> None:
        """Have Ray give the replica the body, which waits on its shelf for the task."""
        self._handles[replica].hold_body.remote(self.body_id, self._reference)
