"""A cache of answers that expire, bounded in entries and bytes: pure bookkeeping, the caller brings time and sizes.

The least recently used entry makes room, so that a flood of names asked once does not push out those asked for every
message. It also leaves when its time is over, so where all have the same TTL none stays for longer than two of them
while others come. Values are kept by reference and must not change.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """At most `entries_max` values of `bytes_max` together, each until its time is over."""

    def __init__(self, entries_max: int, bytes_max: int) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: OrderedDict[K, tuple[float, int, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now_s: float) -> V | None:
        """The value, or None when there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires_s, _, value = entry
        if expires_s <= now_s:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V, now_s: float, ttl_s: float, *, size_bytes: int) -> None:
        """Keep the value for `ttl_s` seconds from now; nothing is kept for a TTL of zero."""
        if ttl_s <= 0 or self._entries_max <= 0:
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = (now_s + ttl_s, size_bytes, value)
        self._bytes += size_bytes
        while self._entries and (self._too_much() or self._oldest_expires_s() <= now_s):
            self._drop(next(iter(self._entries)))

    def _too_much(self) -> bool:
        return len(self._entries) > self._entries_max or self._bytes > self._bytes_max

    def _oldest_expires_s(self) -> float:
        return next(iter(self._entries.values()))[0]

    def _drop(self, key: K) -> None:
        _, size_bytes, _ = self._entries.pop(key)
        self._bytes -= size_bytes
