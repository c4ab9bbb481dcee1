import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import replies
from gateway.replies import InvalidVerdict
from tamis.filter.v1 import verdict_pb2 as pb
from wire.milter import FilterConnection, MtaConnection
from wire.milter import constants as c
from wire.milter import events as ev

ALL = ev.Negotiated(6, c.ALL_ACTIONS, c.SMFIP_HDR_LEADSPC)
NO_SPACE = ev.Negotiated(6, c.ALL_ACTIONS, 0)


def accept(*edits: pb.Edit, **fields: object) -> pb.Verdict:
    return pb.Verdict(**{"action": pb.ACTION_ADD_HEADER, "edits": edits, **fields})


def add(name: bytes = b"X-A", value: bytes = b"1") -> pb.Edit:
    return pb.Edit(add_header=pb.AddHeader(name=name, value=value))


def delete(name: bytes, occurrence: int) -> pb.Edit:
    return pb.Edit(delete_header=pb.DeleteHeader(name=name, occurrence=occurrence))


EVERY_EDIT = {
    c.SMFIF_ADDHDRS: add(),
    c.SMFIF_CHGHDRS: delete(b"X-A", 1),
    c.SMFIF_CHGBODY: pb.Edit(replace_body=b"new"),
    c.SMFIF_CHGFROM: pb.Edit(change_sender=pb.ChangeSender(address=b"a@a.example")),
    c.SMFIF_ADDRCPT: pb.Edit(add_recipient=pb.AddRecipient(address=b"b@b.example")),
    c.SMFIF_ADDRCPT_PAR: pb.Edit(add_recipient=pb.AddRecipient(address=b"b@b.example", esmtp_args=b"NOTIFY=NEVER")),
    c.SMFIF_DELRCPT: pb.Edit(delete_recipient=b"c@c.example"),
}


def test_every_edit_has_its_reply() -> None:
    edits = [
        *EVERY_EDIT.values(),
        pb.Edit(insert_header=pb.InsertHeader(index=3, name=b"X-I", value=b"i")),
        pb.Edit(change_header=pb.ChangeHeader(name=b"Subject", occurrence=1, value=b"[SPAM] x")),
    ]
    assert replies.for_verdict(accept(*edits), ALL) == [
        ev.ChangeHeader(1, b"Subject", b" [SPAM] x"),
        ev.ChangeHeader(1, b"X-A", b""),
        ev.AddHeader(b"X-A", b" 1"),
        ev.ChangeFrom(b"<a@a.example>"),
        ev.AddRecipient(b"<b@b.example>"),
        ev.AddRecipientPar(b"<b@b.example>", b"NOTIFY=NEVER"),
        ev.DeleteRecipient(b"<c@c.example>"),
        ev.InsertHeader(3, b"X-I", b" i"),
        ev.ReplaceBody(b"new"),
        ev.Accept(),
    ]


@pytest.mark.parametrize("action", EVERY_EDIT)
def test_an_edit_that_was_not_negotiated_spoils_the_whole_verdict(action: int) -> None:
    negotiated = ev.Negotiated(6, c.ALL_ACTIONS & ~action, 0)
    with pytest.raises(InvalidVerdict, match="not negotiated"):
        replies.for_verdict(accept(*EVERY_EDIT.values()), negotiated)


def test_fields_are_deleted_from_the_last_to_the_first_before_any_is_added() -> None:
    edits = [add(b"X-Spam", b"new"), delete(b"X-Spam", 1), delete(b"x-spam", 10), delete(b"X-Spam", 2)]
    answers = replies.for_verdict(accept(*edits), ALL)
    assert [reply.occurrence for reply in answers[:3] if isinstance(reply, ev.ChangeHeader)] == [10, 2, 1]
    assert isinstance(answers[3], ev.AddHeader)


def test_values_are_folded_with_lf_and_get_the_space_that_was_negotiated() -> None:
    edit = add(b"A-R", b"mx;\r\n\tspf=pass")
    assert replies.for_verdict(accept(edit), ALL)[0] == ev.AddHeader(b"A-R", b" mx;\n\tspf=pass")
    assert replies.for_verdict(accept(edit), NO_SPACE)[0] == ev.AddHeader(b"A-R", b"mx;\n\tspf=pass")


def test_a_new_body_is_cut_into_chunks_and_an_empty_one_is_one_chunk() -> None:
    body = bytes(range(256)) * 1000
    answers = replies.for_verdict(accept(pb.Edit(replace_body=body)), ALL)[:-1]
    assert b"".join(reply.chunk for reply in answers if isinstance(reply, ev.ReplaceBody)) == body
    assert all(len(reply.chunk) <= 65_535 for reply in answers if isinstance(reply, ev.ReplaceBody))
    assert replies.for_verdict(accept(pb.Edit(replace_body=b"")), ALL) == [ev.ReplaceBody(b""), ev.Accept()]


@pytest.mark.parametrize(
    "edit",
    [
        add(b"", b"x"),
        add(b"X A", b"x"),
        add(b"X:", b"x"),
        add(b"X\n", b"x"),
        add(b"X-\xe4", b"x"),
        add(value=b"a\0b"),
        add(value=b"a\rb"),
        add(value=b"a\nEvil: yes"),
        add(value=b"a\r\nEvil: yes"),
        add(value=b"a\r\n"),
        add(value=b"x" * 70_000),
        pb.Edit(insert_header=pb.InsertHeader(index=1 << 31, name=b"X", value=b"x")),
        pb.Edit(change_header=pb.ChangeHeader(name=b"X", occurrence=0, value=b"x")),
        delete(b"X", 0),
        pb.Edit(change_sender=pb.ChangeSender(address=b"a@a.example>\r\nX: y")),
        pb.Edit(change_sender=pb.ChangeSender(address=b"a@a.example", esmtp_args=b"A\nB")),
        pb.Edit(add_recipient=pb.AddRecipient(address=b"<a@a.example>")),
        pb.Edit(delete_recipient=b"a\0"),
        pb.Edit(),
    ],
)
def test_an_edit_that_would_break_the_message_or_the_protocol_is_invalid(edit: pb.Edit) -> None:
    with pytest.raises(InvalidVerdict):
        replies.for_verdict(accept(add(), edit), ALL)


def test_contradicting_edits_are_invalid() -> None:
    with pytest.raises(InvalidVerdict, match="deleted twice"):
        replies.for_verdict(accept(delete(b"X", 1), delete(b"x", 1)), ALL)
    with pytest.raises(InvalidVerdict, match="two new bodies"):
        replies.for_verdict(accept(pb.Edit(replace_body=b"a"), pb.Edit(replace_body=b"b")), ALL)
    with pytest.raises(InvalidVerdict, match="edits"):
        replies.for_verdict(accept(*[add()] * 5000), ALL)
    change = pb.Edit(change_header=pb.ChangeHeader(name=b"X", occurrence=1, value=b""))
    with pytest.raises(InvalidVerdict, match="delete the header"):
        replies.for_verdict(accept(change), NO_SPACE)


def test_reject_and_tempfail_carry_the_reply_and_no_edits() -> None:
    reply = pb.Reply(code=550, enhanced="5.7.1", text="100% spam")
    verdict = accept(add(), action=pb.ACTION_REJECT, reply=reply)
    assert replies.for_verdict(verdict, ALL) == [ev.ReplyCode(b"550 5.7.1 100% spam")]
    reply = pb.Reply(code=451, enhanced="4.7.1", text="later")
    assert replies.for_verdict(accept(action=pb.ACTION_TEMPFAIL, reply=reply), ALL) == [
        ev.ReplyCode(b"451 4.7.1 later")
    ]


@pytest.mark.parametrize(
    ("action", "code", "enhanced", "text"),
    [
        (pb.ACTION_REJECT, 0, "", ""),
        (pb.ACTION_REJECT, 451, "4.7.1", "x"),
        (pb.ACTION_TEMPFAIL, 550, "5.7.1", "x"),
        (pb.ACTION_REJECT, 550, "4.7.1", "x"),
        (pb.ACTION_REJECT, 550, "5.7", "x"),
        (pb.ACTION_REJECT, 5500, "5.7.1", "x"),
        (pb.ACTION_REJECT, 550, "5.7.1", "a\r\nb"),
        (pb.ACTION_REJECT, 550, "5.7.1", "\u00e4"),
        (pb.ACTION_REJECT, 550, "5.7.1", "x" * 401),
    ],
)
def test_a_reply_of_the_wrong_form_is_invalid(action: pb.Action, code: int, enhanced: str, text: str) -> None:
    reply = pb.Reply(code=code, enhanced=enhanced, text=text)
    with pytest.raises(InvalidVerdict):
        replies.for_verdict(accept(action=action, reply=reply), ALL)
    with pytest.raises(InvalidVerdict):
        replies.for_early(pb.RecipientVerdict(action=action, reply=reply))


def test_quarantine_holds_the_edited_message() -> None:
    verdict = accept(add(), action=pb.ACTION_QUARANTINE, quarantine_reason="virus?")
    assert replies.for_verdict(verdict, ALL) == [ev.AddHeader(b"X-A", b" 1"), ev.Quarantine(b"virus?"), ev.Accept()]
    with pytest.raises(InvalidVerdict, match="quarantine"):
        replies.for_verdict(verdict, ev.Negotiated(6, c.SMFIF_ADDHDRS, 0))


def test_discard_is_discard_and_an_unknown_action_is_invalid() -> None:
    assert replies.for_verdict(accept(action=pb.ACTION_DISCARD), ALL) == [ev.Discard()]
    for action in (pb.ACTION_UNSPECIFIED, 99):
        with pytest.raises(InvalidVerdict):
            replies.for_verdict(pb.Verdict(action=action), ALL)


def test_a_recipient_may_be_let_in_or_refused_and_nothing_else() -> None:
    assert replies.for_early(pb.RecipientVerdict(action=pb.ACTION_ACCEPT)) == ev.Continue()
    with pytest.raises(InvalidVerdict):
        replies.for_early(pb.RecipientVerdict(action=pb.ACTION_DISCARD))


EDITS = st.one_of(
    st.builds(add, st.binary(max_size=5), st.binary(max_size=5)),
    st.builds(delete, st.binary(max_size=3), st.integers(0, 3)),
    st.builds(lambda body: pb.Edit(replace_body=body), st.binary(max_size=5)),
    st.builds(lambda address: pb.Edit(delete_recipient=address), st.binary(max_size=5)),
)


@given(st.lists(EDITS, max_size=5), st.sampled_from([0, *range(1, 9)]))
def test_whatever_the_verdict_says_the_codec_takes_all_replies_or_gets_none(edits: list[pb.Edit], action: int) -> None:
    mta, gateway = MtaConnection(), FilterConnection()
    for event in (
        ev.Negotiate(6, c.ALL_ACTIONS, c.OFFERED_STEPS),
        ev.Connect(b"x", c.SMFIA_UNKNOWN, 0, b""),
        ev.Mail(b"<>"),
        ev.EndOfHeaders(),
        ev.EndOfBody(),
    ):
        gateway.receive_data(mta.send(event))
        offered = gateway.next_event()
        if isinstance(offered, ev.Negotiate):
            mta.receive_data(gateway.send(gateway.negotiate(offered)))
            mta.next_event()
    assert gateway.negotiated is not None
    try:
        answers = replies.for_verdict(pb.Verdict(action=action, edits=edits), gateway.negotiated)
    except InvalidVerdict:
        return
    for answer in answers:
        mta.receive_data(gateway.send(answer))
        mta.next_event()
    assert not mta.awaiting_reply
