"""What the filter answers in a dialog, as the verdict of an ingress that makes the gateway answer it."""

from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import Heard, Judge, go_on, silent
from wire.milter import events as ev


def for_recipient(answers: list[object]) -> Judge:
    """Raises TypeError when the gateway has no way to answer this."""
    if not answers:
        return silent
    (answer,) = answers

    def judge(heard: Heard) -> filter_pb.Answer:
        early = pb.RecipientVerdict(recipient=len(heard.recipients) - 1, action=pb.ACTION_ACCEPT)
        if isinstance(answer, ev.ReplyCode):
            early.action, reply = _refusal(answer)
            early.reply.CopyFrom(reply)
        elif not isinstance(answer, ev.Continue):
            raise TypeError(f"{answer} for a recipient")
        return filter_pb.Answer(transaction=heard.number, recipient_verdict=early)

    return judge


def for_stage(answers: list[object]) -> Judge:
    """CONNECT, HELO, MAIL. Raises TypeError when the gateway has no way to answer this."""
    if not answers or isinstance(answers[0], ev.Continue):
        return go_on
    (answer,) = answers
    if not isinstance(answer, ev.ReplyCode):
        raise TypeError(f"{answer} at an early stage")

    def judge(heard: Heard) -> filter_pb.Answer:
        action, reply = _refusal(answer)
        early = pb.StageVerdict(stage=heard.asks[-1].stage, action=action, reply=reply)
        return filter_pb.Answer(transaction=heard.number, stage_verdict=early)

    return judge


def for_message(answers: list[object]) -> Judge:
    """Raises TypeError when the gateway has no way to answer this."""
    if not answers:
        return silent
    verdict = pb.Verdict(action=pb.ACTION_ACCEPT)
    body = [answer.chunk for answer in answers if isinstance(answer, ev.ReplaceBody)]
    for answer in answers[:-1]:
        if isinstance(answer, ev.Quarantine):
            verdict.action, verdict.quarantine_reason = pb.ACTION_QUARANTINE, answer.reason.decode()
        elif not isinstance(answer, ev.ReplaceBody | ev.Progress):
            verdict.edits.append(_edit(answer))
    if body:
        verdict.edits.append(pb.Edit(replace_body=b"".join(body)))
    final = answers[-1]
    if isinstance(final, ev.ReplyCode):
        verdict.action, reply = _refusal(final)
        verdict.reply.CopyFrom(reply)
    elif isinstance(final, ev.Discard):
        verdict.action = pb.ACTION_DISCARD
    elif not isinstance(final, ev.Continue | ev.Accept):
        raise TypeError(f"{final} for a message")
    return lambda heard: filter_pb.Answer(transaction=heard.number, verdict=verdict)


def _refusal(answer: ev.ReplyCode) -> tuple[pb.Action, pb.Reply]:
    code, enhanced, text = answer.text.decode().split(" ", 2)
    action = pb.ACTION_REJECT if code.startswith("5") else pb.ACTION_TEMPFAIL
    return action, pb.Reply(code=int(code), enhanced=enhanced, text=text)


def _edit(answer: object) -> pb.Edit:
    match answer:
        case ev.AddHeader(name, value):
            edit = pb.Edit(add_header=pb.AddHeader(name=name, value=_bare(value)))
        case ev.InsertHeader(index, name, value):
            edit = pb.Edit(insert_header=pb.InsertHeader(index=index, name=name, value=_bare(value)))
        case ev.ChangeHeader(occurrence, name, b""):
            edit = pb.Edit(delete_header=pb.DeleteHeader(name=name, occurrence=occurrence))
        case ev.ChangeHeader(occurrence, name, value):
            edit = pb.Edit(change_header=pb.ChangeHeader(name=name, occurrence=occurrence, value=_bare(value)))
        case ev.ChangeFrom(address, args):
            edit = pb.Edit(change_sender=pb.ChangeSender(address=address[1:-1], esmtp_args=args))
        case ev.AddRecipient(address):
            edit = pb.Edit(add_recipient=pb.AddRecipient(address=address[1:-1]))
        case ev.AddRecipientPar(address, args):
            edit = pb.Edit(add_recipient=pb.AddRecipient(address=address[1:-1], esmtp_args=args))
        case ev.DeleteRecipient(address):
            edit = pb.Edit(delete_recipient=address[1:-1])
        case _:
            raise TypeError(f"{answer} for a message")
    return edit


def _bare(value: bytes) -> bytes:
    """The gateway puts the leading space itself where it was negotiated; folds are CRLF in a verdict."""
    return value.removeprefix(b" ").replace(b"\n", b"\r\n")
