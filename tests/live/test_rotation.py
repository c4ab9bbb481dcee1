"""`tamis dkim rotate` with two BINDs, of which one lags: processes that are killed, and the next that go on."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from actors.adapters.authority import AuthoritativeServers
from actors.adapters.dns_update import DnsUpdate, read_tsig_key
from actors.adapters.zone_fragment import ZoneFragments
from actors.dkim.key import parse_key
from actors.dkim.rotation.config import RotationConfig
from actors.dkim.rotation.ports import RotationError
from actors.dkim.signing.private_key import generate_rsa, load_private_key
from actors.dkim.signing.publication import REVOKED_RECORD, key_record
from actors.ports import LookupFailed
from bench.peers.processes import program
from tests.conftest import PROJECT
from tests.live.name_servers import NEGATIVE_TTL_S, PRIMARY, SECONDARY, NameServers, name_servers

pytestmark = pytest.mark.live

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)
OLD, NEW = "old._domainkey.example.org", "202611a._domainkey.example.org"
TTL_S = 900
_DYING = """
import asyncio, os, signal, sys
import dns.asyncquery
import cli.__main__
owner, name, number, when = sys.argv[1].split(":")
module = {"os": os, "dns": dns.asyncquery}[owner]
real, calls = getattr(module, name), []
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def sync(*words, **more):
    calls.append(words)
    if len(calls) == int(number) and when == "before":
        die()
    result = real(*words, **more)
    if len(calls) == int(number):
        die()
    return result
async def later(*words, **more):
    result = await real(*words, **more)
    die()
setattr(module, name, later if asyncio.iscoroutinefunction(real) else sync)
cli.__main__.main(sys.argv[2:])
"""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[NameServers]:
    with name_servers(tmp_path) as running:
        yield running


class Operator:
    """Runs the command at times of his choice."""

    def __init__(self, directory: Path, servers: NameServers) -> None:
        self.directory = directory
        (directory / "keys").mkdir()
        key = generate_rsa(2048)
        self.old = directory / "keys" / "old.private"
        self.old.write_bytes(key.pem())
        self.old.chmod(0o600)
        self.new = directory / "keys" / "example.org.202611a.private"
        self.table = directory / "KeyTable"
        self.table.write_text(f"# ours\nr example.org:old:{self.old}\n")
        endpoints = [servers.endpoint(address) for address in (PRIMARY, SECONDARY)]
        (directory / "SigningTable").write_text("example.org r\n")
        (directory / "tamis.toml").write_text(
            f'[dkim.signing]\nkey_table = "file:{self.table}"\nsigning_table = "file:{directory}/SigningTable"\n'
            f'[dkim.rotation]\npublish = "nsupdate"\nupdate_server = "{endpoints[0]}"\ntsig_file = "{servers.tsig}"\n'
            f"name_servers = {json.dumps(endpoints)}\nserver_timeout_s = 0.5\nttl_s = {TTL_S}\n"
            f'state_directory = "{directory}/state"\n'
        )

    def rotate(self, after: timedelta, *words: str, dies: str = "") -> dict[str, object]:
        """The one key as --json tells it; `dies` is MODULE:FUNCTION:NUMBER:before|after."""
        at = (BEGIN + after).isoformat()
        command = ["dkim", "rotate", *words, "--config", str(self.directory / "tamis.toml"), "--json", "--at", at]
        start = ["-c", _DYING, dies] if dies else ["-m", "cli"]
        environment = os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT}/proto"}
        ended = subprocess.run(
            [sys.executable, *start, *command], capture_output=True, text=True, env=environment, check=False
        )
        if dies:
            assert ended.returncode == -signal.SIGKILL, ended.stderr
            return {}
        assert ended.stdout, ended.stderr
        return json.loads(ended.stdout)


def test_a_rotation_that_is_killed_again_and_again_ends_with_the_new_key_alone(
    tmp_path: Path, servers: NameServers
) -> None:
    operator, zero, hours = Operator(tmp_path, servers), timedelta(), timedelta(hours=1)
    old_key = key_record(load_private_key(operator.old.read_bytes()))
    publish(servers, OLD, old_key)
    servers.transfer()
    untouched = operator.table.read_text()

    assert operator.rotate(zero, "--dry-run", "--now", "r")["text"] == f"was asked for: 202611a, {operator.new}"
    operator.rotate(zero, "--now", "r", dies="os:rename:1:before")
    assert operator.rotate(zero, "status")["phase"] is None
    operator.rotate(zero, "--now", "r", dies="os:rename:2:after")
    assert operator.new.exists()
    assert servers.texts(NEW, PRIMARY) == []
    operator.rotate(zero, dies="dns:tcp:1:after")
    (record,) = servers.texts(NEW, PRIMARY)
    new_key = load_private_key(operator.new.read_bytes())
    assert new_key.matches(parse_key(record))
    published = operator.rotate(zero)
    assert (published["phase"], published["done"]) == ("published", ["publish"])
    assert published["behind"] == [f"{SECONDARY} port {servers.port}: no record"]

    servers.transfer()
    assert operator.rotate(hours)["phase"] == "visible"
    servers.stop(SECONDARY)
    silent = operator.rotate(hours * 2)
    assert (silent["phase"], silent["step"]) == ("visible", "wait")
    assert SECONDARY in silent["silent"][0]  # type: ignore[index]
    servers.start(SECONDARY)
    assert operator.table.read_text() == untouched
    waiting = operator.rotate(hours + timedelta(seconds=NEGATIVE_TTL_S - 1))
    assert waiting["due"] == (BEGIN + hours + timedelta(seconds=NEGATIVE_TTL_S)).isoformat()
    operator.rotate(hours * 2, dies="os:rename:1:after")
    assert operator.table.read_text() == f"# ours\nr example.org:202611a:{operator.new}\n"
    assert operator.rotate(hours * 2)["phase"] == "switched"

    week = hours * 2 + timedelta(days=7)
    assert operator.rotate(week - timedelta(seconds=1))["phase"] == "switched"
    operator.rotate(week, dies="dns:tcp:1:after")
    withdrawn = operator.rotate(week)
    assert (withdrawn["phase"], servers.texts(OLD, PRIMARY)) == ("withdrawn", [])
    assert withdrawn["behind"] == [f"{SECONDARY} port {servers.port}: is still published"]
    assert operator.old.exists()
    servers.transfer()
    operator.rotate(week + hours, dies="os:unlink:1:before")
    assert operator.rotate(week + hours)["phase"] == "retired"
    assert sorted(operator.new.parent.iterdir()) == [operator.new]
    assert [servers.texts(NEW, address) for address in (PRIMARY, SECONDARY)] == [[record], [record]]

    lines = [json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text().splitlines()]
    done = [line["step"] for line in lines if line["event"] == "done"]
    assert done == ["begin", "publish", "visible", "switch", "withdraw", "retire"], "one was killed before it was told"
    assert not any(line in (tmp_path / "state" / "audit.jsonl").read_text() for line in pem_lines(operator.new))


def pem_lines(path: Path) -> list[str]:
    return path.read_text().splitlines()[1:-1]


def publish(servers: NameServers, name: str, record: str) -> None:
    asyncio.run(updates(servers).publish("example.org", name, record))


def updates(servers: NameServers, **settings: object) -> DnsUpdate:
    """By the primary, with its key, unless told otherwise."""
    own = {"update_server": servers.endpoint(PRIMARY), "tsig_file": str(servers.tsig), "ttl_s": TTL_S}
    config = RotationConfig(publish="nsupdate", **own | settings)
    key = read_tsig_key(config, {"SECRET": "d3JvbmcgYnV0IGJhc2U2NCwgb2YgMzIgYnl0ZXMhISE="})
    return DnsUpdate(config, AuthoritativeServers(config, [servers.endpoint(PRIMARY)], servers.port), key)


def test_servers_are_found_by_the_zones_ns_records_and_each_address_is_asked(servers: NameServers) -> None:
    config = RotationConfig(server_timeout_s=0.5)
    record = key_record(generate_rsa(4096))

    async def ask() -> tuple[object, ...]:
        found = AuthoritativeServers(config, [servers.endpoint(PRIMARY)], servers.port)
        return await found.ask(NEW), await found.ask("absent._domainkey.example.org")

    publish(servers, NEW, record)
    answers, absent = asyncio.run(ask())
    texts = {answer.server: (answer.records, answer.ttl_s) for answer in answers.servers}
    at = f" port {servers.port})"
    assert texts == {
        f"ns1.example.org ({PRIMARY}{at}": ((record.encode(),), TTL_S),
        f"ns2.example.org ({SECONDARY}{at}": ((), 0),
    }
    assert absent.negative_ttl_s == answers.negative_ttl_s == NEGATIVE_TTL_S
    servers.stop(SECONDARY)
    servers.add("example.org", "NS", "ns3.example.net.")
    answers, _ = asyncio.run(ask())
    silent = {answer.server: answer.silence for answer in answers.servers}
    assert silent.pop(f"ns1.example.org ({PRIMARY}{at}") == ""
    assert silent.pop(f"ns2.example.org ({SECONDARY}{at}")
    assert "REFUSED" in silent["ns3.example.net"], "its addresses cannot be looked up"


def test_a_server_without_authority_and_a_domain_without_servers_are_told(servers: NameServers) -> None:
    config = RotationConfig(name_servers=(servers.endpoint(PRIMARY),), server_timeout_s=0.5)
    with pytest.raises(LookupFailed, match="REFUSED"):
        asyncio.run(AuthoritativeServers(config).ask("s._domainkey.example.net"))
    config = RotationConfig(name_servers=("127.0.0.1:9",), server_timeout_s=0.2)
    with pytest.raises(LookupFailed, match=r"127\.0\.0\.1 port 9: "):
        asyncio.run(AuthoritativeServers(config).ask(NEW))


def test_an_update_replaces_the_record_and_removes_it(servers: NameServers) -> None:
    update = updates(servers)
    for record in ("v=DKIM1; p=" + "A" * 600, REVOKED_RECORD):
        asyncio.run(update.publish("example.org", NEW, record))
        assert servers.texts(NEW, PRIMARY) == [record.encode()]
    asyncio.run(updates(servers).remove("example.org", NEW))
    assert servers.texts(NEW, PRIMARY) == []


def test_an_update_with_a_wrong_or_unknown_key_changes_nothing(servers: NameServers) -> None:
    for name in ("rotate", "stranger"):
        wrong = updates(servers, tsig_file="", tsig_environment="SECRET", tsig_name=name)
        with pytest.raises(RotationError, match=r"BADSIG|BADKEY|NOTAUTH|signature|TSIG|no update"):
            asyncio.run(wrong.publish("example.org", NEW, REVOKED_RECORD))
        assert servers.texts(NEW, PRIMARY) == []


def test_a_fragment_is_taken_by_named_checkzone(tmp_path: Path) -> None:
    fragments = ZoneFragments(str(tmp_path / "{domain}.keys"), TTL_S)
    record = key_record(generate_rsa(4096))
    asyncio.run(fragments.publish("example.org", OLD, record))
    asyncio.run(fragments.publish("example.org", NEW, record))
    asyncio.run(fragments.revoke("example.org", OLD, REVOKED_RECORD))
    (tmp_path / "zone").write_text(
        f"$TTL 300\n@ IN SOA ns1 h 1 2 3 4 5\n@ IN NS ns1\nns1 IN A {PRIMARY}\n$INCLUDE {tmp_path}/example.org.keys\n"
    )
    command = [program("named-checkzone"), "-D", "-o", "-", "example.org", str(tmp_path / "zone")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    lines = [line for line in checked.stdout.splitlines() if "_domainkey" in line]
    assert len(lines) == 2
    assert any(OLD in line and "v=DKIM1; p=" in line for line in lines)
