"""`tamis model`: a file is checked as at load, and the comparison of a cell is shown."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from actors.classifier.comparison import Comparison
from actors.classifier.model import SHIPPED_MODEL
from cli.__main__ import main
from tests.cli.admin_cell import Served


def show(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["model", "show", *words])
    return int(str(ended.value.code or 0))


def test_the_shipped_model_is_shown_with_version_and_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert show() == 0
    told = capsys.readouterr().out
    assert told.startswith("version")
    assert "threshold" in told
    assert show("--json", str(SHIPPED_MODEL)) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["version"]) == 8
    assert shown["version"] in told
    assert shown["card"] == json.loads(SHIPPED_MODEL.with_suffix(".json").read_bytes())


def test_a_truncated_model_is_exit_code_1_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(SHIPPED_MODEL.read_bytes()[:1000])
    shutil.copy(SHIPPED_MODEL.with_suffix(".json"), path.with_suffix(".json"))
    assert show(str(path)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"tamis model show: {path}: is not the file that its card describes (SHA-256 differs)"


@pytest.mark.live
def test_the_report_is_of_what_the_replicas_counted(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    seen = Comparison()
    for spam in (True, False, False, False):
        seen.add(live=spam, shadow=True, shift=0.3, us=200.0)
    up.cell.now = dataclasses.replace(up.cell.now, counters={"waiting": 1, **seen.counters("0f1e2d3c", "a6897e01")})
    assert up.tamis("model", "report", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["live"], row["shadow"], row["messages"], row["only_shadow_spam"]) == ("0f1e2d3c", "a6897e01", 4, 3)
    assert (row["agreement"], row["shadow_ms"]) == (0.25, 0.2)
    assert up.tamis("model", "report") == 0
    told = capsys.readouterr().out
    assert "live model 0f1e2d3c, shadow a6897e01: 4 messages compared" in told
    assert "75.00%" in told
    assert up.tamis("status") == 0
    told = capsys.readouterr().out
    assert "waiting" in told
    assert "shadow" not in told


@pytest.mark.live
def test_a_cell_without_a_shadow_is_exit_code_1(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert up.tamis("model", "report", "--json") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == []
    assert "shadow_model" in captured.err
