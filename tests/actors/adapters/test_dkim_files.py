"""Tables, lists and keys from files: kinds of data sets, safe key files, keys that are exchanged."""

import base64
import os
from pathlib import Path

import pytest

from actors.adapters.dkim_files import (
    KeyFiles,
    hosts_of,
    key_file_problem,
    macros_of,
    open_table,
    open_tables,
    read_rules,
)
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.private_key import PrivateKeyError, generate_ed25519
from actors.dkim.signing.tables import Address, Entry, TableError
from cli.config import TamisConfig
from tests.signing import rsa_pem
from wire.config import ConfigError, parse


@pytest.mark.parametrize("setting", ["file:t", "{directory}/t"])
async def test_a_file_holds_names(setting: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a.example k1\n*@b.example k2\n")
    table = open_table(setting.format(directory=tmp_path), tmp_path)
    assert await table.find(["x@b.example", "a.example"]) == [Entry("a.example", "k1")]


async def test_a_refile_holds_patterns(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a.example k1\n*@b.example k2\n")
    assert await open_table("refile:t", tmp_path).find(["x@b.example", "a.example"]) == [Entry("*@b.example", "k2")]


@pytest.mark.parametrize("setting", ["csl:a.example=k1,b", "a.example=k1,b"])
async def test_a_list_stands_in_the_setting_itself(setting: str) -> None:
    assert await open_table(setting).entries() == (Entry("a.example", "k1"), Entry("b", ""))


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("file:/nowhere/t", "No such file"),
        ("dsn:mysql://u:p@h/d", "kind `dsn:` are not supported"),
        ("refile:latin", "utf-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_an_error(setting: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(TableError, match=reason):
        open_table(setting, tmp_path)


async def test_a_network_that_is_none_is_an_error() -> None:
    with pytest.raises(TableError, match=r"192\.0\.2\.0/40"):
        await hosts_of(open_table("192.0.2.0/40"), "192.0.2.0/40")


async def test_macros_have_values_or_none() -> None:
    assert await macros_of(open_table("{a}=1|2, b")) == {"a": frozenset({"1", "2"}), "b": frozenset()}


async def test_the_settings_become_rules_and_tables(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("192.0.2.0/24\n!192.0.2.9\n")
    config = SigningConfig(
        key_table="csl:main=example.org:sel:./main.pem",
        signing_table="example.org=main",
        mode="s",
        internal_hosts="refile:hosts",
        mta="submission, smtps",
        dont_sign_mail_to="b@example.net",
    )
    rules = await read_rules(config, tmp_path)
    assert (rules.signs, rules.verifies, rules.mtas) == (True, False, {"submission", "smtps"})
    assert rules.internal_hosts.match("", "192.0.2.9").listed is False
    assert rules.dont_sign_mail_to.find_now(["B@example.net"])
    (request,) = await open_tables(config, tmp_path).requests(Address("a", "example.org"))
    assert request.key == "./main.pem"


def safe_key(path: Path, content: bytes | None = None) -> Path:
    path.write_bytes(content or generate_ed25519().pem())
    path.chmod(0o600)
    return path


async def test_a_key_is_read_from_its_file_and_read_again_when_that_changes(tmp_path: Path) -> None:
    safe_key(tmp_path / "k")
    keys = KeyFiles(directory=tmp_path)
    first = await keys.key("./k")
    assert await keys.key("./k") is first
    safe_key(tmp_path / "new").rename(tmp_path / "k")
    assert (await keys.key("./k")).public_base64 != first.public_base64


async def test_a_key_may_stand_in_the_table() -> None:
    text = "".join(rsa_pem().decode().splitlines()[1:-1])
    keys = KeyFiles()
    assert (await keys.key(text)).bits == 2048
    assert await keys.key(text) is await keys.key(text)
    with pytest.raises(PrivateKeyError, match="cannot be read") as raised:
        await keys.key("MIIsecret")
    assert "secret" not in str(raised.value)


async def test_keys_in_memory_are_bounded_and_known_by_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.adapters.dkim_files.KEYS_MAX", 2)
    texts = [base64.b64encode(bytes([number] * 32)).decode() for number in range(4)]
    keys = KeyFiles(directory=tmp_path)
    safe_key(tmp_path / "k")
    for text in (*texts, "./k"):
        await keys.key(text)
    kept = await keys.key(texts[3])
    await keys.key(texts[0])
    assert await keys.key(texts[3]) is kept, "that used longest ago goes first"
    assert len(keys._kept) == 2
    assert not any(text in repr(keys._kept) for text in texts)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
async def test_a_key_that_others_can_read_or_write_is_refused(mode: int, tmp_path: Path) -> None:
    path = safe_key(tmp_path / "k")
    path.chmod(mode)
    with pytest.raises(PrivateKeyError, match="others can read or write"):
        KeyFiles().read(path)
    assert KeyFiles(require_safe=False).read(path).key_type == "ed25519"


def test_a_key_that_became_readable_is_refused_though_it_was_read_before(tmp_path: Path) -> None:
    path = safe_key(tmp_path / "k")
    keys = KeyFiles()
    keys.read(path)
    path.chmod(0o644)
    with pytest.raises(PrivateKeyError, match="others can read"):
        keys.read(path)


def status(mode: int, uid: int, gid: int) -> os.stat_result:
    return os.stat_result((0o100000 | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


def test_owner_and_group_have_to_be_ours() -> None:
    me, ours, theirs = os.geteuid(), os.getegid(), 65_533
    assert key_file_problem(status(0o600, me, theirs)) is None
    assert key_file_problem(status(0o640, 0, ours)) is None
    assert key_file_problem(status(0o640, me, theirs)) is not None
    assert key_file_problem(status(0o600, 65_532, ours)) is not None


@pytest.mark.parametrize("name", ["missing", "directory", "pipe"])
def test_what_is_no_file_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PrivateKeyError, match=name):
        KeyFiles().read(tmp_path / name)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('canonicalization = "strict"', "simple or relaxed"),
        ('mode = "x"', "s, v or sv"),
        ("key_bits_min = 512", "at least 1024"),
        ("signature_ttl_s = -1", "at least 0"),
        ('key_table = "file:/t"', "need each other"),
        ('key_table = "csl:a=example.org:s:MIIsecret"\nsigning_table = "*=a"', "not all paths"),
        ("sender_headers = []", "must name a field"),
    ],
)
def test_a_wrong_setting_is_one_line_without_secrets(line: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as raised:
        parse(f"[dkim.signing]\n{line}\n", TamisConfig)
    assert "secret" not in str(raised.value)
