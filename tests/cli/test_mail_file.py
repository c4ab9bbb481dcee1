"""cli/mail_file.py: files of any origin as the MTA would hand them over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.mail_file import MailFile, return_path, split_message, topmost_received_date


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nbody\r\n", MailFile(b"A: 1\r\nB: 2\r\n", b"body\r\n")),
        (b"A: 1\nB: 2\n\nbody\n", MailFile(b"A: 1\r\nB: 2\r\n", b"body\r\n")),
        (b"From x@y Thu Aug 22 2002\nA: 1\n\nbody\n", MailFile(b"A: 1\r\n", b"body\r\n")),
        (b"A: 1\n folded\n\tmore\n\nbody", MailFile(b"A: 1\r\n folded\r\n\tmore\r\n", b"body")),
        (b"no header here\njust text\n", MailFile(b"", b"no header here\r\njust text\r\n")),
        (b"A: 1\nno field\nrest\n", MailFile(b"A: 1\r\n", b"no field\r\nrest\r\n")),
        (b"A: 1", MailFile(b"A: 1\r\n", b"")),
        (b"\nbody\n", MailFile(b"", b"body\r\n")),
        (b"", MailFile(b"", b"")),
        (b"A: \x00\xff\n\n\x00\n", MailFile(b"A: \x00\xff\r\n", b"\x00\r\n")),
    ],
)
def test_a_file_is_split_as_the_mta_would(raw: bytes, expected: MailFile) -> None:
    assert split_message(raw) == expected


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_that_loses_no_text(raw: bytes) -> None:
    mail = split_message(raw)
    kept = (mail.header_block + mail.body).replace(b"\r\n", b"")
    lost = len(raw.replace(b"\r", b"").replace(b"\n", b"")) - len(kept)
    assert lost == 0 or raw.startswith(b"From ")


def test_the_return_path_is_the_envelope_sender() -> None:
    assert return_path(b"A: 1\r\nreturn-path: <a@b.example>\r\n") == b"a@b.example"
    assert return_path(b"Return-Path: <>\r\n") == b""
    assert return_path(b"A: 1\r\n") == b""


def test_the_topmost_received_gives_the_date() -> None:
    block = b"Received: from a\r\n\tby b; Mon, 5 Aug 2002 10:00:00 +0000\r\nReceived: by c; never\r\n"
    assert topmost_received_date(block) == b"Mon, 5 Aug 2002 10:00:00 +0000"
