"""Where tables of a database lie, in OpenDKIM's form and in ours; passwords stay out of every text."""

import pytest

from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.sql_place import SqlPlace, parse_sql_place
from cli.config import TamisConfig
from wire.config import ConfigError, dump, parse

_COLUMNS = ("domain_name", "selector", "private_key")


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        (
            "dsn:mysql://tamis:hush@db.example/mail/table=dkim?keycol=id?datacol=domain_name,selector,private_key",
            SqlPlace("mysql+pymysql", "tamis", "hush", "db.example", None, "mail", "dkim", "id", _COLUMNS),
        ),
        (
            "dsn:mysql:://tamis:hu=3Ash=40@3306+db/mail/table=dkim?keycol=id?datacol=v?filter=id=20>=201000",
            SqlPlace("mysql+pymysql", "tamis", "hu:sh@", "db", 3306, "mail", "dkim", "id", ("v",), "id > 1000"),
        ),
        (
            "dsn:pgsql://db/mail/table=dkim?keycol=id?datacol=v",
            SqlPlace("postgresql+psycopg", "", "", "db", None, "mail", "dkim", "id", ("v",)),
        ),
        (
            "dsn:sqlite3://=2Fvar=2Flib=2F/dkim.db/table=t?keycol=k?datacol=v",
            SqlPlace("sqlite", "", "", "", None, "/var/lib/dkim.db", "t", "k", ("v",)),
        ),
        (
            "sql:postgresql://tamis:hu%2Fsh%40@db:5433/mail table=dkim keycol=id datacol=a,b filter=kind = 'a b'",
            SqlPlace(
                "postgresql+psycopg", "tamis", "hu/sh@", "db", 5433, "mail", "dkim", "id", ("a", "b"), "kind = 'a b'"
            ),
        ),
        (
            "sql:mysql+mysqldb://db/mail  table=dkim keycol=id datacol=a",
            SqlPlace("mysql+mysqldb", "", "", "db", None, "mail", "dkim", "id", ("a",)),
        ),
        (
            "sql:postgresql://db/mail?sslmode=verify-full&host=a%3A1&host=b table=dkim keycol=id datacol=v",
            SqlPlace(
                *("postgresql+psycopg", "", "", "db", None, "mail", "dkim", "id", ("v",)),
                options=(("sslmode", "verify-full"), ("host", "a:1"), ("host", "b")),
            ),
        ),
        (
            "sql:sqlite:////var/lib/dkim.db table=t keycol=k datacol=v",
            SqlPlace("sqlite", "", "", "", None, "/var/lib/dkim.db", "t", "k", ("v",)),
        ),
    ],
)
def test_a_place_is_read(setting: str, place: SqlPlace) -> None:
    assert parse_sql_place(setting) == place
    assert "hu" not in repr(place).replace("hush@", "")
    shown = dump(SigningConfig(key_table=setting, signing_table="*=k"))["key_table"]
    assert "hu" not in shown.replace("push", "")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("dsn:oracle://u:hush@h/d/table=t?keycol=k?datacol=v", "is for mysql"),
        ("dsn:mysql://u:hu:sh@h/d/table=t?keycol=k?datacol=v", "quoted-printable"),
        ("dsn:mysql://u:hu/sh@h/d/table=t?keycol=k?datacol=v", "quoted-printable"),
        ("dsn:mysql://u:hush@x+h/d/table=t?keycol=k?datacol=v", "port"),
        ("dsn:mysql://u:hush@h//table=t?keycol=k?datacol=v", "names a database"),
        ("dsn:mysql://u:hush@h/d/table=t?keycol=k", "datacol="),
        ("dsn:mysql://u:hush@h/d/table=t;drop?keycol=k?datacol=v", "plain names"),
        ("dsn:mysql://u:hush@h/d/table=t?keycol=k?datacol=v?cache=1", "plain names"),
        ("sql:postgresql://u:hush@h/d", "is URL table="),
        ("sql:postgresql://u:hu/sh@h/d table=t keycol=k datacol=v", "%2F stands for /"),
        ("sql:postgresql://u/hush@h/d table=t keycol=k datacol=v", "percent-encoded"),
        ("sql:postgresql://u:hush@h:port/d table=t keycol=k datacol=v", "cannot be read"),
        ("sql:postgresql://h/d?user=u&password=hush@ table=t keycol=k datacol=v", "before the host"),
        ("sql:postgresql://u:p@h/d#hush@ table=t keycol=k datacol=v", "percent-encoded"),
        ("sql:nonsense table=t keycol=k datacol=v", "percent-encoded"),
    ],
)
def test_what_is_no_place_is_told_without_the_password(setting: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as raised:
        parse(f'[dkim.signing]\nkey_table = "{setting}"\nsigning_table = "*=k"\n', TamisConfig)
    assert "sh@" not in str(raised.value)
