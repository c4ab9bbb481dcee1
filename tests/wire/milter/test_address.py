"""Addresses of milter sockets."""

import pytest

from wire.milter import AddressError, TcpAddress, UnixAddress, parse_listen


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("inet:11332@127.0.0.1", TcpAddress("127.0.0.1", 11332)),
        ("inet:0@localhost", TcpAddress("localhost", 0)),
        ("inet6:11332@::1", TcpAddress("::1", 11332)),
        ("inet6:11332@[::1]", TcpAddress("::1", 11332)),
        ("inet:127.0.0.1:11332", TcpAddress("127.0.0.1", 11332)),
        ("inet:[::1]:65535", TcpAddress("::1", 65535)),
        ("unix:/run/tamis/milter.sock", UnixAddress("/run/tamis/milter.sock")),
        ("local:milter.sock", UnixAddress("milter.sock")),
    ],
)
def test_known_forms_are_read(text: str, address: object) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:11332",
        "inet:",
        "inet:11332",
        "inet:11332@",
        "inet:@127.0.0.1",
        "inet:65536@127.0.0.1",
        "inet:-1@127.0.0.1",
        "inet:٣@127.0.0.1",
        "inet:99999999999999999999@127.0.0.1",
        "inet:1@a b",
        "inet:1@a@b",
        "unix:",
        "unix:/" + "x" * 107,
        "unix:/a\0b",
        "tcp:1@127.0.0.1",
        "inet6",
    ],
)
def test_anything_else_is_one_line_for_the_operator(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_listen(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["inet:11332@127.0.0.1", "inet6:11332@::1", "unix:/run/tamis/milter.sock"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_listen(text)) == text
