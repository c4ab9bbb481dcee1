"""The short form of `make chaos`, for CI: whole cells with real processes, broken under load."""

import pytest
import uvloop

from tests.chaos import network, servers
from tests.chaos.__main__ import play
from tests.chaos.cell import Cell
from tests.chaos.nodes import Nodes
from tests.chaos.run import Site
from tests.chaos.scenarios import NODE_SCENARIOS, SCENARIOS, Scenario
from tests.conftest import skip_or_fail

pytestmark = [pytest.mark.ray, pytest.mark.timeout(360)]
RATE_PER_S = 10.0
"""What a machine gets through that is busy with other tests."""


def problems(scenarios: tuple[Scenario, ...], site: Site) -> dict[str, list[str]]:
    results = uvloop.run(play([one for one in scenarios if one.short], site, RATE_PER_S))
    assert results
    return {result.scenario.name: result.problems for result in results if result.problems}


def test_whatever_breaks_every_message_has_one_outcome_in_time_and_nothing_passes_unscanned() -> None:
    if reason := servers.why_not():
        skip_or_fail(reason)
    with Cell() as cell:
        assert problems(SCENARIOS, cell) == {}


def test_cut_off_from_the_whole_cluster_a_gateways_own_rules_act_and_the_other_gateway_serves_on() -> None:
    if reason := servers.why_not() or network.why_not():
        skip_or_fail(reason)
    with Nodes() as nodes:
        assert problems(NODE_SCENARIOS, nodes) == {}
