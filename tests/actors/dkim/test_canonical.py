"""Canonicalisation: the examples of RFC 6376, dkimpy's own as oracle, and linear time."""

import random

import pytest
from dkim.canonicalization import Relaxed, Simple

from actors.dkim import canonical
from actors.dkim.canonical import BodyHashes, RelaxedFields, relaxed_body, relaxed_field, simple_body


def test_the_example_of_the_rfc_comes_out_as_printed() -> None:
    # RFC 6376 section 3.4.5
    assert relaxed_field((b"A", b" X")) == (b"a", b"X")
    assert relaxed_field((b"B ", b" Y\t\r\n\tZ  ")) == (b"b", b"Y Z")
    body = b" C \r\nD \t E\r\n\r\n\r\n"
    assert relaxed_body(body) == b" C\r\nD E\r\n"
    assert simple_body(body) == b" C \r\nD \t E\r\n"


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n", b""),
        (b"no line end", b"no line end\r\n", b"no line end\r\n"),
        (b"blank at the end  ", b"blank at the end  \r\n", b"blank at the end\r\n"),
        (b" \t\r\n \r\n", b" \t\r\n \r\n", b""),
        (b"lone\n\r\n", b"lone\n\r\n", b"lone\n\r\n"),
        (b"lone\r", b"lone\r\r\n", b"lone\r\r\n"),
        (b"lone\r\r\n\n", b"lone\r\r\n\n\r\n", b"lone\r\r\n\n\r\n"),
    ],
)
def test_bodies_end_as_the_rfc_says(body: bytes, simple: bytes, relaxed: bytes) -> None:
    assert simple_body(body) == simple
    assert relaxed_body(body) == relaxed


def test_random_bodies_and_fields_come_out_as_from_dkimpy() -> None:
    rng = random.Random(6376)
    pieces = [b" ", b"\t", b"  ", b"\r\n", b"\r\n\r\n", b"a", b"b c", b"\n", b"\r", b"\x00", b"\xff"]
    for _ in range(5000):
        text = b"".join(rng.choices(pieces, k=rng.randrange(12)))
        assert relaxed_body(text + b"\r\n") == Relaxed.canonicalize_body(text + b"\r\n")
        assert simple_body(text) == Simple.canonicalize_body(text) or not text.strip(b"\r\n")
        value = b"v" + text.replace(b"\r", b"").replace(b"\n", b"\r\n ") + b"v"
        ((name, expected),) = Relaxed.canonicalize_headers([(b"Name ", value + b"\r\n")])
        assert relaxed_field((b"Name ", value)) == (name, expected.removesuffix(b"\r\n"))


@pytest.mark.timeout(20)
def test_a_megabyte_of_white_space_takes_no_longer_than_any_other() -> None:
    # dkimpy's expression needs more than half an hour for the first of these.
    for body in (b"x" + b" " * 2**20 + b"y\r\n", b"\t " * 2**19 + b"y", b"x\r\n" + b"\r\n" * 2**20, b"\r" * 2**20):
        relaxed_body(body)
        simple_body(body)


def test_a_body_is_canonicalised_once_per_form_however_many_signatures_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    forms = []
    monkeypatch.setattr(canonical, "relaxed_body", lambda body: forms.append("relaxed") or body)
    monkeypatch.setattr(canonical, "simple_body", lambda body: forms.append("simple") or body)
    hashes = BodyHashes(b"body\r\n")
    for _ in range(5):
        hashes.sha256(relaxed=True)
        hashes.sha256(relaxed=False)
        hashes.sha256(relaxed=True, length=2)

    assert sorted(forms) == ["relaxed", "simple"]


def test_a_length_beyond_the_body_is_the_body() -> None:
    hashes = BodyHashes(b"body\r\n")

    assert hashes.sha256(relaxed=True, length=10**70) == hashes.sha256(relaxed=True)
    assert hashes.sha256(relaxed=True, length=2) != hashes.sha256(relaxed=True)


def test_a_long_field_is_made_relaxed_once_however_many_signatures_ask() -> None:
    relaxed, long, short = RelaxedFields(), (b"To", b"x  " * 5000), (b"To", b" x  y ")
    assert relaxed.of(short) == relaxed_field(short) == (b"to", b"x y")
    assert relaxed.of(long) == relaxed_field(long)
    assert relaxed.of(long) is relaxed.of(long)


@pytest.mark.parametrize("spaces", [1, 2, 7, 15, 16, 17, 64, 65, 1000])
def test_runs_of_every_length_become_one_space(spaces: int) -> None:
    run = b"\t" + b" " * (spaces - 1)
    assert relaxed_body(b"a" + run + b"b\r\nc" + run + b"\r\n" + run + b"\r\n") == b"a b\r\nc\r\n"
