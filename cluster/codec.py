"""Protobuf contract to model and back, both ways, for everything that gateway, ingress and actors exchange.

Pure and total: an unknown enum value becomes the sensible neighbour, text that is not valid Unicode is repaired,
numbers outside their field are clamped, and bytes that are no Message raise MalformedMessage and nothing else.
"""

import math
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from actors.model import (
    NO_FACTS,
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
    Edit,
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
from tamis.filter.v1 import message_pb2, verdict_pb2

_UINT32_MAX = 2**32 - 1
_INT64_MAX = 2**63 - 1

_DIRECTIONS = {
    Direction.INBOUND: message_pb2.DIRECTION_INBOUND,
    Direction.OUTBOUND: message_pb2.DIRECTION_OUTBOUND,
    Direction.INTERNAL: message_pb2.DIRECTION_INTERNAL,
}
_DIRECTION_OF: dict[int, Direction] = {number: direction for direction, number in _DIRECTIONS.items()}

_STAGES: dict[Stage, message_pb2.Stage] = {
    Stage.CONNECT: message_pb2.STAGE_CONNECT,
    Stage.HELO: message_pb2.STAGE_HELO,
    Stage.MAIL: message_pb2.STAGE_MAIL,
    Stage.ENVELOPE: message_pb2.STAGE_ENVELOPE,
    Stage.RECIPIENT: message_pb2.STAGE_RECIPIENT,
    Stage.HEADERS: message_pb2.STAGE_HEADERS,
    Stage.MESSAGE: message_pb2.STAGE_MESSAGE,
    Stage.SIGN: message_pb2.STAGE_SIGN,
}
_STAGE_OF: dict[int, Stage] = {number: stage for stage, number in _STAGES.items()}

_ACTIONS = {
    Action.ACCEPT: verdict_pb2.ACTION_ACCEPT,
    Action.ADD_HEADER: verdict_pb2.ACTION_ADD_HEADER,
    Action.REWRITE_SUBJECT: verdict_pb2.ACTION_REWRITE_SUBJECT,
    Action.TEMPFAIL: verdict_pb2.ACTION_TEMPFAIL,
    Action.QUARANTINE: verdict_pb2.ACTION_QUARANTINE,
    Action.DISCARD: verdict_pb2.ACTION_DISCARD,
    Action.REJECT: verdict_pb2.ACTION_REJECT,
}
_ACTION_OF: dict[int, Action] = {number: action for action, number in _ACTIONS.items()}
_OUTCOME_OF = {str(outcome): outcome for outcome in Outcome}


class MalformedMessage(Exception):
    """The bytes are no serialised Message."""


def stage_to_proto(stage: Stage) -> message_pb2.Stage:
    """The contract's number of a stage."""
    return _STAGES[stage]


def stage_from_proto(number: int) -> Stage:
    """The stage; an unknown one is the last, at which everything is known."""
    return _STAGE_OF.get(number, Stage.MESSAGE)


def envelope_to_proto(envelope: Envelope) -> message_pb2.Envelope:
    """An envelope for the wire."""
    client = envelope.client
    return message_pb2.Envelope(
        macros={_text(name): _text(value) for name, value in envelope.macros.items()},
        transaction_id=envelope.transaction_id,
        client=message_pb2.Client(
            ip=_text(client.ip),
            port=_uint32(client.port),
            hostname=client.hostname,
            helo=client.helo,
            auth_user=client.auth_user,
            tls_version=_text(client.tls_version),
            cert_subject=_text(client.cert_subject),
            cert_issuer=_text(client.cert_issuer),
            auth_type=_text(client.auth_type),
        ),
        direction=_DIRECTIONS[envelope.direction],
        tenant=_text(envelope.tenant),
        sender=envelope.sender,
        esmtp_args=envelope.esmtp_args,
        recipients=[
            message_pb2.Recipient(address=r.address, esmtp_args=r.esmtp_args, tenant=_text(r.tenant))
            for r in envelope.recipients
        ],
        queue_id=_text(envelope.queue_id),
        daemon_name=_text(envelope.daemon_name),
        mta_name=_text(envelope.mta_name),
        received_at_ms=_milliseconds(envelope.received_at_s),
        mirrored=envelope.mirrored,
        explained=envelope.explained,
    )


def envelope_from_proto(envelope: message_pb2.Envelope) -> Envelope:
    """An envelope from the wire; an unknown direction is inbound, where every check is on."""
    client = envelope.client
    return Envelope(
        transaction_id=envelope.transaction_id,
        client=Client(
            ip=client.ip,
            port=client.port,
            hostname=client.hostname,
            helo=client.helo,
            auth_user=client.auth_user,
            tls_version=client.tls_version,
            cert_subject=client.cert_subject,
            cert_issuer=client.cert_issuer,
            auth_type=client.auth_type,
        ),
        direction=_DIRECTION_OF.get(envelope.direction, Direction.INBOUND),
        tenant=envelope.tenant,
        sender=envelope.sender,
        esmtp_args=tuple(envelope.esmtp_args),
        recipients=tuple(Recipient(r.address, tuple(r.esmtp_args), r.tenant) for r in envelope.recipients),
        queue_id=envelope.queue_id,
        daemon_name=envelope.daemon_name,
        mta_name=envelope.mta_name,
        received_at_s=envelope.received_at_ms / 1000,
        mirrored=envelope.mirrored,
        explained=envelope.explained,
        macros=dict(envelope.macros) if envelope.macros else NO_FACTS,
    )


def message_to_proto(message: Message) -> message_pb2.Message:
    """A message for the wire."""
    return message_pb2.Message(
        envelope=envelope_to_proto(message.envelope), header_block=message.header_block, body=message.body
    )


def message_from_proto(message: message_pb2.Message) -> Message:
    """A message from the wire."""
    return Message(envelope_from_proto(message.envelope), message.header_block, message.body)


def message_from_bytes(data: bytes) -> Message:
    """A message from `Task.message`. Raises MalformedMessage."""
    try:
        return message_from_proto(message_pb2.Message.FromString(data))
    except DecodeError as error:
        raise MalformedMessage(str(error)) from error


def finding_to_proto(finding: Finding) -> verdict_pb2.Finding:
    """A finding for the wire."""
    encoded = verdict_pb2.Finding(
        actor=_text(finding.actor),
        name=_text(finding.name),
        outcome=finding.outcome.value,
        score=finding.score,
        detail=_text(finding.detail),
        ms=finding.ms,
    )
    facts = encoded.facts if finding.facts else {}
    for key, value in finding.facts.items():
        facts[_text(key)] = _text(value)
    return encoded


def finding_from_proto(finding: verdict_pb2.Finding) -> Finding:
    """A finding from the wire; an unknown outcome says nothing, so it is `none`."""
    return Finding(
        finding.actor,
        finding.name,
        _OUTCOME_OF.get(finding.outcome, Outcome.NONE),
        finding.score,
        finding.detail,
        finding.ms,
        dict(finding.facts),
    )


def verdict_to_proto(
    verdict: Verdict, *, traced: bool = False, findings: Iterable[Finding] = ()
) -> verdict_pb2.Verdict:
    """A verdict for the wire with these of its findings; `traced` says that the ingress exported its spans."""
    return verdict_pb2.Verdict(
        action=_ACTIONS[verdict.action],
        reply=_reply_to_proto(verdict.reply),
        score=verdict.score,
        reasons=_texts(verdict.reasons),
        edits=[edit_to_proto(edit) for edit in verdict.edits],
        degraded=verdict.degraded,
        missing=_texts(verdict.missing),
        findings=map(finding_to_proto, findings),
        traced=traced,
        quarantine_reason=_text(verdict.quarantine_reason),
    )


def verdict_from_proto(verdict: verdict_pb2.Verdict) -> Verdict:
    """A verdict from the wire; an unknown action is a tempfail, since the mail then comes again."""
    return Verdict(
        action=_ACTION_OF.get(verdict.action, Action.TEMPFAIL),
        reply=_reply_from_proto(verdict.reply) if verdict.HasField("reply") else None,
        score=verdict.score,
        reasons=tuple(verdict.reasons),
        edits=tuple(edit for edit in map(edit_from_proto, verdict.edits) if edit is not None),
        degraded=verdict.degraded,
        missing=tuple(verdict.missing),
        findings=tuple(finding_from_proto(finding) for finding in verdict.findings),
        quarantine_reason=verdict.quarantine_reason,
    )


def recipient_verdict_to_proto(recipient: int, verdict: EarlyVerdict) -> verdict_pb2.RecipientVerdict:
    """The verdict on the recipient with this index, for the wire."""
    return verdict_pb2.RecipientVerdict(
        recipient=recipient,
        action=_ACTIONS[verdict.action],
        reply=_reply_to_proto(verdict.reply),
        reasons=_texts(verdict.reasons),
    )


def stage_verdict_to_proto(stage: Stage, verdict: EarlyVerdict) -> verdict_pb2.StageVerdict:
    """The verdict at CONNECT, HELO or MAIL, for the wire."""
    return verdict_pb2.StageVerdict(
        stage=_STAGES[stage],
        action=_ACTIONS[verdict.action],
        reply=_reply_to_proto(verdict.reply),
        reasons=_texts(verdict.reasons),
    )


def recipient_verdict_from_proto(verdict: verdict_pb2.RecipientVerdict) -> tuple[int, EarlyVerdict]:
    """(index of the recipient, verdict); an unknown action lets the recipient through to the message stage."""
    action = _ACTION_OF.get(verdict.action, Action.ACCEPT)
    reply = _reply_from_proto(verdict.reply) if verdict.HasField("reply") else None
    return verdict.recipient, EarlyVerdict(action, reply, tuple(verdict.reasons))


def edit_to_proto(edit: Edit) -> verdict_pb2.Edit:  # noqa: PLR0911  a table, one line a kind
    """An edit for the wire."""
    pb = verdict_pb2
    match edit:
        case AddHeader():
            return pb.Edit(add_header=pb.AddHeader(name=edit.name, value=edit.value))
        case InsertHeader():
            index = _uint32(edit.index)
            return pb.Edit(insert_header=pb.InsertHeader(index=index, name=edit.name, value=edit.value))
        case ChangeHeader():
            occurrence = _uint32(edit.occurrence)
            return pb.Edit(change_header=pb.ChangeHeader(name=edit.name, occurrence=occurrence, value=edit.value))
        case DeleteHeader():
            return pb.Edit(delete_header=pb.DeleteHeader(name=edit.name, occurrence=_uint32(edit.occurrence)))
        case ReplaceBody():
            return pb.Edit(replace_body=edit.body)
        case ChangeSender():
            return pb.Edit(change_sender=pb.ChangeSender(address=edit.address, esmtp_args=edit.esmtp_args))
        case AddRecipient():
            return pb.Edit(add_recipient=pb.AddRecipient(address=edit.address, esmtp_args=edit.esmtp_args))
        case DeleteRecipient():
            return pb.Edit(delete_recipient=edit.address)


def edit_from_proto(edit: verdict_pb2.Edit) -> Edit | None:  # noqa: PLR0911  a table, one line a kind
    """An edit from the wire, None for a kind of a later release."""
    match edit.WhichOneof("kind"):
        case "add_header":
            return AddHeader(edit.add_header.name, edit.add_header.value)
        case "insert_header":
            insert = edit.insert_header
            return InsertHeader(insert.index, insert.name, insert.value)
        case "change_header":
            change = edit.change_header
            return ChangeHeader(change.name, change.occurrence, change.value)
        case "delete_header":
            return DeleteHeader(edit.delete_header.name, edit.delete_header.occurrence)
        case "replace_body":
            return ReplaceBody(edit.replace_body)
        case "change_sender":
            return ChangeSender(edit.change_sender.address, edit.change_sender.esmtp_args)
        case "add_recipient":
            return AddRecipient(edit.add_recipient.address, edit.add_recipient.esmtp_args)
        case "delete_recipient":
            return DeleteRecipient(edit.delete_recipient)
    return None


def _reply_to_proto(reply: Reply | None) -> verdict_pb2.Reply | None:
    if reply is None:
        return None
    return verdict_pb2.Reply(code=_uint32(reply.code), enhanced=_text(reply.enhanced), text=_text(reply.text))


def _reply_from_proto(reply: verdict_pb2.Reply) -> Reply:
    return Reply(reply.code, reply.enhanced, reply.text)


def _text(text: str) -> str:
    """Valid Unicode: lone surrogates (bytes that came through `surrogateescape`) become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _texts(texts: Iterable[str]) -> list[str]:
    return [_text(text) for text in texts]


def _uint32(number: int) -> int:
    return min(max(number, 0), _UINT32_MAX)


def _milliseconds(seconds: float) -> int:
    if not math.isfinite(seconds):
        return 0
    return min(max(round(seconds * 1000), -_INT64_MAX), _INT64_MAX)
