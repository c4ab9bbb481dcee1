"""What broke a signature is found: the hash, the field or the line, and the byte."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.dkim import dkimpy
from actors.dkim.canonical import relaxed_body, relaxed_field
from actors.dkim.diagnosis import FIELDS_MAX, Diagnosis, Hash, diagnose
from actors.dkim.difference import Cause
from actors.dkim.key import parse_key
from actors.dkim.signature import field_tags, parse_signature
from actors.model import Message
from tests.signing import BODY, HEADERS, dkim_sign, ed25519_record, rsa_record

dkimpy.install()

LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
SIGNED = {
    (form, algorithm): dkim_sign(c=form, a=algorithm)
    for form in ("simple/simple", "relaxed/relaxed")
    for algorithm in ("rsa-sha256", "ed25519-sha256")
}
CASES = st.sampled_from(sorted(SIGNED))


def mail(headers: bytes = HEADERS, body: bytes = BODY) -> Message:
    return Message(header_block=headers, body=body)


def diagnosed(
    signature_field: bytes, received: Message, original: Message | None = None, record: str | None = ""
) -> Diagnosis:
    """Of the signature that is put on top of `received`; without `record` its own key is published."""
    whole = mail(signature_field + received.header_block, received.body)
    own = whole.fields_by_name[b"dkim-signature"][0]
    signature = parse_signature(field_tags(own[1]))
    known = rsa_record() if signature.key_type == b"rsa" else ed25519_record()
    key = None if record is None else parse_key((record or known).encode())
    return diagnose(signature, own, whole, key, original)


@settings(deadline=None)
@given(CASES)
def test_a_signature_that_holds_has_nothing_to_compare(case: tuple[str, str]) -> None:
    found = diagnosed(SIGNED[case], mail(), mail(HEADERS.upper(), b"other"))
    assert (found.body_hash, found.header_hash) == (Hash.HOLDS, Hash.HOLDS)
    assert (found.fields, found.body) == ((), None)


@settings(deadline=None)
@given(CASES, st.sampled_from([at for at, byte in enumerate(BODY) if byte in LETTERS]), st.sampled_from(LETTERS))
def test_any_changed_byte_of_the_body_is_located_exactly(case: tuple[str, str], at: int, byte: int) -> None:
    if BODY[at] == byte:
        return
    changed = BODY[:at] + bytes([byte]) + BODY[at + 1 :]
    found = diagnosed(SIGNED[case], mail(body=changed), mail())
    assert (found.body_hash, found.header_hash, found.fields) == (Hash.FAILS, Hash.HOLDS, ())
    assert found.body is not None
    # What stands before a letter is canonical by itself, so that its length is the letter's place.
    place = at if case[0] == "simple/simple" else len(relaxed_body(BODY[:at] + b"x")) - len(b"x\r\n")
    assert (found.body.difference.start, found.body.difference.received_end) == (place, place + 1)
    assert found.body.difference.original_end == place + 1
    before = (BODY if case[0] == "simple/simple" else relaxed_body(BODY))[:place]
    assert (found.body.line, found.body.byte) == (before.count(b"\n") + 1, len(before.rpartition(b"\n")[2]) + 1)
    assert chr(byte) in found.body.difference.received


@settings(deadline=None)
@given(CASES, st.data())
def test_any_changed_byte_of_a_signed_field_is_located_exactly(case: tuple[str, str], data: st.DataObject) -> None:
    fields = mail().headers
    number = data.draw(st.integers(0, len(fields) - 1))
    name, value = fields[number]
    at = data.draw(st.sampled_from([at for at, byte in enumerate(value) if byte in LETTERS]))
    byte = data.draw(st.sampled_from([byte for byte in LETTERS if byte != value[at]]))
    changed = [*fields]
    changed[number] = (name, value[:at] + bytes([byte]) + value[at + 1 :])
    found = diagnosed(SIGNED[case], mail(b"".join(b"%b:%b\r\n" % field for field in changed)), mail())
    assert (found.body_hash, found.header_hash, found.body) == (Hash.HOLDS, Hash.FAILS, None)
    (field,) = found.fields
    assert (field.name, field.occurrence) == (name.lower().decode(), 1)
    before = value[:at] if case[0] == "simple/simple" else relaxed_field((name, value[:at] + b"x"))[1][:-1]
    place = len(name) + 1 + len(before)
    assert (field.difference.start, field.difference.received_end) == (place, place + 1)
    assert field.difference.original_end == place + 1


def test_both_hashes_are_checked_and_both_parts_compared() -> None:
    received = mail(HEADERS.replace(b"Subject: A", b"Subject: [list] A"), BODY + b"-- \r\nThe list\r\n")
    found = diagnosed(SIGNED["relaxed/relaxed", "rsa-sha256"], received, mail())
    assert (found.body_hash, found.header_hash) == (Hash.FAILS, Hash.FAILS)
    assert (found.original_body_hash, found.original_header_hash) == (Hash.HOLDS, Hash.HOLDS)
    assert [(field.name, field.difference.cause) for field in found.fields] == [("subject", Cause.SUBJECT_TAG)]
    assert found.fields[0].difference.received == "subject:[list] A folded subject"
    assert found.body is not None
    assert (found.body.difference.cause, found.body.line, found.body.byte) == (Cause.FOOTER, 7, 1)


def test_without_an_original_the_hash_and_the_fields_are_told() -> None:
    field = dkim_sign(h="From:To:Cc:Subject:Subject")
    found = diagnosed(field, mail(b"From: mallory@example.net\r\n" + HEADERS))
    assert (found.body_hash, found.header_hash, found.compared_with) == (Hash.HOLDS, Hash.FAILS, "")
    assert found.present == ("from", "from", "to", "subject")
    assert found.absent == ("cc", "subject")


@pytest.mark.parametrize(
    ("changed", "name", "occurrence", "cause"),
    [
        (b"From: mallory@example.net\r\n" + HEADERS, "from", 2, Cause.ADDED),
        (HEADERS.replace(b"To: Bob <bob@example.net>\r\n", b""), "to", 1, Cause.REMOVED),
    ],
)
def test_a_field_that_came_or_went_is_told(changed: bytes, name: str, occurrence: int, cause: Cause) -> None:
    found = diagnosed(SIGNED["relaxed/relaxed", "rsa-sha256"], mail(changed), mail())
    assert [(one.name, one.occurrence, one.difference.cause) for one in found.fields] == [(name, occurrence, cause)]


def test_copies_in_the_signature_stand_in_for_an_original() -> None:
    field = dkim_sign(z="From:=20Alice=20<alice@example.org>|Subject:=20A=20folded=20subject|X:y")
    tagged = mail(HEADERS.replace(b"Subject: A", b"Subject: [l] A"))
    found = diagnosed(field, tagged)
    assert (found.header_hash, found.compared_with) == (Hash.FAILS, "z=")
    assert [(one.name, one.difference.cause) for one in found.fields] == [("subject", Cause.SUBJECT_TAG)]
    assert diagnosed(field, tagged, mail()).compared_with == "original"


def test_copies_make_no_verdict() -> None:
    field = dkim_sign(z="Subject:=20another")
    assert diagnosed(field, mail()).fields == ()
    found = diagnosed(field, mail(HEADERS.replace(b"Subject: A", b"Subject: [l] A").replace(b"<1@", b"<2@")))
    assert found.header_hash is Hash.FAILS


def test_a_key_that_did_not_sign_is_told_from_a_header_that_changed() -> None:
    signed = SIGNED["relaxed/relaxed", "rsa-sha256"]
    assert diagnosed(signed, mail(), record=rsa_record(1024)).header_hash is Hash.OTHER_KEY
    assert diagnosed(signed, mail(), record=ed25519_record()).header_hash is Hash.UNKNOWN
    assert diagnosed(signed, mail(), record=None).header_hash is Hash.UNKNOWN


def test_the_signature_itself_is_compared_where_the_original_has_it() -> None:
    signed = SIGNED["simple/simple", "rsa-sha256"]
    other = dkim_sign(s="rsa1024")
    sent = mail(other + signed + HEADERS)
    found = diagnosed(signed.replace(b"; c=", b";\r\n c="), mail(), sent)
    assert [(one.name, one.difference.cause) for one in found.fields] == [("dkim-signature", Cause.REFOLDED)]
    folded_b = signed.replace(b"b=", b"b= ", 1) if b" b=" in signed[:20] else signed[:-10] + b" " + signed[-10:]
    assert diagnosed(folded_b, mail(HEADERS.replace(b"<1@", b"<2@")), sent).fields[0].name == "message-id"
    damaged = signed[:-10] + (b"A" if signed[-10:-9] != b"A" else b"B") + signed[-9:]
    found = diagnosed(damaged, mail(), sent)
    assert (found.header_hash, [one.name for one in found.fields]) == (Hash.OTHER_KEY, ["dkim-signature"])


def test_an_original_that_is_another_mail_is_said_to_be_one() -> None:
    names = [f"x-{number}" for number in range(50)]
    headers = HEADERS + b"".join(b"%b: 1\r\n" % name.encode() for name in names)
    field = dkim_sign(headers, h="From:" + ":".join(names))
    found = diagnosed(field, mail(headers + b"x-1: 2\r\n", b"x"), mail(headers.replace(b": 1", b": 3"), b"y"))
    assert (found.original_body_hash, found.original_header_hash) == (Hash.FAILS, Hash.FAILS)
    assert len(found.fields) == FIELDS_MAX


def test_only_what_is_below_a_signed_length_is_compared() -> None:
    field = dkim_sign(l=str(len(relaxed_body(BODY))))
    assert diagnosed(field, mail(body=BODY + b"more\r\n"), mail()).body_hash is Hash.HOLDS
    found = diagnosed(field, mail(body=BODY.replace(b"Bob", b"Rob") + b"more\r\n"), mail())
    assert found.body is not None
    assert found.body.difference.received_end == found.body.difference.start + 1
    cut = diagnosed(field, mail(body=BODY[:9]), mail())
    assert cut.body is not None
    assert (cut.body_hash, cut.body.difference.cause) == (Hash.FAILS, Cause.CUT)


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_two_mails_give_a_result(one: bytes, other: bytes) -> None:
    # Behind a field of its own, as white space at the beginning would continue the signature.
    diagnosed(SIGNED["simple/simple", "rsa-sha256"], mail(HEADERS + one, other), mail(other, one))
