"""More sessions than the gateway serves: the overload policy at once, and stress before that."""

import asyncio

import pytest

from gateway.failure_policy import OnFailureConfig
from gateway.fallback import FallbackConfig
from tests.gateway.fake_ingress import Cell, FakeIngress
from tests.gateway.mta import Mail, Mta
from tests.gateway.rig import LogLines, Rig, rigged
from wire.milter import constants as c
from wire.milter import events as ev

UNAVAILABLE = ev.ReplyCode(b"451 4.7.1 Mail filter is not available, please try again later")


async def full(rig: Rig, sessions: int) -> list[Mta]:
    mtas = [rig.connect() for _ in range(sessions)]
    for mta in mtas:
        await mta.open()
        mta.flush()
    return mtas


async def connects(mta: Mta, ip: bytes = b"198.51.100.1") -> ev.Reply | None:
    await mta.say(ev.Negotiate(6, c.ALL_ACTIONS, c.OFFERED_STEPS))
    return await mta.say(ev.Connect(b"mail.shop.example", c.SMFIA_INET, 54321, ip))


async def test_a_session_above_the_bound_hears_451_at_connect_and_nobody_is_asked(lines: LogLines) -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress), sessions_max=4) as rig:
        served = await full(rig, 4)
        extra = rig.connect()
        assert await connects(extra) == UNAVAILABLE
        assert (ingress.begun, rig.held.total) == (0, 0)
        assert (await served[0].message(Mail())).final == ev.Accept()
        assert rig.value("shed_sessions_total") == 1
        assert rig.value("failures_total", failure="overloaded", action="tempfail") == 1
        assert [line["failure"] for line in lines.of("refused_early")] == ["overloaded"]
        rig.hang_up(0)
        rig.hang_up(4)
        await asyncio.sleep(0.01)
        again = rig.connect()
        await again.open()
        assert (await again.message(Mail())).final == ev.Accept()


@pytest.mark.parametrize("action", ["accept", "quarantine"])
async def test_a_session_above_the_bound_passes_its_mail_marked_if_the_policy_says_so(action: str) -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress), sessions_max=4, on_failure=OnFailureConfig(overloaded=action)) as rig:
        await full(rig, 4)
        extra = rig.connect()
        assert await connects(extra) == ev.Continue()
        for _ in range(2):
            heard = await extra.message(Mail(body=b"x" * 100_000))
            assert heard.recipients == [ev.Continue()]
            assert heard.edits[0] == ev.InsertHeader(0, b"X-Tamis-Unfiltered", b" overloaded")
            assert (ev.Quarantine(b"no verdict: overloaded") in heard.edits) == (action == "quarantine")
            assert heard.final == ev.Accept()
        assert (ingress.begun, rig.held.total) == (0, 0)
        assert rig.value("unfiltered_total") == 2


async def test_local_rules_act_on_sessions_above_the_bound() -> None:
    fallback = FallbackConfig(allow_clients=("192.0.2.0/24",), deny_clients=("203.0.113.0/24",))
    async with rigged(Cell(a=FakeIngress()), sessions_max=8, fallback=fallback) as rig:
        await full(rig, 8)
        friend, foe = rig.connect(), rig.connect()
        assert await connects(foe, b"203.0.113.9") == ev.ReplyCode(b"550 5.7.1 Not accepted by local policy")
        assert await connects(friend, b"192.0.2.9") == ev.Continue()
        assert (await friend.message(Mail())).final == ev.Accept()


async def test_stress_is_told_to_the_cluster_and_comes_and_goes_with_hysteresis(lines: LogLines) -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress), sessions_max=12, stress_share=0.75) as rig:
        served = await full(rig, 8)
        await served[0].message(Mail())
        assert rig.value("stress") == 0
        served += await full(rig, 1)
        await served[0].message(Mail())
        assert rig.value("stress") == 1
        for number in range(1, 4):
            rig.hang_up(number)
        await asyncio.sleep(0.01)
        await served[0].message(Mail())
        rig.hang_up(4)
        await asyncio.sleep(0.01)
        await served[0].message(Mail())
        assert [heard.begin.stress for heard in ingress.judged] == [False, True, True, False]
        assert rig.value("stress") == 0
    assert lines.of("stress_began") == [{"sessions": 9, "sessions_max": 12}]
    assert lines.of("stress_ended") == [{"sessions": 5, "sessions_max": 12}]
