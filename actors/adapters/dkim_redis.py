"""Tables of DKIM signing in Redis: a hash whose fields are names, in lower case, with the values that files have.

HSET tamis:signing example.org main      HSET tamis:keys main example.org:2026a:/etc/tamis/dkim/2026a.private
"""

from collections.abc import Sequence

from redis.exceptions import RedisError

from actors.adapters.dkim_lookup import SourceDown
from actors.adapters.redis_client import Client
from actors.dkim.signing.tables import Entry


class RedisTable:
    """A TableSource: one hash."""

    def __init__(self, redis: Client, key: str) -> None:
        """`redis` is the caller's to close."""
        self.name = f"redis:{key}"
        self._redis = redis
        self._key = key

    async def rows(self, names: Sequence[str]) -> Sequence[Entry]:
        """One HMGET."""
        try:
            values = await self._redis.hmget(self._key, list(names))
        except (RedisError, OSError) as error:
            raise SourceDown(type(error).__name__) from error  # Its text may hold the URL with its password.
        return [Entry(name, _text(value)) for name, value in zip(names, values, strict=True) if value is not None]

    async def all_rows(self) -> Sequence[Entry]:
        """All fields, a piece at a time."""
        try:
            return [
                Entry(_text(name), _text(value)) async for name, value in self._redis.hscan_iter(self._key, count=1000)
            ]
        except (RedisError, OSError) as error:
            raise SourceDown(type(error).__name__) from error

    async def answers(self) -> bool:
        """PING."""
        try:
            await self._redis.ping()
        except (RedisError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Nothing of its own."""


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
