"""Where a table of a database lies: OpenDKIM's `dsn:` (opendkim(8), DATA SETS) or our `sql:`, in pieces. Pure.

    dsn:mysql://user:password@3306+host/database/table=T?keycol=K?datacol=D,D[?filter=F]
    sql:postgresql://user:password@host:5432/database?sslmode=verify-full table=T keycol=K datacol=D,D [filter=F]

The values of a `dsn:` are in quoted-printable; the URL of a `sql:` is SQLAlchemy's, whose query goes to the driver, and
its filter goes to the end of the setting. No error quotes the setting: it may hold a password.
"""

import quopri
import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, unquote, urlsplit

_DIALECTS = {
    # What OpenDKIM's backends are called by SQLAlchemy, with the driver that is asked for.
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "pgsql": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite",
    "sqlite3": "sqlite",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$]{0,127}")
_WORDS = re.compile(r"(\S+)\s+(table=.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SqlPlace:
    """One table: what is looked for in `key_column` has the `value_columns` as its value."""

    dialect: str
    """SQLAlchemy's, with or without the driver: postgresql+psycopg."""
    username: str
    password: str = field(repr=False)
    host: str
    port: int | None
    database: str
    """For SQLite the path."""
    table: str
    key_column: str
    value_columns: tuple[str, ...]
    condition: str = ""
    """SQL that every row has to meet as well."""
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """For the driver."""


def parse_sql_place(setting: str) -> SqlPlace:
    """Raises ValueError."""
    kind, _, rest = setting.partition(":")
    return _parse_dsn(rest.strip()) if kind == "dsn" else _parse_sql(rest.strip())


def _parse_dsn(text: str) -> SqlPlace:
    # The manual's own example has mysql:://, and OpenDKIM takes both.
    backend, _, rest = text.replace(":://", "://", 1).partition("://")
    if backend not in _DIALECTS:
        raise ValueError(f"a dsn: is for {', '.join(_DIALECTS)}")
    user_info, _, place = rest.rpartition("@")
    authority, _, path = place.partition("/")
    database, _, words = path.partition("/")
    if user_info.count(":") > 1 or "/" in user_info or "@" in user_info:
        raise ValueError("user and password of a dsn: are in quoted-printable: =3A for : and so on")
    username, _, password = (_decoded(part) for part in user_info.partition(":"))
    port, _, host = authority.rpartition("+")
    values = dict(word.partition("=")[::2] for word in words.split("?") if word)
    host, database = _decoded(host), _decoded(database)
    if _DIALECTS[backend] == "sqlite":
        # What OpenDBX does with them: the host is the beginning of the path.
        host, database = "", host + database
    return _place(
        (_DIALECTS[backend], username, password, host, _port(port), database),
        {name: _decoded(value) for name, value in values.items()},
    )


def _parse_sql(text: str) -> SqlPlace:
    match = _WORDS.fullmatch(text)
    if match is None:
        raise ValueError("a sql: is URL table=T keycol=K datacol=D")
    url, words = match[1], match[2]
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the URL of a sql: cannot be read; in it %2F stands for / and so on") from None
    if "@" in parts.path or parts.fragment or not parts.scheme:
        # It would be shown: what masks passwords looks for them before the first slash.
        raise ValueError("user and password in the URL of a sql: are percent-encoded: %2F for / and so on")
    options = tuple(parse_qsl(parts.query, keep_blank_values=True))
    if any("passw" in name.lower() for name, _ in options):
        raise ValueError("the password in the URL of a sql: stands before the host, where it is never shown")
    plain, _, condition = words.partition("filter=")
    values = dict(word.partition("=")[::2] for word in plain.split())
    dialect = _DIALECTS.get(parts.scheme, parts.scheme)
    connection = (
        dialect,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        parts.hostname or "",
        port,
        unquote(parts.path.removeprefix("/")),
    )
    place = _place(connection, values | ({"filter": condition} if condition else {}))
    return replace(place, options=options)


def _place(connection: tuple[str, str, str, str, int | None, str], values: dict[str, str]) -> SqlPlace:
    unknown = set(values) - {"table", "keycol", "datacol", "filter"}
    columns = tuple(name.strip() for name in values.get("datacol", "").split(","))
    names = (values.get("table", ""), values.get("keycol", ""), *columns)
    if unknown or not all(_NAME.fullmatch(name) for name in names):
        raise ValueError("a dsn: or sql: has table=, keycol= and datacol=, which are plain names, and perhaps filter=")
    if not connection[-1]:
        raise ValueError("a dsn: or sql: names a database")
    return SqlPlace(*connection, names[0], names[1], columns, values.get("filter", ""))


def _decoded(text: str) -> str:
    return quopri.decodestring(text.encode()).decode("utf-8", "replace")


def _port(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 1 << 16):
        raise ValueError("the port of a dsn: stands before the host: 3306+host")
    return int(text)
