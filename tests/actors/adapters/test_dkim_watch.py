"""Tables and keys of a running cell: what changes is read, what breaks leaves the last good state."""

import logging
from pathlib import Path

import msgspec
import pytest

from actors.adapters import dkim_files
from actors.adapters.dkim_files import KEYS_MAX, KeyFiles
from actors.adapters.dkim_sources import SigningSources
from actors.adapters.dkim_watch import EVERY_S, LISTS_S, TOLD_AGAIN_S, WatchedKeys, WatchedSigning
from actors.config import DkimConfig, JudgementConfig, RedisConfig, check_signing
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.private_key import PrivateKey, PrivateKeyError, generate_ed25519
from actors.dkim.signing.tables import Address, TableError, TableUnavailable
from tests.fakes import FakeClock
from wire.config import ConfigError

ALICE = Address("alice", "a.example")


def config(directory: Path) -> SigningConfig:
    (directory / "keys").write_text("k1 a.example:s1:/k1\nk2 a.example:s2:/k2\n")
    (directory / "signing").write_text("a.example k1\n")
    return SigningConfig(key_table=f"file:{directory}/keys", signing_table=f"file:{directory}/signing")


def watched_signing(settings: SigningConfig, clock: FakeClock) -> WatchedSigning:
    return WatchedSigning(settings, lambda: SigningSources(settings, RedisConfig(), clock), clock)


async def selector(watched: WatchedSigning) -> str:
    (request,) = await (await watched.current()).tables.requests(ALICE)
    return request.selector


async def test_a_table_that_changes_is_read_again_but_not_at_every_message(tmp_path: Path) -> None:
    clock = FakeClock()
    watched = watched_signing(config(tmp_path), clock)
    assert await selector(watched) == "s1"
    (tmp_path / "signing").write_text("a.example k2 \n")
    assert await selector(watched) == "s1"
    clock.advance(EVERY_S)
    assert await selector(watched) == "s2"


async def test_a_table_that_breaks_leaves_the_last_good_one_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    watched = watched_signing(config(tmp_path), clock)
    await watched.current()
    (tmp_path / "signing").unlink()
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        clock.advance(EVERY_S)
        assert await selector(watched) == "s1"
    assert [record.message.split(":")[0] for record in caplog.records] == ["signing_tables readable=no kept=True"]
    (tmp_path / "signing").write_text("a.example k2\n")
    clock.advance(EVERY_S)
    assert await selector(watched) == "s2"
    assert caplog.records[-1].message == "signing_tables readable=yes"


async def test_tables_that_could_never_be_read_are_an_error_until_they_can(tmp_path: Path) -> None:
    clock = FakeClock()
    settings = config(tmp_path)
    (tmp_path / "signing").unlink()
    watched = watched_signing(settings, clock)
    for _ in range(2):
        with pytest.raises(TableError, match="signing: No such file"):
            await watched.current()
    (tmp_path / "signing").write_text("a.example k2\n")
    clock.advance(EVERY_S)
    assert await selector(watched) == "s2"


def key_file(path: Path) -> str:
    key = generate_ed25519()
    path.unlink(missing_ok=True)
    path.write_bytes(key.pem())
    path.chmod(0o600)
    return key.public_base64


async def test_a_key_that_is_exchanged_is_read_again(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "k"
    keys = WatchedKeys(KeyFiles(), clock)
    first = key_file(path)
    assert (await keys.key(str(path))).public_base64 == first
    second = key_file(path)
    assert (await keys.key(str(path))).public_base64 == first
    clock.advance(EVERY_S)
    assert (await keys.key(str(path))).public_base64 == second


async def test_a_key_that_cannot_be_read_any_more_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, path = FakeClock(), tmp_path / "k"
    keys = WatchedKeys(KeyFiles(), clock)
    first = key_file(path)
    await keys.key(str(path))
    path.chmod(0o644)
    for _ in range(3):
        clock.advance(EVERY_S)
        assert (await keys.key(str(path))).public_base64 == first
    assert [record.message for record in caplog.records] == [
        f"signing_key readable=no kept=True: {path}: others can read or write this key; chmod 600"
    ]


async def test_a_key_that_never_could_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PrivateKeyError, match="No such file"):
        await WatchedKeys(KeyFiles(), FakeClock()).key(str(tmp_path / "k"))


async def test_keys_in_memory_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.adapters.dkim_watch.KEYS_MAX", 2)
    assert KEYS_MAX > 2
    keys = WatchedKeys(KeyFiles(), FakeClock())
    for name in ("a", "b", "c"):
        key_file(tmp_path / name)
        await keys.key(str(tmp_path / name))
    assert len(keys._kept) == 2


@pytest.mark.parametrize("broken", ["signing", "keys"])
async def test_settings_whose_tables_cannot_be_read_are_refused(broken: str, tmp_path: Path) -> None:
    settings = JudgementConfig(dkim=DkimConfig(signing=config(tmp_path)))
    await check_signing(settings)
    (tmp_path / broken).unlink()
    with pytest.raises(ConfigError, match=rf"\[dkim\.signing\]: .*{broken}: No such file"):
        await check_signing(settings)


async def test_without_signing_nothing_is_read() -> None:
    await check_signing(JudgementConfig())


async def test_a_list_that_cannot_be_read_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    settings = msgspec.structs.replace(config(tmp_path), internal_hosts=f"file:{tmp_path}/hosts")
    (tmp_path / "hosts").write_text("192.0.2.0/99\n")
    watched = watched_signing(settings, clock)
    looks = Calls(monkeypatch, "_host_list")
    for _ in range(5):
        with pytest.raises(TableError, match="no network"):
            await watched.current()
        clock.advance(EVERY_S)
    assert looks.count == 1
    (tmp_path / "hosts").write_text("192.0.2.0/24\n")
    assert (await watched.current()).rules.internal_hosts.match("", "192.0.2.1")


async def test_only_what_changed_is_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, parsed = FakeClock(), Calls(monkeypatch, "parse_entries")
    watched = watched_signing(config(tmp_path), clock)
    before = (await watched.current()).tables
    (tmp_path / "signing").write_text("a.example k2 \n")
    clock.advance(EVERY_S)
    after = (await watched.current()).tables
    assert after.keys is before.keys
    assert after.signing is not before.signing
    clock.advance(LISTS_S)
    await watched.current()
    assert parsed.count == 3


class Calls:
    """How often a function of dkim_files.py is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.count = 0
        self._function = getattr(dkim_files, name)
        monkeypatch.setattr(dkim_files, name, self)

    def __call__(self, *args: object, **options: object) -> object:
        self.count += 1
        return self._function(*args, **options)


async def test_lists_are_read_again_though_no_file_changed_and_services_stay_open(tmp_path: Path) -> None:
    settings, clock = config(tmp_path), FakeClock()
    opened: list[Store] = []

    def open_store() -> Store:
        opened.append(Store(settings, RedisConfig(), clock))
        return opened[-1]

    watched = WatchedSigning(settings, open_store, clock)
    assert not (await watched.current()).rules.signs
    clock.advance(LISTS_S)
    assert (await watched.current()).rules.signs
    (tmp_path / "signing").write_text("a.example k2 \n")
    clock.advance(EVERY_S)
    assert await selector(watched) == "s2"
    assert [one.closed for one in opened] == [False], "what it keeps of services is not lost"
    assert (await (await watched.current()).keys.key("store:k")).public_base64 == STORED.public_base64
    await watched.close()
    assert [one.closed for one in opened] == [True]


async def test_tables_that_change_are_taken_while_a_list_cannot_be_read_and_the_log_says_so_every_hour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, clock = config(tmp_path), FakeClock()
    store = Store(settings, RedisConfig(), clock)
    watched = WatchedSigning(settings, lambda: store, clock)
    assert await selector(watched) == "s1"
    before = (await watched.current()).rules
    store.away = True
    (tmp_path / "signing").write_text("a.example k2 \n")
    for _ in range(2):
        clock.advance(LISTS_S)
        assert await selector(watched) == "s2"
    assert (await watched.current()).rules is before
    told = "signing_tables readable=no kept=True: away"
    assert caplog.messages == [told]
    clock.advance(TOLD_AGAIN_S)
    await watched.current()
    assert caplog.messages == [told, told]


async def test_lists_that_change_are_taken_while_a_table_cannot_be_read(tmp_path: Path) -> None:
    settings, clock = config(tmp_path), FakeClock()
    store = Store(settings, RedisConfig(), clock)
    watched = WatchedSigning(settings, lambda: store, clock)
    assert not (await watched.current()).rules.signs
    (tmp_path / "signing").unlink()
    clock.advance(EVERY_S)
    assert (await watched.current()).rules.signs
    assert await selector(watched) == "s1"


async def test_a_list_of_a_service_that_is_away_is_asked_for_soon(tmp_path: Path) -> None:
    settings, clock = config(tmp_path), FakeClock()
    store = Store(settings, RedisConfig(), clock)
    store.away = True
    watched = WatchedSigning(settings, lambda: store, clock)
    with pytest.raises(TableError, match="away"):
        await watched.current()
    store.away = False
    clock.advance(EVERY_S)
    assert await selector(watched) == "s1"


STORED = generate_ed25519()


class Store(SigningSources):
    """A list that is elsewhere and changes, and a key."""

    asked = 0
    away = False
    closed = False

    async def rules(self) -> SigningRules:
        if self.away:
            raise TableUnavailable("away")
        self.asked += 1
        return SigningRules(signs=self.asked > 1)

    async def key(self, text: str) -> PrivateKey:
        assert text == "store:k"
        return STORED

    async def close(self) -> None:
        self.closed = True
