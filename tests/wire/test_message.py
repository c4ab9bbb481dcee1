"""wire/message.py: files of any origin as the message on the wire; the fields of any header section."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.message import MessageText, parse_header_block, split_message


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nbody\r\n", MessageText(b"A: 1\r\nB: 2\r\n", b"body\r\n")),
        (b"A: 1\nB: 2\n\nbody\n", MessageText(b"A: 1\r\nB: 2\r\n", b"body\r\n")),
        (b"From x@y Thu Aug 22 2002\nA: 1\n\nbody\n", MessageText(b"A: 1\r\n", b"body\r\n")),
        (b"From x@y Thu Aug 22 2002\r\nA: 1\r\n\r\nbody\r\n", MessageText(b"A: 1\r\n", b"body\r\n")),
        (b"A: 1\n folded\n\tmore\n\nbody", MessageText(b"A: 1\r\n folded\r\n\tmore\r\n", b"body")),
        (b"no header here\njust text\n", MessageText(b"", b"no header here\r\njust text\r\n")),
        (b" A: 1\nB: 2\n", MessageText(b"", b" A: 1\r\nB: 2\r\n")),
        (b"\xc3\x84: 1\n", MessageText(b"", b"\xc3\x84: 1\r\n")),
        (b"A : 1\n\nx", MessageText(b"A : 1\r\n", b"x")),
        (b"A: 1\nno field\nrest\n", MessageText(b"A: 1\r\n", b"no field\r\nrest\r\n")),
        (b"A: 1", MessageText(b"A: 1\r\n", b"")),
        (b"\nbody\n", MessageText(b"", b"body\r\n")),
        (b"", MessageText(b"", b"")),
        (b"From ", MessageText(b"", b"")),
        (b"A: \x00\xff\n\n\x00\n", MessageText(b"A: \x00\xff\r\n", b"\x00\r\n")),
    ],
)
def test_a_file_is_split_as_the_mta_would(raw: bytes, expected: MessageText) -> None:
    assert split_message(raw) == expected


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"A: 1\r\n\r\nbare \r cr\r\n", b"bare \r cr\r\n"),
        (b"A: 1\r\n\r\nbare \n lf\r\n", b"bare \n lf\r\n"),
        (b"A: 1\n\nbare \r cr\n", b"bare \r cr\r\n"),
        (b"A: 1\n\nsome \r\n crlf\n", b"some \r\n crlf\r\n"),
    ],
)
def test_what_a_signature_may_cover_is_left_as_it_is(raw: bytes, body: bytes) -> None:
    assert split_message(raw) == MessageText(b"A: 1\r\n", body)


def test_a_message_on_the_wire_stays_byte_for_byte() -> None:
    raw = b"A: 1\r\n b \r c\r\nB: \n\r\n\r\n\r\n\rbody\n\n\r\r\n"
    text = split_message(raw)
    assert text.header_block + b"\r\n" + text.body == raw


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_that_loses_no_text(raw: bytes) -> None:
    text = split_message(raw)
    kept = (text.header_block + text.body).translate(None, b"\r\n")
    assert kept == raw.translate(None, b"\r\n") or raw.startswith(b"From ")


@given(st.lists(st.sampled_from([b"\n", b" ", b":", b"A", b"A: x", b"\r", b"\r\n"])).map(b"".join))
def test_what_counts_as_header_has_a_name_in_every_field(raw: bytes) -> None:
    block = split_message(raw).header_block
    fields = parse_header_block(block)
    assert all(name for name, _ in fields)
    assert not block or block.endswith(b"\r\n")


@pytest.mark.timeout(10)
def test_a_hundred_thousand_folds_are_one_field() -> None:
    ((name, value),) = parse_header_block(b"Subject: x\r\n" + b" y\r\n" * 100_000)
    assert (name, value.count(b"\r\n")) == (b"Subject", 100_000)
