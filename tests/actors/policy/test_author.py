import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domains import ascii_domain
from actors.model import Envelope, Message
from actors.policy.author import FIELD_BYTES_MAX, Author, Authors, domain_of, read_author, read_authors


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        (b"bo@example.org", ("example.org",)),
        (b"Bo <bo@Example.ORG>", ("example.org",)),
        (b'"Smith, Bo (sales)" <bo@example.org>', ("example.org",)),
        (b'"bo@evil.example" <bo@example.org>', ("example.org",)),
        (b"bo@example.org <bo@example.org>", ("example.org",)),
        (b"'bo@example.org' <bo@example.org>", ("example.org",)),
        (b"[bo@Example.org]. <bo@example.org>", ("example.org",)),
        (b"Bo @ Home <bo@example.org>", ("example.org",)),
        (b"Bo/Sales@Company <bo@example.org>", ("example.org",)),
        (b"a@b.example b@c.example", ("b.example", "c.example")),
        (b"a@good.example\\@evil.example", ("good.example", "evil.example")),
        (b"<a@good.example\\@evil.example>", ("good.example", "evil.example")),
        (b"a@home@example.org", ("", "example.org")),
        (b"a@home <>", ()),
        (b"a @ example.org", ("example.org",)),
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
        ("Bo <bo@faß.example>".encode(), ("xn--fa-hia.example",)),
        ("Bo <bo@ex\uff41mple\u3002org>".encode(), ("example.org",)),
        ("bücher@bücher.example <bo@xn--bcher-kva.example>".encode(), ("xn--bcher-kva.example",)),
        (b"Bo <bo@[192.0.2.1]>", ("",)),
        (b"Bo <bo>", ("",)),
        (b"Bo", ()),
        (b"undisclosed:;", ()),
        (b"bo@home:;", ()),
        (b"", ()),
        (b'"never closed <bo@example.org>', ()),
        (b'b@evil.example "<a@bank.example>', ()),
        (b'b@evil.example "\\"<a@bank.example>', ()),
        (b"b@evil.example (<a@bank.example>", ()),
        (b"bo@example.org" + b" " * FIELD_BYTES_MAX, ()),
        (b"<bo@example. org>", ("example.org",)),
        (b"<bo @ mail .\texample . org>", ("mail.example.org",)),
        (b"bo@example .org", ("example.org",)),
        (b"bo@example.(x) org", ("example.org",)),
        ("<bo@example \u3002 org>".encode(), ("example.org",)),
        (b'bo@"example.org"', ("",)),
    ],
)
def test_the_domains_of_a_from_field_are_read_as_a_mail_program_would(value: bytes, domains: tuple[str, ...]) -> None:
    assert read_author(value).domains == domains


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        (b'"never closed <bo@example.org>', ()),
        (b'b@evil.example "\\"<bo@example.org>', ()),
        (b"b@evil.example (<bo@example.org>", ()),
        (b"bo" + b" " * FIELD_BYTES_MAX + b"<bo@example.org>", ()),
        (b"bo@example.org bo", ("",)),
        (b"(" + b"@a @b @c.example " * 100 + b"<bo@example.org>", ()),
        (b'<bo@"example.org">', ("",)),
        (b'bo@example"."org', ("",)),
        (b'bo"@"example.org', ()),
        (b"(bo@example\\.org", ()),
        (b"(bo@example . org", ()),
        (b"(<bo@example.(x)org>", ()),
        (b"=?utf-8?q?bo=40example.org?= (", ()),
        (b"=?utf-8?q?bo=40exam?= =?iso-8859-1*de?q?ple.org?= (", ()),
    ],
)
def test_of_a_field_that_cannot_be_read_is_told_what_looks_like_an_address(
    value: bytes, domains: tuple[str, ...]
) -> None:
    author = read_author(value)
    assert author.domains == domains
    assert author.shown[-1:] == ("example.org",)


@pytest.mark.parametrize(
    ("headers", "authors"),
    [
        (b"Subject: x\r\n", Authors("from_missing")),
        (b"From: a@a.example, b@A.example\r\n", Authors("", "a.example")),
        (b"From: b@b.example <a@a.example>\r\n", Authors("from_multiple", "a.example", ("b.example",))),
        (b"From: a@a.example, c@b.example <b@b.example>\r\n", Authors("from_multiple", "", ("a.example", "b.example"))),
        (
            b"From: a@a.example\r\nFrom: (\r\nfrom: c@c.example <b@b.example>\r\n",
            Authors("from_multiple", "", ("a.example", "b.example", "c.example")),
        ),
        (
            b"From: a@a.example\r\n" * 9000 + b"From: b@b.example\r\n",
            Authors("from_multiple", "", ("a.example", "b.example")),
        ),
        (b"From: a@a.example (\r\n", Authors("from_malformed", "", ("a.example",))),
        (b"From: nobody\r\n", Authors("from_malformed")),
        (b"From: a@ , b\r\n", Authors("from_malformed")),
        (
            b"From: a@a.example\r\nFrom: b@b.example\r\nFrom: c@c.example\r\nFrom: d@d.example\r\n",
            Authors("from_multiple", "", ("a.example", "b.example", "d.example"), truncated=True),
        ),
        (
            b"From: " + b" ".join(b"a@%d.b" % number for number in range(21)) + b" <a@a.example>\r\n",
            Authors("from_multiple", "", ("a.example", *(f"{number}.b" for number in range(20))), truncated=True),
        ),
        (
            b"From: =?utf-16be?b?AGEAQABiAC4AYw==?=, a@a.example\r\n",
            Authors("from_multiple", "", ("a.example",), truncated=True),
        ),
    ],
)
def test_all_from_fields_together_have_one_author_domain_or_a_flaw(headers: bytes, authors: Authors) -> None:
    assert read_authors(Message(Envelope(), headers)) == authors


@pytest.mark.parametrize(
    ("value", "domain", "shown"),
    [
        (b"a@bank.example <b@evil.example>", "evil.example", "bank.example"),
        (b"a @ bank.example <b@evil.example>", "evil.example", "bank.example"),
        (b"a\\@bank.example <b@evil.example>", "evil.example", "bank.example"),
        (b"'a@bank.example' <b@evil.example>", "evil.example", "bank.example"),
        (b"x <a@b.example> y@z.example", "b.example", "z.example"),
        (b"a@bank.example: b@evil.example;", "evil.example", "bank.example"),
        (b"=?utf-8?b?PGFAYmFuay5leGFtcGxlPg==?=, <b@evil.example>", "evil.example", "bank.example"),
        (b"b@evil.example, =?utf-8?Q?a=40bank.example?=", "evil.example", "bank.example"),
        ("a@bank\u3002example <b@evil.example>".encode(), "evil.example", "bank.example"),
        (b"a@bank. example <b@evil.example>", "evil.example", "bank.example"),
        (b"=?utf-8?q?a=40ba?= =?utf-8?q?nk.example?=, b@evil.example", "evil.example", "bank.example"),
        (b"a@bank.example .evil.example", "bank.example.evil.example", "bank.example"),
        ("a@bücher.example <b@evil.example>".encode(), "evil.example", "xn--bcher-kva.example"),
    ],
)
def test_another_address_in_a_name_without_quotes_is_told(value: bytes, domain: str, shown: str) -> None:
    assert read_author(value) == Author((domain,), (shown,))


@pytest.mark.parametrize("word", [b"=?utf-8?b?!?=", b"=?utf-8?q?Doe?=", b"=?utf-8*en?b?RG9l?="])
def test_an_encoded_word_without_an_address_shows_none(word: bytes) -> None:
    assert read_author(word + b", a@b.example") == Author(("b.example",))


@pytest.mark.parametrize("word", [b"=?utf-8?b?A?=", b"=?x?q?Doe?=", b"=?utf-16?q?Doe?=", b"=?iso-8859-99?q?Doe?="])
def test_an_encoded_word_that_cannot_be_read_in_place_of_an_address_is_told(word: bytes) -> None:
    assert read_author(word + b", a@b.example") == Author(("b.example",), truncated=True)
    assert not read_author(word + b" <a@b.example>").truncated


def test_more_is_told_than_is_read() -> None:
    full = b",".join(b"a@%d.example" % n for n in range(400))
    author = read_author(full)
    assert (len(author.domains), author.truncated) == (20, True)
    assert not read_author(full[: full.index(b",a@20.")]).truncated
    for unreadable in (b'"' + full, b"(" + b"@a " * 1001, b"=?utf-8?q?x?= " * 51 + b"(", b"(" + b" " * 128 * 1024):
        assert read_author(unreadable).truncated


def test_of_domains_that_are_not_ascii_ten_are_read_in_all_fields_together() -> None:
    def field(first: int) -> bytes:
        return b"From: " + b",".join(b"a@\xc3\xbc%d.example" % n for n in range(first, first + 7)) + b"\r\n"

    assert not read_authors(Message(Envelope(), field(0))).truncated
    both = read_authors(Message(Envelope(), field(0) + field(7)))
    assert (len(both.others), both.truncated) == (10, True)
    assert read_authors(Message(Envelope(), field(0)), 6).truncated


@given(st.binary(max_size=300))
def test_any_bytes_give_clean_domains_or_none(value: bytes) -> None:
    author = read_author(value)
    for domain in (*author.domains, *author.shown):
        assert domain == "" or (domain.isascii() and domain.isprintable() and " " not in domain)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        (" Example.org. ", "example.org"),
        ("ex\u00e4mple.org\u3002", "xn--exmple-cua.org"),
        ("example.org\uff0e\uff61.", "example.org"),
        ("example.org.\u00ad", "example.org"),
        ("\u3002example.org", ""),
        ("example\u3002\u3002org", ""),
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
