import contextlib

import authres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.decide.authres import field_body
from actors.decide.authres_reader import MethodResult, ResultsError, parse_results, sealed_results
from actors.model import Finding, Outcome

OURS = "mx.example.org"


@pytest.mark.parametrize(
    ("body", "results"),
    [
        (b"example.org 1; none", ()),
        (b" example.org; None", ()),
        (b"example.org", ()),
        (b"example.org; spf=pass", (MethodResult("spf", "pass"),)),
        (
            b"example.com;\r\n\tspf=pass smtp.mailfrom=example.net; Auth=Pass (cram-md5) smtp.auth=sender@example.net",
            (
                MethodResult("spf", "pass", "", (("smtp.mailfrom", "example.net"),)),
                MethodResult("auth", "pass", "", (("smtp.auth", "sender@example.net"),)),
            ),
        ),
        (
            (
                b'foo.example.net (x) 1 (y); dkim (I) / 1 (One) = (wait) fail reason="signature bad; \\"so\\""'
                b' policy (A dot) . (x) expired (this) = "1362 (x);"'
            ),
            (MethodResult("dkim", "fail", 'signature bad; "so"', (("policy.expired", "1362 (x);"),)),),
        ),
        (
            b'mx.example; dkim=pass header.d=a.example header.b=Ab/+9zz (a;b " c \\) d) header.i=@a.example',
            (
                MethodResult(
                    "dkim", "pass", "", (("header.d", "a.example"), ("header.b", "Ab/+9zz"), ("header.i", "@a.example"))
                ),
            ),
        ),
    ],
)
def test_fields_are_read_as_rfc_8601_writes_them(body: bytes, results: tuple[MethodResult, ...]) -> None:
    assert parse_results(body).results == results


def test_what_we_write_is_read_as_it_was_meant() -> None:
    spf = Finding("policy", "spf", Outcome.PASS, facts={"smtp.mailfrom": "example.net"})
    dkim = Finding("dkim", "dkim", Outcome.FAIL, detail='the "body"; hash', facts={"header.b": "Ab/+9=zz"})
    assert parse_results(field_body(OURS, [spf, dkim], None)).results == (
        MethodResult("spf", "pass", "", (("smtp.mailfrom", "example.net"),)),
        MethodResult("dkim", "fail", 'the "body"; hash', (("header.b", "Ab/+9=zz"),)),
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"; spf=pass",
        b"example.org; spf",
        b"example.org; spf=",
        b"example.org; =pass",
        b"example.org; spf=pass (unclosed",
        b'example.org; spf=pass reason="unclosed',
        b"example.org; spf=pass and more",
        b"example.org" + b"; a=b" * 101,
        b"example.org; a=b" + b" c.d=e" * 101,
        b"example.org; a=" + b"b" * 8192,
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(ResultsError):
        parse_results(body)


@pytest.mark.parametrize("body", [b"x; a=" + b"(" * 8000, b"x; " + b"\\" * 8000, b"x; a=" + b'"\\' * 4000, b"(" * 8000])
def test_nesting_and_escapes_end_in_a_reason(body: bytes) -> None:
    with pytest.raises(ResultsError):
        parse_results(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_results_or_a_reason(text: bytes) -> None:
    for body in (text, b"example.org; " + text, b"example.org; dkim=pass " + text):
        with contextlib.suppress(ResultsError):
            assert isinstance(parse_results(body).authserv_id, str)
        assert sealed_results([body], OURS).startswith(b"mx.example.org; ")


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters='"\\'), min_size=1, max_size=30)
)
def test_a_quoted_value_is_read_as_authres_reads_it(text: str) -> None:
    body = f'example.org; dkim=fail reason="{text}"'
    known = authres.AuthenticationResultsHeader.parse(f"Authentication-Results: {body}").results[0].reason
    assert parse_results(body.encode()).results[0].reason == known == text


def test_results_of_one_id_are_sealed_together_as_they_were_written() -> None:
    fields = [
        b" mx.example.org; spf=pass (good; really)",
        b" MX.example.org 1 (a;b); dkim=pass;\r\n\tdmarc=pass ;",
        b" mx.example.org; none",
        b" mx.example.org; arc=pass (unclosed",
        b" other.example; spf=fail",
    ]
    assert sealed_results(fields, OURS) == (b"mx.example.org; spf=pass (good; really);\r\n\tdkim=pass;\r\n\tdmarc=pass")
    assert sealed_results([], OURS) == b"mx.example.org; none"
