"""The attacks of the espoofer paper ("Composition Kills", USENIX Security 2020) on a receiver: who sends from his own
domain, with SPF and DKIM of his own in order, gets no DMARC pass that a reader would take for the spoofed domain.
"""

import pytest

from actors.config import JudgementConfig, Lists, PolicyConfig
from actors.decide.authres import field_body
from actors.decide.dmarc import evaluate_dmarc
from actors.dkim.actor import DkimActor
from actors.examine import examine_all
from actors.model import Client, Envelope, Message, Outcome
from actors.policy.actor import PolicyActor
from tests.actors.spoofing import ATTACKER_IP, OWN, REST, SPOOFED, ZONE, dmarc, judged
from tests.fakes import NOW_S, FakeClock, FakeResolver
from tests.signing import BODY, dkim_sign, rsa_record


async def test_the_attackers_own_mail_passes_for_his_own_domain() -> None:
    found, others = await dmarc(OWN)
    assert (found.outcome, found.facts["header.from"]) == (Outcome.PASS, "attack.example")
    assert found.facts["aligned"] == "dkim:attack.example,spf:attack.example"
    assert b"dmarc=pass header.from=attack.example" in field_body("mx.example.net", others, found)


@pytest.mark.parametrize(
    "author",
    [
        OWN + SPOOFED,
        SPOOFED + OWN,
        b" From: <eve@attack.example>\r\n" + SPOOFED,
        b"From : <eve@attack.example>\r\n" + SPOOFED,
        SPOOFED + b"From : <eve@attack.example>\r\n",
        b"From\r\n : <eve@attack.example>\r\n" + SPOOFED,
        SPOOFED + b"From\r\n : <eve@attack.example>\r\n",
        b"FROM: <eve@attack.example>\r\nfrom: <admin@legitimate.example>\r\n",
        b"From: <eve@attack.example>, <admin@legitimate.example>\r\n",
        b"From: <admin@legitimate.example>, <eve@attack.example>\r\n",
        b"From: =?utf-8?B?PGFkbWluQGxlZ2l0aW1hdGUuZXhhbXBsZT4=?=, <eve@attack.example>\r\n",
        b"From: <@attack.example,@any.example:admin@legitimate.example>\r\n",
        b"From: <eve@attack.example>\\, <admin@legitimate.example>\r\n",
        b"From: <admin@legitimate.example>\\, <eve@attack.example>\r\n",
        b"From: admin@legitimate.example,<eve@attack.example>\r\n",
        b"From: <eve@attack.example>admin@legitimate.example\r\n",
        b"From: admin@legitimate.example <eve@attack.example>\r\n",
        b"From: <eve@attack.example> <admin@legitimate.example>\r\n",
        b"From: <admin@legitimate.example> <eve@attack.example>\r\n",
        b"From: admin@legitimate.example\x00@attack.example\r\n",
        b"From: <admin@legitimate.example\x00.attack.example>\r\n",
        b"From: <admin@legitimate.example(.attack.example>\r\n",
        b"From: <admin@legitimate.example(@attack.example)>\r\n",
        b"From: <admin@legitimate.example@attack.example>\r\n",
        b"From: <eve@attack.example@legitimate.example>\r\n",
        b'From: "admin@legitimate.example" admin@legitimate.example <eve@attack.example>\r\n',
        b"From: a: <admin@legitimate.example>;, <eve@attack.example>\r\n",
        b"From: (eve@attack.example) <admin@legitimate.example>\r\n",
        b"From: admin@legitimate.example (<eve@attack.example>)\r\n",
        b"From: <admin@legitimate.example>\r\n\t,<eve@attack.example>\r\n",
        b"From: " + b"<eve@attack.example>, " * 20 + b"<admin@legitimate.example>\r\n",
        b"From: " + b"<eve@attack.example>" * 20 + b"<admin@legitimate.example>\r\n",
        b"From:\r\n <admin@legitimate.example>\r\n",
        b"From: =?utf-8?Q?admin=40legitimate.example?=\r\n",
        b"From: =?utf-8?B?YWRtaW5AbGVnaXRpbWF0ZS5leGFtcGxl?= <admin@legitimate.example>\r\n",
        b"Sender: <eve@attack.example>\r\n" + SPOOFED,
        b"Resent-From: <eve@attack.example>\r\n" + SPOOFED,
        SPOOFED,
        b"From: <admin@sub.legitimate.example>\r\n",
        b"From: <admin@legitimate.example.>\r\n",
        b"",
    ],
)
async def test_a_from_that_shows_the_spoofed_domain_gets_no_pass(author: bytes) -> None:
    found, _ = await dmarc(author)
    assert found.outcome is not Outcome.PASS


@pytest.mark.parametrize("field", [b"Sender", b"Resent-From", b"Reply-To"])
async def test_another_field_never_is_the_author(field: bytes) -> None:
    found, _ = await dmarc(OWN + field + b": <admin@legitimate.example>\r\n")
    assert (found.outcome, found.facts["header.from"]) == (Outcome.PASS, "attack.example")


async def test_a_quoted_name_is_a_name() -> None:
    found, _ = await dmarc(b'From: "admin@legitimate.example" <eve@attack.example>\r\n')
    assert (found.outcome, found.facts["header.from"]) == (Outcome.PASS, "attack.example")


@pytest.mark.parametrize(
    ("sender", "helo"),
    [
        (b"any@notexist.legitimate.example", b"helo.attack.example"),
        (b"", b"helo.attack.example"),
        (b"", b"legitimate.example"),
        (b"", b"legitimate.example\x00.attack.example"),
        (b"", b"attack.example\x00.legitimate.example"),
        (b"(any@legitimate.example", b"helo.attack.example"),
        (b"any@legitimate.example(.attack.example", b"helo.attack.example"),
        (b"any@legitimate.example'@any.attack.example", b"helo.attack.example"),
        (b"any@legitimate.example\x00.attack.example", b"helo.attack.example"),
        (b"any\x00@legitimate.example", b"helo.attack.example"),
        (b"any@attack.example\x00@legitimate.example", b"helo.attack.example"),
        (b"@legitimate.example,@any.example:'any@attack.example", b"helo.attack.example"),
        (b"any@legitimate.example@attack.example", b"helo.attack.example"),
        (b"any@attack.example@legitimate.example", b"helo.attack.example"),
        (b"any@legitimate.example.attack.example", b"helo.attack.example"),
        (b"\xff@legitimate.example\xff.attack.example", b"\xff.attack.example"),
    ],
)
async def test_no_envelope_authenticates_the_spoofed_author(sender: bytes, helo: bytes) -> None:
    found, others = await dmarc(SPOOFED, sender, helo)
    assert (found.outcome, found.facts["header.from"]) == (Outcome.FAIL, "legitimate.example")
    spf = next(one for one in others if one.name == "spf")
    assert spf.outcome is not Outcome.PASS or spf.facts["domain"].endswith("attack.example")
    written = field_body("mx.example.net", others, found)
    assert written.isascii()
    assert b"\x00" not in written


@pytest.mark.parametrize(
    "tags",
    [
        {"d": "legitimate.example"},
        {"d": "legitimate.example", "s": "attack.example.\x00.any"},
        {"d": "legitimate.example\x00.attack.example"},
        {"d": "legitimate.example(.attack.example"},
        {"d": "legitimate.example'a.attack.example"},
        {"d": "legitimate.example\\.attack.example"},
        {"d": "legitimate.example.attack.example"},
        {"d": "attack.example", "i": "@legitimate.example"},
        {"d": "example", "i": "@legitimate.example"},
        {"d": "attack.example", "i": "admin@legitimate.example@attack.example"},
        {"d": "attack.example; d=legitimate.example"},
        {"d": "attack.example", "h": "To:Subject"},
    ],
)
async def test_no_signature_of_the_attacker_authenticates_the_spoofed_author(tags: dict[str, str]) -> None:
    found, _ = await dmarc(SPOOFED, **tags)
    assert (found.outcome, found.facts["header.from"]) == (Outcome.FAIL, "legitimate.example")


async def test_what_is_added_to_a_good_signature_of_the_spoofed_domain_breaks_it() -> None:
    """Replay with a second From, or with text behind l=: neither is a pass."""
    zone = f'{ZONE}\nrsa._domainkey.legitimate.example TXT "{rsa_record()}"'
    headers = SPOOFED + REST
    config, clock = JudgementConfig(), FakeClock()
    envelope = Envelope(
        client=Client(ATTACKER_IP, helo=b"attack.example"), sender=b"eve@attack.example", received_at_s=NOW_S
    )
    good = dkim_sign(headers, BODY, d="legitimate.example", h="From:To:Subject")
    partial = dkim_sign(headers, BODY, d="legitimate.example", h="From:To:Subject", l=str(len(BODY)))
    outcomes = []
    for message in (
        Message(envelope, good + headers, BODY),
        Message(envelope, OWN + good + headers, BODY),
        Message(envelope, good + headers + OWN, BODY),
        Message(envelope, partial + headers, BODY + b"more\r\n"),
    ):
        resolver = FakeResolver(zone)
        actors = [DkimActor(config.dkim, resolver, clock), PolicyActor(config, resolver, None, clock)]
        conclusion = evaluate_dmarc(await examine_all(actors, message, clock, 20.0))
        assert conclusion is not None
        outcomes.append(conclusion.outcome)
    assert outcomes[0] is Outcome.PASS
    assert Outcome.PASS not in outcomes[1:]


@pytest.mark.parametrize(
    "author",
    [
        SPOOFED,
        b"From: <eve@attack.example>\r\nFrom: <admin@legitimate.example>\r\n",
        b"From: admin@legitimate.example <eve@attack.example>\r\n",
        b"From: <admin@legitimate.example>, <eve@attack.example>\r\n",
    ],
)
async def test_who_forges_a_domain_that_is_on_an_allow_list_gets_nothing_from_it(author: bytes) -> None:
    """The list is asked about the author and about the sender, and what is written there is not enough."""
    lists = Lists(allow_authors=("legitimate.example",), allow_senders=("legitimate.example",))
    config = JudgementConfig(policy=PolicyConfig(lists=lists))
    for sender in (b"eve@attack.example", b"admin@legitimate.example"):
        verdict = await judged(author, sender, config)
        assert not verdict.reasons[0].startswith("allowed:")


async def test_the_true_author_on_an_allow_list_is_let_in() -> None:
    config = JudgementConfig(policy=PolicyConfig(lists=Lists(allow_authors=("attack.example",))))
    verdict = await judged(OWN, b"eve@attack.example", config)
    assert verdict.reasons[0] == "allowed: listed as attack.example, DMARC pass"
