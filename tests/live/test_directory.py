"""Tables and lists of DKIM signing in a real directory, OpenLDAP's slapd on loopback."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.adapters.dkim_ldap import LdapTable
from actors.adapters.dkim_lookup import SourceDown
from actors.adapters.dkim_sources import SigningSources
from actors.config import RedisConfig
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.ldap_place import parse_ldap_place
from actors.dkim.signing.tables import Address, Entry, TableError, TableUnavailable
from tests.fakes import FakeClock
from tests.live.directory import BIND_USER, PASSWORD, Directory
from tests.signing import rsa_pem

pytestmark = pytest.mark.live

_HOSTS_COUNT = 1100
_ENTRIES = "\n".join(
    [
        "dn: ou=keys,dc=example\nobjectClass: organizationalUnit\nou: keys\n",
        "dn: ou=main,ou=keys,dc=example\nobjectClass: organizationalUnit\nobjectClass: dkim\nou: main",
        "dkimAuthor: example.org\ndkimAuthor: .example.org\ndkimAuthor: a*)(ou=*\ndkimAuthor: jörg@example.net",
        "dkimDomain: %\ndkimSelector: 2026a\ndkimKey: ./k\n",
        "dn: dc=org,ou=keys,dc=example\nobjectClass: dcObject\nobjectClass: organization\no: org\ndc: org\n",
        "dn: dc=example,dc=org,ou=keys,dc=example\nobjectClass: dcObject\nobjectClass: organization\no: main",
        "dc: example\n",
        "dn: ou=open,dc=example\nobjectClass: organizationalUnit\nou: open\n",
        "dn: ou=all,ou=open,dc=example\nobjectClass: organizationalUnit\nobjectClass: dkim\nou: all",
        "dkimAuthor: 192.0.2.0/24\ndkimAuthor: !192.0.2.9\ndkimDomain: example.org\n",
        *(
            f"dn: ou=h{number},ou=open,dc=example\nobjectClass: organizationalUnit\nobjectClass: dkim\nou: h{number}\n"
            f"dkimAuthor: 10.0.{number >> 8}.{number & 255}\n"
            for number in range(_HOSTS_COUNT)
        ),
    ]
)
_AUTHORS = "ldap://127.0.0.1:{}/ou=keys,dc=example?ou?sub?(dkimAuthor=$d)"
_KEYS = "ldap://127.0.0.1:{}/ou=keys,dc=example?dkimDomain,DKIMSELECTOR,dkimKey?sub?(ou=$d)"
_HOSTS = "ldap://127.0.0.1:{}/ou=open,dc=example??sub?(dkimAuthor=$d)"


@pytest.fixture(scope="module")
def directory() -> Iterator[Directory]:
    with Directory(_ENTRIES) as running:
        yield running


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "k").write_bytes(rsa_pem())
    for name in ("password", "k"):
        (tmp_path / name).chmod(0o600)
    return tmp_path


def config(port: int, **settings: object) -> SigningConfig:
    given = {
        "key_table": _KEYS.format(port),
        "signing_table": _AUTHORS.format(port),
        "multiple_signatures": True,
        "table_timeout_s": 20.0,
        "ldap_bind_user": BIND_USER,
        "ldap_bind_password": "file:password",
    }
    return SigningConfig(**(given | settings))  # type: ignore[arg-type]


@asynccontextmanager
async def opened(port: int, work: Path, **settings: object) -> AsyncIterator[SigningSources]:
    sources = SigningSources(config(port, **settings), RedisConfig(), FakeClock(), work)
    try:
        yield sources
    finally:
        await sources.close()


@asynccontextmanager
async def peer(answer: bytes = b"") -> AsyncIterator[int]:
    """The port of what takes connections and gives this answer to whatever comes, or none."""
    held: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        while await reader.read(4096):
            writer.write(answer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        for writer in held:
            writer.close()
        server.close()


@asynccontextmanager
async def table(setting: str, work: Path, **settings: object) -> AsyncIterator[LdapTable]:
    source = LdapTable(parse_ldap_place(setting), config(1, **settings), work)
    try:
        yield source
    finally:
        await source.close()


async def test_a_directory_chooses_the_keys(directory: Directory, work: Path) -> None:
    async with opened(directory.port, work) as sources:
        requests = await sources.tables.requests(Address("joe", "sub.example.org"))
        assert [(one.name, one.domain, one.selector, one.matched) for one in requests] == [
            ("main", "sub.example.org", "2026a", ".example.org")
        ]
        assert (await sources.key(requests[0].key)).bits == 2048
        assert len(await sources.tables.requests(Address("jörg", "example.net"))) == 1
        assert await sources.tables.requests(Address("ann", "other.example")) == ()
        assert [entry.value for entry in await sources.tables.keys.entries() if entry.name == "main"] == ["%:2026a:./k"]


async def test_lists_are_read_whole_in_pages_beyond_the_servers_limit_and_as_nobody(
    directory: Directory, work: Path
) -> None:
    settings = {"internal_hosts": _HOSTS.format(directory.port), "ldap_bind_user": "", "ldap_bind_password": ""}
    async with opened(directory.port, work, **settings) as sources:
        rules = await sources.rules()
    matches = [rules.internal_hosts.match("", ip) for ip in ("192.0.2.1", "192.0.2.9", "10.0.2.187", "192.0.3.1")]
    assert [match and match.listed for match in matches] == [True, False, True, None]


async def test_what_mail_brings_is_never_a_filter(directory: Directory, work: Path) -> None:
    async with table(_AUTHORS.format(directory.port), work) as source:
        assert await source.rows(["*"]) == []
        assert await source.rows(["x)(ou=*", "\\2a", "a\x00", ""]) == []
        assert Entry("a*)(ou=*", "main") in await source.rows(["a*)(ou=*"])


async def test_a_base_can_be_made_of_the_name(directory: Directory, work: Path) -> None:
    setting = f"ldap://127.0.0.1:{directory.port}/$D,ou=keys,dc=example?o?base?(objectClass=dcObject)"
    async with table(setting, work) as source:
        names = ["nobody.example", "example.org", "$D.org", "example,dc=org", "ä\\.org"]
        assert await source.rows(names) == [Entry("example.org", "main")]
        with pytest.raises(SourceDown, match="can be listed only with"):
            await source.all_rows()


async def test_what_mail_brings_is_never_a_base_nor_a_filter_beside_it(directory: Directory, work: Path) -> None:
    by_base = f"ldap://127.0.0.1:{directory.port}/ou=$d,dc=example?ou?base"
    async with table(by_base, work) as source:
        assert await source.rows(["main,ou=keys", "open"]) == [Entry("open", "open")]
    by_both = f"ldap://127.0.0.1:{directory.port}/dc=example?ou?sub?(|(dkimAuthor=$d)(dkimAuthor=.$d)(dc=$D))"
    async with table(by_both, work) as source:
        assert await source.rows(["*", "x)(ou=*", "example.org"]) == [Entry("example.org", "main")]


@pytest.mark.parametrize(
    ("attribute", "name"), [("organizationalUnitName", "all"), ("dkimDomain", "example.org")], ids=["alias", "hidden"]
)
async def test_an_entry_whose_name_is_not_told_is_no_answer(
    attribute: str, name: str, directory: Directory, work: Path
) -> None:
    setting = f"ldap://127.0.0.1:{directory.port}/ou=open,dc=example?ou?sub?({attribute}=$d)"
    async with table(setting, work, ldap_bind_user="", ldap_bind_password="") as source:
        for asked in (source.rows([name]), source.all_rows()):
            with pytest.raises(SourceDown, match=f"an entry comes without {attribute}: "):
                await asked


async def test_a_base_that_is_not_there_is_no_answer(directory: Directory, work: Path) -> None:
    async with table(_AUTHORS.format(directory.port).replace("ou=keys", "ou=kies"), work) as source:
        with pytest.raises(SourceDown, match="noSuchObject"):
            await source.rows(["example.org"])
        assert await source.answers()


async def test_a_password_that_is_wrong_is_told_without_it(directory: Directory, work: Path) -> None:
    (work / "password").write_text("wrong")
    async with opened(directory.port, work) as sources:
        with pytest.raises(TableUnavailable, match="LDAPBindError") as raised:
            await sources.tables.requests(Address("joe", "example.org"))
    assert "wrong" not in str(raised.value)
    assert "cn=tamis" not in str(raised.value)


@pytest.mark.parametrize("by", ["ldaps", "starttls"])
async def test_tls_verifies_who_answers(by: str, directory: Directory, work: Path) -> None:
    setting, start = _AUTHORS.format(directory.port), by == "starttls"
    if not start:
        setting = _AUTHORS.format(directory.tls_port).replace("ldap:", "ldaps:")
    async with table(setting, work, ldap_use_tls=start, ldap_ca_file=str(directory.authority)) as source:
        assert Entry("example.org", "main") in await source.rows(["example.org"])
    for other, authority in ((setting, ""), (setting.replace("127.0.0.1", "127.1"), str(directory.authority))):
        async with table(other, work, ldap_use_tls=start, ldap_ca_file=authority) as source:
            with pytest.raises(SourceDown):
                await source.rows(["example.org"])


async def test_a_directory_may_be_away_at_the_start_and_later(work: Path) -> None:
    with Directory(_ENTRIES) as running:
        running.stop()
        async with opened(running.port, work, table_ttl_s=0) as sources:
            with pytest.raises(TableUnavailable):
                await sources.tables.requests(Address("joe", "example.org"))
            running.start()
            assert len(await sources.tables.requests(Address("joe", "example.org"))) == 1
            running.stop()
            running.start()
            # The kept connection is a dead one.
            assert len(await sources.tables.requests(Address("ann", "example.org"))) == 1


async def test_an_answer_has_a_bound(directory: Directory, work: Path) -> None:
    setting = f"ldap://127.0.0.1:{directory.port}/ou=open,dc=example??sub?(|(dkimAuthor=$d)(ou=h*))"
    async with table(setting, work) as source:
        with pytest.raises(SourceDown, match="more than 1000 entries"):
            await source.rows(["192.0.2.0/24"])


@pytest.mark.parametrize("hangs", [False, True])
async def test_the_next_server_answers_for_one_that_is_away(directory: Directory, work: Path, *, hangs: bool) -> None:
    async with peer() as port:
        first = _AUTHORS.format(port if hangs else 1)
        async with table(f"{first} ldap://127.0.0.1:{directory.port}", work, table_timeout_s=3.0) as source:
            assert Entry("example.org", "main") in await source.rows(["example.org"])


async def test_a_directory_that_hangs_holds_a_thread_and_not_the_loop(work: Path) -> None:
    async with peer() as port, opened(port, work, table_timeout_s=0.2) as sources:
        with pytest.raises(TableError, match="no answer in time"):
            await sources.tables.requests(Address("joe", "example.org"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        bytes.fromhex("300c02010161490a3c0004000400"),
        bytes.fromhex("300c02010121070a016004000400"),
        bytes.fromhex("300c02010161070a0100730004004a"),
        b"\x30\x84\x00\x00\x00\x01\x30",
    ],
)
async def test_a_peer_that_is_no_directory_is_down(answer: bytes, work: Path) -> None:
    async with peer(answer) as port, table(_AUTHORS.format(port), work, table_timeout_s=0.5) as source:
        with pytest.raises(SourceDown):
            await source.rows(["example.org"])
        assert not await source.answers()
