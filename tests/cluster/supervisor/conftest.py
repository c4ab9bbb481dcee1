"""A Ray of fakes for each test of the supervisor."""

import pytest

from tests.cluster.fake_ray import FakeRay


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    monkeypatch.setattr("cluster.supervisor.supervisor.prepare_process", lambda: None)
    return FakeRay()
