import pytest

from actors.config import DkimConfig
from actors.dkim.chosen import chosen_signatures, signing_domain
from actors.model import Envelope, Message


def chosen(*domains: str, first: tuple[str, ...] = (), author: str = "a@author.test") -> list[int]:
    headers = "".join(f"DKIM-Signature: v=1; s=x; d={domain}; b=\r\n" for domain in domains) + f"From: {author}\r\n"
    message = Message(Envelope(), headers.encode())
    return list(chosen_signatures(message, DkimConfig(signatures_max=2, signers_first=first)))


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
    ("author", "places"),
    [
        ("a@x.org.example", [0, 5]),
        ("a@org.example", [1, 5]),
        ("a@b.org.example", [3, 5]),
        ("a@deep.x.org.example", [0, 5]),
        ("a@y.other.test", [2, 4]),
        ("a@z.example", [0, 1]),
        ("a@org.example, b@other.test", [0, 1]),
        ("nobody", [0, 1]),
    ],
)
def test_after_them_those_are_chosen_that_may_align_with_the_author(author: str, places: list[int]) -> None:
    signers = ["x.org.example", "org.example", "x.other.test", "b.org.example", "other.test", "first.test"]
    one_first = ("first.test",) if 5 in places else ()
    assert chosen(*signers, first=one_first, author=author) == places


def test_signatures_without_a_domain_are_not_an_unknown_authors() -> None:
    assert chosen("a.example", "", "b.example", "", author="nobody") == [0, 1]
    assert chosen("", "", "x.other.test", "other.test", author="a@other.test") == [2, 3]


def test_domains_are_compared_as_a_labels() -> None:
    signers = ("a.example", "b.example", "b\u00fccher.example", "xn--bcher-kva.example")
    assert chosen(*signers, first=("B\u00fccher.example",)) == [2, 3]
    assert chosen(*signers, author="a@b\u00fccher\u3002example") == [2, 3]


def test_of_domains_that_are_not_ascii_only_some_are_read() -> None:
    flood = [f"\u00fc{number}.example" for number in range(10)]
    assert chosen(*flood[:9], "b\u00fccher.example", first=("b\u00fccher.example",)) == [0, 9]
    assert chosen(*flood, "b\u00fccher.example", "c.example", first=("b\u00fccher.example", "c.example")) == [0, 11]


def test_of_an_author_field_no_more_is_read_than_one_author_writes() -> None:
    signers = ("a.example", "b.example", "b\u00fccher.example")
    author = "n@b\u00fccher.example <a@b\u00fccher.example>"
    assert chosen(*signers, author=author) == [0, 2]
    assert chosen(*signers, author=f"x@\u00fc1.example x@\u00fc2.example {author}") == [0, 1]


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
