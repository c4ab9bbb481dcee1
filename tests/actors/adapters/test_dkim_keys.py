"""Keys that are fetched: kept for a while, by a command, under plain names."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.adapters import dkim_command
from actors.adapters.dkim_command import KeyCommand
from actors.adapters.dkim_keys import FetchedKeys
from actors.adapters.dkim_sources import SigningSources
from actors.adapters.remembered import RETRY_S
from actors.config import RedisConfig
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.private_key import KeyUnavailable, PrivateKeyError
from actors.dkim.signing.tables import Address
from cli.config import TamisConfig
from tests.fakes import FakeClock
from tests.signing import rsa_pem
from wire.config import ConfigError, parse


class FakeFetch:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.answer: bytes | PrivateKeyError = rsa_pem()

    async def __call__(self, name: str) -> bytes:
        self.names.append(name)
        if isinstance(self.answer, PrivateKeyError):
            raise self.answer
        return self.answer


async def test_a_key_is_kept_for_its_time() -> None:
    clock, fetch = FakeClock(), FakeFetch()
    keys = FetchedKeys(fetch, clock, 300, 1024)
    assert await keys.key("a") is await keys.key("a")
    assert (await keys.key("b")).bits == 2048
    clock.advance(300)
    await keys.key("a")
    assert fetch.names == ["a", "b", "a"]


async def test_a_key_that_cannot_be_had_is_asked_for_again_soon() -> None:
    clock, fetch = FakeClock(), FakeFetch()
    fetch.answer = PrivateKeyError("away")
    keys = FetchedKeys(fetch, clock, 300, 1024)
    for _ in range(2):
        with pytest.raises(PrivateKeyError, match="away"):
            await keys.key("a")
    assert fetch.names == ["a"]
    clock.advance(RETRY_S)
    fetch.answer = rsa_pem()
    assert (await keys.key("a")).bits == 2048


@pytest.mark.parametrize(
    ("answer", "reason"), [(b"MIIhush", "cannot be read"), (rsa_pem(1024), "1024 bits is too short")]
)
async def test_what_is_no_key_is_told_without_it(answer: bytes, reason: str) -> None:
    fetch = FakeFetch()
    fetch.answer = answer
    with pytest.raises(PrivateKeyError, match=reason) as raised:
        await FetchedKeys(fetch, FakeClock(), 300, 2048).key("a")
    assert "hush" not in str(raised.value)


async def test_a_key_holds_while_nobody_can_say_and_not_when_it_is_gone() -> None:
    clock, fetch = FakeClock(), FakeFetch()
    keys = FetchedKeys(fetch, clock, 300, 1024)
    had = await keys.key("a")
    clock.advance(300)
    fetch.answer = KeyUnavailable("away")
    assert await keys.key("a") is had
    clock.advance(300)
    fetch.answer = PrivateKeyError("there is no such key")
    with pytest.raises(PrivateKeyError, match="no such key"):
        await keys.key("a")


@pytest.mark.parametrize("name", ["", "-rf", "../a", "a/../b", "a b", "a;b", "/etc/passwd", "a\n", "a" * 254, "$(x)"])
async def test_a_name_is_plain(name: str) -> None:
    fetch = FakeFetch()
    with pytest.raises(PrivateKeyError, match="name of a key"):
        await FetchedKeys(fetch, FakeClock(), 300, 1024).key(name)
    assert fetch.names == []


# -- the command


def command(directory: Path, script: str, timeout_s: float = 10.0) -> KeyCommand:
    path = directory / "fetch"
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{script}\n")
    path.chmod(0o700)
    return KeyCommand((str(path), "get", "key={name}"), timeout_s)


@pytest.mark.live
async def test_a_command_prints_the_key_of_a_name(tmp_path: Path) -> None:
    assert await command(tmp_path, "print(sys.argv[1:])").fetch("example.org/2026a") == (
        b"['get', 'key=example.org/2026a']\n"
    )


@pytest.mark.live
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("sys.stderr.write('hush'); sys.exit(3)", "ended with exit code 3"),
        ("sys.stdout.write('hush' * 50_000)", "prints more than a key"),
        ("time.sleep(100)", "did not end in time"),
        ("sys.stdout.close(); time.sleep(100)", "did not end in time"),
        ("print('k', flush=True)\nif os.fork() == 0: os.setsid(); time.sleep(20)", "did not end in time"),
        ("while True: sys.stdout.write('hush' * 50_000)", "prints more than a key"),
    ],
)
async def test_a_command_that_fails_is_told_without_what_it_says(script: str, reason: str, tmp_path: Path) -> None:
    started_s = time.monotonic()
    with pytest.raises(PrivateKeyError, match=reason) as raised:
        await command(tmp_path, script, 3.0 if "time" in reason else 60.0).fetch("a")
    assert "hush" not in str(raised.value)
    assert time.monotonic() - started_s < 60


@pytest.mark.live
async def test_a_command_that_takes_too_long_leaves_no_process(tmp_path: Path) -> None:
    script = f"""
child = os.fork()
open({str(tmp_path / "pids")!r}, "a").write(f"{{os.getpid()}}\\n")
time.sleep(100)
"""
    with pytest.raises(PrivateKeyError, match="in time"):
        await command(tmp_path, script, 3.0).fetch("a")
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    for _ in range(100):
        if not any(_runs(pid) for pid in pids):
            break
        await asyncio.sleep(0.05)
    assert not any(_runs(pid) for pid in pids)


async def test_the_time_of_a_command_begins_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, keys = LoopClock(monkeypatch), KeyCommand(("vault", "{name}"), 5.0)

    async def output(_: str, names: Sequence[str]) -> bytes:
        clock.now_s += 0.9
        await asyncio.sleep(0)
        return names[0].encode()

    monkeypatch.setattr(dkim_command, "_output", output)
    names = [f"k{number}" for number in range(20)]
    assert await asyncio.gather(*map(keys.fetch, names)) == [name.encode() for name in names]


async def test_who_gets_no_turn_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, keys = LoopClock(monkeypatch), KeyCommand(("vault", "{name}"), 25.0)
    starts = 0

    async def output(_: str, __: Sequence[str]) -> bytes:
        nonlocal starts
        starts += 1
        await asyncio.get_running_loop().create_future()
        return b""

    monkeypatch.setattr(dkim_command, "_output", output)
    ticking = asyncio.create_task(clock.run())
    answers = await asyncio.gather(*(keys.fetch(f"k{number}") for number in range(9)), return_exceptions=True)
    ticking.cancel()
    told = [str(answer) for answer in answers]
    assert told == ["vault did not end in time"] * 8 + ["vault is asked for too many keys at once"]
    assert starts == 8


class LoopClock:
    """The clock of the running loop, which stands still unless it is told; nothing may wait for it in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now_s)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self.now_s += 0.5
            await asyncio.sleep(0)


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.live
async def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(PrivateKeyError, match="/nowhere/vault: No such file"):
        await KeyCommand(("/nowhere/vault", "{name}"), 1.0).fetch("a")


@pytest.mark.live
async def test_a_key_table_names_keys_of_the_command(tmp_path: Path) -> None:
    script = f"print(open({str(tmp_path)!r} + '/' + sys.argv[2].partition('=')[2]).read())"
    (tmp_path / "example.org").write_bytes(rsa_pem())
    config = SigningConfig(
        key_table="csl:k=%:main:command:%",
        signing_table="csl:*=k",
        key_command=command(tmp_path, script)._argv,
    )
    sources = SigningSources(config, RedisConfig(), FakeClock())
    (request,) = await sources.tables.requests(Address("joe", "example.org"))
    assert request.key == "command:example.org"
    assert (await sources.key(request.key)).bits == 2048
    (other,) = await sources.tables.requests(Address("joe", "example.net"))
    with pytest.raises(PrivateKeyError, match="exit code 1"):
        await sources.key(other.key)
    await sources.close()


@pytest.mark.parametrize(
    ("key", "reason"), [("command:a", "need .*key_command"), ("redis:a", "need .*key_encryption_keys")]
)
async def test_what_a_kind_of_key_needs_is_named(key: str, reason: str) -> None:
    sources = SigningSources(SigningConfig(), RedisConfig(), FakeClock())
    with pytest.raises(PrivateKeyError, match=reason):
        await sources.key(key)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('key_command = ["/bin/vault", "get"]', "in an argument"),
        ('key_encryption_keys = "hush"', "file:PATH or env:NAME"),
        ("key_ttl_s = -1", "`key_ttl_s` must be at least 0"),
        ("table_timeout_s = 0.0", "`table_timeout_s` must be greater"),
    ],
)
def test_a_wrong_setting_is_told(line: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as raised:
        parse(f"[dkim.signing]\n{line}\n", TamisConfig)
    assert "hush" not in str(raised.value)
