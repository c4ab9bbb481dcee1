"""The one place that chooses by kind where signing's tables, lists and keys come from.

A table or list: `redis:`, `dsn:`, `sql:`, `ldap:`, `ldaps:`, `http:` and `https:` here, everything else in
actors/adapters/dkim_files.py. Tables are looked up, lists are read whole. A key: `redis:` and `command:` here, files
and keys in the table itself in dkim_files.py. Nothing is connected to before it is asked, so a service that is away
does not stop the start.
"""

import asyncio
import threading
from pathlib import Path

from actors.adapters.dkim_command import KeyCommand
from actors.adapters.dkim_files import KeyFiles, TableFiles, is_looked_up, read_rules
from actors.adapters.dkim_http import HttpTable
from actors.adapters.dkim_keys import FetchedKeys
from actors.adapters.dkim_lookup import LookedUpTable, TableSource
from actors.adapters.dkim_redis import RedisKeys, RedisTable, read_key_encryption_keys
from actors.adapters.redis_client import Client, redis_client
from actors.config import RedisConfig
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.http_place import parse_http_place
from actors.dkim.signing.ldap_place import parse_ldap_place
from actors.dkim.signing.options import key_is_fetched
from actors.dkim.signing.private_key import PrivateKey, PrivateKeyError
from actors.dkim.signing.sql_place import parse_sql_place
from actors.dkim.signing.tables import NamedTable, PatternTable, SigningTables, TableError
from actors.ports import Clock


class SigningSources:
    """Everything that `[dkim.signing]` names; made in any thread, used in one loop."""

    def __init__(self, config: SigningConfig, redis: RedisConfig, clock: Clock, directory: Path = Path()) -> None:
        """Relative paths are below `directory`. Raises TableError for files that cannot be read and what is missing."""
        self._config = config
        self._redis_config = redis
        self._clock = clock
        self._directory = directory
        self._redis: Client | None = None
        self._opened: dict[str, LookedUpTable | HttpTable] = {}
        """By setting: a list is read again and again."""
        self._opening = threading.Lock()
        self._table_files = TableFiles(directory)
        self.tables = self._read_tables()
        self._files = KeyFiles(config.key_bits_min, directory, require_safe=config.require_safe_keys)
        command = KeyCommand(config.key_command, config.key_command_timeout_s)
        self._fetched = {
            kind: FetchedKeys(fetch, clock, config.key_ttl_s, config.key_bits_min)
            for kind, fetch in (("command", command.fetch), ("redis", self._fetch_from_redis))
        }

    async def key(self, text: str) -> PrivateKey:
        """The key that the third part of a KeyTable's entry means: this is a KeySource. Raises PrivateKeyError."""
        if not key_is_fetched(text):
            return await self._files.key(text)
        kind, _, name = text.partition(":")
        return await self._fetched[kind].key(name.strip())

    def redis_keys(self) -> RedisKeys:
        """The keys in Redis. Raises PrivateKeyError when the settings have no Redis or nothing that opens them."""
        config = self._config
        if not self._redis_config.url or not config.key_encryption_keys:
            raise PrivateKeyError("`redis:` keys need `[redis] url` and `[dkim.signing] key_encryption_keys`")
        sealing = read_key_encryption_keys(config.key_encryption_keys, self._directory)
        return RedisKeys(self._client(), sealing, self._redis_config.timeout_s)

    async def refresh(self) -> None:
        """Read the tables again whose files have changed. Raises TableError; then those of before stay."""
        self.tables = await asyncio.to_thread(self._read_tables)

    async def rules(self) -> SigningRules:
        """Who is signed for, read now. Raises TableError; TableUnavailable when a service that holds a list is away."""
        return await read_rules(self._config, self._directory, self._list)

    async def close(self) -> None:
        """Give back connections."""
        for table in self._opened.values():
            await table.close()
        for keys in self._fetched.values():
            await keys.close()
        if self._redis is not None:
            await self._redis.aclose()

    async def _fetch_from_redis(self, name: str) -> bytes:
        return await self.redis_keys().fetch(name)

    def _read_tables(self) -> SigningTables:
        signing, keys = (self._table(setting) for setting in (self._config.signing_table, self._config.key_table))
        return SigningTables(signing, keys, self._config.multiple_signatures)

    def _table(self, setting: str) -> NamedTable | PatternTable | LookedUpTable | HttpTable:
        """In a thread: files are parsed, libraries imported, certificates loaded. One at a time; each opens once."""
        with self._opening:
            if not is_looked_up(setting):
                return self._table_files.read(setting)
            if setting not in self._opened:
                self._opened[setting] = self._open(setting)
            return self._opened[setting]

    def _open(self, setting: str) -> LookedUpTable | HttpTable:
        timeout_s, ttl_s = self._config.table_timeout_s, self._config.table_ttl_s
        if setting.startswith(("http:", "https:")):
            return HttpTable(parse_http_place(setting), self._clock, timeout_s, ttl_s)
        return LookedUpTable(self._source(setting), self._clock, timeout_s, ttl_s)

    async def _list(self, setting: str) -> NamedTable | PatternTable:
        table = await asyncio.to_thread(self._table, setting)
        if isinstance(table, NamedTable | PatternTable):
            return table
        # In a thread: a million entries take seconds.
        return await asyncio.to_thread(NamedTable, await table.entries())

    def _source(self, setting: str) -> TableSource:
        kind, _, rest = setting.partition(":")
        if kind == "redis":
            return RedisTable(self._client(), rest.strip())
        try:
            if kind in ("ldap", "ldaps"):
                from actors.adapters.dkim_ldap import LdapTable  # noqa: PLC0415  ldap3 is an extra

                return LdapTable(parse_ldap_place(setting), self._config, self._directory)
            from actors.adapters.dkim_sql import SqlTable  # noqa: PLC0415  SQLAlchemy is an extra
        except ModuleNotFoundError:
            library, extra = ("ldap3", "ldap") if kind in ("ldap", "ldaps") else ("SQLAlchemy", "sql")
            raise TableError(f"`{kind}:` needs {library}: pip install 'tamis[{extra}]'") from None
        return SqlTable(parse_sql_place(setting), self._config.table_timeout_s)

    def _client(self) -> Client:
        if self._redis is None:
            if not self._redis_config.url:
                raise TableError("`redis:` needs `[redis] url`")
            self._redis = redis_client(self._redis_config)
        return self._redis
