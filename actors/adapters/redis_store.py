"""The Store port over Redis or Valkey (6.2+)."""

from collections.abc import Sequence

from actors.adapters.breaker import Breaker
from actors.adapters.redis_client import Client
from actors.adapters.redis_pipelines import Command, RedisPipelines
from actors.config import RedisConfig


class RedisStore:
    """Asks the server, the Sentinels' primary or the Cluster of a URL; connects when first asked."""

    def __init__(self, config: RedisConfig, client: Client | None = None, breaker: Breaker | None = None) -> None:
        """`config.url` must be set. Raises ValueError when it is no Redis URL."""
        self._redis = RedisPipelines(config, client, breaker)

    async def are_members(self, questions: Sequence[tuple[str, Sequence[bytes]]]) -> Sequence[Sequence[bool]]:
        """For each (key, members): which are in the set; a key that does not exist is an empty set."""
        found = iter(await self._redis.ask([_are_members(key, members) for key, members in questions if members]))
        return [[bool(answer) for answer in next(found)] if members else [] for _, members in questions]

    async def close(self) -> None:
        """Give back connections; questions under way end as failures."""
        await self._redis.close()


def _are_members(key: str, members: Sequence[bytes]) -> Command:
    return lambda pipeline: pipeline.smismember(key, list(members))
