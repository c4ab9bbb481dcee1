"""Tables of DKIM signing in a database, through SQLAlchemy (`pip install 'tamis[sql]'`) and the database's own driver.

Questions run in threads, so that none holds the loop; a thread is held by a database that hangs until the driver's own
timeout, which is as long as ours, so there are few. Values are bound, names of table and columns are plain ones
(actors/dkim/signing/sql_place.py), the filter is the operator's SQL as it is.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, bindparam, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import NullType

from actors.adapters.dkim_lookup import SourceDown
from actors.dkim.signing.sql_place import SqlPlace
from actors.dkim.signing.tables import Entry, TableError

T = TypeVar("T")
_CONNECTIONS_MAX = 4
_RECYCLE_S = 300


class SqlTable:
    """A TableSource: the rows of one table. Connects when first asked."""

    def __init__(self, place: SqlPlace, timeout_s: float) -> None:
        """Raises TableError when the database's driver is missing, or takes no such options."""
        self.name = f"{place.dialect} table {place.table}"
        options = dict(place.options)
        values = {name: [value for key, value in place.options if key == name] for name in options}
        url = URL.create(
            place.dialect,
            place.username or None,
            place.password or None,
            place.host or None,
            place.port,
            place.database,
            # SQLAlchemy takes a list of one for another thing than the one.
            {name: every if len(every) > 1 else every[0] for name, every in values.items()},
        )
        try:
            self._engine = create_engine(
                url,
                connect_args=_bounds(place.dialect, timeout_s, options),
                hide_parameters=True,
                max_overflow=0,
                pool_pre_ping=True,
                pool_recycle=_RECYCLE_S,
                pool_size=_CONNECTIONS_MAX,
                pool_timeout=timeout_s,
            )
        except ModuleNotFoundError as error:
            raise TableError(f"{self.name}: needs the driver {error.name}, which is not installed here") from None
        except SQLAlchemyError as error:
            raise TableError(f"{self.name}: SQLAlchemy has no such kind of database ({type(error).__name__})") from None
        except (TypeError, ValueError):
            raise TableError(f"{self.name}: cannot be opened with these options") from None
        condition = place.condition.replace(":", r"\:")
        columns = ", ".join((place.key_column, *place.value_columns))
        whole = f"SELECT {columns} FROM {place.table}"  # noqa: S608  plain names, as sql_place has them
        self._all = text(whole + (f" WHERE {condition}" if condition else ""))
        one = f"{whole} WHERE {place.key_column} IN :names" + (f" AND ({condition})" if condition else "")
        # Without a type: the column may be a number, as in OpenDKIM's README.SQL, and the database converts.
        self._some = text(one).bindparams(bindparam("names", expanding=True, type_=NullType()))
        self._threads = ThreadPoolExecutor(_CONNECTIONS_MAX, thread_name_prefix="sql")

    async def rows(self, names: Sequence[str]) -> Sequence[Entry]:
        """One SELECT."""
        return await self._run(lambda connection: _entries(connection.execute(self._some, {"names": list(names)})))

    async def all_rows(self) -> Sequence[Entry]:
        """One SELECT."""
        return await self._run(lambda connection: _entries(connection.execute(self._all)))

    async def answers(self) -> bool:
        """SELECT 1."""
        try:
            return await self._run(lambda connection: connection.execute(text("SELECT 1")).scalar() == 1)
        except SourceDown:
            return False

    async def close(self) -> None:
        """Give back connections; a thread that a dead database holds ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose(close=False)

    async def _run(self, ask: Callable[[Connection], T]) -> T:
        def work() -> T:
            with self._engine.connect() as connection:
                return ask(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (SQLAlchemyError, OSError, TypeError, ValueError) as error:
            # Not its text: drivers put hosts, users, options and values into it.
            cause = getattr(error, "orig", None)
            raise SourceDown(type(error).__name__ + (f" ({type(cause).__name__})" if cause else "")) from None


def _entries(rows: Any) -> Sequence[Entry]:
    """What several columns hold is joined as a file has it."""
    return [Entry(_plain(name), ":".join(map(_plain, values))) for name, *values in rows]


def _plain(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else "" if value is None else str(value).strip()


def _bounds(dialect: str, timeout_s: float, options: Mapping[str, str]) -> dict[str, Any]:
    """How the drivers are told not to wait for ever, whatever the URL says."""
    seconds, milliseconds = max(1, ceil(timeout_s)), max(1, round(timeout_s * 1000))
    by_dialect: dict[str, dict[str, Any]] = {
        "mysql+pymysql": {"connect_timeout": seconds, "read_timeout": seconds, "write_timeout": seconds},
        "postgresql+psycopg": {
            "connect_timeout": max(2, seconds),
            "options": f"{options.get('options', '')} -c statement_timeout={milliseconds}".strip(),
            "tcp_user_timeout": milliseconds,
        },
        "sqlite": {"timeout": timeout_s},
    }
    return by_dialect.get(dialect, {})
