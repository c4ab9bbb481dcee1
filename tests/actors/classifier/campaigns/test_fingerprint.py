import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.classifier.campaigns.campaign import BANDS, EXACT_BYTES, SIGNATURE_BYTES, Fingerprint
from actors.classifier.campaigns.config import CampaignConfig
from actors.classifier.campaigns.fingerprint import PAIRS_MIN, VERSION, fingerprint, similarity
from actors.model import Message
from tests.actors.classifier.campaigns.mutations import MUTATIONS, html_mail, mail, template

FOUND = CampaignConfig().similarity_min
SHORT = ["please", "see", "what", "is", "in", "the", "file", "that", "I", "have", "sent", "to", "you"]


def attached(content: bytes, text: str = "see the picture") -> Message:
    head = b"To: a@example.org\r\nSubject: hi\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
    return Message(
        header_block=head,
        body=b"--b\r\nContent-Type: text/plain\r\n\r\n" + text.encode() + b"\r\n--b\r\n"
        b"Content-Type: image/png\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + content + b"\r\n--b--\r\n",
    )


@pytest.mark.parametrize("mutation", MUTATIONS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_mutated_copy_is_similar_and_has_a_key_in_common(mutation, seed):
    text = template(seed)
    copy = MUTATIONS[mutation](text, random.Random(seed + 1))
    first, second = fingerprint(mail(text)), fingerprint(mail(copy, "Carla <carla77@example.com>", "offer for carla"))
    assert similarity(first, second) >= FOUND
    assert set(first.keys) & set(second.keys)


@settings(max_examples=50, deadline=None)
@given(one=st.integers(0, 10**6), other=st.integers(0, 10**6))
def test_other_text_of_the_same_vocabulary_is_not_similar(one, other):
    if one != other:
        assert similarity(fingerprint(mail(template(one))), fingerprint(mail(template(other)))) < FOUND


def test_html_is_read_as_it_is_seen():
    text = template(5)
    assert similarity(fingerprint(mail(text)), fingerprint(html_mail(text))) > 0.9


def test_the_fingerprint_stays_the_same_between_releases():
    """Whoever changes this changes VERSION: fingerprints of both kinds would lie in one Redis."""
    first = fingerprint(mail(template(1)))
    assert (VERSION, len(first.signature)) == ("1.2", SIGNATURE_BYTES)
    assert first.signature[:8].hex() == "70e0af403ce1a400"
    assert fingerprint(mail(SHORT)).exact.hex() == "39a35cc885e0181702c4a794c5aa97fa"


def test_what_the_recipient_is_called_does_not_count():
    text = template(2)
    named = [word if number % 7 else "Hieronymus" for number, word in enumerate(text)]
    others = [word if number % 7 else "Carla" for number, word in enumerate(text)]
    one = fingerprint(mail(named, "Hieronymus <h@example.org>"))
    assert one == fingerprint(mail(others, '"Carla" <c@example.org>'))


def test_a_short_text_has_to_be_equal_in_words_and_hosts():
    first = fingerprint(mail(SHORT))
    assert not first.signature
    assert len(first.exact) == EXACT_BYTES
    assert first.keys == (bytes((BANDS,)) + first.exact,)
    assert similarity(first, fingerprint(mail([*SHORT[:-1], "you!!!", "$20"]))) == 1
    assert similarity(first, fingerprint(mail([*SHORT, "again"]))) == 0
    linked = [fingerprint(mail([*SHORT, f"https://{host}/x{number}"])) for number, host in enumerate("aab")]
    assert similarity(linked[0], linked[1]) == 1
    assert similarity(linked[0], linked[2]) == 0
    assert similarity(linked[0], first) == 0


@pytest.mark.parametrize("text", [[], ["thanks"], SHORT[:3], ["http://a.example/"]], ids=repr)
def test_too_little_text_has_no_fingerprint(text):
    found = fingerprint(mail(text, subject=""))
    assert not found
    assert found.keys == ()
    assert similarity(found, found) == 0


def test_an_attachment_stands_for_a_message_with_little_text():
    picture = random.Random(1).randbytes(5000)
    assert similarity(fingerprint(attached(picture)), fingerprint(attached(picture))) == 1
    assert similarity(fingerprint(attached(picture)), fingerprint(attached(picture[::-1]))) == 0
    assert not fingerprint(attached(picture[:1000]))


def test_the_bound_of_a_text_is_its_different_pairs_of_words():
    assert fingerprint(mail([f"{a}{b}" for a in "abcdef" for b in "uvwxyz"], subject="")).signature
    assert not fingerprint(mail(["again", "and"] * 1000)).signature
    assert PAIRS_MIN == 30


@settings(deadline=None)
@given(header_block=st.binary(max_size=300), body=st.binary(max_size=2000))
def test_any_bytes_have_a_sound_fingerprint_or_none(header_block, body):
    found = fingerprint(Message(header_block=header_block, body=body))
    assert found.sound or found == Fingerprint()


@pytest.mark.parametrize(
    "kept",
    [Fingerprint(), Fingerprint(b"x" * 511), Fingerprint(exact=b"x" * 17), Fingerprint(b"x" * 512, b"y" * 16)],
    ids=["none", "short", "long", "both"],
)
def test_what_was_kept_with_wrong_lengths_is_not_sound(kept):
    assert not kept.sound
