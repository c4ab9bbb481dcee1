import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.mime import (
    BOUNDARIES_MAX,
    TEXT_CHARS_MAX,
    decode_encoded_words,
    mail_text,
)
from actors.model import Message

MIXED = b'Content-Type: multipart/mixed; boundary="b"\r\n'


def message(fields: bytes, body: bytes) -> Message:
    return Message(header_block=fields, body=body)


def test_a_body_without_any_mime_field_is_plain_text():
    text = mail_text(message(b"Subject: x\r\n", b"Hello\r\nWorld\r\n"))
    assert (text.plain, text.html, text.part_types, text.repaired) == ("Hello\r\nWorld\r\n", "", (), False)


def test_plain_and_html_alternatives_are_both_kept():
    body = b"--b\r\n\r\nplain\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>h\xc3\xa9</p>\r\n--b--\r\n"
    text = mail_text(message(MIXED, body))
    assert text.plain.strip() == "plain"
    assert text.html.strip() == "<p>h\u00e9</p>"


def test_transfer_encodings_and_charsets_are_decoded():
    fields = b"Content-Type: text/plain; charset=windows-1251\r\nContent-Transfer-Encoding: base64\r\n"
    assert mail_text(message(fields, base64.b64encode("Привет".encode("cp1251")))).plain == "Привет"
    quoted = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"
    assert mail_text(message(quoted, b"caf=C3=A9 =\r\nau lait")).plain == "café au lait"


def test_other_parts_are_only_named():
    body = b"--b\r\nContent-Type: Image/PNG\r\n\r\nxxxx\r\n--b\r\n\r\nsee picture\r\n--b--\r\n"
    text = mail_text(message(MIXED, body))
    assert text.part_types == ("image/png",)
    assert text.plain.strip() == "see picture"


def test_text_in_attachments_and_embedded_messages_counts():
    body = (
        b"--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nattached words\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n"
        b"Content-Type: text/html\r\n\r\n<b>inner</b>\r\n--b--\r\n"
    )
    text = mail_text(message(MIXED, body))
    assert "attached words" in text.plain
    assert "<b>inner</b>" in text.html


@pytest.mark.parametrize(
    "kind", [b"text", b"TEXT/PLAIN charset=us-ascii", b"text/x-other", b"nonsense", b"text/plain\rX: y"]
)
def test_a_content_type_that_is_none_still_shows_its_text(kind):
    assert "buy now" in mail_text(message(b"Content-Type: " + kind + b"\r\n", b"buy now\r\n")).plain


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (
            b"Content-Transfer-Encoding: base64\r\n",
            base64.b64encode(b"buy now and save") + b"\r\n--\r\nlist footer!\r\n",
        ),
        (b"Content-Transfer-Encoding: base64\r\n", b"YnV5IG5vdw"),
        (b"Content-Type: multipart/mixed\r\n", b"buy now\r\n"),
        (b"Content-Type: multipart/mixed; boundary=other\r\n", b"--b\r\n\r\nbuy now\r\n--b--\r\n"),
        (MIXED, b"--b\r\n\r\nbuy now\r\n"),
    ],
    ids=["footer after base64", "base64 without its end", "no boundary", "wrong boundary", "no closing boundary"],
)
def test_broken_mime_is_repaired_as_mail_clients_do(fields, body):
    assert "buy now" in mail_text(message(fields, body)).plain


def test_a_repair_is_said():
    assert mail_text(message(b"Content-Type: multipart/mixed\r\n", b"text\r\n")).repaired


@pytest.mark.parametrize("charset", [b"nonsense", b"punycode", b"idna", b"unicode_escape", b"rot13", b"hex", b"utf-8"])
def test_no_charset_makes_text_disappear(charset):
    text = mail_text(message(b"Content-Type: text/plain; charset=" + charset + b"\r\n", b"buy now \xff\xfe\r\n"))
    assert "buy now" in text.plain


def test_nul_bytes_eight_bit_headers_and_no_mime_at_all_give_text():
    assert "a\0b" in mail_text(message(b"Subject: \xff\0\xfe\r\n\xe9\r\n", b"a\0b\r\n")).plain
    assert mail_text(message(b"\xff\0\xfe", b"")).plain == ""
    assert mail_text(message(b"", b"")).plain == ""


def test_text_is_capped():
    text = mail_text(message(b"", b"word " * 1_000_000))
    assert len(text.plain) == TEXT_CHARS_MAX
    several = mail_text(message(MIXED, (b"--b\r\n\r\n" + b"word " * 10_000 + b"\r\n") * 5 + b"--b--\r\n"))
    assert len(several.plain) == TEXT_CHARS_MAX
    html = mail_text(message(b"Content-Type: text/html\r\n", b"<p>" * 1_000_000))
    assert len(html.html) == TEXT_CHARS_MAX


HOSTILE = {
    "100k encoded words in the subject": (b"Subject: " + b"=?utf-8?q?a?= " * 100_000 + b"\r\n", b"x"),
    "100k encoded words in a part": (MIXED, b'--b\r\nContent-Type: text/plain; name="' + b"=?utf-8?q?a?= " * 100_000),
    "3000 levels": (
        b"Content-Type: multipart/mixed; boundary=b0\r\n",
        b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(3000)),
    ),
    "embedded messages without end": (
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: message/rfc822\r\n\r\n" * 30_000,
    ),
    "150k empty parts": (MIXED, b"--b\r\n\r\n" * 150_000),
    "a megabyte of parameters": (b"Content-Type: multipart/mixed; boundary=b" + b"; a*0*=x" * 100_000 + b"\r\n", b"x"),
    "250 levels over short lines": (
        b"Content-Type: multipart/mixed; boundary=b0\r\n",
        b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(250))
        + b"a\r\n" * 330_000,
    ),
    "semicolons in broken parts": (
        MIXED,
        (b"--b\r\nContent-Transfer-Encoding: base64\r\nContent-Type: text/plain" + b";" * 100_000 + b"\r\n\r\nY!Q=\r\n")
        * 9,
    ),
    "soft line breaks": (b"Content-Transfer-Encoding: quoted-printable\r\n", b"=\r\n" * 300_000),
}


@pytest.mark.timeout(10)  # measured: at most 0.3 s each; 250 levels took 2.6 s
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_structure_does_not_hang(name):
    assert mail_text(message(*HOSTILE[name]))


def test_a_flood_of_encoded_words_hides_nothing():
    many = b'--b\r\nContent-Type: text/plain; name="' + b"=?utf-8?q?a?= " * 1800 + b'"\r\n\r\nhello\r\n--b--\r\n'
    text = mail_text(message(MIXED, many))
    assert (text.plain.strip(), text.repaired) == ("hello", False)


@pytest.mark.parametrize(
    "field",
    [
        b"Content-Transfer-Encoding:\r\n base64",
        b"Content-Transfer-Encoding: base64 (really)",
        b"Content-Transfer-Encoding: (base64) BASE64",
        b'Content-Transfer-Encoding: "base64"',
        b"Content-Transfer-Encoding: base64; x=y",
        b"Content-Transfer-Encoding : base64",
        b"Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 7bit",
    ],
)
def test_transfer_encodings_are_understood_however_they_are_written(field):
    coded = base64.encodebytes(b"buy now and save " * 9)
    assert "buy now" in mail_text(message(field + b"\r\n", coded)).plain
    part = b"--b\r\nContent-Type: text/plain\r\n" + field + b"\r\n\r\n" + coded + b"--b--\r\n"
    assert "buy now" in mail_text(message(MIXED, part)).plain


def test_of_several_fields_the_first_counts():
    fields = b"Content-Disposition: inline\r\n" * 8 + MIXED + b"Content-Type: text/plain\r\n"
    assert mail_text(message(fields, b"--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n")).html.strip() == "<p>"


def test_levels_beyond_the_cap_are_still_read_as_text():
    def levels(count: int) -> bytes:
        nested = (b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(count))
        return b"".join(nested) + b"--b%d\r\n\r\nbuy now\r\n" % count

    for count in (5, 19, 30):
        fields = b"Content-Type: multipart/mixed; boundary=b0\r\n"
        text = mail_text(message(fields, levels(count))).plain
        assert "buy now" in text
        assert ("--b25" in text) == (count > BOUNDARIES_MAX)


def test_parameters_far_behind_are_not_read_in_broken_mail():
    flawed = b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nY!Q=\r\n"
    for parameters, letter in ((b"", "\u0430"), (b" x=" + b"a" * 3000 + b";", "\xc1")):
        part = b"--b\r\nContent-Type: text/plain;" + parameters + b" charset=koi8-r\r\n\r\n\xc1\r\n--b--\r\n"
        text = mail_text(message(MIXED, flawed + part))
        assert (text.repaired, letter in text.plain) == (True, True)


def test_only_the_head_of_a_long_body_is_parsed():
    body = b"--b\r\n\r\nearly\r\n--b\r\nContent-Type: image/png\r\n\r\n" + b"x" * 1_100_000 + b"\r\n--b\r\n\r\nlate\r\n"
    text = mail_text(message(MIXED, body)).plain
    assert "early" in text
    assert "late" not in text


_fragments = st.sampled_from(
    [
        b"--b",
        b"--b--",
        b"\r\n",
        b"\r",
        b"\n",
        b"Content-Type: ",
        b"multipart/mixed; boundary=b",
        b"text/html",
        b"=?",
        b"?=",
        b"Content-Transfer-Encoding: base64",
        b"message/rfc822",
        b"charset=",
        b"QUJD",
        b"\0\xff",
        b": ",
        b"=;",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_fragments).map(b"".join), st.lists(_fragments).map(b"".join))
def test_any_bytes_give_a_text_and_parts(fields, body):
    text = mail_text(message(fields, body))
    assert len(text.plain) <= TEXT_CHARS_MAX


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?q?caf=C3=A9?=", "café"),
        (b"=?UTF-8?B?Y2Fmw6k=?= =?utf-8?Q?_au_lait?=", "café au lait"),
        (b"a =?iso-8859-1?q?=E9?= b", "a é b"),
        (b"=?utf-8*fr?q?x?=", "x"),
        (b"=?nonsense?q?x=E9?=", "xé"),
        (b"=?utf-8?b?!!!?=", ""),
        (b"=?utf-8?q?open", "=?utf-8?q?open"),
        (b"raw \xe9 bytes", "raw é bytes"),
        (b"=?punycode?q?maana-pta?=", "maana-pta"),
    ],
)
def test_encoded_words(value, text):
    assert decode_encoded_words(value) == text


@given(st.binary())
def test_encoded_words_of_any_bytes_are_text(value):
    assert isinstance(decode_encoded_words(b"=?utf-8?q?" + value + b"?="), str)
