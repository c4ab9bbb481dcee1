"""ARC chains made by dkimpy: passing, tampered, ill-formed; the published suite is tests/conformance/test_arc.py."""

import dkim
import pytest

from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.arc import CHAIN_BYTES_MAX, ChainError, instance_of
from actors.model import Finding, Message, Stage
from tests.fakes import NOW_S, FakeClock, FakeResolver, budget
from tests.signing import BODY, HEADERS, message, rsa_pem, zone

RESULTS = b"Authentication-Results: mx%d.example.org; arc=%s; spf=pass smtp.mailfrom=example.org\r\n"


def sealed(sets: int, headers: bytes = HEADERS, body: bytes = BODY) -> bytes:
    """The header section with so many ARC sets on top, sealed one after the other."""
    for _ in range(sets):
        number = headers.count(b"ARC-Seal:")
        headers = RESULTS % (number, b"pass" if number else b"none") + headers
        fields = dkim.arc_sign(
            headers + b"\r\n" + body,
            b"rsa",
            b"example.org",
            rsa_pem(),
            b"mx%d.example.org" % number,
            include_headers=[b"From", b"To", b"Subject", b"Date"],
            timestamp=str(int(NOW_S)),
        )
        headers = b"".join(field if field.endswith(b"\r\n") else field + b"\r\n" for field in fields) + headers
    return headers


async def chain(subject: Message, resolver: FakeResolver | None = None) -> Finding | None:
    actor = DkimActor(DkimConfig(), resolver or FakeResolver(zone()), FakeClock())
    found = [finding for finding in await actor.examine(Stage.MESSAGE, subject, budget()) if finding.name == "arc"]
    assert len(found) <= 1
    return found[0] if found else None


async def outcome(headers: bytes, body: bytes = BODY, resolver: FakeResolver | None = None) -> str:
    found = await chain(message(headers, body), resolver)
    assert found is not None
    return found.outcome.value


async def test_mail_without_arc_fields_has_no_arc_finding() -> None:
    assert await chain(message(HEADERS)) is None


@pytest.mark.parametrize("sets", [1, 2, 5])
async def test_a_chain_passes_whatever_its_length(sets: int) -> None:
    found = await chain(message(sealed(sets)))

    assert found is not None
    assert (found.actor, found.name, found.outcome.value) == ("dkim", "arc", "pass")
    assert found.facts == {"header.d": "example.org", "sets": str(sets)}


async def test_a_changed_body_or_signed_field_breaks_the_newest_signature() -> None:
    headers = sealed(2)

    assert await outcome(headers, BODY + b"more\r\n") == "fail"
    assert await outcome(headers.replace(b"From: Alice", b"From: Mallory")) == "fail"
    assert await outcome(headers.replace(b"Message-ID: <1", b"Message-ID: <2")) == "pass"


async def test_a_change_between_two_seals_leaves_the_chain_whole() -> None:
    footer = BODY + b"-- list footer\r\n"

    assert await outcome(sealed(1, sealed(1), footer), footer) == "pass"


async def test_a_changed_result_of_an_older_set_breaks_its_seal() -> None:
    headers = sealed(2)
    older = headers.rindex(b"ARC-Authentication-Results")

    assert await outcome(headers[:older] + headers[older:].replace(b"spf=pass", b"spf=fail", 1)) == "fail"


@pytest.mark.parametrize("name", [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"])
async def test_a_missing_doubled_or_unnumbered_field_fails(name: bytes) -> None:
    headers = sealed(1)
    start = headers.index(name + b":")
    end = headers.index(b"\r\nA", start) + 2
    field = headers[start:end]

    assert await outcome(headers.replace(field, b"")) == "fail"
    assert await outcome(field + headers) == "fail"
    assert await outcome(headers.replace(field, field.replace(b"i=1", b"i=x"))) == "fail"
    assert await outcome(headers.replace(field, field.replace(b"i=1", b"i=2"))) == "fail"


@pytest.mark.parametrize("validation", [b"fail", b"pass", b"", b"maybe"])
async def test_a_seal_that_does_not_say_what_its_place_demands_fails(validation: bytes) -> None:
    assert await outcome(sealed(1).replace(b"cv=none", b"cv=" + validation)) == "fail"


async def test_more_sets_than_fifty_or_a_gap_fail_before_any_key_is_asked() -> None:
    resolver = FakeResolver(zone())
    one = sealed(1)
    arc_set = one.partition(b"\r\nAuthentication-Results: mx")[0]
    chains = {
        count: b"".join(
            arc_set.replace(b"i=1", b"i=%d" % number).replace(b"cv=none", b"cv=pass" if number > 1 else b"cv=none")
            + b"\r\n"
            for number in range(1, count + 1)
        )
        for count in (50, 51)
    }
    assert await outcome(chains[51] + HEADERS, resolver=resolver) == "fail"
    assert await outcome(one.replace(b"i=1", b"i=2"), resolver=resolver) == "fail"
    assert resolver.questions == []
    await outcome(chains[50] + HEADERS, resolver=resolver)
    assert resolver.questions != []


async def test_lookups_that_fail_are_temperror_and_missing_keys_fail() -> None:
    assert await outcome(sealed(1), resolver=FakeResolver(failing=["*"])) == "temperror"
    assert await outcome(sealed(1), resolver=FakeResolver("")) == "fail"


@pytest.mark.parametrize("value", [b"", b"\xff\x00", b"i=1", b"i=" + b"1" * 5000, b" " * 20_000, b";" * 5000])
async def test_hostile_fields_fail(value: bytes) -> None:
    for name in (b"ARC-Seal: ", b"ARC-Message-Signature: ", b"ARC-Authentication-Results: "):
        assert await outcome(name + value + b"\r\n" + HEADERS) == "fail"


async def test_a_chain_above_the_cap_is_not_verified_at_all() -> None:
    resolver = FakeResolver(zone())
    assert await outcome(sealed(1) + b"ARC-Seal: i=2;" + b"x" * CHAIN_BYTES_MAX + b"\r\n", resolver=resolver) == "fail"
    assert resolver.questions == []


def test_the_instance_is_a_tag_of_its_own() -> None:
    assert instance_of((b"ARC-Seal", b"a=rsa; \r\n i = 07 ;b=x")) == 7
    assert instance_of((b"ARC-Authentication-Results", b" i=7; i=8")) == 7
    for name, value in ((b"ARC-Seal", b"a=i=7; hi=8; i=123; i=9x"), (b"ARC-Authentication-Results", b"x; i=7")):
        with pytest.raises(ChainError):
            instance_of((name, value))
