import authres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.config import HeadersConfig
from actors.decide import authres as authres_of_ours
from actors.decide.authres import authentication_results_edits, claims_to_be, field_body, read_authserv_id
from actors.model import (
    DeleteHeader,
    Direction,
    Envelope,
    ErrorKind,
    Finding,
    InsertHeader,
    Message,
    Outcome,
    error_finding,
)

OURS = "mx.example.org"
SPF = Finding("policy", "spf", Outcome.PASS, facts={"smtp.mailfrom": "example.net", "domain": "example.net"})
DKIM_PASS = Finding(
    "dkim",
    "dkim",
    Outcome.PASS,
    facts={"header.d": "example.net", "header.i": "@example.net", "header.s": "s1", "header.b": "Ab/+9=zz"},
)
DKIM_FAIL = Finding("dkim", "dkim", Outcome.FAIL, detail='the "body" hash', facts={"header.d": "list.example"})
DMARC = Finding("policy", "dmarc", Outcome.PASS, facts={"header.from": "example.net", "policy.dmarc": "reject"})


def message(*fields: bytes, mta_name: str = OURS) -> Message:
    block = b"".join(b"Authentication-Results:" + field + b"\r\n" for field in fields)
    return Message(Envelope(mta_name=mta_name), block + b"From: bo@example.net\r\n")


def removed(*fields: bytes, write: bool = True) -> list[int]:
    headers = HeadersConfig(authentication_results=write)
    edits, _ = authentication_results_edits((), None, message(*fields), headers)
    return [edit.occurrence for edit in edits if isinstance(edit, DeleteHeader)]


# --- writing ---------------------------------------------------------------------------------------------------------


def test_every_method_is_written_as_rfc_8601_wants_it() -> None:
    arc = Finding("dkim", "arc", Outcome.NONE)
    assert field_body(OURS, [SPF, DKIM_PASS, DKIM_FAIL, arc], DMARC) == (
        b"mx.example.org;\r\n"
        b"\tspf=pass smtp.mailfrom=example.net;\r\n"
        b'\tdkim=pass header.d=example.net header.i=@example.net header.s=s1 header.b="Ab/+9=zz";\r\n'
        b'\tdkim=fail reason="the \\"body\\" hash" header.d=list.example;\r\n'
        b"\tdmarc=pass header.from=example.net policy.dmarc=reject;\r\n"
        b"\tarc=none"
    )


def test_authres_reads_what_we_write() -> None:
    body = field_body(OURS, [SPF, DKIM_PASS, DKIM_FAIL], DMARC).decode()
    parsed = authres.AuthenticationResultsHeader.parse(f"Authentication-Results: {body}")
    assert parsed.authserv_id == OURS
    assert [(r.method, r.result) for r in parsed.results] == [
        ("spf", "pass"),
        ("dkim", "pass"),
        ("dkim", "fail"),
        ("dmarc", "pass"),
    ]
    assert parsed.results[0].properties[0].value == "example.net"
    assert {p.name: p.value for p in parsed.results[1].properties} == {
        "d": "example.net",
        "i": "@example.net",
        "s": "s1",
        "b": "Ab/+9=zz",
    }


@given(domain=st.text(min_size=1, max_size=300), detail=st.text(max_size=200))
def test_no_domain_and_no_reason_can_forge_a_result(domain: str, detail: str) -> None:
    finding = Finding("dkim", "dkim", Outcome.FAIL, detail=detail, facts={"header.d": domain})
    parsed = authres.AuthenticationResultsHeader.parse(
        f"Authentication-Results: {field_body(OURS, [finding], None).decode()}"
    )
    assert [(r.method, r.result) for r in parsed.results] == [("dkim", "fail")]
    assert [p.name for p in parsed.results[0].properties] == ["d"]


def test_a_domain_that_looks_like_a_comment_is_quoted() -> None:
    # CVE-2020-12272: "example.net(.example.com" was read as example.net.
    finding = Finding("dkim", "dkim", Outcome.PASS, facts={"header.d": "example.net(.example.com"})
    assert b'header.d="example.net(.example.com"' in field_body(OURS, [finding], None)


def test_a_failure_of_ours_is_a_temperror_and_what_was_skipped_is_not_told() -> None:
    skipped = Finding("dkim", "dkim", Outcome.SKIPPED)
    body = field_body(OURS, [error_finding("policy", "spf", ErrorKind.TIMEOUT), skipped], None)
    assert body == b"mx.example.org;\r\n\tspf=temperror"


def test_nothing_checked_is_none() -> None:
    assert field_body(OURS, [], None) == b"mx.example.org; none"


def test_a_thousand_signatures_write_twenty() -> None:
    assert field_body(OURS, [DKIM_PASS] * 1000, None).count(b"dkim=") == 20


def test_long_values_are_folded_below_the_limit() -> None:
    long = "a" * 63 + "." + "b" * 63 + "." + "c" * 63 + ".example"
    facts = {"header.d": long, "header.i": f"@{long}", "header.s": long, "header.b": "12345678"}
    lines = field_body(OURS, [Finding("dkim", "dkim", Outcome.PASS, facts=facts)], None).split(b"\r\n")
    assert max(map(len, lines)) < 300


@pytest.mark.parametrize(
    ("configured", "mta_name", "written"),
    [("auth.example.com", OURS, b"auth.example.com"), ("", OURS, b"mx.example.org"), ("", "", b"localhost")],
)
def test_the_id_is_the_configured_one_or_the_name_of_the_mta(configured: str, mta_name: str, written: bytes) -> None:
    _, edits = authentication_results_edits((), None, message(mta_name=mta_name), HeadersConfig(authserv_id=configured))
    assert edits == (InsertHeader(0, b"Authentication-Results", written + b"; none"),)


@pytest.mark.parametrize(
    ("queue_id", "written"), [("4fB1", b'"mx.example.org/4fB1"; none'), ("", b"mx.example.org; none")]
)
def test_the_queue_id_can_be_told_with_the_id(queue_id: str, written: bytes) -> None:
    headers = HeadersConfig(authserv_id_with_queue_id=True)
    mail = Message(Envelope(mta_name=OURS, queue_id=queue_id))
    _, edits = authentication_results_edits((), None, mail, headers)
    assert edits == (InsertHeader(0, b"Authentication-Results", written),)
    assert removed(b" " + written.replace(b"none", b"spf=pass")) == [1]


def test_outbound_mail_gets_no_results_but_loses_forged_ones() -> None:
    envelope = Envelope(mta_name=OURS, direction=Direction.OUTBOUND)
    outbound = Message(envelope, b"Authentication-Results: mx.example.org; spf=pass\r\n")
    deletions, insertions = authentication_results_edits([SPF], None, outbound, HeadersConfig())
    assert deletions == (DeleteHeader(b"Authentication-Results", 1),)
    assert insertions == ()


# --- removal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b" mx.example.org; spf=pass",
        b"mx.example.org; spf=pass",
        b" MX.Example.ORG; spf=pass",
        b" mx.example.org 1; spf=pass",
        b" mx.example.org",
        b" mx.example.org.; spf=pass",
        b"\r\n\tmx.example.org;\r\n\tspf=pass",
        b" (comment) mx.example.org (c) 1 (c) ; spf=pass",
        b" (a (nested \\) ; one) b) mx.example.org; spf=pass",
        b' "mx.example.org"; spf=pass',
        b' "mx.ex\\ample.org"; spf=pass',
        b' (c)"mx.example.org"(c); spf=pass',
        b" (never closed mx.example.org; spf=pass",
        b" @mx.example.org; spf=pass",
        b" mx.example.org spf=pass",
        b" mx.example.org/1; spf=pass",
        b' "mx.example.org/4fB1"; spf=pass',
        b' "MX.example.org./4fB1"; spf=pass',
        b" ; mx.example.org; spf=pass",
        b" =?utf-8?q?mx.ex=61mple.org?=; spf=pass",
        b" " + b"(" * 5000 + b"mx.example.org; spf=pass",
        b" mx.example.org\xa0; spf=pass",
        b" mx.example.org\xc2\xa0; spf=pass",
        b" \xef\xbb\xbfmx.example.org; spf=pass",
        b" \xe2\x80\x8bmx.example.org; spf=pass",
        b' "mx.example.org "; spf=pass',
        b' "\tmx.example.org"; spf=pass',
        b' "=?utf-8?q?mx.example.org?="; spf=pass',
        b" mx . example . org; spf=pass",
        b" mx.\r\n example.org; spf=pass",
        b" mx.(c (d))example.org; spf=pass",
        b" mx.\x00example.org; spf=pass",
        b' mx."example".org; spf=pass',
        b" (;) mx(c).example.org; spf=pass",
        "mx\u3002example\u3002org; spf=pass".encode(),
        b" mx.(" + b"c" * 5_000 + b")example.org; spf=pass",
        b" mx.(" + b"c" * 4_090 + b')"example".org; spf=pass',
        b" mx" + b" " * 5_000 + b".example.org; spf=pass",
        b" mx" + b" " * 9_000 + b".example.org; spf=pass",
        b" mx.example.org " + b"1" * 5_000 + b" x; spf=pass",
        b' "mx.example.org' + b" " * 600 + b'"; spf=pass',
        b' "mx.example.org(a)"; spf=pass',
        b" (" + b"c" * 5_000 + b") mx.example.org; spf=pass",
        b" mx.example.org/4fB1 1; spf=pass",
        b" /mx.example.org; spf=pass",
        b" relay.example/mx.example.org; spf=pass",
        b" mx.example.org. spf=pass",
        b" .mx.example.org spf=pass",
        b" spf=pass mx.example.org, relay.example; dkim=pass",
        b' "" ; mx.example.org; spf=pass',
        b" i=1; mx.example.org; spf=pass",
        b" (x) ; i = 1 ; mx . example.org; spf=pass",
        b" mx.example.org:25; spf=pass",
    ],
)
def test_a_field_that_bears_our_id_in_any_disguise_is_removed(body: bytes) -> None:
    assert removed(body) == [1]


@pytest.mark.parametrize(
    "body",
    [
        b" other.example.org; spf=pass",
        b" other.example.org; dkim=pass header.d=mx.example.org",
        b" (mx.example.org) other.example.org; spf=pass",
        b" xmx.example.org; spf=pass",
        b" mx.example.org.evil.example; spf=pass",
        b' "mx.example.orgs/4fB1"; spf=pass',
        b" (unreadable other.example.org",
        b' "other.example.org "; spf=pass reason="caf\xc3\xa9"',
        b" other . example . org; spf=pass",
        b" other.example.org; spf=pass (=?utf-8?q?caf=C3=A9?=)",
        b" spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=example.net; dkim=none",
        b" spf=pass smtp.mailfrom=example.net; dkim=pass header.d=mx.example.org",
        b' spf=pass smtp.mailfrom=example.net; dkim=pass header.b="a=?b"',
        b" spf=pass smtp.helo=xmx.example.org; dkim=none",
        b" spf=pass smtp.helo=mx.example.org.relay.example; dkim=none",
        b" spf=pass smtp.helo=x-mx.example.org; dkim=none",
        b" spf=pass smtp.helo=a.mx.example.org; dkim=none",
        b" relay.example/4fB1; dkim=pass header.d=mx.example.org",
        b' relay.example/4fB1; dkim=pass header.b="a=?b"',
        b" relay.example/4fB1; spf=pass smtp.mailfrom=ann@mx.example.org",
        b" (caf\xc3\xa9) other.example.org; spf=pass",
        b" (" + b"c" * 5_000 + b") other.example.org (" + b"c" * 5_000 + b") 1; spf=pass",
        b" other.(" + b"c" * 400 + b")example.org; spf=pass",
        b" " + b"()" * 24 + b" other.example.org; spf=pass" + b" (x)" * 1_000,
        b"",
    ],
)
def test_a_foreign_field_is_kept(body: bytes) -> None:
    assert removed(body) == []


@pytest.mark.parametrize(
    "body",
    [
        b" " + b"()" * 26 + b" other.example.org; spf=pass",
        b" other" + b"(" * 25 + b")" * 26 + b".example.org; spf=pass",
        b" other" + b"(\\a)" * 17 + b".example.org; spf=pass",
        b" other .example.org; spf=pass (" + b"c" * 4_100 + b")",
        b" other .example.org " + b"c" * 600 + b"; spf=pass",
    ],
)
def test_a_field_that_is_too_much_work_to_read_is_removed(body: bytes) -> None:
    assert removed(body) == [1]


def test_a_field_is_read_once_however_many_ids_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(authres_of_ours, "read_authserv_id", read.append)
    bodies = [b" other%d .example; spf=pass" % number for number in range(50)]
    headers = HeadersConfig(removed_authserv_ids=tuple(f"mx{number}.example.org" for number in range(10)))
    edits, _ = authentication_results_edits((), None, message(*bodies), headers)
    assert (read, edits) == (bodies, ())


def test_forgeries_are_removed_from_the_last_to_the_first() -> None:
    forged, foreign = b" mx.example.org; spf=pass", b" relay.example.net; spf=pass"
    assert removed(forged, foreign, forged, foreign, forged) == [5, 3, 1]


def test_a_hundred_forgeries_are_all_removed() -> None:
    assert removed(*[b" mx.example.org; spf=pass"] * 100) == list(range(100, 0, -1))


def test_further_ids_can_be_named_whose_fields_are_removed() -> None:
    headers = HeadersConfig(removed_authserv_ids=("Old.example.org", "mx2.example.org"))
    mail = message(
        b" mx2.example.org; spf=pass",
        b" other.example; spf=pass",
        b" (x) old.EXAMPLE.org. 1; spf=pass",
        b" mx.example.org; x=y",
    )
    edits, _ = authentication_results_edits((), None, mail, headers)
    assert [edit.occurrence for edit in edits] == [4, 3, 1]


@pytest.mark.parametrize(
    ("named", "kept"),
    [(".example.org", [b"example.org", b"relay.example"]), ("*", []), ("relay.example", [b"example.org"])],
)
def test_a_domain_or_all_can_be_named(named: str, kept: list[bytes]) -> None:
    ids = [b"a.EXAMPLE.org", b"b.c.example.org.", b"example.org", b"relay.example"]
    if named == "relay.example":
        ids = ids[2:]
    mail = message(*[b" %b; spf=pass" % one for one in ids], mta_name="mx.example")
    edits, _ = authentication_results_edits((), None, mail, HeadersConfig(removed_authserv_ids=(named,)))
    gone = {edit.occurrence for edit in edits if isinstance(edit, DeleteHeader)}
    assert [one for number, one in enumerate(ids, start=1) if number not in gone] == kept


def test_a_domain_stands_for_what_is_below_it_where_no_id_can_be_read_too() -> None:
    ours = (b".example.org",)
    assert claims_to_be(b" a . example.org spf=pass", ours)
    assert not claims_to_be(b" a.example.orgs spf=pass", ours)
    assert not claims_to_be(b" example.org spf=pass", ours)


def test_forgeries_are_removed_even_when_we_write_none() -> None:
    assert removed(b" mx.example.org; spf=pass", write=False) == [1]


def test_the_field_name_is_matched_in_any_case_and_with_space_before_the_colon() -> None:
    block = b"AUTHENTICATION-results : mx.example.org; spf=pass\r\n"
    edits, _ = authentication_results_edits((), None, Message(Envelope(mta_name=OURS), block), HeadersConfig())
    assert edits == (DeleteHeader(b"AUTHENTICATION-results", 1),)


@pytest.mark.parametrize("fold", [b"\r\n ", b" \r\n\t\r\n "])
def test_a_name_folded_before_the_colon_makes_all_results_go(fold: bytes) -> None:
    # One MTA may count such a line, another may not: whichever it is, no forged field may stay.
    block = (
        b"Authentication-Results" + fold + b": relay.example.net; none\r\n"
        b"Authentication-Results: relay.example.net; none\r\n"
        b"Authentication-Results: mx.example.org; spf=pass\r\n"
    )
    edits, _ = authentication_results_edits((), None, Message(Envelope(mta_name=OURS), block), HeadersConfig())
    assert [edit.occurrence for edit in edits] == [3, 2, 1]


def test_foreign_results_beyond_the_fiftieth_are_removed_unread() -> None:
    assert removed(*[b" relay.example.net; none"] * 52) == [52, 51]


@given(st.binary(max_size=200))
def test_any_bytes_are_either_ours_or_not(body: bytes) -> None:
    read_authserv_id(body)
    assert claims_to_be(body + b" (mx.example.org", (b"mx.example.org",)) in (True, False)


def test_so_many_comments_are_read_and_no_more() -> None:
    assert read_authserv_id(b"()" * 24 + b"other.example.org" + b"(\\))" * 16 + b"; none") == b"other.example.org"
    assert read_authserv_id(b"()" * 25 + b"other.example.org; none") is None
    assert read_authserv_id(b"other.example.org" + b"(\\))" * 17 + b"; none") is None
    assert read_authserv_id(b"other.example.org (" + b"x" * 9_000 + b"); none") == b"other.example.org"
