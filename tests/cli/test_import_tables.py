"""What becomes of the tables that opendkim.conf names, and which tables its one key becomes."""

from pathlib import Path

import pytest

from actors.adapters.dkim_files import open_tables
from actors.dkim.signing.tables import Address
from tests.cli.importing import Result, imported, imported_in_thread

# -- tables


def test_tables_in_a_database_are_taken_over(tmp_path: Path) -> None:
    dsn = "dsn:mysql://u:hush@h/d/table=t?keycol=k?datacol=v"
    result = imported(tmp_path, f"KeyTable {dsn}\nSigningTable {dsn}\nPeerList dsn:oracle://u:hush@h/d/table=t\n")
    assert (result.config.dkim.signing.key_table, result.config.dkim.signing.signing_table) == (dsn, dsn)
    assert "a dsn: is for mysql" in result.all_remarks()
    assert "hush" not in result.all_remarks()


def test_tables_in_a_directory_are_taken_over_and_their_password_is_asked_for(tmp_path: Path) -> None:
    place = "ldap://h/o=x?a?sub?(b=$d) ldap://other"
    result = imported(
        tmp_path,
        f"KeyTable {place}\nSigningTable {place}\nLDAPUseTLS yes\nLDAPTimeout 5\nLDAPAuthMechanism Simple\n"
        "LDAPBindUser cn=hush\nLDAPBindPassword hush\nPeerList ldap://h/o=x?hush?sub?(a=b)\n",
    )
    signing = result.config.dkim.signing
    assert (signing.key_table, signing.signing_table) == (place, place)
    assert (signing.ldap_use_tls, signing.table_timeout_s) == (True, 5)
    assert [line.split(": ")[1] for line in result.told["not_carried"]] == [
        "LDAPBindUser",
        "LDAPBindPassword",
        "PeerList",
    ]
    assert "a list in LDAP is read whole" in result.all_remarks()
    assert "hush" not in result.all_remarks()


def test_lines_of_a_key_table_that_say_no_key_are_told_with_file_and_line_and_nothing_of_them(tmp_path: Path) -> None:
    (tmp_path / "KeyTable").write_text(
        "# ours\ngood example.org:s:/k\nany %:s:/k/%\nbad example.org\n\nhush1 exam ple:hush2:hush3\nhush4\n"
        "odd example.org:s t:/k\n"
    )
    result = imported(tmp_path, f"KeyTable file:{tmp_path}/KeyTable\nSigningTable csl:*=good\n")
    assert result.exit_code == 1
    assert result.told["not_carried"] == [
        f"{tmp_path}/KeyTable:4: KeyTable: is not DOMAIN:SELECTOR:KEY",
        f"{tmp_path}/KeyTable:6: KeyTable: has no domain",
        f"{tmp_path}/KeyTable:7: KeyTable: is not DOMAIN:SELECTOR:KEY",
        f"{tmp_path}/KeyTable:8: KeyTable: has no selector",
    ]
    assert "hush" not in result.all_remarks()
    assert result.config.dkim.signing.key_table == f"file:{tmp_path}/KeyTable"


def test_of_many_bad_lines_of_a_key_table_the_first_are_told(tmp_path: Path) -> None:
    (tmp_path / "KeyTable").write_text("x\n" * 100)
    result = imported(tmp_path, f"KeyTable file:{tmp_path}/KeyTable\nSigningTable csl:*=x\n")
    assert len(result.told["not_carried"]) == 21
    assert result.told["not_carried"][-1] == f"{tmp_path}/opendkim.conf:1: KeyTable: 80 more lines of this kind"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"a b:c:/k\n\x01 x\n", "KeyTable:2: not text"), (b"\xff", "not text")]
)
def test_a_key_table_that_is_no_text_is_told(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "KeyTable").write_bytes(content)
    result = imported(tmp_path, f"KeyTable file:{tmp_path}/KeyTable\nSigningTable csl:*=a\n")
    assert result.exit_code == 1
    (lost,) = result.told["not_carried"]
    assert f"opendkim.conf:1: KeyTable: {tmp_path}/KeyTable" in lost
    assert reason in lost


# -- one key


async def chosen(result: Result, directory: Path, *authors: str) -> list[tuple[str, str, str]]:
    tables = open_tables(result.config.dkim.signing, directory)
    found = [await tables.requests(Address(*author.split("@"))) for author in authors]
    return [(one.domain, one.selector, one.key) for requests in found for one in requests]


@pytest.mark.parametrize("as_files", [False, True])
async def test_one_key_becomes_two_tables(as_files: bool, tmp_path: Path) -> None:  # noqa: FBT001
    words = ("--out-dir", tmp_path) if as_files else ()
    text = "Domain example.org,sub.example.org\nSelector 2026\nKeyFile keys/k\nBaseDirectory /etc/dkim\nSubDomains yes"
    result = imported_in_thread(tmp_path, text, *words)
    assert result.exit_code == 0, result.all_remarks()
    assert result.told["files"] == ([f"{tmp_path}/KeyTable", f"{tmp_path}/SigningTable"] if as_files else [])
    key = ("2026", "/etc/dkim/keys/k")
    assert await chosen(
        result,
        tmp_path,
        "a@example.org",
        "a@x.example.org",
        "a@sub.example.org",
        "a@x.sub.example.org",
        "a@example.net",
    ) == [("example.org", *key), ("example.org", *key), ("sub.example.org", *key), ("sub.example.org", *key)]


async def test_domains_by_pattern_need_files(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("*.example.org\n")
    text = f"Domain refile:{tmp_path}/domains\nSelector s\nKeyFile k\n"
    assert "say --out-dir" in imported_in_thread(tmp_path, text).all_remarks()
    result = imported_in_thread(tmp_path, text, "--out-dir", tmp_path)
    assert await chosen(result, tmp_path, "a@b.example.org", "a@example.org") == [("b.example.org", "s", "./k")]


@pytest.mark.parametrize("as_files", [False, True])
@pytest.mark.parametrize("domain", ["*", "example.org,*", "csl:*", "refile:{}/domains"])
async def test_a_star_among_the_domains_signs_for_every_author_with_his_own_domain(
    domain: str,
    as_files: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    (tmp_path / "domains").write_text("example.org\n*\n")
    text = f"Domain {domain.format(tmp_path)}\nSelector s\nKeyFile /k\nSubDomains yes\n"
    result = imported_in_thread(tmp_path, text, *(("--out-dir", tmp_path) if as_files else ()))
    assert result.exit_code == 0, result.all_remarks()
    assert await chosen(result, tmp_path, "a@example.org", "a@x.example.org", "a@example.net") == [
        ("example.org", "s", "/k"),
        ("x.example.org", "s", "/k"),
        ("example.net", "s", "/k"),
    ]
