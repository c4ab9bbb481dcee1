"""cli/scan.py: `tamis scan --local` on own sample mails, with DNS from a zone file."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.dkim.actor import DkimActor
from bench.samples import CLIENT_IP, SampleMaker, eicar_mail
from cli.__main__ import main

KEYS = {"file", "action", "score", "reply", "reasons", "degraded", "missing", "findings", "edits", "error"}


@pytest.fixture(scope="module")
def maker() -> SampleMaker:
    return SampleMaker()


@pytest.fixture
def zone(maker: SampleMaker, tmp_path: Path) -> Path:
    path = tmp_path / "zone"
    path.write_text(
        "".join(f"{name} {kind} {rdata}\n" for (name, kind), all_ in maker.zone().items() for rdata in all_)
    )
    return path


@dataclass(frozen=True, slots=True)
class Result:
    exit_code: object
    stdout: str
    stderr: str


def scan_text(*arguments: str) -> Result:
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        pytest.raises(SystemExit) as ended,
    ):
        main(["scan", "--local", *arguments])
    return Result(ended.value.code, out.getvalue(), err.getvalue())


def scan(*arguments: str) -> Result:
    return scan_text("--json", *arguments)


def rows(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_each_file_is_one_object_in_order(maker: SampleMaker, zone: Path, tmp_path: Path) -> None:
    files = []
    for number, sample in enumerate(maker.samples()):
        path = tmp_path / f"{number}.eml"
        path.write_bytes(sample.raw)
        files.append(str(path))
    found = rows(scan("--dns-zone", str(zone), *files))
    assert [row["file"] for row in found] == files
    assert all(row.keys() >= KEYS for row in found)
    for row in found:
        findings = row["findings"]
        assert isinstance(findings, list)
        assert all(finding["outcome"] != "error" and finding["ms"] >= 0 for finding in findings)
        assert {finding["actor"] for finding in findings} == {"dkim", "policy", "classifier", "antivirus"}


def test_signed_mail_passes_spf_dkim_and_dmarc(maker: SampleMaker, zone: Path, tmp_path: Path) -> None:
    path = tmp_path / "signed.eml"
    path.write_bytes(maker.samples()[0].raw)
    options = ["--dns-zone", str(zone), "--client-ip", CLIENT_IP, "--sender", "anna@shop.example"]
    (row,) = rows(scan(*options, str(path)))
    findings = row["findings"]
    assert isinstance(findings, list)
    outcomes = {finding["name"]: finding["outcome"] for finding in findings}
    assert (outcomes["spf"], outcomes["dkim"], outcomes["dmarc"]) == ("pass", "pass", "pass")
    assert row["action"] == "accept"


def test_eicar_is_rejected_with_a_reply(zone: Path, tmp_path: Path) -> None:
    path = tmp_path / "eicar.eml"
    path.write_bytes(eicar_mail())
    (row,) = rows(scan("--dns-zone", str(zone), str(path)))
    assert row["action"] == "reject"
    assert isinstance(row["reply"], dict)
    assert 500 <= row["reply"]["code"] < 600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--now", "yesterday", "MAIL"], "not an ISO 8601 time"),
        (["--dns-zone", "/nonexistent", "MAIL"], "--dns-zone"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_bytes(b"Subject: x\r\n\r\n")
    result = scan(*[str(mail) if argument == "MAIL" else argument for argument in arguments])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert words in line


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('[classifier]\nmodel = "/nonexistent.safetensors"', "/nonexistent.safetensors"),
        ('[antivirus]\nyara_rules = ["/nonexistent.yar"]', "/nonexistent.yar"),
    ],
)
def test_an_actor_that_cannot_be_built_is_one_line_and_the_others_are_closed(
    section: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    async def close(actor: DkimActor) -> None:
        closed.append(actor.name)

    monkeypatch.setattr(DkimActor, "close", close)
    config, mail = tmp_path / "tamis.toml", tmp_path / "mail.eml"
    config.write_text(section)
    mail.write_bytes(b"Subject: x\r\n\r\n")
    result = scan("--config", str(config), str(mail))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert words in line
    assert closed == ["dkim"]


@pytest.fixture
def batch(tmp_path: Path, zone: Path) -> list[str]:
    """Options and four files of which the first and the last get a verdict."""
    dated = b"Received: by x.example; Sun, 22 Nov 2026 10:00:00 +0000\r\nSubject: x\r\n\r\nx\r\n"
    (tmp_path / "0.eml").write_bytes(dated)
    (tmp_path / "2.eml").mkdir()
    (tmp_path / "3.eml").write_bytes(dated)
    return ["--dns-zone", str(zone), "--now", "message", *(str(tmp_path / f"{number}.eml") for number in range(4))]


def test_a_file_without_verdict_costs_its_own_row_and_exit_code_1(batch: list[str]) -> None:
    result = scan(*batch)
    assert result.exit_code == 1
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["file"] for row in found] == batch[-4:]
    assert all(row.keys() == KEYS for row in found)
    assert [bool(row["action"]) for row in found] == [True, False, False, True]
    errors = [row["error"] for row in found]
    assert errors == ["", "No such file or directory", "Is a directory", ""]
    assert result.stderr == ""


@pytest.mark.parametrize("header", [b"Received: by x; never\r\nDate: odd\r\n", b"Subject: x\r\n", b""])
def test_a_message_without_any_date_is_judged_now(tmp_path: Path, zone: Path, header: bytes) -> None:
    mail = tmp_path / "undated.eml"
    mail.write_bytes(header + b"\r\nx\r\n")
    (row,) = rows(scan("--dns-zone", str(zone), "--now", "message", str(mail)))
    assert row["action"] == "accept"


def test_a_sender_that_is_not_utf_8_is_taken_as_it_is(tmp_path: Path, zone: Path) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_bytes(b"Subject: x\r\n\r\nx\r\n")
    assert scan("--dns-zone", str(zone), "--sender", "\udce4@x.example", str(mail)).exit_code == 0


def test_as_text_such_a_file_is_one_line_of_standard_error(batch: list[str]) -> None:
    result = scan_text(*batch)
    assert result.exit_code == 1
    missing, directory = result.stderr.splitlines()
    assert missing.endswith("1.eml: No such file or directory")
    assert directory.endswith("2.eml: Is a directory")
    assert sum(line.startswith("/") for line in result.stdout.splitlines()) == 2


def test_text_from_a_mail_cannot_command_the_terminal(tmp_path: Path, zone: Path) -> None:
    mail = tmp_path / "m\x1b[2J\udcff.eml"
    mail.write_bytes(b"Subject: x\r\n\r\nx\r\n")
    result = scan_text("--dns-zone", str(zone), str(mail))
    assert result.exit_code == 0
    assert "m\\x1b[2J\\udcff.eml: accept" in result.stdout


def test_local_says_what_the_cell_would_sign_and_makes_no_signature(zone: Path, tmp_path: Path) -> None:
    mail, settings = tmp_path / "mail.eml", tmp_path / "tamis.toml"
    mail.write_bytes(b"From: a@ours.example\r\nSubject: x\r\n\r\nhello\r\n")
    key = tmp_path / "k"
    settings.write_text(f"[dkim.signing]\nkey_table = 'csl:k=ours.example:s:{key}'\nsigning_table = 'csl:*=k'\n")
    arguments = ("--dns-zone", str(zone), "--config", str(settings), "--client-ip", "127.0.0.1", str(mail))
    (row,) = rows(scan(*arguments))
    findings = row["findings"]
    assert isinstance(findings, list)
    (told,) = [finding for finding in findings if finding["actor"] == "dkim"]
    assert (told["name"], told["outcome"], told["facts"]["keys"]) == ("signing", "pass", "ours.example/s")
    assert row["action"] == "accept"
    assert "DKIM-Signature" not in json.dumps(row)
