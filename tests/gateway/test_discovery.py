import asyncio
from collections.abc import Sequence

import pytest

from gateway.balance import Place
from gateway.cells import CellConfig, SrvRecord
from gateway.discovery import ASK_AGAIN_MAX_S, ASK_AGAIN_MIN_S, ENDPOINTS_MAX, Discovery, LookupFailed, no_lookup
from tests.gateway.rig import LogLines

NORTH = [CellConfig(name="north", ingress=("srv:n",))]


class Dns:
    """Answers by script; the last one counts for ever."""

    def __init__(self, *answers: Sequence[str] | str, ttl_s: float = 60.0) -> None:
        self._answers = list(answers)
        self._ttl_s = ttl_s
        self.asked_at_s: list[float] = []

    async def __call__(self, _name: str) -> tuple[list[SrvRecord], float]:
        self.asked_at_s.append(asyncio.get_running_loop().time())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, str):
            raise LookupFailed(answer)
        return [SrvRecord(0, 1, host, 1) for host in answer], self._ttl_s

    @property
    def intervals_s(self) -> list[float]:
        return [later - sooner for sooner, later in zip(self.asked_at_s, self.asked_at_s[1:], strict=False)]


async def followed(dns: Dns, for_s: float) -> list[list[str]]:
    """What the discovery told, in order."""
    told: list[list[Place]] = []
    following = asyncio.create_task(Discovery(NORTH, dns, told.append).run())
    await asyncio.sleep(for_s)
    following.cancel()
    return [[place.target for place in places] for places in told]


async def test_what_changes_is_told_as_the_ttl_ends() -> None:
    dns = Dns(["a"], ["a"], ["b", "a"], ["b"])
    assert await followed(dns, 200.0) == [["a:1"], ["a:1", "b:1"], ["b:1"]]
    assert dns.intervals_s == pytest.approx([60.0] * 3)


@pytest.mark.parametrize(("ttl_s", "interval_s"), [(0.0, ASK_AGAIN_MIN_S), (1e9, ASK_AGAIN_MAX_S)])
async def test_a_ttl_counts_within_a_floor_and_a_ceiling(ttl_s: float, interval_s: float) -> None:
    dns = Dns(["a"], ttl_s=ttl_s)
    await followed(dns, 1000.0)
    assert set(dns.intervals_s) == {interval_s}


async def test_a_failing_look_up_keeps_the_last_answer_and_is_told_once(lines: LogLines) -> None:
    dns = Dns(["a"], "timed out", "timed out", [], "timed out", ["a"], "timed out", ["b"])
    assert await followed(dns, 200.0) == [["a:1"], ["b:1"]]
    assert [line["why"] for line in lines.of("lookup_failed")] == [
        "timed out",
        "the answer names no ingress",
        "timed out",
        "timed out",
    ]
    assert dns.intervals_s[1:4] == [ASK_AGAIN_MIN_S] * 3


async def test_an_answer_without_end_is_cut() -> None:
    (told,) = await followed(Dns([f"host{number}" for number in range(1000)]), 1.0)
    assert len(told) == ENDPOINTS_MAX


async def test_without_names_nobody_is_asked() -> None:
    await Discovery([CellConfig(name="north", ingress=("a:1",))], no_lookup, lambda _places: None).run()
    with pytest.raises(LookupFailed):
        await no_lookup("n")
