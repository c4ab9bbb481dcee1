from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.failure_policy import ACTIONS, FORGED_MAX, OUTCOMES, FailurePolicy, OnFailureConfig, Outcome
from gateway.fallback import Case, Fallback, FallbackConfig
from gateway.transaction import Client, Failure, Transaction
from tests.gateway.test_fallback import transaction
from wire.milter import FilterConnection, MtaConnection
from wire.milter import constants as c
from wire.milter import events as ev

ALL = ev.Negotiated(6, c.ALL_ACTIONS, c.SMFIP_HDR_LEADSPC)
TEMPFAIL = ev.ReplyCode(b"451 4.7.1 Mail filter is not available, please try again later")
MARK = b"X-Tamis-Unfiltered"


def policy(action: str = "tempfail", fallback: FallbackConfig | None = None) -> FailurePolicy:
    config = OnFailureConfig(**dict.fromkeys((str(failure) for failure in Failure), action))
    return FailurePolicy(config, Fallback(fallback or FallbackConfig()))


def of_message(action: str, known: Transaction, negotiated: ev.Negotiated = ALL) -> Outcome:
    case = Case(known.client, known, whole_message=True)
    return policy(action).outcome(Failure.TIMEOUT, case, negotiated)


def test_every_class_has_an_action_of_its_own() -> None:
    assert set(OnFailureConfig.__struct_fields__) == {str(failure) for failure in Failure}
    mixed = FailurePolicy(OnFailureConfig(timeout="accept", internal="reject"), Fallback(FallbackConfig()))
    case = Case(Client(), transaction(), whole_message=True)
    assert {failure: mixed.outcome(failure, case, ALL).action for failure in Failure} == {
        Failure.UNREACHABLE: "tempfail",
        Failure.TIMEOUT: "accept",
        Failure.OVERLOADED: "tempfail",
        Failure.PROTOCOL: "tempfail",
        Failure.INTERNAL: "reject",
    }


def test_each_action_has_its_replies_at_end_of_message() -> None:
    known = transaction(b"b@b.example")
    mark = ev.InsertHeader(0, MARK, b" timeout")
    assert of_message("tempfail", known) == Outcome("tempfail", [TEMPFAIL])
    assert of_message("reject", known).replies == [
        ev.ReplyCode(b"554 5.7.1 Mail filter is not available, mail is not accepted")
    ]
    assert of_message("accept", known) == Outcome("accept", [mark, ev.Accept()])
    assert of_message("quarantine", known) == Outcome(
        "quarantine", [mark, ev.Quarantine(b"no verdict: timeout"), ev.Accept()]
    )


def test_forged_marks_are_deleted_and_ours_is_the_first_field() -> None:
    forged = transaction(
        headers=b"x-tamis-unfiltered: no\r\nFrom: a\r\nX-Tamis-Unfiltered : no\r\n X-Tamis-Unfiltered:\r\n"
    )
    assert of_message("accept", forged).replies == [
        ev.ChangeHeader(2, MARK, b""),
        ev.ChangeHeader(1, MARK, b""),
        ev.InsertHeader(0, MARK, b" timeout"),
        ev.Accept(),
    ]
    without = ev.Negotiated(6, c.ALL_ACTIONS & ~c.SMFIF_CHGHDRS, 0)
    assert of_message("accept", forged, without).replies == [ev.InsertHeader(0, MARK, b"timeout"), ev.Accept()]


def test_a_header_section_stuffed_with_forged_marks_does_not_pass() -> None:
    stuffed = transaction(headers=b"X-Tamis-Unfiltered: no\r\n" * (FORGED_MAX + 1))
    assert of_message("accept", stuffed) == Outcome("tempfail", [TEMPFAIL])


@pytest.mark.parametrize("missing", [c.SMFIF_ADDHDRS, c.SMFIF_QUARANTINE])
def test_what_the_mta_does_not_let_us_do_is_a_tempfail(missing: int) -> None:
    negotiated = ev.Negotiated(6, c.ALL_ACTIONS & ~missing, 0)
    assert of_message("quarantine", transaction(), negotiated) == Outcome("tempfail", [TEMPFAIL])


def test_local_rules_decide_before_the_class() -> None:
    fallback = FallbackConfig(
        allow_clients=("192.0.2.7",),
        deny_senders=("shop.example",),
        message_bytes_max=5,
        rules={"no_from": "tempfail"},
    )
    outcome = policy("tempfail", fallback).outcome
    known = transaction(b"b@b.example")
    trusted = Case(Client(ip="192.0.2.7"), known, whole_message=True)
    assert outcome(Failure.TIMEOUT, trusted, ALL).action == "accept"
    assert outcome(Failure.TIMEOUT, trusted, ALL).rule == "allow_clients"
    stranger = Case(Client(), known, whole_message=True)
    assert outcome(Failure.TIMEOUT, stranger, ALL) == Outcome(
        "reject", [ev.ReplyCode(b"550 5.7.1 Not accepted by local policy")], "deny_senders"
    )
    known.sender, known.body_bytes = b"", 6
    assert outcome(Failure.TIMEOUT, stranger, ALL).replies == [
        ev.ReplyCode(b"552 5.3.4 Message is too big while the mail filter is not available")
    ]
    known.body_bytes, known.header_block = 0, b""
    assert outcome(Failure.TIMEOUT, stranger, ALL) == Outcome(
        "tempfail", [ev.ReplyCode(b"450 4.7.1 Not accepted by local policy for now")], "no_from"
    )


STAGES = ("connect", "helo", "mail", "recipient", "message")


@given(
    failure=st.sampled_from(Failure),
    action=st.sampled_from(ACTIONS),
    allowed=st.integers(0, c.ALL_ACTIONS),
    stage=st.sampled_from(STAGES),
    forged=st.integers(0, 3),
    local=st.sampled_from(["", "allow_clients", "deny_clients"]),
    hopeless=st.booleans(),
)
def test_mail_never_passes_unmarked_and_the_codec_takes_every_answer(
    *, failure: Failure, action: str, allowed: int, stage: str, forged: int, local: str, hopeless: bool
) -> None:
    fallback = FallbackConfig(**({local: ("192.0.2.0/24",)} if local else {}))
    mta, gateway = MtaConnection(), FilterConnection()
    known = transaction(b"b@b.example", headers=b"X-Tamis-Unfiltered: x\r\n" * forged)
    said: list[ev.Event] = [
        ev.Negotiate(6, allowed, 0),
        ev.Connect(b"x", c.SMFIA_INET, 25, b"192.0.2.7"),
        ev.Helo(b"x"),
        ev.Mail(b"<>"),
        ev.Recipient(b"<b@b.example>"),
        ev.EndOfHeaders(),
        ev.EndOfBody(),
    ]
    last = {"connect": 2, "helo": 3, "mail": 4, "recipient": 5, "message": 7}[stage]
    for number, event in enumerate(said[:last], start=1):
        gateway.receive_data(mta.send(event))
        offered = gateway.next_event()
        if isinstance(offered, ev.Negotiate):
            mta.receive_data(gateway.send(gateway.negotiate(offered)))
        elif number < last:
            mta.receive_data(gateway.send(ev.Continue()))
        if number < last:
            mta.next_event()
    assert gateway.negotiated is not None
    case = Case(
        known.client,
        known if last > 3 else None,
        recipient=0 if stage == "recipient" else None,
        whole_message=stage == "message",
        hopeless=hopeless,
    )
    outcome = policy(action, fallback).outcome(failure, case, gateway.negotiated)
    assert outcome.action in OUTCOMES
    for answer in outcome.replies:
        assert isinstance(answer, get_args(ev.Reply))
        mta.receive_data(gateway.send(answer))
        mta.next_event()
    assert not mta.awaiting_reply
    kinds = [type(answer) for answer in outcome.replies]
    if stage != "message":
        assert ev.Accept not in kinds
        if not local and (stage == "recipient" or hopeless):
            assert (kinds == [ev.ReplyCode]) == (action in ("tempfail", "reject"))
    elif ev.Accept in kinds:
        mark = next(answer for answer in outcome.replies if isinstance(answer, ev.InsertHeader))
        assert (mark.index, mark.name, mark.value.strip()) == (0, MARK, failure.encode())
        assert (outcome.action == "quarantine") == (ev.Quarantine in kinds)
        assert local != "deny_clients"
    else:
        assert kinds == [ev.ReplyCode]
