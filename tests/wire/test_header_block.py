"""wire/message.py: whatever bytes a header section has, every field of it is seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.message import parse_header_block


def line_by_line(block: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The same, written as RFC 5322 section 2.2 tells it: lines first, folded ones belong to the field before."""
    fields: list[tuple[bytes, bytes]] = []
    for line in block.split(b"\r\n"):
        if not line:
            continue
        if line[:1] in (b" ", b"\t") and fields:
            name, value = fields[-1]
            fields[-1] = (name, value + b"\r\n" + line)
        else:
            name, colon, value = line.partition(b":")
            fields.append((name.rstrip(b" \t"), value) if colon else (b"", line))
    return tuple(fields)


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        (b"", ()),
        (b"Subject: hello\r\n", ((b"Subject", b" hello"),)),
        (b"Subject:hello\r\n there\r\nTo : you\r\n", ((b"Subject", b"hello\r\n there"), (b"To", b" you"))),
        (b"no field\r\n but: folded\r\n", ((b"", b"no field\r\n but: folded"),)),
        (b" folded: first\r\nA: b", ((b" folded", b" first"), (b"A", b" b"))),
        (b"A: b\r\n\r\n c\r\n\r\nD: e", ((b"A", b" b\r\n c"), (b"D", b" e"))),
        (b"A: \r b\n c\r\n", ((b"A", b" \r b\n c"),)),
    ],
)
def test_fields_are_split_as_the_rfc_says(block: bytes, fields: tuple[tuple[bytes, bytes], ...]) -> None:
    assert parse_header_block(block) == fields


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"A", b"Subject: x"])).map(b"".join))
def test_any_bytes_give_the_fields_that_a_reader_of_lines_finds(block: bytes) -> None:
    assert parse_header_block(block) == line_by_line(block)
