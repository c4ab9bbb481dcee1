import json
from pathlib import Path

import msgspec
import pytest

from cli.__main__ import main
from cluster.mirror.difference import Difference, FindingDifference, Line, Side


def report(path: Path, *lines: Line) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def compared(mirrored: str = "accept") -> Line:
    finding = FindingDifference("policy/[red]spf", "pass", "fail")
    return Line(1.0, "00", "4Q", Difference(Side("accept", 1.0, 5.0), Side(mirrored, 3.0, 6.0), (finding,)))


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["mirror", "report", *words])
    return int(str(ended.value.code or 0))


def test_files_and_directories_are_read_with_the_ones_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(tmp_path / "ingress-0.jsonl", compared())
    report(tmp_path / "ingress-0.jsonl.1", compared("reject"))
    report(tmp_path / "ingress-1.jsonl", Line(1.0, failed="late"))
    assert run("--json", str(tmp_path)) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["compared"], figures["same_action"], figures["failed"]) == (2, 1, {"late": 1})


def test_people_get_tables_and_names_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(tmp_path / "ingress-0.jsonl", compared(), compared("reject"), Line(1.0, dropped={"full": 7}))
    assert run(str(tmp_path / "ingress-0.jsonl")) == 0
    told = capsys.readouterr().out
    for words in ("2 messages compared, 1 with the same action (50.00%)", "full 7", "policy/[red]spf", "reject"):
        assert words in told


def test_the_directory_is_that_of_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(tmp_path / "ingress-0.jsonl", compared())
    config = tmp_path / "tamis.toml"
    config.write_text(f'[cluster.mirror]\nto = "127.0.0.1:1"\nreport_dir = "{tmp_path}"\n')
    assert run("--json", "--config", str(config)) == 0
    assert json.loads(capsys.readouterr().out)["compared"] == 1


@pytest.mark.parametrize(("words", "code"), [(("/nowhere/at/all",), 2), ((), 2)])
def test_what_is_not_there_is_one_line(words: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == code
    assert capsys.readouterr().err.startswith("tamis mirror: ")


def test_a_report_with_nothing_in_it_has_exit_code_1(tmp_path: Path) -> None:
    assert run(str(tmp_path)) == 1
