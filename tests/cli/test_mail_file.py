"""cli/mail_file.py: files of any origin with their envelope."""

from pathlib import Path

from cli.mail_file import dates, prepare, read_mail_file, return_path


def test_a_file_brings_its_own_sender_unless_one_is_given(tmp_path: Path) -> None:
    path = tmp_path / "mail"
    path.write_bytes(b"From x y\nReturn-Path: <a@b.example>\nSubject: x\n\nbody\n")
    assert read_mail_file(path).sender == b"a@b.example"
    assert read_mail_file(path, b"").sender == b""
    mail = read_mail_file(path, b"<s@x.example>", [b"<r@x.example>", b"q@x.example"])
    assert (mail.sender, mail.recipients) == (b"s@x.example", (b"r@x.example", b"q@x.example"))
    assert (mail.header_block, mail.body) == (b"Return-Path: <a@b.example>\r\nSubject: x\r\n", b"body\r\n")


def test_the_mta_gets_the_same_message_by_fields() -> None:
    mail = prepare(b"A: 1\n b\nC: 2\n\nbody\n", b"s@x", [b"r@x"]).as_mail()
    assert mail.fields == ((b"A", b" 1\r\n b"), (b"C", b" 2"))
    assert mail.raw == b"A: 1\r\n b\r\nC: 2\r\n\r\nbody\r\n"
    assert (mail.sender, mail.recipients) == (b"s@x", (b"r@x",))


def test_the_return_path_is_the_envelope_sender() -> None:
    assert return_path(b"A: 1\r\nreturn-path: <a@b.example>\r\n") == b"a@b.example"
    assert return_path(b"Return-Path: <>\r\n") == b""
    assert return_path(b"A: 1\r\n") == b""


def test_the_topmost_received_says_when_a_message_came_and_after_it_the_date() -> None:
    block = (
        b"Received: from a\r\n\tby b; Mon, 5 Aug 2002\r\n 10:00:00 +0000\r\nReceived: by c; never\r\nDate: today\r\n"
    )
    assert list(dates(block)) == [b"Mon, 5 Aug 2002 10:00:00 +0000", b"today"]
    assert list(dates(b"Subject: x\r\n")) == []
