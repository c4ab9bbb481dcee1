"""Tables and private keys of DKIM signing in Redis.

A table is a hash whose fields are names, in lower case, with the values that files have:
HSET tamis:signing example.org main      HSET tamis:keys main example.org:2026a:redis:example.org/2026a
Keys are sealed (actors/dkim/signing/sealed_key.py) and are all in one hash.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from actors.adapters.dkim_files import read_secret
from actors.adapters.dkim_lookup import SourceDown
from actors.adapters.redis_client import Client
from actors.dkim.signing.private_key import KeyUnavailable, PrivateKeyError
from actors.dkim.signing.sealed_key import KeyEncryptionKey, parse_key_encryption_key, unseal
from actors.dkim.signing.tables import Entry

KEYS_HASH = "tamis:dkim:private_keys"
"""Name of a key to the sealed key."""
_REPLACE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""
"""A key that was stored anew meanwhile stays."""


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


class RedisKeys:
    """Sealed private keys in one hash."""

    def __init__(self, redis: Client, keys: Sequence[KeyEncryptionKey], timeout_s: float) -> None:
        """The first of `keys` seals, all open. `redis` is the caller's to close."""
        self._redis = redis
        self._keys = keys
        self._timeout_s = timeout_s

    async def fetch(self, name: str) -> bytes:
        """The key's text. Raises PrivateKeyError."""
        sealed = await self._asked(self._redis.hget(KEYS_HASH, name))
        if sealed is None:
            raise PrivateKeyError(f"Redis has no key of the name {name}")
        return unseal(name, sealed, self._keys)

    async def store(self, name: str, text: bytes, *, replace: bool) -> bool:
        """Seal and keep a key; False when there is one that is not to be replaced. Raises PrivateKeyError."""
        sealed = self._keys[0].seal(name, text)
        put = self._redis.hset if replace else self._redis.hsetnx
        return bool(await self._asked(put(KEYS_HASH, name, sealed))) or replace

    async def rewrap(self) -> tuple[int, Sequence[str]]:
        """Seal every key anew with the first key: how many, and which could not be opened. Raises PrivateKeyError."""
        names = sorted(_text(name) for name in await self._asked(self._redis.hkeys(KEYS_HASH)))
        failed = []
        for name in names:
            sealed = await self._asked(self._redis.hget(KEYS_HASH, name))
            if sealed is None:
                continue
            try:
                anew = self._keys[0].seal(name, unseal(name, sealed, self._keys))
            except PrivateKeyError:
                failed.append(name)
            else:
                await self._asked(self._redis.eval(_REPLACE, 1, KEYS_HASH, name, sealed, anew))
        return len(names) - len(failed), failed

    async def _asked(self, answer: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            raise KeyUnavailable("Redis did not answer in time") from None
        except (RedisError, OSError) as error:
            raise KeyUnavailable(f"Redis does not answer: {type(error).__name__}") from None


def read_key_encryption_keys(settings: Sequence[str], directory: Path = Path()) -> list[KeyEncryptionKey]:
    """What `key_encryption_keys` names, files and variables of the environment. Raises PrivateKeyError."""
    keys = []
    for setting in settings:
        kind, _, place = setting.partition(":")
        text = os.environb.get(os.fsencode(place), b"") if kind == "env" else read_secret(directory / place)[0]
        try:
            keys.append(parse_key_encryption_key(text))
        except ValueError as error:
            raise PrivateKeyError(f"`key_encryption_keys`: {setting}: {error}") from None
    return keys


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
