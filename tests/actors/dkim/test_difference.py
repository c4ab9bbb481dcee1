"""Where two texts part, and the changes that mail typically suffers, by name."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.dkim.canonical import relaxed_body, simple_body
from actors.dkim.difference import SHOWN_BYTES_MAX, Cause, body_difference, field_difference, line_of

TEXTS = st.binary(max_size=60) | st.lists(st.sampled_from([b"a", b"b", b" ", b"\r\n", b"\r"])).map(b"".join)


@given(TEXTS, TEXTS)
@example(b"aaa\r\n", b"aa\r\n")
@example(b"x\ry", b"x\r\n")
def test_the_difference_is_all_that_has_to_be_replaced(received: bytes, original: bytes) -> None:
    found = body_difference(received, original)
    assert (found is None) == (received == original)
    if found is not None:
        start = found.start
        assert original[:start] == received[:start]
        assert received[start : start + 1] != original[start : start + 1]
        assert (
            original[: found.start] + received[start : found.received_end] + original[found.original_end :] == received
        )
        line_start, line = line_of(received, start)
        assert (line_start, line) == line_of(original, start)
        assert 0 <= line_start <= start


@pytest.mark.parametrize(
    ("received", "original", "cause"),
    [
        (b"a\r\n\r\n-- \r\nlist\r\n", b"a\r\n", Cause.FOOTER),
        (b"a\r\n", b"a\r\nb\r\n", Cause.CUT),
        (b"a\r\nx\r\nb\r\n", b"a\r\nb\r\n", Cause.INSERTED),
        (b"gr=C3=BC=C3=9Fe\r\n", "grüße\r\n".encode(), Cause.CONVERTED),
        (b"a\r\nb\r\n", b"a\nb\r\n", Cause.LINE_ENDS),
        (b"a\r\nb\r\n", b"a  \r\nb\t\r\n", Cause.TRAILING_SPACE),
        (b"a b\r\n", b"a \t b\r\n", Cause.WHITE_SPACE),
        (b">From me\r\nx\r\n", b"From me\r\nx\r\n", Cause.FROM_ESCAPED),
        (b"some\r\nwords\r\n", b"some words\r\n", Cause.REWRAPPED),
        (b"b\r\n", b"a\r\n", Cause.UNKNOWN),
    ],
)
def test_typical_changes_of_a_body_are_recognised(received: bytes, original: bytes, cause: Cause) -> None:
    found = body_difference(simple_body(received), simple_body(original))
    assert found is not None
    assert found.cause is cause


@pytest.mark.parametrize(
    ("received", "original", "cause"),
    [
        ((b"Subject", b" [list] hello"), (b"Subject", b" hello"), Cause.SUBJECT_TAG),
        ((b"Subject", b" Re: [list] [a] b"), (b"Subject", b" Re: [a] b"), Cause.SUBJECT_TAG),
        ((b"Subject", b" [a] c"), (b"Subject", b" [a] b"), Cause.UNKNOWN),
        ((b"To", b" [list] bob"), (b"To", b" bob"), Cause.UNKNOWN),
        ((b"To", b" a,\r\n\tb"), (b"To", b" a, b"), Cause.REFOLDED),
        ((b"Subject", b" =?utf-8?q?=C3=BC?="), (b"Subject", " ü".encode()), Cause.CONVERTED),
        ((b"Content-Transfer-Encoding", b" base64"), (b"Content-Transfer-Encoding", b" 8bit"), Cause.CONVERTED),
        (None, (b"To", b" bob"), Cause.REMOVED),
        ((b"To", b" bob"), None, Cause.ADDED),
    ],
)
def test_typical_changes_of_a_field_are_recognised(
    received: tuple[bytes, bytes] | None, original: tuple[bytes, bytes] | None, cause: Cause
) -> None:
    found = field_difference(received, original, relaxed=False)
    assert found is not None
    assert found.cause is cause


def test_what_the_relaxed_form_does_not_see_is_no_difference() -> None:
    assert field_difference((b"SUBJECT", b"a\r\n b "), (b"Subject", b" a b"), relaxed=True) is None
    assert field_difference((b"SUBJECT", b"a\r\n b "), (b"Subject", b" a b"), relaxed=False) is not None
    assert body_difference(relaxed_body(b"a  b\r\n\r\n"), relaxed_body(b"a b")) is None


def test_lines_are_shown_escaped_and_capped() -> None:
    found = body_difference(b"same\r\ncaf\xe9 \x1b\r\nmore\r\n", b"same\r\ncafe\r\nmore\r\n")
    assert found is not None
    assert (found.received, found.original) == ("caf\\xe9 \\x1b\\r\\n", "cafe\\r\\n")
    long = b"a" * 500 + b"%b" + b"a" * 500
    found = body_difference(long % b"b", long % b"c")
    assert found is not None
    assert (len(found.received), found.received.count("b"), found.original.count("c")) == (SHOWN_BYTES_MAX, 1, 1)


def test_a_line_end_that_changed_is_shown() -> None:
    found = body_difference(b"one\rtwo\r\n", b"one\r\ntwo\r\n")
    assert found is not None
    assert (found.received, found.original) == ("one\\rtwo\\r\\n", "one\\r\\n")
    assert (found.start, found.received_end, found.original_end) == (4, 4, 5)
