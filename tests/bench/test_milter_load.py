"""The milter load: unique messages with intact signatures, and the arithmetic of process trees."""

import os
from pathlib import Path

import pytest

from bench import process_tree
from bench.milter_load import Report, make_unique, read_corpus, signed_names
from bench.process_tree import Process, TreeUsage, tree_usage
from cli.edits import Mail
from cli.mta import MtaOutcome
from wire.message import parse_header_block


def mail(header_block: bytes) -> Mail:
    return Mail(b"s@x", (b"r@x",), parse_header_block(header_block), b"body")


def test_an_unsigned_message_gets_a_fresh_message_id_in_its_place() -> None:
    unique = make_unique(mail(b"Message-ID: <old>\r\nSubject: x\r\n"), b"7")
    assert unique.raw == b"Message-ID: <7@bench.example.org>\r\nSubject: x\r\nX-Bench: 7\r\n\r\nbody"


def test_a_message_without_message_id_gets_one() -> None:
    assert make_unique(mail(b"Subject: x\r\n"), b"7").fields[1] == (b"Message-ID", b" <7@bench.example.org>")


def test_no_signed_field_is_touched() -> None:
    signed = mail(
        b"DKIM-Signature: v=1; bh=h=; h=From : Message-ID:\r\n\tX-BENCH; d=x\r\nFrom: a\r\nMessage-ID: <old>\r\n"
    )
    assert signed_names(signed) == {b"from", b"message-id", b"x-bench"}
    unique = make_unique(signed, b"7")
    assert unique.fields[: len(signed.fields)] == signed.fields
    assert unique.fields[-1] == (b"X-Bench-Unsigned", b" 7")


def test_a_corpus_is_files_and_folders_of_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"Subject: 1\n\n")
    (tmp_path / "a" / "0").write_bytes(b"Return-Path: <z@x>\nSubject: 0\n\n")
    (tmp_path / "list.tsv").write_bytes(b"no mail\n")
    mails = read_corpus([tmp_path / "a" / "1", tmp_path])
    assert [m.fields[-1][1] for m in mails] == [b" 1", b" 0", b" 1"]
    assert [m.sender for m in mails] == [b"bench@example.com", b"z@x", b"bench@example.com"]


def usage(*processes: Process) -> TreeUsage:
    return TreeUsage({(p.pid, p.started): p for p in processes}, {}, {})


def test_cpu_of_children_that_ended_counts_once() -> None:
    before = usage(Process(1, 0, "root", 1.0, 5), Process(2, 1, "child", 4.0, 6))
    # The child used 3 s more and ended: its 7 s are now in the root's sum, which itself used 2 s.
    after = usage(Process(1, 0, "root", 10.0, 5))
    assert after.since(before).cpu_s == pytest.approx(5.0)


def test_a_new_process_counts_from_zero_even_with_a_known_pid() -> None:
    before = usage(Process(1, 0, "root", 1.0, 5), Process(2, 1, "old", 4.0, 6))
    after = usage(Process(1, 0, "root", 5.0, 5), Process(2, 1, "new", 0.5, 9))
    assert after.since(before).cpu_s == pytest.approx(0.5)


def test_a_tree_is_read_from_proc_with_any_process_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    for pid, parent, name in ((10, 1, "root"), (11, 10, "a) b ("), (12, 11, "ray::X"), (13, 1, "stranger")):
        folder = tmp_path / str(pid)
        folder.mkdir()
        numbers = " ".join(["0"] * 9 + [str(ticks)] * 4 + ["0"] * 4 + [str(100 + pid)] + ["0"] * 10)
        (folder / "stat").write_text(f"{pid} ({name}) S {parent} {numbers}\n")
        (folder / "smaps_rollup").write_text("x\nPss:  2 kB\nPss_Dirty: 1 kB\n")
    monkeypatch.setattr(process_tree, "PROC", tmp_path)
    read = tree_usage([10, 99])
    assert read.cpu_s_by_name == {"root": 4.0, "a) b (": 4.0, "ray::X": 4.0}
    assert read.pss_bytes == 3 * 2048


def test_the_own_tree_can_be_read() -> None:
    assert tree_usage([os.getpid()]).pss_bytes > 1_000_000


def test_percentiles_leave_out_messages_that_ended_early() -> None:
    outcomes = [MtaOutcome("accept", end_of_message_s=number / 1000) for number in range(1, 101)]
    report = Report([*outcomes, MtaOutcome("reject"), MtaOutcome(error="x")], 2.0, 0.5, usage())
    numbers = report.numbers()
    assert numbers["end_of_message_ms"] == {"p50": 51.0, "p95": 96.0, "p99": 100.0}
    assert numbers["unanswered"] == 1
    assert numbers["messages_per_s"] == 51.0
    assert numbers["actions"] == {"accept": 100, "reject": 1, "error": 1}
