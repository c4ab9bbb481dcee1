"""Hostile mail through the actors that authenticate, as examinations run them: typed results, never a crash."""

import asyncio
from collections.abc import Sequence

import pytest

from actors.actor import Actor, Budget
from actors.adapters.clock import SystemClock
from actors.config import JudgementConfig
from actors.decide.verdict import decide
from actors.dkim.actor import DkimActor
from actors.examine import examine_all, examine_caught, known_at
from actors.model import Action, Finding, Message, Outcome, Stage
from actors.policy.actor import PolicyActor
from actors.ports import Clock
from tests.fakes import FakeClock, FakeResolver
from tests.hostile_case import CLIENT_IP, CONFIG
from tests.hostile_mail import all_cases, every_lookup, every_lookup_zone

TYPED = {
    Outcome.NONE,
    Outcome.PASS,
    Outcome.FAIL,
    Outcome.SOFTFAIL,
    Outcome.NEUTRAL,
    Outcome.POLICY,
    Outcome.TEMPERROR,
    Outcome.PERMERROR,
    Outcome.SKIPPED,
    Outcome.HIT,
}


def actors(resolver: FakeResolver, clock: Clock, config: JudgementConfig = CONFIG) -> list[Actor]:
    return [DkimActor(config.dkim, resolver, clock), PolicyActor(config, resolver, None, clock)]


async def examine(message: Message, resolver: FakeResolver, config: JudgementConfig = CONFIG) -> list[Finding]:
    return await examine_all(actors(resolver, FakeClock(), config), message, FakeClock(), 20.0)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", all_cases())
async def test_hostile_mail_ends_in_typed_results(name: str) -> None:
    case = all_cases()[name]
    findings = await examine(case.message, case.resolver(), case.config)
    assert {finding.outcome for finding in findings} <= TYPED
    for expected, outcomes in case.expected.items():
        told = {finding.outcome for finding in findings if finding.name == expected}
        assert told, f"nothing is said of {expected}"
        assert told <= set(outcomes), [finding for finding in findings if finding.name == expected][:3]
    verdict = decide(findings, case.message, case.config, expected=("dkim", "policy"))
    assert verdict.action in Action
    assert not verdict.degraded


QUESTIONS = [
    *("rsa._domainkey.example.org", "ed._domainkey.mail.example.org"),
    *("example.org", "a.example", "b.example", "m.example", CLIENT_IP, "192.0.2.25.e.example", "i.example"),
    *("_dmarc.example.org", "_dmarc.mail.example.org", "_dmarc.org"),
]


class Silent(FakeResolver):
    """Never says anything about one name."""

    def __init__(self, zone: str, name: str) -> None:
        super().__init__(zone)
        self._name = name

    async def txt(self, name: str) -> Sequence[bytes]:
        await self._wait(name)
        return await super().txt(name)

    async def addresses(self, name: str, *, ipv6: bool = False) -> Sequence[str]:
        await self._wait(name)
        return await super().addresses(name, ipv6=ipv6)

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        await self._wait(name)
        return await super().mx(name)

    async def ptr(self, ip: str) -> Sequence[str]:
        await self._wait(ip)
        return await super().ptr(ip)

    async def _wait(self, name: str) -> None:
        if name == self._name:
            await asyncio.Event().wait()


async def examine_each_stage(message: Message, resolver: FakeResolver) -> list[Finding]:
    """Each stage with a short budget of its own, as in a cell; nobody cuts the actor off, it has to come to its end."""
    findings: list[Finding] = []
    for stage in Stage:
        for known in known_at(stage, message):
            for actor in actors(resolver, SystemClock()):
                if stage in actor.stages:
                    findings += await examine_caught(actor, stage, known, Budget.lasting(SystemClock(), 0.05))
    return findings


def by_name(findings: list[Finding]) -> dict[str, list[Outcome]]:
    return {name: [one.outcome for one in findings if one.name == name] for name in {one.name for one in findings}}


async def test_everything_is_asked_that_can_be_asked() -> None:
    resolver = FakeResolver(every_lookup_zone())
    found = by_name(await examine(every_lookup(), resolver))
    assert {name for name, _ in resolver.questions} == set(QUESTIONS)
    assert found == {
        "dkim": [Outcome.PASS, Outcome.PERMERROR],
        "arc": [Outcome.PASS],
        "spf": [Outcome.PASS],
        "dmarc_record": [Outcome.PASS],
    }


@pytest.mark.parametrize("name", QUESTIONS)
async def test_servfail_at_any_lookup_is_a_temperror_of_what_needed_it(name: str) -> None:
    found = by_name(await examine(every_lookup(), FakeResolver(every_lookup_zone(), failing=[name])))
    temporary = {finding for finding, told in found.items() if Outcome.TEMPERROR in told}
    assert temporary <= needing(name)
    assert {outcome for told in found.values() for outcome in told} <= TYPED


@pytest.mark.parametrize("name", QUESTIONS)
async def test_silence_at_any_lookup_is_a_temperror_of_what_needed_it(name: str) -> None:
    found = by_name(await examine_each_stage(every_lookup(), Silent(every_lookup_zone(), name)))
    temporary = {finding for finding, told in found.items() if Outcome.TEMPERROR in told}
    assert temporary <= needing(name)
    assert {outcome for told in found.values() for outcome in told} <= TYPED


def needing(name: str) -> set[str]:
    """The findings that may wait for this name."""
    if "_domainkey" in name:
        return {"dkim", "arc"}
    return (
        {"dmarc_record"}
        if name.startswith("_dmarc")
        else {"spf"} | ({"dmarc_record"} if name == "example.org" else set())
    )
