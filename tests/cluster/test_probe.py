"""Health by real work, at an ingress: what is held against it and what is not."""

import asyncio

import pytest

from actors.model import ErrorKind, Finding, error_finding
from cluster.probe import probe_ingress
from cluster.table import Replica, Table
from tests.cluster.session_bench import HAM, STAGES, Bench


@pytest.mark.parametrize(
    ("finding", "complaint"),
    [
        (error_finding("policy", "policy", ErrorKind.UNREACHABLE, "no replica"), "does not reach policy"),
        (error_finding("policy", "deny_client", ErrorKind.UNREACHABLE, "Redis is away"), ""),
        (error_finding("policy", "policy", ErrorKind.TIMEOUT, "message"), ""),
    ],
)
async def test_an_ingress_is_well_when_it_reaches_the_actors_whatever_they_reach(
    finding: Finding, complaint: str
) -> None:
    bench = Bench()
    table = Table(STAGES, tuple(Replica(f"{pool}-0", (pool,), "a:1", "") for pool in STAGES))
    probing = asyncio.create_task(probe_ingress(bench.hall, table, 5.0))
    await asyncio.sleep(0)
    while any(link.tasks for link in bench.links.values()):
        for pool, link in bench.links.items():
            while link.tasks:
                link.answer(finding if pool == "policy" else HAM)
    assert await probing == complaint
