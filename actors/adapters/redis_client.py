"""redis-py's client for a URL: one server, the primary that Sentinels name, or a Cluster.

Strategy: nothing is retried and nothing waits inside the client, since the store has a bound and a breaker of its own.
What a failover leaves behind is a broken connection or a refusal. With Sentinels both end the connection, and the next
one asks them anew; with a Cluster `reread_map` does, since redis-py goes on asking a node that hangs.
"""

from typing import Any

import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from actors.config import RedisConfig
from actors.redis_url import RedisPlace, parse_redis_url

Client = redis.asyncio.Redis | RedisCluster
_MAP_READS = 1
"""How often a Cluster's map is read anew for one pipeline that went to the wrong node."""


def redis_client(config: RedisConfig) -> Client:
    """Connects when first asked. Raises ValueError when `config.url` is no Redis URL."""
    place = parse_redis_url(config.url)
    bounds: dict[str, Any] = {
        "protocol": 2,
        "driver_info": None,
        "socket_timeout": config.timeout_s,
        "socket_connect_timeout": config.timeout_s,
    }
    if place.kind == "one":
        pool = redis.asyncio.ConnectionPool.from_url(config.url, retry=Retry(NoBackoff(), 0), **bounds)
        return redis.asyncio.Redis(connection_pool=pool)
    login: dict[str, Any] = {"username": place.username or None, "password": place.password or None, "ssl": place.tls}
    if place.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in place.hosts]
        return RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), _MAP_READS), **login, **bounds)
    return _primary(place, login, bounds)


async def reread_map(client: Client) -> None:
    """Have a Cluster say anew who has which keys; of nobody else there is a map. Raises RedisError and OSError.

    It may wait the time of one answer for each node that hangs, so no question waits for it.
    """
    if isinstance(client, RedisCluster):
        await client.aclose()
        await client.initialize()


def _primary(place: RedisPlace, login: dict[str, Any], bounds: dict[str, Any]) -> redis.asyncio.Redis:
    """Of the set; the Sentinels are asked with the same user and password."""
    sentinels: Any = Sentinel(list(place.hosts), sentinel_kwargs={**login, **bounds})  # type: ignore[no-untyped-call]
    found: redis.asyncio.Redis = sentinels.master_for(
        place.set_name, db=place.database, retry=Retry(NoBackoff(), 0), **login, **bounds
    )
    return found
