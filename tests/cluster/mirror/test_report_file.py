import logging
import threading
from pathlib import Path

import pytest

from cluster.mirror import report_file as module
from cluster.mirror.difference import Line
from cluster.mirror.report_file import ReportFile
from cluster.mirror.summary import Summary


def test_lines_can_be_read_back(tmp_path: Path) -> None:
    file = ReportFile(tmp_path / "reports" / "ingress-0.jsonl", 100_000)
    file.start()
    for number in range(10):
        file.record(Line(float(number), failed="late"))
    file.close()
    summary = Summary()
    summary.read((tmp_path / "reports" / "ingress-0.jsonl").open("rb"))
    assert (summary.failed["late"], summary.unreadable, summary.last_at) == (10, 0, 9.0)


def test_both_files_together_stay_below_their_bound(tmp_path: Path) -> None:
    path = tmp_path / "ingress-0.jsonl"
    for begin in range(0, 5_000, 50):
        file = ReportFile(path, 100_000)
        file.start()
        for number in range(begin, begin + 50):
            file.record(Line(float(number), "0" * 32, "4Q", failed="late"))
        file.close()
    before = tmp_path / "ingress-0.jsonl.1"
    assert before.exists()
    assert path.stat().st_size + before.stat().st_size <= 100_000
    summary = Summary()
    summary.read(path.open("rb"))
    assert summary.last_at == 4999.0


def test_a_disk_that_does_not_write_costs_the_lines_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no directory")
    file = ReportFile(tmp_path / "file" / "ingress-0.jsonl", 100_000)
    with caplog.at_level(logging.WARNING):
        file._write([Line(1.0)])
        file._write([Line(2.0)])
    assert file.lost == 2
    assert caplog.text.count("mirror_report_not_written") == 1


def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    file = ReportFile(tmp_path / "ingress-0.jsonl", 100_000, queue_max=5)
    monkeypatch.setattr(module.msgspec.json, "encode", lambda _: hanging.wait(10) and b"")
    file.start()
    for _ in range(100):
        file.record(Line(1.0))
    assert file.lost > 0
    hanging.set()
    file.close()
