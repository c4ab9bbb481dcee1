import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.classifier.traces import NOBODY, without_traces
from wire.message import parse_header_block

SPAM = b"""Received: from a.outlook.com (::1) by b.prod.outlook.com with HTTPS; Wed, 2 Aug 2023 20:09:22
 +0000
Authentication-Results: spf=softfail (sender IP is 192.0.2.1)
X-IncomingTopHeaderMarker: OriginalChecksum:B6
Received: from User (unknown [192.0.2.9]) by mail.example.net; Wed,  2 Aug 2023 19:27:40 +0000 (UTC)
Reply-To: <me@sender.example>
From: "Me" <me@sender.example>
Subject: Donation for phishing@pot
Content-Type: text/html;
\tcharset="Windows-1251"
X-Mailer: Microsoft Outlook Express 6.00.2600.0000
Message-ID: <0bcdb0f2@BN1.eop-nam02.prod.protection.outlook.com>
To: "phishing@pot" <phishing@pot>
X-MS-Exchange-Organization-SCL: 7
X-Microsoft-Antispam: BCL:0;
MIME-Version: 1.0

<a href="http://sender.example/?to=phishing%40pot">Hello phishing@pot</a>
"""
HAM = b"""Return-Path: <SRS0=x@sourceware.org>
Received: from mout.gmx.net by sourceware.org (Postfix); Wed, 22 Jul 2026 20:29:52 +0000 (GMT)
DMARC-Filter: OpenDMARC Filter v1.4.2 sourceware.org F0
ARC-Seal: i=1; d=sourceware.org
DKIM-Signature: v=1; d=gmx.example
From: Johannes <j@gmx.example>
To: <cygwin-patches@cygwin.com>
Subject: [PATCH] open
Message-ID: <1@gmx.example>
MIME-Version: 1.0
Content-Type: text/plain
X-Spam-Status: No, score=-4.4
List-Id: <cygwin-patches.cygwin.com>
X-SW-Source: 2026-q3

see https://cygwin.com/problems.html
"""


def names(message):
    return [name.decode().lower() for name, _ in parse_header_block(message.header_block)]


def test_of_the_header_section_stays_what_a_mail_program_writes_in_its_order():
    spam = without_traces(SPAM)
    assert names(spam) == ["reply-to", "from", "subject", "mime-version", "content-type", "x-mailer", "to"]
    ham = without_traces(HAM)
    assert names(ham) == ["from", "to", "subject", "message-id", "mime-version", "content-type"]


def test_values_that_stay_are_unchanged_with_their_folding():
    assert b'Content-Type: text/html;\r\n\tcharset="Windows-1251"\r\n' in without_traces(SPAM).header_block


def test_addresses_of_collections_are_nobodys():
    spam = without_traces(SPAM)
    assert b"pot" not in spam.header_block + spam.body
    assert b"Subject: Donation for " + NOBODY in spam.header_block
    assert spam.body.count(NOBODY) == 2
    assert b"To: <" + NOBODY + b">\r\n" in without_traces(HAM).header_block


def test_hosts_of_collections_are_gone_from_the_body():
    assert without_traces(HAM).body == b"see https:///problems.html\r\n"


def test_the_sender_is_not_a_collection_because_its_name_ends_like_one():
    raw = b"From: a@notcygwin.com\nMessage-ID: <1@mycygwin.comp.example>\n\nhttp://cygwin.community/\n"
    message = without_traces(raw)
    assert b"a@notcygwin.com" in message.header_block
    assert names(message) == ["from", "message-id"]
    assert message.body == b"http://cygwin.community/\r\n"


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_and_twice_gives_the_same(raw):
    once = without_traces(raw)
    assert without_traces(once.header_block + b"\r\n" + once.body).header_block == once.header_block


@pytest.mark.parametrize("text", [b"phishing@" * 200_000, b"a." * 500_000, b"a" * 1_000_000, b"zzzz" * 250_000])
@pytest.mark.timeout(20)
def test_hostile_text_takes_linear_time(text):
    without_traces(b"Subject: x\n\n" + text)
