"""The short form of `make chaos`, for CI: a whole cell with real processes, broken under load."""

import pytest
import uvloop

from tests.chaos.__main__ import play
from tests.chaos.cell import Cell
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.servers import why_not
from tests.conftest import skip_or_fail

RATE_PER_S = 15.0
"""What a machine gets through that is busy with other tests."""


@pytest.mark.ray
@pytest.mark.timeout(240)
def test_whatever_breaks_every_message_has_one_outcome_in_time_and_nothing_passes_unscanned() -> None:
    if reason := why_not():
        skip_or_fail(reason)
    with Cell() as cell:
        results = uvloop.run(play([one for one in SCENARIOS if one.short], cell, RATE_PER_S))
    assert {result.scenario.name: result.problems for result in results if result.problems} == {}
