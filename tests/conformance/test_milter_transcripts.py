"""All scenario files of a milter manager's test suite: each is played, or named with the reason why not.

`played` means both: between our two ends of the codec, every answer at every stage; and against our gateway in memory,
whose cluster answers what the scenario's filters answer together. What only concerns how a manager runs several
children (who is started, asked again or left out) comes with the children issue.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.milter_codec import CodecPlayer
from tests.conformance.milter_gateway import GatewayPlayer
from tests.conformance.milter_scenarios import Scenario, read
from tests.gateway.virtual_time import VirtualLoop
from wire.milter import ProtocolError

pytestmark = pytest.mark.data

FILES = 132
STARTING = "only how a manager starts a child, or tries again"
DISCARD = "discards all mail while a child is away: no policy of ours"
NOT_PLAYED = {
    "children/negotiate-retry": STARTING,
    "children/negotiate-retry-fail": STARTING,
    "leader/negotiate-no-bind": STARTING,
    "leader/negotiate-fallback-discard": DISCARD,
}
ON_TRIAL = {
    "leader/add-header-evaluation": 0,
    "leader/add-header-evaluation-discard": 1,
    "leader/add-header-evaluation-reject": 1,
    "leader/add-header-evaluation-temporary-failure": 1,
    "leader/add-recipient-evaluation": 0,
    "leader/change-from-evaluation": 0,
    "leader/change-header-evaluation": 1,
    "leader/delete-header-evaluation": 1,
    "leader/delete-recipient-evaluation": 0,
    "leader/insert-header-evaluation": 0,
    "leader/quarantine-evaluation": 0,
    "leader/replace-body-evaluation": 0,
}
"""The child whose answer a manager only notes: as configured there, the configuration is not part of the data."""
UNREACHABLE = {
    "leader/connect-no-available-child": "accept",
    "leader/connect-no-child": "accept",
    "leader/connect-no-enabled-child": "accept",
    "leader/negotiate-fallback-reject": "reject",
    "leader/negotiate-fallback-temporary-failure": "temporary-failure",
    "leader/negotiate-no-available-child": "accept",
    "leader/negotiate-no-child": "accept",
    "leader/negotiate-no-enabled-child": "accept",
}
"""No filter is there: our failure policy answers, set to what the scenario expects."""
BROKEN = {"leader/reply-code-invalid": "reject"}
"""The filters answer what no filter may: the failure policy again."""


@pytest.fixture(scope="module")
def scenarios(corpora: Path) -> dict[str, Scenario]:
    root = corpora / "conformance" / "milter_transcripts" / "fixtures"
    return {name: read(root, name) for name in sorted(f"{path.parent.name}/{path.stem}" for path in root.glob("*/*"))}


def test_every_file_is_played_or_says_why_not(scenarios: dict[str, Scenario]) -> None:
    assert len(scenarios) == FILES
    assert NOT_PLAYED.keys() | ON_TRIAL.keys() | UNREACHABLE.keys() | BROKEN.keys() <= scenarios.keys()


def test_between_the_two_ends_of_the_codec(scenarios: dict[str, Scenario]) -> None:
    compared, failures = 0, {}
    for name, scenario in scenarios.items():
        if name in NOT_PLAYED:
            continue
        player = CodecPlayer(scenario)
        try:
            player.play()
        except (AssertionError, ProtocolError) as error:
            failures[name] = repr(error)
        compared += player.compared
    assert failures == {}
    assert compared >= 1800


def test_against_the_gateway(scenarios: dict[str, Scenario], record_property: Callable[[str, object], None]) -> None:
    compared, failures = 0, {}
    for name, scenario in scenarios.items():
        if name in NOT_PLAYED:
            continue
        player = GatewayPlayer(scenario, (ON_TRIAL[name],) if name in ON_TRIAL else ())
        try:
            with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                runner.run(play(player, scenario))
        except (AssertionError, ProtocolError, TimeoutError, EOFError) as error:
            failures[name] = repr(error)
        compared += player.compared
    played = FILES - len(NOT_PLAYED) - len(failures)
    record_property("figure", f"{played}/{FILES}_played")
    assert failures == {}
    assert compared >= 1250


async def play(player: GatewayPlayer, scenario: Scenario) -> None:
    async with asyncio.timeout(3600):
        if not scenario.steps:
            await player.play_whole_message()
        elif scenario.name in UNREACHABLE:
            await player.play(UNREACHABLE[scenario.name], reachable=False)
        else:
            await player.play(BROKEN.get(scenario.name, ""))
