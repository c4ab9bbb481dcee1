from collections.abc import Sequence

import pytest

from actors.config import DkimConfig, JudgementConfig, Lists, PolicyConfig
from actors.model import Client, Direction, Envelope, Finding, Message, Outcome, Recipient, Stage
from actors.policy.actor import PolicyActor
from actors.policy.gtube import GTUBE
from tests.fakes import FakeClock, FakeResolver, FakeStore, budget

ZONE = """
example.net TXT "v=spf1 ip4:192.0.2.0/24 -all"
_dmarc.example.net TXT "v=DMARC1; p=reject"
"""
ENVELOPE = Envelope(
    client=Client("192.0.2.1", helo=b"mail.example.net"),
    sender=b"Bo@bounce.example.net",
    recipients=(Recipient(b"ann@example.org"), Recipient(b"Eve@Example.org")),
)
DATE = b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
HEADERS = DATE + b"From: Bo <bo@example.net>\r\nDKIM-Signature: v=1; d=news.example.net; s=a; b=x\r\n"


def actor(
    resolver: FakeResolver | None = None, store: FakeStore | None = None, lists: Lists | None = None
) -> PolicyActor:
    config = JudgementConfig(policy=PolicyConfig(lists=lists or Lists()))
    return PolicyActor(config, resolver or FakeResolver(ZONE), store, FakeClock())


async def examine(
    asked: PolicyActor, stage: Stage, message: Message | None = None, envelope: Envelope = ENVELOPE
) -> Sequence[Finding]:
    return await asked.examine(stage, message or Message(envelope, HEADERS, b"text\r\n"), budget())


def outcomes(findings: Sequence[Finding]) -> dict[str, Outcome]:
    return {finding.name: finding.outcome for finding in findings}


async def test_each_stage_reports_its_facts_once() -> None:
    asked = actor()
    assert outcomes(await examine(asked, Stage.ENVELOPE)) == {"spf": Outcome.NONE}
    assert await examine(asked, Stage.RECIPIENT) == []
    assert await examine(asked, Stage.HEADERS) == []
    assert outcomes(await examine(asked, Stage.MESSAGE)) == {"dmarc_record": Outcome.PASS}


async def test_the_headers_stage_asks_all_that_the_message_stage_will_ask() -> None:
    resolver = FakeResolver(ZONE)
    asked = actor(resolver)
    await examine(asked, Stage.HEADERS)
    warmed = set(resolver.questions)
    resolver.questions.clear()
    await examine(asked, Stage.MESSAGE)
    assert warmed == set(resolver.questions)


async def test_organizations_of_sender_and_signers_are_told() -> None:
    facts = (await examine(actor(), Stage.MESSAGE))[0].facts
    assert facts["org:news.example.net"] == facts["org:bounce.example.net"] == "example.net"


@pytest.mark.parametrize(
    ("lists", "name", "detail"),
    [
        (Lists(allow_clients=("192.0.2.0/24",)), "allow_client", "listed as 192.0.2.0/24"),
        (Lists(deny_clients=("192.0.2.1",)), "deny_client", "listed as 192.0.2.1"),
        (Lists(allow_senders=("Bo@bounce.example.net",)), "allow_sender", "listed as bo@bounce.example.net"),
        (Lists(deny_senders=("example.net",)), "deny_sender", "listed as example.net"),
    ],
)
async def test_configured_lists_are_asked_about_client_and_sender(lists: Lists, name: str, detail: str) -> None:
    findings = await examine(actor(lists=lists), Stage.ENVELOPE)
    assert [(f.name, f.outcome, f.detail) for f in findings[1:]] == [(name, Outcome.HIT, detail)]


@pytest.mark.parametrize(
    ("lists", "names"),
    [
        (Lists(deny_clients=("192.0.2.1",)), ["deny_client"]),
        (Lists(deny_helos=("mail.example.net",)), ["deny_helo"]),
        (Lists(deny_senders=("example.net",)), ["deny_sender"]),
        (Lists(allow_clients=("192.0.2.1",)), []),
    ],
)
async def test_a_recipient_is_refused_for_who_sends_without_waiting_for_spf(lists: Lists, names: list[str]) -> None:
    resolver = FakeResolver(ZONE)
    findings = await examine(actor(resolver, lists=lists), Stage.RECIPIENT)
    assert [finding.name for finding in findings] == names
    assert resolver.questions == []


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.HELO, Stage.MAIL])
async def test_while_the_mta_waits_the_deny_lists_are_asked_about_what_is_known(stage: Stage) -> None:
    known = {
        Stage.CONNECT: Envelope(client=Client(ip="192.0.2.1")),
        Stage.HELO: Envelope(client=Client(ip="192.0.2.1", helo=b"Evil.Example.NET")),
        Stage.MAIL: Envelope(client=Client(ip="192.0.2.1", helo=b"evil.example.net"), sender=b"bo@example.com"),
    }
    lists = Lists(
        allow_clients=("192.0.2.1",),
        deny_clients=("192.0.2.1",),
        deny_helos=(".example.net",),
        deny_senders=("example.com",),
    )
    findings = await examine(actor(lists=lists), stage, envelope=known[stage])
    names = ["deny_client", "deny_helo", "deny_sender"]
    assert [finding.name for finding in findings] == names[: 1 + list(known).index(stage)]


async def test_the_last_recipient_is_the_one_that_is_looked_up() -> None:
    denied = await examine(actor(lists=Lists(deny_recipients=("eve@example.org",))), Stage.RECIPIENT)
    assert [(f.name, f.facts["recipient"]) for f in denied] == [("deny_recipient", "eve@example.org")]
    assert await examine(actor(lists=Lists(deny_recipients=("ann@example.org",))), Stage.RECIPIENT) == []


@pytest.mark.parametrize(
    ("key", "member", "stage", "name"),
    [
        ("tamis:deny_clients", b"192.0.2.1", Stage.ENVELOPE, "deny_client"),
        ("tamis:deny_senders", b"example.net", Stage.ENVELOPE, "deny_sender"),
        ("tamis:deny_recipients", b"eve@example.org", Stage.RECIPIENT, "deny_recipient"),
    ],
)
async def test_shared_lists_are_asked_when_a_prefix_is_configured(
    key: str, member: bytes, stage: Stage, name: str
) -> None:
    store = FakeStore({key: [member]})
    findings = await examine(actor(store=store, lists=Lists(redis_prefix="tamis")), stage)
    assert name in outcomes(findings)
    assert name not in outcomes(await examine(actor(store=store), stage))


@pytest.mark.parametrize("stage", [Stage.ENVELOPE, Stage.RECIPIENT])
async def test_all_shared_lists_of_a_stage_are_asked_in_one_round_trip(stage: Stage) -> None:
    store = FakeStore({"tamis:deny_clients": [b"192.0.2.1"], "tamis:deny_senders": [b"example.net"]})
    findings = await examine(actor(store=store, lists=Lists(redis_prefix="tamis")), stage)
    assert {"deny_client", "deny_sender"} <= {finding.name for finding in findings}
    assert store.asked == 1


async def test_a_long_address_is_cut_in_the_detail() -> None:
    address = b"x" * 10_000 + b"@example.net"
    store = FakeStore({"tamis:deny_senders": [address]})
    asked = actor(store=store, lists=Lists(redis_prefix="tamis"))
    findings = await examine(asked, Stage.ENVELOPE, envelope=Envelope(client=ENVELOPE.client, sender=address))
    assert [len(f.detail) for f in findings if f.name == "deny_sender"] == [200]


async def test_a_store_that_is_away_is_an_error_and_the_rest_is_reported_all_the_same() -> None:
    store = FakeStore()
    store.available = False
    asked = actor(store=store, lists=Lists(redis_prefix="tamis", deny_clients=("192.0.2.1",)))
    findings = await examine(asked, Stage.ENVELOPE)
    assert outcomes(findings)["spf"] is Outcome.NONE
    assert Outcome.HIT in [f.outcome for f in findings]
    errors = [f for f in findings if f.outcome is Outcome.ERROR]
    assert [f.detail for f in errors] == ["unreachable: away"] * 2


@pytest.mark.parametrize(
    ("headers", "flaw"),
    [
        (b"Subject: no author\r\n", "from_missing"),
        (b"", "from_missing"),
        (b"From: a@example.net\r\nFrom: a@example.net\r\n", "from_multiple"),
        (b"From: a@example.net, b@example.org\r\n", "from_multiple"),
        (b"From: nobody\r\n", "from_malformed"),
        (b"From: <a@[192.0.2.1]>\r\n", "from_malformed"),
    ],
)
async def test_without_exactly_one_author_domain_dmarc_is_a_permerror(headers: bytes, flaw: str) -> None:
    findings = await examine(actor(), Stage.MESSAGE, Message(ENVELOPE, DATE + headers, b""))
    found = outcomes(findings)
    found.pop("fields_repeated", None)
    assert found == {flaw: Outcome.HIT, "dmarc_record": Outcome.PERMERROR}


async def test_two_authors_of_one_domain_are_one_author_domain() -> None:
    message = Message(ENVELOPE, DATE + b"From: a@example.net, b@Example.net\r\n")
    assert outcomes(await examine(actor(), Stage.MESSAGE, message)) == {"dmarc_record": Outcome.PASS}


async def test_a_name_that_shows_another_domain_is_told_beside_the_authors_record() -> None:
    message = Message(ENVELOPE, DATE + b"From: ceo@bank.example <bo@example.net>\r\n")
    findings = await examine(actor(), Stage.MESSAGE, message)
    assert outcomes(findings) == {"from_multiple": Outcome.HIT, "dmarc_record": Outcome.PASS}
    assert (findings[1].facts["domain"], findings[1].facts["ambiguous"]) == ("example.net", "yes")


@pytest.mark.parametrize("entry", ["B\u00fccher.example", "@b\u00fccher.example", "XN--bcher-kva.example"])
async def test_authors_may_be_listed_by_u_labels(entry: str) -> None:
    asked = actor(lists=Lists(proven_authors=(entry,)))
    message = Message(ENVELOPE, DATE + "From: <a@b\u00fccher.example>\r\n".encode())
    assert "proven_author" in outcomes(await examine(asked, Stage.MESSAGE, message))


async def test_what_our_own_mail_shows_is_nobodys_forgery() -> None:
    asked = actor(lists=Lists(proven_authors=("bank.example",)))
    headers = DATE + b"From: a@bank.example, b@else.example\r\n"
    own = Envelope(direction=Direction.OUTBOUND)
    assert "shown_author" in outcomes(await examine(asked, Stage.MESSAGE, Message(ENVELOPE, headers)))
    assert "shown_author" not in outcomes(await examine(asked, Stage.MESSAGE, Message(own, headers)))


async def test_gtube_is_reported() -> None:
    findings = await examine(actor(), Stage.MESSAGE, Message(ENVELOPE, HEADERS, b"a\r\n" + GTUBE + b"\r\n"))
    assert outcomes(findings)["gtube"] is Outcome.HIT


async def test_mail_of_our_own_asks_no_dns() -> None:
    resolver = FakeResolver(ZONE)
    own = Envelope(client=ENVELOPE.client, sender=ENVELOPE.sender, direction=Direction.OUTBOUND)
    findings = [f for stage in Stage for f in await examine(actor(resolver), stage, envelope=own)]
    assert set(outcomes(findings).values()) == {Outcome.SKIPPED}
    assert resolver.questions == []


async def test_an_empty_message_has_facts_at_every_stage() -> None:
    for stage in Stage:
        await actor().examine(stage, Message(), budget())


async def test_closing_gives_back_both_ports() -> None:
    resolver, store = FakeResolver(), FakeStore()
    await actor(resolver, store, Lists(redis_prefix="tamis")).close()
    assert resolver.closed
    assert store.closed


@pytest.mark.parametrize("listed", [False, True])
async def test_the_configuration_says_how_organizations_are_found(listed: bool) -> None:  # noqa: FBT001
    resolver = FakeResolver(ZONE)
    config = JudgementConfig(policy=PolicyConfig(dmarc_public_suffixes=listed))
    await examine(PolicyActor(config, resolver, None, FakeClock()), Stage.HEADERS)
    assert (("_dmarc.net", "TXT") in resolver.questions) is not listed


async def test_mail_that_two_readers_may_read_differently_is_told() -> None:
    message = Message(ENVELOPE, HEADERS + b"Subject: a\r\nSubject: b\r\n", b"a\n.\r\n")
    found = {one.name: one.detail for one in await examine(actor(), Stage.MESSAGE, message)}
    assert found["fields_repeated"] == "subject"
    assert "bare_line_ends" in found


async def test_mail_without_a_date_is_told_unless_it_is_our_own() -> None:
    undated = b"From: a@example.net\r\n"
    own = Envelope(direction=Direction.OUTBOUND)
    assert "date_missing" in outcomes(await examine(actor(), Stage.MESSAGE, Message(ENVELOPE, undated)))
    assert "date_missing" not in outcomes(await examine(actor(), Stage.MESSAGE, Message(ENVELOPE, DATE + undated)))
    assert "date_missing" not in outcomes(await examine(actor(), Stage.MESSAGE, Message(own, undated)))


async def test_the_organization_of_a_signer_that_comes_first_is_told_however_deep_it_stands() -> None:
    many = b"".join(b"DKIM-Signature: v=1; d=s%d.example.net; s=a; b=x\r\n" % number for number in range(9))
    for first in ((), ("s8.example.net",)):
        config = JudgementConfig(dkim=DkimConfig(signers_first=first))
        asked = PolicyActor(config, FakeResolver(ZONE), None, FakeClock())
        found = await examine(asked, Stage.MESSAGE, Message(ENVELOPE, DATE + many + b"From: a@example.net\r\n"))
        assert ("org:s8.example.net" in found[0].facts) is bool(first)
