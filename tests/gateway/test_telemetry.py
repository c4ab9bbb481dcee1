import asyncio

import pytest

from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import Cell, FakeIngress, silent, verdict
from tests.gateway.mta import Mail
from tests.gateway.rig import LogLines, rigged


async def test_a_sampled_message_makes_the_root_span_that_the_ingress_was_told_of() -> None:
    ingress = FakeIngress(verdict(pb.ACTION_REWRITE_SUBJECT, score=6.5))
    async with rigged(Cell(a=ingress), sample_ratio=1.0) as rig:
        mta = rig.connect()
        await mta.open()
        await mta.message(Mail(queue_id=b"4TRACED", body=b"secret content\r\n"))
        (span,) = rig.spans
        assert ingress.judged[0].begin.traceparent == f"00-{span.trace_id:032x}-{span.span_id:016x}-01"
        assert (span.name, span.parent_span_id, span.error) == ("milter.transaction", 0, "")
        assert span.attributes["mail.queue_id"] == "4TRACED"
        assert span.attributes["mail.action"] == "rewrite_subject"
        assert span.attributes["mail.score"] == 6.5
        assert span.attributes["client.address"] == "192.0.2.7"
        assert 0 < span.start_ns <= span.end_ns
        assert "secret" not in str(span)
        assert ingress.kept == []


async def test_an_ordinary_message_makes_no_span() -> None:
    ingress = FakeIngress()
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        await mta.open()
        await mta.message(Mail())
        await asyncio.sleep(0.01)
        assert (rig.spans, ingress.kept) == ([], [])


async def test_a_slow_message_is_exported_late_on_both_sides() -> None:
    ingress = FakeIngress(silent)
    cell = Cell(a=ingress)
    async with rigged(cell, slow_s=1.0) as rig:
        mta = rig.connect()
        await mta.open()
        playing = asyncio.create_task(mta.message(Mail()))
        await asyncio.sleep(1.5)
        cell.pipes["a"].answer(verdict()(ingress.open[1]))
        await playing
        await asyncio.sleep(0.01)
        (span,) = rig.spans
        assert span.end_ns - span.start_ns > 1_400_000_000
        assert ingress.kept == [(1, "slow")]


@pytest.mark.parametrize(
    "fields", [{"traced": True}, {"degraded": True, "missing": ["antivirus"]}, {"degraded": True, "traced": True}]
)
async def test_a_message_that_the_ingress_traced_or_could_not_judge_whole_is_exported(
    fields: dict[str, object], lines: LogLines
) -> None:
    ingress = FakeIngress(verdict(**fields))  # type: ignore[arg-type]
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        await mta.open()
        await mta.message(Mail())
        await asyncio.sleep(0.01)
        (span,) = rig.spans
        assert span.attributes["mail.degraded"] == bool(fields.get("degraded"))
        assert ingress.kept == []
    assert lines.of("message")[0].get("missing", []) == fields.get("missing", [])


async def test_a_failed_message_is_exported_with_its_class(lines: LogLines) -> None:
    async with rigged(Cell(a=FakeIngress(silent))) as rig:
        mta = rig.connect()
        await mta.open()
        await mta.message(Mail())
        (span,) = rig.spans
        assert (span.error, span.attributes["mail.action"]) == ("timeout", "tempfail")
    assert lines.of("message")[0]["failure"] == "timeout"


async def test_an_invalid_verdict_makes_the_ingress_keep_its_spans() -> None:
    ingress = FakeIngress(verdict(pb.ACTION_REJECT))
    async with rigged(Cell(a=ingress)) as rig:
        mta = rig.connect()
        await mta.open()
        await mta.message(Mail())
        await asyncio.sleep(0.01)
        assert rig.spans[0].error == "internal"
        assert ingress.kept == [(1, "failed")]
