"""z= is read as the RFC has it, and whatever else it holds does no harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dkim.copied import COPIES_MAX, copied_fields


def test_the_example_of_the_rfc_is_read() -> None:
    value = (
        b"From:foo@eng.example.net|To:joe@example.com|\r\n"
        b"  Subject:demo=20run|Date:July=205,=202005=203:44:08=20PM=20-0700"
    )
    assert copied_fields(value) == {
        b"from": [(b"From", b"foo@eng.example.net")],
        b"to": [(b"To", b"joe@example.com")],
        b"subject": [(b"Subject", b"demo run")],
        b"date": [(b"Date", b"July 5, 2005 3:44:08 PM -0700")],
    }


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (b"", {}),
        (b"|:|x", {}),
        (b"A:=|a:=7C=3D=zz=0d", {b"a": [(b"A", b"="), (b"a", b"|==zz=0d")]}),
        (b"A:=0D=0A=20b:c", {b"a": [(b"A", b"\r\n b:c")]}),
    ],
)
def test_what_is_not_written_so_is_left_as_it_is(value: bytes, fields: object) -> None:
    assert copied_fields(value) == fields


@given(st.binary(max_size=200))
def test_any_bytes_give_a_result(value: bytes) -> None:
    copied_fields(value)


def test_copies_are_capped() -> None:
    (copies,) = copied_fields(b"a:b|" * 10_000).values()
    assert len(copies) == COPIES_MAX
