import logging
from pathlib import Path

import pytest

from cluster.tls import Rotation
from tests.certificates import Authority
from wire.tls import read_credentials


def test_files_that_changed_are_taken_once(tmp_path: Path) -> None:
    authority = Authority()
    config = authority.issue(tmp_path, "ingress")
    rotation = Rotation(config)
    assert rotation.fetch() is None
    authority.issue(tmp_path, "ingress")
    assert rotation.fetch() is not None
    assert rotation.current == read_credentials(config)
    assert rotation.fetch() is None


def test_in_the_middle_of_a_rotation_the_last_good_files_stay_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority()
    config = authority.issue(tmp_path / "now", "ingress")
    fresh = authority.issue(tmp_path / "next", "ingress")
    rotation = Rotation(config)
    before = rotation.current
    Path(config.certificate).write_bytes(Path(fresh.certificate).read_bytes())
    with caplog.at_level(logging.WARNING):
        assert rotation.fetch() is None
        assert rotation.fetch() is None
    assert rotation.current is before
    assert [record.getMessage() for record in caplog.records] == [
        f"tls_files_refused why=tls: `certificate` {config.certificate} and `key` {config.key}: key values mismatch"
    ]
    Path(config.key).write_bytes(Path(fresh.key).read_bytes())
    assert rotation.fetch() is not None
