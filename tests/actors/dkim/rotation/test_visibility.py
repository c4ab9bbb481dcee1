"""actors/dkim/rotation/visibility.py: only the key itself counts, at every server."""

import pytest

from actors.dkim.rotation.visibility import Answers, ServerAnswer, published, withdrawn
from actors.dkim.signing.private_key import generate_ed25519
from actors.dkim.signing.publication import REVOKED_RECORD, key_record

KEY, OTHER = generate_ed25519(), generate_ed25519()
OURS, THEIRS, REVOKED = key_record(KEY).encode(), key_record(OTHER).encode(), REVOKED_RECORD.encode()


def answers(*records: bytes, ttl_s: int = 600, negative_ttl_s: int = 300) -> Answers:
    return Answers((ServerAnswer("ns1", (OURS,), 60), ServerAnswer("ns2", records, ttl_s)), negative_ttl_s)


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ((), "no record"),
        ((THEIRS,), "another key"),
        ((OURS, OURS.replace(b"v=DKIM1; ", b"")), "2 TXT records"),
        ((OURS, b"v=spf1 -all"), "2 TXT records"),
        ((REVOKED,), "key is revoked"),
        ((b"CNAME",), "key record is not a tag list"),
        ((OURS.replace(b"; k=", b"; h=sha1; k="),), "not for sha256"),
        ((OURS.replace(b"; k=", b"; s=tlsrpt; k="),), "key is not for email"),
    ],
)
def test_anything_but_the_one_record_of_the_key_is_behind(records: tuple[bytes, ...], problem: str) -> None:
    visibility = published(answers(*records), KEY)
    assert visibility.behind == (f"ns2: {problem}",)
    assert not visibility.everywhere


def test_the_record_everywhere_counts_with_the_longest_ttl() -> None:
    assert published(answers(OURS), KEY).everywhere
    assert published(answers(OURS), KEY).ttl_s == 600
    assert published(answers(OURS, negative_ttl_s=86_400), KEY).ttl_s == 86_400


def test_a_silent_server_or_none_at_all_is_not_everywhere() -> None:
    silent = Answers((ServerAnswer("ns1", (OURS,), 60), ServerAnswer("ns2", silence="REFUSED")), 300)
    assert published(silent, KEY).silent == ("ns2: REFUSED",)
    assert not published(silent, KEY).everywhere
    assert not published(Answers((), 300), KEY).everywhere
    assert not withdrawn(Answers((), 300)).everywhere


def test_withdrawn_is_what_no_server_has_any_more_and_a_wildcard_is_not_the_key() -> None:
    one = (ServerAnswer("ns1", (REVOKED,), 60),)
    assert withdrawn(Answers(one, 300), KEY).everywhere
    assert withdrawn(Answers((*one, ServerAnswer("ns2", (THEIRS,), 60)), 300), KEY).everywhere
    assert withdrawn(Answers((*one, ServerAnswer("ns2", (THEIRS, OURS), 60)), 300), KEY).behind
    assert withdrawn(Answers((*one, ServerAnswer("ns2", (THEIRS,), 60)), 300)).behind, "without the key: any"
