"""Frames that earlier releases recorded, read by today's code, and today's frames read by theirs (see record.py)."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from actors.model import Outcome
from cluster.codec import finding_from_proto, message_from_bytes, stage_from_proto, stage_to_proto, verdict_from_proto
from gateway.dial import encode_request
from gateway.exchange import Exchange
from gateway.replies import for_early, for_verdict
from tamis.filter.v1 import examine_service_pb2, filter_service_pb2, message_pb2, verdict_pb2
from tests.cluster.session_bench import ASKED, WHOLE, Bench
from tests.contract.schema import Schema
from tests.gateway.linked import transaction
from wire.milter import constants as c
from wire.milter import events as ev

RELEASES = [path.parent.name for path in sorted(Path(__file__).parent.glob("*/frames.jsonl"))]
TODAY = (message_pb2, verdict_pb2, filter_service_pb2, examine_service_pb2)
POSTFIX = ev.Negotiated(c.VERSION_MAX, c.ALL_ACTIONS, 0)
every_release = pytest.mark.parametrize("release", RELEASES)


@dataclass
class Frame:
    name: str
    payload: bytes
    fields: dict[str, Any]


def frames(release: str, *names: str) -> list[Frame]:
    lines = (Path(__file__).parent / release / "frames.jsonl").read_text().splitlines()
    read = [json.loads(line) for line in lines]
    recorded = [Frame(one["message"], base64.b64decode(one["frame"]), one["fields"]) for one in read]
    return [frame for frame in recorded if not names or frame.name in names]


def schema(release: str) -> Schema:
    return Schema((Path(__file__).parent / release / "schema.binpb").read_bytes())


def today(name: str) -> type[Message]:
    (found,) = [getattr(module, name) for module in TODAY if hasattr(module, name)]
    assert issubclass(found, Message)
    return found


def fields(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def test_there_is_a_recording() -> None:
    assert "0.1.0" in RELEASES


# --- what they said, read by us ----------------------------------------------------------------------------------


@every_release
def test_recorded_frames_decode_to_the_fields_that_their_release_read(release: str) -> None:
    for frame in frames(release):
        assert fields(today(frame.name).FromString(frame.payload)) == frame.fields


@every_release
def test_every_kind_of_event_answer_and_frame_of_the_release_was_recorded(release: str) -> None:
    then = schema(release)
    for holder, part, name in (("FilterRequest", "events", "Event"), ("FilterResponse", "answers", "Answer")):
        wanted = {field.name for field in then.message_class(name).DESCRIPTOR.oneofs_by_name["kind"].fields}
        found = {kind for frame in frames(release, holder) for one in frame.fields[part] for kind in one}
        assert wanted <= found
    holders = {"FilterRequest", "FilterResponse", "ScanRequest", "ScanResponse", "ExamineRequest", "ExamineResponse"}
    assert {frame.name for frame in frames(release)} == holders


def whole_transactions(release: str) -> set[str]:
    told: dict[str, set[str]] = {}
    for frame in frames(release, "FilterRequest"):
        for event in frame.fields["events"]:
            told.setdefault(event["transaction"], set()).update(event)
    return {number for number, kinds in told.items() if {"begin", "mail", "headers", "end_of_message"} <= kinds}


@every_release
def test_todays_ingress_judges_what_a_gateway_of_the_release_told_it(release: str) -> None:
    bench = Bench()
    for frame in frames(release, "FilterRequest"):
        bench.session.receive(filter_service_pb2.FilterRequest.FromString(frame.payload).events)
        bench.answer_all()
    judged = {str(answer.transaction) for answer in bench.answers if answer.HasField("verdict")}
    assert judged == whole_transactions(release)
    assert len(judged) >= 3
    early = [answer.WhichOneof("kind") for answer in bench.answers if not answer.HasField("verdict")]
    assert set(early) == {"stage_verdict", "recipient_verdict"}
    assert all(
        answer.verdict.action == verdict_pb2.ACTION_ACCEPT for answer in bench.answers if answer.HasField("verdict")
    )


@every_release
def test_todays_gateway_applies_what_an_ingress_of_the_release_answered(release: str) -> None:
    actions = []
    for frame in frames(release, "FilterResponse"):
        for answer in filter_service_pb2.FilterResponse.FromString(frame.payload).answers:
            if answer.HasField("verdict"):
                actions.append(verdict_from_proto(answer.verdict).action)
                replies = for_verdict(answer.verdict, POSTFIX)
                assert len(replies) == len(answer.verdict.edits) + 1
            elif answer.HasField("stage_verdict"):
                for_early(answer.stage_verdict)
            elif answer.HasField("recipient_verdict"):
                for_early(answer.recipient_verdict)
    assert {"accept", "reject", "add_header"} <= set(map(str, actions))


@every_release
def test_todays_replica_reads_the_tasks_of_the_release_and_todays_ingress_its_results(release: str) -> None:
    senders = set()
    for frame in frames(release, "ExamineRequest"):
        for task in examine_service_pb2.ExamineRequest.FromString(frame.payload).tasks:
            message = message_from_bytes(task.message)
            senders.add(message.envelope.sender)
            assert stage_to_proto(stage_from_proto(task.stage)) == task.stage
            assert not message.envelope.mirrored
            assert not task.actors, "none = all of the replica's"
    assert b"anna@shop.example" in senders
    for frame in frames(release, "ExamineResponse"):
        for result in examine_service_pb2.ExamineResponse.FromString(frame.payload).results:
            for finding in map(finding_from_proto, result.findings):
                assert finding.actor
                assert isinstance(finding.outcome, Outcome)


# --- what we say, read by them -----------------------------------------------------------------------------------


def filled(message: Message, depth: int = 0) -> Message:
    """With something in every field, one of each oneof at a time left to the caller."""
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is None:
            fill(message, field, depth)
    return message


def fill(message: Message, field: FieldDescriptor, depth: int) -> None:
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(message, name)["key"] = "value"
    elif field.message_type is not None:
        part = getattr(message, name).add() if field.is_repeated else getattr(message, name)
        part.SetInParent()
        for variant in variants(type(part), depth + 1):
            part.MergeFrom(variant)
            break
    else:
        value = {
            FieldDescriptor.CPPTYPE_STRING: b"\xc3\xa4" if field.type == FieldDescriptor.TYPE_BYTES else "\xe4",
            FieldDescriptor.CPPTYPE_BOOL: True,
            FieldDescriptor.CPPTYPE_DOUBLE: 0.5,
        }.get(field.cpp_type, 2)
        if field.is_repeated:
            getattr(message, name).append(value)
        else:
            setattr(message, name, value)


def variants(message_class: type[Message], depth: int = 0) -> Iterator[Message]:
    """The message with everything in it, once for each way its oneof may go."""
    choices = [field for oneof in message_class.DESCRIPTOR.oneofs for field in oneof.fields]
    for choice in choices or [None]:
        message = filled(message_class(), depth)
        if choice is not None:
            fill(message, choice, depth)
        yield message


def known_then(message: Message, then: Schema) -> dict[str, Any]:
    """The fields of today's message that the release knows."""
    cut = then.message_class(message.DESCRIPTOR.name)()
    return fields(ParseDict(fields(message), cut, ignore_unknown_fields=True))


@every_release
def test_nothing_that_the_release_knows_is_lost_in_any_message_of_today(release: str) -> None:
    then = schema(release)
    for name in then.message_names:
        for message in variants(today(name)):
            heard = then.message_class(name).FromString(message.SerializeToString())
            assert fields(heard) == known_then(message, then), name


@every_release
async def test_a_gateway_of_today_tells_nothing_that_an_ingress_of_the_release_would_miss(release: str) -> None:
    then = schema(release)
    exchange = Exchange(7, transaction(b"r@recipient.example", body=b"x" * 1000))
    exchange.verdict_deadline_s = 10.0
    events = [event for event, _ in exchange.take(0.0)]
    heard = then.decode("FilterRequest", encode_request(events))
    assert heard is not None
    kinds = [event.WhichOneof("kind") for event in heard.events]  # type: ignore[attr-defined]
    assert kinds == ["begin", "mail", "recipient", "headers", "body", "end_of_message"]


@every_release
def test_an_ingress_of_today_answers_what_a_gateway_of_the_release_understands(release: str) -> None:
    then = schema(release)
    bench = Bench()
    bench.tell(*WHOLE[:2], ASKED, *WHOLE[3:])
    bench.answer_all()
    heard = then.decode("FilterResponse", filter_service_pb2.FilterResponse(answers=bench.answers).SerializeToString())
    assert heard is not None
    kinds = [answer.WhichOneof("kind") for answer in heard.answers]  # type: ignore[attr-defined]
    assert sorted(kinds) == ["recipient_verdict", "verdict"]
    (verdict,) = [answer.verdict for answer in heard.answers if answer.HasField("verdict")]  # type: ignore[attr-defined]
    assert for_verdict(verdict_pb2.Verdict.FromString(verdict.SerializeToString()), POSTFIX)[-1] == ev.Accept()
