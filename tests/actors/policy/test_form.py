import pytest

from actors.model import Message
from actors.policy.form import has_bare_line_ends, repeated_fields


@pytest.mark.parametrize(
    ("headers", "repeated"),
    [
        (b"From: a\r\nReceived: b\r\nReceived: c\r\nComments: d\r\nComments: e\r\n", []),
        (b"From: a\r\nFrom: a\r\n", ["from"]),
        (b"Subject: a\r\nsubject : b\r\nTO: c\r\nTo: d\r\nTo: e\r\n", ["to", "subject"]),
        (b"Content-Type: text/plain\r\nContent-Type: text/html\r\n", ["content-type"]),
        (b"", []),
    ],
)
def test_fields_that_may_stand_there_once_are_told_when_they_are_repeated(headers: bytes, repeated: list[str]) -> None:
    assert repeated_fields(Message(header_block=headers)) == repeated


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        (b"a\r\nb\r\n", False),
        (b"", False),
        (b"a\nb\r\n", True),
        (b"a\rb\r\n", True),
        (b"a\r\r\nb\r\n", True),
        (b"a\n.\nb", True),
        (b"a\r.\rb", True),
        (b"a\n\rb", True),
    ],
)
def test_a_cr_or_lf_alone_is_found_in_header_section_and_body(text: bytes, bare: bool) -> None:  # noqa: FBT001
    assert has_bare_line_ends(Message(body=text)) is bare
    assert has_bare_line_ends(Message(header_block=b"X: " + text)) is bare
