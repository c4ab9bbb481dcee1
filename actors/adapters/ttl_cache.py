"""A bounded cache of answers that expire: pure bookkeeping, the caller brings the time.

The least recently used entry makes room, so that a flood of names asked once does not push out those asked for every
message. Values are kept by reference and must not change.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """At most `entries_max` values, each until its time is over."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now_s: float) -> V | None:
        """The value, or None when there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires_s, value = entry
        if expires_s <= now_s:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V, now_s: float, ttl_s: float) -> None:
        """Keep the value for `ttl_s` seconds from now; nothing is kept for a TTL of zero."""
        if ttl_s <= 0 or self._entries_max <= 0:
            return
        self._entries[key] = (now_s + ttl_s, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)
