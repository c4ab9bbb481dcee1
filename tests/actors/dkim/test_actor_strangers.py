"""What a stranger can make the DKIM actor do: many signatures, odd ones, hostile ones, and what they cost."""

import base64

import pytest

from actors.dkim.canonical import BodyHashes
from actors.model import PLACE, Message, Outcome
from tests.actors.dkim.judging import CANONICALIZATIONS, examine, judge
from tests.fakes import FakeResolver
from tests.signing import HEADERS, dkim_sign, message, signed_message, zone


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


async def test_a_signer_that_comes_first_is_verified_beyond_the_cap_and_keeps_its_place() -> None:
    junk = dkim_sign(d="junk.example") * 9
    found = await examine(message(junk + dkim_sign() + HEADERS), signers_first=("example.org",))
    assert [one.facts[PLACE] for one in found if one.outcome is Outcome.PASS] == ["9"]
    assert [one.facts[PLACE] for one in found if one.outcome is Outcome.SKIPPED] == ["4", "5", "6", "7", "8"]
