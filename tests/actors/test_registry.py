"""The registry: stages without imports, one actor without the others' libraries."""

import subprocess
import sys
from typing import NoReturn

import pytest

from actors.adapters.clock import SystemClock
from actors.config import AntivirusConfig, JudgementConfig, Lists, PolicyConfig, RedisConfig
from actors.model import Stage
from actors.registry import ACTOR_NAMES, build_actor, build_tally, stages_of
from actors.reports.config import DmarcReportConfig
from tests.fakes import FakeResolver

WAITED_FOR = [Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RECIPIENT]


@pytest.mark.parametrize("name", ACTOR_NAMES)
async def test_the_table_of_stages_says_what_the_actor_says(name: str) -> None:
    config = JudgementConfig(policy=PolicyConfig(lists=Lists(deny_clients=("192.0.2.1",))))
    actor = build_actor(name, config, SystemClock(), FakeResolver())

    assert actor.name == name
    assert actor.stages == stages_of(name, config)
    await actor.close()


@pytest.mark.parametrize(
    ("lists", "asked"),
    [
        (Lists(), []),
        (Lists(allow_clients=("192.0.2.1",), allow_senders=("example.org",)), []),
        (Lists(deny_clients=("192.0.2.1",)), WAITED_FOR),
        (Lists(deny_helos=(".example.org",)), WAITED_FOR[1:]),
        (Lists(deny_senders=("example.org",)), WAITED_FOR[2:]),
        (Lists(deny_recipients=("example.org",)), WAITED_FOR[3:]),
        (Lists(redis_prefix="tamis"), WAITED_FOR),
    ],
)
def test_nobody_is_asked_while_the_mta_waits_when_no_list_can_refuse_what_is_known(
    lists: Lists, asked: list[Stage]
) -> None:
    stages = stages_of("policy", JudgementConfig(policy=PolicyConfig(lists=lists)))

    assert [stage for stage in WAITED_FOR if stage in stages] == asked


async def test_the_given_resolver_replaces_the_configured_one() -> None:
    resolver = FakeResolver()
    for name in ("dkim", "policy"):
        await build_actor(name, JudgementConfig(), SystemClock(), resolver).close()

    assert resolver.closed


@pytest.mark.parametrize("name", ACTOR_NAMES)
async def test_every_actor_can_be_built_with_all_ports_configured_and_no_socket(name: str) -> None:
    config = JudgementConfig(
        redis=RedisConfig(url="redis://127.0.0.1:1/0"), antivirus=AntivirusConfig(clamd=("127.0.0.1:1",))
    )
    await build_actor(name, config, SystemClock()).close()


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="greylist"):
        build_actor("greylist", JudgementConfig(), SystemClock())


@pytest.mark.live
@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("dkim", ("numpy", "yara_x", "redis", "spftrace")),
        ("policy", ("numpy", "yara_x", "nacl")),
        ("classifier", ("yara_x", "aiodns", "dkim", "redis", "rensa", "xxhash")),
        ("antivirus", ("aiodns", "dkim", "spftrace")),
    ],
)
def test_a_process_loads_only_its_own_actors_libraries(name: str, absent: tuple[str, ...]) -> None:
    program = (
        "import sys\n"
        "from actors.adapters.clock import SystemClock\n"
        "from actors.config import JudgementConfig\n"
        "from actors.registry import build_actor\n"
        f"build_actor({name!r}, JudgementConfig(), SystemClock())\n"
        f"print(sorted(set(sys.modules) & {set(absent)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@pytest.mark.live
def test_the_table_of_stages_is_there_without_any_actor() -> None:
    program = (
        "import sys, actors.registry\n"
        "print(*sorted(name for name in sys.modules if name.startswith('actors.') and name.count('.') > 1))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    # Settings and values only.
    assert done.stdout.split() == [
        "actors.classifier.campaigns",
        "actors.classifier.campaigns.campaign",
        "actors.classifier.campaigns.config",
        "actors.classifier.learning",
        "actors.classifier.learning.bounds",
        "actors.classifier.learning.config",
        "actors.dkim.rotation",
        "actors.dkim.rotation.config",
        "actors.dkim.rotation.selectors",
        "actors.dkim.signing",
        "actors.dkim.signing.config",
        "actors.dkim.signing.http_place",
        "actors.dkim.signing.ldap_place",
        "actors.dkim.signing.options",
        "actors.dkim.signing.sql_place",
        "actors.policy.config",
        "actors.reports.config",
        "actors.reports.names",
        "actors.reports.row",
    ]


async def test_messages_are_counted_for_reports_where_there_is_a_name_and_a_redis() -> None:
    named, redis = DmarcReportConfig(domain="mx.example"), RedisConfig(url="redis://127.0.0.1:1")
    for config in (JudgementConfig(dmarc_report=named), JudgementConfig(redis=redis)):
        assert build_tally(config, SystemClock(), no_timer) is None
    tally = build_tally(JudgementConfig(dmarc_report=named, redis=redis), SystemClock(), no_timer)
    assert tally is not None
    await tally.close()


def no_timer(*_: object) -> NoReturn:
    raise AssertionError
