"""The main job by SMTP: a real Postfix, the gateway, the cluster, and a sink that shows what arrived."""

import os
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from actors.policy.gtube import GTUBE
from bench.corpus import held_out_messages
from bench.postfix import Postfix, send_in_parallel, why_not
from bench.samples import CLIENT_IP, SampleMaker, eicar_mail
from bench.stack import Stack
from cli.addresses import free_port
from tests.conftest import skip_or_fail

pytestmark = pytest.mark.postfix

OF_EACH_KIND = 200


def newest(postfix: Postfix, message_id: str) -> Message:
    postfix.delivered(len(postfix.sink.messages) + 1, timeout_s=0.2)
    for _ in range(100):
        for raw in reversed(postfix.sink.messages):
            message = message_from_bytes(raw)
            if message["Message-ID"] == message_id:
                return message
        postfix.delivered(len(postfix.sink.messages) + 1, timeout_s=0.2)
    raise AssertionError(f"{message_id} did not arrive")


def test_clean_signed_mail_arrives_with_our_headers(postfix: Postfix, maker: SampleMaker) -> None:
    raw = maker.samples()[0].raw
    code, text = postfix.send(raw, sender="anna@shop.example", client_ip=CLIENT_IP)
    assert code == 250, text
    message = newest(postfix, message_from_bytes(raw)["Message-ID"])
    results = " ".join(message.get_all("Authentication-Results", []))
    assert results.startswith("mx.recipient.example")
    assert "spf=pass" in results
    assert "dkim=pass" in results
    assert "dmarc=pass" in results
    assert message["X-Spam-Flag"] is None
    assert float(message["X-Spam-Score"]) < 5


def test_forged_results_of_ours_are_removed_and_foreign_ones_kept(postfix: Postfix, maker: SampleMaker) -> None:
    forged = (
        b"Authentication-Results: MX.Recipient.Example (comment) 1; dkim=pass header.d=bank.example\r\n"
        b"Authentication-Results: other.example; dkim=pass header.d=foreign.example\r\n"
        b"X-Spam-Score: -100\r\nX-Spam-Flag: NO\r\nX-Spam-Flag: NO\r\n"
    )
    raw = forged + maker.samples()[1].raw
    code, text = postfix.send(raw, client_ip=CLIENT_IP)
    assert code == 250, text
    message = newest(postfix, message_from_bytes(raw)["Message-ID"])
    results = message.get_all("Authentication-Results", [])
    assert not any("bank.example" in value for value in results)
    assert any("foreign.example" in value for value in results)
    assert sum(value.startswith("mx.recipient.example") for value in results) == 1
    assert message.get_all("X-Spam-Score", []) != ["-100"]
    assert message.get_all("X-Spam-Flag", []) == []


def test_eicar_is_rejected(postfix: Postfix) -> None:
    code, text = postfix.send(eicar_mail(), client_ip=CLIENT_IP)
    assert 500 <= code < 600, text


def test_gtube_is_rejected(postfix: Postfix) -> None:
    raw = b"From: ben@friends.example\r\nSubject: test\r\n\r\n" + GTUBE + b"\r\n"
    code, text = postfix.send(raw, client_ip=CLIENT_IP)
    assert 500 <= code < 600, text


def flagged_share(postfix: Postfix, mails: list[bytes]) -> float:
    """Share of mails that were refused or arrived with the spam header; every one must have had an answer."""
    before = len(postfix.sink.messages)
    replies = send_in_parallel(postfix, mails)
    assert all(code == 250 or 500 <= code < 600 for code, _ in replies), replies
    refused = sum(code >= 500 for code, _ in replies)
    arrived = postfix.delivered(before + len(mails) - refused)[before:]
    assert len(arrived) == len(mails) - refused
    flagged = sum(message_from_bytes(raw)["X-Spam-Flag"] == "YES" for raw in arrived)
    return (flagged + refused) / len(mails)


@pytest.mark.data
@pytest.mark.timeout(300)
def test_of_spam_that_the_model_never_saw_at_least_95_percent_get_the_header(
    postfix: Postfix, spam_corpus: Path
) -> None:
    mails = held_out_messages(spam_corpus, spam=True, count=OF_EACH_KIND)
    assert len(mails) == OF_EACH_KIND
    share = flagged_share(postfix, mails)
    print(f"spam header on {share:.1%} of {len(mails)} held-out spam")
    assert share >= 0.95


@pytest.mark.data
@pytest.mark.timeout(300)
def test_of_ham_that_the_model_never_saw_at_most_1_percent_get_the_header(postfix: Postfix, spam_corpus: Path) -> None:
    mails = held_out_messages(spam_corpus, spam=False, count=OF_EACH_KIND)
    assert len(mails) == OF_EACH_KIND
    share = flagged_share(postfix, mails)
    print(f"spam header on {share:.1%} of {len(mails)} held-out ham")
    assert share <= 0.01


def test_without_a_gateway_the_client_gets_a_tempfail() -> None:
    reason = why_not()
    if reason:
        skip_or_fail(reason)
    with Postfix(f"inet:{free_port()}@127.0.0.1") as lonely:
        code, _ = lonely.send(b"Subject: hello\r\n\r\nhello\r\n")
    assert 400 <= code < 500


def test_these_tests_run_in_ci() -> None:
    assert not os.environ.get("CI") or not why_not()


def test_a_mail_of_many_shapes_gets_a_verdict(postfix: Postfix, tamis: Stack) -> None:
    odd = {
        "not MIME at all": b"no header here\r\njust text\r\n",
        "8-bit headers": b"Subject: \xe4\xf6\xfc \xff\xfe\r\nFrom: \xe9@x.example\r\n\r\nhi\r\n",
        "no From": b"Subject: nobody\r\n\r\nhi\r\n",
        "two Froms": b"From: a@a.example\r\nFrom: b@b.example\r\n\r\nhi\r\n",
        "empty body": b"From: a@a.example\r\nSubject: empty\r\n\r\n",
    }
    for name, raw in odd.items():
        code, text = postfix.send(raw, client_ip=CLIENT_IP)
        assert code == 250, f"{name}: {code} {text}"
    assert "Traceback" not in tamis.log
