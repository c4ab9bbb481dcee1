"""Verdicts into milter replies: checked whole, then written whole, or not at all. Pure.

Strategy: every verdict becomes a list of replies or raises `InvalidVerdict`; nothing reaches the MTA before the last
check. Changes and deletes of header fields come first, since their numbers count the message as received and an
inserted field of the same name would shift them; deletes of one name run from the last to the first.
"""

import re
from collections.abc import Iterable

from tamis.filter.v1 import verdict_pb2 as pb
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.values import BROKEN_LINE, BROKEN_VALUE, FIELD_NAME, folds_to_lf, format_reply

EDITS_MAX = 4096
FIELD_NAME_BYTES_MAX = 256
TEXT_CHARACTERS_MAX = 400
"""Of an SMTP reply: with code and enhanced code well below the 512 octets of RFC 5321 section 4.5.3.1.5."""

_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", re.ASCII)  # RFC 3463 section 2
_TEXT = re.compile(r"[ -~]*", re.ASCII)

Replies = list[ev.Reply]


class InvalidVerdict(Exception):
    """The verdict cannot be applied as a whole; the text says why and holds no message content."""


def for_verdict(verdict: pb.Verdict, negotiated: ev.Negotiated) -> Replies:
    """All replies at end of message, the final one last. Raises InvalidVerdict."""
    action = verdict.action
    if action in (pb.ACTION_TEMPFAIL, pb.ACTION_REJECT):
        return [_reply_code(verdict.action, verdict.reply)]
    if action == pb.ACTION_DISCARD:
        return [ev.Discard()]
    if action not in (pb.ACTION_ACCEPT, pb.ACTION_ADD_HEADER, pb.ACTION_REWRITE_SUBJECT, pb.ACTION_QUARANTINE):
        raise InvalidVerdict(f"action {action}")
    if len(verdict.edits) > EDITS_MAX:
        raise InvalidVerdict(f"{len(verdict.edits)} edits")
    replies = _edits(verdict.edits, negotiated) if verdict.edits else []
    if action == pb.ACTION_QUARANTINE:
        _require(negotiated, c.SMFIF_QUARANTINE, "quarantine")
        replies.append(ev.Quarantine(_line(verdict.quarantine_reason.encode() or b"quarantined", "quarantine reason")))
    replies.append(ev.Accept())
    return replies


def for_early(verdict: pb.StageVerdict | pb.RecipientVerdict) -> ev.Reply:
    """The answer to CONNECT, HELO, MAIL or one RCPT. Raises InvalidVerdict.

    Never Accept: to the MTA that would mean not to filter what comes after.
    """
    if verdict.action == pb.ACTION_ACCEPT:
        return ev.Continue()
    if verdict.action in (pb.ACTION_TEMPFAIL, pb.ACTION_REJECT):
        return _reply_code(verdict.action, verdict.reply)
    raise InvalidVerdict(f"action {verdict.action} before the end of the message")


def lead(negotiated: ev.Negotiated) -> bytes:
    """The MTA puts the space after the colon itself, unless leading spaces were negotiated."""
    return b" " if negotiated.steps & c.SMFIP_HDR_LEADSPC else b""


def _reply_code(action: pb.Action, reply: pb.Reply) -> ev.ReplyCode:
    code_class = 5 if action == pb.ACTION_REJECT else 4
    if reply.code // 100 != code_class:
        raise InvalidVerdict(f"reply code {reply.code} for action {action}")
    if not _ENHANCED.fullmatch(reply.enhanced) or reply.enhanced[0] != str(code_class):
        raise InvalidVerdict("enhanced status code of the reply")
    if len(reply.text) > TEXT_CHARACTERS_MAX or not _TEXT.fullmatch(reply.text):
        raise InvalidVerdict("reply text is not one line of printable ASCII")
    return ev.ReplyCode(format_reply(reply.code, reply.enhanced, reply.text))


def _edits(edits: Iterable[pb.Edit], negotiated: ev.Negotiated) -> Replies:
    changes: Replies = []
    deletes: list[tuple[bytes, int]] = []
    additions: Replies = []
    body: Replies = []
    for edit in edits:
        kind = edit.WhichOneof("kind")
        if kind == "change_header":
            changes.append(_change_header(edit.change_header, negotiated))
        elif kind == "delete_header":
            _require(negotiated, c.SMFIF_CHGHDRS, kind)
            occurrence = _occurrence(edit.delete_header.occurrence)
            deletes.append((_name(edit.delete_header.name), occurrence))
        elif kind == "replace_body":
            _require(negotiated, c.SMFIF_CHGBODY, kind)
            if body:
                raise InvalidVerdict("two new bodies")
            body = _body(edit.replace_body, negotiated)
        else:
            additions.append(_addition(kind, edit, negotiated))
    return [*changes, *_last_to_first(deletes), *additions, *body]


def _last_to_first(deletes: list[tuple[bytes, int]]) -> Replies:
    numbered = {(name.lower(), occurrence): name for name, occurrence in deletes}
    if len(numbered) != len(deletes):
        raise InvalidVerdict("a header field is deleted twice")
    return [
        ev.ChangeHeader(occurrence, name, b"")
        for (_, occurrence), name in sorted(numbered.items(), key=lambda item: item[0], reverse=True)
    ]


def _addition(kind: str | None, edit: pb.Edit, negotiated: ev.Negotiated) -> ev.Reply:
    if kind == "add_header":
        add = edit.add_header
        _require(negotiated, c.SMFIF_ADDHDRS, kind)
        return ev.AddHeader(_name(add.name), _value(add.value, negotiated))
    if kind == "insert_header":
        insert = edit.insert_header
        _require(negotiated, c.SMFIF_ADDHDRS, kind)
        if insert.index >= 1 << 31:
            raise InvalidVerdict("header index out of range")
        return ev.InsertHeader(insert.index, _name(insert.name), _value(insert.value, negotiated))
    if kind == "change_sender":
        _require(negotiated, c.SMFIF_CHGFROM, kind)
        return ev.ChangeFrom(_address(edit.change_sender.address), _line(edit.change_sender.esmtp_args, kind))
    if kind == "add_recipient":
        added = edit.add_recipient
        if not added.esmtp_args:
            _require(negotiated, c.SMFIF_ADDRCPT, kind)
            return ev.AddRecipient(_address(added.address))
        _require(negotiated, c.SMFIF_ADDRCPT_PAR, kind)
        return ev.AddRecipientPar(_address(added.address), _line(added.esmtp_args, kind))
    if kind == "delete_recipient":
        _require(negotiated, c.SMFIF_DELRCPT, kind)
        return ev.DeleteRecipient(_address(edit.delete_recipient))
    raise InvalidVerdict("an edit of a kind that this release does not know")


def _change_header(change: pb.ChangeHeader, negotiated: ev.Negotiated) -> ev.Reply:
    _require(negotiated, c.SMFIF_CHGHDRS, "change_header")
    if not change.value and not lead(negotiated):
        raise InvalidVerdict("an empty value would delete the header field")
    return ev.ChangeHeader(_occurrence(change.occurrence), _name(change.name), _value(change.value, negotiated))


def _body(body: bytes, negotiated: ev.Negotiated) -> Replies:
    chunk_bytes = c.data_bytes_max(negotiated.steps)
    # An empty new body is one empty piece: no piece at all would change nothing.
    return [ev.ReplaceBody(body[start : start + chunk_bytes]) for start in range(0, max(1, len(body)), chunk_bytes)]


def _require(negotiated: ev.Negotiated, action: int, what: str) -> None:
    if not negotiated.actions & action:
        raise InvalidVerdict(f"{what} was not negotiated")


def _occurrence(occurrence: int) -> int:
    if not 1 <= occurrence < 1 << 31:
        raise InvalidVerdict(f"header occurrence {occurrence}")
    return occurrence


def _name(name: bytes) -> bytes:
    if len(name) > FIELD_NAME_BYTES_MAX or not FIELD_NAME.fullmatch(name):
        raise InvalidVerdict("not a header field name")
    return name


def _value(value: bytes, negotiated: ev.Negotiated) -> bytes:
    folded = folds_to_lf(value)
    if BROKEN_VALUE.search(folded):
        raise InvalidVerdict("NUL, CR, or LF that is no fold in a header value")
    # The frame holds number, name and value; 512 bytes cover what is not the value.
    if len(folded) > c.data_bytes_max(negotiated.steps) - 512:
        raise InvalidVerdict(f"header value of {len(folded)} bytes")
    return lead(negotiated) + folded


def _line(value: bytes, what: str) -> bytes:
    if BROKEN_LINE.search(value) or len(value) > 4096:
        raise InvalidVerdict(f"CR, LF or NUL in {what}, or too long")
    return value


def _address(address: bytes) -> bytes:
    if b"<" in address or b">" in address:
        raise InvalidVerdict("angle brackets in an address")
    return b"<%b>" % _line(address, "an address")
