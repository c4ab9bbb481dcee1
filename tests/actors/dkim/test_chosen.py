import pytest

from actors.config import DkimConfig
from actors.dkim.canonical import Field
from actors.dkim.chosen import chosen_signatures, signing_domain


def signatures(*domains: str) -> list[Field]:
    return [(b"DKIM-Signature", f" v=1; s=x; d={domain}; b=".encode()) for domain in domains]


def chosen(*domains: str, first: tuple[str, ...] = ()) -> list[int]:
    return list(chosen_signatures(signatures(*domains), DkimConfig(signatures_max=2, signers_first=first)))


def test_the_topmost_are_chosen() -> None:
    assert chosen("a.example") == [0]
    assert chosen("a.example", "b.example", "c.example") == [0, 1]


def test_signers_that_come_first_are_chosen_wherever_they_stand_and_kept_in_order() -> None:
    first = ("C.example", "d.example")
    assert chosen("a.example", "b.example", "c.example", first=first) == [0, 2]
    assert chosen("a.example", "d.example", "b.example", "c.example", first=first) == [1, 3]


def test_those_that_come_first_do_not_lift_the_cap() -> None:
    assert chosen(*["c.example"] * 1000, first=("c.example",)) == [0, 1]


def test_only_the_first_hundred_are_looked_at() -> None:
    flood = ["a.example"] * 99
    assert chosen(*flood, "c.example", first=("c.example",)) == [0, 99]
    assert chosen(*flood, "a.example", "c.example", first=("c.example",)) == [0, 1]


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (b" v=1; d=A.example; s=x; b=d", "a.example"),
        (b" v=1; s=d; d = b.example ; h=d", "b.example"),
        (b" v=1; s=d;\r\n\td=b.example\r\n\t; h=d", "b.example"),
        (b" v=1; bd=no.example; b=;d=c.example", "c.example"),
        ("d=bücher.example".encode(), "xn--bcher-kva.example"),
        (b" v=1; s=x", ""),
        (b"", ""),
    ],
)
def test_the_signing_domain_is_read_whatever_else_is_wrong(value: bytes, domain: str) -> None:
    assert signing_domain(value) == domain
