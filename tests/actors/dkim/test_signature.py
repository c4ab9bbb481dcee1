"""Signature fields: typed, or a reason, before anything is looked up."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dkim.arc import ChainError, read_chain
from actors.dkim.canonical import Field
from actors.dkim.key import KeyRecordError, parse_key
from actors.dkim.signature import SignatureError, field_tags, parse_arc_seal, parse_signature, signed_fields

GOOD = {
    b"v": b"1",
    b"a": b"rsa-sha256",
    b"d": b"example.org",
    b"s": b"sel",
    b"h": b"From : Subject",
    b"bh": b"AA ==",
    b"b": b"AA\r\n AA",
}


def test_a_good_field_is_read_with_its_defaults() -> None:
    signature = parse_signature(
        field_tags(b" v=1; a=rsa-sha256; d=example.org; s=sel; h=From: Subject; bh=AAAA; b=A AAA;")
    )

    assert signature.key_name == "sel._domainkey.example.org"
    assert signature.signed_names == (b"from", b"subject")
    assert (signature.signature, signature.body_hash) == (b"AAAA", b"\0\0\0")
    assert signature.identity == "@example.org"
    assert (signature.relaxed_header, signature.relaxed_body) == (False, False)
    assert (signature.body_length, signature.signed_at_s, signature.expires_at_s) == (None, None, None)


def test_the_body_form_is_simple_when_only_one_is_named() -> None:
    signature = parse_signature(GOOD | {b"c": b"relaxed"})

    assert (signature.relaxed_header, signature.relaxed_body) == (True, False)


@pytest.mark.parametrize("missing", [b"v", b"a", b"d", b"s", b"h", b"bh", b"b"])
def test_every_required_tag_is_required(missing: bytes) -> None:
    with pytest.raises(SignatureError, match=f"{missing.decode()}= is missing"):
        parse_signature({tag: value for tag, value in GOOD.items() if tag != missing})


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        (b"v", b"2", "version"),
        (b"a", b"rsa-sha1", "rsa-sha1 is not secure"),
        (b"a", b"rsa-md5", "unknown algorithm"),
        (b"b", b"A", "base64"),
        (b"b", b"%%%%", "base64"),
        (b"bh", b"A", "base64"),
        (b"c", b"nofws", "canonicalization"),
        (b"c", b"relaxed/none", "canonicalization"),
        (b"d", b"exa mple.org", "domain name"),
        (b"d", b"b\xfccher.example", "domain name"),
        (b"d", b"org", "domain name"),
        (b"d", b"x." * 200 + b"org", "domain name"),
        (b"s", b"sel\x00", "domain name"),
        (b"s", b"..", "domain name"),
        (b"h", b"Subject", "From is not signed"),
        (b"h", b"From" + b":x" * 200, "too many"),
        (b"i", b"alice@example.com", "not within"),
        (b"i", b"alice@badexample.org", "not within"),
        (b"i", b"example.org", "i= is no address"),
        (b"l", b"-1", "not a number"),
        (b"l", b"9" * 77, "not a number"),
        (b"q", b"dns/a", "query method"),
        (b"t", b"now", "not a number"),
        (b"x", b"\xd9\xa3", "not a number"),
    ],
)
def test_a_bad_tag_says_why(tag: bytes, value: bytes, reason: str) -> None:
    with pytest.raises(SignatureError, match=reason):
        parse_signature(GOOD | {tag: value})


def test_a_signature_cannot_expire_before_it_is_made() -> None:
    with pytest.raises(SignatureError, match="expires before"):
        parse_signature(GOOD | {b"t": b"200", b"x": b"200"})


@pytest.mark.parametrize("value", [b"v=1; v=1", b"v", b"=1", b"v=1;; a=x", b"1=v"])
def test_what_is_no_tag_list_is_refused(value: bytes) -> None:
    with pytest.raises(SignatureError, match="tag list"):
        field_tags(value)


def test_a_field_longer_than_the_cap_is_refused_unread() -> None:
    with pytest.raises(SignatureError, match="too long"):
        field_tags(b"b=" + b" " * 8190 + b"!")


def test_a_seal_that_signs_fields_of_its_own_choice_is_refused() -> None:
    with pytest.raises(SignatureError, match="h= or bh="):
        parse_arc_seal(GOOD)


OWN = (b"DKIM-Signature", b"")
ARC = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")


def fields_by_name(*fields: Field) -> dict[bytes, list[Field]]:
    found: dict[bytes, list[Field]] = {}
    for field in fields:
        found.setdefault(field[0].lower(), []).append(field)
    return found


def test_fields_are_taken_from_the_bottom_up_and_a_further_from_is_added() -> None:
    fields = [(b"From", b"1"), (b"X", b"1"), (b"From", b"2"), (b"x", b"2"), (b"", b"no colon"), (b"X", b"3")]
    by_name = fields_by_name(*fields)

    assert signed_fields(by_name, (b"x", b"from", b"absent", b"x"), OWN) == [
        (b"X", b"3"),
        (b"From", b"2"),
        (b"x", b"2"),
        (b"From", b"1"),
    ]
    assert signed_fields(by_name, (b"absent",), OWN) == []


def test_a_signature_signs_other_fields_of_its_name_and_never_itself() -> None:
    own, other = (b"DKIM-Signature", b"same"), (b"DKIM-Signature", bytes(bytearray(b"same")))
    by_name = fields_by_name(other, own)

    (chosen,) = signed_fields(by_name, (b"dkim-signature", b"dkim-signature"), own)
    assert chosen is other


TAGS = st.lists(
    st.tuples(st.sampled_from([*GOOD, b"c", b"i", b"l", b"q", b"t", b"x", b"k", b"p", b"cv"]), st.binary(max_size=20)),
    max_size=12,
).map(lambda pairs: b";".join(tag + b"=" + value for tag, value in pairs))


@given(st.binary(max_size=200) | TAGS, st.dictionaries(st.sampled_from(list(GOOD)), st.binary(max_size=20)))
def test_any_bytes_are_a_signature_a_key_a_chain_or_a_reason(text: bytes, changed: dict[bytes, bytes]) -> None:
    with contextlib.suppress(SignatureError):
        parse_signature(field_tags(text))
    with contextlib.suppress(SignatureError):
        parse_signature(GOOD | changed)
    with contextlib.suppress(KeyRecordError):
        parse_key(text)
    with contextlib.suppress(ChainError):
        read_chain({name: [(name, value)] for name, value in zip(ARC, (b"i=1; x", text, text), strict=True)})
