import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.policy.author import FIELD_BYTES_MAX, ascii_domain, author_domains, domain_of, signing_domains


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        (b"bo@example.org", ("example.org",)),
        (b"Bo <bo@Example.ORG>", ("example.org",)),
        (b'"Smith, Bo (sales)" <bo@example.org>', ("example.org",)),
        (b'"bo@evil.example" <bo@example.org>', ("example.org",)),
        (b"bo@evil.example <bo@example.org>", ("example.org",)),
        (b"(bo@evil.example) bo@example.org (Bo (the) \\) first)", ("example.org",)),
        (b'"bo@home"@example.org', ("example.org",)),
        (b"<@relay.example,@b.example:bo@example.org>", ("example.org",)),
        (b"Team: bo@example.org, <ann@example.org>;", ("example.org",)),
        (b"bo@example.org, ann@example.net", ("example.org", "example.net")),
        (b"<bo@example.org> <ann@example.net>", ("example.org", "example.net")),
        (b"bo@example.org,", ("example.org",)),
        (b"Bo <bo@example.org", ("example.org",)),
        (b"Bo <bo@example.org.>", ("example.org",)),
        ("Bo <bo@bücher.example>".encode(), ("xn--bcher-kva.example",)),
        (b"Bo <bo@[192.0.2.1]>", ("",)),
        (b"Bo <bo>", ("",)),
        (b"Bo", ()),
        (b"undisclosed:;", ()),
        (b"bo@example.org:;", ()),
        (b"", ()),
        (b'"never closed <bo@example.org>', ()),
        (b"bo@example.org" + b" " * FIELD_BYTES_MAX, ()),
    ],
)
def test_the_domains_of_a_from_field_are_read_as_a_mail_program_would(value: bytes, domains: tuple[str, ...]) -> None:
    assert author_domains(value) == domains


@given(st.binary(max_size=300))
def test_any_bytes_give_clean_domains_or_none(value: bytes) -> None:
    for domain in author_domains(value):
        assert domain == "" or (domain.isascii() and domain.isprintable() and " " not in domain)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        (" Example.org. ", "example.org"),
        ("localhost", ""),
        ("a..b", ""),
        (".a.b", ""),
        ("a b.c", ""),
        ("a\x00.b", ""),
        ("a" * 250 + ".org", ""),
        ("\udcff.org", ""),
        ("", ""),
    ],
)
def test_a_domain_is_cleaned_or_refused(text: str, domain: str) -> None:
    assert ascii_domain(text) == domain


def test_an_envelope_address_has_a_domain() -> None:
    assert domain_of(b'"a@b"@Example.org') == "example.org"
    assert domain_of(b"postmaster") == ""
    assert domain_of(b"") == ""


def test_signing_domains_are_read_from_the_first_signatures_only() -> None:
    signatures = [
        b" v=1; d=A.example; s=x; b=d",
        b" v=1; s=d; d = b.example ; h=d",
        b" v=1; bd=no.example; b=;d=c.example",
        b" v=1; s=x",
        b" v=1; d=late.example",
    ]
    assert signing_domains(signatures, 4) == ("a.example", "b.example", "c.example")
