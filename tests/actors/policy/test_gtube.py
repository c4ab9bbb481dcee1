import base64
import quopri

import pytest

from actors.policy.gtube import ENCODED_BYTES_MAX, GTUBE, has_gtube


def test_the_string_is_the_published_one() -> None:
    assert len(GTUBE) == 68


def test_it_is_found_in_plain_text_however_long_the_body() -> None:
    assert has_gtube(b"hello\r\n" + GTUBE + b"\r\n")
    assert has_gtube(b"x" * (2 * ENCODED_BYTES_MAX) + GTUBE)


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc", b"a line\r\n" * 7])
def test_it_is_found_in_base64_at_every_offset(before: bytes) -> None:
    encoded = base64.encodebytes(before + GTUBE + b"\r\nmore").replace(b"\n", b"\r\n")
    assert GTUBE not in encoded
    assert has_gtube(encoded)


def test_it_is_found_across_a_soft_line_break() -> None:
    encoded = quopri.encodestring(b"some words before it " + GTUBE).replace(b"\n", b"\r\n")
    assert GTUBE not in encoded
    assert has_gtube(encoded)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b" \t\r\n", b"\r\n \r\n", b"\r\n> "])
def test_base64_lines_may_end_and_begin_with_what_decoders_skip(line_end: bytes) -> None:
    encoded = base64.encodebytes(b"a line before it\r\n" + GTUBE).replace(b"\n", line_end)
    assert has_gtube(b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded)


@pytest.mark.parametrize(
    "encoded",
    [
        b"=58" + GTUBE[1:],
        b"".join(b"=%02X" % byte for byte in GTUBE),
        b"".join(b"=%02x" % byte for byte in GTUBE),
        GTUBE[:30] + b"=\n" + GTUBE[30:],
        GTUBE[:30] + b"= \t\r\n" + GTUBE[30:],
        b"".join(b"=%02X=\r\n" % byte for byte in GTUBE),
        b"1 = 2 = =XY =\xff " + b"=58" + GTUBE[1:],
    ],
)
def test_it_is_found_in_every_spelling_of_quoted_printable(encoded: bytes) -> None:
    assert has_gtube(b"hello\r\n" + encoded + b"\r\nbye")


def test_other_bodies_do_not_hold_it() -> None:
    assert not has_gtube(b"")
    assert not has_gtube(GTUBE[:-1])
    assert not has_gtube(base64.encodebytes(GTUBE.lower()))
    assert not has_gtube(base64.encodebytes(b"GTUBE test" * 100))
