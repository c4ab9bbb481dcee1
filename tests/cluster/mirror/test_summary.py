import math

import msgspec
import pytest

from cluster.mirror import summary as module
from cluster.mirror.difference import Difference, FindingDifference, Line, Side
from cluster.mirror.summary import Distribution, Summary, matrix, ms_class


def line(live: str = "accept", mirrored: str = "accept", apart: float = 0.0, *findings: str) -> Line:
    differing = tuple(FindingDifference(*finding.split()) for finding in findings)
    return Line(10.0, "00", "4Q", Difference(Side(live, 1.0, 5.0), Side(mirrored, 1.0 + apart, 7.0), differing))


def test_the_share_of_equal_actions_and_the_matrix() -> None:
    summary = Summary()
    for pair in [("accept", "accept")] * 8 + [("accept", "reject"), ("add_header", "accept")]:
        summary.add(line(*pair))
    assert (summary.compared, summary.same_action) == (10, 8)
    names, rows = matrix(summary.actions)
    assert names == ["accept", "add_header", "reject"]
    assert rows == [[8, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert summary.figures(5)["same_action_share"] == 0.8


def test_findings_that_differ_most_come_first_and_only_so_many() -> None:
    summary = Summary()
    for _ in range(3):
        summary.add(line("accept", "accept", 0.0, "policy/spf pass fail"))
    summary.add(line("accept", "accept", 0.0, "dkim/dkim pass fail"))
    figures = summary.figures(1)
    assert figures["findings"] == [{"name": "policy/spf", "live": "pass", "mirrored": "fail", "messages": 3}]


def test_percentiles_of_score_differences_and_times() -> None:
    summary = Summary()
    for apart in [0.0] * 90 + [2.0] * 9 + [-3.0]:
        summary.add(line("accept", "accept", apart))
    figures = summary.figures(5)
    assert figures["score_mirrored_minus_live"] == {"p1": -3.0, "p5": 0.0, "p50": 0.0, "p95": 2.0, "p99": 2.0}
    assert figures["live_ms"] == {"p50": ms_class(5.0), "p95": ms_class(5.0), "p99": ms_class(5.0)}


@pytest.mark.parametrize("ms", [0.1, 1.0, 17.3, 999.0, 20_000.0])
def test_a_time_is_within_3_percent_of_its_class(ms: float) -> None:
    assert ms_class(ms) == pytest.approx(ms, rel=0.03)


@pytest.mark.parametrize("ms", [0.0, -1.0, math.inf, math.nan])
def test_a_time_that_is_none_counts_as_nothing(ms: float) -> None:
    assert ms_class(ms) == 0.0


def test_nothing_has_no_percentiles() -> None:
    assert Distribution().percentiles() == {"p50": None, "p95": None, "p99": None}
    assert Summary().figures(5)["same_action_share"] is None


def test_copies_without_a_verdict_and_those_never_sent_are_counted() -> None:
    summary = Summary()
    summary.read(
        [b'{"at":1,"id":"00","failed":"late"}', b'{"at":2,"dropped":{"full":3}}', b'{"at":3,"dropped":{"full":1}}']
    )
    assert summary.figures(5)["failed"] == {"late": 1}
    assert summary.figures(5)["dropped"] == {"full": 4}


def test_a_line_that_is_cut_short_or_none_of_ours_is_counted_and_skipped() -> None:
    summary = Summary()
    summary.read([msgspec.json.encode(line()), b'{"at":1,"id', b"\xff\xfe", b'{"at":"x"}', b"[]"])
    assert (summary.compared, summary.unreadable) == (1, 4)


def test_memory_does_not_grow_with_the_names_in_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES_MAX", 10)
    summary = Summary()
    for number in range(1000):
        summary.add(Line(1.0, failed=f"why-{number}", dropped={f"w{number}": 1}))
        summary.add(line(f"a{number}", "b", number, f"actor/name-{number} pass fail"))
    assert max(map(len, (summary.findings, summary.failed, summary.dropped, summary.actions))) <= 11
    assert sum(summary.findings.values()) == 1000
