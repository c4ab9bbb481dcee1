"""cli/dkim*.py: keys are made, published, tested; mail is signed, verified and explained, with DNS from a file."""

import asyncio
import contextlib
import io
import json
import stat
from dataclasses import dataclass
from pathlib import Path

import dns.zone
import pytest

from actors.adapters.zone import ZoneResolver
from actors.dkim.key import parse_key
from actors.dkim.signing.private_key import load_private_key
from actors.dkim.signing.publication import PublishedKey, nsupdate_lines, txt_strings, zone_lines
from cli.__main__ import main
from tests.signing import ed25519_key, rsa_pem, rsa_record, rsa_with, zone

MAIL = b"From: Alice <alice@example.org>\nTo: bob@example.net\nSubject: hello\n\nDear Bob\n"
NOW = "2026-01-01T00:00:00"


@dataclass(frozen=True, slots=True)
class Result:
    exit_code: object
    stdout: bytes
    stderr: str

    @property
    def rows(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


def dkim(*words: object, stdin: bytes = b"", monkeypatch: pytest.MonkeyPatch | None = None) -> Result:
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
    if monkeypatch:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["dkim", *map(str, words)])
    return Result(ended.value.code, out.buffer.getvalue(), err.getvalue())  # type: ignore[attr-defined]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with keys, their zone and a configuration, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    for name, content in (("rsa.private", rsa_pem()), ("ed.private", bytes(ed25519_key()))):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "mail").write_bytes(MAIL)
    (tmp_path / "zone").write_text(zone())
    (tmp_path / "keys").write_text("r example.org:rsa:./rsa.private\ne example.org:ed:./ed.private\nany %:x:/keys/%\n")
    (tmp_path / "signing").write_text("*@example.org r\n*@example.org e:@%\n*@example.com any\n")
    (tmp_path / "tamis.toml").write_text(
        '[dkim.signing]\nkey_table = "file:keys"\nsigning_table = "refile:signing"\nmultiple_signatures = true\n'
    )
    return tmp_path


KEYS = ("--key", "example.org:rsa:rsa.private", "--key", "example.org:ed:ed.private")


@pytest.mark.parametrize("words", [KEYS, ("--config", "tamis.toml")])
def test_what_sign_prints_verify_takes(words: tuple[str, ...], here: Path) -> None:
    signed = dkim("sign", "mail", *words, "--now", NOW)
    assert signed.exit_code == 0
    assert signed.stdout.endswith(MAIL.replace(b"\n", b"\r\n"))
    (here / "signed").write_bytes(signed.stdout)
    verified = dkim("verify", "signed", "--dns-zone", "zone", "--now", NOW, "--json")
    assert verified.exit_code == 0
    assert [row["result"] for row in verified.rows] == ["pass", "pass"]
    assert [row["facts"]["header.s"] for row in verified.rows] == ["rsa", "ed"]  # type: ignore[index]


def test_verify_fails_for_mail_that_was_changed_or_never_signed(here: Path) -> None:
    signed = dkim("sign", "mail", *KEYS, "--now", NOW).stdout
    (here / "changed").write_bytes(signed.replace(b"Dear Bob", b"Dear Rob"))
    result = dkim("verify", "changed", "--dns-zone", "zone", "--now", NOW)
    assert (result.exit_code, result.stdout.count(b"dkim=fail (body hash mismatch)")) == (1, 2)
    assert dkim("verify", "mail", "--dns-zone", "zone").exit_code == 1


def test_verify_says_what_broke_a_signature_and_against_an_original_where(here: Path) -> None:
    signed = dkim("sign", "mail", *KEYS, "--now", NOW).stdout
    (here / "sent").write_bytes(signed)
    (here / "changed").write_bytes(signed.replace(b"Dear Bob", b"Dear Rob").replace(b": hello", b": [list] hello"))
    words = ("verify", "changed", "--dns-zone", "zone", "--now", NOW)
    alone = dkim(*words)
    assert alone.stdout.count(b"\n    body hash fails, header hash fails\n    signed fields: from, ") == 2
    assert b"against" not in alone.stdout
    compared = dkim(*words, "--original", "sent").stdout.decode()
    assert (
        "    subject, number 1 from the bottom, against original: bytes 8 to 15, were 8 to 8"
        " (a tag was put into the subject)\n"
        '      original: "subject:hello"\n      received: "subject:[list] hello"\n'
        "    body, line 1, byte 6, against original: bytes 5 to 6, were 5 to 6\n"
        '      original: "Dear Bob\\r\\n"\n      received: "Dear Rob\\r\\n"\n'
    ) in compared
    rows = dkim(*words, "--original", "sent", "--json").rows
    assert [row["diagnosis"]["body"]["line"] for row in rows] == [1, 1]  # type: ignore[index]
    assert "the original's body is not what was signed" in dkim(*words, "--original", "changed").stdout.decode()
    assert "diagnosis" not in dkim("verify", "sent", *words[2:], "--json").rows[0]
    assert dkim("verify", "changed", "--original", "nowhere").exit_code == 1


def test_without_a_key_the_header_hash_is_unknown_and_what_cannot_be_read_has_no_diagnosis(here: Path) -> None:
    signed = dkim("sign", "mail", *KEYS[:2], "--now", NOW).stdout
    (here / "other").write_bytes(signed.replace(b"s=rsa;", b"s=gone;"))
    (here / "unreadable").write_bytes(signed.replace(b"a=rsa-sha256", b"a=unknown"))
    result = dkim("verify", "other", "unreadable", "--dns-zone", "zone", "--now", NOW)
    assert result.stdout.count(b"body hash holds, header hash is unknown") == 1
    assert result.stdout.count(b" hash ") == 2


@pytest.mark.usefixtures("here")
def test_sign_and_verify_read_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = dkim("sign", *KEYS, "--now", NOW, stdin=MAIL, monkeypatch=monkeypatch).stdout
    verified = dkim("verify", "-", "--dns-zone", "zone", "--now", NOW, stdin=signed, monkeypatch=monkeypatch)
    assert verified.exit_code == 0


@pytest.mark.usefixtures("here")
def test_sign_tells_machines_the_fields_alone() -> None:
    (row,) = dkim("sign", "mail", *KEYS[:2], "--identity", "@mail.example.org", "--json").rows
    assert (row["domain"], row["selector"], row["algorithm"]) == ("example.org", "rsa", "rsa-sha256")
    assert str(row["field"]).startswith("DKIM-Signature: v=1;")
    assert "i=@mail.example.org;" in str(row["field"])


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("sign", "mail"), 2, "no key: say --key"),
        (("sign", "mail", "--key", "example.org:rsa"), 2, "not DOMAIN:SELECTOR:FILE"),
        (("sign", "mail", "--key", "example.org:rsa:nowhere"), 1, "No such file"),
        (("sign", "nowhere", *KEYS), 1, "No such file"),
        (("sign", "zone", *KEYS), 1, "there is no From field"),
        (("sign", "mail", *KEYS, "--now", "soon"), 2, "not an ISO 8601 time"),
        (("testkey",), 2, "no key: say --key"),
        (("testkey", *KEYS, "--dns-zone", "nowhere"), 2, "--dns-zone"),
        (("explain", "mail", "--macro", "x"), 2, "not NAME=VALUE"),
        (("genkey", "-d", "example.org", "-s", "n", "--bits", "1024"), 2, "2048, 3072, 4096"),
        (("genkey", "-d", "example.org", "-s", "rsa"), 1, "File exists"),
        (("genkey", "-d", "example.org", "-s", "a/../b"), 2, "--selector 'a/../b': a selector is letters, digits"),
        (("genkey", "-d", "example.org", "-s", "a:b"), 2, "--selector 'a:b': a selector is letters, digits"),
        (("genkey", "-d", "example.org", "-s", "a\nb"), 2, "--selector 'a\\nb': a selector is letters, digits"),
        (("genkey", "-d", "example.org", "-s", "a" * 64), 2, "a selector is letters, digits"),
        (("genkey", "-d", "example.org", "-s", ""), 2, "--selector '': a selector is letters, digits"),
        (("genkey", "-d", "example.org:a", "-s", "b"), 2, "--domain 'example.org:a': is no domain name"),
        (("genkey", "-d", "%", "-s", "b"), 2, "--domain '%': is no domain name"),
        (("genkey", "-d", "example.org", "-s", "n", "--note", "a;b"), 2, "semicolon"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_cannot_be_is_one_line_on_stderr(words: tuple[str, ...], exit_code: int, said: str) -> None:
    before = set(Path.cwd().iterdir())
    result = dkim(*words)
    assert result.exit_code == exit_code
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == b""
    assert set(Path.cwd().iterdir()) == before


def test_a_new_key_and_its_record_belong_together(here: Path) -> None:
    words = ("--testmode", "--no-subdomains", "--restrict", "--hash-algorithms", "sha256", "--note", "made=today")
    made = dkim("genkey", "-d", "Example.org", "-s", "new", "--type", "ed25519", *words, "--json")
    assert made.exit_code == 0
    private = here / "new.private"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    record = str(made.rows[0]["record"])
    assert record.startswith("v=DKIM1; k=ed25519; h=sha256; s=email; t=y:s; n=made=3Dtoday; p=")
    assert load_private_key(private.read_bytes()).matches(parse_key(record.encode()))
    assert (here / "new.txt").read_text() == f'new._domainkey.example.org.\tIN\tTXT\t( "{record}" )\n'


def test_a_long_record_is_split_into_strings_of_255_bytes() -> None:
    key = PublishedKey("example.org", "long", rsa_record() + "A" * 400)
    strings = txt_strings(key.record)
    assert "".join(strings) == key.record
    assert [len(text) for text in strings[:-1]] == [255] * (len(strings) - 1)
    quoted = " ".join(f'"{text}"' for text in strings)
    assert zone_lines([key], 300, "example.org") == [f"long._domainkey\t300\tIN\tTXT\t( {quoted} )"]
    read = dns.zone.from_text("\n".join(zone_lines([key], 300)), "example.org", check_origin=False)
    (rdata,) = read.find_rdataset("long._domainkey", "TXT")
    assert b"".join(rdata.strings) == key.record.encode()
    assert nsupdate_lines([key], 60, "192.0.2.1", "example.org") == [
        "server 192.0.2.1",
        "zone example.org.",
        "update delete long._domainkey.example.org. TXT",
        f"update add long._domainkey.example.org. 60 TXT {quoted}",
        "send",
    ]


@pytest.mark.usefixtures("here")
def test_genzone_writes_the_table_and_says_what_it_leaves_out() -> None:
    result = dkim("genzone", "--config", "tamis.toml", "--origin", "example.org", "--ttl-s", "300")
    assert result.exit_code == 0
    lines = result.stdout.decode().splitlines()
    assert lines[0] == "$ORIGIN example.org."
    assert [line.split("\t")[:4] for line in lines[1:]] == [
        ["rsa._domainkey", "300", "IN", "TXT"],
        ["ed._domainkey", "300", "IN", "TXT"],
    ]
    assert result.stderr == "any: for the author's domain, whichever it is: left out\n"
    rows = dkim("genzone", *KEYS, "--json").rows
    text = "\n".join(f'{row["name"]} TXT "{row["record"]}"' for row in rows)
    assert asyncio.run(ZoneResolver.from_text(text).txt("rsa._domainkey.example.org")) == [rsa_record().encode()]


@pytest.mark.parametrize("words", [(), ("--origin", "example.org"), ("--origin", "example.org", "--ttl-s", "60")])
def test_what_genzone_prints_is_a_zone_for_testkey_as_it_is(words: tuple[str, ...], here: Path) -> None:
    (here / "printed").write_bytes(dkim("genzone", *KEYS, *words).stdout)
    result = dkim("testkey", *KEYS, "--dns-zone", "printed")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count(b"key OK") == 2


@pytest.mark.usefixtures("here")
def test_what_genkey_writes_is_a_zone_for_verify_as_it_is() -> None:
    dkim("genkey", "-d", "example.org", "-s", "new")
    signed = dkim("sign", "mail", "--key", "example.org:new:new.private", "--now", NOW)
    Path("signed").write_bytes(signed.stdout)
    assert dkim("verify", "signed", "--dns-zone", "new.txt", "--now", NOW).exit_code == 0


@pytest.mark.parametrize(
    ("records", "exit_code", "problems"),
    [
        (zone(), 0, ["", ""]),
        (zone(rsa=rsa_record(1024)), 1, ["another key is published", "no key record"]),
        (zone(rsa="v=DKIM1; p=", ed=rsa_record()), 1, ["key is revoked", "another key is published"]),
        (
            zone(rsa=f"h=sha1; {rsa_record()[9:]}", ed="v=DKIM1; k=ed25519; p=!"),
            1,
            ["the published key is not for sha256", "key is not base64"],
        ),
    ],
)
def test_testkey_compares_what_is_published(records: str, exit_code: int, problems: list[str], here: Path) -> None:
    (here / "zone").write_text(records)
    result = dkim("testkey", "--config", "tamis.toml", "--dns-zone", "zone", "--json")
    assert [row["problem"] for row in result.rows] == problems
    assert result.exit_code == exit_code


def test_testkey_says_when_a_private_key_is_not_safe(here: Path) -> None:
    (here / "ed.private").chmod(0o644)
    result = dkim("testkey", *KEYS, "--dns-zone", "zone")
    assert result.exit_code == 1
    assert result.stdout == b"rsa._domainkey.example.org: key OK\n"
    assert "others can read or write this key" in result.stderr


def test_testkey_looks_at_every_number_of_a_private_key(here: Path) -> None:
    (here / "rsa.private").write_bytes(rsa_with(iqmp=2))
    result = dkim("testkey", *KEYS, "--dns-zone", "zone")
    assert result.exit_code == 1
    assert result.stderr == "rsa._domainkey.example.org: key is not valid: its numbers do not fit each other\n"


def test_explain_tells_each_rule_and_the_keys(here: Path) -> None:
    words = ("--config", "tamis.toml", "--client-ip", "127.0.0.1", "--macro", "{x}=1", "--recipient", "b@example.net")
    result = dkim("explain", "mail", *words)
    assert result.exit_code == 0
    assert result.stdout.decode().splitlines()[-3:] == [
        "=> sign",
        "   key r: d=example.org s=rsa (rsa, 2048 bits)",
        "   key e: d=example.org s=ed i=@example.org (ed25519, 256 bits)",
    ]
    (here / "rsa.private").unlink()
    told = dkim("explain", "mail", *words, "--json")
    assert told.exit_code == 1
    assert [row["problem"] for row in told.rows[0]["signatures"]] == ["rsa.private: No such file or directory", ""]  # type: ignore[attr-defined, index]


@pytest.mark.usefixtures("here")
def test_explain_says_why_a_strangers_mail_is_verified() -> None:
    (told,) = dkim("explain", "mail", "--config", "tamis.toml", "--client-ip", "203.0.113.9", "--json").rows
    assert (told["disposition"], told["suspicious"], told["signatures"]) == ("verify", True, [])
    assert {"rule": "authenticated", "applies": False, "text": "not authenticated"} in told["steps"]  # type: ignore[operator]
