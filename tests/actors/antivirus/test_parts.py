import base64
import binascii
import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.antivirus.archives import Allowance
from actors.antivirus.contents import contents
from actors.antivirus.parts import decoded, reads_like_mail, regions, without_base64
from actors.model import Message


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", content)
    return file.getvalue()


SECRET = b"".join(b"secret %d, " % number for number in range(100))
CODED = base64.encodebytes(zipped(SECRET)).replace(b"\n", b"\r\n")
FIELD = b"Content-Transfer-Encoding: base64"
TYPE = b'Content-Type: multipart/mixed; boundary="B"'


def mail(field: bytes = FIELD, coded: bytes = CODED, kind: bytes = TYPE, boundary: bytes = b"--B") -> bytes:
    return (
        kind + b"\r\n\r\n" + boundary + b"\r\n\r\nhello there\r\n" + boundary + b"\r\n"
        b"Content-Type: application/zip\r\n" + field + b"\r\n\r\n" + coded + b"\r\n" + boundary + b"--\r\n"
    )


def uuencoded(content: bytes) -> bytes:
    lines = (binascii.b2a_uu(content[start : start + 45]) for start in range(0, len(content), 45))
    return b"begin 644 a.zip\r\n" + b"".join(lines).replace(b"\n", b"\r\n") + b"`\r\nend\r\n"


def quoted(content: bytes, soft: bytes = b"=\r\n") -> bytes:
    return soft.join(b"=%02x" % byte for byte in content)


TRANSFER_ENCODINGS = [
    b"Content-Transfer-Encoding:\r\n base64",
    b"Content-Transfer-Encoding: base64 (c)",
    b"Content-Transfer-Encoding: (c) base64",
    b'Content-Transfer-Encoding: "base64"',
    b"Content-Transfer-Encoding: base64; x=y",
    b"Content-Transfer-Encoding : base64",
    b"Content-Transfer-Encoding\r\n : BASE64",
    b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 7bit",
    b"junk without colon\r\nContent-Transfer-Encoding: base64",
    b"X-Nothing: declared",
]
MAILS = {
    **{repr(field): mail(field) for field in TRANSFER_ENCODINGS},
    "junk in base64": mail(coded=CODED.replace(b"A", b"A!*")),
    "junk everywhere in base64": mail(coded=b"!".join(CODED[at : at + 9] for at in range(0, len(CODED), 9))),
    "padding amid base64": mail(coded=CODED[:40] + b"====\r\n" + CODED[40:]),
    "a line in front": mail(coded=b"hello\r\n" + CODED),
    "truncated base64": mail(coded=CODED.rstrip(b"=\r\n")[:-1]),
    "a fake boundary amid base64": mail(coded=CODED[:78] + b"--!!\r\n" + CODED[78:]),
    "boundary with a comment": mail(kind=TYPE.replace(b'"B"', b"B (x)")),
    "boundary quoted by pairs": mail(kind=TYPE.replace(b'"B"', b'"\\B"')),
    "boundary of an open quote": mail(kind=TYPE.replace(b'"B"', b'"B')),
    "no boundary": mail(boundary=b"--"),
    "text/plain first": mail(kind=b"Content-Type: text/plain\r\n" + TYPE),
    "in the preamble": TYPE + b"\r\n\r\n" + FIELD + b"\r\n\r\n" + CODED + b"--B--\r\n",
    "in the epilogue": TYPE + b"\r\n\r\n--B\r\n\r\nx\r\n--B--\r\n" + CODED,
    "uuencode": b"Subject: x\r\n\r\nhello\r\n" + uuencoded(zipped(SECRET)) + b"bye\r\n",
    "quoted-printable": mail(b"Content-Transfer-Encoding: Quoted-Printable", quoted(zipped(SECRET))),
    "blanks behind soft breaks": mail(FIELD.replace(b"base64", b"quoted-printable"), quoted(zipped(SECRET), b"= \r\n")),
    "eml in base64": mail(coded=base64.encodebytes(mail())),
    "multipart in base64": FIELD + b"\r\n" + TYPE + b"\r\n\r\n" + base64.encodebytes(mail().partition(b"\r\n\r\n")[2]),
    "bare CR": mail().replace(b"\r\n", b"\r"),
    "a thousand encoded words": mail(kind=TYPE + b"\r\nSubject: " + b"=?a?q?b?= " * 1001),
}


@pytest.mark.parametrize("name", MAILS)
def test_a_zip_is_found_and_opened_however_it_is_wrapped(name):
    head, _, body = MAILS[name].partition(b"\r\n\r\n")
    assert SECRET in b"".join(contents(Message(header_block=head + b"\r\n", body=body), Allowance()))


@pytest.mark.parametrize("name", MAILS)
def test_without_decoding_none_of_them_shows_it(name, monkeypatch):
    monkeypatch.setattr("actors.antivirus.parts.decoded", lambda *_: ())
    assert SECRET not in b"".join(contents(Message(body=MAILS[name]), Allowance()))


def test_a_clean_part_is_decoded_exactly_and_once():
    assert list(decoded(mail(), Allowance())) == [base64.b64decode(CODED)]


def test_what_is_left_without_base64_is_everything_else():
    content = mail()
    rest = without_base64(content, regions(content, Allowance()))
    assert rest == content.replace(CODED + b"\r\n", b"")


def test_ordinary_text_has_nothing_encoded():
    assert list(decoded(b"From: a\r\n\r\nShort words\r\nin\r\nlines, nothing else.\r\n" * 20, Allowance())) == []


def test_only_what_begins_like_a_mail_reads_like_one():
    assert reads_like_mail(mail())
    assert not reads_like_mail(b"Dear all,\r\nContent-Transfer-Encoding: base64\r\n\r\n")
    assert not reads_like_mail(b"Note: nothing encoded here")


@pytest.mark.parametrize(
    ("limit", "content"),
    [
        ("PARTS_MAX", b"begin 644 a\r\n#0V%T\r\nend\r\n" * 9),
        ("PARTS_MAX", mail() * 9),
        ("PARTS_MAX", (b"A" * 70 + b"\n!\n") * 9),
        ("FIELDS_MAX", (FIELD + b"\n") * 9 + b"\n"),
        ("UU_LINES_MAX", uuencoded(bytes(1000))),
        ("BINARY_PARTS_MAX", b"\n\n\x1f\x8b\x08" * 9),
        ("SOFT_BREAKS_MAX", b"Content-Transfer-Encoding: quoted-printable\n\n" + b"= \n" * 9),
    ],
)
def test_too_many_are_noted(monkeypatch, limit, content):
    allowance = Allowance()
    list(decoded(b"\n" + content, allowance))
    assert not allowance.limits
    monkeypatch.setattr(f"actors.antivirus.parts.{limit}", 5)
    list(decoded(b"\n" + content, allowance))
    assert allowance.limits == {"entries"}


MEGABYTES = 3_000_000
HOSTILE = {
    "fields in one head": FIELD + b"\n",
    "fields": FIELD + b"\n\n",
    "folds": b"Content-Transfer-Encoding:" + b"\n " * 250,
    "short lines": b"a\r\n",
    "almost runs": b"abcd\n" + b"a\n" * 26 + b"!\n",
    "paddings": b"A=",
    "uuencode": b"begin 644 a\n#abcd\nend\n",
    "archives": b"\n\n\x1f\x8b\x08PK\3\4",
    "levels": b"--B\nContent-Type: multipart/mixed; boundary=B\n\n",
}


@pytest.mark.timeout(10)  # measured: at most 0.2 s each
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shapes_do_not_hang(name):
    body = FIELD + b"\n\n" + HOSTILE[name] * (MEGABYTES // len(HOSTILE[name]))
    assert list(contents(Message(body=body), Allowance()))


_fragments = st.sampled_from(
    [
        FIELD,
        b"\r\n",
        b"\n",
        b"--B",
        b"QUJD" * 20,
        b"=",
        b"begin 644 a\n",
        b"#0V%T",
        b"end\n",
        b"\xff",
        zipped(b"x"),
        b"quoted-printable",
    ]
)


@given(st.lists(_fragments).map(b"".join))
def test_any_bytes_give_contents(body):
    assert list(contents(Message(body=body), Allowance()))
