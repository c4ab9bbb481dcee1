"""Where tables, lists and keys come from, by kind; SQL with SQLite in a file."""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL

from actors.adapters import dkim_sql
from actors.adapters.dkim_lookup import LookedUpTable, SourceDown
from actors.adapters.dkim_sources import SigningSources
from actors.adapters.dkim_sql import SqlTable
from actors.config import RedisConfig
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.sql_place import parse_sql_place
from actors.dkim.signing.tables import Address, Entry, NamedTable, TableError
from tests.fakes import FakeClock
from tests.signing import rsa_pem


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The table of OpenDKIM's README.SQL, one for authors, one of hosts."""
    path = tmp_path / "dkim.db"
    (tmp_path / "k").write_bytes(rsa_pem())
    (tmp_path / "k").chmod(0o600)
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE dkim (id INTEGER PRIMARY KEY, domain_name TEXT, selector TEXT, private_key TEXT);
            CREATE TABLE authors (author TEXT, dkim_id INTEGER, active INTEGER);
            CREATE TABLE hosts (host TEXT, remark TEXT);
            INSERT INTO dkim VALUES (1293, 'example.org', 'main', './k'), (7, '%', 'own', './k');
            INSERT INTO authors VALUES ('example.org', 1293, 1), ('*', 7, 0), ('joe@example.org', 7, 1);
            INSERT INTO hosts VALUES ('192.0.2.0/24', NULL), ('!192.0.2.9', NULL);
            """
        )
    connection.close()
    return path


KEYS = "dsn:sqlite3://{}=2F/dkim.db/table=dkim?keycol=id?datacol=domain_name,selector,private_key"
AUTHORS = "sql:sqlite:///{}/dkim.db table=authors keycol=author datacol=dkim_id filter=active = 1"
LDAP = "ldap://127.0.0.1/o=x?a?sub?(b=$d)"
HOSTS = "sql:sqlite:///{}/dkim.db table=hosts keycol=host datacol=remark"


def config(directory: Path, **settings: object) -> SigningConfig:
    where = {
        "key_table": KEYS.format(str(directory).replace("/", "=2F")),
        "signing_table": AUTHORS.format(directory),
        "multiple_signatures": True,
        "table_timeout_s": 20.0,
    }
    return SigningConfig(**(where | settings))  # type: ignore[arg-type]


@asynccontextmanager
async def opened(directory: Path, redis: str = "", **settings: object) -> AsyncIterator[SigningSources]:
    sources = SigningSources(config(directory, **settings), RedisConfig(url=redis), FakeClock(), directory)
    try:
        yield sources
    finally:
        await sources.close()


async def test_tables_of_a_database_choose_the_keys(database: Path) -> None:
    async with opened(database.parent) as sources:
        requests = await sources.tables.requests(Address("joe", "example.org"))
        assert [(one.name, one.domain, one.selector) for one in requests] == [
            ("7", "example.org", "own"),
            ("1293", "example.org", "main"),
        ]
        assert (await sources.key(requests[0].key)).bits == 2048
        assert await sources.tables.requests(Address("ann", "other.example")) == ()
        assert {entry.name for entry in await sources.tables.keys.entries()} == {"7", "1293"}


async def test_lists_of_a_database_are_read_whole(database: Path) -> None:
    async with opened(database.parent, internal_hosts=HOSTS.format(database.parent)) as sources:
        rules = await sources.rules()
        assert (await sources.rules()).internal_hosts.match("", "192.0.2.1")
        assert len(sources._opened) == 3, "two tables and a list, which is opened once"
    matches = [rules.internal_hosts.match("", ip) for ip in ("192.0.2.1", "192.0.2.9", "192.0.3.1")]
    assert [match and match.listed for match in matches] == [True, False, None]


async def test_lists_are_opened_and_made_beside_the_loop_one_at_a_time(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {kind: Made(kind, monkeypatch) for kind in (NamedTable, SqlTable)}
    async with opened(database.parent, internal_hosts=HOSTS.format(database.parent)) as sources:
        for one in made.values():
            one.threads.clear()
        await asyncio.gather(*(sources.rules() for _ in range(4)))
    assert len(made[SqlTable].threads) == 1, "the list is opened once"
    assert made[NamedTable].threads
    assert threading.current_thread() not in made[NamedTable].threads + made[SqlTable].threads


class Made:
    """In which threads objects of a class are made."""

    def __init__(self, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[threading.Thread] = []
        make = kind.__init__

        def recorded(one: object, *args: object) -> None:
            self.threads.append(threading.current_thread())
            make(one, *args)

        monkeypatch.setattr(kind, "__init__", recorded)


async def test_a_database_that_is_away_does_not_stop_the_start(tmp_path: Path) -> None:
    async with opened(tmp_path / "gone") as sources:
        with pytest.raises(TableError, match=r"sqlite table authors: OperationalError") as raised:
            await sources.tables.requests(Address("joe", "example.org"))
    assert "gone" not in str(raised.value)


async def test_the_query_of_the_url_is_for_the_driver(database: Path) -> None:
    setting = AUTHORS.format(database.parent).replace("sqlite:///", "sqlite:///file:")
    setting = setting.replace("dkim.db ", "dkim.db?mode=ro&uri=true ")
    there, gone = (SqlTable(parse_sql_place(text), 20.0) for text in (setting, setting.replace("dkim.db", "gone.db")))
    assert await there.rows(["example.org"]) == [Entry("example.org", "1293")]
    assert not await gone.answers()
    assert not (database.parent / "gone.db").exists(), "without mode=ro SQLite makes an empty one"
    await there.close()
    await gone.close()


async def test_what_the_url_asks_for_takes_no_bound_away(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[URL, dict[str, object]]] = []
    monkeypatch.setattr(dkim_sql, "create_engine", lambda url, *, connect_args, **_: asked.append((url, connect_args)))
    query = "sslmode=verify-full&options=-c%20role%3Dmail&host=a&host=b&connect_timeout=900"
    SqlTable(parse_sql_place(f"sql:postgresql://h/d?{query} table=t keycol=k datacol=v"), 2.0)
    ((url, bounds),) = asked
    assert (url.query["sslmode"], url.query["host"]) == ("verify-full", ("a", "b"))
    assert bounds["options"] == "-c role=mail -c statement_timeout=2000"
    assert bounds["connect_timeout"] == 2


async def test_what_is_asked_for_is_bound_and_never_sql(database: Path) -> None:
    source = SqlTable(parse_sql_place(AUTHORS.format(database.parent)), 20.0)
    assert await source.rows(["x' OR '1'='1", "example.org"]) == [Entry("example.org", "1293")]
    assert await source.answers()
    await source.close()


async def test_a_column_that_is_not_there_is_an_error_without_the_question(database: Path) -> None:
    source = SqlTable(parse_sql_place(AUTHORS.format(database.parent).replace("dkim_id", "nosuch")), 20.0)
    with pytest.raises(SourceDown, match="OperationalError") as raised:
        await source.rows(["example.org"])
    assert "example" not in str(raised.value)
    assert await source.answers()
    await source.close()


async def test_a_missing_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    table = "dsn:mysql://u:hush@h/d/table=t?keycol=k?datacol=v"
    with pytest.raises(TableError, match="needs the driver pymysql"):
        SigningSources(config(tmp_path, key_table=table), RedisConfig(), FakeClock())


async def test_an_unknown_kind_of_database_is_told(tmp_path: Path) -> None:
    table = "sql:dbase://u:hush@h/d table=t keycol=k datacol=v"
    with pytest.raises(TableError, match="no such kind of database") as raised:
        SigningSources(config(tmp_path, key_table=table), RedisConfig(), FakeClock())
    assert "hush" not in str(raised.value)


async def test_options_that_cannot_be_are_told(tmp_path: Path) -> None:
    table = AUTHORS.format(tmp_path).replace("dkim.db", "dkim.db?timeout=hush")
    with pytest.raises(TableError, match=r"^sqlite table authors: cannot be opened with these options$"):
        SigningSources(config(tmp_path, signing_table=table), RedisConfig(), FakeClock())


@pytest.mark.parametrize("error", [TypeError("hush"), ValueError("hush")])
async def test_a_driver_that_refuses_its_options_is_down(
    error: Exception, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sqlite3.dbapi2.connect", refuse)
    source = SqlTable(parse_sql_place(AUTHORS.format(database.parent)), 20.0)
    with pytest.raises(SourceDown, match=rf"^{type(error).__name__}$"):
        await source.rows(["example.org"])
    assert not await source.answers()
    await source.close()


async def test_missing_sqlalchemy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "actors.adapters.dkim_sql")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(TableError, match=r"pip install 'tamis\[sql\]'"):
        SigningSources(config(tmp_path), RedisConfig(), FakeClock())


async def test_missing_ldap3_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "actors.adapters.dkim_ldap", raising=False)
    monkeypatch.setitem(sys.modules, "ldap3", None)
    with pytest.raises(TableError, match=r"`ldap:` needs ldap3: pip install 'tamis\[ldap\]'"):
        SigningSources(config(tmp_path, key_table=LDAP), RedisConfig(), FakeClock())


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"", "is empty"), (b"\xff", "is no text")])
async def test_a_password_of_a_directory_that_cannot_be_read_is_told(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "p").touch(0o600)
        (tmp_path / "p").write_bytes(content)
    with pytest.raises(TableError, match=rf"`ldap_bind_password`: .*{reason}"):
        SigningSources(
            config(tmp_path, key_table=LDAP, ldap_bind_user="cn=a", ldap_bind_password="file:p"),
            RedisConfig(),
            FakeClock(),
            tmp_path,
        )


async def test_tables_in_redis_need_a_redis(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"needs `\[redis\] url`"):
        SigningSources(config(tmp_path, key_table="redis:keys"), RedisConfig(), FakeClock())


async def test_a_database_that_is_locked_holds_a_thread_and_not_the_loop(database: Path) -> None:
    source = SqlTable(parse_sql_place(AUTHORS.format(database.parent)), 0.2)
    lock = sqlite3.connect(database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    table = LookedUpTable(source, FakeClock(), 0.05, 60)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    turning = asyncio.create_task(turn())
    with pytest.raises(TableError, match="no answer in time"):
        await table.find(["example.org"])
    turning.cancel()
    assert turns > 100
    lock.execute("ROLLBACK")
    lock.close()
    await table.close()
