"""Whose word counts in an ARC chain: trusted sealers, with none but trusted ones after them, and nobody else."""

from collections.abc import Sequence

import pytest

from actors.config import DkimConfig, JudgementConfig, PolicyConfig
from actors.decide import decide
from actors.dkim.actor import DkimActor
from actors.dkim.canonical import BodyHashes
from actors.dkim.seal import Sealer, seal
from actors.dkim.signing.private_key import PrivateKey
from actors.dkim.verify import Evidence
from actors.examine import examine_all
from actors.model import FORGIVEN, VOUCHED, Action, Client, Envelope, Finding, Message, Outcome, Stage, Verdict
from actors.policy.actor import PolicyActor
from tests.fakes import NOW_S, FakeClock, FakeResolver, budget
from tests.signing import BODY, HEADERS, message, rsa_key, rsa_record

PASSED = b"mx.list.example; spf=pass smtp.mailfrom=example.org; dmarc=pass header.from=example.org"
FAILED = b"mx.list.example; arc=pass; dmarc=fail header.from=example.org"
SEALERS = ("list.example", "forwarder.example", "stranger.example", "xn--bcher-kva.example")
ZONE = "\n".join(f'rsa._domainkey.{domain} TXT "{rsa_record()}"' for domain in SEALERS)
TRUSTED = ("List.example", "forwarder.example")

Hop = tuple[str, bytes]


def forwarded(hops: Sequence[Hop], headers: bytes = HEADERS, body: bytes = BODY) -> bytes:
    """The header section with a good set of each (sealer, what it says)."""
    outcome = Outcome.NONE
    for domain, results in hops:
        mail = message(headers, body)
        leaving = Evidence(mail.fields_by_name, BodyHashes(body), NOW_S, DkimConfig())
        fields = seal(
            leaving,
            outcome,
            results,
            Sealer(domain, "rsa", PrivateKey("rsa", 2048, rsa_key(2048)), (b"from", b"subject")),
        )
        assert fields is not None
        headers, outcome = b"".join(b"%b:%b\r\n" % one for one in fields) + headers, Outcome.PASS
    return headers


async def arc(headers: bytes, body: bytes = BODY, trusted: tuple[str, ...] = TRUSTED) -> Finding:
    actor = DkimActor(DkimConfig(trusted_sealers=trusted), FakeResolver(ZONE), FakeClock())
    found = await actor.examine(Stage.MESSAGE, message(headers, body), budget())
    return next(one for one in found if one.name == "arc")


@pytest.mark.parametrize(
    ("hops", "author"),
    [
        ([("list.example", PASSED)], "example.org"),
        ([("list.example", PASSED), ("forwarder.example", FAILED)], "example.org"),
        ([("stranger.example", FAILED), ("list.example", PASSED)], "example.org"),
        ([("stranger.example", PASSED), ("list.example", FAILED)], ""),
        ([("list.example", PASSED), ("stranger.example", FAILED)], ""),
        ([("stranger.example", PASSED)], ""),
        ([("list.example", FAILED)], ""),
        ([("list.example", b"mx.list.example; spf=pass smtp.mailfrom=example.org")], ""),
        ([("list.example", b"mx.list.example; none")], ""),
        ([("list.example", PASSED + b"; dmarc=fail header.from=example.org")], ""),
        ([("list.example", b"mx.list.example; (dmarc=pass header.from=example.org) spf=pass")], ""),
        ([("list.example", b"mx.list.example; dmarc=pass header.from=(")], ""),
        ([("list.example", b"mx.list.example; dmarc=pass header.from=EXAMPLE.org.")], "example.org"),
        ([("list.example", b"mx.list.example; dmarc=pass")], ""),
    ],
)
async def test_the_word_of_a_trusted_sealer_counts_when_only_trusted_ones_came_after_him(
    hops: list[Hop], author: str
) -> None:
    found = await arc(forwarded(hops))
    assert found.outcome is Outcome.PASS
    assert found.facts.get(VOUCHED, "") == author


async def test_a_trusted_sealer_may_be_named_by_u_labels() -> None:
    found = await arc(forwarded([("xn--bcher-kva.example", PASSED)]), trusted=("B\u00fccher.example",))
    assert found.facts.get(VOUCHED) == "example.org"


async def test_nobody_is_trusted_by_default() -> None:
    assert VOUCHED not in (await arc(forwarded([("list.example", PASSED)]), trusted=())).facts


async def test_a_chain_that_does_not_hold_vouches_for_nothing() -> None:
    good = forwarded([("list.example", PASSED)])
    for headers, body in (
        (good, BODY + b"more\r\n"),
        (good.replace(b"dmarc=pass", b"dmarc=PASS"), BODY),
        (good.replace(b"alice@", b"eve@"), BODY),
    ):
        found = await arc(headers, body)
        assert (found.outcome, found.facts.get(VOUCHED)) == (Outcome.FAIL, None)


POLICY_ZONE = f"""{ZONE}
example.org TXT "v=spf1 ip4:198.51.100.1 -all"
_dmarc.example.org TXT "v=DMARC1; p=reject"
_dmarc.victim.example TXT "v=DMARC1; p=reject"
"""


async def judged(headers: bytes, *trusted: str) -> Verdict:
    """By a receiver who rejects what DMARC wants rejected; it comes from the list, not from the author."""
    config = JudgementConfig(dkim=DkimConfig(trusted_sealers=trusted), policy=PolicyConfig(dmarc_reject=True))
    resolver, clock = FakeResolver(POLICY_ZONE), FakeClock()
    actors = [DkimActor(config.dkim, resolver, clock), PolicyActor(config, resolver, None, clock)]
    client = Client("192.0.2.7", helo=b"mx.list.example")
    envelope = Envelope(client=client, sender=b"bounces@list.example", received_at_s=NOW_S)
    mail = Message(envelope, headers, BODY)
    return decide(await examine_all(actors, mail, clock, 20.0), mail, config)


def dmarc(verdict: Verdict) -> Finding:
    return next(one for one in verdict.findings if one.name == "dmarc")


async def test_a_dmarc_failure_is_forgiven_for_a_trusted_forwarder_and_told_as_a_failure_all_the_same() -> None:
    through_list = forwarded([("list.example", PASSED)])
    assert (await judged(through_list)).action is Action.REJECT

    verdict = await judged(through_list, "list.example")
    assert verdict.action is Action.ACCEPT
    assert verdict.score == 0
    assert (dmarc(verdict).outcome, dmarc(verdict).facts[FORGIVEN]) == (Outcome.FAIL, "list.example")


@pytest.mark.parametrize(
    ("author", "results"),
    [
        (b"ceo@victim.example", PASSED),
        (b"Alice <alice@example.org>, ceo@victim.example", PASSED),
        (b"ceo@victim.example <alice@example.org>", PASSED),
        (b"ceo@victim.example", b"mx.list.example; dmarc=pass header.from=example.org header.from=victim.example"),
    ],
)
async def test_no_other_author_profits_from_it(author: bytes, results: bytes) -> None:
    headers = HEADERS.replace(b"Alice <alice@example.org>", author)
    found = dmarc(await judged(forwarded([("list.example", results)], headers), "list.example"))
    assert FORGIVEN not in found.facts
    assert found.outcome is not Outcome.PASS
