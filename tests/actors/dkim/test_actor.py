"""The DKIM actor on own signed mail: what passes and what does not; test_actor_strangers.py has hostile mail."""

import asyncio
from collections.abc import Sequence

import dkim
import pytest

from actors.actor import DNS_QUESTIONS_MAX, Budget
from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.model import KEY, NO_KEY, TEST_KEY, Outcome, Stage
from tests.actors.dkim.judging import CANONICALIZATIONS, actor, examine, judge
from tests.fakes import NOW_S, FakeClock, FakeResolver, budget
from tests.signing import BODY, HEADERS, dkim_sign, message, rsa_pem, rsa_record, signed_message, zone

ALGORITHMS = ("rsa-sha256", "ed25519-sha256")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("canonicalization", CANONICALIZATIONS)
async def test_every_algorithm_and_canonicalization_passes(algorithm: str, canonicalization: str) -> None:
    (found,) = await examine(signed_message(a=algorithm, c=canonicalization))

    assert (found.actor, found.name, found.outcome) == ("dkim", "dkim", Outcome.PASS)
    assert found.facts["header.d"] == "example.org"
    assert found.facts["header.s"] == ("rsa" if algorithm == "rsa-sha256" else "ed")
    assert found.facts["header.a"] == algorithm
    assert found.facts["header.i"] == "@example.org"
    assert len(found.facts["header.b"]) == 8


@pytest.mark.parametrize("canonicalization", CANONICALIZATIONS)
async def test_what_dkimpy_signs_passes(canonicalization: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dkim.time.time", lambda: NOW_S)
    forms = tuple(canonicalization.encode().split(b"/"))
    field = dkim.sign(HEADERS + b"\r\n" + BODY, b"rsa", b"example.org", rsa_pem(), canonicalize=forms)

    assert (await judge(message(field + HEADERS)))[0] == "pass"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("canonicalization", CANONICALIZATIONS)
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"Alice <alice@", b"Mallory <alice@", "signature mismatch"),
        (b"s=", b"t=1; s=", "signature mismatch"),
        (b"Dear Bob", b"Dear Rob", "body hash mismatch"),
        (b"From: ", b"From: evil@example.com\r\nFrom: ", "signature mismatch"),
    ],
)
async def test_tampered_mail_fails(algorithm: str, canonicalization: str, old: bytes, new: bytes, reason: str) -> None:
    good = signed_message(a=algorithm, c=canonicalization)
    bad = message(good.header_block.replace(old, new, 1), good.body.replace(old, new, 1))

    assert (bad.header_block, bad.body) != (good.header_block, good.body)
    assert await judge(bad) == ("fail", reason)


async def test_relaxed_forgives_what_simple_does_not() -> None:
    for canonicalization, outcome in (("relaxed/relaxed", "pass"), ("simple/simple", "fail")):
        good = signed_message(c=canonicalization)
        touched = message(
            good.header_block.replace(b"Subject: A  folded\r\n\t", b"SUBJECT:   A folded "),
            good.body.replace(b"two  spaces", b"two spaces   ").replace(b"spaces   ", b"spaces ") + b" \r\n\r\n",
        )
        assert (await judge(touched))[0] == outcome


async def test_mail_without_signature_is_none() -> None:
    assert await judge(message(HEADERS)) == ("none", "no signature")


async def test_a_missing_or_unusable_key_is_permerror_and_a_failed_lookup_is_temperror() -> None:
    good = signed_message()
    assert await judge(good, FakeResolver("")) == ("permerror", "no key record")
    assert await judge(good, FakeResolver(zone(rsa="v=DKIM1; p="))) == ("permerror", "key is revoked")
    assert await judge(good, FakeResolver(zone(rsa="v=DKIM1; p=A"))) == ("permerror", "key is not base64")
    assert await judge(good, FakeResolver(zone(rsa=rsa_record() + "; h=sha1"))) == (
        "permerror",
        "key is not for sha256",
    )
    assert await judge(good, FakeResolver(failing=["*"])) == ("temperror", "key lookup failed")


async def test_a_key_that_does_not_come_in_time_is_temperror() -> None:
    class Silent(FakeResolver):
        async def txt(self, name: str) -> Sequence[bytes]:
            await asyncio.Event().wait()
            return [name.encode()]

    silent = DkimActor(DkimConfig(), Silent(), FakeClock(), lookup_timeout_s=0.001)
    (found,) = await silent.examine(Stage.MESSAGE, signed_message(), budget())

    assert found.outcome is Outcome.TEMPERROR


async def test_a_key_beyond_the_limit_of_questions_is_temperror() -> None:
    resolver, limited = FakeResolver(zone()), budget()
    limited.dns_questions = DNS_QUESTIONS_MAX
    (found,) = await actor(resolver).examine(Stage.MESSAGE, signed_message(), limited)
    assert (found.outcome, resolver.questions) == (Outcome.TEMPERROR, [])


async def test_the_wrong_kind_of_key_is_permerror() -> None:
    resolver = FakeResolver(zone(ed=rsa_record()))

    assert await judge(signed_message(a="ed25519-sha256"), resolver) == ("permerror", "key is of another type than a=")


async def test_another_key_fails() -> None:
    resolver = FakeResolver(zone(rsa=rsa_record(1024)))

    assert await judge(signed_message(), resolver) == ("fail", "signature mismatch")


async def test_a_key_below_the_minimum_is_policy() -> None:
    resolver = FakeResolver(zone(rsa1024=rsa_record(1024)))

    assert (await judge(signed_message(s="rsa1024"), resolver))[0] == "pass"
    assert await judge(signed_message(s="rsa1024"), resolver, key_bits_min=2048) == (
        "policy",
        "key of 1024 bits is too short",
    )


async def test_a_key_for_the_domain_alone_does_not_sign_for_subdomains() -> None:
    resolver = FakeResolver(zone(rsa=rsa_record() + "; t=s"))

    assert (await judge(signed_message(i="alice@example.org"), resolver))[0] == "pass"
    assert (await judge(signed_message(i="alice@sub.example.org")))[0] == "pass"
    assert await judge(signed_message(i="alice@sub.example.org"), resolver) == (
        "permerror",
        "key is not for subdomains in i=",
    )


async def test_sha1_is_permerror_even_when_it_would_verify() -> None:
    assert await judge(signed_message(a="rsa-sha1")) == ("permerror", "rsa-sha1 is not secure")


async def test_a_length_that_covers_the_body_passes_and_one_with_text_appended_does_not() -> None:
    canonical_bytes = len(BODY)
    good = signed_message(c="simple/simple", l=str(canonical_bytes))
    assert (await judge(good))[0] == "pass"

    appended = message(good.header_block, good.body + b"Buy now!\r\n")
    assert await judge(appended) == ("policy", "l= leaves 10 bytes of the body unsigned")
    assert (await judge(message(good.header_block, good.body[:-10])))[0] == "fail"
    assert (await judge(signed_message(l="1")))[0] == "policy"


@pytest.mark.parametrize("answer", ["policy", "fail", "pass"])
async def test_what_a_partly_signed_body_is_worth_is_configured(answer: str) -> None:
    config = DkimConfig(unsigned_tail=answer)
    tested = DkimActor(config, FakeResolver(zone()), FakeClock())
    for length, expected in ((1, answer), (None, "pass")):
        signed = signed_message(**({"l": str(length)} if length else {}))
        (found,) = await tested.examine(Stage.MESSAGE, signed, budget())
        assert found.outcome.value == expected


@pytest.mark.parametrize(
    ("signed_after_s", "expires_after_s", "outcome"),
    [(0, 600, "pass"), (299, None, "pass"), (301, None, "fail"), (-900, -299, "pass"), (-900, -301, "fail")],
)
async def test_the_clock_is_the_time_of_receipt_with_the_configured_drift(
    signed_after_s: int, expires_after_s: int | None, outcome: str
) -> None:
    received_s = NOW_S - 10 * 86_400
    expires = None if expires_after_s is None else str(int(received_s) + expires_after_s)
    field = dkim_sign(t=str(int(received_s) + signed_after_s), x=expires)
    subject = message(field + HEADERS, received_at_s=received_s)

    assert (await judge(subject, clock_drift_s=300))[0] == outcome


async def test_without_a_time_of_receipt_the_clock_is_asked() -> None:
    expired = dkim_sign(x=str(int(NOW_S) - 86_400))

    assert await judge(message(expired + HEADERS, received_at_s=0.0)) == ("fail", "signature expired")


async def test_header_b_is_as_long_as_it_takes_to_tell_signatures_apart() -> None:
    fields = dkim_sign(b="AAAAAAAAAAAAAAAB") + dkim_sign(b="AAAAAAAAAAAAAAAC")
    found = await examine(message(fields + HEADERS))

    assert [finding.facts["header.b"] for finding in found] == ["AAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAC"]


@pytest.mark.parametrize("canonicalization", CANONICALIZATIONS)
async def test_internationalised_mail_is_verified_by_its_a_labels(canonicalization: str) -> None:
    """RFC 8616 section 5: d=, s= and the domain of i= may be U-labels; DNS and DMARC know A-labels."""
    headers = "From: Jürgen <jürgen@bücher.example>\r\nTo: b@example.net\r\nSubject: Grüße\r\n".encode()
    known = FakeResolver(f'xn--schlssel-95a._domainkey.xn--bcher-kva.example TXT "{rsa_record()}"')
    tags = {"d": "bücher.example", "s": "schlüssel", "i": "jürgen@news.BÜCHER.example", "h": "From:To:Subject"}
    (found,) = await examine(signed_message(headers, c=canonicalization, **tags), known)
    assert (found.outcome, found.detail) == (Outcome.PASS, "signature verified")
    assert found.facts["header.d"] == "xn--bcher-kva.example"
    assert found.facts["header.s"] == "xn--schlssel-95a"


async def test_an_identity_may_be_written_in_other_labels_than_its_domain() -> None:
    known = FakeResolver(f'rsa._domainkey.xn--bcher-kva.example TXT "{rsa_record()}"')
    for domain, identity in (
        ("bücher.example", "@xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "@bücher.example"),
    ):
        (found,) = await examine(signed_message(d=domain, i=identity), known)
        assert (found.outcome, found.facts["header.i"]) == (Outcome.PASS, "@xn--bcher-kva.example")


@pytest.mark.parametrize(
    "tags", [{"d": "b\ufffdcher.example"}, {"d": "a..bücher.example"}, {"s": "ü..x"}, {"i": "@büro.example"}]
)
async def test_what_is_no_internationalised_name_is_permerror(tags: dict[str, str]) -> None:
    assert (await judge(signed_message(**tags)))[0] == "permerror"


async def test_at_the_headers_stage_the_keys_are_asked_for_and_nothing_is_said() -> None:
    resolver = FakeResolver(zone())
    fields = dkim_sign() + dkim_sign(a="ed25519-sha256")

    assert await actor(resolver).examine(Stage.HEADERS, message(fields + HEADERS, b""), budget()) == ()
    assert sorted(name for name, _ in resolver.questions) == ["ed._domainkey.example.org", "rsa._domainkey.example.org"]


async def test_lookups_are_recorded_for_the_trace() -> None:
    clock = FakeClock()
    spent = Budget.lasting(clock, 5.0)
    await actor().examine(Stage.MESSAGE, signed_message(), spent)

    assert [(lookup.name, lookup.detail) for lookup in spent.lookups] == [
        ("dns.query", "TXT rsa._domainkey.example.org")
    ]


async def test_the_key_of_a_failure_is_told_when_it_is_missing_or_only_tried_out() -> None:
    """RFC 6376 section 3.6.1: who tests is to be treated as if he had not signed."""
    changed = message(dkim_sign() + HEADERS, BODY + b"more\r\n")
    testing = FakeResolver(zone(rsa=f"{rsa_record()}; t=s:y"))
    (missing,) = await examine(signed_message(), FakeResolver(""))
    (tested,) = await examine(changed, testing)
    (failed,) = await examine(changed)
    (good,) = await examine(signed_message(), testing)
    assert (missing.outcome, missing.facts[KEY]) == (Outcome.PERMERROR, NO_KEY)
    assert (tested.outcome, tested.facts[KEY]) == (Outcome.FAIL, TEST_KEY)
    assert "test mode" in tested.detail
    assert KEY not in failed.facts
    assert (good.outcome, good.facts.get(KEY)) == (Outcome.PASS, None)


@pytest.mark.parametrize(
    ("headers", "signed", "wanted", "outcome"),
    [
        (HEADERS, "From:To:Subject", ("Subject",), "pass"),
        (HEADERS, "From:To", ("Subject",), "policy"),
        (HEADERS, "From:To", ("subject", "to"), "policy"),
        (HEADERS, "From:To", ("Reply-To",), "pass"),
        (b"Subject: another\r\n" + HEADERS, "From:Subject", ("Subject",), "policy"),
        (b"Subject: another\r\n" + HEADERS, "From:Subject:Subject", ("Subject",), "pass"),
    ],
)
async def test_fields_that_must_be_signed_are_all_signed_or_the_signature_does_not_count(
    headers: bytes, signed: str, wanted: tuple[str, ...], outcome: str
) -> None:
    subject = signed_message(headers, h=signed)
    assert (await judge(subject))[0] == "pass"
    assert (await judge(subject, must_be_signed=wanted))[0] == outcome


async def test_a_failing_signature_fails_whatever_it_leaves_unsigned() -> None:
    subject = message(dkim_sign(h="From") + HEADERS, BODY + b"more\r\n")
    assert (await judge(subject, must_be_signed=("Subject",)))[0] == "fail"
