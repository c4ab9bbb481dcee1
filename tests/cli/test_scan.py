"""cli/scan.py: `tamis scan --local` on own sample mails, with DNS from a zone file."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.samples import CLIENT_IP, SampleMaker, eicar_mail
from cli.__main__ import main

KEYS = {"file", "action", "score", "reply", "reasons", "degraded", "findings", "edits"}


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


def scan(*arguments: str) -> Result:
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        pytest.raises(SystemExit) as ended,
    ):
        main(["scan", "--local", "--json", *arguments])
    return Result(ended.value.code, out.getvalue(), err.getvalue())


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
        (["/nonexistent.eml"], "/nonexistent.eml: No such file"),
        (["--now", "yesterday", "MAIL"], "not an ISO 8601 time"),
        (["--now", "message", "MAIL"], "no date in the topmost Received"),
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
