"""The DKIM actor on own signed mail: what passes, what does not, and what a stranger can make it do."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import dkim
import pytest

from actors.actor import DNS_QUESTIONS_MAX, Budget
from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.canonical import BodyHashes
from actors.model import KEY, NO_KEY, PLACE, TEST_KEY, Finding, Message, Outcome, Stage
from tests.fakes import NOW_S, FakeClock, FakeResolver, budget
from tests.signing import (
    BODY,
    HEADERS,
    dkim_sign,
    message,
    rsa_pem,
    rsa_record,
    signed_message,
    zone,
)

CANONICALIZATIONS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
ALGORITHMS = ("rsa-sha256", "ed25519-sha256")


def actor(resolver: FakeResolver | None = None, **settings: Any) -> DkimActor:
    return DkimActor(DkimConfig(**settings), resolver or FakeResolver(zone()), FakeClock())


async def examine(subject: Message, resolver: FakeResolver | None = None, **settings: Any) -> Sequence[Finding]:
    return await actor(resolver, **settings).examine(Stage.MESSAGE, subject, budget())


async def judge(subject: Message, resolver: FakeResolver | None = None, **settings: Any) -> tuple[str, str]:
    """Outcome and detail of the only signature."""
    (found,) = await examine(subject, resolver, **settings)
    return found.outcome.value, found.detail


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


async def test_one_finding_per_signature_in_order_and_the_rest_skipped() -> None:
    fields = dkim_sign() + dkim_sign(a="ed25519-sha256") + dkim_sign(b="AAAA") + dkim_sign(v="2") * 3
    found = await examine(message(fields + HEADERS), signatures_max=4)

    assert [finding.outcome.value for finding in found] == ["pass", "pass", "fail", "permerror", "skipped", "skipped"]
    assert [finding.facts.get("header.s") for finding in found] == ["rsa", "ed", "rsa", "rsa", None, None]
    assert [finding.facts["place"] for finding in found] == ["0", "1", "2", "3", "4", "5"]
    assert found[-1].detail == "beyond the first 4 signatures"


async def test_a_thousand_signatures_cost_no_more_than_the_cap() -> None:
    resolver = FakeResolver(zone())
    fields = b"".join(dkim_sign(s=f"s{number}", b="AAAA") for number in range(1000))
    found = await examine(message(fields + HEADERS), resolver)

    assert len(resolver.questions) == 5
    assert [finding.outcome.value for finding in found] == ["permerror"] * 5 + ["skipped"] * 21
    assert (found[-1].name, found[-1].detail) == ("unverified", "975 more signatures")


async def test_two_signatures_by_one_key_ask_for_it_once() -> None:
    resolver = FakeResolver(zone())
    found = await examine(message(dkim_sign() + dkim_sign(c="simple/simple") + HEADERS), resolver)

    assert resolver.questions == [("rsa._domainkey.example.org", "TXT")]
    assert [finding.outcome.value for finding in found] == ["pass", "pass"]


async def test_header_b_is_as_long_as_it_takes_to_tell_signatures_apart() -> None:
    fields = dkim_sign(b="AAAAAAAAAAAAAAAB") + dkim_sign(b="AAAAAAAAAAAAAAAC")
    found = await examine(message(fields + HEADERS))

    assert [finding.facts["header.b"] for finding in found] == ["AAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAC"]


async def test_lines_that_are_no_header_fields_do_not_make_the_rest_fail() -> None:
    good = signed_message()
    odd = b"no colon here\r\nX-\xfcmlaut: \xff\x00\r\n: no name\r\n" + good.header_block + b"garbage\r\n"

    assert (await judge(message(odd)))[0] == "pass"


async def test_eight_bit_and_nul_in_signed_fields_and_body_verify() -> None:
    headers = HEADERS.replace(b"Alice", b"\xff\x00\xfe")
    for canonicalization in CANONICALIZATIONS:
        assert (await judge(signed_message(headers, b"\x00\xff\r\n", c=canonicalization)))[0] == "pass"


async def test_an_empty_message_and_an_empty_body_have_an_answer() -> None:
    assert (await judge(Message()))[0] == "none"
    for canonicalization in CANONICALIZATIONS:
        assert (await judge(signed_message(body=b"", c=canonicalization)))[0] == "pass"


@pytest.mark.parametrize(
    "field",
    [
        b"DKIM-Signature:\r\n",
        b"DKIM-Signature: \xff\xfe\r\n",
        b"DKIM-Signature: v=1\r\n",
        b"DKIM-Signature: ;;;;\r\n",
        b"dkim-signature:" + b"=" * 5000 + b"\r\n",
        b"DKIM-Signature: b=A" + b" " * 20_000 + b"!\r\n",
        dkim_sign(h="From:" + ":".join(f"x{number}" for number in range(4000))),
        dkim_sign(h="From:" + ":".join(f"x{number}" for number in range(201))),
        dkim_sign(b="A"),
        dkim_sign(bh="A"),
        dkim_sign(d="-"),
        dkim_sign(s="a..b"),
        dkim_sign(s="x" * 64),
        dkim_sign(b="AAAA", a="ed25519-sha256"),
    ],
    ids=range(14),
)
async def test_hostile_fields_are_permerror_or_fail(field: bytes) -> None:
    assert (await judge(message(field + HEADERS)))[0] in {"permerror", "fail"}


async def test_fields_over_the_caps_are_refused_before_anything_is_asked() -> None:
    resolver = FakeResolver(zone())
    too_long = b"DKIM-Signature: b=A" + b" " * 20_000 + b"!\r\n"
    too_many = dkim_sign(h="From:" + ":".join("x" for _ in range(201)))
    await examine(message(too_long + too_many + HEADERS), resolver)

    assert resolver.questions == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize("canonicalization", CANONICALIZATIONS)
async def test_the_slowest_that_the_caps_allow_is_quick(canonicalization: str) -> None:
    # A b= of white space under the cap, 200 names over 4,000 fields, one line of a megabyte of spaces.
    names = ":".join(f"x{number}" for number in range(199))
    headers = b"".join(b"X%d: %s\r\n" % (number % 199, b" " * 200) for number in range(4000)) + HEADERS
    body = b"x" + b" " * 2**20 + b"y\r\n"
    body_hash = BodyHashes(body).sha256(relaxed=canonicalization.endswith("relaxed"))
    tags = {"c": canonicalization, "bh": base64.b64encode(body_hash).decode()}
    fields = b"".join(dkim_sign(headers, body, h=f"From:{names}", **tags) for _ in range(4))
    blanks = dkim_sign(headers, body, b="AAAA" + "\r\n " * 2000, **tags)
    found = await examine(message(fields + blanks + headers, body))

    assert [finding.outcome.value for finding in found] == ["pass"] * 4 + ["fail"]


async def test_a_signature_may_sign_older_ones_but_never_itself() -> None:
    older = dkim_sign(a="ed25519-sha256") + HEADERS
    newer = dkim_sign(older, h="From:DKIM-Signature:DKIM-Signature")

    assert [one.outcome.value for one in await examine(message(newer + older))] == ["pass", "pass"]
    replaced = message(newer + dkim_sign() + HEADERS)
    assert [one.outcome.value for one in await examine(replaced)] == ["fail", "pass"]


async def test_a_b_inside_another_tag_stays() -> None:
    for canonicalization in CANONICALIZATIONS:
        assert (await judge(signed_message(c=canonicalization, z="Subject:a|\r\n b=20c")))[0] == "pass"


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


async def test_a_signer_that_comes_first_is_verified_beyond_the_cap_and_keeps_its_place() -> None:
    junk = dkim_sign(d="junk.example") * 9
    found = await examine(message(junk + dkim_sign() + HEADERS), signers_first=("example.org",))
    assert [one.facts[PLACE] for one in found if one.outcome is Outcome.PASS] == ["9"]
    assert [one.facts[PLACE] for one in found if one.outcome is Outcome.SKIPPED] == ["4", "5", "6", "7", "8"]
