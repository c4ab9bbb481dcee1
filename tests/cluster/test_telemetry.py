import pytest
from msgspec.structs import replace

from actors.model import ErrorKind, Finding, Outcome, Stage, error_finding
from cluster.errand import Report
from cluster.telemetry import REMEMBERED_MAX, Passage, Tracer, spans
from tamis.filter.v1 import examine_service_pb2 as pb
from wire.trace import SpanRecord, TraceContext

SAMPLED = TraceContext(0xABC, 0xDEF, sampled=True)
QUIET = TraceContext(0xABC, 0xDEF, sampled=False)
START_NS = 1_767_225_600_000_000_000
TIMING = pb.Timing(
    received_at_ns=START_NS + 2_000_000,
    queue_us=500,
    run_us=1500,
    batch_size=3,
    replica="dkim-0",
    lookups=[pb.LookupTiming(name="dns.query", start_us=600, duration_us=900, detail="TXT s._domainkey.example")],
)
REPORTS = (
    Report("dkim", Stage.MESSAGE, (Finding("dkim", "dkim", Outcome.PASS),), TIMING, 10.001, 10.005),
    Report(
        "antivirus",
        Stage.MESSAGE,
        (error_finding("antivirus", "antivirus", ErrorKind.TIMEOUT, "late"),),
        None,
        10.001,
        10.101,
        ErrorKind.TIMEOUT,
    ),
)
PASSAGE = Passage(QUIET.traceparent(), START_NS, 10.0, 10.001, 10.02, REPORTS, "4Queue", 1234, "accept", 0.5)


class Stream:
    """Something that transactions belong to."""


def tracer(sent: list[list[SpanRecord]], slow_ms: int = 1000) -> Tracer:
    return Tracer(sent.append, slow_ms, lambda bits: (1 << bits) - 1)


def test_the_transaction_is_a_child_of_the_gateways_span_and_actors_are_its_children() -> None:
    transaction, dkim, lookup, antivirus = spans(PASSAGE, SAMPLED, 77)
    assert (transaction.name, transaction.span_id, transaction.parent_span_id) == ("filter.transaction", 77, 0xDEF)
    assert (dkim.name, dkim.parent_span_id) == ("actor.dkim", 77)
    assert (antivirus.name, antivirus.parent_span_id) == ("actor.antivirus", 77)
    assert (lookup.name, lookup.parent_span_id) == ("dns.query", dkim.span_id)
    assert {span.trace_id for span in (transaction, dkim, lookup, antivirus)} == {0xABC}
    assert len({span.span_id for span in (transaction, dkim, lookup, antivirus)}) == 4


def test_an_actors_span_lasts_from_its_question_to_its_answer_and_lookups_have_the_replicas_times() -> None:
    transaction, dkim, lookup, antivirus = spans(PASSAGE, SAMPLED, 77)
    assert (transaction.start_ns, transaction.end_ns) == (START_NS, START_NS + 20_000_000)
    assert (dkim.start_ns, dkim.end_ns) == (START_NS + 1_000_000, START_NS + 5_000_000)
    assert (lookup.start_ns, lookup.end_ns) == (START_NS + 2_600_000, START_NS + 3_500_000)
    assert (antivirus.start_ns, antivirus.end_ns) == (START_NS + 1_000_000, START_NS + 101_000_000)


def test_attributes_tell_queue_batch_run_replica_and_queue_id() -> None:
    _, dkim, lookup, antivirus = spans(PASSAGE, SAMPLED, 77)
    expected = {"queue_ms": 0.5, "run_ms": 1.5, "batch_size": 3, "replica": "dkim-0", "mail.queue_id": "4Queue"}
    assert expected.items() <= dkim.attributes.items()
    assert (dkim.attributes["outcome"], dkim.attributes["findings"]) == ("ok", "dkim=pass")
    assert lookup.attributes["detail"] == "TXT s._domainkey.example"
    assert (antivirus.attributes["outcome"], antivirus.error) == ("error", "timeout: late")


@pytest.mark.parametrize(
    ("passage", "exported"),
    [
        (PASSAGE, False),
        (replace(PASSAGE, traceparent=SAMPLED.traceparent()), True),
        (replace(PASSAGE, ended_s=11.5), True),
        (replace(PASSAGE, missing=("antivirus",)), True),
        (replace(PASSAGE, failed="decide failed"), True),
    ],
    ids=["quiet", "sampled", "slow", "degraded", "failed"],
)
def test_sampled_slow_degraded_and_failed_ones_are_exported_whole(passage: Passage, *, exported: bool) -> None:
    sent: list[list[SpanRecord]] = []
    assert tracer(sent).over(Stream(), 1, passage) is exported
    assert [len(records) for records in sent] == ([4] if exported else [])


def test_time_spent_before_the_end_of_the_message_is_not_slow() -> None:
    sent: list[list[SpanRecord]] = []
    assert not tracer(sent).over(Stream(), 1, replace(PASSAGE, started_s=1.0))


def test_an_unsampled_transaction_can_be_kept_afterwards_once() -> None:
    sent: list[list[SpanRecord]] = []
    keeper, stream = tracer(sent), Stream()
    keeper.over(stream, 1, PASSAGE)
    keeper.keep(stream, 2)
    keeper.keep(Stream(), 1)
    assert not sent
    keeper.keep(stream, 1)
    keeper.keep(stream, 1)
    assert [len(records) for records in sent] == [4]
    assert sent[0][0].trace_id == 0xABC


def test_only_so_many_are_remembered() -> None:
    sent: list[list[SpanRecord]] = []
    keeper, stream = tracer(sent), Stream()
    for number in range(REMEMBERED_MAX + 1):
        keeper.over(stream, number, PASSAGE)
    keeper.keep(stream, 0)
    assert not sent
    keeper.keep(stream, 1)
    assert len(sent) == 1


def test_a_stream_that_is_gone_is_forgotten() -> None:
    sent: list[list[SpanRecord]] = []
    keeper, stream = tracer(sent), Stream()
    keeper.over(stream, 1, PASSAGE)
    keeper.forget(stream)
    keeper.keep(stream, 1)
    assert not sent


def test_without_a_trace_context_a_degraded_transaction_is_a_root() -> None:
    sent: list[list[SpanRecord]] = []
    tracer(sent).over(Stream(), 1, replace(PASSAGE, traceparent="", missing=("dkim",)))
    assert sent[0][0].parent_span_id == 0
    assert sent[0][0].trace_id


def test_without_a_receiver_nothing_is_kept() -> None:
    assert not Tracer(None, 1, lambda _: 1).over(Stream(), 1, replace(PASSAGE, missing=("dkim",)))
