import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.classifier.features import GRAM_BYTES, SLOTS, VERSION, Grams, grams
from actors.model import Message

HEADER = b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: hello there\r\n"


def slots(header: bytes, body: bytes = b"some text of a message\r\n") -> set[int]:
    return set(grams(Message(header_block=header, body=body)).distinct.tolist())


def test_the_slots_of_this_version_stay_as_they_are():
    """Shipped models know these slots: another digest here means another VERSION and a model trained anew."""
    distinct = grams(Message(header_block=HEADER, body=b"Order now, 100% guaranteed")).distinct
    digest = hashlib.sha256(distinct.astype("<u4").tobytes()).hexdigest()
    assert (VERSION, digest[:16]) == (1, "c393a96cdc52bb51")


def test_slots_are_distinct_ascending_and_within_the_table():
    distinct = grams(Message(header_block=HEADER, body=b"again and again and again")).distinct
    assert (np.diff(distinct.astype(np.int64)) > 0).all()
    assert distinct.max() < SLOTS


def test_each_window_is_hashed_as_written_down():
    """The vectorised hash against a plain one, on a message whose only view with text is the body."""
    made = grams(Message(body=b"Abc 12"))
    text = bytes(made.text.astype(np.uint8))
    assert text.startswith(b" abc 00 ")
    expected = 0
    for byte in text[:GRAM_BYTES]:
        expected = (expected * 0x9E3779B1 + byte) & 0xFFFFFFFF
    expected ^= 0xC2B2AE3D
    expected ^= expected >> 15
    expected = expected * 0x85EBCA77 & 0xFFFFFFFF
    assert made.slots[0] == expected >> 13


@pytest.mark.parametrize(
    "trace",
    [
        b"Received: from mx.example.org by collector.example.net; Thu, 22 Aug 2002 12:36:16 +0100\r\n",
        b"Delivered-To: zzzz@localhost\r\n",
        b"X-Spam-Status: Yes, score=20\r\n",
        b"X-Spam-Flag: YES\r\n",
        b"X-Tamis-Degraded: antivirus\r\n",
        b"Authentication-Results: mx; spf=fail\r\n",
        b"DKIM-Signature: v=1; d=example.org\r\n",
        b"List-Id: <list.example.org>\r\n",
        b"Precedence: bulk\r\n",
        b"Sender: owner-list@example.org\r\n",
        b"Return-Path: <x@example.org>\r\n",
        b"Status: RO\r\n",
        b"X-Mozilla-Status: 0001\r\n",
        b"X-Anything-Else: whatever\r\n",
    ],
)
def test_traces_of_collectors_lists_filters_and_ourselves_change_nothing(trace):
    assert slots(trace + HEADER) == slots(HEADER)
    assert slots(HEADER + trace) == slots(HEADER)


@pytest.mark.parametrize(
    "field",
    [
        b"X-Mailer: Bulk Mailer 5\r\n",
        b"In-Reply-To: <a@b>\r\n",
        b"X-Priority: 1\r\n",
        b"Content-Type: text/html\r\n",
        b"Message-ID: <20020822.ABC@example.org>\r\n",
    ],
)
def test_the_shape_of_the_header_section_counts(field):
    assert slots(HEADER + field) != slots(HEADER)


def test_case_digits_and_white_space_are_folded():
    assert slots(HEADER, b"Win   $1000\r\n NOW") == slots(HEADER, b"win $2999 now")


def test_a_multipart_boundary_is_no_evidence():
    header = b"Content-Type: multipart/mixed; boundary="
    body = b"--%s\r\n\r\ntext\r\n--%s--\r\n"
    first = slots(header + b"aaaaaaaaaaaa\r\n", body % (b"aaaaaaaaaaaa", b"aaaaaaaaaaaa"))
    assert first == slots(header + b"zzzzzzzzzzzz\r\n", body % (b"zzzzzzzzzzzz", b"zzzzzzzzzzzz"))


def test_the_same_words_in_subject_and_body_are_different_evidence():
    nowhere = slots(b"Subject:\r\n", b"")
    in_subject = slots(b"Subject: free prize money\r\n", b"") - nowhere
    in_body = slots(b"Subject:\r\n", b"free prize money") - nowhere
    assert len(in_subject) > 10
    assert not in_subject & in_body


def test_the_strongest_words_are_named_with_their_view():
    made = grams(
        Message(header_block=b"Subject: lottery\r\n", body=b"please claim the prize http://x.example/a?b=c today")
    )
    weights = np.zeros(SLOTS, np.float32)
    text = bytes(made.text.astype(np.uint8))
    for word, weight in ((b" prize", 1.0), (b" lottery", 3.0), (b" http", 9.0), (b" today", -1.0)):
        begin = text.index(word)
        weights[made.slots[begin]] = weight
    assert made.strongest_words(weights[made.slots], 5) == ["subject:lottery", "prize"]


def test_words_are_printable_ascii():
    made = grams(Message(body="geld\x00verdienen größe \x1b[31mrot".encode()))
    words = made.strongest_words(np.ones(len(made.slots), np.float32), 50)
    assert words
    assert all(word.isascii() and word.isprintable() for word in words)


@settings(max_examples=200, deadline=None)
@given(st.binary(), st.binary())
def test_any_bytes_have_features_and_words(header, body):
    made = grams(Message(header_block=header, body=body))
    assert isinstance(made, Grams)
    assert len(made.slots) == len(made.text) - GRAM_BYTES + 1 > 0
    made.strongest_words(np.ones(len(made.slots), np.float32), 5)
