"""What is measured, as far as it needs no cell."""

from pathlib import Path

import msgspec
import pytest

from bench.simulation.figures import Comparison, Examined, Load, Recording, Restart, Run
from bench.simulation.record import MAILS, PARTS, Recorder, Target, means, merge, prepared, recorded


def run(others_share: float = 0.0, p99_ms: float = 30.0) -> Run:
    return Run(Load("8", 100, 8), 100.0, 0, 10.0, 20.0, p99_ms, {}, (20.0,), others_share)


def test_of_each_mail_the_least_cpu_counts_and_the_questions_without_a_cache() -> None:
    first, second = Examined(10, {"message dkim": 2.0}), Examined(10, {"message dkim": 1.5})
    asked = Examined(10, {"message dkim": 9.0}, {"message dkim": (2, 1)})
    assert list(merge([[first], [second]], [asked])) == [Examined(10, {"message dkim": 1.5}, {"message dkim": (2, 1)})]


def test_the_speed_of_the_machine_is_a_mean_for_each_stretch_of_time() -> None:
    assert list(means([10.0, 20.0, 30.0, 40.0, 50.0], 2.2)) == [15.0, 35.0, 50.0]
    assert list(means([10.0], 0.3)) == [10.0]


@pytest.mark.parametrize(
    ("shares", "kept"), [([0.1], 0.1), ([0.9, 0.1], 0.1), ([0.9, 0.5, 0.6], 0.5), ([0.3, 0.0, 0.9], 0.0)]
)
def test_a_run_that_others_disturbed_is_measured_again(
    shares: list[float], kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter(shares)
    monkeypatch.setattr(Recorder, "run", lambda *_: run(next(tries)))
    recorder = Recorder({}, {}, lambda _: None)
    assert recorder.quiet_run(Target("", [], None), Load("8", 100, 8)).others_share == kept  # type: ignore[arg-type]


def test_the_parts_of_a_recording_make_one(tmp_path: Path) -> None:
    told = {
        "shapes": {"taken": "t", "commit": "c", "yardstick_ms": 20.0, "shapes": {"main": [Examined(10, {})]}},
        "loads": {"runs": [run()], "restart": Restart(2.0, 1.0), "memory_mb": {"ray": 1.0}},
    }
    for name in PARTS:
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(told.get(name, {"runs": [run(0.1)]})))
    whole = recorded(tmp_path)
    assert isinstance(whole, Recording)
    assert [one.others_share for one in whole.runs] == [0.0, *[0.1] * (len(PARTS) - 2)]


def test_the_median_of_the_rounds_counts_and_how_far_they_lie_apart() -> None:
    runs = tuple(run(p99_ms=p99_ms) for p99_ms in (30.0, 40.0, 60.0))
    one = Comparison(runs, tuple({"p99_ms": p99_ms} for p99_ms in (20.0, 50.0, 44.0)))
    assert one.measured("p99_ms") == 40.0
    assert one.error("p99_ms") == pytest.approx(0.1)
    assert one.noise("p99_ms") == pytest.approx(0.5)


@pytest.mark.data
def test_the_mixes_are_real_mail_with_the_keys_that_signed_it(corpora: Path, tmp_path: Path) -> None:
    recorder = prepared(corpora, tmp_path, print)
    assert {mix: len(list(folder.iterdir())) for mix, folder in recorder.mixes.items()} == {
        "main": MAILS,
        "other": MAILS,
    }
    assert any("_domainkey" in name for name, _ in recorder.zone)
