import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.model import (
    Action,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    Client,
    DeleteHeader,
    DeleteRecipient,
    Direction,
    EarlyVerdict,
    Envelope,
    Finding,
    InsertHeader,
    Message,
    Outcome,
    Recipient,
    ReplaceBody,
    Reply,
    Stage,
    Verdict,
)
from cluster import codec
from tamis.filter.v1 import message_pb2, verdict_pb2

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
uint32s = st.integers(0, 2**32 - 1)
floats = st.floats(allow_nan=False, width=64)
blobs = st.binary(max_size=20)
args = st.lists(blobs, max_size=3).map(tuple)
clients = st.builds(
    Client,
    ip=texts,
    port=uint32s,
    hostname=blobs,
    helo=blobs,
    auth_user=blobs,
    tls_version=texts,
    cert_subject=texts,
    cert_issuer=texts,
    auth_type=texts,
)
recipients = st.builds(Recipient, address=blobs, esmtp_args=args, tenant=texts)
envelopes = st.builds(
    Envelope,
    transaction_id=blobs,
    client=clients,
    direction=st.sampled_from(Direction),
    tenant=texts,
    sender=blobs,
    esmtp_args=args,
    recipients=st.lists(recipients, max_size=3).map(tuple),
    queue_id=texts,
    daemon_name=texts,
    mta_name=texts,
    received_at_s=st.integers(0, 4 * 10**12).map(lambda ms: ms / 1000),
    macros=st.dictionaries(texts, texts, max_size=3),
)
messages = st.builds(Message, envelope=envelopes, header_block=blobs, body=blobs)
findings = st.builds(
    Finding,
    actor=texts,
    name=texts,
    outcome=st.sampled_from(Outcome),
    score=floats,
    detail=texts,
    ms=floats,
    facts=st.dictionaries(texts, texts, max_size=3),
)
edits = st.one_of(
    st.builds(AddHeader, blobs, blobs),
    st.builds(InsertHeader, uint32s, blobs, blobs),
    st.builds(ChangeHeader, blobs, uint32s, blobs),
    st.builds(DeleteHeader, blobs, uint32s),
    st.builds(ReplaceBody, blobs),
    st.builds(ChangeSender, blobs, blobs),
    st.builds(AddRecipient, blobs, blobs),
    st.builds(DeleteRecipient, blobs),
)
replies = st.none() | st.builds(Reply, uint32s, texts, texts)
verdicts = st.builds(
    Verdict,
    action=st.sampled_from(Action),
    reply=replies,
    score=floats,
    reasons=st.lists(texts, max_size=3).map(tuple),
    edits=st.lists(edits, max_size=4).map(tuple),
    degraded=st.booleans(),
    missing=st.lists(texts, max_size=3).map(tuple),
    findings=st.lists(findings, max_size=3).map(tuple),
    quarantine_reason=texts,
)


@given(messages)
def test_a_message_comes_back_as_it_was_sent(message: Message) -> None:
    assert codec.message_from_bytes(codec.message_to_proto(message).SerializeToString()) == message


@given(verdicts)
def test_a_verdict_comes_back_as_it_was_sent(verdict: Verdict) -> None:
    wire = codec.verdict_to_proto(verdict, findings=verdict.findings).SerializeToString()
    assert codec.verdict_from_proto(verdict_pb2.Verdict.FromString(wire)) == verdict


@given(uint32s, st.sampled_from(Action), replies, st.lists(texts, max_size=3).map(tuple))
def test_a_recipient_verdict_comes_back_as_it_was_sent(
    index: int, action: Action, reply: Reply | None, reasons: tuple[str, ...]
) -> None:
    verdict = EarlyVerdict(action, reply, reasons)
    assert codec.recipient_verdict_from_proto(codec.recipient_verdict_to_proto(index, verdict)) == (index, verdict)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    try:
        message = codec.message_from_bytes(data)
    except codec.MalformedMessage:
        return
    assert isinstance(message, Message)


@given(st.sampled_from(Stage))
def test_stages_come_back_as_they_were_sent(stage: Stage) -> None:
    assert codec.stage_from_proto(codec.stage_to_proto(stage)) is stage


def test_an_unknown_stage_is_the_last_one() -> None:
    assert codec.stage_from_proto(99) is Stage.MESSAGE


def test_an_unknown_direction_is_inbound() -> None:
    assert codec.envelope_from_proto(message_pb2.Envelope(direction=77)).direction is Direction.INBOUND


def test_an_unknown_action_is_a_tempfail_for_a_message_and_lets_a_recipient_through() -> None:
    assert codec.verdict_from_proto(verdict_pb2.Verdict(action=99)).action is Action.TEMPFAIL
    _, recipient = codec.recipient_verdict_from_proto(verdict_pb2.RecipientVerdict(action=99))
    assert recipient.action is Action.ACCEPT


def test_an_unknown_outcome_says_nothing() -> None:
    assert codec.finding_from_proto(verdict_pb2.Finding(outcome="novel")).outcome is Outcome.NONE


def test_an_edit_of_a_later_release_is_left_out() -> None:
    wire = verdict_pb2.Verdict(edits=[verdict_pb2.Edit(), verdict_pb2.Edit(replace_body=b"x")])
    assert codec.verdict_from_proto(wire).edits == (ReplaceBody(b"x"),)


def test_text_from_undecodable_bytes_does_not_fail() -> None:
    broken = b"\xff".decode("utf-8", "surrogateescape")
    finding = Finding("dkim", "dkim", Outcome.FAIL, detail=broken, facts={broken: broken})
    assert codec.finding_to_proto(finding).detail == "?"
    assert dict(codec.finding_to_proto(finding).facts) == {"?": "?"}


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_impossible_times_do_not_fail(seconds: float) -> None:
    envelope = replace(Envelope(), received_at_s=seconds)
    assert isinstance(codec.envelope_to_proto(envelope).received_at_ms, int)


def test_numbers_outside_their_field_are_clamped() -> None:
    assert codec.edit_to_proto(InsertHeader(-1, b"X", b"y")).insert_header.index == 0
    assert codec.edit_to_proto(DeleteHeader(b"X", 2**40)).delete_header.occurrence == 2**32 - 1
