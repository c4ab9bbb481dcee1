"""Brackets, folds, addresses and reply texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.milter.pairs import CONNECT, MAIL, RECIPIENT, answer, ask, pair, tell
from wire.milter import client_ip, folds_to_crlf, folds_to_lf, format_reply, strip_brackets
from wire.milter import events as ev


@pytest.mark.parametrize(
    ("sent", "bare"),
    [(b"<a@b>", b"a@b"), (b"<>", b""), (b"a@b", b"a@b"), (b"", b""), (b"<", b"<"), (b'<"<x>"@b>', b'"<x>"@b')],
)
def test_brackets_come_off_once(sent: bytes, bare: bytes) -> None:
    assert strip_brackets(sent) == bare


@pytest.mark.parametrize(
    ("family", "address", "ip"),
    [
        (b"4", b"192.0.2.7", "192.0.2.7"),
        (b"6", b"2001:db8::7", "2001:db8::7"),
        (b"6", b"IPv6:2001:db8::7", "2001:db8::7"),
        (b"6", b"ipv6:::1", "::1"),
        (b"4", b"unknown", "unknown"),
        (b"L", b"/run/s", ""),
        (b"U", b"", ""),
    ],
)
def test_the_client_has_an_ip_when_it_has_one(family: bytes, address: bytes, ip: str) -> None:
    assert client_ip(ev.Connect(b"x", family, 0, address)) == ip


def test_folds_survive_both_ways() -> None:
    assert folds_to_crlf(b" a\n\tb\n c") == b" a\r\n\tb\r\n c"
    assert folds_to_crlf(b" a\r\n\tb") == b" a\r\n\tb"
    assert folds_to_lf(b" a\r\n\tb") == b" a\n\tb"


@given(
    st.integers(400, 599),
    st.sampled_from(["4.7.1", "5.7.1"]),
    st.one_of(st.text(max_size=600), st.lists(st.text(max_size=600), max_size=32)),
)
def test_any_text_makes_a_reply_that_may_be_sent(code: int, enhanced: str, lines: str | list[str]) -> None:
    text = format_reply(code, f"{code // 100}{enhanced[1:]}", lines)
    mta, gateway = pair()
    tell(mta, gateway, CONNECT, MAIL)
    ask(mta, gateway, RECIPIENT)
    answer(mta, gateway, ev.ReplyCode(text))
    assert all(len(row) <= 500 for row in text.split(b"\r\n"))


def test_several_lines_are_marked_as_one_reply() -> None:
    assert format_reply(550, "5.7.1", ["a", "b\r\nc"]) == b"550-5.7.1 a\r\n550 5.7.1 b??c"
    assert format_reply(550, "5.7.1", "no") == b"550 5.7.1 no"
    assert format_reply(451, "4.7.1", []) == b"451 4.7.1 "
