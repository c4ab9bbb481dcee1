"""Every action at every stage through a real Postfix: what the SMTP client hears and where the mail goes."""

import smtplib
import socket
import ssl
from email import message_from_bytes
from pathlib import Path

import pytest

from bench.postfix import Postfix
from gateway.early import NUMBERS, Stage
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import verdict_pb2 as pb
from tests.certificates import Authority
from tests.gateway.fake_ingress import Heard, at_stage, go_on, let_in, verdict
from tests.postfix.conftest import Filtered, eventually

pytestmark = pytest.mark.postfix

RAW = b"From: ben@friends.example\r\nSubject: hello\r\nMessage-ID: <%s@verdicts.example>\r\n\r\nprivate\r\n"
REPLY = {"code": 550, "enhanced": "5.7.1", "text": "Our own text, 100% sure"}
HEARD = (550, b"5.7.1 Our own text, 100% sure")
TLS = {"smtpd_tls_security_level": "may", "smtpd_tls_ask_ccert": "yes"}
WHY = "score_reached: 12 of 10"
LATER = {"code": 450, "enhanced": "4.7.1", "text": "Our own text, later"}


def queue_id(text: str) -> str:
    """Of Postfix's answer to DATA: "2.0.0 Ok: queued as 4ABC"."""
    return text.rpartition(" ")[2]


def refuse_at(stage: Stage, action: pb.Action, **reply: object) -> object:
    refusal = at_stage(action, "deny_client: listed", **reply)
    return lambda heard: (refusal if heard.asks[-1].stage == NUMBERS[stage] else go_on)(heard)


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.HELO, Stage.MAIL])
@pytest.mark.parametrize(
    ("action", "reply"), [(pb.ACTION_REJECT, REPLY), (pb.ACTION_TEMPFAIL, LATER)], ids=["reject", "tempfail"]
)
def test_a_client_refused_before_rcpt_hears_the_clusters_reply(
    filtered: Filtered, stage: Stage, action: pb.Action, reply: dict[str, object]
) -> None:
    filtered.ingress.stage = refuse_at(stage, action, **reply)  # type: ignore[assignment]
    heard = (reply["code"], f"{reply['enhanced']} {reply['text']}".encode())
    client = smtplib.SMTP()
    code, _ = client.connect("127.0.0.1", filtered.postfix.port)
    # Postfix greets a client that a milter rejects at CONNECT with 554; what the milter said comes at MAIL.
    assert code == (554 if stage is Stage.CONNECT and action == pb.ACTION_REJECT else 220)
    client.ehlo("client.example")
    assert client.mail("ben@friends.example") == heard
    asked = len(filtered.ingress.asked)
    assert client.mail("eve@friends.example") == heard
    # Refused at CONNECT or HELO, a client is refused by Postfix from then on; after MAIL it may try another sender.
    assert len(filtered.ingress.asked) == asked + (stage is Stage.MAIL)
    filtered.ingress.stage = go_on
    assert client.mail("ann@friends.example")[0] == (250 if stage is Stage.MAIL else heard[0])
    client.quit()
    line = filtered.line("refused_early", stage=stage)
    assert (line["client"], line["reasons"]) == ("127.0.0.1", ["deny_client: listed"])
    assert line["trace_id"] in {heard.begin.traceparent.split("-")[1] for heard in filtered.ingress.asked}
    eventually(lambda: not filtered.ingress.open)


def test_of_three_recipients_two_are_refused_and_the_third_gets_the_mail(filtered: Filtered) -> None:
    def judge(heard: Heard) -> filter_pb.Answer:
        answer = let_in(heard)
        refusal = {
            b"no@recipient.example": (pb.ACTION_REJECT, REPLY),
            b"later@recipient.example": (pb.ACTION_TEMPFAIL, LATER),
        }
        if heard.recipients[-1] in refusal:
            action, reply = refusal[heard.recipients[-1]]
            answer.recipient_verdict.action = action
            answer.recipient_verdict.reply.CopyFrom(pb.Reply(**reply))  # type: ignore[arg-type]
        return answer

    filtered.ingress.recipient = judge
    before = len(filtered.postfix.sink.envelopes)
    with smtplib.SMTP("127.0.0.1", filtered.postfix.port) as client:
        client.ehlo("client.example")
        client.mail("ben@friends.example")
        assert client.rcpt("no@recipient.example") == HEARD
        assert client.rcpt("later@recipient.example") == (450, b"4.7.1 Our own text, later")
        assert client.rcpt("yes@recipient.example")[0] == 250
        assert client.data(RAW % b"three")[0] == 250
    filtered.postfix.delivered(before + 1)
    assert filtered.postfix.sink.envelopes[before:] == [("ben@friends.example", ["yes@recipient.example"])]
    (heard,) = filtered.ingress.judged
    assert heard.end is not None
    assert list(heard.end.refused_recipients) == [0, 1]


def test_without_an_accepted_recipient_the_transaction_is_aborted(filtered: Filtered) -> None:
    def judge(heard: Heard) -> filter_pb.Answer:
        answer = let_in(heard)
        answer.recipient_verdict.MergeFrom(pb.RecipientVerdict(action=pb.ACTION_REJECT, reply=pb.Reply(**REPLY)))  # type: ignore[arg-type]
        return answer

    filtered.ingress.recipient = judge
    with smtplib.SMTP("127.0.0.1", filtered.postfix.port) as client:
        client.ehlo("client.example")
        client.mail("ben@friends.example")
        assert client.rcpt("no@recipient.example") == HEARD
        assert client.docmd("DATA")[0] in (503, 554)
        client.rset()
    # Postfix keeps ABORT in its buffer until it has more to say, here QUIT.
    eventually(lambda: filtered.ingress.aborted)
    assert filtered.ingress.judged == []


@pytest.mark.parametrize(
    ("action", "reply"), [(pb.ACTION_REJECT, REPLY), (pb.ACTION_TEMPFAIL, LATER)], ids=["reject", "tempfail"]
)
def test_a_refused_message_is_answered_with_the_clusters_reply(
    filtered: Filtered, action: pb.Action, reply: dict[str, object]
) -> None:
    filtered.ingress.judge = verdict(action, reply=pb.Reply(**reply), reasons=["score_reached"])  # type: ignore[arg-type]
    before = len(filtered.postfix.sink.messages)
    code, text = filtered.postfix.send(RAW % b"refused")
    assert (code, text) == (reply["code"], f"{reply['enhanced']} {reply['text']}")
    assert len(filtered.postfix.sink.messages) == before


def test_a_discarded_message_is_accepted_and_never_arrives(filtered: Filtered) -> None:
    filtered.ingress.judge = verdict(pb.ACTION_DISCARD)
    code, text = filtered.postfix.send(RAW % b"discarded")
    assert code == 250
    assert filtered.line("message", queue_id=queue_id(text))["action"] == "discard"
    assert f"{queue_id(text)}: milter-discard: END-OF-MESSAGE" in filtered.postfix.log
    # Mail that follows it is delivered; this one is not before it.
    filtered.ingress.judge = verdict()
    before = len(filtered.postfix.sink.messages)
    assert filtered.postfix.send(RAW % b"after")[0] == 250
    (after,) = filtered.postfix.delivered(before + 1)[before:]
    assert message_from_bytes(after)["Message-ID"] == "<after@verdicts.example>"


def test_a_quarantined_message_waits_in_the_hold_queue_with_its_reason(filtered: Filtered) -> None:
    filtered.ingress.judge = verdict(pb.ACTION_QUARANTINE, quarantine_reason=WHY, reasons=[WHY])
    code, text = filtered.postfix.send(RAW % b"held")
    assert code == 250
    held = filtered.postfix.dir / "queue" / "hold" / queue_id(text)
    assert eventually(held.exists)
    assert f"{queue_id(text)}: milter-hold: END-OF-MESSAGE" in filtered.postfix.log
    # Postfix 3.7 logs no reason of a milter; it is found in our line by the queue id.
    assert filtered.line("message", queue_id=queue_id(text))["reasons"] == [WHY]


@pytest.mark.parametrize(
    ("action", "edit", "name", "value"),
    [
        (
            pb.ACTION_ADD_HEADER,
            pb.Edit(add_header=pb.AddHeader(name=b"X-Spam-Flag", value=b"YES")),
            "X-Spam-Flag",
            "YES",
        ),
        (
            pb.ACTION_REWRITE_SUBJECT,
            pb.Edit(change_header=pb.ChangeHeader(name=b"Subject", occurrence=1, value=b"[SPAM] hello")),
            "Subject",
            "[SPAM] hello",
        ),
    ],
    ids=["add_header", "rewrite_subject"],
)
def test_a_marked_message_arrives_with_its_mark(
    filtered: Filtered, action: pb.Action, edit: pb.Edit, name: str, value: str
) -> None:
    filtered.ingress.judge = verdict(action, edits=[edit])
    before = len(filtered.postfix.sink.messages)
    assert filtered.postfix.send(RAW % b"marked")[0] == 250
    (raw,) = filtered.postfix.delivered(before + 1)[before:]
    assert message_from_bytes(raw).get_all(name) == [value]


def test_queue_id_and_trace_id_lead_from_postfixs_log_to_ours_and_to_the_trace(filtered: Filtered) -> None:
    code, text = filtered.postfix.send(RAW % b"traced")
    assert code == 250
    assert f"{queue_id(text)}: " in filtered.postfix.log
    line, span = filtered.line("message", queue_id=queue_id(text)), filtered.span(queue_id(text))
    assert line["trace_id"] == span.trace_id
    (heard,) = filtered.ingress.judged
    assert heard.begin.traceparent == f"00-{span.trace_id}-{span.span_id}-01"
    assert heard.headers is not None
    assert heard.headers.queue_id == queue_id(text)


def test_a_client_that_vanishes_in_data_ends_the_work_for_it_within_a_second(filtered: Filtered) -> None:
    with socket.create_connection(("127.0.0.1", filtered.postfix.port)) as client, client.makefile("rb") as stream:
        stream.readline()
        for line in (b"HELO client.example", b"MAIL FROM:<a@b.example>", b"RCPT TO:<r@recipient.example>", b"DATA"):
            client.sendall(line + b"\r\n")
            assert stream.readline()[:1] in b"23"
        client.sendall(b"From: a@b.example\r\n\r\n" + b"half a line" * 1000)
    eventually(lambda: filtered.ingress.aborted, timeout_s=1.0)
    assert filtered.ingress.judged == []


def test_the_names_of_a_verified_client_certificate_reach_the_ingress(filtered: Filtered, run_dir: Path) -> None:
    ours = Authority("Our CA")
    server, partner = ours.issue(run_dir / "mx", "mx"), ours.issue(run_dir / "partner", "partner")
    stranger = Authority("Another CA").issue(run_dir / "stranger", "stranger")
    files = {
        "smtpd_tls_cert_file": str(server.certificate),
        "smtpd_tls_key_file": str(server.key),
        "smtpd_tls_CAfile": str(server.authority),
    }
    with Postfix(filtered.gateway.milter[0], settings=TLS | files) as postfix:
        for client, subject, issuer in ((partner, "partner", "Our CA"), (stranger, "", "")):
            context = ssl.create_default_context(cafile=server.authority)
            context.check_hostname = False
            context.load_cert_chain(client.certificate, client.key)
            with smtplib.SMTP("127.0.0.1", postfix.port) as smtp:
                smtp.starttls(context=context)
                smtp.ehlo("client.example")
                assert smtp.mail("ben@friends.example")[0] == 250
            told = filtered.ingress.asked[-1].begin.client
            assert (told.cert_subject, told.cert_issuer) == (subject, issuer)
            assert told.tls_version.startswith("TLSv1")
