"""Authors whom `proven_authors` or `dmarc_reject` protects, and From fields that show one of them."""

import asyncio
from collections.abc import Sequence

import pytest

from actors.config import JudgementConfig, Lists, PolicyConfig
from actors.decide import decide
from actors.dkim.actor import DkimActor
from actors.examine import examine_all
from actors.model import Action, Client, Envelope, Message, Outcome
from actors.policy.actor import PolicyActor
from actors.policy.config import FormFailures
from tests.actors.spoofing import OWN, PROVEN, REJECTING, REST, SPOOFED, ZONE, dmarc, examined, judged, mail
from tests.fakes import NOW_S, FakeClock, FakeResolver
from tests.signing import BODY, dkim_sign


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
