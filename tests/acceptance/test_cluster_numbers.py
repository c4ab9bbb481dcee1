"""What makes a number of `make accept-cluster` ok or short."""

from typing import Any

import pytest

from tests.acceptance import chosen, cluster, cluster_numbers, cluster_rows, commands
from tests.acceptance.report import Report


def row(p50_ms: float, degraded: int = 0) -> dict[str, Any]:
    return {"p50_ms": p50_ms, "degraded": degraded, "tempfailed": 0, "unanswered": 0}


def lines(
    check: Any, answer: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, str]:
    monkeypatch.setattr(commands, "figures", lambda *_words, **_options: answer)
    monkeypatch.setattr(cluster_numbers, "corpora", lambda: "DIR")
    check(Report("cluster"))
    return {line.split()[1]: line.split()[0] for line in capsys.readouterr().out.splitlines()}


@pytest.mark.parametrize(("degraded", "verdict"), [(0, "ok"), (1, "short")])
def test_figures_beside_rspamd_count_only_when_every_verdict_was_whole(
    degraded: int, verdict: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = {"saturation": row(40.0, degraded), "one_session": row(5.9), "slow_dns": row(49.0)}
    answer = {"filters": {"tamis": ours}, "ratios": {"cpu": 0.33, "messages_per_s": 2.6}}
    assert set(lines(cluster_numbers.peers, answer, monkeypatch, capsys).values()) == {verdict}


def test_each_figure_has_a_bound_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = {"saturation": row(40.0), "one_session": row(6.1), "slow_dns": row(49.0)}
    answer = {"filters": {"tamis": ours}, "ratios": {"cpu": 0.34, "messages_per_s": 2.6}}
    assert lines(cluster_numbers.peers, answer, monkeypatch, capsys) == {
        "cpu_share_of_rspamd": "short",
        "throughput_times_rspamd": "ok",
        "end_of_message_p50_one_session_ms": "short",
        "end_of_message_p50_slow_dns_ms": "ok",
    }


@pytest.mark.parametrize(
    ("p99_s", "unanswered", "verdict"), [(19.0, 0, "ok"), (21.0, 0, "short"), (0.0, 0, "short"), (19.0, 1, "short")]
)
def test_impaired_mail_is_judged_by_its_deadline(
    p99_s: float,
    unanswered: int,
    verdict: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = {
        "impaired_unanswered": unanswered,
        "impaired_tempfailed": 0,
        "impaired_p99_s": p99_s,
        "impaired_first_p99_s": 0.0,
        "throughput_share": 0.9,
    }
    told = lines(cluster_numbers.impaired, answer, monkeypatch, capsys)
    assert told["impaired_p99_s"] == verdict


@pytest.mark.parametrize(
    ("ratio", "lost", "verdict"), [(1.4, 0, "ok"), (1.6, 0, "short"), (1.1, 1, "short"), (0.0, 0, "short")]
)
def test_what_a_flood_costs_counts_only_when_all_mail_of_the_other_tenant_was_examined(
    ratio: float, lost: int, verdict: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"p99_ratio": ratio, "a_not_examined": lost}
    assert lines(cluster_numbers.tenants, answer, monkeypatch, capsys) == dict.fromkeys(cluster_numbers.FLOODS, verdict)


def test_all_groups_run_in_a_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(cluster, "NUMBERS", ())
    monkeypatch.setattr(chosen, "run_rows", lambda _report, rows, **_: ran.extend(row.name for row in rows))
    cluster.run_all(Report("cluster"))
    assert sorted(ran) == sorted(row.name for group in cluster_rows.GROUPS for row in group.rows)


def test_no_check_takes_more_than_what_is_left_of_the_whole_run() -> None:
    assert Report("cluster").time_s(240.0) == 240.0
    assert Report("cluster", 100.0).time_s(240.0) == pytest.approx(100.0, abs=1.0)
    assert Report("cluster", -1.0).time_s(240.0) == 0.0
