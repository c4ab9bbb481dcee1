"""The one place that chooses by kind where signing's tables, lists and keys come from.

A table or list: `redis:`, `dsn:` and `sql:` here, everything else in actors/adapters/dkim_files.py. Tables are looked
up, lists are read whole. Nothing is connected to before it is asked, so a service that is away does not stop the start.
"""

from pathlib import Path

from actors.adapters.dkim_files import KeyFiles, is_looked_up, open_table, read_rules
from actors.adapters.dkim_lookup import LookedUpTable, TableSource
from actors.adapters.dkim_redis import RedisTable
from actors.adapters.redis_client import Client, redis_client
from actors.config import RedisConfig
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.private_key import KeySource
from actors.dkim.signing.sql_place import parse_sql_place
from actors.dkim.signing.tables import NamedTable, PatternTable, SigningTables, Table, TableError
from actors.ports import Clock


class SigningSources:
    """Everything that `[dkim.signing]` names."""

    def __init__(self, config: SigningConfig, redis: RedisConfig, clock: Clock, directory: Path = Path()) -> None:
        """Relative paths are below `directory`. Raises TableError for files that cannot be read and what is missing."""
        self._config = config
        self._redis_config = redis
        self._clock = clock
        self._directory = directory
        self._redis: Client | None = None
        self._opened: list[LookedUpTable] = []
        signing, keys = (self._table(setting) for setting in (config.signing_table, config.key_table))
        self.tables = SigningTables(signing, keys, config.multiple_signatures)
        self.keys: KeySource = KeyFiles(config.key_bits_min, directory, require_safe=config.require_safe_keys)

    async def rules(self) -> SigningRules:
        """Who is signed for, read now. Raises TableError, also when a service that holds a list is away."""
        return await read_rules(self._config, self._directory, self._list)

    async def close(self) -> None:
        """Give back connections."""
        for table in self._opened:
            await table.close()
        if self._redis is not None:
            await self._redis.aclose()

    def _table(self, setting: str) -> Table:
        if not is_looked_up(setting):
            return open_table(setting, self._directory)
        config = self._config
        table = LookedUpTable(self._source(setting), self._clock, config.table_timeout_s, config.table_ttl_s)
        self._opened.append(table)
        return table

    async def _list(self, setting: str) -> NamedTable | PatternTable:
        if not is_looked_up(setting):
            return open_table(setting, self._directory)
        return NamedTable(await self._table(setting).entries())

    def _source(self, setting: str) -> TableSource:
        kind, _, rest = setting.partition(":")
        if kind == "redis":
            return RedisTable(self._client(), rest.strip())
        try:
            from actors.adapters.dkim_sql import SqlTable  # noqa: PLC0415  SQLAlchemy is an extra
        except ModuleNotFoundError:
            raise TableError(f"`{kind}:` needs SQLAlchemy: pip install 'tamis[sql]'") from None
        return SqlTable(parse_sql_place(setting), self._config.table_timeout_s)

    def _client(self) -> Client:
        if self._redis is None:
            if not self._redis_config.url:
                raise TableError("`redis:` needs `[redis] url`")
            self._redis = redis_client(self._redis_config)
        return self._redis
