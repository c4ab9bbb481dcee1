"""A mirror of a real session over real gRPC, with and without TLS."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.adapters.clock import SystemClock
from cluster.mirror import stream as module
from cluster.mirror.config import MirrorConfig
from cluster.mirror.stream import LiveMirror
from cluster.mirror.summary import Summary
from cluster.tls import server_credentials
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import verdict_pb2
from tests.certificates import Authority
from tests.cluster.session_bench import BEGIN, END, HEADERS, MAIL, RECIPIENT, Bench
from tests.gateway.fake_ingress import FakeIngress, serve, silent, verdict
from tests.gateway.test_live import eventually
from wire.tls import TlsConfig

pytestmark = pytest.mark.live
LARGE = os.urandom(1_000_000)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_MAX_S", 0.1)
    monkeypatch.setattr(module, "BACKOFF_FIRST_S", 0.1)


@asynccontextmanager
async def mirroring(
    directory: Path, to: str, tls: TlsConfig | None = None, deadline_s: float = 20.0
) -> AsyncIterator[tuple[LiveMirror, Bench]]:
    """A session of the live cell whose messages are all mirrored there."""
    config = MirrorConfig(to=(to,), share=1.0, tls=tls or TlsConfig(), report_dir=str(directory), deadline_s=deadline_s)
    loop = asyncio.get_running_loop()
    mirror = LiveMirror(config, "ingress-0", SystemClock(), loop.call_later)
    bench = Bench(held_bytes_max=10_000_000)
    bench.hall.mirror = mirror.copies
    yield mirror, bench
    await mirror.close()


def say(bench: Bench, body: bytes = b"hello\r\n") -> None:
    """A message through the live cell, with its verdict."""
    bench.tell(BEGIN, MAIL, RECIPIENT, HEADERS)
    for offset in range(0, len(body), 65536):
        bench.tell(pb.Event(body=body[offset : offset + 65536]))
    bench.tell(END)
    bench.answer_all()


def summary_of(directory: Path) -> Summary:
    summary = Summary()
    path = directory / "ingress-0.jsonl"
    if path.exists():
        summary.read(path.read_bytes().splitlines())
    return summary


@pytest.mark.parametrize("encrypted", [False, True])
async def test_what_two_cells_say_about_the_same_mail_is_in_the_report(run_dir: Path, *, encrypted: bool) -> None:
    authority = Authority()
    ours, theirs = (authority.issue(run_dir / side, side) for side in ("live", "other"))
    other = FakeIngress(verdict(verdict_pb2.ACTION_REJECT))
    server, target = await serve(other, credentials=server_credentials(theirs) if encrypted else None)
    async with mirroring(run_dir, target, ours if encrypted else None) as (mirror, bench):
        await eventually(lambda: mirror.copies.connected_streams)
        for body in (b"hello\r\n", LARGE):
            say(bench, body)
        await eventually(lambda: summary_of(run_dir).compared == 2)
    assert summary_of(run_dir).actions == {("accept", "reject"): 2}
    assert [bytes(heard.body) for heard in other.judged] == [b"hello\r\n", LARGE]
    assert all(heard.begin.mirrored for heard in other.judged)
    assert not other.faults
    await server.stop(None)


async def test_a_stranger_as_the_other_cell_gets_nothing(run_dir: Path) -> None:
    ours = Authority().issue(run_dir / "live", "live")
    theirs = Authority("stranger").issue(run_dir / "other", "other")
    other = FakeIngress()
    server, target = await serve(other, credentials=server_credentials(theirs))
    async with mirroring(run_dir, target, ours) as (mirror, bench):
        await asyncio.sleep(0.5)
        say(bench)
        assert bench.answers
        assert not mirror.copies.connected_streams
    assert not other.begun
    await server.stop(None)


async def test_another_cell_that_dies_costs_its_copies_and_comes_back(run_dir: Path) -> None:
    first = FakeIngress(silent)
    server, target = await serve(first)
    async with mirroring(run_dir, target) as (mirror, bench):
        await eventually(lambda: mirror.copies.connected_streams)
        say(bench)
        await eventually(lambda: first.judged or first.open)
        await server.stop(None)
        await eventually(lambda: summary_of(run_dir).failed == {"lost": 1})
        assert len(mirror.copies) == 0
        server, _ = await serve(FakeIngress(), target)
        await eventually(lambda: mirror.copies.connected_streams)
        say(bench)
        await eventually(lambda: summary_of(run_dir).compared == 1)
    await server.stop(None)


async def test_another_cell_that_hangs_holds_copies_until_their_deadline(run_dir: Path) -> None:
    server, target = await serve(FakeIngress(silent))
    async with mirroring(run_dir, target, deadline_s=0.3) as (mirror, bench):
        await eventually(lambda: mirror.copies.connected_streams)
        say(bench)
        assert bench.answers, "the live verdict has left"
        await eventually(lambda: summary_of(run_dir).failed == {"late": 1})
        assert mirror.copies.held_bytes == 0
    await server.stop(None)
