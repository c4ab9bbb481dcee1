"""What is measured, as far as it needs no cell."""

from pathlib import Path

import pytest

from bench.simulation.figures import Examined
from bench.simulation.record import MAILS, means, merge, prepared


def test_of_each_mail_the_least_cpu_counts_and_the_questions_without_a_cache() -> None:
    first, second = Examined(10, {"message dkim": 2.0}), Examined(10, {"message dkim": 1.5})
    asked = Examined(10, {"message dkim": 9.0}, {"message dkim": (2, 1)})
    assert list(merge([[first], [second]], [asked])) == [Examined(10, {"message dkim": 1.5}, {"message dkim": (2, 1)})]


def test_the_speed_of_the_machine_is_a_mean_for_each_stretch_of_time() -> None:
    assert list(means([10.0, 20.0, 30.0, 40.0, 50.0], 2.2)) == [15.0, 35.0, 50.0]
    assert list(means([10.0], 0.3)) == [10.0]


@pytest.mark.data
def test_the_mixes_are_real_mail_with_the_keys_that_signed_it(corpora: Path, tmp_path: Path) -> None:
    recorder = prepared(corpora, tmp_path, print)
    assert {mix: len(list(folder.iterdir())) for mix, folder in recorder.mixes.items()} == {
        "main": MAILS,
        "other": MAILS,
    }
    assert any("_domainkey" in name for name, _ in recorder.zone)
