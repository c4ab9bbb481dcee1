"""The attacks of the espoofer paper ("Composition Kills", USENIX Security 2020) on a receiver: who sends from his own
domain, with SPF and DKIM of his own in order, gets no DMARC pass that a reader would take for the spoofed domain.
"""

import asyncio
from collections.abc import Sequence

import pytest

from actors.config import JudgementConfig, Lists, PolicyConfig
from actors.decide import decide
from actors.decide.authres import field_body
from actors.decide.dmarc import evaluate_dmarc
from actors.dkim.actor import DkimActor
from actors.examine import examine_all
from actors.model import Action, Client, Envelope, Finding, Message, Outcome, Verdict
from actors.policy.actor import PolicyActor
from actors.policy.config import FormFailures
from tests.fakes import NOW_S, FakeClock, FakeResolver
from tests.signing import BODY, dkim_sign, rsa_record

PROVEN = JudgementConfig(policy=PolicyConfig(lists=Lists(proven_authors=("legitimate.example",))))
REJECTING = JudgementConfig(policy=PolicyConfig(dmarc_reject=True))

ATTACKER_IP = "192.0.2.66"
ZONE = f"""
attack.example TXT "v=spf1 ip4:{ATTACKER_IP} -all"
sub.attack.example TXT "v=spf1 ip4:{ATTACKER_IP} -all"
helo.attack.example TXT "v=spf1 ip4:{ATTACKER_IP} -all"
rsa._domainkey.attack.example TXT "{rsa_record()}"
rsa._domainkey.legitimate.example.attack.example TXT "{rsa_record()}"
_dmarc.attack.example TXT "v=DMARC1; p=reject"
legitimate.example TXT "v=spf1 ip4:198.51.100.1 -all"
_dmarc.legitimate.example TXT "v=DMARC1; p=reject"
"""
REST = b"To: bob@example.net\r\nSubject: hello\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@x.example>\r\n"
OWN = b"From: <eve@attack.example>\r\n"
SPOOFED = b"From: <admin@legitimate.example>\r\n"


def mail(author: bytes, sender: bytes, helo: bytes = b"helo.attack.example", **tags: str | None) -> Message:
    """What the attacker sends, signed for his own domain."""
    headers = author + REST
    signed = dkim_sign(headers, BODY, **{"d": "attack.example", "h": "From:To:Subject", **tags}) + headers
    return Message(Envelope(client=Client(ATTACKER_IP, helo=helo), sender=sender, received_at_s=NOW_S), signed, BODY)


async def examined(message: Message, config: JudgementConfig, failing: tuple[str, ...] = ()) -> list[Finding]:
    resolver, clock = FakeResolver(ZONE, failing), FakeClock()
    actors = [DkimActor(config.dkim, resolver, clock), PolicyActor(config, resolver, None, clock)]
    return await examine_all(actors, message, clock, 20.0)


async def judged(author: bytes, sender: bytes, config: JudgementConfig) -> Verdict:
    message = mail(author, sender)
    return decide(await examined(message, config), message, config)


async def dmarc(
    author: bytes,
    sender: bytes = b"eve@attack.example",
    helo: bytes = b"helo.attack.example",
    **tags: str | None,
) -> tuple[Finding, list[Finding]]:
    """(the finding dmarc, all others) of a mail that the attacker has signed for his own domain."""
    findings = await examined(mail(author, sender, helo, **tags), JudgementConfig())
    conclusion = evaluate_dmarc(findings)
    assert conclusion is not None
    return conclusion, findings


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


async def test_an_author_that_has_to_be_proven_is_refused_when_dmarc_fails_whatever_he_publishes() -> None:
    named = JudgementConfig(policy=PolicyConfig(lists=Lists(proven_authors=("legitimate.example", "attack.example"))))
    verdict = await judged(SPOOFED, b"eve@attack.example", named)
    assert verdict.action is Action.REJECT
    assert verdict.reasons[0] == "forged_author: listed as legitimate.example, DMARC fail"
    assert (await judged(SPOOFED, b"eve@attack.example", JudgementConfig())).action is Action.ACCEPT
    assert (await judged(OWN, b"eve@attack.example", named)).action is Action.ACCEPT


@pytest.mark.parametrize(("config", "why"), [(PROVEN, "listed as legitimate.example"), (REJECTING, "publishes reject")])
@pytest.mark.parametrize(
    ("signature_domain", "sender", "failing"),
    [
        ("legitimate.example", b"eve@attack.example", "dead._domainkey.legitimate.example"),
        ("attack.example", b"eve@legitimate.example", "legitimate.example"),
        ("x.legitimate.example", b"eve@attack.example", "dead._domainkey.x.legitimate.example"),
    ],
)
async def test_dns_that_an_attacker_makes_fail_gets_his_mail_held_and_not_accepted(
    config: JudgementConfig, why: str, signature_domain: str, sender: bytes, failing: str
) -> None:
    dead = b"DKIM-Signature: v=1; a=rsa-sha256; d=%b; s=dead; h=from; bh=AAAA; b=AAAA\r\n" % signature_domain.encode()
    message = mail(dead + SPOOFED, sender)
    verdict = decide(await examined(message, config, (failing,)), message, config)
    assert verdict.action is Action.TEMPFAIL
    assert verdict.reasons[0].startswith("author_unanswered: ")
    assert why in verdict.reasons[0]
    assert verdict.reply is not None
    assert (verdict.reply.code, verdict.reply.enhanced) == (451, "4.7.1")
    lax = JudgementConfig()
    assert decide(await examined(message, lax, (failing,)), message, lax).action is Action.ACCEPT


async def test_an_author_that_has_to_be_proven_is_held_when_dns_does_not_answer_about_his_record() -> None:
    message = mail(SPOOFED, b"eve@attack.example")
    for config, action in ((PROVEN, Action.TEMPFAIL), (REJECTING, Action.ACCEPT)):
        found = await examined(message, config, ("_dmarc.legitimate.example",))
        assert decide(found, message, config).action is action


async def test_the_true_author_is_not_held_when_dns_fails_about_something_else() -> None:
    config = JudgementConfig(
        policy=PolicyConfig(dmarc_reject=True, lists=Lists(proven_authors=("attack.example",))),
    )
    message = mail(OWN, b"eve@attack.example")
    for failing in ("attack.example", "rsa._domainkey.attack.example"):
        assert decide(await examined(message, config, (failing,)), message, config).action is Action.ACCEPT


async def test_the_authors_good_signature_counts_wherever_it_stands_among_too_many() -> None:
    headers = OWN + REST
    config = JudgementConfig(policy=PolicyConfig(dmarc_reject=True, lists=Lists(proven_authors=("attack.example",))))
    lists = b"DKIM-Signature: v=1; a=rsa-sha256; d=list.example; s=x; h=from; bh=AAAA; b=AAAA\r\n" * 5
    good = dkim_sign(headers, BODY, d="attack.example", h="From:To:Subject")
    forwarded = Envelope(
        client=Client("198.51.100.9", helo=b"l.example"), sender=b"x@list.example", received_at_s=NOW_S
    )
    message = Message(forwarded, lists + good + headers, BODY)
    assert decide(await examined(message, config), message, config).action is Action.ACCEPT


@pytest.mark.parametrize(
    "author",
    [
        b"From: <admin@legitimate.\r\n example>\r\n",
        b"From: admin@legitimate .example\r\n",
        b"From: admin @ legitimate(x) . (y)example\r\n",
    ],
)
async def test_an_author_in_obsolete_syntax_is_the_author(author: bytes) -> None:
    """RFC 5322 section 4.4: white space and comments may stand around the dots of a domain."""
    for config in (PROVEN, REJECTING):
        assert (await judged(author, b"eve@attack.example", config)).action is Action.REJECT
    found, _ = await dmarc(author)
    assert (found.outcome, found.facts["header.from"]) == (Outcome.FAIL, "legitimate.example")


LEGITIMATE = b"<admin@legitimate.example>"
STRANGER = b"From: <eve@stranger.example>\r\n"
AMBIGUOUS = [
    STRANGER + SPOOFED,
    SPOOFED + STRANGER,
    STRANGER + b"From: " + b" " * 9000 + b"x (\r\nFrom: " + LEGITIMATE + b"\r\n",
    b"From: " + LEGITIMATE + b", <eve@stranger.example>\r\n",
    b"From: " + LEGITIMATE + b"(\r\n",
    b"From: admin@legitimate.example admin\r\n",
    b'From: "x ' + LEGITIMATE + b"\r\n",
    b"From: x" + b" " * 9000 + LEGITIMATE + b"\r\n",
    "From: admin@legitimate\u3002example admin\r\n".encode(),
    b'From: <admin@"legitimate.example">\r\n',
    b'From: admin@legitimate"."example\r\n',
    b"From: (admin@legitimate . example\r\n",
    b"From: =?utf-8?q?admin=40legit?= =?utf-8?q?imate.example?= (\r\n",
]


@pytest.mark.parametrize("author", AMBIGUOUS)
@pytest.mark.parametrize(("config", "why"), [(PROVEN, "listed as legitimate.example"), (REJECTING, "publishes reject")])
async def test_a_from_that_dmarc_cannot_judge_is_refused_when_it_shows_a_domain_that_must_be_proven(
    config: JudgementConfig, why: str, author: bytes
) -> None:
    verdict = await judged(author, b"eve@attack.example", config)
    assert verdict.action is Action.REJECT
    assert verdict.reasons[0] == f"ambiguous_author: From shows legitimate.example: {why}"
    assert (await judged(author, b"eve@attack.example", JudgementConfig())).action is Action.ACCEPT


async def test_a_domain_that_must_be_proven_is_not_shown_in_another_authors_name() -> None:
    """That is no question of DMARC, which judges the author: `dmarc_reject` does not refuse it."""
    author = b"From: admin@legitimate.example <eve@attack.example>\r\n"
    assert (await judged(author, b"eve@attack.example", PROVEN)).action is Action.REJECT
    assert (await judged(author, b"eve@attack.example", REJECTING)).action is Action.ACCEPT


@pytest.mark.parametrize("listed", ["attack.example", "example"])
async def test_what_an_author_who_is_proven_shows_besides_does_not_get_his_mail_refused(listed: str) -> None:
    config = JudgementConfig(policy=PolicyConfig(lists=Lists(proven_authors=(listed,))))
    author = b"From: ann@else.example via desk <eve@attack.example>\r\n"
    assert (await judged(author, b"eve@attack.example", config)).action is Action.ACCEPT


async def test_a_from_with_more_domains_than_are_asked_about_is_refused_with_dmarc_reject() -> None:
    many = b"From: " + b", ".join(b"a@%d.example" % number for number in range(9)) + b"\r\n"
    verdict = await judged(many, b"eve@attack.example", REJECTING)
    assert verdict.reasons[0] == "ambiguous_author: From shows 0.example: and 8 other domains"


MORE_THAN_IS_READ = [
    b"From: " + b"".join(b"a@x%d.example, " % number for number in range(20)) + LEGITIMATE + b"\r\n",
    b"From: "
    + b"".join(b"a@b%d.c " % number for number in range(20))
    + b"admin@legitimate.example <eve@attack.example>\r\n",
    OWN + STRANGER + SPOOFED + OWN.replace(b"eve", b"bo"),
    OWN + OWN.replace(b"eve", b"bo") + SPOOFED + STRANGER,
    b"From: =?utf-16be?b?AGEAQABiAC4AYw==?=, <eve@attack.example>\r\n",
    b"From: =?utf-16be?b?AGEAQABiAC4AYw==?= (\r\n",
]


@pytest.mark.parametrize("config", [PROVEN, REJECTING])
@pytest.mark.parametrize("author", MORE_THAN_IS_READ)
async def test_a_from_that_shows_more_than_is_read_is_refused_where_authors_must_be_proven(
    config: JudgementConfig, author: bytes
) -> None:
    verdict = await judged(author, b"eve@attack.example", config)
    assert verdict.action is Action.REJECT
    assert verdict.reasons[0].endswith("more than is read")
    assert (await judged(author, b"eve@attack.example", JudgementConfig())).action is Action.ACCEPT


@pytest.mark.parametrize("author", [STRANGER + SPOOFED, SPOOFED + STRANGER])
async def test_a_strangers_slow_name_does_not_hide_what_another_domain_publishes(author: bytes) -> None:
    class Slow(FakeResolver):
        async def txt(self, name: str) -> Sequence[bytes]:
            if "stranger" in name:
                await asyncio.Event().wait()
            return await super().txt(name)

    clock, message = FakeClock(), mail(author, b"eve@attack.example")
    resolver = Slow(ZONE)
    actors = [DkimActor(REJECTING.dkim, resolver, clock), PolicyActor(REJECTING, resolver, None, clock)]
    verdict = decide(await examine_all(actors, message, clock, 0.05), message, REJECTING)
    assert (verdict.action, verdict.reasons[0]) == (
        Action.REJECT,
        "ambiguous_author: From shows legitimate.example: publishes reject",
    )


async def test_a_from_that_dmarc_cannot_judge_is_held_when_dns_does_not_tell_what_its_domains_publish() -> None:
    message = mail(STRANGER + SPOOFED, b"eve@attack.example")
    verdict = decide(await examined(message, REJECTING, ("_dmarc.legitimate.example",)), message, REJECTING)
    assert (verdict.action, verdict.reasons[0]) == (
        Action.TEMPFAIL,
        "author_unanswered: From shows legitimate.example: DNS gave no answer",
    )
    lax = JudgementConfig()
    found = await examined(message, lax, ("_dmarc.legitimate.example",))
    assert decide(found, message, lax).action is Action.ACCEPT


async def test_domains_that_nobody_protects_may_stand_in_one_from() -> None:
    author = b"From: a@one.example, b@stranger.example\r\n"
    for config in (PROVEN, REJECTING):
        assert (await judged(author, b"eve@attack.example", config)).action is Action.ACCEPT


@pytest.mark.parametrize(
    ("author", "key"),
    [(AMBIGUOUS[0], "from_multiple"), (AMBIGUOUS[3], "from_multiple"), (AMBIGUOUS[4], "from_malformed")],
)
async def test_what_dmarc_cannot_judge_is_refused_by_its_form_if_configured(author: bytes, key: str) -> None:
    config = JudgementConfig(policy=PolicyConfig(on_form=FormFailures(**{key: "reject"})))
    verdict = await judged(author, b"eve@attack.example", config)
    assert (verdict.action, verdict.reasons[0]) == (Action.REJECT, f"faulty: {key}")
