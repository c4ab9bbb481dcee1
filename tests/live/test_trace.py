"""One trace per message: parentage, overlap of the four actors, queue id; slow messages are exported unsampled."""

import asyncio

import pytest

from bench.otlp_receiver import ACTOR_SPANS, ReceivedSpan
from bench.postfix import Postfix
from bench.samples import CLIENT_IP, Sample, SampleMaker
from bench.stack import Stack, StackOptions, wait_for
from cli.mta import play_message


def play(stack: Stack, sample: Sample, queue_id: str) -> None:
    outcome = asyncio.run(
        play_message(
            stack.milter,
            sample.raw,
            sender=sample.sender,
            recipients=[b"reader@recipient.example"],
            client_ip=CLIENT_IP,
            macros={b"i": queue_id.encode()},
        )
    )
    assert outcome.error == ""


def trace_of(stack: Stack, queue_id: str) -> list[ReceivedSpan]:
    """The spans of the trace whose gateway span carries this queue id, once gateway and ingress have exported."""
    return wait_for(lambda: stack.receiver.whole_trace(queue_id), 20)


def message_stage(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    return [span for span in spans if span.name in ACTOR_SPANS and span.attributes.get("stage") == "message"]


@pytest.mark.live
def test_a_sampled_message_is_one_trace_from_gateway_to_actors(tamis: Stack, maker: SampleMaker) -> None:
    play(tamis, maker.samples()[0], "4ABCDEF0123")
    spans = trace_of(tamis, "4ABCDEF0123")
    by_id = {span.span_id: span for span in spans}
    (gateway,) = [span for span in spans if span.name == "milter.transaction"]
    (ingress,) = [span for span in spans if span.name == "filter.transaction"]
    assert gateway.parent_span_id == ""
    assert by_id[ingress.parent_span_id] is gateway
    actors = [span for span in spans if span.name in ACTOR_SPANS]
    assert all(by_id[span.parent_span_id] is ingress for span in actors)
    assert {span.name for span in message_stage(spans)} == ACTOR_SPANS
    assert all(gateway.start_ns <= span.start_ns <= span.end_ns for span in spans)
    assert gateway.attributes["mail.queue_id"] == ingress.attributes["mail.queue_id"] == "4ABCDEF0123"
    lookups = [span for span in spans if span.name == "dns.query"]
    assert lookups
    assert all(by_id[span.parent_span_id].name in ACTOR_SPANS for span in lookups)


@pytest.mark.live
def test_the_four_actors_work_at_the_same_time(tamis: Stack, maker: SampleMaker) -> None:
    play(tamis, maker.samples()[0], "4ABCDEF0456")
    four = message_stage(trace_of(tamis, "4ABCDEF0456"))
    assert {span.name for span in four} == ACTOR_SPANS
    latest_start = max(span.start_ns for span in four)
    earliest_end = min(span.end_ns for span in four)
    assert latest_start < earliest_end


@pytest.mark.postfix
def test_the_trace_carries_the_queue_id_of_a_real_postfix(tamis: Stack, postfix: Postfix, maker: SampleMaker) -> None:
    code, text = postfix.send(maker.samples()[1].raw, client_ip=CLIENT_IP)
    assert code == 250
    queue_id = text.rpartition(" ")[2]
    assert trace_of(tamis, queue_id)


@pytest.mark.live
def test_a_slow_message_that_was_not_sampled_is_exported_whole(maker: SampleMaker) -> None:
    options = StackOptions(sample_ratio=0.0, slow_ms=400, dns_delay_s=(0.0, 0.0))
    with Stack(maker.zone(), options) as stack:
        play(stack, maker.samples()[1], "4FAST")
        stack.nameserver.delay_s = (0.6, 0.6)
        play(stack, maker.samples()[0], "4SLOW")
        spans = trace_of(stack, "4SLOW")
        assert {span.name for span in message_stage(spans)} == ACTOR_SPANS
        fast = [span for span in stack.receiver.spans if span.attributes.get("mail.queue_id") == "4FAST"]
        assert fast == []
